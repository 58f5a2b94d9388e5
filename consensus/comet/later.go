package comet

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cometbft/cometbft/consensus"
	"github.com/cometbft/cometbft/crypto/merkle"
	"github.com/cometbft/cometbft/proxy"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/store"
	"github.com/cometbft/cometbft/types"

	"github.com/tributary-network/tributary/ledger/kv"
)

// beginLater prepares the start of a chain whose first block is above 1. The application
// has the state of the height before, so CometBFT does not call InitChain, nor store the
// state that it begins with, which it does then. And it cannot go on from a first block
// that is stored when its own state is not, as after a crash in between.
func (c *Chain) beginLater(ctx context.Context) error {
	applied, appHash := c.adapter.app.Head()
	before := c.genesis.InitialHeight - 1
	if before == 0 || int64(applied) < before { // it joins by a snapshot
		return nil
	}
	if int64(applied) == before && !bytes.Equal(appHash, c.genesis.AppHash) {
		return fmt.Errorf("the application has the hash %X at height %d, the chain begins after %X", appHash, before, c.genesis.AppHash)
	}
	return contain(func() error {
		states := c.stateStore()
		state, err := states.Load()
		if err != nil {
			return err
		}
		if state.IsEmpty() {
			if state, err = sm.MakeGenesisState(c.genesis); err != nil {
				return err
			}
			state.LastResultsHash = merkle.HashFromByteSlices(nil) // as after InitChain
			if err := states.Save(state); err != nil {
				return err
			}
		}
		blocks := store.NewBlockStore(c.view(blockDB))
		if state.LastBlockHeight > 0 || blocks.Height() != c.genesis.InitialHeight {
			return nil
		}
		return c.applyFirst(ctx, states, &state, blocks)
	})
}

// applyFirst applies the first block, which is stored, to the state before it.
func (c *Chain) applyFirst(ctx context.Context, states sm.Store, state *sm.State, blocks *store.BlockStore) error {
	app := proxy.NewAppConns(creator{c}, proxy.NopMetrics())
	app.SetLogger(c.engineLogger())
	if err := app.Start(); err != nil {
		return err
	}
	defer func() { _ = app.Stop() }() // it is in this process
	from := state.Copy()
	from.LastBlockHeight = c.genesis.InitialHeight - 1 // so that the block is the next one
	handshake := consensus.NewHandshaker(states, from, blocks, c.genesis)
	handshake.SetLogger(c.engineLogger().With("module", "consensus"))
	return handshake.HandshakeWithContext(ctx, app)
}

// StoredBlocks are the blocks of a chain that does not run. Not safe for concurrent use.
type StoredBlocks struct {
	files  *blockFiles
	blocks *store.BlockStore
}

// OpenBlocks opens the blocks that a Chain with this directory and store has left. They
// must be closed before it runs again.
func OpenBlocks(kvStore kv.Store, dir string) (s *StoredBlocks, err error) {
	s = &StoredBlocks{files: newBlockFiles(blocksDir(dir))}
	err = contain(func() error {
		db := newDatabase(kv.Prefixed(kvStore, []byte(blockDB+"/")), newGate())
		db.blocks = s.files
		s.blocks = store.NewBlockStore(db)
		return nil
	})
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("open stored blocks: %w", err)
	}
	return s, nil
}

// Range returns the lowest and the highest height that there is, 0 and 0 if there is none.
func (s *StoredBlocks) Range() (lowest, highest uint64) {
	return uint64(s.blocks.Base()), uint64(s.blocks.Height()) //nolint:gosec // not negative
}

// Block returns a block as Application.Finalize gets it, but without what others voted and
// evidence. The error is ErrNotFound if it is not there, ErrDamaged if it is not whole.
func (s *StoredBlocks) Block(height uint64) (b Block, err error) {
	err = contain(func() error {
		block := s.blocks.LoadBlock(int64(height)) //nolint:gosec // too high ones are not there
		if block == nil {
			return fmt.Errorf("block %d: %w", height, ErrNotFound)
		}
		b = Block{Height: height, Time: block.Time, Proposer: block.ProposerAddress, Hash: block.Hash(), Txs: rawTxs(block.Txs)}
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("read block %d: %w", height, err)
	}
	return b, err
}

func rawTxs(txs types.Txs) (list [][]byte) {
	for _, tx := range txs {
		list = append(list, tx)
	}
	return list
}

// Close closes the files.
func (s *StoredBlocks) Close() { s.files.close() }
