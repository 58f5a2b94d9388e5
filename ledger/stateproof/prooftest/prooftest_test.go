package prooftest_test

import (
	"encoding/binary"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/ledger/stateproof/prooftest"
	"github.com/tributary-network/tributary/ledger/statetree"
)

func rows(n int) (list chain.Changes) {
	for i := range uint64(n) {
		list = append(list, chain.Change{Key: binary.BigEndian.AppendUint64([]byte{'K'}, i), Value: []byte{byte(i), 7}})
	}
	return list
}

// TestProofs: every row of trees of many sizes is proved, and only as it is.
func TestProofs(t *testing.T) {
	t.Parallel()
	var schema stateproof.Schema
	for n := 1; n <= 33; n++ {
		tree := prooftest.New(rows(n))
		for _, c := range rows(n) {
			s, err := tree.Prove(9, c.Key)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := s.Proof.Encode()
			if err != nil {
				t.Fatal(err)
			}
			p, err := stateproof.Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Verify(tree.Root(), c.Key, c.Value, p); err != nil {
				t.Errorf("%d rows: %v", n, err)
			}
			if schema.Verify(tree.Root(), c.Key, append(c.Value, 1), p) == nil || schema.Verify(ledger.Hash{1}, c.Key, c.Value, p) == nil {
				t.Errorf("%d rows: another value or root is proved", n)
			}
		}
		if _, err := tree.Prove(9, []byte("none")); err == nil {
			t.Error("a row that is not there is proved")
		}
	}
}

// TestAsStateTree: a tree of one row, or of two, has the hash that a state has.
func TestAsStateTree(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 2; n++ {
		tree, err := statetree.Open(memkv.New(), statetree.Options{})
		if err != nil {
			t.Fatal(err)
		}
		root, err := tree.Prepare(1, rows(n))
		if err != nil {
			t.Fatal(err)
		}
		if got := prooftest.New(rows(n)).Root(); got != root {
			t.Errorf("%d rows: root %s, want %s", n, got, root)
		}
	}
}
