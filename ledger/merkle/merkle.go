// Package merkle builds RFC 6962 Merkle trees over short lists of leaves and
// proves and verifies inclusion in them: of one leaf (Tree.Path, Verify) or of
// leaves that stand side by side (Range). A tree that only grows is kept as its
// Frontier.
//
// Hashing and the arithmetic of paths come from github.com/transparency-dev/merkle,
// the library that runs certificate transparency logs: leaf = SHA-256(0x00 ||
// data), node = SHA-256(0x01 || left || right), and the empty tree's root is
// SHA-256 of nothing. A leaf cannot be passed off as a node, and trees of any
// size have one shape.
//
// It is row 0 of the dependency order: pure functions, no state.
package merkle

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/tributary-network/tributary/ledger"
)

// MaxPath is the longest inclusion path: trees have at most 2^32 leaves.
const MaxPath = 32

// ErrProof is returned when a proof does not lead from the leaf to the root.
var ErrProof = errors.New("proof does not lead to the Merkle root")

// Tree is a finished tree. It is immutable and safe for concurrent use.
type Tree struct {
	size  uint64
	root  ledger.Hash
	nodes map[compact.NodeID][]byte
}

// New returns the tree over leaves, in their order.
func New(leaves [][]byte) (*Tree, error) {
	t := &Tree{size: uint64(len(leaves)), nodes: make(map[compact.NodeID][]byte, 2*len(leaves))}
	keep := func(id compact.NodeID, hash []byte) { t.nodes[id] = hash }
	root, err := fold(leaves, keep)
	t.root = root
	return t, err
}

// Root returns the root over leaves without keeping the tree.
func Root(leaves [][]byte) (ledger.Hash, error) { return fold(leaves, nil) }

func fold(leaves [][]byte, visit compact.VisitFn) (ledger.Hash, error) {
	hasher := rfc6962.DefaultHasher
	if len(leaves) == 0 {
		return ledger.Hash(hasher.EmptyRoot()), nil
	}
	factory := compact.RangeFactory{Hash: hasher.HashChildren}
	r := factory.NewEmptyRange(0)
	for i, leaf := range leaves {
		hash := hasher.HashLeaf(leaf)
		if visit != nil {
			visit(compact.NewNodeID(0, uint64(i)), hash)
		}
		if err := r.Append(hash, visit); err != nil {
			return ledger.Hash{}, fmt.Errorf("append leaf %d: %w", i, err)
		}
	}
	root, err := r.GetRootHash(visit)
	if err != nil {
		return ledger.Hash{}, fmt.Errorf("fold %d leaves: %w", len(leaves), err)
	}
	return ledger.Hash(root), nil
}

// Size returns the number of leaves.
func (t *Tree) Size() uint64 { return t.size }

// Root returns the root.
func (t *Tree) Root() ledger.Hash { return t.root }

// Path returns the hashes that prove that leaf index is in the tree, lowest
// first. It fails if index is not below Size.
func (t *Tree) Path(index uint64) ([]ledger.Hash, error) {
	need, err := proof.Inclusion(index, t.size)
	if err != nil {
		return nil, fmt.Errorf("prove leaf %d of %d: %w", index, t.size, err)
	}
	hashes := make([][]byte, len(need.IDs))
	for i, id := range need.IDs {
		hashes[i] = t.nodes[id]
	}
	hashes, err = need.Rehash(hashes, rfc6962.DefaultHasher.HashChildren)
	if err != nil {
		return nil, fmt.Errorf("prove leaf %d of %d: %w", index, t.size, err)
	}
	path := make([]ledger.Hash, len(hashes))
	for i, h := range hashes {
		path[i] = ledger.Hash(h)
	}
	return path, nil
}

// Verify returns ErrProof unless path leads from leaf, at index of a tree of
// size leaves, to root.
func Verify(root ledger.Hash, leaf []byte, index, size uint64, path []ledger.Hash) error {
	hasher := rfc6962.DefaultHasher
	hashes := make([][]byte, len(path))
	for i := range path {
		hashes[i] = path[i][:]
	}
	if err := proof.VerifyInclusion(hasher, index, size, hasher.HashLeaf(leaf), hashes, root[:]); err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	return nil
}

// Sides returns on which sides the hashes of a path stand: bit i says that Path(index)[i] of
// a tree of size leaves is to the left. index is below size.
func Sides(index, size uint64) (left uint32) {
	// Below inner by the bits of index, above it there are only subtrees to the left.
	inner := bits.Len64(index ^ (size - 1))
	above := bits.OnesCount64(index >> inner)
	return uint32(index&(1<<inner-1) | (1<<above-1)<<inner) //nolint:gosec // a path has MaxPath hashes at most
}

// Climb returns the root that a path leads to from leaf, with left as Sides returns it. Where
// a root alone says how many leaves there are nowhere, that is all that a path proves: that
// the leaf is in the tree, and not at which index of how many. Of path at most MaxPath hashes
// are looked at.
func Climb(leaf []byte, left uint32, path []ledger.Hash) ledger.Hash {
	h := ledger.Hash(rfc6962.DefaultHasher.HashLeaf(leaf))
	for i, beside := range path[:min(len(path), MaxPath)] {
		if left>>i&1 == 1 {
			h = inner(beside, h)
		} else {
			h = inner(h, beside)
		}
	}
	return h
}
