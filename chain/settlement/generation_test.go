package settlement_test

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// busy makes a block with a payment in it, in which stalled shards are seen to.
func (b *bench) busy() settlement.Result {
	b.t.Helper()
	return b.block(b.signed(6, payTo(b.addrs[0], 1)))
}

// until makes blocks until a shard has a generation, and returns the last one.
func (b *bench) until(id shard.ID, generation uint32) (res settlement.Result) {
	b.t.Helper()
	for limit := b.height + 200; b.anchored(id).Generation < generation; {
		if res = b.busy(); b.height > limit {
			b.t.Fatalf("shard %d is in generation %d", id, b.anchored(id).Generation)
		}
	}
	return res
}

// redrawn returns the event by which a generation of a shard began.
func redrawn(t *testing.T, res *settlement.Result, id shard.ID) settlement.ShardEvent {
	t.Helper()
	at := slices.IndexFunc(res.Shards, func(e settlement.ShardEvent) bool {
		return e.Kind == settlement.ShardRedrawn && e.Shard == id
	})
	if at < 0 {
		t.Fatalf("no generation of shard %d begins: %+v", id, res.Shards)
	}
	return res.Shards[at]
}

func (b *bench) epoch() uint64 { return b.params.Staking.Epoch(b.height) }

func (b *bench) genesisOf(id shard.ID) (shardblock.Genesis, error) {
	return shardblock.FromMain(b.view, b.domain.Network, &b.params.Staking, &b.params.Anchors, id)
}

// resume returns how the present generation of a shard goes on, which it checks.
func (b *bench) resume(id shard.ID) shardblock.Resume {
	b.t.Helper()
	r, ok, err := shardblock.ResumeFromMain(b.view, id)
	if err != nil || !ok {
		b.t.Fatalf("shard %d: %t, %v", id, ok, err)
	}
	return r
}

// short has shards stall after as many blocks.
func (b *bench) short(stalled uint32) {
	b.params.Anchors.LateBlocks, b.params.Anchors.StalledBlocks = stalled/2, stalled
}

// TestRedrawnGeneration: others are drawn, who go on from the last anchored height. What
// those before certified is not anchored, and it is no fault to have signed a height in
// both generations. What the generation goes on from is the same for as long as it does.
func TestRedrawnGeneration(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	b.short(16)
	id := b.shards().Zone(1, 0)[0].ID
	b.ok(6, anchorsOf(b.heights(id, 0, 1, 2)))
	genesis, err := b.genesisOf(id)
	if err != nil {
		t.Fatal(err)
	}
	for b.height < 12 {
		b.block()
	}
	lost, lostCom := b.checkpoint(id, 1, 3)
	res := b.until(id, 1)
	e := redrawn(t, &res, id)
	if e.Generation != 1 || e.Last != 2 || e.Epoch != b.epoch() || e.Round == 0 {
		t.Errorf("event %+v", e)
	}
	r := b.resume(id)
	want := shardblock.Resume{Generation: 1, Height: 2, StateRoot: b.anchored(id).Last.StateRoot}
	want.Record, _ = registry.ReadEpoch(b.view, e.Epoch)
	want.Assignment, _ = registry.ReadAssignment(b.view, e.Epoch, id)
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
	b.refused(6, anchorsOf(b.join(b.certify(lost, lostCom))), chain.CodeAnchorGeneration)
	own, com := b.checkpoint(id, e.Epoch, 3)
	b.refused(6, &anchor.Conflict{Height: 3, A: b.join(b.certify(lost, lostCom)), B: b.join(b.certify(own, com))}, chain.CodeNoConflict)
	b.ok(6, anchorsOf(b.heights(id, e.Epoch, 3, 6)))
	for range 4 {
		if diff := cmp.Diff(r, b.resume(id)); diff != "" {
			t.Errorf("the generation goes on otherwise: %s", diff)
		}
		b.forward(b.epoch())
		b.busy()
		if s := b.anchored(id); s.Generation == 1 {
			b.ok(6, anchorsOf(b.heights(id, b.epoch(), s.Height()+1, s.Height()+2)))
		}
		if b.anchored(id).Generation != 1 {
			t.Fatalf("%+v", b.anchored(id))
		}
	}
	if g, err := b.genesisOf(id); err == nil {
		if diff := cmp.Diff(genesis, g); diff != "" {
			t.Errorf("the shard began otherwise: %s", diff)
		}
	}
}

