package settlement_test

import (
	"testing"

	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/zone"
)

// TestWork: what is burned of payments for a service is the work of the validator that the
// payee operates, whoever redeems them and however the channel ends, and raises its weight
// in the draws that follow.
func TestWork(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	s := serviceOf(6, 9, "proxy", 0, 1)
	s.Proof = zone.Bandwidth
	s.Fees, s.Zones[0].Policy.Fees = zone.Fees{ShareBps: 1_000, Entry: 7}, zone.Fees{ShareBps: 500, Entry: 3}
	b.ok(6, &s)
	b.ok(1, &registry.Serve{Service: 9, On: true})
	var opens []channel.OpenParams
	for _, at := range []struct {
		payee   int
		service uint32
	}{{1, 1}, {1, 1}, {1, 9}, {1, 0}, {6, 1}} {
		p := b.openParams(at.payee, 160_000)
		p.Service = at.service
		opens = append(opens, p)
	}
	r := b.ok(0, &channel.Open{Channels: opens})
	ref := func(i uint64) channel.Ref { return b.ref(r.FirstChannel + i) }
	first, second, other, unnamed, stranger := ref(0), ref(1), ref(2), ref(3), ref(4)
	of := func(service uint32, row uint64) ledger.Amount { return registry.WorkOf(b.view, service, row) }
	burned := func(services map[uint32]ledger.Amount) {
		t.Helper()
		for service, want := range services {
			if got := of(service, 1); got != want {
				t.Errorf("work for service %d is %d, want %d", service, got, want)
			}
		}
	}
	rules := b.params.Rules()
	part := rules.Burn(50_000)
	if part == 0 {
		t.Fatal("nothing is burned")
	}
	// What the zone burns is work, and what the owner gets is none.
	taken := rules.Payout(&channel.Fees{Zone: s.Zones[0].Policy.Fees, Service: s.Fees}, 0, 50_000)
	if taken.OwnerFee == 0 || taken.Burned <= part {
		t.Fatalf("the fees are %+v", taken)
	}
	r = b.ok(5, b.batch(1, b.voucher(first, 0, 50_000), b.voucher(first, 1, 50_000), b.voucher(second, 0, 50_000), b.voucher(other, 0, 50_000), b.voucher(unnamed, 0, 50_000)))
	if r.Burned != rules.Burn(100_000)+2*part+taken.Burned || r.OwnerFee != taken.OwnerFee {
		t.Errorf("burned %d", r.Burned)
	}
	burned(map[uint32]ledger.Amount{1: rules.Burn(100_000) + part, 9: taken.Burned, 0: 0})
	b.ok(6, b.batch(6, b.voucher(stranger, 0, 50_000)))
	atomic := b.batch(1, b.voucher(second, 0, 100_000), b.voucher(stranger, 0, 100_000))
	atomic.Mode = channel.Atomic
	b.run(1, atomic)
	b.ok(1, b.batch(1, b.voucher(second, 0, 50_000))) // the same again
	burned(map[uint32]ledger.Amount{1: rules.Burn(100_000) + part, 9: taken.Burned})
	if r := b.ok(1, b.coopClose(0, 1, second, 150_000, nil)); r.Burned == 0 {
		t.Error("nothing is burned")
	}
	work := rules.Burn(100_000) + rules.Burn(150_000)
	burned(map[uint32]ledger.Amount{1: work, 9: taken.Burned})
	if b.epoch() != 0 {
		t.Fatalf("block %d", b.height)
	}
	b.forward(0)
	burned(map[uint32]ledger.Amount{1: work / 2, 9: taken.Burned / 2})
	for service, want := range map[uint32]int{1: 0, 9: 1} { // nothing proves work for service 1
		pool, _ := registry.ReadPool(b.view, 2, service)
		raised := 0
		for _, c := range pool.Candidates {
			if c.WorkBps > shard.MaxWorkBps || c.WorkBps > 0 && c.Validator != 1 {
				t.Errorf("service %d, validator %d: %d", service, c.Validator, c.WorkBps)
			}
			if c.WorkBps > 0 {
				raised++
			}
		}
		if raised != want || len(pool.Candidates) == 0 {
			t.Errorf("service %d: of %d candidates %d are raised, want %d", service, len(pool.Candidates), raised, want)
		}
	}
	now := b.shards()
	if err := registry.Inputs(b.view, 2, shard.Apply(now)).Check(registry.Assignments(b.view, 2)); err != nil {
		t.Error(err)
	}
}
