package shard

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// Errors of short assignments.
var (
	// ErrBadShort means seats that no committee has.
	ErrBadShort = errors.New("not a short assignment")
	// ErrOtherCommittee means a committee that is not the one of the assignment.
	ErrOtherCommittee = errors.New("not the committee of the assignment")
)

// Short is an assignment without the members' keys, as the main chain keeps it: it has
// the keys in the validators' rows. Whoever has the committee from elsewhere makes an
// Assignment of both (Open), which the hash binds.
type Short struct {
	Kept, Last bool
	// Committee is the hash of the committee, of which the epoch is a part.
	Committee ledger.Hash
	// Seats are the members in the order of the committee, committee.MaxSeats at most.
	Seats []Seat
}

// Seat is a member without its keys.
type Seat struct{ Validator, Power uint64 }

// Short returns the assignment without keys.
func (a *Assignment) Short() Short {
	s := Short{Kept: a.Kept, Last: a.Last, Committee: a.Committee.Hash(), Seats: make([]Seat, len(a.Committee.Members))}
	for i := range a.Committee.Members {
		s.Seats[i] = Seat{Validator: a.Committee.Members[i].Validator, Power: a.Committee.Members[i].Power}
	}
	return s
}

// Encode returns the canonical encoding: kept 1, last 1, hash 32, number of seats, and
// per seat the row and the power, all of these as varints.
func (s *Short) Encode() []byte {
	w := codec.NewWriter(36 + 9*len(s.Seats))
	w.Bool(s.Kept)
	w.Bool(s.Last)
	w.Fixed(s.Committee[:])
	w.Uvarint(uint64(len(s.Seats)))
	for _, m := range s.Seats {
		w.Uvarint(m.Validator)
		w.Uvarint(m.Power)
	}
	return w.Bytes()
}

// DecodeShort reads what Encode wrote. It returns ErrBadShort for seats without power,
// or with more than a committee has together.
func DecodeShort(b []byte) (Short, error) {
	r := codec.NewReader(b)
	s := Short{Kept: r.Bool(), Last: r.Bool()}
	r.Into(s.Committee[:])
	n := int(r.Uvarint(committee.MaxSeats))
	s.Seats = make([]Seat, min(n, r.Remaining()/2))
	left := uint64(committee.MaxTotalPower)
	for i := range s.Seats {
		m := Seat{Validator: r.Uvarint(1<<64 - 1), Power: r.Uvarint(committee.MaxTotalPower)}
		if r.Err() == nil && (m.Power == 0 || m.Power > left) {
			return Short{}, fmt.Errorf("decode short assignment: seat %d has power %d, want 1 to %d: %w", i, m.Power, left, ErrBadShort)
		}
		left -= m.Power
		s.Seats[i] = m
	}
	if len(s.Seats) < n {
		r.Fixed(r.Remaining() + 1) // fails: fewer bytes remain
	}
	if err := r.Done(); err != nil {
		return Short{}, fmt.Errorf("decode short assignment: %w", err)
	}
	return s, nil
}

// Open returns the assignment of a shard with its committee, or ErrOtherCommittee.
func (s *Short) Open(id ID, com committee.Committee) (Assignment, error) {
	if h := com.Hash(); h != s.Committee {
		return Assignment{}, fmt.Errorf("shard %d: committee of epoch %d with hash %s, want %s: %w", id, com.Epoch, h, s.Committee, ErrOtherCommittee)
	}
	return Assignment{Shard: id, Committee: com, Kept: s.Kept, Last: s.Last}, nil
}

// OpenAssignment returns the assignment of a shard from its row in the state of the
// main chain, which is a Short, and the encoded committee that the row names. It is
// how a shard learns its committee: the row is proved, and the committee may come
// from anybody. The errors are those of DecodeShort, committee.Decode and Open.
func OpenAssignment(id ID, row, com []byte) (Assignment, error) {
	s, err := DecodeShort(row)
	if err != nil {
		return Assignment{}, fmt.Errorf("shard %d: %w", id, err)
	}
	c, err := committee.Decode(com)
	if err != nil {
		return Assignment{}, fmt.Errorf("shard %d: %w", id, err)
	}
	return s.Open(id, c)
}
