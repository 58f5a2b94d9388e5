package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/stateproof"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

// unproved says that there is no proof of what has that name.
func unproved(name, format string, args ...any) *problem {
	return &problem{
		code: codes.FailedPrecondition, reason: ReasonProofUnavailable,
		message: fmt.Sprintf(format, args...), subject: name,
	}
}

// renderProof returns a statement about the state with the header that carries
// its root.
func (b *backend) renderProof(st *stateproof.Statement) (*chainv1.StateProof, error) {
	proof, err := st.Proof.Encode()
	if err != nil {
		return nil, err
	}
	out := &chainv1.StateProof{
		Key: st.Key, Value: st.Value, Absent: st.Value == nil, Proof: proof,
		Height: st.Height, AppHash: st.Root[:],
	}
	// The next header carries the root. While there is none, the block's own
	// does if the block changed nothing, as the last one of an idle chain.
	for _, height := range []uint64{st.Height + 1, st.Height} {
		if h, ok := b.Node.Header(height); ok && bytes.Equal(h.AppHash, st.Root[:]) {
			out.Header = renderHeader(&h)
			break
		}
	}
	return out, nil
}

// proveChannel returns a channel as its proved row has it.
func (c *channels) proveChannel(ref channel.Ref, name string) (*channelv1.GetChannelResponse, error) {
	st, err := c.Prover.Prove(settlement.ChannelKey(ref.Index))
	if err != nil {
		return nil, err
	}
	if st.Value == nil {
		return nil, unproved(name, "%s is closed, so its row is deleted; ask for the proof of the settlement that closed it", name)
	}
	ch, err := channel.Decode(st.Value)
	if err != nil {
		return nil, err
	}
	proof, err := c.renderProof(st)
	if err != nil {
		return nil, err
	}
	_, clock, err := c.now()
	if err != nil {
		return nil, err
	}
	out := renderChannel(&ch, ref.Index, clock, &c.Network.Params)
	if ch.LanesUsed&1 != 0 {
		out.Lanes = append(out.Lanes, renderLane(0, &ch.Lane0))
	}
	return &channelv1.GetChannelResponse{
		Channel: out, Height: st.Height, SettlementClock: clock, Proof: proof,
	}, nil
}

// proveReceipt proves the outcome of a final settlement.
func (s *settlements) proveReceipt(ctx context.Context, name string, hash ledger.Hash) (*settlementv1.GetSettlementProofResponse, error) {
	proof, err := s.Index.Proof(hash)
	if errors.Is(err, exec.ErrUnknown) || errors.Is(err, exec.ErrPruned) {
		return nil, unproved(name, "this node has no proof of %s", name)
	}
	if err != nil {
		return nil, err
	}
	s.rates.charge(callerIP(ctx), rowTokens(int(proof.Leaves)))
	state, err := s.renderProof(proof.State)
	if err != nil {
		return nil, err
	}
	resp := &settlementv1.GetSettlementProofResponse{
		Height: proof.Height, Receipt: proof.Receipt.Encode(),
		LeafIndex: uint64(proof.TxIndex), LeafCount: proof.Leaves,
		ResultsRoot: proof.Results.Root[:], State: state,
	}
	for i := range proof.Path {
		resp.Path = append(resp.Path, proof.Path[i][:])
	}
	return resp, nil
}
