package bundle

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/lanelog"
	"github.com/tributary-network/tributary/ledger/merkle"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// Parts are the values that a bundle is made of, as nodes and the two parties have them.
type Parts struct {
	// Committee is the one that the reader is to trust, and Handovers lead from it to those
	// that signed the certificates.
	Committee committee.Committee
	Handovers []Handover

	// Certificate is of a state of main that has the channel, the lane and, if Other is nil,
	// what of the shard is anchored. Other is of a state that has the latter.
	Certificate cert.Certificate
	Other       *cert.Certificate

	// Channel is the row of the channel. Directory and LaneRow are nil for lane 0.
	Channel, Directory, LaneRow *stateproof.Statement
	// Voucher is the newest that main has paid in full, with its signature.
	Voucher   channel.Voucher
	Signature ledger.Signature

	// Anchor is what main has anchored of the shard, Block the proof of the block's
	// checkpoint in it, and Booking that of the booking in the block.
	Anchor  *stateproof.Statement
	Block   anchor.Proof
	Booking service.BookingProof

	// Entry is proved in the log of Voucher. Booked is the log that was booked with the proof
	// of which begins with which, nil if it is the same.
	Entry  lanelog.Proof
	Booked *Other
}

// ErrParts means parts that are not of one bundle.
var ErrParts = errors.New("parts of an audit bundle do not fit together")

// Assemble returns the bundle of its parts, which is verified: the errors are ErrParts, and an
// *Error that says which part does not hold.
func Assemble(p *Parts) (*Audit, error) {
	a := &Audit{
		Network: p.Certificate.Checkpoint.Network,
		Main:    Main{Committee: p.Committee, Handovers: p.Handovers},
		Settled: Settled{Lane: uint8(p.Voucher.Lane), Cumulative: p.Voucher.Cumulative, Units: p.Voucher.Units, Signature: p.Signature},
		Logged:  Logged{Proof: p.Entry, Other: p.Booked},
	}
	if p.Voucher.Lane >= channel.Lanes {
		return nil, fmt.Errorf("%w: lane %d, lanes are 0 to %d", ErrParts, p.Voucher.Lane, channel.Lanes-1)
	}
	if b := &p.Booking.Booking; b.ChannelID != p.Voucher.ChannelID || uint16(b.Lane) != p.Voucher.Lane {
		return nil, fmt.Errorf("%w: booked is lane %d of channel %s, settled lane %d of channel %s", ErrParts,
			b.Lane, b.ChannelID, p.Voucher.Lane, p.Voucher.ChannelID)
	}
	if err := a.certificates(p); err != nil {
		return nil, err
	}
	if err := a.settled(p); err != nil {
		return nil, err
	}
	if err := a.booked(p); err != nil {
		return nil, err
	}
	return a.checked()
}

// checked returns the bundle as a reader finds it in its file, if it holds.
func (a *Audit) checked() (*Audit, error) {
	file, err := a.Encode()
	if err != nil {
		return nil, err
	}
	out, err := Decode(file)
	if err != nil {
		return nil, err
	}
	if _, err := out.Verify(Trust{Network: a.Network, Committee: a.Main.Committee.Hash()}); err != nil {
		return nil, err
	}
	return out, nil
}

// certificates sets those of the paths, each by the committee that it names.
func (a *Audit) certificates(p *Parts) error {
	list := []cert.Certificate{p.Certificate}
	if p.Other != nil && p.Other.Checkpoint != p.Certificate.Checkpoint {
		list = append(list, *p.Other)
	}
	for i := range list {
		by, ok := a.signer(&list[i].Checkpoint)
		if !ok {
			return fmt.Errorf("%w: block %d of main is certified by the committee %s of epoch %d, to which no hand-over leads", ErrParts,
				list[i].Checkpoint.Height, list[i].Checkpoint.CommitteeHash, list[i].Checkpoint.Epoch)
		}
		a.Main.Certificates = append(a.Main.Certificates, Certificate{by, list[i]})
	}
	return nil
}

// signer returns which committee a checkpoint names.
func (a *Audit) signer(p *cert.Checkpoint) (by uint8, ok bool) {
	if a.Main.Committee.Hash() == p.CommitteeHash {
		return 0, true
	}
	for i := range min(len(a.Main.Handovers), MaxHandovers) {
		if a.Main.Handovers[i].Record.Committee.Hash() == p.CommitteeHash {
			return uint8(i + 1), true
		}
	}
	return 0, false
}

func (a *Audit) settled(p *Parts) (err error) {
	s := &a.Settled
	if s.Channel, err = rowOf("channel", p.Channel); err != nil {
		return err
	}
	if s.Index, err = channel.Channels().Index(p.Channel.Key); err != nil {
		return fmt.Errorf("%w: %w", ErrParts, err)
	}
	c, err := channel.Decode(p.Channel.Value)
	if err != nil || c.ID != p.Voucher.ChannelID {
		return fmt.Errorf("%w: row %d is of channel %s, the voucher of %s", ErrParts, s.Index, c.ID, p.Voucher.ChannelID)
	}
	if s.Lane == 0 {
		return nil
	}
	if s.Directory, err = rowOf("directory", p.Directory); err != nil {
		return err
	}
	s.LaneRow, err = rowOf("lane", p.LaneRow)
	return err
}

func (a *Audit) booked(p *Parts) (err error) {
	b, k := &a.Booked, &p.Booking
	b.Shard, b.Checkpoint, b.Path = p.Block.Checkpoint.Chain, p.Block.Checkpoint, p.Block.Path
	if p.Anchor != nil && !bytes.Equal(p.Anchor.Key, anchor.Key(b.Shard)) {
		return fmt.Errorf("%w: key %x is not that of the anchors of shard %d", ErrParts, p.Anchor.Key, b.Shard)
	}
	if b.Anchor, err = rowOf("anchors", p.Anchor); err != nil {
		return err
	}
	if k.Index >= k.Size || len(k.Path) > merkle.MaxPath {
		return fmt.Errorf("%w: booking %d of %d with a path of %d hashes", ErrParts, k.Index, k.Size, len(k.Path))
	}
	b.Seq, b.Units, b.Cumulative, b.UsageRoot = k.Booking.Seq, k.Booking.Units, k.Booking.Cumulative, k.Booking.UsageRoot
	b.Left, b.Bookings = merkle.Sides(k.Index, k.Size), k.Path
	return nil
}

func rowOf(name string, s *stateproof.Statement) (Row, error) {
	if s == nil || s.Value == nil || s.Proof == nil {
		return Row{}, fmt.Errorf("%w: the row of the %s is not proved", ErrParts, name)
	}
	path, err := s.Proof.Path()
	if err != nil {
		return Row{}, fmt.Errorf("%w: row of the %s: %w", ErrParts, name, err)
	}
	return Row{Value: s.Value, Path: path}, nil
}
