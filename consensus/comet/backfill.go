package comet

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cometbft/cometbft/evidence"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/store"
	"github.com/cometbft/cometbft/types"
	"golang.org/x/time/rate"
)

// A node that joined by a snapshot has no headers below it, but evidence may be about
// them for as long as faults are punished, and anybody who was ever a member can make
// such evidence. A block that has it and that the others agree on is one that this node
// can neither take nor pass over. So it fetches them all, from the snapshot downwards,
// from whoever has them: each header must have the hash that the one above it names, the
// commit and the validators those that their headers name, so that nobody has to be
// believed. That comes before the first block: block sync is held back meanwhile, at
// the join and at every start that finds headers missing, whatever the settings say by
// then. Only if the sources fail for too long does the node go on without, says so in
// its status, and tries again in the background.
const (
	// backfillWindow heights are asked for at the same time, backfillBatch written.
	backfillWindow = 600
	backfillBatch  = 200
	// backfillAgain is how long to wait before sources are asked again, and
	// backfillLater the same in the background.
	backfillAgain = time.Second
	backfillLater = time.Minute
	// backfillTries is how often the sources may fail before block sync begins all the
	// same, backfillLacks how often they may say that they do not have a header, and
	// backfillLimit how long all may take: peers keep the blocks that come next for a
	// few hours only.
	backfillTries = 60
	backfillLacks = 3
	backfillLimit = 2 * time.Hour
)

// filledKey is where the block store's view keeps how far the fetching is. It is there
// if and only if the node joined by a snapshot. CometBFT has no key like it.
const filledKey = "tributary/headers"

// filled is how far the fetching is: of the heights up to top, that of the snapshot,
// those from lowest on are there.
type filled struct {
	top, lowest int64
	done        bool // evidence about what is below lowest is too old
}

func (f filled) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(f.top))
	b = binary.BigEndian.AppendUint64(b, uint64(f.lowest))
	if f.done {
		return append(b, 1)
	}
	return append(b, 0)
}

func decodeFilled(b []byte) (f filled, err error) {
	if len(b) != 17 || b[16] > 1 {
		return f, fmt.Errorf("the record of fetched headers is %x: the store is damaged", b)
	}
	f = filled{top: int64(binary.BigEndian.Uint64(b)), lowest: int64(binary.BigEndian.Uint64(b[8:])), done: b[16] == 1}
	if f.top < 1 || f.lowest < 1 || f.lowest > f.top+1 {
		return f, fmt.Errorf("the record of fetched headers is %d to %d: the store is damaged", f.lowest, f.top)
	}
	return f, nil
}

// loadFilled returns how far the fetching is; ok is false for a node that did not join
// by a snapshot.
func (c *Chain) loadFilled() (f filled, ok bool, err error) {
	raw, err := c.view(blockDB).Get([]byte(filledKey))
	if err != nil || raw == nil {
		return f, false, err
	}
	f, err = decodeFilled(raw)
	return f, err == nil, err
}

// beginFilling notes that the node begins after the snapshot of a height. It comes
// before CometBFT learns of the snapshot, so that no crash can lose it.
func (c *Chain) beginFilling(top int64) error {
	f := filled{top: top, lowest: top + 1}
	c.filling.note(f, math.MaxInt64, "")
	return c.view(blockDB).SetSync([]byte(filledKey), f.encode())
}

// HeaderStatus is how far a node that joined by a snapshot is with the headers below it,
// which it needs to judge evidence of old faults.
type HeaderStatus struct {
	Have, Want uint64  // headers; Want as far as can be told, 0 if there is nothing to fetch
	PerSecond  float64 // fetched lately
	Problem    string  // why nothing can be fetched and what to do, in one line; or empty
}

// Missing returns how many headers are missing.
func (s HeaderStatus) Missing() uint64 { return s.Want - min(s.Want, s.Have) }

// String says it in one line.
func (s HeaderStatus) String() string {
	text := fmt.Sprintf("headers for old evidence %d/%d", s.Have, s.Want)
	switch {
	case s.Problem != "":
		text += ": " + s.Problem
	case s.PerSecond > 0:
		left := time.Duration(float64(s.Missing()) / s.PerSecond * float64(time.Second))
		text += fmt.Sprintf(", %.0f per second, %v left", s.PerSecond, left.Round(time.Second))
	}
	return text
}

// filling is the fetching of headers as Status tells of it. It is safe for concurrent
// use.
type filling struct {
	held   atomic.Bool // block sync waits for it
	source int         // that answered last; owned by the one loop that fetches
	rate   rate.Limit  // of questions to a source, per second; set before the loop runs

	mu      sync.Mutex
	status  HeaderStatus
	looked  time.Time
	counted uint64
}

// note takes how far the fetching is, where heights below floor need not be fetched.
func (f *filling) note(at filled, floor int64, problem string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	s := &f.status
	if at.done {
		*s = HeaderStatus{}
		return
	}
	have := uint64(at.top + 1 - at.lowest) //nolint:gosec // not negative
	if since := now.Sub(f.looked).Seconds(); since > 0 && have > f.counted && f.counted > 0 {
		s.PerSecond = float64(have-f.counted) / since
	}
	f.looked, f.counted = now, have
	s.Have, s.Want, s.Problem = have, have+uint64(max(1, at.lowest-max(1, floor))), problem //nolint:gosec // not negative
	if problem != "" {
		s.PerSecond = 0
	}
}

