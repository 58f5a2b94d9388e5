package comet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	cmtstate "github.com/cometbft/cometbft/proto/tendermint/state"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/store"
)

// Old blocks go in two steps. When the application lets go of heights (see
// Application.Commit), CometBFT drops their transactions in the commit of a
// block. It keeps header, commit and validators for as long as evidence may need
// them, and then forgets that they are there; the sweep removes them.
const (
	// pruneStride is how many heights are dropped at a time: each time costs
	// two synced writes. maxPrune bounds what one commit drops, so that a chain
	// whose operator shortens the retention catches up without a stall.
	pruneStride = 16
	maxPrune    = 64
	// sweepInterval is how often old headers are looked for; sweepBatch how many
	// heights go in one write.
	sweepInterval = 10 * time.Second
	sweepBatch    = 500
)

// openBlocks removes the block files that the stores do not know any more.
func (c *Chain) openBlocks() error {
	return contain(func() error {
		record := store.LoadBlockStoreState(c.view(blockDB))
		if record.Height == 0 {
			return c.blocks.clear()
		}
		return c.blocks.drop(record.Base)
	})
}

// retain returns the height below which CometBFT shall drop blocks in this
// commit, given the one below which the application does not need them.
func (c *Chain) retain(wanted uint64) int64 {
	if wanted == 0 || wanted > math.MaxInt64 {
		return 0
	}
	var base int64
	if err := contain(func() error {
		base = store.LoadBlockStoreState(c.view(blockDB)).Base
		if base == 0 {
			return nil
		}
		return c.beginSweep(base)
	}); err != nil || base == 0 {
		return 0 // at the next commit
	}
	return max(0, min(int64(wanted)-int64(wanted)%pruneStride, base+maxPrune))
}

// Base returns the lowest height whose block is stored, 0 if none is.
func (c *Chain) Base() uint64 {
	n, running := c.running()
	if !running {
		return 0
	}
	return uint64(n.BlockStore().Base())
}

// sweep removes what is left of blocks that evidence cannot need any more, now
// and then until ctx ends.
func (c *Chain) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		more, err := true, error(nil)
		for more && err == nil && ctx.Err() == nil {
			more, err = c.sweepOnce()
		}
		if err != nil && !errors.Is(err, errDetached) {
			c.logger.WarnContext(ctx, "remove headers of old blocks", slog.Any("err", err))
		}
	}
}

// sweptKey is where the block store's view keeps how far the sweep is. CometBFT
// has no key like it.
const sweptKey = "tributary/swept"

// swept is how far the sweep is: all below headers is gone but the validators of
// the heights in kept, and all extended commits below extended.
type swept struct {
	headers, extended int64
	kept              []int64
}

func (s swept) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(s.headers))
	b = binary.BigEndian.AppendUint64(b, uint64(s.extended))
	for _, h := range s.kept {
		b = binary.BigEndian.AppendUint64(b, uint64(h))
	}
	return b
}

func decodeSwept(b []byte) (s swept, err error) {
	if len(b) < 16 || len(b)%8 != 0 {
		return s, fmt.Errorf("the record of swept heights is %x: the store is damaged", b)
	}
	s.headers = int64(binary.BigEndian.Uint64(b))
	s.extended = int64(binary.BigEndian.Uint64(b[8:]))
	for b = b[16:]; len(b) > 0; b = b[8:] {
		s.kept = append(s.kept, int64(binary.BigEndian.Uint64(b)))
	}
	return s, nil
}

// beginSweep records the first height there is to sweep, before anything is
// dropped.
func (c *Chain) beginSweep(base int64) error {
	if c.sweeping.Load() {
		return nil
	}
	c.sweepRecord.Lock()
	defer c.sweepRecord.Unlock()
	blocks := c.view(blockDB)
	old, err := blocks.Get([]byte(sweptKey))
	if err == nil && old == nil {
		err = blocks.Set([]byte(sweptKey), swept{headers: base, extended: base}.encode())
	}
	if err == nil {
		c.sweeping.Store(true)
	}
	return err
}

