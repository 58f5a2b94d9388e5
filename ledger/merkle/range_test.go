package merkle_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/merkle"
)

func grow(tb testing.TB, n int) *merkle.Tree {
	tb.Helper()
	tree, err := merkle.New(leaves(n))
	if err != nil {
		tb.Fatal(err)
	}
	return tree
}

func encodeRange(p *merkle.Range) []byte {
	w := codec.NewWriter(0)
	p.Append(w)
	return w.Bytes()
}

func decodeRange(b []byte) (merkle.Range, error) {
	r := codec.NewReader(b)
	p, err := merkle.ReadRange(r)
	if err != nil {
		return p, err
	}
	return p, r.Done()
}

// TestRangeEverywhere: every range of every small tree is proved, with no more
// hashes than its two ends need alone, and as nothing but itself.
func TestRangeEverywhere(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 20; n++ {
		tree, data := grow(t, n), leaves(n)
		for begin := range n {
			for end := begin + 1; end <= n; end++ {
				p, err := tree.Range(uint64(begin), uint64(end))
				if err != nil {
					t.Fatal(err)
				}
				if err := p.Verify(tree.Root(), data[begin:end]); err != nil {
					t.Fatalf("%d to %d of %d: %v", begin, end, n, err)
				}
				first, _ := tree.Path(uint64(begin))
				last, _ := tree.Path(uint64(end - 1))
				if end-begin == 1 && len(p.Path) != len(first) || len(p.Path) > len(first)+len(last) {
					t.Errorf("%d to %d of %d: %d hashes, alone %d and %d", begin, end, n, len(p.Path), len(first), len(last))
				}
				for other := range n - (end - begin) + 1 {
					moved := p
					moved.Begin = uint64(other)
					if err := moved.Verify(tree.Root(), data[begin:end]); (err == nil) != (other == begin) {
						t.Errorf("%d to %d of %d at %d: %v", begin, end, n, other, err)
					}
				}
			}
		}
	}
}

// TestRangeAgreesWithPaths: a range is proved exactly if each of its leaves is.
func TestRangeAgreesWithPaths(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 300).Draw(rt, "n")
		begin := rapid.IntRange(0, n-1).Draw(rt, "begin")
		end := rapid.IntRange(begin+1, n).Draw(rt, "end")
		tree, data := grow(t, n), leaves(n)
		p, err := tree.Range(uint64(begin), uint64(end))
		if err != nil {
			rt.Fatal(err)
		}
		again, err := decodeRange(encodeRange(&p))
		if diff := cmp.Diff(p, again); err != nil || diff != "" {
			rt.Fatalf("decoded with %v: %s", err, diff)
		}
		shown := slices.Clone(data[begin:end])
		if rapid.Bool().Draw(rt, "lie") {
			shown[rapid.IntRange(0, len(shown)-1).Draw(rt, "which")] = []byte(rapid.StringMatching(`leaf \d{1,3}`).Draw(rt, "instead"))
		}
		each := true
		for i, leaf := range shown {
			path, err := tree.Path(uint64(begin + i))
			if err != nil {
				rt.Fatal(err)
			}
			each = each && merkle.Verify(tree.Root(), leaf, uint64(begin+i), uint64(n), path) == nil
		}
		if err := p.Verify(tree.Root(), shown); (err == nil) != each {
			rt.Fatalf("the range says %v, the leaves' own proofs %v", err, each)
		}
	})
}

func TestRangeRefuses(t *testing.T) {
	t.Parallel()
	tree, data := grow(t, 11), leaves(11)
	good, err := tree.Range(3, 7)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(change func(p *merkle.Range)) merkle.Range {
		p := good
		p.Path = slices.Clone(good.Path)
		change(&p)
		return p
	}
	root := tree.Root()
	for _, row := range []struct {
		name   string
		p      merkle.Range
		root   ledger.Hash
		leaves [][]byte
	}{
		{"no leaf", good, root, nil},
		{"a leaf less", good, root, data[3:6]},
		{"a leaf more", good, root, data[3:8]},
		{"exchanged leaves", good, root, [][]byte{data[4], data[3], data[5], data[6]}},
		{"another root", good, ledger.Hash{1}, data[3:7]},
		{"another place", edit(func(p *merkle.Range) { p.Begin++ }), root, data[3:7]},
		{"a place beyond", edit(func(p *merkle.Range) { p.Begin = 1<<64 - 2 }), root, data[3:7]},
		{"a larger tree of another shape", edit(func(p *merkle.Range) { p.Size = 17 }), root, data[3:7]},
		{"a smaller tree", edit(func(p *merkle.Range) { p.Size = 3 }), root, data[3:7]},
		{"a tree of too many", edit(func(p *merkle.Range) { p.Size = merkle.MaxSize + 1 }), root, data[3:7]},
		{"a hash less", edit(func(p *merkle.Range) { p.Path = p.Path[1:] }), root, data[3:7]},
		{"a hash more", edit(func(p *merkle.Range) { p.Path = append(p.Path, ledger.Hash{}) }), root, data[3:7]},
		{"too many hashes", edit(func(p *merkle.Range) { p.Path = make([]ledger.Hash, 65) }), root, data[3:7]},
		{"another hash", edit(func(p *merkle.Range) { p.Path[1][31]++ }), root, data[3:7]},
		{"an inner node as a leaf", merkle.Range{Begin: 0, Size: 2, Path: good.Path[:1]}, root, [][]byte{good.Path[0][:]}},
	} {
		if err := row.p.Verify(row.root, row.leaves); !errors.Is(err, merkle.ErrProof) {
			t.Errorf("%s: %v, want ErrProof", row.name, err)
		}
	}
	for _, row := range [][2]uint64{{3, 3}, {4, 3}, {0, 12}, {11, 12}} {
		if _, err := tree.Range(row[0], row[1]); !errors.Is(err, merkle.ErrRange) {
			t.Errorf("range %v: %v, want ErrRange", row, err)
		}
	}
}

