package lanelog_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/lanelog"
	"github.com/tributary-network/tributary/ledger/sumtree"
)

// pieceOf has the log's entries from one up to end.
func pieceOf(from, end uint64) *lanelog.Piece {
	p := &lanelog.Piece{ID: logID, First: from}
	for seq := from; seq < end; seq++ {
		p.Entries = append(p.Entries, entry(seq))
	}
	return p
}

func sealPiece(tb testing.TB, p *lanelog.Piece) []byte {
	tb.Helper()
	object, err := lanelog.SealPiece(key, p)
	if err != nil {
		tb.Fatal(err)
	}
	return object
}

// TestSegmentGrowsByPieces: however a segment is cut, the nodes of its pieces make the root that
// its entries have, at each length.
func TestSegmentGrowsByPieces(t *testing.T) {
	t.Parallel()
	const first = 3 * lanelog.SegmentEntries
	whole := pieceOf(first, first+lanelog.SegmentEntries)
	rapid.Check(t, func(rt *rapid.T) {
		var f sumtree.Frontier
		var leaves sumtree.Frontier
		for f.Size < lanelog.SegmentEntries {
			n := min(rapid.Uint64Range(1, 300).Draw(rt, "entries"), lanelog.SegmentEntries-f.Size)
			p := &lanelog.Piece{ID: logID, First: first + f.Size, Entries: whole.Entries[f.Size : f.Size+n]}
			object := sealPiece(t, p)
			h, err := lanelog.ReadPiece(object)
			if err != nil || !lanelog.IsPiece(object) || h.ID != logID || h.First != p.First || h.Count != int(n) || len(h.Nodes) > lanelog.MaxNodes {
				rt.Fatalf("piece of %d entries from %d on reads as %+v, %v", n, p.First, h, err)
			}
			back, err := lanelog.OpenPiece(key, object)
			if err != nil || !cmp.Equal(&back, p) {
				rt.Fatalf("piece of %d entries from %d on opens otherwise, %v", n, p.First, err)
			}
			if err := lanelog.Extend(&f, h.Count, h.Nodes); err != nil {
				rt.Fatal(err)
			}
			sum, err := h.Sum()
			for i := range p.Entries {
				leaf := p.Entries[i].Leaf(key, logID, p.First+uint64(i))
				err = errors.Join(err, leaves.Push(&leaf))
				sum.Units, sum.Amount = sum.Units-p.Entries[i].Units, sum.Amount-p.Entries[i].Amount
			}
			if err != nil || sum != (sumtree.Sum{}) {
				rt.Fatalf("the piece's sum is off by %v, %v", sum, err)
			}
			got, errGot := f.Root()
			want, errWant := leaves.Root()
			if got != want || errGot != nil || errWant != nil {
				rt.Fatalf("after %d entries the pieces make %v, the entries %v; %v, %v", f.Size, got, want, errGot, errWant)
			}
		}
		s := lanelog.Segment{ID: logID, First: first, Entries: whole.Entries}
		h, err := lanelog.ReadHeader(seal(t, &s))
		if root, errRoot := f.Root(); err != nil || errRoot != nil || root.Node != h.Root {
			rt.Fatalf("the segment has root %v, its pieces make %v", h.Root, root)
		}
	})
}

// TestLogPieces: what a log hands out of its tail is the piece of these entries.
func TestLogPieces(t *testing.T) {
	t.Parallel()
	b := write(t, lanelog.SegmentEntries+40)
	got, err := b.log.Piece(lanelog.SegmentEntries + 9)
	if err != nil || !bytes.Equal(got, sealPiece(t, pieceOf(lanelog.SegmentEntries+9, lanelog.SegmentEntries+40))) {
		t.Errorf("a piece of %d bytes, %v", len(got), err)
	}
	for _, from := range []uint64{0, lanelog.SegmentEntries - 1, lanelog.SegmentEntries + 40} {
		if _, err := b.log.Piece(from); !errors.Is(err, lanelog.ErrEncoding) {
			t.Errorf("a piece from entry %d on: %v", from, err)
		}
	}
}