// TestRestart: the members of a shard are all who can serve, and away for longer than
// anchors wait. They go on as another generation with the committee of that epoch, and
// what they signed before is lost.
func TestRestart(t *testing.T) {
	t.Parallel()
	b := newServedBy(t, 4)
	b.short(16)
	id := b.shards().Zone(1, 0)[0].ID
	b.ok(6, anchorsOf(b.heights(id, 0, 1, 2)))
	before, beforeCom := b.checkpoint(id, 0, 3)
	const lost = 3 // the first epoch in which those of epoch 0 are not answerable any more
	b.forward(lost - 1)
	if b.busy(); b.anchored(id).Generation != 1 || b.height != b.params.Staking.FirstBlock(lost) {
		t.Fatalf("block %d: %+v", b.height, b.anchored(id))
	}
	if s := b.anchored(id); s.Resumed != 2 || s.RedrawEpoch != lost || s.Redraws != 0 || s.From != b.height {
		t.Errorf("%+v", s)
	}
	r := b.resume(id)
	if a, _ := registry.ReadAssignment(b.view, lost, id); !cmp.Equal(a, r.Assignment) || len(a.Committee.Members) != 4 || r.Record.Epoch != lost {
		t.Errorf("%+v", r)
	}
	b.refused(6, anchorsOf(b.join(b.certify(before, beforeCom))), chain.CodeAnchorGeneration)
	before.Generation = 1
	b.refused(6, anchorsOf(b.join(b.certify(before, beforeCom))), chain.CodeAnchorEpoch)
	b.ok(6, anchorsOf(b.heights(id, lost, 3, 5)))
	// Away once more, for longer than before: as often as it takes.
	b.until(id, 2)
	b.until(id, 3)
	if s := b.anchored(id); s.Resumed != 5 || s.RedrawEpoch != b.epoch() {
		t.Errorf("%+v", s)
	}
	b.ok(6, anchorsOf(b.heights(id, b.epoch(), 6, 7)))
}

// TestRestartIdle: main is idle, and goes on until the shard can.
func TestRestartIdle(t *testing.T) {
	t.Parallel()
	b := newServedBy(t, 4)
	b.short(16)
	id := b.shards().Zone(1, 0)[0].ID
	b.ok(6, anchorsOf(b.heights(id, 0, 1, 2)))
	b.forward(2)
	needed := 0
	for settlement.NeedsTick(b.view, &b.params, b.height+1) {
		if b.block(); needed > 20 {
			t.Fatal("main goes on for ever")
		}
		needed++
	}
	if b.anchored(id).Generation != 1 {
		t.Errorf("after %d blocks: %+v", needed, b.anchored(id))
	}
}

