package service

import (
	"fmt"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/merkle"
)

// Booking is one voucher that a block booked: a leaf of its usage root.
type Booking struct {
	ChannelID  ledger.Hash
	Lane       uint8
	Seq        uint64 // the lane's first booking is 1
	Units      uint64
	Cumulative ledger.Amount
	UsageRoot  ledger.Hash // of the voucher: of the lane's log
}

const (
	leafBooking = 0x01
	bookingSize = 1 + ledger.HashSize + 1 + 8 + 8 + 8 + ledger.HashSize
)

// Leaf returns what the usage root is made of for this booking:
//
//	0x01 | channel_id 32 | lane u8 | seq u64 | units u64 | cumulative u64 | usage_root 32
func (b *Booking) Leaf() []byte {
	w := codec.NewWriter(bookingSize)
	b.write(w)
	return w.Bytes()
}

func (b *Booking) write(w *codec.Writer) {
	w.Uint8(leafBooking)
	w.Fixed(b.ChannelID[:])
	w.Uint8(b.Lane)
	w.Uint64(b.Seq)
	w.Uint64(b.Units)
	w.Uint64(uint64(b.Cumulative))
	w.Fixed(b.UsageRoot[:])
}

func (b *Booking) read(r *codec.Reader) (tag uint8) {
	tag = r.Uint8()
	r.Into(b.ChannelID[:])
	b.Lane, b.Seq, b.Units = r.Uint8(), r.Uint64(), r.Uint64()
	b.Cumulative = ledger.Amount(r.Uint64())
	r.Into(b.UsageRoot[:])
	return tag
}

func bookingLeaves(bookings []Booking) [][]byte {
	w := codec.NewWriter(len(bookings) * bookingSize)
	leaves := make([][]byte, len(bookings))
	for i := range bookings {
		bookings[i].write(w)
		leaves[i] = w.Bytes()[i*bookingSize : (i+1)*bookingSize]
	}
	return leaves
}

// UsageRoot returns the RFC 6962 root over bookings in their order, and the zero
// hash if there are none.
func UsageRoot(bookings []Booking) ledger.Hash {
	if len(bookings) == 0 {
		return ledger.Hash{}
	}
	root, err := merkle.Root(bookingLeaves(bookings))
	if err != nil { // cannot be: a block has few enough bookings for a tree
		panic(fmt.Errorf("usage root: %w", err))
	}
	return root
}

// BookingProof proves that a block booked a voucher, against the usage root in the
// block's certified checkpoint.
type BookingProof struct {
	Booking Booking
	Index   uint64 // among the bookings of the block
	Size    uint64 // number of bookings of the block
	Path    []ledger.Hash
}

// ProveBooking returns the proof of bookings[index], where bookings are all those
// of a block.
func ProveBooking(bookings []Booking, index int) (BookingProof, error) {
	if index < 0 || index >= len(bookings) {
		return BookingProof{}, fmt.Errorf("prove booking %d of %d: there is no such booking", index, len(bookings))
	}
	t, err := merkle.New(bookingLeaves(bookings))
	if err != nil {
		return BookingProof{}, fmt.Errorf("prove booking: %w", err)
	}
	path, err := t.Path(uint64(index))
	return BookingProof{Booking: bookings[index], Index: uint64(index), Size: t.Size(), Path: path}, err
}

// Verify returns an error that wraps merkle.ErrProof unless the proof leads to
// usageRoot.
func (p *BookingProof) Verify(usageRoot ledger.Hash) error {
	if err := merkle.Verify(usageRoot, p.Booking.Leaf(), p.Index, p.Size, p.Path); err != nil {
		return fmt.Errorf("booking %d of %d: %w", p.Index, p.Size, err)
	}
	return nil
}

// Encode returns the proof: the booking's leaf | index u64 | size u64 | count u8 |
// count x hash 32.
func (p *BookingProof) Encode() []byte {
	w := codec.NewWriter(bookingSize + 17 + len(p.Path)*ledger.HashSize)
	p.Booking.write(w)
	w.Uint64(p.Index)
	w.Uint64(p.Size)
	w.Uint8(uint8(len(p.Path)))
	for i := range p.Path {
		w.Fixed(p.Path[i][:])
	}
	return w.Bytes()
}

// DecodeBookingProof reads what Encode wrote.
func DecodeBookingProof(b []byte) (BookingProof, error) {
	var p BookingProof
	r := codec.NewReader(b)
	tag := p.Booking.read(r)
	p.Index, p.Size = r.Uint64(), r.Uint64()
	n := int(r.Uint8())
	switch {
	case r.Err() != nil:
		return BookingProof{}, fmt.Errorf("decode proof of a booking: %w", r.Err())
	case tag != leafBooking:
		return BookingProof{}, fmt.Errorf("decode proof of a booking: tag %#02x, want %#02x", tag, leafBooking)
	case n > merkle.MaxPath:
		return BookingProof{}, fmt.Errorf("decode proof of a booking: %d hashes, at most %d", n, merkle.MaxPath)
	}
	for range n {
		var h ledger.Hash
		r.Into(h[:])
		p.Path = append(p.Path, h)
	}
	if err := r.Done(); err != nil {
		return BookingProof{}, fmt.Errorf("decode proof of a booking: %w", err)
	}
	return p, nil
}
