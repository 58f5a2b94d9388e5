package committee

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/ledger/codec"
)

// How EncodeAfter writes members.
const (
	membersStay   = 0 // all as before
	membersListed = 1
)

// EncodeAfter is Encode for whoever has the committee of the epoch before, most of
// whose members stay: a hundred bytes if all do with their powers, ten more for each
// member otherwise, and its 140 for a new one. It writes the record without members
// with its length 4, then 0 if they are those before, or 1, their number 2, and for
// each 1 more than its index before 2 and its power 8, or 0 in 2 bytes and the member
// as Encode writes it.
func (r *Record) EncodeAfter(before *Committee) []byte {
	head := *r
	head.Committee.Members = nil
	w := codec.NewWriter(256)
	w.Bytes32(head.Encode())
	if slices.Equal(r.Committee.Members, before.Members) {
		w.Uint8(membersStay)
		return w.Bytes()
	}
	w.Uint8(membersListed)
	w.Uint16(uint16(len(r.Committee.Members)))
	for _, m := range r.Committee.Members {
		if i, ok := before.FindValidator(m.Validator); ok && sameKeys(&before.Members[i], &m) {
			w.Uint16(uint16(i + 1))
			w.Uint64(m.Power)
			continue
		}
		w.Uint16(0)
		m.write(w)
	}
	return w.Bytes()
}

func sameKeys(a, b *Member) bool { return a.ConsensusKey == b.ConsensusKey && a.BLSKey == b.BLSKey }

// DecodeRecordAfter reads what EncodeAfter wrote, with the same committee before. The
// errors are those of DecodeRecord, and ErrBadCommittee for members that are not there
// or were written in another way.
func DecodeRecordAfter(before *Committee, b []byte) (Record, error) {
	r := codec.NewReader(b)
	out, err := DecodeRecord(r.Bytes32(1 << 10))
	if err != nil {
		return Record{}, err
	}
	switch op := r.Uint8(); {
	case r.Err() != nil:
	case op == membersStay:
		out.Committee.Members = slices.Clone(before.Members)
	case op == membersListed:
		for n := r.Uint16(); n > 0 && r.Err() == nil; n-- {
			at := int(r.Uint16())
			if at == 0 {
				out.Committee.Members = append(out.Committee.Members, readMember(r))
				continue
			}
			if at > len(before.Members) {
				return Record{}, fmt.Errorf("member %d of a committee of %d: %w", at-1, len(before.Members), ErrBadCommittee)
			}
			m := before.Members[at-1]
			m.Power = r.Uint64()
			out.Committee.Members = append(out.Committee.Members, m)
		}
	default:
		return Record{}, fmt.Errorf("members are written as %d, want %d or %d: %w", op, membersStay, membersListed, ErrBadCommittee)
	}
	if err := r.Done(); err != nil {
		return Record{}, fmt.Errorf("decode election record: %w", err)
	}
	if err := out.Committee.check(); err != nil {
		return Record{}, err
	}
	if !bytes.Equal(out.EncodeAfter(before), b) {
		return Record{}, fmt.Errorf("members are not written in the shortest way: %w", ErrBadCommittee)
	}
	return out, nil
}