// TestRedrawAtBirth: nothing is anchored yet, so the generation begins by a genesis of its
// own, with the committee that was drawn.
func TestRedrawAtBirth(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	b.short(14)
	id := b.shards().Zone(1, 0)[0].ID
	first, err := b.genesisOf(id)
	if err != nil || first.Generation != 0 || first.Service.Epoch != 0 {
		t.Fatalf("%+v: %v", first, err)
	}
	old := b.heights(id, 0, 1, 1)
	res := b.until(id, 1)
	e := redrawn(t, &res, id)
	g, err := b.genesisOf(id)
	a, _ := registry.ReadAssignment(b.view, e.Epoch, id)
	if err != nil || e.Last != 0 || g.Generation != 1 || g.Service.Epoch != e.Epoch || !cmp.Equal(g.Committee, a.Committee) || g.Hash() == first.Hash() {
		t.Errorf("%+v: %v", g, err)
	}
	if main, _ := staking.ReadCommittee(b.view, e.Epoch); !cmp.Equal(g.Main, main) {
		t.Error("it trusts another committee of main")
	}
	if _, ok, err := shardblock.ResumeFromMain(b.view, id); ok || err != nil {
		t.Errorf("there is something to go on from: %v", err)
	}
	b.refused(6, anchorsOf(old), chain.CodeAnchorGeneration)
	b.ok(6, anchorsOf(b.heights(id, e.Epoch, 1, 3)))
	again, err := b.genesisOf(id)
	if diff := cmp.Diff(g, again); err != nil || diff != "" {
		t.Errorf("the generation began otherwise: %v: %s", err, diff)
	}
}

// TestNotReplacedBeforeItBegan: a shard of which nothing is anchored is not split, or nobody
// could bring it to its end if its committee died. With its first anchor it is, and if its
// committee dies then, another one makes the last height, and the heirs begin.
func TestNotReplacedBeforeItBegan(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	b.short(16)
	parent := b.shards().Zone(1, 0)[0]
	b.refused(5, resharded(shard.Split, parent.ID), chain.CodeReshardRefused)
	b.forward(shard.Notice - 1)
	if b.anchored(parent.ID).Until != 0 {
		t.Fatal("the shard is replaced all the same")
	}
	first := b.until(parent.ID, b.anchored(parent.ID).Generation+1) // it has no end to come to
	e := redrawn(t, &first, parent.ID)
	b.ok(6, anchorsOf(b.heights(parent.ID, e.Epoch, 1, 1)))
	genesis, err := b.genesisOf(parent.ID)
	if err != nil {
		t.Fatal(err)
	}
	b.ok(5, resharded(shard.Split, parent.ID))
	at := b.epoch() + shard.Notice
	b.forward(at - 1)
	heirs := b.shards().Heirs(parent.ID)
	if len(heirs) != 2 || b.anchored(parent.ID).Until != at {
		t.Fatalf("heirs %v of %+v", heirs, b.anchored(parent.ID))
	}
	b.until(parent.ID, b.anchored(parent.ID).Generation+1)
	r := b.resume(parent.ID)
	if !r.Assignment.Last || r.Height != 1 {
		t.Fatalf("it goes on by %+v", r)
	}
	if again, err := b.genesisOf(parent.ID); err != nil || !cmp.Equal(again, genesis) {
		t.Errorf("it began otherwise: %v", err)
	}
	b.ok(6, anchorsOf(b.heights(parent.ID, r.Record.Epoch, 2, 2)))
	for _, h := range heirs {
		g, err := b.genesisOf(h.ID)
		if err != nil || len(g.Service.Parents) != 1 || g.Service.Parents[0].Shard.Chain != parent.ID || g.Service.Parents[0].Height != 2 {
			t.Errorf("heir %d begins with %+v: %v", h.ID, g.Service.Parents, err)
		}
	}
}

