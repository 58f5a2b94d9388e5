package merkle

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// Frontier is a tree that only grows, of which no more is kept than what its
// next root needs: the roots of its largest perfect subtrees from left to right,
// one for each bit that is set in Size. Leaves that went in are proved by whoever
// has them all, with Tree. The zero value is the empty tree. It is owned by one
// goroutine.
type Frontier struct {
	Size  uint64 // leaves, at most MaxSize
	Roots []ledger.Hash
}

// Push appends a leaf. Subtrees of the same size become one. It does not change
// the memory behind f.Roots: a copy of f stays what it was.
func (f *Frontier) Push(leaf []byte) {
	h := ledger.Hash(rfc6962.DefaultHasher.HashLeaf(leaf))
	keep := len(f.Roots)
	for n := f.Size; n&1 == 1; n >>= 1 {
		keep--
		h = inner(f.Roots[keep], h)
	}
	f.Roots = append(slices.Clone(f.Roots[:keep]), h)
	f.Size++
}

// Root returns the root of the tree, which is New's over the same leaves.
func (f *Frontier) Root() ledger.Hash {
	if len(f.Roots) == 0 {
		return ledger.Hash(rfc6962.DefaultHasher.EmptyRoot())
	}
	h := f.Roots[len(f.Roots)-1]
	for _, left := range slices.Backward(f.Roots[:len(f.Roots)-1]) {
		h = inner(left, h)
	}
	return h
}

// Append writes the canonical encoding: size 8, 32 bytes for each root.
func (f *Frontier) Append(w *codec.Writer) {
	w.Uint64(f.Size)
	for i := range f.Roots {
		w.Fixed(f.Roots[i][:])
	}
}

// ReadFrontier reads what Append wrote; ErrRange means more than MaxSize leaves.
func ReadFrontier(r *codec.Reader) (Frontier, error) {
	f := Frontier{Size: r.Uint64()}
	if f.Size > MaxSize {
		return Frontier{}, fmt.Errorf("decode frontier: %d leaves: %w", f.Size, ErrRange)
	}
	for range bits.OnesCount64(f.Size) {
		h := r.Fixed(ledger.HashSize)
		if h == nil {
			break
		}
		f.Roots = append(f.Roots, ledger.Hash(h))
	}
	if err := r.Err(); err != nil {
		return Frontier{}, fmt.Errorf("decode frontier: %w", err)
	}
	return f, nil
}
