package lanelog

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"fmt"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/sumtree"
)

const (
	// HeaderSize is the length of the readable part of an object in bytes:
	// version 1 | channel 32 | lane 2 | first 8 | count 2 | hash 32 | units 8 | amount 8.
	HeaderSize = 1 + idSize + 8 + 2 + sumtree.NodeSize
	// MaxObject is the largest object in bytes.
	MaxObject = HeaderSize + SegmentEntries*EntrySize + sealTag

	objectVersion = 1
	sealTag       = 16
)

// Segment is entries of a log that follow one another, from a multiple of SegmentEntries on.
type Segment struct {
	ID

	First   uint64 // number of the first entry
	Entries []Entry
}

// Header is what anybody can read of a segment.
type Header struct {
	ID

	First uint64 // number of the first entry, a multiple of SegmentEntries
	Count int    // entries, 1 to SegmentEntries
	Root  sumtree.Node
}

// Full reports whether the segment can have no more entries.
func (h *Header) Full() bool { return h.Count == SegmentEntries }

// Number returns the number of the segment in its log, from zero on.
func (h *Header) Number() uint64 { return h.First / SegmentEntries }

func (h *Header) encode() []byte {
	w := codec.NewWriter(HeaderSize)
	w.Uint8(objectVersion)
	w.Fixed(h.Channel[:])
	w.Uint16(h.Lane)
	w.Uint64(h.First)
	w.Uint16(uint16(h.Count))
	w.Fixed(h.Root.Hash[:])
	w.Uint64(h.Root.Units)
	w.Uint64(uint64(h.Root.Amount))
	return w.Bytes()
}

// ReadHeader returns the readable part of an object. It returns ErrEncoding for what is no
// object, of its length and its numbers; whether it holds what it says is for Open.
func ReadHeader(object []byte) (Header, error) {
	r := codec.NewReader(object)
	version := r.Uint8()
	var h Header
	r.Into(h.Channel[:])
	h.Lane, h.First, h.Count = r.Uint16(), r.Uint64(), int(r.Uint16())
	r.Into(h.Root.Hash[:])
	h.Root.Units, h.Root.Amount = r.Uint64(), ledger.Amount(r.Uint64())
	switch {
	case r.Err() != nil:
		return Header{}, fmt.Errorf("%w: segment: %w", ErrEncoding, r.Err())
	case version != objectVersion:
		return Header{}, fmt.Errorf("%w: segment of version %d, known is %d", ErrEncoding, version, objectVersion)
	case h.Count == 0 || h.Count > SegmentEntries || h.First%SegmentEntries != 0 || h.First > sumtree.MaxSize-SegmentEntries:
		return Header{}, fmt.Errorf("%w: segment of %d entries from %d on", ErrEncoding, h.Count, h.First)
	case h.Root.Amount > ledger.MaxAmount:
		return Header{}, fmt.Errorf("%w: segment of %d drops, at most %d", ErrEncoding, uint64(h.Root.Amount), uint64(ledger.MaxAmount))
	case r.Remaining() != h.Count*EntrySize+sealTag:
		return Header{}, fmt.Errorf("%w: segment of %d entries with %d bytes, want %d", ErrEncoding, h.Count, r.Remaining(), h.Count*EntrySize+sealTag)
	}
	return h, nil
}

// Tree is the leaves of a segment and the nodes above them.
type Tree struct {
	leaves []sumtree.Leaf
	levels [][]sumtree.Node // of perfect subtrees
	root   sumtree.Node
}

// Tree returns the tree of a segment that has entries. ErrSum means entries that cannot be
// added up.
func (s *Segment) Tree(key Key) (*Tree, error) {
	t := &Tree{leaves: make([]sumtree.Leaf, len(s.Entries)), levels: make([][]sumtree.Node, 1, SegmentLevel+1)}
	t.levels[0] = make([]sumtree.Node, len(s.Entries))
	var f sumtree.Frontier
	for i := range s.Entries {
		t.leaves[i] = s.Entries[i].Leaf(key, s.ID, s.First+uint64(i))
		t.levels[0][i] = t.leaves[i].Node()
		if err := f.PushNode(0, t.levels[0][i]); err != nil {
			return nil, fmt.Errorf("entry %d of log %s: %w", s.First+uint64(i), s.ID, err)
		}
	}
	for below := t.levels[0]; len(below) > 1; below = t.levels[len(t.levels)-1] {
		level := make([]sumtree.Node, len(below)/2)
		for i := range level {
			n, err := sumtree.Join(below[2*i], below[2*i+1])
			if err != nil {
				return nil, err
			}
			level[i] = n
		}
		t.levels = append(t.levels, level)
	}
	root, err := f.Root()
	t.root = root.Node
	return t, err
}

