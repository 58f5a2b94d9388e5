package comet

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cometbft/cometbft/node"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
)

// Extension is what went with a validator's vote for a block.
type Extension struct {
	Validator []byte // consensus address, 20 bytes
	Round     uint32 // of the vote
	Data      []byte // not checked, at most MaxPeerExtension bytes; may be empty, and is if it was longer
}

// Extensions returns the extensions of the votes for the block at height that
// this node has, and the block's hash: those of the votes by which it committed
// the block, which are stored with it, and of the last few blocks also those of
// votes of the same round that came later, up to MaxExtension bytes each. There is at
// most one for each validator, of more than two thirds of the voting power; those of the
// stored votes come first, in the order of the validator set. The error is [ErrNotFound]
// if the block is not stored with its votes.
func (c *Chain) Extensions(height uint64) (blockHash []byte, extensions []Extension, err error) {
	var round uint32
	err = c.load(func(n *node.Node) error {
		commit := n.BlockStore().LoadBlockExtendedCommit(int64(height)) //nolint:gosec // beyond the range is not found
		if commit == nil {
			return fmt.Errorf("%w: extensions of height %d", ErrNotFound, height)
		}
		blockHash, round = commit.BlockID.Hash, uint32(commit.Round) //nolint:gosec // not negative
		for _, s := range commit.ExtendedSignatures {
			if s.BlockIDFlag == types.BlockIDFlagCommit {
				e := Extension{Validator: s.ValidatorAddress, Round: round}
				if len(s.Extension) <= MaxPeerExtension {
					e.Data = s.Extension
				}
				extensions = append(extensions, e)
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	stored := len(extensions)
	for _, late := range c.late.of(int64(height), round, blockHash) {
		if !slices.ContainsFunc(extensions[:stored], func(e Extension) bool { return bytes.Equal(e.Validator, late.Validator) }) {
			extensions = append(extensions, late)
		}
	}
	return blockHash, extensions, nil
}

const (
	// lateHeights is of how many of the last heights votes are collected.
	lateHeights = 16
	// voteBuffer is how many votes may wait to be collected. When more come, some
	// are not: they are a help, not a need.
	voteBuffer = 1_000
	// collectPause is how long the collection rests when votes came too fast.
	collectPause = time.Second
)

// lateVotes collects the extensions of votes while they come, since those that
// come after the block is committed are stored nowhere: a few wrong extensions
// among the first votes would leave too few right ones. It is safe for concurrent
// use.
type lateVotes struct {
	mu      sync.Mutex
	highest int64
	heights map[int64]map[string]lateVote // by height and consensus address
}

type lateVote struct {
	blockHash []byte
	round     uint32
	extension []byte
}

// add takes the vote of a precommit that consensus has verified. One with more than an
// honest node attaches is left out, so that what waits here stays small.
func (l *lateVotes) add(v *types.Vote) {
	if v.Type != cmtproto.PrecommitType || v.BlockID.IsZero() || len(v.Extension) == 0 || len(v.Extension) > MaxExtension {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if v.Height > l.highest {
		l.highest = v.Height
		for h := range l.heights {
			if h <= l.highest-lateHeights {
				delete(l.heights, h)
			}
		}
	}
	if v.Height <= l.highest-lateHeights {
		return
	}
	votes := l.heights[v.Height]
	if votes == nil {
		votes = make(map[string]lateVote)
		if l.heights == nil {
			l.heights = make(map[int64]map[string]lateVote)
		}
		l.heights[v.Height] = votes
	}
	votes[string(v.ValidatorAddress)] = lateVote{blockHash: v.BlockID.Hash, round: uint32(v.Round), extension: v.Extension} //nolint:gosec // not negative
}

// of returns the extensions of the votes for a block in a round, by address.
func (l *lateVotes) of(height int64, round uint32, blockHash []byte) []Extension {
	l.mu.Lock()
	defer l.mu.Unlock()
	votes := l.heights[height]
	extensions := make([]Extension, 0, len(votes))
	for address, v := range votes {
		if v.round == round && bytes.Equal(v.blockHash, blockHash) {
			extensions = append(extensions, Extension{Validator: []byte(address), Round: round, Data: v.extension})
		}
	}
	slices.SortFunc(extensions, func(a, b Extension) int { return bytes.Compare(a.Validator, b.Validator) })
	return extensions
}

// collectVotes fills c.late until ctx ends.
func (c *Chain) collectVotes(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		// A subscription that fell behind is gone, but its name stays taken.
		votes, err := c.engine.EventBus().Subscribe(ctx, "late votes "+strconv.Itoa(attempt), types.EventQueryVote, voteBuffer)
		if err != nil {
			c.logger.DebugContext(ctx, "votes are not collected", slog.Any("err", err))
		} else {
			c.collect(ctx, votes)
		}
		select {
		case <-ctx.Done():
		case <-time.After(collectPause):
		}
	}
}

func (c *Chain) collect(ctx context.Context, votes types.Subscription) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-votes.Canceled():
			return
		case msg := <-votes.Out():
			if data, ok := msg.Data().(types.EventDataVote); ok && data.Vote != nil {
				c.late.add(data.Vote)
			}
		}
	}
}