func (f *filling) get() HeaderStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// errLacking says that the sources answer, but do not have a header.
var errLacking = errors.New("no source has it")

// needed reports whether evidence about a header of height and time may still come. If
// spare is set, the answer is yes for a tenth longer: nodes that join begin at a
// snapshot that is some way behind, and have to judge the blocks from there on.
func needed(state *sm.State, height int64, at time.Time, spare bool) bool {
	p := state.ConsensusParams.Evidence
	if spare {
		p.MaxAgeNumBlocks += p.MaxAgeNumBlocks / 10
		p.MaxAgeDuration += p.MaxAgeDuration / 10
	}
	return !evidence.IsEvidenceExpired(state.LastBlockHeight, state.LastBlockTime, height, at, p)
}

// incomplete reports whether headers are missing that evidence may be about, and
// remembers it if there are none any more.
func (c *Chain) incomplete() (at filled, state sm.State, yes bool, err error) {
	at, joined, err := c.loadFilled()
	if err != nil || !joined || at.done {
		c.filling.note(filled{done: true}, 0, "")
		return at, state, false, err
	}
	if state, err = c.stateStore().Load(); err != nil || state.LastBlockHeight == 0 {
		return at, state, err == nil, err
	}
	meta := store.NewBlockStore(c.view(blockDB)).LoadBlockMeta(at.lowest)
	swept, err := c.sweptTo()
	switch {
	case err != nil:
		return at, state, false, err
	case at.lowest > c.genesis.InitialHeight && (meta == nil || needed(&state, at.lowest, meta.Header.Time, false)) && swept <= at.lowest:
		c.filling.note(at, state.LastBlockHeight-state.ConsensusParams.Evidence.MaxAgeNumBlocks, c.filling.get().Problem)
		return at, state, true, nil
	}
	at.done = true
	c.filling.note(at, 0, "")
	return at, state, false, c.view(blockDB).SetSync([]byte(filledKey), at.encode())
}

// sweptTo returns the height below which headers were removed, 0 if none were.
func (c *Chain) sweptTo() (int64, error) {
	raw, err := c.view(blockDB).Get([]byte(sweptKey))
	if err != nil || raw == nil {
		return 0, err
	}
	at, err := decodeSwept(raw)
	return at.headers, err
}

// headerSources are asked for headers below a snapshot.
func (c *Chain) headerSources() []LightSource {
	if len(c.cfg.HeaderSources) == 0 && c.cfg.StateSync != nil {
		return c.cfg.StateSync.Sources
	}
	return c.cfg.HeaderSources
}

// fillFirst fetches the headers that are missing while block sync is held back: until
// ctx ends, all are there, or the sources have failed for long enough.
func (c *Chain) fillFirst(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, backfillLimit)
	defer cancel()
	lacks := 0
	for range backfillTries {
		done, err := c.fill(limited, true)
		if done || limited.Err() != nil || len(c.headerSources()) == 0 {
			break
		}
		if errors.Is(err, errLacking) {
			lacks++
		}
		if lacks >= backfillLacks || !pause(limited, backfillAgain) {
			break
		}
	}
	if s := c.filling.get(); s.Want > 0 && ctx.Err() == nil {
		c.logger.ErrorContext(ctx, "headers below the snapshot are missing: a block with evidence about one of them would halt this node; "+
			"they are fetched in the background if possible, and at the next start before anything else",
			slog.Uint64("have", s.Have), slog.Uint64("want", s.Want), slog.String("problem", s.Problem))
	}
}

// fillOn goes on where fillFirst gave up, until ctx ends or all is there.
func (c *Chain) fillOn(ctx context.Context) {
	for c.filling.get().Want > 0 && pause(ctx, backfillLater) {
		if _, err := c.fill(ctx, false); errors.Is(err, errDetached) {
			return
		}
	}
}

// pause waits for d, and reports false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// fill fetches what is missing until something fails, which it notes. first says that
// nothing else writes blocks.
func (c *Chain) fill(ctx context.Context, first bool) (done bool, err error) {
	began, told := time.Now(), time.Now()
	var asked *asking
	err = contain(func() error {
		for ctx.Err() == nil {
			at, state, missing, err := c.incomplete()
			if err != nil || !missing {
				done = err == nil
				return err
			}
			if asked == nil {
				asked = newAsking(c.headerSources(), c.filling.source, c.filling.rate)
			}
			ended, err := c.fillWindow(ctx, asked, &state, at, first)
			if err != nil || ended {
				done = ended
				return err
			}
			if s := c.filling.get(); time.Since(told) >= progressLog && s.Want > 0 {
				told = time.Now()
				c.logger.InfoContext(ctx, "headers below the snapshot are fetched, which evidence may need", slog.Uint64("have", s.Have),
					slog.Uint64("want", s.Want), slog.Float64("per_second", s.PerSecond))
			}
		}
		return ctx.Err()
	})
	switch {
	case done && asked != nil:
		c.logger.InfoContext(ctx, "all headers are there that evidence may need", slog.Duration("took", time.Since(began).Round(time.Millisecond)))
	case err != nil && !errors.Is(err, errDetached) && ctx.Err() == nil:
		_ = contain(func() error {
			at, state, missing, errRecord := c.incomplete()
			if missing {
				c.filling.note(at, state.LastBlockHeight-state.ConsensusParams.Evidence.MaxAgeNumBlocks, err.Error())
			}
			return errRecord
		})
		c.logger.WarnContext(ctx, "fetch headers below the snapshot, which evidence may need", slog.Any("err", err))
	}
	return done, err
}

