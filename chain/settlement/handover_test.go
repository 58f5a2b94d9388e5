package settlement_test

import (
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// shardEvents are the events of a kind of one shard.
func shardEvents(res *settlement.Result, kind settlement.ShardEventKind) (ids []shard.ID) {
	for _, e := range res.Shards {
		if e.Kind == kind {
			ids = append(ids, e.Shard)
		}
	}
	return ids
}

// took applies a transaction in a block of its own, which takes it.
func (b *bench) took(by int, payload encoder) settlement.Result {
	b.t.Helper()
	res := b.block(b.signed(by, payload))
	if r := &res.Receipts[0]; r.Code != chain.CodeOK {
		b.t.Fatalf("%s: %s: %s", r.Kind, r.Code, r.Detail)
	}
	return res
}

func (b *bench) refused(by int, payload encoder, code chain.Code) {
	b.t.Helper()
	if r := b.run(by, payload); r.Code != code {
		b.t.Errorf("%s: %s, want %s: %s", r.Kind, r.Code, code, r.Detail)
	}
}

// TestHandOver: a shard splits. It goes on in the epoch in which it is replaced with the
// committee it had, until that has certified one height; with it the heirs begin, and
// nothing of the parent is taken any more. Later they merge, each with an end of its own.
func TestHandOver(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	owner := 5
	parent := b.shards().Zone(1, 0)[0]
	b.took(6, anchorsOf(b.heights(parent.ID, 0, 1, 3)))
	var res settlement.Result
	if res = b.took(owner, resharded(shard.Split, parent.ID)); len(res.Registry) != 1 || res.Registry[0].Kind != registry.EventAsked {
		t.Errorf("events %+v", res.Registry)
	}
	res = b.forward(0)
	if !slices.ContainsFunc(res.Registry, func(e registry.Event) bool {
		return e.Kind == registry.EventAnnounced && e.Change == shard.Split && e.Epoch == shard.Notice
	}) {
		t.Errorf("events %+v", res.Registry)
	}
	b.took(6, anchorsOf(b.heights(parent.ID, 1, 4, 6)))
	b.forward(1)
	heirs := b.shards().Heirs(parent.ID)
	if len(heirs) != 2 || b.anchored(parent.ID).Until != 2 {
		t.Fatalf("heirs %v, the parent serves until epoch %d", heirs, b.anchored(parent.ID).Until)
	}

	// The heirs cannot begin; the parent may be late and still does its last epochs.
	early := anchorsOf(b.heights(heirs[0].ID, 2, 1, 1))
	b.refused(6, early, chain.CodeUnknownShard)
	b.refused(owner, resharded(shard.Split, heirs[0].ID), chain.CodeUnknownShard)
	b.took(6, anchorsOf(b.heights(parent.ID, 1, 7, 8)))
	first, com := b.checkpoint(parent.ID, 2, 9)
	second, _ := b.checkpoint(parent.ID, 2, 10)
	b.refused(6, anchorsOf(b.join(b.certify(first, com), b.certify(second, com))), chain.CodeShardEnded)
	res = b.took(6, anchorsOf(b.join(b.certify(first, com))))
	if got := shardEvents(&res, settlement.ShardFinished); !slices.Equal(got, []shard.ID{parent.ID}) || !res.Receipts[0].Runs[0].Finished {
		t.Errorf("finished are %d", got)
	}
	if got := shardEvents(&res, settlement.ShardFounded); !slices.Equal(got, []shard.ID{heirs[0].ID, heirs[1].ID}) {
		t.Errorf("founded are %d", got)
	}
	end := b.anchored(parent.ID)
	if end.End != 9 || end.Last.StateRoot != first.StateRoot {
		t.Errorf("the parent ends at height %d with %s", end.End, end.Last.StateRoot)
	}
	b.refused(6, anchorsOf(b.join(b.certify(second, com))), chain.CodeShardEnded)
	for _, h := range heirs {
		if s := b.anchored(h.ID); s.Base != 9 || s.Since != 2 || s.Buckets != h.Buckets {
			t.Errorf("heir %d begins as %+v", h.ID, s)
		}
	}
	b.took(6, early)

	// Both halves become one again, and wait for each other.
	for b.shards().Epoch() < 2+shard.Cooldown {
		b.block()
	}
	b.refused(owner, resharded(shard.Merge, heirs[1].ID), chain.CodeReshardRefused) // nothing of it is anchored
	b.took(6, anchorsOf(b.heights(heirs[1].ID, b.epoch(), 1, 1)))
	for _, h := range heirs {
		b.took(owner, resharded(shard.Merge, h.ID))
	}
	at := b.shards().Epoch() + shard.Notice
	b.forward(at - 1)
	whole := b.shards().Heirs(heirs[0].ID)
	if len(whole) != 1 || whole[0].Buckets != parent.Buckets {
		t.Fatalf("heirs of the merge: %v", whole)
	}
	res = b.took(6, anchorsOf(b.heights(heirs[0].ID, at, 2, 2)))
	if got := shardEvents(&res, settlement.ShardFounded); len(got) != 0 {
		t.Errorf("founded are %d before the other parent has ended", got)
	}
	res = b.took(6, anchorsOf(b.heights(heirs[1].ID, at-1, 2, 4)))
	if got := shardEvents(&res, settlement.ShardFinished); len(got) != 0 {
		t.Errorf("finished are %d before the epoch", got)
	}
	res = b.took(6, anchorsOf(b.heights(heirs[1].ID, at, 5, 5)))
	if got := shardEvents(&res, settlement.ShardFounded); !slices.Equal(got, []shard.ID{whole[0].ID}) {
		t.Errorf("founded are %d", got)
	}
	if s := b.anchored(whole[0].ID); s.Base != 9+5 {
		t.Errorf("the clock begins at %d, want that of the later parent", s.Base)
	}
}

// TestBookedIsSettled: what a shard has booked keeps an idle chain going to the end of
// the epoch, so that the shard learns of it, and no longer.
func TestBookedIsSettled(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	b.forward(2) // until nothing of the genesis waits
	id := b.shards().Zone(1, 0)[0].ID
	p, com := b.checkpoint(id, 3, 1)
	for _, booked := range []bool{false, true} {
		p.Height = b.anchored(id).Height() + 1
		if booked {
			p.UsageRoot = ledger.HashOf("usage")
		}
		b.took(6, anchorsOf(b.join(b.certify(p, com))))
		for range b.params.Anchors.DueBlocks {
			b.block()
		}
		if got := settlement.NeedsTick(b.view, &b.params, b.height+1); got != booked {
			t.Errorf("booked is %t: the chain goes on is %t", booked, got)
		}
	}
	last := b.params.Staking.LastBlock(b.params.Staking.Epoch(b.height))
	for b.height < last {
		b.block()
	}
	if settlement.NeedsTick(b.view, &b.params, b.height+1) {
		t.Error("the chain goes on when the epoch is over")
	}
	if _, ok := anchor.Read(b.view, id); !ok {
		t.Error("the shard is gone")
	}
}
