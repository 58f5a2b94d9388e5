package lanelog

import (
	"fmt"
	"math/bits"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/sumtree"
)

const (
	// MaxNodes is the largest number of nodes of a piece or a link.
	MaxNodes = 2 * (SegmentLevel - 1)

	// pieceHeader is the length of what anybody can read of a piece but for its nodes:
	// version 1 | channel 32 | lane 2 | first 8 | count 2.
	pieceHeader  = 1 + idSize + 8 + 2
	pieceVersion = 2
)

// Piece is entries of a log that follow one another within a segment, from any number on. With
// pieces a segment is kept as it grows, and nothing twice; once it is full it is sealed as a
// whole, and they can go.
type Piece struct {
	ID

	First   uint64 // number of the first entry
	Entries []Entry
}

// PieceHeader is what anybody can read of a piece. Its nodes make the root of a segment that
// grows by the piece: see Extend.
type PieceHeader struct {
	ID

	First uint64         // number of the first entry
	Count int            // entries, 1 to SegmentEntries
	Nodes []sumtree.Node // of the largest perfect subtrees of the segment that these are, in order
}

// Sum returns how much the entries are; ErrSum only for what ReadPiece did not return.
func (h *PieceHeader) Sum() (total sumtree.Sum, err error) {
	for i := range h.Nodes {
		if total, err = total.Add(h.Nodes[i].Sum); err != nil {
			return sumtree.Sum{}, err
		}
	}
	return total, nil
}

// IsPiece reports whether an object says that it is a piece, and not a segment.
func IsPiece(object []byte) bool { return len(object) > 0 && object[0] == pieceVersion }

// cover returns of which levels the largest perfect subtrees are that the entries of a segment
// make from one up to end, from left to right.
func cover(from, end uint64) []uint {
	levels := make([]uint, 0, MaxNodes)
	for from < end {
		level := uint(bits.Len64(end-from)) - 1
		if from > 0 {
			level = min(level, uint(bits.TrailingZeros64(from)))
		}
		levels = append(levels, level)
		from += 1 << level
	}
	return levels
}

// Extend appends count entries to f, the frontier over the entries that a segment has, by the
// nodes that Piece.Nodes returned for them. It returns ErrEncoding if such entries have another
// number of nodes or do not fit the segment, and ErrSum if they cannot be added up, and changes
// nothing then.
func Extend(f *sumtree.Frontier, count int, nodes []sumtree.Node) error {
	if count < 1 || f.Size > SegmentEntries || uint64(count) > SegmentEntries-f.Size {
		return fmt.Errorf("%w: %d entries after %d of a segment", ErrEncoding, count, f.Size)
	}
	levels := cover(f.Size, f.Size+uint64(count))
	if len(nodes) != len(levels) {
		return fmt.Errorf("%w: %d nodes for %d entries after %d of a segment, want %d", ErrEncoding, len(nodes), count, f.Size, len(levels))
	}
	next := f.Clone()
	for i, level := range levels {
		if err := next.PushNode(level, nodes[i]); err != nil {
			return err
		}
	}
	*f = next
	return nil
}

// check returns ErrEncoding unless the entries lie within one segment.
func (p *Piece) check() error {
	if n := len(p.Entries); n == 0 || p.First >= sumtree.MaxSize || p.First%SegmentEntries+uint64(n) > SegmentEntries {
		return fmt.Errorf("%w: piece of %d entries from %d on is not within a segment", ErrEncoding, n, p.First)
	}
	return nil
}

// Nodes returns the nodes of the piece, or the link of a segment that grew by it: at most
// MaxNodes. It returns ErrEncoding for what is no piece, and ErrSum for entries that cannot be
// added up.
func (p *Piece) Nodes(key Key) ([]sumtree.Node, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	var nodes []sumtree.Node
	var total sumtree.Sum
	seq, rest := p.First, p.Entries
	for _, level := range cover(p.First%SegmentEntries, p.First%SegmentEntries+uint64(len(p.Entries))) {
		var f sumtree.Frontier
		for i := range rest[:1<<level] {
			leaf := rest[i].Leaf(key, p.ID, seq)
			if err := f.Push(&leaf); err != nil {
				return nil, fmt.Errorf("entry %d of log %s: %w", seq, p.ID, err)
			}
			seq++
		}
		rest = rest[1<<level:]
		root, err := f.Root()
		if err == nil {
			total, err = total.Add(root.Sum)
		}
		if err != nil {
			return nil, fmt.Errorf("entries up to %d of log %s: %w", seq, p.ID, err)
		}
		nodes = append(nodes, root.Node)
	}
	return nodes, nil
}

