package comet

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cometbft/cometbft/types"
)

// MaxPeerExtension bounds, in bytes, the extension of another validator's vote that
// is taken at once, whatever is in it. It is 4 times what a node attaches, which
// cuts its own (see MaxExtension), so that no release which is half right loses its
// votes by it. Extensions are stored with their block: a lone validator that means
// harm makes all others store this much a block, 40 MiB in 10,000 blocks; without a
// bound it would be what a message may be long, 1 MiB a block.
//
// A vote with a longer one is refused: it counts as no vote, and is told of in the log
// and in [Status] under the name that it bears. That is no proof: CometBFT asks when it
// has verified the extension only, and not yet whose vote it is, so that whoever has one
// such extension can send it under the name of every validator. Below a third of the
// power that stops nothing. But who refuses a vote that others have counted would never
// follow them, not even after such votes have ceased. So a height at which work waited
// for refusalPatience without votes that may be needed takes every vote, and all
// connections are made anew, by which the refused votes come again. So whatever share of
// the validators sends whatever size: the chain goes on, with a third or more of them at
// a block in some seconds, and at its own pace as soon as they stop.
const MaxPeerExtension = 4 << 10

const (
	// refusalPatience is how long a height waits at least without the votes it refused:
	// as long as refusalProposals proposals may take, if that is more.
	refusalPatience  = 5 * time.Second
	refusalProposals = 2
	// refusalUnneeded is how many times as long it waits if they seem not to be what it
	// waits for: to make all connections anew costs time, and would do so wherever work
	// waits for another reason. It cannot be sure, so it does not wait for ever.
	refusalUnneeded = 12
	// maxRefusers bounds how many names are remembered: CometBFT has no more validators.
	maxRefusers = types.MaxVotesCount
)

// RefusedVote is a vote that this node refused since its extension is too long.
type RefusedVote struct {
	Validator []byte // consensus address that it names, 20 bytes; the sender picks it
	Height    uint64
	Bytes     int // of the extension
}

// refusals decides about votes by the size of their extension. It is safe for
// concurrent use.
type refusals struct {
	logger *slog.Logger
	member func(validator []byte) bool // of the present validator set; set before the start

	mu       sync.Mutex
	patience time.Duration
	height   int64                // of the votes in by
	since    time.Time            // the first of them
	by       map[string]int       // bytes by consensus address
	taken    int64                // at this height every vote is taken
	total    uint64               // refused since the start
	told     map[string]time.Time // when a validator was logged last
}

func newRefusals(logger *slog.Logger, propose time.Duration) *refusals {
	return &refusals{
		logger: logger, patience: max(refusalPatience, refusalProposals*propose), told: make(map[string]time.Time),
	}
}

// refuses reports whether to refuse a vote at the height that is being agreed on, which
// bears the name of validator. A name that is no validator's is not remembered: the vote
// counts for nobody anyway.
func (r *refusals) refuses(ctx context.Context, height int64, validator []byte, size int) bool {
	if size <= MaxPeerExtension {
		return false
	}
	member := r.member(validator)
	r.mu.Lock()
	defer r.mu.Unlock()
	if height == r.taken {
		return false
	}
	if !member {
		return true
	}
	now := time.Now()
	if height != r.height {
		r.height, r.since, r.by = height, now, make(map[string]int)
	}
	if _, known := r.by[string(validator)]; known || len(r.by) < maxRefusers {
		r.by[string(validator)] = size
	}
	r.total++
	if now.Sub(r.told[string(validator)]) >= repeatInterval && r.mayTell(now) {
		r.told[string(validator)] = now
		r.logger.WarnContext(ctx, "vote refused: its extension is too long; whoever sent it under this name has wrong software, or means harm",
			slog.Int64("height", height), slog.String("under_the_name_of", hex.EncodeToString(validator)),
			slog.Int("bytes", size), slog.Int("limit", MaxPeerExtension))
	}
	return true
}

// mayTell reports whether one more name may be logged.
func (r *refusals) mayTell(now time.Time) bool {
	if len(r.told) >= maxRefusers {
		maps.DeleteFunc(r.told, func(_ string, told time.Time) bool { return now.Sub(told) >= repeatInterval })
	}
	return len(r.told) < maxRefusers
}

// due reports, once for a height, whether the height that is being agreed on has
// waited long enough without the votes it refused, which it takes from now on. waited
// is how long there has been work for a block: a chain that idles misses no votes.
// needed is whether these votes may be what it waits for.
func (r *refusals) due(height int64, now time.Time, waited time.Duration, needed bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	patience := r.patience
	if !needed {
		patience *= refusalUnneeded
	}
	if height != r.height || height == r.taken || min(now.Sub(r.since), waited) < patience {
		return false
	}
	r.taken = height
	return true
}

// at returns the votes refused at height, by address, and how many were in all since
// the start.
func (r *refusals) at(height int64) (votes []RefusedVote, total uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if height == r.height && height != r.taken {
		for validator, size := range r.by {
			votes = append(votes, RefusedVote{Validator: []byte(validator), Height: uint64(height), Bytes: size})
		}
	}
	slices.SortFunc(votes, func(a, b RefusedVote) int { return cmp.Compare(string(a.Validator), string(b.Validator)) })
	return votes, r.total
}

var errVotesNeeded = errors.New("the votes it refused are needed")

// isMember reports whether a consensus address is that of a present validator.
func (c *Chain) isMember(validator []byte) bool {
	height, _, _, _, nextVals := c.head.snapshot()
	return slices.ContainsFunc(c.validators(height, nextVals), func(v Validator) bool { return bytes.Equal(v.Address, validator) })
}

// takeRefused takes the votes that were refused at the height after height, if it is
// time to.
func (c *Chain) takeRefused(ctx context.Context, height int64, now time.Time) {
	if votes, _ := c.adapter.refused.at(height + 1); len(votes) == 0 {
		return
	}
	_, _, _, _, nextVals := c.head.snapshot()
	needed := c.Status().needsRefused(c.validators(height, nextVals))
	if !c.adapter.refused.due(height+1, now, c.head.waitedFor(now), needed) {
		return
	}
	c.logger.WarnContext(ctx, "no block without the votes that were refused; they are taken at this height, and connections made anew to get them",
		slog.Int64("height", height+1))
	// CometBFT sends a vote once over a connection.
	for _, peer := range c.engine.Switch().Peers().Copy() {
		c.engine.Switch().StopPeerForError(peer, errVotesNeeded)
	}
}

// needsRefused reports whether the votes that were refused may be needed: the other
// validators that are connected are too few, or somebody has the block already, perhaps
// by these votes.
func (s Status) needsRefused(vals []Validator) bool {
	if s.NetworkHeight > s.Height {
		return true
	}
	for _, vote := range s.Refused {
		for _, v := range vals {
			if bytes.Equal(v.Address, vote.Validator) {
				s.ConnectedPower -= v.Power
			}
		}
	}
	return !s.quorum()
}

// refused is what a reason ends with that may come of votes that were refused.
func (s Status) refused() string {
	if len(s.Refused) == 0 {
		return ""
	}
	names := make([]string, len(s.Refused))
	for i, v := range s.Refused {
		names[i] = hex.EncodeToString(v.Validator)
	}
	return fmt.Sprintf("; refused are votes whose extensions are too long, under the names of %s, which their senders pick", strings.Join(names, ", "))
}
