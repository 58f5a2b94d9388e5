package sumtree

import (
	"fmt"
	"math/bits"

	"github.com/transparency-dev/merkle/proof"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// Subtree returns the root of the perfect subtree over the leaves from index*2^level on,
// 2^level of them.
type Subtree func(level uint, index uint64) (Node, error)

// Proof proves one leaf of a log: that it is in it, at which place, and how much the leaves
// before it and all of them are.
type Proof struct {
	Index uint64 // of the leaf
	Size  uint64 // leaves of the log
	Leaf  Leaf
	Path  []Node // lowest first
}

// Place is where a leaf lies in a log.
type Place struct {
	Before Sum // over the leaves before it
	Total  Sum // over all leaves
}

// Verify returns where the leaf lies in the log with that root hash. It returns ErrProof if
// it is not in it, or at another place, and ErrSum if the path's sums cannot be added up.
func (p *Proof) Verify(root ledger.Hash) (Place, error) {
	top, before, err := Climb(p.Leaf.Node(), p.Index, p.Size, p.Path)
	if err != nil {
		return Place{}, err
	}
	if got := (Root{p.Size, top}).Hash(); got != root {
		return Place{}, fmt.Errorf("%w: leaf %d of %d leads to %s, want %s", ErrProof, p.Index, p.Size, got, root)
	}
	return Place{before, top.Sum}, nil
}

// Path returns the nodes beside the way from leaf index to the root of a tree of size
// leaves. A leaf may itself be the root of a subtree, the last one of fewer leaves: a log cut
// into segments of 2^k leaves is a tree of its segments.
func Path(index, size uint64, at Subtree) ([]Node, error) {
	if index >= size || size > MaxSize {
		return nil, fmt.Errorf("%w: leaf %d of %d", ErrSize, index, size)
	}
	need, err := proof.Inclusion(index, size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSize, err)
	}
	return gather(need, at)
}

// gather returns the nodes that a proof needs, those that no perfect subtree has made of
// what has.
func gather(need proof.Nodes, at Subtree) ([]Node, error) {
	raw := make([][]byte, len(need.IDs))
	for i, id := range need.IDs {
		n, err := at(id.Level, id.Index)
		if err != nil {
			return nil, err
		}
		raw[i] = n.encode()
	}
	var h hasher
	raw, err := need.Rehash(raw, h.HashChildren)
	if err == nil {
		err = h.err
	}
	if err != nil {
		return nil, err
	}
	path := make([]Node, len(raw))
	for i := range raw {
		path[i] = readNode(raw[i])
	}
	return path, nil
}

// Climb returns the root of a tree of size leaves that has leaf at index, by the nodes beside
// its way, and the sum over the leaves before it. ErrProof means that the path is not one of
// such a leaf, and ErrSum sums that cannot be added up.
func Climb(leaf Node, index, size uint64, path []Node) (top Node, before Sum, err error) {
	if index >= size || size > MaxSize {
		return Node{}, Sum{}, fmt.Errorf("%w: leaf %d of %d: %w", ErrProof, index, size, ErrSize)
	}
	// The sides: below inner by the bits of index, above it only subtrees to the left.
	inner := bits.Len64(index ^ (size - 1))
	if want := inner + bits.OnesCount64(index>>inner); len(path) != want {
		return Node{}, Sum{}, fmt.Errorf("%w: a path of %d nodes for leaf %d of %d, want %d", ErrProof, len(path), index, size, want)
	}
	if _, err := (Sum{}).Add(leaf.Sum); err != nil {
		return Node{}, Sum{}, err
	}
	top = leaf
	for i, n := range path {
		if i < inner && index>>i&1 == 0 {
			top, err = Join(top, n)
		} else if top, err = Join(n, top); err == nil {
			before, err = before.Add(n.Sum)
		}
		if err != nil {
			return Node{}, Sum{}, fmt.Errorf("step %d of the path: %w", i, err)
		}
	}
	return top, before, nil
}

// Extension returns the nodes that prove that a log of size leaves begins with what it was
// at old leaves. ErrSize unless 0 < old <= size <= MaxSize.
func Extension(old, size uint64, at Subtree) ([]Node, error) {
	if old == 0 || old > size || size > MaxSize {
		return nil, fmt.Errorf("%w: %d leaves of %d", ErrSize, old, size)
	}
	need, err := proof.Consistency(old, size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSize, err)
	}
	return gather(need, at)
}

// VerifyExtension returns nil if path proves that the log with the root later begins with
// that of the root earlier, and ErrProof or ErrSum if it does not. Any log begins with
// the empty one.
func VerifyExtension(earlier, later Root, path []Node) error {
	if later.Size > MaxSize {
		return fmt.Errorf("%w: %d leaves: %w", ErrProof, later.Size, ErrSize)
	}
	raw := make([][]byte, len(path))
	for i := range path {
		raw[i] = path[i].encode()
	}
	var h hasher
	err := proof.VerifyConsistency(&h, earlier.Size, later.Size, raw, earlier.encode(), later.encode())
	if h.err != nil {
		return h.err
	}
	if err != nil {
		return fmt.Errorf("%w: a log of %d leaves does not begin with that of %d: %w", ErrProof, later.Size, earlier.Size, err)
	}
	return nil
}

// AppendPath writes the number of nodes 1, and NodeSize bytes for each.
func AppendPath(w *codec.Writer, path []Node) {
	w.Uint8(uint8(len(path)))
	for i := range path {
		appendNode(w, &path[i])
	}
}

// ReadPath reads what AppendPath wrote; ErrSize means more nodes than any path has.
func ReadPath(r *codec.Reader) ([]Node, error) {
	n := int(r.Uint8())
	if n > MaxPath {
		return nil, fmt.Errorf("decode a log's path: %d nodes: %w", n, ErrSize)
	}
	var path []Node
	for range n {
		b := r.Fixed(NodeSize)
		if b == nil {
			break
		}
		path = append(path, readNode(b))
	}
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("decode a log's path: %w", err)
	}
	return path, nil
}

// hasher is Join for the library, which knows nodes as bytes. It keeps the first error.
type hasher struct{ err error }

// EmptyRoot is of no use: the library never asks for it.
func (*hasher) EmptyRoot() []byte { return make([]byte, NodeSize) }

// HashLeaf is of no use: leaves are nodes before the library sees them.
func (*hasher) HashLeaf(leaf []byte) []byte { return leaf }

// Size returns the length of a node.
func (*hasher) Size() int { return NodeSize }

// HashChildren returns the node above two, and any node once there was an error.
func (h *hasher) HashChildren(left, right []byte) []byte {
	if h.err == nil && (len(left) != NodeSize || len(right) != NodeSize) {
		h.err = fmt.Errorf("%w: a node of %d bytes", ErrProof, min(len(left), len(right)))
	}
	if h.err != nil {
		return left
	}
	n, err := Join(readNode(left), readNode(right))
	h.err = err
	return n.encode()
}

func (n Node) encode() []byte {
	b := make([]byte, NodeSize)
	n.put(b)
	return b
}
