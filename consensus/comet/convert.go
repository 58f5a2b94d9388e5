package comet

import (
	"bytes"
	"fmt"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/ed25519"
	cryptoproto "github.com/cometbft/cometbft/proto/tendermint/crypto"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
)

// request is what CometBFT's requests that carry a whole block have in common.
type request interface {
	GetHeight() int64
	GetTime() time.Time
	GetProposerAddress() []byte
	GetTxs() [][]byte
	GetHash() []byte
	GetMisbehavior() []abci.Misbehavior
}

// blockOf translates a block.
func blockOf(r request, last abci.CommitInfo) Block {
	b := Block{
		Height:   uint64(r.GetHeight()),
		Time:     r.GetTime(),
		Proposer: r.GetProposerAddress(),
		Txs:      r.GetTxs(),
		Hash:     r.GetHash(),
	}
	for _, v := range last.Votes {
		b.LastVotes = append(b.LastVotes, LastVote{
			Validator: v.Validator.Address,
			Power:     v.Validator.Power,
			Signed:    v.BlockIdFlag == cmtproto.BlockIDFlagCommit || v.BlockIdFlag == cmtproto.BlockIDFlagNil,
		})
	}
	for _, m := range r.GetMisbehavior() {
		b.Evidence = append(b.Evidence, Misbehavior{
			Kind:       MisbehaviorKind(m.Type),
			Validator:  m.Validator.Address,
			Power:      m.Validator.Power,
			Height:     uint64(m.Height),
			Time:       m.Time,
			TotalPower: m.TotalVotingPower,
		})
	}
	return b
}

// validatorUpdates translates changes of the validators, and refuses what
// CometBFT would halt on with less of a reason.
func validatorUpdates(updates []ValidatorUpdate) ([]abci.ValidatorUpdate, error) {
	var out []abci.ValidatorUpdate
	for i, u := range updates {
		if len(u.PubKey) != ed25519.PubKeySize {
			return nil, fmt.Errorf("validator update %d: public key has %d bytes, want %d", i, len(u.PubKey), ed25519.PubKeySize)
		}
		if u.Power < 0 || u.Power > maxPower {
			return nil, fmt.Errorf("validator update %d: power %d is out of range", i, u.Power)
		}
		for _, before := range updates[:i] {
			if bytes.Equal(before.PubKey, u.PubKey) {
				return nil, fmt.Errorf("validator update %d: key %x comes twice", i, u.PubKey)
			}
		}
		out = append(out, abci.ValidatorUpdate{
			PubKey: cryptoproto.PublicKey{Sum: &cryptoproto.PublicKey_Ed25519{Ed25519: u.PubKey}},
			Power:  u.Power,
		})
	}
	return out, nil
}