// TestEndByAnother: a shard that is replaced stands still on the way to its end. Another
// committee makes its last height, which goes on from what is anchored, in a later epoch,
// and the heirs, founded late, begin with the committees of that one.
func TestEndByAnother(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	b.short(16)
	parent := b.shards().Zone(1, 0)[0]
	b.ok(6, anchorsOf(b.heights(parent.ID, 0, 1, 3)))
	b.ok(5, resharded(shard.Split, parent.ID))
	b.forward(shard.Notice - 1)
	heirs := b.shards().Heirs(parent.ID)
	if len(heirs) != 2 {
		t.Fatal("the shard is not replaced")
	}
	b.forward(5)
	res := b.until(parent.ID, b.anchored(parent.ID).Generation+1)
	e := redrawn(t, &res, parent.ID)
	r := b.resume(parent.ID)
	if e.Epoch <= shard.Notice || !r.Assignment.Last || r.Height != 3 || r.Record.Epoch != e.Epoch {
		t.Fatalf("%+v by %+v", r, e)
	}
	b.refused(6, anchorsOf(b.heights(parent.ID, e.Epoch, 4, 5)), chain.CodeShardEnded)
	for _, h := range heirs {
		if _, err := b.genesisOf(h.ID); err == nil {
			t.Errorf("heir %d begins before its parent has ended", h.ID)
		}
	}
	end := b.took(6, anchorsOf(b.heights(parent.ID, e.Epoch, 4, 4)))
	for _, e := range end.Shards {
		if e.Kind == settlement.ShardFounded && e.Epoch != b.epoch() {
			t.Errorf("an heir is founded in epoch %d and told of epoch %d", b.epoch(), e.Epoch)
		}
	}
	if got := shardEvents(&end, settlement.ShardFounded); len(got) != 2 {
		t.Errorf("founded are %d", got)
	}
	if s := b.anchored(parent.ID); s.End != 4 || !s.Finished() {
		t.Errorf("%+v", s)
	}
	for _, h := range heirs {
		g, err := b.genesisOf(h.ID)
		if err != nil || g.Service.Epoch != b.epoch() || g.Generation != 0 || g.Clock != 4 || g.Service.Parents[0].Height != 4 {
			t.Errorf("heir %d: %+v: %v", h.ID, g, err)
		}
		if s := b.anchored(h.ID); s.Since != shard.Notice || s.Begins != b.epoch() {
			t.Errorf("heir %d: %+v", h.ID, s)
		}
		b.ok(6, anchorsOf(b.heights(h.ID, b.epoch(), 1, 2)))
	}
}

// TestConflictGeneration: who signed two versions of a height is punished although others
// were drawn in the same epoch since, and that draws nobody anew; a conflict of the present
// generation does.
func TestConflictGeneration(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	b.short(16)
	id := b.shards().Zone(1, 0)[0].ID
	b.ok(6, anchorsOf(b.heights(id, 0, 1, 2)))
	b.forward(0)
	before := b.members(id, 1)
	old := b.twice(id, 1, 3)
	b.until(id, 1)
	if b.anchored(id).RedrawEpoch != 1 || slices.Equal(b.members(id, 1), before) {
		t.Fatalf("%+v", b.anchored(id))
	}
	p, com := b.checkpoint(id, 1, 3)
	q := p
	q.Round, q.BlockHash = 1, ledger.HashOf("another block")
	again := &anchor.Conflict{Height: 3, A: b.join(b.certify(p, com)), B: b.join(b.certify(q, com))}
	fork := b.fork()
	res := b.took(6, old)
	var out []uint64
	for _, e := range res.Staking {
		if e.Kind == staking.EventTombstoned {
			out = append(out, e.Validator)
		}
	}
	if !slices.Equal(out, before) || b.anchored(id).Generation != 1 {
		t.Errorf("out are %d, want %d; generation %d", out, before, b.anchored(id).Generation)
	}
	fork.took(6, again)
	if s := fork.anchored(id); s.Generation != 2 || s.Redraws < 2 {
		t.Errorf("%+v", s)
	}
	other := b.twice(id, 1, 3)
	other.B = old.B // of the generation before
	b.refused(6, other, chain.CodeNoConflict)
	// Who served is remembered as long as epochs are.
	for range b.params.Staking.Kept() + 2 {
		b.forward(b.epoch() + 1)
	}
	for k := range b.view.Range([]byte{'F'}) {
		if epoch := binary.BigEndian.Uint64(k[1:]); epoch+b.params.Staking.Kept()+1 < b.epoch() {
			t.Errorf("in epoch %d it is known who served in epoch %d before others were drawn", b.epoch(), epoch)
		}
	}
	if a, ok := registry.ReadServing(b.view, 1, id, 0); ok {
		t.Errorf("%+v", a)
	}
}
