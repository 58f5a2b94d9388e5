package comet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	cmtstate "github.com/cometbft/cometbft/proto/tendermint/state"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
	"golang.org/x/time/rate"
)

type (
	blockID    = types.BlockID
	lightBlock = types.LightBlock
)

const (
	// sourceWorkers questions are put to a source at a time, sourceRate at most in a
	// second: less than nodes allow one address by default.
	sourceWorkers = 64
	sourceRate    = 400
)

// asking puts questions to several sources at once. One that fails is left out
// until all have failed. It has one user at a time.
type asking struct {
	sources []LightSource
	limits  []*rate.Limiter
	failed  []*atomic.Bool
	first   int // who is asked first if one answer is wanted
}

func newAsking(sources []LightSource, first int, limit rate.Limit) *asking {
	a := &asking{sources: sources, first: first}
	for range sources {
		a.limits = append(a.limits, rate.NewLimiter(limit, sourceWorkers))
		a.failed = append(a.failed, new(atomic.Bool))
	}
	return a
}

// answer is what a source said of a height: a block that is one in itself, or nil.
type answer struct {
	block  *lightBlock
	source int
}

// linked is a block that is the one below another.
type linked struct {
	*lightBlock

	id blockID
}

// fetch asks for the heights from high down to low, each one of the sources, and
// returns what they said, from high down.
func (a *asking) fetch(ctx context.Context, chainID string, high, low int64) []answer {
	out := make([]answer, high-low+1)
	queue := make(chan int64, len(out))
	for h := high; h >= low; h-- {
		queue <- h
	}
	if !slices.ContainsFunc(a.failed, func(f *atomic.Bool) bool { return !f.Load() }) {
		for _, f := range a.failed {
			f.Store(false)
		}
	}
	var workers sync.WaitGroup
	for i := range a.sources {
		for range min(sourceWorkers, len(out)) {
			workers.Go(func() {
				for !a.failed[i].Load() && ctx.Err() == nil {
					select {
					case h := <-queue:
						b, err := a.ask(ctx, chainID, i, h)
						if err != nil {
							a.failed[i].Store(true)
							queue <- h // it has room, since h came from it
							return
						}
						out[high-h] = answer{b, i}
					default:
						return
					}
				}
			})
		}
	}
	workers.Wait()
	return out
}

// ask asks one source for the block at height.
func (a *asking) ask(ctx context.Context, chainID string, i int, height int64) (b *lightBlock, err error) {
	err = contain(func() error {
		if err := a.limits[i].Wait(ctx); err != nil {
			return err
		}
		ask, cancel := context.WithTimeout(ctx, sourceTimeout)
		defer cancel()
		header, validators, err := a.sources[i].LightBlock(ask, uint64(height))
		if err != nil {
			return err
		}
		if b, err = decodeLightBlock(header, validators); err == nil {
			err = b.ValidateBasic(chainID)
		}
		return err
	})
	return b, err
}

// take returns the block that want is about: the one that came, if it is, or else what
// any source has.
func (a *asking) take(ctx context.Context, chainID string, want link, came answer) (linked, error) {
	if came.block != nil {
		if want.fits(chainID, came.block) == nil {
			return linked{came.block, want.id}, nil
		}
		a.failed[came.source].Store(true)
	}
	var failed error
	lacking := 0
	for n := range a.sources {
		i := (a.first + n) % len(a.sources)
		b, err := a.ask(ctx, chainID, i, want.height)
		if err == nil {
			err = want.fits(chainID, b)
		}
		if err == nil {
			a.first = i // one that does not answer costs its timeout
			return linked{b, want.id}, nil
		}
		if errors.Is(err, ErrNotFound) {
			lacking++
		}
		failed = errors.Join(failed, fmt.Errorf("source %s: %w", a.sources[i], err))
	}
	if lacking == len(a.sources) {
		return linked{}, fmt.Errorf("header %d: %w, of %d; name a node in state_sync.sources that does", want.height, errLacking, lacking)
	}
	return linked{}, fmt.Errorf("header %d: %w", want.height, failed)
}

// saveBackfill writes a run of blocks, from the highest down, where CometBFT looks
// for them, and that they are there.
func (c *Chain) saveBackfill(run []linked, at filled) error {
	if err := c.widenSweep(at.lowest, run[0].Height+1); err != nil {
		return err
	}
	if err := c.saveValidators(run); err != nil {
		return err
	}
	batch := c.view(blockDB).NewBatch()
	failed := batch.Set([]byte(filledKey), at.encode())
	for _, b := range run {
		meta := cmtproto.BlockMeta{BlockID: b.id.ToProto(), Header: *b.Header.ToProto()}
		raw, err := meta.Marshal()
		commit, errCommit := b.Commit.ToProto().Marshal()
		if failed = errors.Join(failed, err, errCommit); failed == nil {
			failed = errors.Join(batch.Set(fmt.Appendf(nil, "C:%d", b.Height), commit), batch.Set(fmt.Appendf(nil, "H:%d", b.Height), raw))
		}
	}
	return finish(batch, failed, true)
}

// saveValidators writes the validators of a run as CometBFT does: once, at the
// lowest height they have in the run, to which the other heights refer.
func (c *Chain) saveValidators(run []linked) error {
	states := c.view(stateDB)
	batch := states.NewBatch()
	var failed error
	lowest := 0
	for i := len(run) - 1; i >= 0 && failed == nil; i-- {
		if !bytes.Equal(run[i].ValidatorsHash, run[lowest].ValidatorsHash) || i == len(run)-1 {
			lowest = i
		}
		raw, err := states.Get(validatorsKey(run[i].Height))
		var have cmtstate.ValidatorsInfo
		if failed = errors.Join(err, have.Unmarshal(raw)); failed != nil || have.ValidatorSet != nil {
			continue // those of the snapshot itself are there
		}
		info := cmtstate.ValidatorsInfo{LastHeightChanged: run[lowest].Height}
		if i == lowest || run[i].Height%validatorsCheckpoint == 0 {
			info.ValidatorSet, err = run[i].ValidatorSet.ToProto()
		}
		raw, errRaw := info.Marshal()
		if failed = errors.Join(err, errRaw); failed == nil {
			failed = batch.Set(validatorsKey(run[i].Height), raw)
		}
	}
	return finish(batch, failed, true)
}

// widenSweep makes the sweep remove headers from lowest on, when their time comes.
func (c *Chain) widenSweep(lowest, base int64) error {
	c.sweepRecord.Lock()
	defer c.sweepRecord.Unlock()
	blocks := c.view(blockDB)
	raw, err := blocks.Get([]byte(sweptKey))
	if err != nil {
		return err
	}
	at := swept{headers: lowest, extended: base}
	if raw != nil {
		if at, err = decodeSwept(raw); err != nil {
			return err
		}
		at.headers = min(at.headers, lowest)
	}
	return blocks.Set([]byte(sweptKey), at.encode())
}
