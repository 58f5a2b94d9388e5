package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/merkle"
	"github.com/tributary-network/tributary/ledger/stateproof"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

// ErrProof is returned for a proof that does not prove what it should.
var ErrProof = errors.New("proof does not hold")

// StateProof proves what the state holds under a key to somebody who knows the
// application hash after block Height.
type StateProof struct {
	stateproof.Statement

	// Header carries the application hash, unless there is no such header yet:
	// then Header.Height is 0, and asking again helps.
	Header Header
}

func stateProofOf(m *chainv1.StateProof) (StateProof, error) {
	var r reader
	p := StateProof{Statement: stateproof.Statement{
		Height: m.GetHeight(), Root: r.hash("app_hash", m.GetAppHash()), Key: m.GetKey(), Value: m.GetValue(),
	}}
	if m.GetAbsent() {
		p.Value = nil
	}
	if m.GetHeader() != nil {
		p.Header = headerOf(&r, m.GetHeader())
	}
	proof, err := stateproof.Decode(m.GetProof())
	if err != nil {
		r.fail("proof", err)
	}
	p.Proof = proof
	return p, r.err
}

// Verify returns ErrProof unless the state with application hash appHash holds
// Value under Key. The caller has appHash from a header that enough validators
// signed; p.Header alone is only the node's word.
func (p *StateProof) Verify(appHash ledger.Hash) error {
	if p.Root != appHash {
		return fmt.Errorf("%w: it is for application hash %s, not %s", ErrProof, p.Root, appHash)
	}
	schema, err := stateproof.NewSchema(settlement.Tables())
	if err != nil {
		return err
	}
	if err := schema.VerifyStatement(&p.Statement); err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	return nil
}

// ChannelProof proves the record of an open or closing channel, with lane 0 and
// without the others.
type ChannelProof struct {
	Index uint64 // row of the channel
	State StateProof
}

// ProveChannel asks for a proof of a channel's record. A node only proves the
// newest state.
func (c *Client) ProveChannel(ctx context.Context, id ledger.Hash) (ChannelProof, error) {
	resp, err := c.getChannel(ctx, id, true)
	if err != nil {
		return ChannelProof{}, err
	}
	state, err := stateProofOf(resp.GetProof())
	return ChannelProof{Index: resp.GetChannel().GetIndex(), State: state}, err
}

// VerifyChannelProof returns the channel that p proves to be in the state with
// application hash appHash, or ErrProof.
func VerifyChannelProof(p *ChannelProof, appHash ledger.Hash) (pay.Channel, error) {
	if !bytes.Equal(p.State.Key, settlement.ChannelKey(p.Index)) {
		return pay.Channel{}, fmt.Errorf("%w: key %x is not that of channel %d", ErrProof, p.State.Key, p.Index)
	}
	if err := p.State.Verify(appHash); err != nil {
		return pay.Channel{}, err
	}
	c, err := channel.Decode(p.State.Value)
	if err != nil {
		return pay.Channel{}, fmt.Errorf("%w: %w", ErrProof, err)
	}
	out := pay.Channel{
		Index: p.Index, ID: c.ID, Payer: c.Payer, Payee: c.Payee, VoucherKey: c.VoucherKey, Service: c.Service,
		Terms: c.Terms, Deposit: c.Deposit, Redeemed: c.Redeemed, Rent: c.Rent, OpenHeight: c.OpenHeight,
		ExpiresAt: c.ExpiresAt, Challenge: c.Challenge, CloseAt: c.CloseAt,
	}
	if c.LanesUsed&1 != 0 {
		out.Lanes = []pay.LaneState{{Redeemed: c.Lane0.Redeemed, Units: c.Lane0.Units, UsageRoot: c.Lane0.UsageRoot}}
	}
	return out, nil
}

// SettlementProof proves the outcome of a final settlement: the receipt is a
// leaf of its block's results tree, and the root of that is in the state.
type SettlementProof struct {
	Height  uint64 // of the block
	Receipt settlement.Receipt
	Leaf    uint64 // position among Leaves
	Leaves  uint64
	Path    []ledger.Hash // lowest first
	State   StateProof    // of the results
}

// ProveSettlement asks for a proof of a final settlement.
func (c *Client) ProveSettlement(ctx context.Context, hash ledger.Hash) (SettlementProof, error) {
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*settlementv1.GetSettlementProofResponse, error) {
		return e.settlements.GetSettlementProof(ctx, &settlementv1.GetSettlementProofRequest{Name: settlementsPrefix + hash.String()})
	})
	if err != nil {
		return SettlementProof{}, fmt.Errorf("prove settlement %s: %w", hash, err)
	}
	var r reader
	p := SettlementProof{Height: resp.GetHeight(), Leaf: resp.GetLeafIndex(), Leaves: resp.GetLeafCount()}
	for _, h := range resp.GetPath() {
		p.Path = append(p.Path, r.hash("path", h))
	}
	if p.Receipt, err = settlement.DecodeReceipt(resp.GetReceipt()); err != nil {
		r.fail("receipt", err)
	}
	if r.err != nil {
		return p, r.err
	}
	p.State, err = stateProofOf(resp.GetState())
	return p, err
}

// VerifySettlementProof returns the receipt of the transaction hash, with the
// results of its entries, that p proves by the application hash after block
// p.Height, or ErrProof. A receipt with another code than OK and no fee proves
// only that this block did not execute the transaction.
func VerifySettlementProof(p *SettlementProof, hash, appHash ledger.Hash) (settlement.Receipt, error) {
	r := p.Receipt
	if r.Hash != hash {
		return settlement.Receipt{}, fmt.Errorf("%w: it is of transaction %s, not %s", ErrProof, r.Hash, hash)
	}
	if !bytes.Equal(p.State.Key, settlement.ResultsKey()) {
		return settlement.Receipt{}, fmt.Errorf("%w: key %x is not that of the results", ErrProof, p.State.Key)
	}
	if err := p.State.Verify(appHash); err != nil {
		return settlement.Receipt{}, err
	}
	results, err := settlement.DecodeResults(p.State.Value)
	if err != nil {
		return settlement.Receipt{}, fmt.Errorf("%w: %w", ErrProof, err)
	}
	if results.Height != p.Height {
		return settlement.Receipt{}, fmt.Errorf("%w: the results are those of block %d, not %d", ErrProof, results.Height, p.Height)
	}
	r.Detail = "" // it is not proved
	if len(r.Entries) > 0 || !r.ResultsRoot.IsZero() {
		root, err := merkle.Root(settlement.EntryLeaves(r.Entries))
		if err != nil || root != r.ResultsRoot {
			return settlement.Receipt{}, fmt.Errorf("%w: the entries do not have the receipt's root", ErrProof)
		}
	}
	if err := merkle.Verify(results.Root, r.Leaf(), p.Leaf, p.Leaves, p.Path); err != nil {
		return settlement.Receipt{}, fmt.Errorf("%w: %w", ErrProof, err)
	}
	return r, nil
}
