package anchor_test

import (
	"iter"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/shard"
)

// TestStatus: a shard is live, then late, then stalled, by the heights of main alone.
func TestStatus(t *testing.T) {
	t.Parallel()
	p := anchor.Params{DueBlocks: 5, LateBlocks: 20, StalledBlocks: 100}
	for _, row := range []struct {
		height, from uint64
		status       anchor.Status
		missed       uint64
		due          bool
	}{
		{50, 50, anchor.Live, 0, false},
		{50, 60, anchor.Live, 0, false}, // from the future: nothing was waited
		{54, 50, anchor.Live, 0, false},
		{55, 50, anchor.Live, 1, true},
		{69, 50, anchor.Live, 3, true},
		{70, 50, anchor.Late, 4, true},
		{149, 50, anchor.Late, 19, true},
		{150, 50, anchor.Stalled, 20, true},
		{1<<64 - 1, 0, anchor.Stalled, 1<<32 - 1, true},
	} {
		if got := p.Status(row.height, row.from); got != row.status {
			t.Errorf("%d after %d: %s, want %s", row.height, row.from, got, row.status)
		}
		if got := p.Missed(row.height, row.from); got != row.missed {
			t.Errorf("%d after %d: %d missed, want %d", row.height, row.from, got, row.missed)
		}
		if got := p.Due(row.height, row.from); got != row.due {
			t.Errorf("%d after %d: due is %v, want %v", row.height, row.from, got, row.due)
		}
	}
	if got := anchor.Status(9).String(); got != "unknown" {
		t.Errorf("status 9 is %q", got)
	}
}

// mainEpoch is the epoch of a height of main in these tests: none is ever lost.
func mainEpoch(uint64) uint64 { return 0 }

// TestAsked: where all who can serve do, another committee is looked for once in so many
// blocks, and the shard stays stalled.
func TestAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stalled := uint64(w.ctx.Rules.StalledBlocks)
	w.ctx.Height = 100 + stalled
	w.ctx.Asked(one)
	w.ctx.Asked(99) // is not founded
	if got := w.ctx.Stalled(mainEpoch); !slices.Equal(got, []shard.ID{two}) {
		t.Errorf("stalled are %d", got)
	}
	if s := w.state(one); s.From != 100 || s.RedrawEpoch != 0 || w.ctx.Rules.Status(w.ctx.Height, s.From) != anchor.Stalled {
		t.Errorf("it changed more than it says: %+v", s)
	}
	if got := w.ctx.Round(one); got != 1 || w.ctx.Round(99) != 0 {
		t.Errorf("the next round is %d", got)
	}
	w.ctx.Height += stalled
	if got := w.ctx.Stalled(mainEpoch); !slices.Equal(got, []shard.ID{one, two}) {
		t.Errorf("%d blocks later stalled are %d", stalled, got)
	}
}

// TestNeedsTick: after an anchor main goes on until the next one is due; for a shard that
// was anchored and is late until it is stalled; and otherwise not at all.
func TestNeedsTick(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.ctx.Rules
	needs := func(height uint64) bool { return anchor.NeedsTick(w.ctx.State, p, height, mainEpoch) }
	for h := uint64(100); h < 500; h++ {
		if needs(h) {
			t.Fatalf("at %d: for shards that never were anchored", h)
		}
	}
	w.take(run(t, one, 1, 4, version{}))
	for h := uint64(101); h < 400; h++ {
		waited := h - 100
		want := waited < uint64(p.DueBlocks) || waited >= uint64(p.LateBlocks)
		if needs(h) != want {
			t.Errorf("%d blocks after the anchor: %t", waited, !want)
		}
	}
	w.ctx.Height = 300
	w.ctx.Asked(one)
	if needs(301) || needs(300+uint64(p.LateBlocks)-1) {
		t.Error("there is no other committee, and main goes on")
	}
	if !needs(300 + uint64(p.LateBlocks)) {
		t.Error("the shard is late again")
	}
	s := w.state(one)
	s.Until, s.End = 9, s.Height()
	w.ctx.State.Set(anchor.Key(one), s.Encode())
	w.ctx.State.Delete(anchor.OpenKey(one))
	if needs(1_000) {
		t.Error("for a shard that has ended")
	}
}

