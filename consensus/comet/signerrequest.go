package comet

import (
	"errors"
	"fmt"

	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/crypto/tmhash"
	privvalproto "github.com/cometbft/cometbft/proto/tendermint/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
)

// refusedRequest returns an error and the answer that says it, if a node asks to
// sign what is no vote and no proposal. CometBFT's signer panics on such, and a panic
// while signing ends a Signer.
func refusedRequest(m *privvalproto.Message) (answer privvalproto.Message, err error) {
	switch request := m.Sum.(type) {
	case *privvalproto.Message_SignVoteRequest:
		if err = checkVoteRequest(request.SignVoteRequest.GetVote()); err != nil {
			answer.Sum = &privvalproto.Message_SignedVoteResponse{SignedVoteResponse: &privvalproto.SignedVoteResponse{
				Error: &privvalproto.RemoteSignerError{Description: err.Error()},
			}}
		}
	case *privvalproto.Message_SignProposalRequest:
		if err = checkProposalRequest(request.SignProposalRequest.GetProposal()); err != nil {
			answer.Sum = &privvalproto.Message_SignedProposalResponse{SignedProposalResponse: &privvalproto.SignedProposalResponse{
				Error: &privvalproto.RemoteSignerError{Description: err.Error()},
			}}
		}
	}
	return answer, err
}

func checkVoteRequest(v *cmtproto.Vote) error {
	switch {
	case v == nil:
		return errors.New("request to sign no vote")
	case v.Type != cmtproto.PrevoteType && v.Type != cmtproto.PrecommitType:
		return fmt.Errorf("request to sign a vote of type %d", v.Type)
	case v.Height < 1 || v.Round < 0 || v.ValidatorIndex < 0:
		return fmt.Errorf("request to sign a vote at height %d, round %d, of validator %d", v.Height, v.Round, v.ValidatorIndex)
	case len(v.ValidatorAddress) != crypto.AddressSize:
		return fmt.Errorf("request to sign a vote of an address of %d bytes", len(v.ValidatorAddress))
	case len(v.Extension) > MaxExtension:
		return fmt.Errorf("request to sign an extension of %d bytes, at most %d are", len(v.Extension), MaxExtension)
	case len(v.Extension) > 0 && (v.Type != cmtproto.PrecommitType || len(v.BlockID.Hash) == 0):
		return errors.New("request to sign an extension of a vote that has none")
	}
	return checkBlockID(&v.BlockID, true)
}

func checkProposalRequest(p *cmtproto.Proposal) error {
	switch {
	case p == nil:
		return errors.New("request to sign no proposal")
	case p.Type != cmtproto.ProposalType:
		return fmt.Errorf("request to sign a proposal of type %d", p.Type)
	case p.Height < 1 || p.Round < 0 || p.PolRound < -1 || p.PolRound >= p.Round && p.PolRound != -1:
		return fmt.Errorf("request to sign a proposal at height %d, round %d, after round %d", p.Height, p.Round, p.PolRound)
	}
	return checkBlockID(&p.BlockID, false)
}

// checkBlockID reports whether id names a block, or none if that may be.
func checkBlockID(id *cmtproto.BlockID, mayBeNil bool) error {
	hash, parts := len(id.Hash), len(id.PartSetHeader.Hash)
	switch {
	case hash == tmhash.Size && parts == tmhash.Size && id.PartSetHeader.Total > 0:
		return nil
	case mayBeNil && hash == 0 && parts == 0 && id.PartSetHeader.Total == 0:
		return nil
	}
	return fmt.Errorf("request to sign for a block with a hash of %d bytes and %d parts, whose hash has %d", hash, id.PartSetHeader.Total, parts)
}

// requestChain is the chain that a request names; empty for a ping.
func requestChain(m *privvalproto.Message) string {
	switch request := m.Sum.(type) {
	case *privvalproto.Message_PubKeyRequest:
		return request.PubKeyRequest.GetChainId()
	case *privvalproto.Message_SignVoteRequest:
		return request.SignVoteRequest.GetChainId()
	case *privvalproto.Message_SignProposalRequest:
		return request.SignProposalRequest.GetChainId()
	}
	return ""
}
