package merkle

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

const (
	// MaxSize is the largest number of leaves of a tree that a Range is of.
	MaxSize = 1 << MaxPath
	// MaxRangePath is the longest path of a Range: on each side one hash per level.
	MaxRangePath = 2 * MaxPath
)

// ErrRange means that leaves are not a range of the tree: there are none, or
// they end beyond its last leaf.
var ErrRange = errors.New("not a range of the tree's leaves")

// Range proves that some leaves stand side by side in a tree: it is one proof
// for all of them, with at most as many hashes as the two outermost would need
// alone.
//
// Path holds the roots of the largest subtrees that have none of the leaves, in
// the order of their leaves. Which these are follows from the tree's size, the
// range's begin and its length, so that there is one proof for a range. As in
// every proof of RFC 6962, a root alone does not say how many leaves there are:
// what Verify accepts may also hold for another Size of the same shape around the
// leaves. The leaves and their order are certain.
type Range struct {
	Begin uint64 // index of the first leaf
	Size  uint64 // leaves of the whole tree, at most MaxSize
	Path  []ledger.Hash
}

// Range returns the proof that the leaves begin to end-1 stand in the tree. It
// returns ErrRange unless begin < end <= Size.
func (t *Tree) Range(begin, end uint64) (Range, error) {
	if begin >= end || end > t.size {
		return Range{}, fmt.Errorf("leaves %d to %d of %d: %w", begin, end, t.size, ErrRange)
	}
	p := Range{Begin: begin, Size: t.size}
	t.cover(&p, end, 0, t.size)
	return p, nil
}

// cover appends the subtrees of the leaves low to high-1 that are outside p's
// range, which ends at end.
func (t *Tree) cover(p *Range, end, low, high uint64) {
	switch {
	case high <= p.Begin || low >= end:
		p.Path = append(p.Path, t.node(low, high))
	case high-low > 1:
		middle := low + split(high-low)
		t.cover(p, end, low, middle)
		t.cover(p, end, middle, high)
	}
}

// node returns the root over the leaves low to high-1, a subtree of t.
func (t *Tree) node(low, high uint64) ledger.Hash {
	n := high - low
	if n&(n-1) == 0 { // perfect: it was kept
		level := uint(bits.TrailingZeros64(n))
		return ledger.Hash(t.nodes[compact.NewNodeID(level, low>>level)])
	}
	middle := low + split(n)
	return inner(t.node(low, middle), t.node(middle, high))
}

// Verify returns nil if leaves stand in the tree with that root, the first at
// p.Begin, and ErrProof otherwise. It hashes each leaf once, and a hash per
// level beside them.
func (p *Range) Verify(root ledger.Hash, leaves [][]byte) error {
	n := uint64(len(leaves))
	if n == 0 || p.Size > MaxSize || n > p.Size || p.Begin > p.Size-n || len(p.Path) > MaxRangePath {
		return fmt.Errorf("%w: %d leaves from %d of %d with a path of %d: %w", ErrProof, n, p.Begin, p.Size, len(p.Path), ErrRange)
	}
	c := climb{begin: p.Begin, end: p.Begin + n, leaves: leaves, path: p.Path}
	got := c.root(0, p.Size)
	switch {
	case c.short || len(c.path) != 0:
		return fmt.Errorf("%w: the path of %d hashes is not that of %d leaves from %d of %d", ErrProof, len(p.Path), n, p.Begin, p.Size)
	case got != root:
		return fmt.Errorf("%w: it leads to %s, want %s", ErrProof, got, root)
	}
	return nil
}

// climb computes a root from the leaves of a range and a path that is used up
// on the way.
type climb struct {
	begin, end uint64
	leaves     [][]byte
	path       []ledger.Hash
	short      bool // a hash was missing
}

func (c *climb) root(low, high uint64) ledger.Hash {
	switch {
	case high <= c.begin || low >= c.end:
		if len(c.path) == 0 {
			c.short = true
			return ledger.Hash{}
		}
		h := c.path[0]
		c.path = c.path[1:]
		return h
	case high-low == 1:
		return ledger.Hash(rfc6962.DefaultHasher.HashLeaf(c.leaves[low-c.begin]))
	}
	middle := low + split(high-low)
	left := c.root(low, middle)
	return inner(left, c.root(middle, high))
}

// split returns how many of n leaves, at least 2, are in the left subtree: the
// largest power of two below n.
func split(n uint64) uint64 { return 1 << (bits.Len64(n-1) - 1) }

func inner(left, right ledger.Hash) ledger.Hash {
	return ledger.Hash(rfc6962.DefaultHasher.HashChildren(left[:], right[:]))
}

// Append writes the canonical encoding: begin 8, size 8, number of hashes 1,
// 32 bytes each.
func (p *Range) Append(w *codec.Writer) {
	w.Uint64(p.Begin)
	w.Uint64(p.Size)
	w.Uint8(uint8(len(p.Path)))
	for i := range p.Path {
		w.Fixed(p.Path[i][:])
	}
}

// ReadRange reads what Append wrote. It returns ErrRange for a proof whose
// numbers cannot be those of a range; whether it proves anything is for Verify
// to say.
func ReadRange(r *codec.Reader) (Range, error) {
	p := Range{Begin: r.Uint64(), Size: r.Uint64()}
	n := int(r.Uint8())
	if err := r.Err(); err != nil {
		return Range{}, fmt.Errorf("decode range proof: %w", err)
	}
	if p.Size == 0 || p.Size > MaxSize || p.Begin >= p.Size || n > MaxRangePath {
		return Range{}, fmt.Errorf("decode range proof: begin %d, size %d, %d hashes: %w", p.Begin, p.Size, n, ErrRange)
	}
	for range n {
		h := r.Fixed(ledger.HashSize)
		if h == nil {
			return Range{}, fmt.Errorf("decode range proof: %w", r.Err())
		}
		p.Path = append(p.Path, ledger.Hash(h))
	}
	return p, nil
}
