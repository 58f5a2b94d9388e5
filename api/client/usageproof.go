package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
)

// ErrNoTrust means that a certificate is of an epoch whose committee is not among those
// that are trusted; Client.FollowCommittees leads there.
var ErrNoTrust = errors.New("no committee is trusted that could have signed")

// CertifiedState is a statement about the state of the main chain, and the certificate of
// that state.
type CertifiedState struct {
	Certificate cert.Certificate
	State       StateProof // without a header
}

// ProvedEntry proves that one entry of a booking was booked.
type ProvedEntry struct {
	Position int
	Proof    service.BookingProof
}

// UsageProof proves that entries were booked by a shard: see Verify.
type UsageProof struct {
	Booking     Booking
	Entries     []ProvedEntry
	Certificate cert.Certificate    // of the block, by the shard's committee
	Committee   committee.Committee // of the shard; its hash is in Assignment
	// Assignment is who the main chain says serves the shard, and Anchor what of it is
	// anchored; nil while there is no certificate of that: ask again in a moment.
	Assignment, Anchor *CertifiedState
}

// ProveBooking reads a booking of a shard with proofs of entries, which are named by their
// positions; nothing is verified. An *Error of reason PROOF_UNAVAILABLE means that there
// is no proof yet. Those of entries that were not booked are left out.
func (c *Client) ProveBooking(ctx context.Context, hash ledger.Hash, id shard.ID, positions ...uint32) (*UsageProof, error) {
	resp, err := c.getBooking(ctx, hash, id, positions)
	if err != nil {
		return nil, err
	}
	m := resp.GetProof()
	var r reader
	p := &UsageProof{}
	if p.Booking, err = bookingOf(resp.GetBooking(), resp.GetSource()); err != nil {
		return nil, err
	}
	for _, e := range m.GetEntries() {
		proof, err := service.DecodeBookingProof(e.GetProof())
		if err != nil {
			r.fail("proof.entries", err)
		}
		p.Entries = append(p.Entries, ProvedEntry{Position: int(e.GetPosition()), Proof: proof})
	}
	if p.Certificate, err = cert.Decode(m.GetCertificate()); err != nil {
		r.fail("proof.certificate", err)
	}
	if len(m.GetCommittee()) > 0 {
		if p.Committee, err = committee.Decode(m.GetCommittee()); err != nil {
			r.fail("proof.committee", err)
		}
	}
	if p.Assignment, err = certifiedOf(m.GetAssignment()); err != nil {
		r.fail("proof.assignment", err)
	}
	if p.Anchor, err = certifiedOf(m.GetAnchor()); err != nil {
		r.fail("proof.anchor", err)
	}
	return p, r.err
}

func certifiedOf(m *servicev1.CertifiedState) (*CertifiedState, error) {
	if m == nil {
		return nil, nil //nolint:nilnil // nothing is there
	}
	c, err := cert.Decode(m.GetCertificate())
	if err != nil {
		return nil, err
	}
	p, err := stateProofOf(m.GetStatement())
	return &CertifiedState{Certificate: c, State: p}, err
}

// verify returns nil if one of the trusted committees certified the state and it holds
// the value under key.
func (s *CertifiedState) verify(key []byte, trusted []*Trust) error {
	if !bytes.Equal(s.State.Key, key) {
		return fmt.Errorf("%w: key %x, want %x", ErrProof, s.State.Key, key)
	}
	epoch := s.Certificate.Checkpoint.Epoch
	i := slices.IndexFunc(trusted, func(t *Trust) bool { return t.Epoch() == epoch })
	if i < 0 {
		return fmt.Errorf("%w: a certificate of epoch %d of the main chain", ErrNoTrust, epoch)
	}
	return trusted[i].VerifyState(&s.Certificate, &s.State)
}

