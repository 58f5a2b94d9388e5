package stateproof

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	ics23 "github.com/cosmos/ics23/go"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// MaxSteps is the largest number of steps of a Path: that of a tree of more keys than there
// can be.
const MaxSteps = 64

// Path is a Proof that something exists in the fewest bytes: what the key, the value and the
// shape of the tree say is not in it. It leads to the root by itself, without ICS23:
//
//	leaf  SHA256(00 02 | version | len(key) | key | 20 | SHA256(v))
//	inner SHA256(height | size | version | 20 | left | 20 | right)
//
// where v is SHA256(value) for a registry key and the root of its page for a row, with the
// page's key. Height, size and version are signed varints, as encoding/binary has them, the
// length is an unsigned one, and 00 02 are height 0 and size 1. No inner node has height 0,
// so that none passes for a leaf.
type Path struct {
	Siblings []ledger.Hash // of a row: PageDepth of them
	Version  uint64        // of the leaf
	Steps    []Step        // lowest first
}

// Step is an inner node on the way from a leaf to the root, without the child that the way
// comes from.
type Step struct {
	Height, Size, Version uint64
	Left                  bool // the other child is the left one
	Beside                ledger.Hash
}

// limit is the largest number that is written as a signed varint.
const limit = 1<<63 - 1

// Path returns p, which proves that something exists, as a Path. The error is ErrMalformed if
// it is no such proof of an IAVL tree.
func (p *Proof) Path() (Path, error) {
	exist := p.Tree.GetExist()
	if exist == nil || exist.GetLeaf() == nil {
		return Path{}, fmt.Errorf("%w: it does not prove that something exists", ErrMalformed)
	}
	out := Path{Siblings: p.Siblings, Steps: make([]Step, len(exist.Path))}
	numbers, rest, err := split(exist.Leaf.Prefix)
	if err != nil || numbers[0] != 0 || numbers[1] != 1 || len(rest) != 0 {
		return Path{}, fmt.Errorf("%w: leaf with the prefix %x", ErrMalformed, exist.Leaf.Prefix)
	}
	out.Version = numbers[2]
	for i, op := range exist.Path {
		if out.Steps[i], err = stepOf(op); err != nil {
			return Path{}, fmt.Errorf("step %d: %w", i, err)
		}
	}
	return out, nil
}

const childSize = 1 + ledger.HashSize // with its length

func stepOf(op *ics23.InnerOp) (s Step, err error) {
	numbers, rest, err := split(op.Prefix)
	s.Height, s.Size, s.Version = numbers[0], numbers[1], numbers[2]
	beside := op.Suffix
	if s.Left = len(beside) == 0; s.Left && len(rest) == childSize+1 {
		beside, rest = rest[:childSize], rest[childSize:]
	}
	if err != nil || len(rest) != 1 || rest[0] != ledger.HashSize || len(beside) != childSize || beside[0] != ledger.HashSize {
		return s, fmt.Errorf("%w: node of %x and %x", ErrMalformed, op.Prefix, op.Suffix)
	}
	s.Beside = ledger.Hash(beside[1:])
	return s, nil
}

// split returns height, size and version, and what is behind them.
func split(prefix []byte) (numbers [3]uint64, rest []byte, err error) {
	for i := range numbers {
		v, n := binary.Varint(prefix)
		if n <= 0 || v < 0 {
			return numbers, nil, errors.New("no number")
		}
		numbers[i], prefix = uint64(v), prefix[n:]
	}
	return numbers, prefix, nil
}

