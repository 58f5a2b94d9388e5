package shardblock_test

import (
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/shard"
)

// TestRested: what a shard did not do in an epoch, of the blocks that a mask remembers.
func TestRested(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name               string
		blocks, own, worth uint64
		want               uint64
	}{
		{"no time passed", 0, 0, 0, 0},
		{"a short epoch without a block", 10, 0, 0, 10},
		{"a short epoch with a few", 10, 4, 0, 6},
		{"as many as main", 10, 10, 0, 0},
		{"more than main", 10, 17, 0, 0},
		{"few that are worth some", 10, 2, 5, 5},
		{"few that are worth all", 10, 2, 10, 0},
		{"few that are worth more", 10, 2, 99, 0},
		{"a long epoch with the block that begins it", 3_600, 1, 0, 64},
		{"nine of ten in a long epoch", 3_600, 3_240, 0, 7},
		{"three of four in a long epoch", 3_600, 2_700, 0, 16},
		{"half as many, of twice the limit", 3_600, 1_800, 3_600, 0},
		{"one less than main in a long epoch", 3_600, 3_599, 0, 1},
	} {
		if got := shardblock.Rested(row.blocks, row.own, row.worth); got != row.want {
			t.Errorf("%s: %d, want %d", row.name, got, row.want)
		}
	}
}

// TestLoadOfSlowBlocks: a shard whose blocks are full, and slower than main's, does not rest
// meanwhile. When it has nothing to do any more that is remembered block by block.
func TestLoadOfSlowBlocks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := shardblock.ReadConfig(w.left.State)
	c.Params.HeavyBytes = 64
	w.left.State.Apply(chain.Changes{{Key: shardblock.ConfigKey(), Value: c.Encode()}})
	p := w.open(keyIn(t, "payer", 0, 63), keyIn(t, "payee", 128, 255), 1_000)
	w.main.Block()
	w.left.Block(relays(w.main.Notices(1, 0, 0)))
	const full = 5 // blocks, that with the channel and those with bookings, each worth several
	for range full - 1 {
		w.left.Block(nil, w.book(p, 1))
	}
	// loaded is what the shard says of itself when an epoch has begun.
	loaded := func(epoch uint64) (heavy, light int) {
		t.Helper()
		w.main.Assign(epoch, leftID, 100, 101, 102, 103)
		w.main.To(10 * epoch)
		w.left.Block(relays(w.main.EpochRelay(epoch, leftID)))
		s := shardblock.ReadStatus(w.left.State)
		if s.Carried != 0 {
			t.Errorf("epoch %d begins with %d bytes", epoch, s.Carried)
		}
		handover := shardblock.News{Handovers: []shardblock.Handover{w.main.Handover()}}
		w.left.Block(relays(&shardblock.Relay{Kind: shardblock.KindHead, News: handover}))
		return shard.Mask(s.Heavy).Count(), shard.Mask(s.Light).Count()
	}
	if heavy, light := loaded(1); heavy != full || light > 1 {
		t.Errorf("%d heavy blocks and %d light ones, want %d, and that alone which brought the epoch", heavy, light, full)
	}
	_, before := loaded(2)
	if heavy, light := loaded(3); heavy != full || light != before+10 {
		t.Errorf("%d heavy blocks and %d light ones after %d, want %d and ten more", heavy, light, before, full)
	}
}