// Verify returns nil if all entries of p, at least one, are what Booking says of them and
// were booked at its height of the shard: who served it is in the state that a trusted
// committee of the main chain certified; more than two thirds of those signed the block;
// and its usage root has the entries. What is proved is in Entries; of Booking only Shard
// and Height are, and of the results of these entries Position, Code, Lane and Seq.
//
// anchored says that the block is anchored, as that state has it too; that is what makes
// it final. A shard may go on from its last anchored height as another generation; what
// the one before certified beyond is taken back, and ErrProof. Two certified versions of a
// height are therefore nobody's fault, unless they are of one generation: then more than a
// third of the committee's power signed both, and can be punished for that; below the last
// anchored height it is not shown which of these is anchored.
//
// The state says where the last anchor.MaxEnds generations ended of which anything is
// anchored. Of a block of one before them it can not be shown whether it was taken back:
// anchored is false then.
//
// The errors are ErrProof, ErrNoTrust, those of package cert, and merkle.ErrProof.
func (p *UsageProof) Verify(trusted ...*Trust) (anchored bool, err error) {
	c := &p.Certificate.Checkpoint
	if p.Assignment == nil || len(trusted) == 0 {
		return false, fmt.Errorf("%w: who served shard %d in epoch %d is not certified; ask again in a moment", ErrProof, p.Booking.Shard, c.Epoch)
	}
	if err := p.Assignment.verify(registry.AssignmentKey(c.Epoch, p.Booking.Shard), trusted); err != nil {
		return false, fmt.Errorf("who serves shard %d: %w", p.Booking.Shard, err)
	}
	drawn, err := shard.OpenAssignment(p.Booking.Shard, p.Assignment.State.Value, p.Committee.Encode())
	if err != nil {
		return false, fmt.Errorf("%w: who serves shard %d: %w", ErrProof, p.Booking.Shard, err)
	}
	keys, err := drawn.Committee.Keys()
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrProof, err)
	}
	network := trusted[0].domain.Network
	if err := p.Certificate.Verify(network, p.Booking.Shard, &drawn.Committee, keys); err != nil {
		return false, fmt.Errorf("block %d of shard %d: %w", c.Height, p.Booking.Shard, err)
	}
	if err := p.verifyEntries(); err != nil {
		return false, err
	}
	if p.Anchor == nil {
		return false, nil
	}
	if err := p.Anchor.verify(anchor.Key(p.Booking.Shard), trusted); err != nil {
		return false, fmt.Errorf("what of shard %d is anchored: %w", p.Booking.Shard, err)
	}
	row, err := anchor.DecodeState(p.Anchor.State.Value)
	if err != nil {
		return false, fmt.Errorf("%w: what of shard %d is anchored: %w", ErrProof, p.Booking.Shard, err)
	}
	return anchoredBy(&row, c)
}

// anchoredBy reports whether a certified block is shown to be anchored by what the main
// chain has of its shard. ErrProof means that another one is, or that it is taken back.
func anchoredBy(row *anchor.State, c *cert.Checkpoint) (bool, error) {
	last := row.Last
	last.Round = c.Round // one block may be certified in several rounds
	began, known := row.Began(c.Generation)
	switch {
	case row.Height() == c.Height && last == *c:
		return true, nil
	case row.TakesBack(c.Generation, c.Height):
		return false, fmt.Errorf("%w: block %d of generation %d of shard %d is taken back: generation %d is in force, and went on after height %d",
			ErrProof, c.Height, c.Generation, c.Chain, row.Generation, row.Resumed)
	case row.Height() == c.Height, known && c.Height <= began, c.Generation > row.Generation && c.Height <= row.Height():
		return false, fmt.Errorf("%w: another version of block %d of shard %d is anchored", ErrProof, c.Height, c.Chain)
	}
	return row.Keeps(c.Generation, c.Height), nil
}

// verifyEntries returns nil if there is an entry, and each is in the usage root of the
// booking's block and is that of the booking's results.
func (p *UsageProof) verifyEntries() error {
	c := &p.Certificate.Checkpoint
	if p.Booking.Height != c.Height {
		return fmt.Errorf("%w: booking %s is in block %d of shard %d, and the certificate of block %d", ErrProof, p.Booking.Hash, p.Booking.Height, p.Booking.Shard, c.Height)
	}
	if len(p.Entries) == 0 {
		return fmt.Errorf("%w: no entry of booking %s is proved", ErrProof, p.Booking.Hash)
	}
	for i := range p.Entries {
		e := &p.Entries[i]
		if err := e.Proof.Verify(c.UsageRoot); err != nil {
			return fmt.Errorf("entry %d: %w", e.Position, err)
		}
		at := slices.IndexFunc(p.Booking.Results, func(r BookingResult) bool { return r.Position == e.Position })
		if at < 0 {
			return fmt.Errorf("%w: booking %s does not tell of entry %d", ErrProof, p.Booking.Hash, e.Position)
		}
		told, proved := &p.Booking.Results[at], &e.Proof.Booking
		if told.Code != chain.CodeOK || told.Lane != proved.Lane || told.Seq != proved.Seq {
			return fmt.Errorf("%w: entry %d is told to be number %d of lane %d, %s, and number %d of lane %d is proved",
				ErrProof, e.Position, told.Seq, told.Lane, told.Code, proved.Seq, proved.Lane)
		}
	}
	return nil
}