func TestReadRangeRefuses(t *testing.T) {
	t.Parallel()
	good := merkle.Range{Begin: 1, Size: 3, Path: make([]ledger.Hash, 2)}
	raw := encodeRange(&good)
	for _, row := range []struct {
		name string
		in   []byte
		want error
	}{
		{"good", raw, nil},
		{"nothing", nil, codec.ErrShort},
		{"cut short", raw[:len(raw)-1], codec.ErrShort},
		{"a byte more", append(slices.Clone(raw), 0), codec.ErrTrailing},
		{"no leaves", encodeRange(&merkle.Range{}), merkle.ErrRange},
		{"beyond the end", encodeRange(&merkle.Range{Begin: 3, Size: 3}), merkle.ErrRange},
		{"a tree of too many", encodeRange(&merkle.Range{Size: merkle.MaxSize + 1}), merkle.ErrRange},
		{"too many hashes", encodeRange(&merkle.Range{Size: 1, Path: make([]ledger.Hash, 65)}), merkle.ErrRange},
		{"hashes that are not there", append(make([]byte, 15), 1, 64), codec.ErrShort},
	} {
		if _, err := decodeRange(row.in); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
	}
}

// TestFrontierIsTheTree: after every leaf the frontier has the tree's root, and
// as many hashes as its size has bits.
func TestFrontierIsTheTree(t *testing.T) {
	t.Parallel()
	var f merkle.Frontier
	var copies []merkle.Frontier
	for n := range 130 {
		root, err := merkle.Root(leaves(n))
		if err != nil {
			t.Fatal(err)
		}
		if f.Root() != root || f.Size != uint64(n) {
			t.Fatalf("root of %d leaves %s, want %s", n, f.Root(), root)
		}
		w := codec.NewWriter(0)
		f.Append(w)
		again, err := merkle.ReadFrontier(codec.NewReader(w.Bytes()))
		if diff := cmp.Diff(f, again); err != nil || diff != "" {
			t.Fatalf("decoded with %v: %s", err, diff)
		}
		copies = append(copies, f)
		f.Push(leaves(n + 1)[n])
	}
	for n, c := range copies { // nothing that was copied has changed since
		if root, _ := merkle.Root(leaves(n)); c.Root() != root {
			t.Errorf("the copy of %d leaves changed", n)
		}
	}
	w := codec.NewWriter(0)
	w.Uint64(merkle.MaxSize + 1)
	w.Fixed(make([]byte, 64))
	if _, err := merkle.ReadFrontier(codec.NewReader(w.Bytes())); !errors.Is(err, merkle.ErrRange) {
		t.Errorf("a frontier of too many leaves: %v", err)
	}
	if _, err := merkle.ReadFrontier(codec.NewReader(append(make([]byte, 7), 3))); !errors.Is(err, codec.ErrShort) {
		t.Errorf("a frontier without its roots: %v", err)
	}
}

// TestRangeGolden: a proof is these bytes.
func TestRangeGolden(t *testing.T) {
	t.Parallel()
	p, err := grow(t, 11).Range(3, 7)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/range.hex")
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(encodeRange(&p)); got != strings.TrimSpace(string(want)) {
		t.Errorf("range proof %s", got)
	}
}

// FuzzRange: nothing but the bytes that are written is read, and nothing but the
// range that was proved is proved.
func FuzzRange(f *testing.F) {
	tree, data := grow(f, 11), leaves(11)
	good, err := tree.Range(3, 7)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encodeRange(&good))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := decodeRange(in)
		if err != nil {
			return
		}
		if !bytes.Equal(encodeRange(&p), in) {
			t.Errorf("%x is not canonical", in)
		}
		same := p.Begin == good.Begin && slices.Equal(p.Path, good.Path) // the size is not certain
		if err := p.Verify(tree.Root(), data[3:7]); err == nil && !same || err != nil && bytes.Equal(in, encodeRange(&good)) {
			t.Errorf("%x: %v", in, err)
		}
	})
}

// FuzzFrontier: nothing but the bytes that are written is read.
func FuzzFrontier(f *testing.F) {
	var grown merkle.Frontier
	for _, leaf := range leaves(11) {
		grown.Push(leaf)
	}
	w := codec.NewWriter(0)
	grown.Append(w)
	f.Add(w.Bytes())
	f.Add(make([]byte, 8))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := codec.NewReader(in)
		got, err := merkle.ReadFrontier(r)
		if err != nil || r.Done() != nil {
			return
		}
		w := codec.NewWriter(0)
		got.Append(w)
		if !bytes.Equal(w.Bytes(), in) {
			t.Errorf("%x is not canonical", in)
		}
		got.Root()
	})
}