// TestRedraw: a shard that stands still is drawn anew, gets as much time again, and
// goes on from what is anchored with the new committee only.
func TestRedraw(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.take(run(t, one, 1, 4, version{}))
	w.ctx.Epoch = 1
	lost := run(t, one, 5, 9, version{}) // certified, and nobody brings it
	stalled := uint64(w.ctx.Rules.StalledBlocks)
	w.ctx.Height = 99 + stalled
	if got := w.ctx.Stalled(mainEpoch); got != nil {
		t.Fatalf("stalled at %d: %d", w.ctx.Height, got)
	}
	w.ctx.Height++
	if got := w.ctx.Stalled(mainEpoch); !slices.Equal(got, []shard.ID{one, two}) {
		t.Fatalf("stalled are %d", got)
	}
	for round := uint32(1); round <= 2; round++ {
		if got := w.ctx.Round(one); got != round {
			t.Errorf("round %d, want %d", got, round)
		}
		w.ctx.Redrawn(one, round)
	}
	w.redraw[1] = 1
	if got := w.ctx.Stalled(mainEpoch); !slices.Equal(got, []shard.ID{two}) {
		t.Errorf("after the redraw stalled are %d", got)
	}
	w.refused("what the committee before certified", chain.CodeAnchorGeneration, func() error {
		_, err := w.ctx.Apply(&anchor.Anchors{Runs: []cert.Run{lost}})
		return err
	})
	w.take(run(t, one, 5, 7, version{epoch: 1, redraw: 1, block: 1, generation: 2}))
	w.ctx.Epoch = 2
	if got := w.ctx.Round(one); got != 1 {
		t.Errorf("round %d in another epoch, want 1", got)
	}
	w.ctx.Redrawn(one, 3) // those of two rounds were the same
	if got := w.ctx.Round(one); got != 4 {
		t.Errorf("round %d after round 3", got)
	}
	w.ctx.Redrawn(99, 1)
	if got := w.ctx.Round(99); got != 0 {
		t.Errorf("round %d of no shard", got)
	}
	s := w.state(two)
	s.Until = 9
	w.ctx.State.Set(anchor.Key(two), s.Encode())
	if got := w.ctx.Stalled(mainEpoch); !slices.Equal(got, []shard.ID{two}) {
		t.Errorf("a shard is replaced and does not come to its end; stalled are %d", got)
	}
	s = w.state(one)
	s.Until, s.End, s.From = 9, s.Height(), 0
	w.ctx.State.Set(anchor.Key(one), s.Encode())
	w.ctx.State.Delete(anchor.OpenKey(one))
	if got := w.ctx.Stalled(mainEpoch); !slices.Equal(got, []shard.ID{two}) {
		t.Errorf("a shard that is finished is stalled: %d", got)
	}
}

// TestEndedCostNothing: what each block and each epoch look through does not grow with the
// shards that have ended: it reads as many rows as before.
func TestEndedCostNothing(t *testing.T) {
	t.Parallel()
	var reads []int
	for _, ended := range []int{0, 500} {
		w := newWorld(t)
		last, _ := anchor.Read(w.ctx.State, one)
		last.Until, last.End = 9, last.Height()
		for i := range ended {
			w.ctx.State.Set(anchor.Key(shard.ID(1_000+i)), last.Encode())
		}
		v := &counted{View: w.ctx.State}
		anchor.NeedsTick(v, w.ctx.Rules, 1_000, mainEpoch)
		anchor.StalledAt(v, w.ctx.Rules, 1_000, mainEpoch)
		for range anchor.Unfinished(v) {
		}
		reads = append(reads, v.reads)
	}
	if reads[0] == 0 || reads[0] != reads[1] {
		t.Errorf("%d rows are read, with 500 shards that have ended %d", reads[0], reads[1])
	}
}

// counted counts the rows that are read of a view.
type counted struct {
	chain.View

	reads int
}

func (c *counted) Get(key []byte) []byte {
	c.reads++
	return c.View.Get(key)
}

