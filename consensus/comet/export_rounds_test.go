package comet

import (
	"errors"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
)

// VoteRounds tells of which round an extension is.
type VoteRounds struct{ v *voteRounds }

// NewVoteRounds has seen no vote.
func NewVoteRounds() VoteRounds { return VoteRounds{&voteRounds{}} }

// Extend returns the round of the vote at height that is being extended.
func (v VoteRounds) Extend(height int64) (uint32, bool) { return v.v.extend(height) }

// Vote is told of a vote, and reports whether it is refused for its extension.
func (v VoteRounds) Vote(vote *cmtproto.Vote) (refused bool) {
	return errors.Is(v.v.vote(vote), errOtherRound)
}

// LateVotes collects votes.
type LateVotes struct{ l *lateVotes }

// NewLateVotes has none.
func NewLateVotes() LateVotes { return LateVotes{&lateVotes{}} }

// Add takes a vote.
func (l LateVotes) Add(v *types.Vote) { l.l.add(v) }

// Of returns the extensions of votes for a block in a round.
func (l LateVotes) Of(height int64, round uint32, blockHash []byte) []Extension {
	return l.l.of(height, round, blockHash)
}
