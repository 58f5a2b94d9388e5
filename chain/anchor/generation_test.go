package anchor_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// TestGenerations: a shard goes on from its last anchored height each time, by what its
// row says, and what a generation before certified is nothing any more.
func TestGenerations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ctx.Epoch = 0
	says := func(name string, generation uint32, resumed, begins uint64, origin uint32) {
		t.Helper()
		s := w.state(one)
		root := ledger.Hash{}
		if resumed > 0 {
			root = checkpoint(one, resumed, version{generation: s.Generation - 1}).StateRoot
		}
		if s.Generation != generation || s.Resumed != resumed || s.Begins != begins || s.Origin != origin || s.ResumedRoot != root || s.From != w.ctx.Height {
			t.Errorf("%s: %+v", name, s)
		}
	}
	says("founded", 0, 0, 0, 0)
	w.ctx.Epoch, w.ctx.Height = 1, 120
	w.ctx.Redrawn(one, w.ctx.Round(one))
	says("drawn anew at height 0", 1, 0, 1, 1)
	w.refused("of the generation before", chain.CodeAnchorGeneration, func() error {
		_, err := w.ctx.Apply(&anchor.Anchors{Runs: []cert.Run{run(t, one, 1, 4, version{epoch: 1})}})
		return err
	})
	w.refused("of an epoch before the shard began", chain.CodeAnchorEpoch, func() error {
		_, err := w.ctx.Apply(&anchor.Anchors{Runs: []cert.Run{run(t, one, 1, 4, version{generation: 1})}})
		return err
	})
	w.take(run(t, one, 1, 4, version{epoch: 1, generation: 1}))
	w.ctx.Epoch, w.ctx.Height = 2, 140
	w.ctx.Restarted(one)
	says("restarted", 2, 4, 1, 1)
	w.take(run(t, one, 5, 6, version{epoch: 2, generation: 2}))
	if s := w.state(one); s.Resumed != 4 || s.Generation != 2 || s.Redraws != 0 {
		t.Errorf("while it goes on: %+v", s)
	}
	w.refused("of the generation before that", chain.CodeAnchorGeneration, func() error {
		_, err := w.ctx.Apply(&anchor.Anchors{Runs: []cert.Run{run(t, one, 5, 8, version{epoch: 1, generation: 1, block: 1})}})
		return err
	})
	w.ctx.Restarted(99) // is not founded
	w.ctx.Height = 150
	w.ctx.Redrawn(one, w.ctx.Round(one))
	w.ctx.Redrawn(one, w.ctx.Round(one))
	says("drawn anew twice", 4, 6, 1, 1)
}

// TestGenerationsProperty: whatever happens to a shard, its generation and what it goes on
// from never fall, and no two versions of a height are ever anchored.
func TestGenerationsProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		w.ctx.Epoch, w.ctx.Rules.MaxLag = 3, 100
		w.redraw[3] = 0
		anchored := map[uint64]cert.Checkpoint{}
		for range 8 {
			before := w.state(one)
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0:
				w.ctx.Restarted(one)
			case 1:
				w.ctx.Redrawn(one, w.ctx.Round(one))
			default:
				v := version{generation: before.Generation - min(before.Generation, uint32(rapid.IntRange(0, 1).Draw(rt, "old"))), block: byte(rapid.IntRange(0, 1).Draw(rt, "block"))}
				first := max(1, before.Height()+2-min(before.Height()+1, uint64(rapid.IntRange(0, 3).Draw(rt, "back"))))
				var list []cert.Certificate
				for h := first; h < first+3; h++ {
					w := v
					w.epoch = 3 - int(epochOf(h))
					list = append(list, certify(one, h, w))
				}
				_, err := w.ctx.Apply(&anchor.Anchors{Runs: []cert.Run{join(t, list...)}})
				if (err == nil) != (w.state(one).Height() > before.Height()) {
					rt.Fatalf("from %d to %d: %v", before.Height(), w.state(one).Height(), err)
				}
				if err == nil && v.generation != before.Generation {
					rt.Fatalf("a run of generation %d in generation %d", v.generation, before.Generation)
				}
				for i := range list {
					p := list[i].Checkpoint
					if err == nil && p.Height > before.Height() {
						if _, twice := anchored[p.Height]; twice {
							rt.Fatalf("height %d is anchored twice", p.Height)
						}
						anchored[p.Height] = p
					}
				}
			}
			s := w.state(one)
			if s.Generation < before.Generation || s.Resumed < before.Resumed || s.Height() < before.Height() || s.Height() != uint64(len(anchored)) {
				rt.Fatalf("from %+v to %+v", before, s)
			}
			if s.Generation == before.Generation && (s.Resumed != before.Resumed || s.ResumedRoot != before.ResumedRoot || s.Begins != before.Begins || s.Origin != before.Origin) {
				rt.Fatalf("within generation %d: from %+v to %+v", s.Generation, before, s)
			}
			if again, err := anchor.DecodeState(s.Encode()); err != nil || !cmp.Equal(again, *s) {
				rt.Fatalf("decoded %+v: %v", again, err)
			}
		}
	})
}

