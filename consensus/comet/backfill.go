package comet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cometbft/cometbft/evidence"
	cmtstate "github.com/cometbft/cometbft/proto/tendermint/state"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/store"
	"github.com/cometbft/cometbft/types"
)

// A node that joined by a snapshot has no headers below it, but evidence may be
// about them, and a block with evidence that the node cannot judge is a block it
// cannot take. So it fetches what evidence may need from its sources, from the
// snapshot downwards, newest first: each header must have the hash that the one above
// it names, and the validators the hash that their header names. Until that is done,
// and for heights more than maxBackfill below the snapshot, a block with such
// evidence is refused, as if it were wrong.
const (
	maxBackfill = 20_000
	// backfillBatch heights are written at a time.
	backfillBatch = 200
	// backfillAgain is how long to wait for a source, or for the snapshot.
	backfillAgain = time.Second
	// backfillTries is how often a source is asked in vain before it is given up
	// until the next start.
	backfillTries = 60
)

// backfill fetches the headers below the snapshot, until ctx ends or all are there.
func (c *Chain) backfill(ctx context.Context) {
	if c.cfg.StateSync == nil {
		return
	}
	tick := time.NewTicker(backfillAgain)
	defer tick.Stop()
	for tries := 0; tries < backfillTries; {
		done, err := c.backfillOnce(ctx)
		switch {
		case done || errors.Is(err, errDetached):
			return
		case err != nil:
			tries++
			c.logger.WarnContext(ctx, "fetch headers below the snapshot, which evidence may need", slog.Any("err", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (c *Chain) backfillOnce(ctx context.Context) (done bool, err error) {
	err = contain(func() error {
		state, err := c.stateStore().Load()
		if err != nil || state.LastBlockHeight == 0 {
			return err
		}
		done, err = c.backfillFrom(ctx, &state)
		return err
	})
	return done, err
}

// backfillFrom fetches what is missing below the lowest header there is.
func (c *Chain) backfillFrom(ctx context.Context, state *sm.State) (done bool, err error) {
	blocks := store.NewBlockStore(c.view(blockDB))
	top, id := state.LastBlockHeight, state.LastBlockID
	if base := blocks.Base(); base > 0 {
		top, id = base, types.BlockID{}
	}
	start := top
	for meta := blocks.LoadBlockMeta(top); meta != nil; meta = blocks.LoadBlockMeta(top) {
		top, id = top-1, meta.Header.LastBlockID
	}
	if top > 0 && id.IsZero() {
		return true, nil // there is not even the header of the lowest block
	}
	for top > 0 && start-top < maxBackfill {
		var run []*types.LightBlock
		var ids []types.BlockID
		ended := false
		for h := top; h > 0 && len(run) < backfillBatch && !ended; h-- {
			b, err := c.linked(ctx, h, id)
			if err != nil {
				return false, errors.Join(err, c.saveBackfill(run, ids))
			}
			ended = b == nil || evidence.IsEvidenceExpired(state.LastBlockHeight, state.LastBlockTime, h, b.Time, state.ConsensusParams.Evidence)
			if !ended {
				run, ids, id = append(run, b), append(ids, id), b.LastBlockID
			}
		}
		if err := c.saveBackfill(run, ids); err != nil || ended {
			return err == nil, err
		}
		top -= int64(len(run))
		c.logger.InfoContext(ctx, "headers below the snapshot fetched", slog.Int64("down_to", top+1))
	}
	if top > 0 {
		c.logger.WarnContext(ctx, "no more headers below the snapshot are fetched: this node refuses blocks with evidence about lower heights, "+
			"until such evidence is too old for everybody; let validators join by all blocks, or by a newer snapshot later",
			slog.Int64("lowest", top+1), slog.Int64("limit", maxBackfill))
	}
	return true, nil
}

// linked returns the header of the block with id, from whatever source has it, or
// nil if none has.
func (c *Chain) linked(ctx context.Context, height int64, id types.BlockID) (*types.LightBlock, error) {
	var failed error
	sources := c.cfg.StateSync.Sources
	for i := range sources {
		source := sources[(c.source+i)%len(sources)]
		ask, cancel := context.WithTimeout(ctx, sourceTimeout)
		header, validators, err := source.LightBlock(ask, uint64(height))
		cancel()
		if errors.Is(err, ErrNotFound) {
			continue
		}
		var b *types.LightBlock
		if err == nil {
			b, err = decodeLightBlock(header, validators)
		}
		if err == nil {
			err = b.ValidateBasic(c.ID())
		}
		if err == nil && (b.Height != height || !bytes.Equal(b.Hash(), id.Hash)) {
			err = fmt.Errorf("header %d is %X, want %X", height, b.Hash(), id.Hash)
		}
		if err == nil {
			c.source = (c.source + i) % len(sources) // one that does not answer costs its timeout
			return b, nil
		}
		failed = errors.Join(failed, fmt.Errorf("ask %s: %w", source, err))
	}
	return nil, failed
}

// saveBackfill writes a run of blocks, from the highest down, where CometBFT looks
// for them.
func (c *Chain) saveBackfill(run []*types.LightBlock, ids []types.BlockID) error {
	if len(run) == 0 {
		return nil
	}
	lowest := run[len(run)-1].Height
	if err := c.widenSweep(lowest, run[0].Height+1); err != nil {
		return err
	}
	if err := c.saveValidators(run); err != nil {
		return err
	}
	batch := c.view(blockDB).NewBatch()
	var failed error
	for i, b := range run {
		meta := cmtproto.BlockMeta{BlockID: ids[i].ToProto(), Header: *b.Header.ToProto()}
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
func (c *Chain) saveValidators(run []*types.LightBlock) error {
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
