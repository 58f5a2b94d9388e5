// Package prooftest proves rows of a state as ledger/statetree does, without a tree that
// is kept: a few rows, hashed anew as often as they change. Simulations use it, in which a
// store and its versions would take most of the time. What it proves stateproof.Schema
// verifies.
package prooftest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	ics23 "github.com/cosmos/ics23/go"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// Tree is the tree of some rows. It does not change.
type Tree struct {
	rows  chain.Changes
	hash  ledger.Hash
	inner *node
}

// node is a part of the tree: a leaf has no sides.
type node struct {
	left, right *node
	first, end  int // rows
	height      int64
	hash        ledger.Hash
}

// version is that of all nodes: the tree was made at once.
const version = 1

// lengthByte stands before a hash of 32 bytes.
const lengthByte = ledger.HashSize

// New returns the tree of rows, which are ascending by key, each key once, at least one.
func New(rows chain.Changes) *Tree {
	n := grow(rows, 0, len(rows))
	return &Tree{rows: rows, hash: n.hash, inner: n}
}

func head(height, size int64) []byte {
	b := binary.AppendVarint(nil, height)
	return binary.AppendVarint(binary.AppendVarint(b, size), version)
}

func grow(rows chain.Changes, first, end int) *node {
	if end-first == 1 {
		value := stateproof.ValueHash(rows[first].Value)
		hashed := sha256.Sum256(value[:])
		b := binary.AppendUvarint(head(0, 1), uint64(len(rows[first].Key)))
		b = append(append(b, rows[first].Key...), lengthByte)
		return &node{first: first, end: end, hash: sha256.Sum256(append(b, hashed[:]...))}
	}
	n := &node{first: first, end: end}
	middle := (first + end + 1) / 2
	n.left, n.right = grow(rows, first, middle), grow(rows, middle, end)
	n.height = max(n.left.height, n.right.height) + 1
	b := append(n.head(), lengthByte)
	b = append(append(b, n.left.hash[:]...), lengthByte)
	n.hash = sha256.Sum256(append(b, n.right.hash[:]...))
	return n
}

func (n *node) head() []byte { return head(n.height, int64(n.end-n.first)) }

// Root returns the application hash of the state.
func (t *Tree) Root() ledger.Hash { return t.hash }

// Prove returns the statement of a row of the state at a height. There is one under key.
func (t *Tree) Prove(height uint64, key []byte) (*stateproof.Statement, error) {
	at, ok := slices.BinarySearchFunc(t.rows, key, func(c chain.Change, key []byte) int { return bytes.Compare(c.Key, key) })
	if !ok {
		return nil, fmt.Errorf("prove row %x: there is none", key)
	}
	var path []*ics23.InnerOp // from the root
	n := t.inner
	for n.left != nil {
		op := &ics23.InnerOp{Hash: ics23.HashOp_SHA256, Prefix: append(n.head(), lengthByte)}
		if at < n.left.end {
			op.Suffix = append([]byte{lengthByte}, n.right.hash[:]...)
			n = n.left
		} else {
			op.Prefix = append(append(op.Prefix, n.left.hash[:]...), lengthByte)
			n = n.right
		}
		path = append(path, op)
	}
	slices.Reverse(path)
	value := stateproof.ValueHash(t.rows[at].Value)
	proof := &ics23.CommitmentProof{Proof: &ics23.CommitmentProof_Exist{Exist: &ics23.ExistenceProof{
		Key: key, Value: value[:], Path: path, Leaf: &ics23.LeafOp{
			Hash: ics23.HashOp_SHA256, PrehashKey: ics23.HashOp_NO_HASH, PrehashValue: ics23.HashOp_SHA256, Length: ics23.LengthOp_VAR_PROTO, Prefix: head(0, 1),
		},
	}}}
	return &stateproof.Statement{
		Height: height, Root: t.hash, Key: key, Value: t.rows[at].Value, Proof: &stateproof.Proof{Tree: proof},
	}, nil
}
