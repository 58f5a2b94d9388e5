package shard_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/shard"
)

func TestDecodePoolAndAssignment(t *testing.T) {
	t.Parallel()
	p := pool(1, 3, 4, 5, 6)
	p.Candidates[1].WorkBps = shard.MaxWorkBps
	if got, err := shard.DecodePool(p.Encode()); err != nil || !cmp.Equal(got, p) {
		t.Errorf("decoded %v, error %v", got, err)
	}
	p.Candidates[1].WorkBps++
	if _, err := shard.DecodePool(p.Encode()); !errors.Is(err, shard.ErrBadPool) {
		t.Errorf("too much work: error %v", err)
	}
	for _, kept := range []bool{false, true} {
		a := shard.Assignment{Shard: 9, Kept: kept, Last: !kept, Committee: committee.Committee{Epoch: 3, Members: []committee.Member{{Power: 1}}}}
		if got, err := shard.DecodeAssignment(a.Encode()); err != nil || !cmp.Equal(got, a) {
			t.Errorf("decoded %v, error %v", got, err)
		}
	}
}

func FuzzDecodeAssignment(f *testing.F) {
	in := shard.Inputs{Map: establish(f, found(1, 0, 1)), Pools: []shard.Pool{pool(1, 3, equal(9)...)}}
	a := shard.Assign(in)[0]
	f.Add(a.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := shard.DecodeAssignment(b)
		if err == nil && !bytes.Equal(a.Encode(), b) {
			t.Errorf("%x decodes, and encodes as %x", b, a.Encode())
		}
	})
}

func FuzzDecodePool(f *testing.F) {
	p := pool(1, 3, 4, 5, 6)
	p.Candidates[1].WorkBps = shard.MaxWorkBps
	f.Add(p.Encode())
	p.Candidates[1].WorkBps++
	f.Add(p.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := shard.DecodePool(b)
		if err == nil && !bytes.Equal(p.Encode(), b) {
			t.Errorf("%x decodes, and encodes as %x", b, p.Encode())
		}
	})
}
