package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	consensusv1 "github.com/tributary-network/tributary/proto/tributary/consensus/v1"
)

// ErrNotElected is returned for a committee that can vouch for nothing, because it
// has no members.
var ErrNotElected = errors.New("the committee has no members")

// ErrHandoverGap means that no node that was asked has the hand-over to a committee:
// theirs begin later (reason PRUNED of the *Error that it wraps), or none of them could
// certify the end of the epoch before (NO_HANDOVER). Ask a node that keeps everything,
// or begin with a newer committee whose hash a source that you trust tells you.
var ErrHandoverGap = errors.New("no node that was asked has the hand-over")

// ErrWrongHeight means a certificate of a block that is not of the epoch of the committee
// that signed it, or a hand-over by another block than the last two of an epoch. No honest
// member signs either.
var ErrWrongHeight = errors.New("the block is not of the epoch of those who signed")

// Trust is a committee that is known to be right: from the genesis, from a hash that
// somebody trustworthy told, or handed over by the one before. Whatever its members
// certified can be believed, as far as more than a third of its power is honest, and
// so no node has to be. It does not change.
//
// A committee that was in office long ago proves little: its members may have taken
// their stake back since, and have nothing to lose. Begin with one that is younger
// than the unbonding time, or with the genesis and a node of your own.
type Trust struct {
	domain    chain.Domain
	committee committee.Committee
	keys      []*bls.Key
	blocks    uint64 // of an epoch; 0 if that is not known
}

// TrustCommittee trusts the committee of an epoch of a chain. It decodes its keys,
// which takes 0.2 ms for each member. The errors are ErrNotElected and those of
// committee.Committee.Keys.
func TrustCommittee(d chain.Domain, c committee.Committee) (*Trust, error) {
	if len(c.Members) == 0 {
		return nil, fmt.Errorf("committee of epoch %d: %w", c.Epoch, ErrNotElected)
	}
	keys, err := c.Keys()
	if err != nil {
		return nil, err
	}
	return &Trust{domain: d, committee: c, keys: keys}, nil
}

// WithEpochs returns the same trust, which knows how many blocks an epoch has
// (staking.Params.EpochBlocks of the genesis), as do those that it leads to: then no
// committee can certify a height out of its epoch. With 0 heights are not checked.
func (t *Trust) WithEpochs(blocks uint64) *Trust {
	with := *t
	with.blocks = blocks
	return &with
}

// Epoch returns the epoch of the committee.
func (t *Trust) Epoch() uint64 { return t.committee.Epoch }

// Committee returns the committee; its members are not to be modified.
func (t *Trust) Committee() committee.Committee { return t.committee }

// Hash returns the committee's hash, by which somebody else may trust it.
func (t *Trust) Hash() ledger.Hash { return t.committee.Hash() }

// Verify returns nil if members of the committee with more than two thirds of its
// power signed the certificate's checkpoint, and otherwise one of the errors of
// cert.Certificate.Verify, or ErrWrongHeight; see WithEpochs. It takes about 2 ms.
func (t *Trust) Verify(c *cert.Certificate) error {
	if err := c.Verify(t.domain.Network, t.domain.Chain, &t.committee, t.keys); err != nil || t.blocks == 0 {
		return err
	}
	height := c.Checkpoint.Height
	if epochs := t.epochs(); height == 0 || epochs.Epoch(height) != t.Epoch() {
		return fmt.Errorf("%w: height %d, want %d to %d, epoch %d", ErrWrongHeight, height, epochs.FirstBlock(t.Epoch()), epochs.LastBlock(t.Epoch()), t.Epoch())
	}
	return nil
}

// epochs says which blocks are in which epoch; t.blocks is not 0.
func (t *Trust) epochs() *staking.Params { return &staking.Params{EpochBlocks: t.blocks} }

// VerifyState returns nil if the certificate holds and p proves what it says of the
// state that is certified.
func (t *Trust) VerifyState(c *cert.Certificate, p *StateProof) error {
	if err := t.Verify(c); err != nil {
		return err
	}
	return p.Verify(c.Checkpoint.StateRoot)
}

