package comet

import (
	"context"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	cmtlog "github.com/cometbft/cometbft/libs/log"

	"github.com/tributary-network/tributary/ledger/kv"
)

// BlockFileHeights is how many heights a block file holds.
const BlockFileHeights = blockFileHeights

// NewBlockDatabase returns store as CometBFT's block store sees it, with block
// files in dir, and what closes them.
func NewBlockDatabase(store kv.Store, dir string) (dbm.DB, func()) {
	d := newDatabase(store, newGate())
	d.blocks = newBlockFiles(dir)
	return d, d.blocks.close
}

// Sweep sweeps as long as there is something to sweep.
func (c *Chain) Sweep() error {
	for more := true; more; {
		var err error
		if more, err = c.sweepOnce(); err != nil {
			return err
		}
	}
	return nil
}

// TrustedState returns the application hash after height as state sync would have
// it.
func TrustedState(ctx context.Context, s StateSync, g Genesis, height uint64) ([]byte, error) {
	doc, err := g.doc()
	if err != nil {
		return nil, err
	}
	states := newTrustedStates(s, doc, cmtlog.NewNopLogger())
	state, err := states.State(ctx, height)
	if err != nil {
		return nil, err
	}
	if _, err := states.Commit(ctx, height); err != nil {
		return nil, err
	}
	return state.AppHash, nil
}

// Progress is how far a node is.
type Progress struct{ p progress }

// NewProgress has not begun.
func NewProgress() *Progress { return &Progress{} }

// Look looks at now.
func (p *Progress) Look(now time.Time, phase SyncPhase, height, target uint64) SyncStatus {
	return p.p.look(now, phase, height, target, "")
}

// Snapshot takes a chunk.
func (p *Progress) Snapshot(height uint64, taken, total uint32) { p.p.snapshot(height, taken, total) }