// fillWindow fetches the next headers and writes those that fit. ended says that
// what comes after them is too old.
func (c *Chain) fillWindow(ctx context.Context, asked *asking, state *sm.State, at filled, first bool) (ended bool, err error) {
	if len(asked.sources) == 0 {
		return false, errors.New("there is nobody to ask for them; name a node that has them in state_sync.sources and start again: " +
			"one is enough, since they are verified, and state_sync.enabled need not be set")
	}
	want, err := c.linkBelow(state, at, first)
	if err != nil {
		return false, err
	}
	window := asked.fetch(ctx, c.ID(), want.height, max(c.genesis.InitialHeight, want.height-backfillWindow+1))
	for len(window) > 0 && !ended && err == nil {
		var run []linked
		for len(run) < backfillBatch && len(window) > 0 && !ended {
			var l linked
			if l, err = asked.take(ctx, c.ID(), want, window[0]); err != nil {
				break
			}
			if ended = !needed(state, l.Height, l.Time, true); !ended {
				run, want, window = append(run, l), link{l.Height - 1, l.LastBlockID, l.LastCommitHash}, window[1:]
			}
		}
		if len(run) > 0 {
			at.lowest = run[len(run)-1].Height
			if errSave := c.saveBackfill(run, at); errSave != nil {
				return false, errors.Join(err, errSave)
			}
			c.filling.note(at, state.LastBlockHeight-state.ConsensusParams.Evidence.MaxAgeNumBlocks, "")
			c.progress.touch()
		}
	}
	c.filling.source = asked.first
	if errors.Is(err, errLacking) {
		if _, _, missing, errRecord := c.incomplete(); errRecord == nil && !missing {
			return true, nil // what is lacking is too old
		}
	}
	if err == nil && ended {
		at.done = true
		c.filling.note(at, 0, "")
		err = c.view(blockDB).SetSync([]byte(filledKey), at.encode())
	}
	return ended && err == nil, err
}

// linkBelow returns what is known of the block below those that are there.
func (c *Chain) linkBelow(state *sm.State, at filled, first bool) (link, error) {
	want := link{height: at.lowest - 1}
	switch meta := store.NewBlockStore(c.view(blockDB)).LoadBlockMeta(at.lowest); {
	case meta != nil:
		want.id, want.commit = meta.Header.LastBlockID, meta.Header.LastCommitHash
	case at.lowest != at.top+1:
		return want, fmt.Errorf("header %d is gone: the store is damaged; wipe it and join anew", at.lowest)
	case !first || state.LastBlockHeight != at.top:
		return want, fmt.Errorf("block %d, the first after the snapshot, is not there yet", at.lowest)
	default:
		want.id = state.LastBlockID
	}
	return want, nil
}

// link is what a header or commit says of the block before.
type link struct {
	height int64
	id     blockID
	commit []byte // hash of the commit; nil if not known
}

// fits returns why b is not the block that l is about, or nil.
func (l link) fits(chainID string, b *lightBlock) error {
	switch {
	case b.Height != l.height || !bytes.Equal(b.Hash(), l.id.Hash):
		return fmt.Errorf("it has header %d as %X, want %X", b.Height, b.Hash(), l.id.Hash)
	case !b.Commit.BlockID.Equals(l.id):
		return fmt.Errorf("it has a commit of %v, want %v", b.Commit.BlockID, l.id)
	case l.commit == nil:
		return b.ValidatorSet.VerifyCommitLight(chainID, l.id, l.height, b.Commit)
	case !bytes.Equal(b.Commit.Hash(), l.commit):
		return fmt.Errorf("it has the commit of height %d as %X, want %X", b.Height, b.Commit.Hash(), l.commit)
	}
	// That hash is of the votes alone. One of them tells of which round they are.
	for i, vote := range b.Commit.Signatures {
		if vote.BlockIDFlag == types.BlockIDFlagCommit && i < len(b.ValidatorSet.Validators) {
			if key := b.ValidatorSet.Validators[i].PubKey; key.VerifySignature(b.Commit.VoteSignBytes(chainID, int32(i)), vote.Signature) { //nolint:gosec // below MaxSeats
				return nil
			}
			break
		}
	}
	return fmt.Errorf("it has the votes of height %d as those of round %d, which they are not", b.Height, b.Commit.Round)
}