// Handover proves the committee of an epoch to whoever trusts the one before: the
// record is in the state after the certified block.
type Handover struct {
	Epoch       uint64
	Certificate cert.Certificate // by the committee of Epoch-1
	Record      StateProof       // of the record of Epoch's committee; without a header
}

// Next returns the committee that h hands over to. The errors are those of Verify
// and VerifyCommitteeProof.
func (t *Trust) Next(h *Handover) (*Trust, error) {
	if err := t.Verify(&h.Certificate); err != nil {
		return nil, fmt.Errorf("hand-over to epoch %d: %w", t.Epoch()+1, err)
	}
	if height := h.Certificate.Checkpoint.Height; t.blocks != 0 && !t.epochs().EpochBlock(height) {
		last := t.epochs().LastBlock(t.Epoch())
		return nil, fmt.Errorf("hand-over to epoch %d: %w: height %d, want %d or %d", t.Epoch()+1, ErrWrongHeight, height, last-1, last)
	}
	record, err := VerifyCommitteeProof(&h.Record, t.Epoch()+1, h.Certificate.Checkpoint.StateRoot)
	if err != nil {
		return nil, fmt.Errorf("hand-over to epoch %d: %w", t.Epoch()+1, err)
	}
	next, err := TrustCommittee(t.domain, record.Committee)
	if err != nil {
		return nil, err
	}
	return next.WithEpochs(t.blocks), nil
}

// Handover reads the hand-over to the committee of an epoch, from 1 on. Nothing is
// verified; Trust.Next does. Reason NO_HANDOVER of an *Error means that the node has
// none, PRUNED that its hand-overs begin later, at the epoch in its metadata
// "kept_from_epoch"; another one may have it.
func (c *Client) Handover(ctx context.Context, epoch uint64) (Handover, error) {
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*consensusv1.GetHandoverResponse, error) {
		return e.agreement.GetHandover(ctx, &consensusv1.GetHandoverRequest{Name: committeesPrefix + strconv.FormatUint(epoch, 10)})
	})
	if err != nil {
		return Handover{}, fmt.Errorf("read the hand-over to epoch %d: %w", epoch, err)
	}
	h := Handover{Epoch: resp.GetEpoch()}
	if h.Record, err = stateProofOf(resp.GetProof()); err != nil {
		return h, err
	}
	if h.Certificate, err = cert.Decode(resp.GetCertificate()); err != nil {
		var r reader
		r.fail("certificate", err)
		return h, r.err
	}
	return h, nil
}

// FollowCommittees goes from a trusted committee to that of a later epoch, one
// hand-over at a time, each of which it verifies. A node that has no hand-over, or
// answers with a wrong one, is left for the next; the last one's error is returned, with
// ErrHandoverGap if that node has none. The hand-overs convince others who trust from.
func (c *Client) FollowCommittees(ctx context.Context, from *Trust, epoch uint64) (*Trust, []Handover, error) {
	if epoch < from.Epoch() {
		return nil, nil, fmt.Errorf("follow committees from epoch %d to %d: they only vouch for those after them", from.Epoch(), epoch)
	}
	var list []Handover
	for t := from; ; {
		if t.Epoch() == epoch {
			return t, list, nil
		}
		next, h, err := c.nextCommittee(ctx, t)
		if err != nil {
			return t, list, fmt.Errorf("follow committees from epoch %d to %d: %w", from.Epoch(), epoch, err)
		}
		t, list = next, append(list, h)
	}
}

// nextCommittee asks the nodes, one after the other, for the committee after t.
func (c *Client) nextCommittee(ctx context.Context, t *Trust) (next *Trust, h Handover, err error) {
	for range c.endpoints {
		e := c.endpoint()
		if h, err = c.Handover(ctx, t.Epoch()+1); err == nil {
			if next, err = t.Next(&h); err == nil {
				return next, h, nil
			}
		}
		if answer, ok := errors.AsType[*Error](err); ctx.Err() != nil || ok && answer.Reason != reasonNoHandover && answer.Reason != reasonPruned {
			return nil, h, err
		}
		c.leave(e)
	}
	if answer, ok := errors.AsType[*Error](err); ok {
		return nil, h, fmt.Errorf("%w to epoch %d: %w", ErrHandoverGap, t.Epoch()+1, answer)
	}
	return nil, h, err
}
