package comet

import (
	"fmt"
	"sync"

	cmtstate "github.com/cometbft/cometbft/proto/tendermint/state"
	"github.com/cometbft/cometbft/types"
)

// CometBFT stores a validator set when it changes and every 100,000 heights. To read
// that of another height it turns the order of proposers once for each height between,
// 0.2 us each with a hundred members: a hundredth of a second for the light block of an
// old height, of which a node that joins wants half a million. So some on the way are
// remembered.
const (
	// turnStride is how many heights lie between two that are remembered, turnRuns how
	// many runs of heights without a change are.
	turnStride = 512
	turnRuns   = 2
)

// turned remembers validator sets. It is safe for concurrent use.
type turned struct {
	mu   sync.Mutex
	runs []turnedRun // the one used last comes last
}

// turnedRun are the sets of the heights stored, stored+turnStride and so on.
type turnedRun struct {
	stored int64
	sets   []*types.ValidatorSet // never changed
}

// below returns the set of the highest remembered height up to height, and that height.
// load reads the set at stored.
func (t *turned) below(stored, height int64, load func() (*types.ValidatorSet, error)) (*types.ValidatorSet, int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	run := turnedRun{stored: stored}
	for i, r := range t.runs {
		if r.stored == stored {
			run = r
			t.runs = append(t.runs[:i:i], t.runs[i+1:]...)
			break
		}
	}
	if run.sets == nil {
		first, err := load()
		if err != nil {
			return nil, 0, err
		}
		run.sets = append(run.sets, first)
	}
	n := (height - stored) / turnStride
	for int64(len(run.sets)) <= n {
		run.sets = append(run.sets, run.sets[len(run.sets)-1].CopyIncrementProposerPriority(turnStride))
	}
	t.runs = append(t.runs, run)
	if len(t.runs) > turnRuns {
		t.runs = t.runs[1:]
	}
	return run.sets[n], stored + n*turnStride, nil
}

// validatorsAt returns what CometBFT's LoadValidators does, for less.
func (c *Chain) validatorsAt(height int64) (*types.ValidatorSet, error) {
	raw, err := c.view(stateDB).Get(validatorsKey(height))
	if err != nil {
		return nil, err
	}
	var info cmtstate.ValidatorsInfo
	if err := info.Unmarshal(raw); err != nil {
		return nil, fmt.Errorf("the validators of height %d cannot be read: %w", height, err)
	}
	stored := max(height-height%validatorsCheckpoint, info.LastHeightChanged)
	if len(raw) == 0 || info.ValidatorSet != nil || stored >= height {
		return c.stateStore().LoadValidators(height)
	}
	set, at, err := c.turned.below(stored, height, func() (*types.ValidatorSet, error) {
		return c.stateStore().LoadValidators(stored)
	})
	if err != nil {
		return nil, err
	}
	if at == height {
		return set.Copy(), nil
	}
	return set.CopyIncrementProposerPriority(int32(height - at)), nil //nolint:gosec // below turnStride
}