// SealPiece returns the object of a piece: its header with the nodes, and its entries,
// encrypted. The same piece and key give the same bytes. The errors are those of Nodes.
func SealPiece(key Key, p *Piece) ([]byte, error) {
	nodes, err := p.Nodes(key)
	if err != nil {
		return nil, err
	}
	w := codec.NewWriter(pieceHeader + len(nodes)*sumtree.NodeSize)
	w.Uint8(pieceVersion)
	w.Fixed(p.Channel[:])
	w.Uint16(p.Lane)
	w.Uint64(p.First)
	w.Uint16(uint16(len(p.Entries)))
	for i := range nodes {
		w.Fixed(nodes[i].Hash[:])
		w.Uint64(nodes[i].Units)
		w.Uint64(uint64(nodes[i].Amount))
	}
	return sealEntries(key, w.Bytes(), p.Entries), nil
}

// ReadPiece returns the readable part of a piece. It returns ErrEncoding for what is no piece, of
// its length and its numbers; whether it holds what it says is for OpenPiece.
func ReadPiece(object []byte) (PieceHeader, error) {
	r := codec.NewReader(object)
	version := r.Uint8()
	var h PieceHeader
	r.Into(h.Channel[:])
	h.Lane, h.First, h.Count = r.Uint16(), r.Uint64(), int(r.Uint16())
	at := h.First % SegmentEntries
	switch {
	case r.Err() != nil:
		return PieceHeader{}, fmt.Errorf("%w: piece: %w", ErrEncoding, r.Err())
	case version != pieceVersion:
		return PieceHeader{}, fmt.Errorf("%w: piece of version %d, known is %d", ErrEncoding, version, pieceVersion)
	case h.Count == 0 || at+uint64(h.Count) > SegmentEntries || h.First >= sumtree.MaxSize:
		return PieceHeader{}, fmt.Errorf("%w: piece of %d entries from %d on is not within a segment", ErrEncoding, h.Count, h.First)
	}
	n := len(cover(at, at+uint64(h.Count)))
	if want := n*sumtree.NodeSize + h.Count*EntrySize + sealTag; r.Remaining() != want {
		return PieceHeader{}, fmt.Errorf("%w: piece of %d entries with %d bytes, want %d", ErrEncoding, h.Count, r.Remaining(), want)
	}
	h.Nodes = make([]sumtree.Node, n)
	for i := range h.Nodes {
		r.Into(h.Nodes[i].Hash[:])
		h.Nodes[i].Units, h.Nodes[i].Amount = r.Uint64(), ledger.Amount(r.Uint64())
	}
	if _, err := h.Sum(); err != nil {
		return PieceHeader{}, fmt.Errorf("%w: piece: %w", ErrEncoding, err)
	}
	return h, nil
}

// OpenPiece returns the piece of an object. It returns ErrEncoding for what is no piece, and
// ErrContent if it was made with another key, was changed, or its entries are not those of its
// nodes.
func OpenPiece(key Key, object []byte) (Piece, error) {
	h, err := ReadPiece(object)
	if err != nil {
		return Piece{}, err
	}
	p := Piece{ID: h.ID, First: h.First}
	if p.Entries, err = openEntries(key, object, pieceHeader+len(h.Nodes)*sumtree.NodeSize, h.Count); err != nil {
		return Piece{}, fmt.Errorf("%w: piece from entry %d of log %s: %w", ErrContent, h.First, h.ID, err)
	}
	nodes, err := p.Nodes(key)
	if err != nil {
		return Piece{}, fmt.Errorf("%w: piece from entry %d of log %s: %w", ErrContent, h.First, h.ID, err)
	}
	for i := range nodes {
		if nodes[i] != h.Nodes[i] {
			return Piece{}, fmt.Errorf("%w: piece from entry %d of log %s: its entries are not those of its nodes", ErrContent, h.First, h.ID)
		}
	}
	return p, nil
}