// Root returns the root over the segment's entries.
func (t *Tree) Root() sumtree.Node { return t.root }

func (t *Tree) at(level uint, index uint64) (sumtree.Node, error) {
	if level >= uint(len(t.levels)) || index >= uint64(len(t.levels[level])) {
		return sumtree.Node{}, fmt.Errorf("%w: node %d of level %d of a segment of %d", sumtree.ErrSize, index, level, len(t.leaves))
	}
	return t.levels[level][index], nil
}

// Seal returns the object of a segment: its header and its entries, encrypted. The same
// segment and key give the same bytes. ErrEncoding means that it is none: no entries, too
// many, or from another number on; ErrSum entries that cannot be added up.
func Seal(key Key, s *Segment) ([]byte, error) {
	if n := len(s.Entries); n == 0 || n > SegmentEntries || s.First%SegmentEntries != 0 {
		return nil, fmt.Errorf("%w: segment of %d entries from %d on", ErrEncoding, n, s.First)
	}
	t, err := s.Tree(key)
	if err != nil {
		return nil, err
	}
	return s.seal(key, t.root), nil
}

// seal returns the object of a segment whose root is known.
func (s *Segment) seal(key Key, root sumtree.Node) []byte {
	h := Header{ID: s.ID, First: s.First, Count: len(s.Entries), Root: root}
	return sealEntries(key, h.encode(), s.Entries)
}

// sealEntries returns head with the entries behind it, encrypted.
func sealEntries(key Key, head []byte, entries []Entry) []byte {
	plain := make([]byte, 0, len(entries)*EntrySize)
	for i := range entries {
		plain = entries[i].append(plain)
	}
	object := make([]byte, len(head), len(head)+len(plain)+sealTag)
	copy(object, head)
	return sealer(key, head).Seal(object, make([]byte, nonceSize), plain, head)
}

// openEntries returns the count entries of an object, of which the first size bytes are
// readable.
func openEntries(key Key, object []byte, size, count int) ([]Entry, error) {
	head := object[:size]
	plain, err := sealer(key, head).Open(nil, make([]byte, nonceSize), object[size:], head)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, count)
	r := codec.NewReader(plain)
	for i := range entries {
		if entries[i], err = ReadEntry(r); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
	}
	return entries, nil
}

// Open returns the segment of an object. It returns ErrEncoding for what is no object, and
// ErrContent if it was made with another key, was changed, or its entries are not those of
// its root.
func Open(key Key, object []byte) (Segment, error) {
	h, err := ReadHeader(object)
	if err != nil {
		return Segment{}, err
	}
	s := Segment{ID: h.ID, First: h.First}
	if s.Entries, err = openEntries(key, object, HeaderSize, h.Count); err != nil {
		return Segment{}, fmt.Errorf("%w: segment %d of log %s: %w", ErrContent, h.Number(), h.ID, err)
	}
	t, err := s.Tree(key)
	if err != nil || t.root != h.Root {
		return Segment{}, fmt.Errorf("%w: segment %d of log %s: its entries are not those of its root", ErrContent, h.Number(), h.ID)
	}
	return s, nil
}

// Name returns the name of an object, which is the SHA-256 of its bytes.
func Name(object []byte) ledger.Hash { return sha256.Sum256(object) }

const nonceSize = 12

// sealer returns the cipher of one segment. Its key is of this header and therefore of one
// content only, so that the nonce may always be zero.
func sealer(key Key, head []byte) cipher.AEAD {
	secret := key.derive(tagSeal, head)
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		panic("lanelog: " + err.Error()) // of 32 bytes there always is one
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("lanelog: " + err.Error())
	}
	return aead
}