// sweepOnce removes up to sweepBatch heights and reports whether there are more.
func (c *Chain) sweepOnce() (more bool, err error) {
	err = contain(func() error {
		more, err = c.sweepStep()
		return err
	})
	return more, err
}

func (c *Chain) sweepStep() (more bool, err error) {
	c.sweepRecord.Lock()
	defer c.sweepRecord.Unlock()
	blocks, states := c.view(blockDB), c.view(stateDB)
	raw, err := blocks.Get([]byte(sweptKey))
	if err != nil || raw == nil {
		return false, err // nothing was dropped yet
	}
	at, err := decodeSwept(raw)
	if err != nil {
		return false, err
	}
	state, err := c.stateStore().Load()
	if err != nil || state.IsEmpty() {
		return false, err
	}
	base := store.LoadBlockStoreState(blocks).Base
	next := swept{
		headers:  c.expired(&state, at.headers, min(base, at.headers+sweepBatch)),
		extended: max(at.extended, min(base, at.extended+sweepBatch)),
	}
	if next.headers == at.headers && next.extended == at.extended {
		return false, nil
	}
	// The validators first: if the second write is lost, they are swept again.
	if next.kept, err = sweepValidators(states, at, next.headers); err != nil {
		return false, err
	}
	batch := blocks.NewBatch()
	err = errors.Join(
		deleteHeights(batch, "H:%d", at.headers, next.headers),
		deleteHeights(batch, "C:%d", at.headers, next.headers),
		deleteHeights(batch, "EC:%d", at.extended, next.extended),
		batch.Set([]byte(sweptKey), next.encode()))
	return next.headers == at.headers+sweepBatch || next.extended == at.extended+sweepBatch, finish(batch, err, false)
}

func deleteHeights(batch dbm.Batch, key string, from, end int64) error {
	for h := from; h < end; h++ {
		if err := batch.Delete(fmt.Appendf(nil, key, h)); err != nil {
			return err
		}
	}
	return nil
}

// expired returns the first height in [from, end] whose header must stay, since
// evidence may still be about it here or at a node that joins, or end.
func (c *Chain) expired(state *sm.State, from, end int64) int64 {
	blocks := store.NewBlockStore(c.view(blockDB))
	for h := from; h < end; h++ {
		meta := blocks.LoadBlockMeta(h)
		if meta != nil && needed(state, h, meta.Header.Time, true) {
			return h
		}
	}
	return max(from, end)
}

// validatorsCheckpoint is how often CometBFT stores a validator set that did not
// change.
const validatorsCheckpoint = 100_000

func validatorsKey(height int64) []byte { return fmt.Appendf(nil, "validatorsKey:%d", height) }

// sweepValidators removes the validator sets below end but those that end refers
// to, which it returns: a set is stored when it changes and at checkpoints, other
// heights say where.
func sweepValidators(states dbm.DB, at swept, end int64) (kept []int64, err error) {
	if end == at.headers {
		return at.kept, nil
	}
	raw, err := states.Get(validatorsKey(end))
	if err != nil {
		return nil, err
	}
	var info cmtstate.ValidatorsInfo
	if raw == nil {
		return nil, fmt.Errorf("the validators of height %d are not there", end)
	}
	if err := info.Unmarshal(raw); err != nil {
		return nil, fmt.Errorf("the validators of height %d cannot be read: %w", end, err)
	}
	keep := make(map[int64]bool)
	if info.ValidatorSet == nil {
		keep[info.LastHeightChanged] = true
		keep[max(end-end%validatorsCheckpoint, info.LastHeightChanged)] = true
	}
	batch := states.NewBatch()
	remove := func(h int64) error {
		if keep[h] {
			kept = append(kept, h)
			return nil
		}
		return batch.Delete(validatorsKey(h))
	}
	for _, h := range at.kept {
		err = errors.Join(err, remove(h))
	}
	for h := at.headers; h < end; h++ {
		err = errors.Join(err, remove(h))
	}
	return kept, finish(batch, err, false)
}
