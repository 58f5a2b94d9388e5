package api

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/shard"
)

// A block of a shard is final once it is anchored. That its height is anchored does not say
// so: a shard may have gone on from below as another generation, which took the block back.

// anchors returns what the main chain has anchored of a shard, nothing if it is none.
func (b *backend) anchors(id shard.ID) (row anchor.State, err error) {
	err = b.State.Read(func(v chain.View, _ uint64) error {
		row, _ = anchor.Read(v, id)
		return nil
	})
	return row, err
}

// keepsOwn reports whether what a shard's chain has here at a height is anchored. What cannot
// be read is not said to be.
func keepsOwn(row *anchor.State, local ShardState, height uint64) bool {
	if row.Generation == 0 || height > row.Height() {
		return row.Keeps(0, height)
	}
	kept := false
	err := local.Read(func(v chain.View, _ uint64) error {
		kept = row.Keeps(shardblock.ReadStatus(v).Generation, height)
		return nil
	})
	return err == nil && kept
}

// takesBackOwn reports whether another generation took back what a shard's chain has here at
// a height, or may have: that chain cannot be read.
func takesBackOwn(row *anchor.State, local ShardState, height uint64) bool {
	if row.Generation == 0 {
		return false
	}
	back := false
	err := local.Read(func(v chain.View, _ uint64) error {
		back = row.TakesBack(shardblock.ReadStatus(v).Generation, height)
		return nil
	})
	return err != nil || back
}

// keepsTold reports whether a block is anchored of which another node told, with its
// certificate if that is known.
func keepsTold(row *anchor.State, c *cert.Checkpoint, height uint64, otherwise bool) bool {
	switch {
	case c != nil && c.Height == height:
		return row.Keeps(c.Generation, height)
	case row.Generation == 0:
		return row.Keeps(0, height)
	default:
		return otherwise && height > 0 && height <= row.Height()
	}
}
