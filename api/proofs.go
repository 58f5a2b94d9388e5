package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/chain"
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

const (
	// proofTokens is what a proof of the state costs beyond its call: the pages of
	// a row and the path to the root are read from the store.
	proofTokens = 4 * callCost
	// proofsAtOnce is how many proofs of the state may be under way: the chain's
	// writer waits for them.
	proofsAtOnce = 4
	// maxProofReads is how often a state is proved that moves on meanwhile.
	maxProofReads = 8
)

// prove returns what the newest state holds under key, with its proof. At half
// load it is refused, whatever call asks for it.
func (b *backend) prove(ctx context.Context, key []byte) (*stateproof.Statement, error) {
	if b.calls.crowded() {
		return nil, b.calls.refuse(b.calls.calls)
	}
	b.rates.charge(callerIP(ctx), proofTokens)
	select {
	case b.proving <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-b.proving }()
	return b.Prover.Prove(key)
}

// proveNow is prove with the settlement clock of the state that is proved.
func (b *backend) proveNow(ctx context.Context, key []byte) (st *stateproof.Statement, clock uint64, err error) {
	for range maxProofReads {
		if st, err = b.prove(ctx, key); err != nil {
			return nil, 0, err
		}
		height, clock, err := b.now()
		if err != nil || height == st.Height {
			return st, clock, err
		}
	}
	return nil, 0, b.calls.refuse(b.calls.calls)
}

// renderProof returns a statement about the state with the header that carries
// its root.
func (b *backend) renderProof(st *stateproof.Statement) (*chainv1.StateProof, error) {
	proof, err := st.Proof.Encode()
	if err != nil {
		return nil, err
	}
	out := renderStatement(st, proof)
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

// renderStatement returns a statement about the state with its encoded proof.
func renderStatement(st *stateproof.Statement, proof []byte) *chainv1.StateProof {
	return &chainv1.StateProof{
		Key: st.Key, Value: st.Value, Absent: st.Value == nil, Proof: proof,
		Height: st.Height, AppHash: st.Root[:],
	}
}

// proveChannel returns a channel as its proved row has it.
func (c *channels) proveChannel(ctx context.Context, ref channel.Ref, name string) (*channelv1.GetChannelResponse, error) {
	st, clock, err := c.proveNow(ctx, settlement.ChannelKey(ref.Index))
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
	var fees channel.Fees // no part of the row, which has their number; numbers keep their meaning
	err = c.State.Read(func(v chain.View, _ uint64) error {
		fees = channel.FeesAt(v, ch.FeesNumber)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := renderChannel(&ch, &fees, ref.Index, clock, &c.Network.Params)
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
	s.rates.charge(callerIP(ctx), rowTokens(int(proof.Read)+len(proof.Receipt.Entries)))
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
