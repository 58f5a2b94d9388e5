package lanelog

import (
	"fmt"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/sumtree"
)

// Proof proves an entry of a log, whose content and salt it discloses, and nothing of the
// others but how much they are together.
type Proof struct {
	Entry Entry
	Salt  [sumtree.SaltSize]byte
	Seq   uint64 // number of the entry
	Size  uint64 // entries of the log
	Path  []sumtree.Node
}

// Prove returns the proof of entry seq of a log of size entries: t is the tree of its
// segment s, and segments returns the roots over 2^level segments from index*2^level on, of
// which the last segment may have fewer entries.
func Prove(key Key, s *Segment, t *Tree, seq, size uint64, segments sumtree.Subtree) (Proof, error) {
	if seq < s.First || seq-s.First >= uint64(len(s.Entries)) || size < s.First+uint64(len(s.Entries)) {
		return Proof{}, fmt.Errorf("%w: entry %d of a log of %d in a segment of %d from %d on", sumtree.ErrSize, seq, size, len(s.Entries), s.First)
	}
	low, err := sumtree.Path(seq-s.First, uint64(len(s.Entries)), t.at)
	if err != nil {
		return Proof{}, err
	}
	high, err := sumtree.Path(s.First/SegmentEntries, (size+SegmentEntries-1)/SegmentEntries, segments)
	if err != nil {
		return Proof{}, err
	}
	return Proof{Entry: s.Entries[seq-s.First], Salt: key.Salt(s.ID, seq), Seq: seq, Size: size, Path: append(low, high...)}, nil
}

// Verify returns where the entry lies in the log id with that root hash. The errors are those
// of sumtree.Proof.Verify.
func (p *Proof) Verify(id ID, root ledger.Hash) (sumtree.Place, error) {
	tree := sumtree.Proof{
		Index: p.Seq, Size: p.Size, Path: p.Path,
		Leaf: sumtree.Leaf{Sum: p.Entry.Sum(), Salt: p.Salt, Entry: p.Entry.Hash(id, p.Seq)},
	}
	place, err := tree.Verify(root)
	if err != nil {
		return sumtree.Place{}, fmt.Errorf("entry %d of log %s: %w", p.Seq, id, err)
	}
	return place, nil
}

// Append writes the canonical encoding: entry, salt 16, number 8, size 8, number of nodes 1,
// and the nodes.
func (p *Proof) Append(w *codec.Writer) {
	w.Fixed(p.Entry.Encode())
	w.Fixed(p.Salt[:])
	w.Uint64(p.Seq)
	w.Uint64(p.Size)
	sumtree.AppendPath(w, p.Path)
}

// ReadProof reads what Append wrote. It returns ErrEncoding for what no proof is; whether it
// proves anything is for Verify to say.
func ReadProof(r *codec.Reader) (Proof, error) {
	var p Proof
	var err error
	if p.Entry, err = ReadEntry(r); err != nil {
		return Proof{}, err
	}
	r.Into(p.Salt[:])
	p.Seq, p.Size = r.Uint64(), r.Uint64()
	if p.Path, err = sumtree.ReadPath(r); err != nil {
		return Proof{}, fmt.Errorf("%w: proof: %w", ErrEncoding, err)
	}
	if p.Seq >= p.Size || p.Size > sumtree.MaxSize {
		return Proof{}, fmt.Errorf("%w: proof of entry %d of %d", ErrEncoding, p.Seq, p.Size)
	}
	return p, nil
}
