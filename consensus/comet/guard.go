package comet

import (
	"bytes"
	"fmt"

	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/store"
)

// maxSignStateScan bounds how many stored blocks a start looks at for votes
// that the sign state does not know.
const maxSignStateScan = 1000

// checkApplication refuses an application that is ahead of the stored blocks:
// CometBFT would panic, or fork off.
func (c *Chain) checkApplication() error {
	return contain(func() error {
		applied, _ := c.adapter.app.Head()
		stored := store.NewBlockStore(c.view(blockDB)).Height()
		if state, err := c.stateStore().Load(); err == nil {
			stored = max(stored, state.LastBlockHeight) // no blocks yet after a snapshot
		}
		stored = max(stored, c.genesis.InitialHeight-1)
		if applied > uint64(stored) {
			return fmt.Errorf("%w: it is at height %d, the blocks end at %d; restore or wipe both together",
				ErrApplicationAhead, applied, stored)
		}
		return nil
	})
}

// checkSignState refuses to start with a sign state that does not know votes
// of its own key in the stored blocks, and makes the signer look again before
// its first signature, when the blocks made meanwhile are there too.
//
// A sign state may well be lower than the chain: a node that was away fetched
// those blocks without voting. Only its own votes above it prove a loss.
//
// So a node that missed blocks must fetch them before it signs, by block sync, and is
// ready no sooner than four seconds after its start: CometBFT waits three for peers
// and then looks once a second whether it is done, neither of which can be set. To let
// consensus fetch a few blocks instead would be quicker, but it signs on the way.
func (c *Chain) checkSignState() error {
	blocks := c.engine.BlockStore()
	since, height := int64(c.signer.Height()), blocks.Height()
	if c.signer.fresh {
		since = height // what was signed before this node was asked is for the remote signer to know
	}
	if at := c.ownVote(c.engine, max(since+1, height-maxSignStateScan+1), height); at > 0 {
		return fmt.Errorf("%w: it ends at height %d, but this key voted at height %d of %d; "+
			"another process may hold the key, or %s was lost or restored", ErrSignStateBehind, since, at, height, signStateFile)
	}
	if c.cfg.DoubleSignCheckHeight < 0 {
		return nil
	}
	engine := c.engine
	c.signer.arm(func(since int64) error {
		height := blocks.Height()
		at := c.ownVote(engine, max(since+1, height-int64(c.cfg.DoubleSignCheckHeight)+1), height)
		if at > 0 {
			return fmt.Errorf("%w: it ended at height %d when the node started, but this key voted at height %d; "+
				"not signing until %d blocks without its vote have passed", ErrSignStateBehind, since, at, c.cfg.DoubleSignCheckHeight)
		}
		return nil
	})
	return nil
}

// ownVote returns the highest height in [from, to] whose commit holds a vote of
// this node's key, or 0.
func (c *Chain) ownVote(n *node.Node, from, to int64) int64 {
	own := c.signer.Address()
	for h := to; h >= from && h > 0; h-- {
		commit := loadCommit(n, h)
		if commit == nil {
			continue
		}
		for _, s := range commit.Signatures {
			if len(s.Signature) > 0 && bytes.Equal(s.ValidatorAddress, own) {
				return h
			}
		}
	}
	return 0
}
