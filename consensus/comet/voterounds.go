package comet

import (
	"errors"
	"fmt"
	"sync"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
)

// errOtherRound says that an extension is not for the vote it would go with.
var errOtherRound = errors.New("the extension is for another round")

// voteRounds tells in which round a vote is extended, which CometBFT does not say:
// that of this node's last prevote. Before it precommits a block a validator prevotes
// in that round, unless it comes late and others have decided already. Then what was
// made is for another round, and that vote, which nobody needs, is not cast. It is
// safe for concurrent use.
type voteRounds struct {
	mu       sync.Mutex
	height   int64 // of the last prevote, 0 before the first
	round    int32
	extended bool // in that round
}

// extend returns the round of the vote at height that is being extended. known is
// false if this node has not prevoted there: the vote then goes without.
func (v *voteRounds) extend(height int64) (round uint32, known bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.height != height || v.round < 0 {
		return 0, false
	}
	v.extended = true
	return uint32(v.round), true
}

// vote is told of each vote before it is signed, and refuses one whose extension was
// made for another round.
func (v *voteRounds) vote(vote *cmtproto.Vote) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case vote.Type == cmtproto.PrevoteType:
		v.height, v.round, v.extended = vote.Height, vote.Round, false
	case len(vote.Extension) > 0 && v.extended && (vote.Height != v.height || vote.Round != v.round):
		return fmt.Errorf("precommit at height %d, round %d: %w %d", vote.Height, vote.Round, errOtherRound, v.round)
	}
	return nil
}
