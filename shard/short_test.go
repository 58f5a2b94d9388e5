package shard_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/shard"
)

// TestShort: an assignment is made again of its row and its committee, and of no other.
func TestShort(t *testing.T) {
	t.Parallel()
	in := shard.Inputs{Map: establish(t, found(1, 0, 2)), Pools: []shard.Pool{pool(1, 5, equal(40)...)}}
	list := shard.Assign(in)
	for i, a := range list {
		a.Last = i == 1
		s := a.Short()
		row := s.Encode()
		got, err := shard.OpenAssignment(a.Shard, row, a.Committee.Encode())
		if err != nil || !cmp.Equal(got, a) {
			t.Errorf("opened %v: %v", got, err)
		}
		if full := len(a.Encode()); len(row)*6 > full {
			t.Errorf("%d bytes, in full %d", len(row), full)
		}
		other := list[1-i].Committee
		if _, err := shard.OpenAssignment(a.Shard, row, other.Encode()); !errors.Is(err, shard.ErrOtherCommittee) {
			t.Errorf("with the committee of shard %d: %v", list[1-i].Shard, err)
		}
		later := a.Committee
		later.Epoch++
		if _, err := s.Open(a.Shard, later); !errors.Is(err, shard.ErrOtherCommittee) {
			t.Errorf("with that of another epoch: %v", err)
		}
	}
	for name, s := range map[string]shard.Short{
		"no power":       {Seats: []shard.Seat{{Validator: 1}}},
		"too much power": {Seats: []shard.Seat{{Power: committee.MaxTotalPower}, {Validator: 1, Power: 1}}},
	} {
		if _, err := shard.DecodeShort(s.Encode()); !errors.Is(err, shard.ErrBadShort) {
			t.Errorf("%s: %v", name, err)
		}
	}
	none := shard.Short{Kept: true, Seats: []shard.Seat{}}
	if got, err := shard.DecodeShort(none.Encode()); err != nil || !cmp.Equal(got, none) {
		t.Errorf("nobody: %+v, %v", got, err)
	}
}

func FuzzDecodeShort(f *testing.F) {
	a := shard.Assign(shard.Inputs{Map: establish(f, found(1, 0, 1)), Pools: []shard.Pool{pool(1, 3, equal(9)...)}})[0]
	s := a.Short()
	f.Add(s.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := shard.DecodeShort(b); err == nil && !bytes.Equal(s.Encode(), b) {
			t.Errorf("%x decodes, and encodes as %x", b, s.Encode())
		}
	})
}
