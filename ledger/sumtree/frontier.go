package sumtree

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/tributary-network/tributary/ledger/codec"
)

// Frontier is a log that grows, of which no more is kept than its next root needs: the
// roots of its largest perfect subtrees from left to right, one for each bit that is set in
// Size. The zero value is the empty log. It is owned by one goroutine.
type Frontier struct {
	Size  uint64 // leaves, at most MaxSize
	Peaks []Node
}

// Push appends a leaf. It returns ErrSum if the log would be more than can be added up, and
// ErrSize if it has MaxSize leaves, and changes nothing then.
func (f *Frontier) Push(l *Leaf) error { return f.PushNode(0, l.Node()) }

// PushNode appends the root of a perfect subtree of 2^level leaves, whose place has to
// begin at a multiple of that: ErrSize otherwise. The rest is Push's.
func (f *Frontier) PushNode(level uint, n Node) error {
	if level > MaxPath || f.Size&(1<<level-1) != 0 || f.Size > MaxSize-1<<level {
		return fmt.Errorf("%w: 2^%d leaves after %d", ErrSize, level, f.Size)
	}
	total, err := f.Sum()
	if err != nil {
		return err
	}
	if _, err := total.Add(n.Sum); err != nil {
		return err
	}
	keep := len(f.Peaks)
	for size := f.Size >> level; size&1 == 1; size >>= 1 {
		keep--
		if n, err = Join(f.Peaks[keep], n); err != nil {
			return err
		}
	}
	f.Peaks = append(f.Peaks[:keep], n)
	f.Size += 1 << level
	return nil
}

// Clone returns a copy that grows by itself.
func (f *Frontier) Clone() Frontier { return Frontier{f.Size, slices.Clone(f.Peaks)} }

// Sum returns the sum over all leaves; ErrSum only for peaks that no Push made.
func (f *Frontier) Sum() (total Sum, err error) {
	for i := range f.Peaks {
		if total, err = total.Add(f.Peaks[i].Sum); err != nil {
			return Sum{}, err
		}
	}
	return total, nil
}

// Root returns the root of the log; ErrSum only for peaks that no Push made.
func (f *Frontier) Root() (Root, error) {
	if len(f.Peaks) == 0 {
		return Root{}, nil
	}
	n := f.Peaks[len(f.Peaks)-1]
	for _, left := range slices.Backward(f.Peaks[:len(f.Peaks)-1]) {
		var err error
		if n, err = Join(left, n); err != nil {
			return Root{}, err
		}
	}
	return Root{f.Size, n}, nil
}

// Append writes the canonical encoding: size 8, and NodeSize bytes for each peak.
func (f *Frontier) Append(w *codec.Writer) {
	w.Uint64(f.Size)
	for i := range f.Peaks {
		appendNode(w, &f.Peaks[i])
	}
}

// ReadFrontier reads what Append wrote. ErrSize means more than MaxSize leaves, and ErrSum
// peaks that cannot be added up.
func ReadFrontier(r *codec.Reader) (Frontier, error) {
	f := Frontier{Size: r.Uint64()}
	if f.Size > MaxSize {
		return Frontier{}, fmt.Errorf("decode a log's frontier: %d leaves: %w", f.Size, ErrSize)
	}
	for range bits.OnesCount64(f.Size) {
		b := r.Fixed(NodeSize)
		if b == nil {
			break
		}
		f.Peaks = append(f.Peaks, readNode(b))
	}
	if err := r.Err(); err != nil {
		return Frontier{}, fmt.Errorf("decode a log's frontier: %w", err)
	}
	if _, err := f.Sum(); err != nil {
		return Frontier{}, fmt.Errorf("decode a log's frontier: %w", err)
	}
	return f, nil
}

func appendNode(w *codec.Writer, n *Node) {
	w.Fixed(n.Hash[:])
	w.Uint64(n.Units)
	w.Uint64(uint64(n.Amount))
}