// TestLost: a shard whose committee is of too long ago is stalled again although nobody
// else was found a moment ago, once.
func TestLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ctx.Epoch, w.ctx.Rules.MaxLag, w.ctx.Rules.StalledBlocks = 1, 12, 170
	w.take(run(t, one, 1, 10, version{})) // up to epoch 1
	const perEpoch = 20
	epoch := func(height uint64) uint64 { return (height - 1) / perEpoch }
	lost := uint64((1+12+1)*perEpoch + 1) // the first block in which it is
	for height, want := range map[uint64]bool{lost - 1: false, lost: true, lost + 100: true} {
		if got := w.ctx.Rules.Lost(w.state(one), epoch(height)); got != want {
			t.Errorf("at %d: lost is %t", height, got)
		}
	}
	stalled := func(height uint64) bool {
		return slices.Contains(anchor.StalledAt(w.ctx.State, w.ctx.Rules, height, epoch), one)
	}
	needs := func(height uint64) bool { return anchor.NeedsTick(w.ctx.State, w.ctx.Rules, height, epoch) }
	if w.ctx.Height = lost - 5; !stalled(w.ctx.Height) {
		t.Fatal("the shard is not stalled before it is lost")
	}
	w.ctx.Asked(one)
	if stalled(lost-1) || needs(lost-1) {
		t.Error("nobody else was there five blocks ago, and another committee is looked for again")
	}
	if !stalled(lost) || !needs(lost) {
		t.Error("the shard is lost, and nothing is done about it")
	}
	w.ctx.Height = lost
	w.ctx.Asked(one) // and cannot go on, since nobody serves it
	if stalled(lost+1) || needs(lost+1) {
		t.Error("nobody serves the shard, and main goes on for it")
	}
	w.ctx.Epoch = epoch(lost + 1)
	w.ctx.Height = lost + 1
	w.ctx.Restarted(one)
	if w.ctx.Rules.Lost(w.state(one), w.ctx.Epoch) || stalled(lost+1) || stalled(lost+uint64(w.ctx.Rules.StalledBlocks)) {
		t.Error("the shard does not get its time")
	}
}

// TestLostNever: a shard that stands still at the beginning of main is not lost.
func TestLostNever(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ctx.Rules.MaxLag = 1
	if got := anchor.StalledAt(w.ctx.State, w.ctx.Rules, 101, func(h uint64) uint64 { return (h - 1) / 20 }); got != nil {
		t.Errorf("stalled are %d", got)
	}
}

// TestServe: a shard that nobody served begins when somebody does, and only then.
func TestServe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	anchor.Serve(w.ctx.State, 99, 7, 130) // is not founded
	anchor.Serve(w.ctx.State, one, 7, 130)
	if s := w.state(one); s.Begins != 7 || s.From != 130 || s.Generation != 0 {
		t.Errorf("%+v", s)
	}
	w.ctx.Epoch = 8
	w.refused("of an epoch before", chain.CodeAnchorEpoch, func() error {
		_, err := w.ctx.Apply(&anchor.Anchors{Runs: []cert.Run{run(t, one, 1, 4, version{epoch: 6})}})
		return err
	})
	w.take(run(t, two, 1, 4, version{epoch: 6}))
	before := w.digest()
	anchor.Serve(w.ctx.State, two, 7, 130)
	w.ctx.Redrawn(one, w.ctx.Round(one))
	redrawn := w.digest()
	anchor.Serve(w.ctx.State, one, 9, 140)
	if w.digest() != redrawn || redrawn == before {
		t.Error("a shard that was served before begins again")
	}
}

// TestFoundedLate: an heir whose parents ended late begins in the epoch in which it is
// founded.
func TestFoundedLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m, err := shard.Announce(w.shards, shard.Change{Kind: shard.Split, At: shard.Notice, Service: 1, Zone: 3, Shards: []shard.ID{one}})
	if err != nil {
		t.Fatal(err)
	}
	for range shard.Notice + 2 {
		m = shard.Apply(m)
	}
	w.ctx.Epoch, w.ctx.Rules.MaxLag = m.Epoch(), 100
	anchor.Sync(w.ctx.State, m, 180)
	w.take(run(t, one, 1, 15, version{}))
	w.take(run(t, one, 16, 16, version{epoch: 2}))
	anchor.Sync(w.ctx.State, m, 200)
	for _, h := range m.Heirs(one) {
		if s := w.state(h.ID); s.Since != shard.Notice || s.Begins != m.Epoch() || s.From != 200 || s.Generation != 0 {
			t.Errorf("heir %d: %+v", h.ID, s)
		}
	}
}

// TestDueWith: messages are due in every block, once.
func TestDueWith(t *testing.T) {
	t.Parallel()
	p := anchor.Params{DueBlocks: 5, LateBlocks: 20, StalledBlocks: 100}
	for _, row := range []struct {
		height, from uint64
		messages     bool
		want         bool
	}{
		{50, 50, true, false}, {51, 50, true, true}, {51, 50, false, false}, {55, 50, false, true}, {49, 50, true, false},
	} {
		if got := p.DueWith(row.height, row.from, row.messages); got != row.want {
			t.Errorf("%+v: %t", row, got)
		}
	}
	w := newWorld(t)
	w.take(run(t, one, 1, 2, version{}))
	w.ctx.Height++
	if r := w.take(run(t, one, 3, 3, version{})); r[0].Due { // height 3 sends nothing
		t.Error("a height without messages is due")
	}
	w.ctx.Height++
	if r := w.take(run(t, one, 3, 4, version{})); !r[0].Due || r[0].First != 4 {
		t.Errorf("%+v", r[0])
	}
	w.ctx.Height++
	if r := w.take(run(t, one, 4, 6, version{})); !r[0].Due {
		t.Error("height 5 has messages and is not due")
	}
	w.ctx.Height++
	if r := w.take(run(t, one, 7, 8, version{})); !r[0].Due {
		t.Error("heights 7 and 8 have messages and are not due")
	}
	w.ctx.Height++
	if r := w.take(run(t, one, 8, 9, version{})); r[0].Due { // of what is new nothing has messages
		t.Error("what is anchored makes what is not due")
	}
	w.ctx.Height++
	if r := w.take(run(t, one, 10, 10+anchor.EagerHeights, version{})); r[0].Due {
		t.Error("a long run is due for its messages alone")
	}
}
