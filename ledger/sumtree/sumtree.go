// Package sumtree builds append-only Merkle trees that add up: each leaf has units and an
// amount, and the root has the sums over all leaves. One root therefore commits a log to
// its entries, to their order and number, and to how much they are in all; the path of one
// leaf proves besides how much came before it.
//
// The trees have the shape of RFC 6962, so that a tree of n leaves begins with the tree of
// its first m, and the arithmetic of paths comes from github.com/transparency-dev/merkle.
// The hashes are others:
//
//	leaf = SHA-256(0x00 || salt 16 || hash of the entry 32 || units 8 || amount 8)
//	node = SHA-256(0x01 || left: hash 32, units 8, amount 8 || right: the same)
//	root = SHA-256(0x02 || leaves 8 || hash 32 || units 8 || amount 8)
//
// with integers big-endian. A node hashes the sums of both its children. Were only their
// total hashed, a tree could be read with other sums on the way to each leaf, and prove more
// in all than it has. Sums are checked: units end at 2^64-1 and amounts at
// ledger.MaxAmount, so no sum wraps around to less.
//
// The salt keeps an entry that is easily guessed from being found by trying; who discloses
// one leaf discloses its salt and no other.
//
// It is row 0 of the dependency order: pure functions, no state.
package sumtree

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/tributary-network/tributary/ledger"
)

const (
	// SaltSize is the length of a salt in bytes.
	SaltSize = 16
	// NodeSize is the length of an encoded Node: hash 32, units 8, amount 8.
	NodeSize = ledger.HashSize + sumSize
	// MaxPath is the longest path of a leaf.
	MaxPath = 40
	// MaxSize is the largest number of leaves of a tree.
	MaxSize = 1 << MaxPath

	sumSize  = 8 + 8
	leafSize = SaltSize + ledger.HashSize + sumSize
)

// The first byte of what is hashed says what it is.
const (
	tagLeaf byte = iota
	tagNode
	tagRoot
)

var (
	// ErrSum means units or amounts that are too large to be added up.
	ErrSum = errors.New("sum is out of range")
	// ErrProof means that a proof does not lead from the leaf to the root.
	ErrProof = errors.New("proof does not lead to the root of the log")
	// ErrSize means a position or a number of leaves that no tree has.
	ErrSize = errors.New("no such place in a log")
)

// Sum is how much some leaves are.
type Sum struct {
	Units  uint64
	Amount ledger.Amount // at most ledger.MaxAmount
}

// Add returns a+b, and ErrSum above 2^64-1 units or ledger.MaxAmount.
func (a Sum) Add(b Sum) (Sum, error) {
	units, carry := bits.Add64(a.Units, b.Units, 0)
	amount, err := a.Amount.Add(b.Amount)
	if carry != 0 || err != nil || b.Amount > ledger.MaxAmount || a.Amount > ledger.MaxAmount {
		return Sum{}, fmt.Errorf("%w: %d and %d units, %d and %d drops", ErrSum, a.Units, b.Units, uint64(a.Amount), uint64(b.Amount))
	}
	return Sum{units, amount}, nil
}

func (a Sum) put(b []byte) {
	binary.BigEndian.PutUint64(b, a.Units)
	binary.BigEndian.PutUint64(b[8:], uint64(a.Amount))
}

func readSum(b []byte) Sum {
	return Sum{binary.BigEndian.Uint64(b), ledger.Amount(binary.BigEndian.Uint64(b[8:]))}
}

// Leaf is an entry of a log as the tree has it.
type Leaf struct {
	Sum

	Salt  [SaltSize]byte
	Entry ledger.Hash // of the entry
}

// Node returns the leaf as a node of the tree. Its amount has to be at most
// ledger.MaxAmount, or no tree takes it.
func (l *Leaf) Node() Node {
	var b [1 + leafSize]byte
	b[0] = tagLeaf
	copy(b[1:], l.Salt[:])
	copy(b[1+SaltSize:], l.Entry[:])
	l.put(b[1+SaltSize+ledger.HashSize:])
	return Node{sha256.Sum256(b[:]), l.Sum}
}

// Node is the root of a subtree with the sum over its leaves.
type Node struct {
	Hash ledger.Hash
	Sum
}

// Join returns the node above two that stand side by side, and ErrSum if they cannot be
// added.
func Join(left, right Node) (Node, error) {
	sum, err := left.Add(right.Sum)
	if err != nil {
		return Node{}, err
	}
	var b [1 + 2*NodeSize]byte
	b[0] = tagNode
	left.put(b[1:])
	right.put(b[1+NodeSize:])
	return Node{sha256.Sum256(b[:]), sum}, nil
}

func (n Node) put(b []byte) {
	copy(b, n.Hash[:])
	n.Sum.put(b[ledger.HashSize:])
}

func readNode(b []byte) Node {
	return Node{ledger.Hash(b[:ledger.HashSize]), readSum(b[ledger.HashSize:])}
}

// Root is what a log is at some length.
type Root struct {
	Size uint64 // leaves
	Node        // zero if there are none
}

// Hash returns what a voucher carries of the log: see the package comment. It is that of
// no log, all zeros, if there are no leaves.
func (r Root) Hash() ledger.Hash {
	if r.Size == 0 {
		return ledger.Hash{}
	}
	var b [1 + 8 + NodeSize]byte
	b[0] = tagRoot
	binary.BigEndian.PutUint64(b[1:], r.Size)
	r.put(b[9:])
	return sha256.Sum256(b[:])
}
