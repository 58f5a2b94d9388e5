package registry_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/zone"
)

// TestWorkBps: work counts as stake does, up to half of the stake.
func TestWorkBps(t *testing.T) {
	t.Parallel()
	const most = shard.MaxWorkBps
	for _, row := range []struct {
		work  ledger.Amount
		stake uint64
		want  uint32
	}{
		{0, 1_000_000, 0},
		{1, 1_000_000, 10},     // a drop counts for a thousand
		{1, 10_000_001, 0},     // less than a basis point
		{99, 1_000_000, 990},   //
		{499, 1_000_000, 4990}, //
		{500, 1_000_000, most},
		{501, 1_000_000, most},
		{1, 1, most},
		{0, 0, most}, // nobody without stake is a candidate
		{math.MaxUint64, 1, most},
		{math.MaxUint64, math.MaxUint64, most},
		{1 << 40, 1 << 63, 1},
		{1 << 62, 1 << 63, most},
	} {
		if got := registry.WorkBps(row.work, row.stake); got != row.want {
			t.Errorf("work %d on stake %d: %d, want %d", row.work, row.stake, got, row.want)
		}
	}
}

// TestWorkIsLinear: whoever is two validators with half of the stake and of the work each
// has no more weight than one, and no less but for what is rounded.
func TestWorkIsLinear(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		stake := rapid.Uint64Range(2, 1<<50).Draw(rt, "stake")
		work := ledger.Amount(rapid.Uint64Range(0, stake/1_000).Draw(rt, "work"))
		a := rapid.Uint64Range(1, stake-1).Draw(rt, "first")
		b := ledger.Amount(rapid.Uint64Range(0, uint64(work)).Draw(rt, "its work"))
		weight := func(work ledger.Amount, stake uint64) float64 {
			return float64(stake) * (1 + float64(registry.WorkBps(work, stake))/ledger.BasisPoints)
		}
		one, two := weight(work, stake), weight(b, a)+weight(work-b, stake-a)
		if two > one*1.0002 {
			rt.Errorf("stake %d with work %d weighs %g, in two parts (%d, %d) %g", stake, work, one, a, b, two)
		}
	})
}

// TestWorked: only who serves a service, and operates a validator, has work for it; it
// counts in the next pools and halves each time.
func TestWorked(t *testing.T) {
	t.Parallel()
	content, storage := service(1, "content", 0), service(2, "storage", 0)
	content.Proof = zone.Bandwidth
	w := newWorld(t, 6, content, storage)
	of := func(service uint32, row uint64) ledger.Amount { return registry.WorkOf(w.ctx.State, service, row) }
	w.must(w.ctx.Serve(operator(3), &registry.Serve{Service: 1}))
	w.ctx.Worked(1, operator(2), 700)
	w.ctx.Worked(1, operator(2), 300)
	w.ctx.Worked(1, operator(4), 0)
	w.ctx.Worked(1, operator(3), 500) // does not serve it any more
	w.ctx.Worked(9, operator(2), 500) // is no service
	w.ctx.Worked(0, operator(2), 500)
	w.ctx.Worked(1, address(1), 500) // operates nothing
	if of(1, 2) != 1_000 || of(1, 3) != 0 || of(2, 2) != 0 || of(0, 2) != 0 || of(9, 2) != 0 {
		t.Errorf("work %d, %d, %d", of(1, 2), of(1, 3), of(2, 2))
	}
	w.ctx.Worked(2, operator(2), math.MaxUint64)
	w.ctx.Worked(2, operator(2), 5)
	if of(2, 2) != math.MaxUint64 {
		t.Errorf("more than can be counted: %d", of(2, 2))
	}
	w.epoch(1)
	if of(1, 2) != 500 {
		t.Errorf("an epoch later: %d", of(1, 2))
	}
	p, ok := registry.ReadPool(w.ctx.State, 2, 1)
	if !ok {
		t.Fatal("no pool")
	}
	for _, c := range p.Candidates {
		want := uint32(0)
		if c.Validator == 2 {
			want = registry.WorkBps(1_000, c.Stake)
		}
		if c.WorkBps != want || c.Validator == 2 && want == 0 {
			t.Errorf("validator %d: %d, want %d", c.Validator, c.WorkBps, want)
		}
	}
	unproved, ok := registry.ReadPool(w.ctx.State, 2, 2)
	if !ok || len(unproved.Candidates) == 0 {
		t.Fatal("no pool of the service without proofs")
	}
	for _, c := range unproved.Candidates {
		if c.WorkBps != 0 {
			t.Errorf("validator %d of a service without proofs: %d", c.Validator, c.WorkBps)
		}
	}
	w.epoch(12)
	if of(1, 2) != 0 || w.ctx.State.Get([]byte{'D', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2}) != nil {
		t.Errorf("in the end %d", of(1, 2))
	}
}