// TestChangedPieces: no byte of a piece can change, be missing or be added, and no other key
// opens it.
func TestChangedPieces(t *testing.T) {
	t.Parallel()
	object := sealPiece(t, pieceOf(5, 16))
	for i := range object {
		for _, bit := range []byte{1, 0x80} {
			changed := bytes.Clone(object)
			changed[i] ^= bit
			if _, err := lanelog.OpenPiece(key, changed); err == nil {
				t.Fatalf("byte %d changed, and it opens", i)
			}
		}
		if _, err := lanelog.ReadPiece(object[:i]); !errors.Is(err, lanelog.ErrEncoding) {
			t.Fatalf("%d bytes of it: %v", i, err)
		}
	}
	if _, err := lanelog.ReadPiece(append(bytes.Clone(object), 0)); !errors.Is(err, lanelog.ErrEncoding) {
		t.Errorf("a byte more: %v", err)
	}
	if _, err := lanelog.OpenPiece(lanelog.Key{9}, object); !errors.Is(err, lanelog.ErrContent) {
		t.Errorf("another key: %v", err)
	}
	segment := seal(t, &write(t, 9).segments[0])
	if _, err := lanelog.ReadPiece(segment); !errors.Is(err, lanelog.ErrEncoding) || lanelog.IsPiece(segment) {
		t.Errorf("a segment as a piece: %v", err)
	}
	if _, err := lanelog.ReadHeader(object); !errors.Is(err, lanelog.ErrEncoding) || lanelog.IsPiece(nil) {
		t.Errorf("a piece as a segment: %v", err)
	}
}

// TestPieceRefuses: what does not lie within a segment is no piece, and a frontier takes only
// nodes of entries that follow it.
func TestPieceRefuses(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]*lanelog.Piece{
		"no entries":       {ID: logID},
		"over a border":    pieceOf(1_000, 1_025),
		"beyond any log":   {ID: logID, First: sumtree.MaxSize, Entries: make([]lanelog.Entry, 1)},
		"a wrapped number": {ID: logID, First: 1<<64 - 1, Entries: make([]lanelog.Entry, 1)},
	} {
		if _, err := lanelog.SealPiece(key, p); !errors.Is(err, lanelog.ErrEncoding) {
			t.Errorf("%s: %v", name, err)
		}
	}
	rich := &lanelog.Piece{ID: logID, Entries: []lanelog.Entry{{Amount: ledger.MaxAmount}, {Amount: 1}}}
	if _, err := lanelog.SealPiece(key, rich); !errors.Is(err, sumtree.ErrSum) {
		t.Errorf("more than can be added up: %v", err)
	}
	nodes, err := pieceOf(6, 9).Nodes(key)
	if err != nil || len(nodes) != 2 {
		t.Fatalf("entries 6 to 8 have %d nodes, %v", len(nodes), err)
	}
	for name, c := range map[string]struct{ size, count int }{
		"fewer entries": {6, 2}, "another place": {4, 2}, "none": {6, 0}, "too many": {1_022, 3}, "less than none": {6, -1},
	} {
		var f sumtree.Frontier
		for seq := range c.size {
			e := entry(uint64(seq))
			leaf := e.Leaf(key, logID, uint64(seq))
			if err := f.Push(&leaf); err != nil {
				t.Fatal(err)
			}
		}
		was := f.Clone()
		if err := lanelog.Extend(&f, c.count, nodes); !errors.Is(err, lanelog.ErrEncoding) || !cmp.Equal(f, was) {
			t.Errorf("%s: %v, the frontier has %d entries", name, err, f.Size)
		}
	}
	full := sumtree.Frontier{Size: 1, Peaks: []sumtree.Node{{Sum: sumtree.Sum{Amount: ledger.MaxAmount}}}}
	if err := lanelog.Extend(&full, 1, []sumtree.Node{{Sum: sumtree.Sum{Amount: 1}}}); !errors.Is(err, sumtree.ErrSum) || full.Size != 1 {
		t.Errorf("a drop too many: %v", err)
	}
}

// TestGoldenPiece pins how pieces are sealed. A change makes them unreadable.
func TestGoldenPiece(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	for _, p := range []*lanelog.Piece{pieceOf(0, 1), pieceOf(1_025, 1_028), pieceOf(1, 1_023)} {
		object := sealPiece(t, p)
		fmt.Fprintf(&out, "entries %d to %d: %s\n", p.First, p.First+uint64(len(p.Entries))-1, lanelog.Name(object))
		if len(object) < 1_000 {
			fmt.Fprintf(&out, "%x\n", object)
		}
	}
	golden(t, "piece.txt", out.String())
}

// FuzzOpenPiece: whatever the bytes, they are read or refused, and what opens is sealed alike.
func FuzzOpenPiece(f *testing.F) {
	f.Add(sealPiece(f, pieceOf(0, 3)))
	f.Add(sealPiece(f, pieceOf(1_021, 1_024)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, object []byte) {
		if h, err := lanelog.ReadPiece(object); err == nil {
			at := h.First % lanelog.SegmentEntries
			frontier := sumtree.Frontier{Size: at, Peaks: make([]sumtree.Node, bits.OnesCount64(at))}
			if err := lanelog.Extend(&frontier, h.Count, h.Nodes); err != nil {
				t.Fatalf("%x does not fit its place: %v", object, err)
			}
		}
		p, err := lanelog.OpenPiece(key, object)
		if err != nil {
			return
		}
		if again := sealPiece(t, &p); !bytes.Equal(again, object) {
			t.Fatalf("%x is sealed as %x", object, again)
		}
	})
}