func (c *counted) Range(prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		for k, b := range c.View.Range(prefix) {
			if c.reads++; !yield(k, b) {
				return
			}
		}
	}
}

// TestSplit: the parent ends, and its heirs begin when all of it is anchored, with its
// clock.
func TestSplit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m, err := shard.Announce(w.shards, shard.Change{Kind: shard.Split, At: shard.Notice, Service: 1, Zone: 3, Shards: []shard.ID{one}})
	if err != nil {
		t.Fatal(err)
	}
	for range shard.Notice {
		m = shard.Apply(m)
	}
	heirs := m.Heirs(one)
	sync := func(height uint64) {
		w.ctx.Height = height
		anchor.Sync(w.ctx.State, m, height)
		before := w.digest()
		anchor.Sync(w.ctx.State, m, height+1)
		if w.digest() != before {
			t.Error("a second time changes something")
		}
	}
	w.take(run(t, one, 1, 10, version{}))
	sync(200)
	if s := w.state(one); s.Until != shard.Notice || s.Finished() {
		t.Errorf("the parent serves until %d, finished %v", s.Until, s.Finished())
	}
	if s := w.state(two); s.Until != 0 || s.From != 100 {
		t.Errorf("the other shard serves until %d, from %d", s.Until, s.From)
	}
	w.refused("an heir too soon", chain.CodeUnknownShard, func() error {
		r := run(t, two, 1, 2, version{})
		r.Chain = heirs[0].ID
		_, err := w.ctx.Apply(&anchor.Anchors{Runs: []cert.Run{r}})
		return err
	})
	if results := w.take(run(t, one, 11, 15, version{})); results[0].Finished || w.state(one).Finished() {
		t.Error("the parent is finished before its last height")
	}
	if results := w.take(run(t, one, 16, 16, version{})); !results[0].Finished || w.state(one).End != 16 {
		t.Error("the parent is not finished with its first height of the epoch in which it is replaced")
	}
	w.refused("a height behind the end", chain.CodeShardEnded, func() error {
		_, err := w.ctx.Apply(&anchor.Anchors{Runs: []cert.Run{run(t, one, 17, 17, version{})}})
		return err
	})
	sync(210)
	for _, h := range heirs {
		s := w.state(h.ID)
		if s.Base != 16 || s.From != 210 || s.Since != shard.Notice || s.Buckets != h.Buckets || s.Height() != 0 {
			t.Errorf("heir %d: %+v", h.ID, s)
		}
	}
	var ids []shard.ID
	for id := range anchor.All(w.ctx.State) {
		ids = append(ids, id)
	}
	if !slices.Equal(ids, []shard.ID{one, two, heirs[0].ID, heirs[1].ID}) {
		t.Errorf("shards %d", ids)
	}
}

func TestParams(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]anchor.Params{"default": anchor.DefaultParams(), "local": anchor.LocalParams()} {
		if err := p.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		w := codec.NewWriter(anchor.ParamsSize)
		p.Append(w)
		var again anchor.Params
		r := codec.NewReader(w.Bytes())
		again.Read(r)
		if err := r.Done(); err != nil || again != p || w.Len() != anchor.ParamsSize {
			t.Errorf("%s: %+v in %d bytes, %v", name, again, w.Len(), err)
		}
	}
	for name, change := range map[string]func(p *anchor.Params){
		"due_blocks": func(p *anchor.Params) { p.DueBlocks = 0 },
		"late":       func(p *anchor.Params) { p.LateBlocks = p.DueBlocks }, "stalled": func(p *anchor.Params) { p.StalledBlocks = p.LateBlocks },
		"stalled for ever": func(p *anchor.Params) { p.StalledBlocks = 1 << 30 }, "lag": func(p *anchor.Params) { p.MaxLag = 0 },
		"set fee": func(p *anchor.Params) { p.SetFee = 1 << 60 }, "height fee": func(p *anchor.Params) { p.HeightFee = 1 << 60 },
	} {
		p := anchor.DefaultParams()
		change(&p)
		if err := p.Validate(); err == nil {
			t.Errorf("%s: %+v is valid", name, p)
		}
	}
}