// Root returns the application hash of a state that holds value under key, by the nodes
// beside the way. ErrInvalid means that no state has such a key, value or path.
func (s *Schema) Root(key, value []byte, p *Path) (root ledger.Hash, err error) {
	if err := s.Check(key, value); err != nil {
		return root, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if value == nil || len(p.Steps) > MaxSteps || p.Version > limit {
		return root, fmt.Errorf("%w: a path of %d steps from version %d of %d bytes", ErrInvalid, len(p.Steps), p.Version, len(value))
	}
	h := ValueHash(value)
	if s.rows[key[0]] != 0 {
		index := binary.BigEndian.Uint64(key[1:])
		if h, err = pageRoot(key[0], index, value, p.Siblings); err != nil {
			return root, err
		}
		key = PageKey(key[0], index/PageRows)
	} else if len(p.Siblings) != 0 {
		return root, fmt.Errorf("%w: siblings for a registry key", ErrInvalid)
	}
	buf := binary.AppendVarint([]byte{0, 2}, int64(p.Version))
	buf = binary.AppendUvarint(buf, uint64(len(key)))
	buf = append(append(buf, key...), ledger.HashSize)
	sum := sha256.Sum256(h[:])
	root = sha256.Sum256(append(buf, sum[:]...))
	for i := range p.Steps {
		x := &p.Steps[i]
		if x.Height <= uint64(i) || max(x.Height, x.Size, x.Version) > limit {
			return root, fmt.Errorf("%w: step %d is of height %d", ErrInvalid, i, x.Height)
		}
		left, right := root, x.Beside
		if x.Left {
			left, right = right, left
		}
		buf = binary.AppendVarint(buf[:0], int64(x.Height))
		buf = binary.AppendVarint(buf, int64(x.Size))
		buf = binary.AppendVarint(buf, int64(x.Version))
		buf = append(append(buf, ledger.HashSize), left[:]...)
		buf = append(append(buf, ledger.HashSize), right[:]...)
		root = sha256.Sum256(buf)
	}
	return root, nil
}

// Append writes the siblings 32 each, the version as a varint, the number of steps 1, how
// many of them, the last ones, are those of like 1, as many as are, and the others: as
// varints height*2, and 1 more if the other child is the left one, size, and version; and its
// hash 32. like is nil, or a path to the same root.
func (p *Path) Append(w *codec.Writer, like *Path) {
	for i := range p.Siblings {
		w.Fixed(p.Siblings[i][:])
	}
	w.Uvarint(p.Version)
	shared := p.shared(like)
	w.Uint8(uint8(len(p.Steps)))
	w.Uint8(uint8(shared))
	for i := range p.Steps[:len(p.Steps)-shared] {
		s := &p.Steps[i]
		side := s.Height << 1
		if s.Left {
			side++
		}
		w.Uvarint(side)
		w.Uvarint(s.Size)
		w.Uvarint(s.Version)
		w.Fixed(s.Beside[:])
	}
}

// shared returns how many of the last steps of both paths are the same.
func (p *Path) shared(like *Path) (n int) {
	if like == nil {
		return 0
	}
	for n < min(len(p.Steps), len(like.Steps)) && p.Steps[len(p.Steps)-1-n] == like.Steps[len(like.Steps)-1-n] {
		n++
	}
	return n
}

// ReadPath reads what Append wrote with the same like, of a row of a table with that many
// siblings, PageDepth, or of a registry key with none. ErrMalformed means another encoding.
func ReadPath(r *codec.Reader, siblings int, like *Path) (Path, error) {
	var p Path
	for range siblings {
		var h ledger.Hash
		r.Into(h[:])
		p.Siblings = append(p.Siblings, h)
	}
	p.Version = r.Uvarint(limit)
	steps, shared := int(r.Uint8()), int(r.Uint8())
	if r.Err() == nil && (steps > MaxSteps || shared > steps || shared > 0 && (like == nil || shared > len(like.Steps))) {
		return Path{}, fmt.Errorf("%w: path of %d steps, of which %d are known", ErrMalformed, steps, shared)
	}
	for range steps - shared {
		side := r.Uvarint(limit)
		s := Step{Height: side >> 1, Left: side&1 == 1, Size: r.Uvarint(limit), Version: r.Uvarint(limit)}
		r.Into(s.Beside[:])
		if r.Err() != nil {
			break
		}
		p.Steps = append(p.Steps, s)
	}
	if err := r.Err(); err != nil {
		return Path{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if shared > 0 {
		p.Steps = append(p.Steps, like.Steps[len(like.Steps)-shared:]...)
	}
	if got := p.shared(like); got != shared {
		return Path{}, fmt.Errorf("%w: %d steps are known, and %d are written as such", ErrMalformed, got, shared)
	}
	return p, nil
}
