package sumtree_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/sumtree"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

func leaf(i int) sumtree.Leaf {
	l := sumtree.Leaf{
		Sum:   sumtree.Sum{Units: uint64(i%5 + 1), Amount: ledger.Amount(10 * (i%3 + 1))},
		Entry: ledger.HashOf("entry", binary.BigEndian.AppendUint64(nil, uint64(i))),
	}
	salt := ledger.HashOf("salt", binary.BigEndian.AppendUint64(nil, uint64(i)))
	copy(l.Salt[:], salt[:])
	return l
}

func leavesOf(n int) []sumtree.Leaf {
	list := make([]sumtree.Leaf, n)
	for i := range list {
		list[i] = leaf(i)
	}
	return list
}

// model is a tree made top down, as RFC 6962 defines it: another way than the code's.
type model []sumtree.Leaf

func (m model) node(tb testing.TB, low, high uint64) sumtree.Node {
	tb.Helper()
	if high-low == 1 {
		return m[low].Node()
	}
	half := uint64(1)
	for 2*half < high-low {
		half *= 2
	}
	n, err := sumtree.Join(m.node(tb, low, low+half), m.node(tb, low+half, high))
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func (m model) root(tb testing.TB) sumtree.Root {
	tb.Helper()
	if len(m) == 0 {
		return sumtree.Root{}
	}
	return sumtree.Root{Size: uint64(len(m)), Node: m.node(tb, 0, uint64(len(m)))}
}

func (m model) subtree(tb testing.TB) sumtree.Subtree {
	tb.Helper()
	return func(level uint, index uint64) (sumtree.Node, error) {
		return m.node(tb, index<<level, (index+1)<<level), nil
	}
}

func push(tb testing.TB, leaves []sumtree.Leaf) sumtree.Frontier {
	tb.Helper()
	var f sumtree.Frontier
	for i := range leaves {
		if err := f.Push(&leaves[i]); err != nil {
			tb.Fatal(err)
		}
	}
	return f
}

func rootOf(tb testing.TB, f *sumtree.Frontier) sumtree.Root {
	tb.Helper()
	r, err := f.Root()
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// TestEveryPlaceOfSmallLogs: frontier and definition agree at every length, every leaf is
// proved at its place with what lies before it, and at no other, and every log begins with
// all shorter ones.
func TestEveryPlaceOfSmallLogs(t *testing.T) {
	t.Parallel()
	const most = 33
	all := model(leavesOf(most))
	for n := 1; n <= most; n++ {
		m := all[:n]
		f := push(t, m)
		root := m.root(t)
		if diff := cmp.Diff(root, rootOf(t, &f)); diff != "" {
			t.Fatalf("%d leaves: %s", n, diff)
		}
		var before sumtree.Sum
		for i := range m {
			p := m.prove(t, uint64(i))
			got, err := p.Verify(root.Hash())
			if want := (sumtree.Place{Before: before, Total: root.Sum}); err != nil || got != want {
				t.Fatalf("leaf %d of %d lies at %v, %v, want %v", i, n, got, err, want)
			}
			before, _ = before.Add(m[i].Sum)
			for other := range uint64(n + 2) {
				moved := p
				if moved.Index = other; other != uint64(i) {
					if _, err := moved.Verify(root.Hash()); !errors.Is(err, sumtree.ErrProof) {
						t.Fatalf("leaf %d of %d as leaf %d: %v", i, n, other, err)
					}
				}
				resized := p
				if resized.Size = other; other != uint64(n) {
					if _, err := resized.Verify(root.Hash()); !errors.Is(err, sumtree.ErrProof) {
						t.Fatalf("leaf %d of %d as one of %d: %v", i, n, other, err)
					}
				}
			}
		}
		for old := 1; old <= n; old++ {
			path, err := sumtree.Extension(uint64(old), uint64(n), m.subtree(t))
			if err != nil {
				t.Fatal(err)
			}
			if err := sumtree.VerifyExtension(all[:old].root(t), root, path); err != nil {
				t.Fatalf("%d leaves begin with %d: %v", n, old, err)
			}
			wrong := all[:old].root(t)
			wrong.Units++
			if err := sumtree.VerifyExtension(wrong, root, path); err == nil {
				t.Fatalf("%d leaves begin with another log of %d", n, old)
			}
		}
	}
}

// TestSegmentsAreLeaves: a log cut into segments of 2^k leaves, the last one of fewer, has
// the same root as the tree of its segments, and a segment is proved in it.
func TestSegmentsAreLeaves(t *testing.T) {
	t.Parallel()
	const level, size = 2, 4
	all := model(leavesOf(30))
	for n := uint64(1); n <= uint64(len(all)); n++ {
		m := all[:n]
		segments := (n + size - 1) / size
		at := func(l uint, index uint64) (sumtree.Node, error) {
			return m.node(t, index<<l*size, min(n, (index+1)<<l*size)), nil
		}
		var f sumtree.Frontier
		for i := range segments {
			segment := m.node(t, i*size, min(n, (i+1)*size))
			path, err := sumtree.Path(i, segments, at)
			if err != nil {
				t.Fatal(err)
			}
			top, before, err := sumtree.Climb(segment, i, segments, path)
			if err != nil || top != m.root(t).Node {
				t.Fatalf("segment %d of %d leaves leads to %v, %v", i, n, top, err)
			}
			part := push(t, m[:i*size])
			if want, _ := part.Sum(); before != want {
				t.Fatalf("segment %d of %d leaves begins after %v, want %v", i, n, before, want)
			}
			if (i+1)*size <= n {
				if err := f.PushNode(level, segment); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, l := range m[f.Size:] {
			if err := f.Push(&l); err != nil {
				t.Fatal(err)
			}
		}
		if got := rootOf(t, &f); got != m.root(t) {
			t.Fatalf("%d leaves by segments: root %v", n, got)
		}
	}
}

// TestNoTwoTotals: whatever one changes in a proof, leaf, sums of the way, order of the
// nodes, either it fails or it is the same proof.
func TestNoTwoTotals(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(rt, "leaves")
		m := model(leavesOf(n))
		root := m.root(t).Hash()
		p := m.prove(t, rapid.Uint64Range(0, uint64(n-1)).Draw(rt, "leaf")) //nolint:gosec // positive
		want, err := p.Verify(root)
		if err != nil {
			rt.Fatal(err)
		}
		q, b := p, encode(p.Path)
		for range rapid.IntRange(1, 4).Draw(rt, "changes") {
			bits := rapid.Byte().Draw(rt, "bits")
			switch rapid.IntRange(0, 5).Draw(rt, "what") {
			case 0:
				q.Leaf.Units ^= uint64(bits)
			case 1:
				q.Leaf.Amount ^= ledger.Amount(bits)
			case 2:
				q.Leaf.Salt[bits%sumtree.SaltSize] ^= bits
			case 3:
				q.Leaf.Entry[bits%ledger.HashSize] ^= bits
			default:
				b[rapid.IntRange(0, len(b)-1).Draw(rt, "byte")] ^= bits
			}
		}
		if q.Path, err = decode(b); err != nil {
			return
		}
		if got, err := q.Verify(root); err == nil && (got != want || q.Leaf != p.Leaf || !bytes.Equal(encode(q.Path), encode(p.Path))) {
			rt.Fatalf("leaf %d of %d: %v and %v are proved of one root", p.Index, n, want, got)
		}
	})
}

// TestSumsMovedBetweenNodes: what one child has more and the other less, with the same
// total, is another node. Otherwise whoever makes a log could have one root that proves to
// each reader of a leaf as much beside it as suits, and together more than the total.
func TestSumsMovedBetweenNodes(t *testing.T) {
	t.Parallel()
	left, right := leavesOf(2)[0].Node(), leavesOf(2)[1].Node()
	want, err := sumtree.Join(left, right)
	if err != nil {
		t.Fatal(err)
	}
	for name, move := range map[string]func(){
		"units": func() { left.Units, right.Units = left.Units-1, right.Units+1 },
		"drops": func() { left.Amount, right.Amount = left.Amount-1, right.Amount+1 },
	} {
		left, right = leavesOf(2)[0].Node(), leavesOf(2)[1].Node()
		move()
		got, err := sumtree.Join(left, right)
		if err != nil || got.Sum != want.Sum || got.Hash == want.Hash {
			t.Errorf("%s moved: %v and %v, %v", name, got, want, err)
		}
	}
}

// TestSumsAreChecked: nothing wraps around, in leaves, between them, and in what a proof or
// a frontier says of others.
func TestSumsAreChecked(t *testing.T) {
	t.Parallel()
	most := sumtree.Sum{Units: math.MaxUint64, Amount: ledger.MaxAmount}
	for _, c := range []struct {
		name string
		a, b sumtree.Sum
		ok   bool
	}{
		{"all there is", most, sumtree.Sum{}, true},
		{"nothing and all", sumtree.Sum{}, most, true},
		{"a unit too many", most, sumtree.Sum{Units: 1}, false},
		{"a drop too many", most, sumtree.Sum{Amount: 1}, false},
		{"an amount that is none", sumtree.Sum{Amount: ledger.MaxAmount + 1}, sumtree.Sum{}, false},
		{"amounts that wrap", sumtree.Sum{Amount: math.MaxUint64}, sumtree.Sum{Amount: 1}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := c.a.Add(c.b)
			if ok := err == nil; ok != c.ok || !ok && !errors.Is(err, sumtree.ErrSum) {
				t.Errorf("added: %v", err)
			}
			var f sumtree.Frontier
			err = f.Push(&sumtree.Leaf{Sum: c.a})
			if err == nil {
				was := f.Clone()
				if err = f.Push(&sumtree.Leaf{Sum: c.b}); err != nil && !cmp.Equal(was, f) {
					t.Error("a leaf that was refused changed the log")
				}
			}
			if ok := err == nil; ok != c.ok {
				t.Errorf("pushed: %v", err)
			}
			p := sumtree.Proof{Index: 1, Size: 2, Leaf: sumtree.Leaf{Sum: c.b}, Path: []sumtree.Node{{Sum: c.a}}}
			if _, err := p.Verify(ledger.Hash{}); errors.Is(err, sumtree.ErrSum) == c.ok {
				t.Errorf("verified: %v", err)
			}
		})
	}
	alone := sumtree.Proof{Size: 1, Leaf: sumtree.Leaf{Sum: sumtree.Sum{Amount: ledger.MaxAmount + 1}}}
	if _, err := alone.Verify((sumtree.Root{Size: 1, Node: alone.Leaf.Node()}).Hash()); !errors.Is(err, sumtree.ErrSum) {
		t.Errorf("a log of one leaf with an amount that is none: %v", err)
	}
}

// TestPlacesAreChecked: what no log has is refused, not computed.
func TestPlacesAreChecked(t *testing.T) {
	t.Parallel()
	m := model(leavesOf(4))
	for _, c := range []struct{ index, size uint64 }{{0, 0}, {4, 4}, {1, math.MaxUint64}, {math.MaxUint64, math.MaxUint64}} {
		if _, err := sumtree.Path(c.index, c.size, m.subtree(t)); !errors.Is(err, sumtree.ErrSize) {
			t.Errorf("the path of leaf %d of %d: %v", c.index, c.size, err)
		}
		if _, _, err := sumtree.Climb(m[0].Node(), c.index, c.size, nil); !errors.Is(err, sumtree.ErrProof) {
			t.Errorf("climb from leaf %d of %d: %v", c.index, c.size, err)
		}
	}
	for _, c := range []struct{ old, size uint64 }{{0, 4}, {5, 4}, {1, math.MaxUint64}} {
		if _, err := sumtree.Extension(c.old, c.size, m.subtree(t)); !errors.Is(err, sumtree.ErrSize) {
			t.Errorf("%d leaves begin with %d: %v", c.size, c.old, err)
		}
	}
	f := push(t, m[:3])
	if err := f.PushNode(1, m[0].Node()); !errors.Is(err, sumtree.ErrSize) {
		t.Errorf("two leaves after three: %v", err)
	}
	full := sumtree.Frontier{Size: sumtree.MaxSize, Peaks: make([]sumtree.Node, 1)}
	if err := full.Push(&m[0]); !errors.Is(err, sumtree.ErrSize) {
		t.Errorf("a leaf for a log that is full: %v", err)
	}
	if err := sumtree.VerifyExtension(sumtree.Root{Size: 2}, sumtree.Root{Size: 1}, nil); !errors.Is(err, sumtree.ErrProof) {
		t.Errorf("a log that became shorter: %v", err)
	}
	if err := sumtree.VerifyExtension(sumtree.Root{}, m.root(t), nil); err != nil {
		t.Errorf("a log begins with nothing: %v", err)
	}
}

// prove returns the proof of a leaf.
func (m model) prove(tb testing.TB, index uint64) sumtree.Proof {
	tb.Helper()
	path, err := sumtree.Path(index, uint64(len(m)), m.subtree(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return sumtree.Proof{Index: index, Size: uint64(len(m)), Leaf: m[index], Path: path}
}

func encode(path []sumtree.Node) []byte {
	w := codec.NewWriter(0)
	sumtree.AppendPath(w, path)
	return w.Bytes()
}

func decode(b []byte) ([]sumtree.Node, error) {
	r := codec.NewReader(b)
	path, err := sumtree.ReadPath(r)
	if err != nil {
		return nil, err
	}
	return path, r.Done()
}

// TestGolden pins the hashes and encodings. A change there makes logs unreadable.
func TestGolden(t *testing.T) {
	t.Parallel()
	m := model(leavesOf(7))
	f := push(t, m)
	w := codec.NewWriter(0)
	f.Append(w)
	var out strings.Builder
	node := m[5].Node()
	fmt.Fprintf(&out, "leaf %x\nroot %s\nempty %s\nfrontier %x\npath %x\n", node.Hash, m.root(t).Hash(), sumtree.Root{}.Hash(), w.Bytes(), encode(m.prove(t, 5).Path))
	file := filepath.Join("testdata", "golden.txt")
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Error(diff)
	}
}

// FuzzReadPath: what is read is written back alike, and proves only the leaf whose path it is.
func FuzzReadPath(f *testing.F) {
	m := model(leavesOf(7))
	root := m.root(f).Hash()
	for i := range m {
		f.Add(encode(m.prove(f, uint64(i)).Path))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		path, err := decode(b)
		if err != nil {
			return
		}
		if got := encode(path); !bytes.Equal(got, b) {
			t.Fatalf("%x is written as %x", b, got)
		}
		for i := range m {
			p := sumtree.Proof{Index: uint64(i), Size: 7, Leaf: m[i], Path: path}
			if _, err := p.Verify(root); err == nil && !bytes.Equal(b, encode(m.prove(t, uint64(i)).Path)) {
				t.Fatalf("%x proves leaf %d", b, i)
			}
		}
	})
}

// FuzzReadFrontier: what is read is written back alike, and has a root.
func FuzzReadFrontier(f *testing.F) {
	for _, n := range []int{0, 1, 7} {
		w := codec.NewWriter(0)
		front := push(f, leavesOf(n))
		front.Append(w)
		f.Add(w.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := codec.NewReader(b)
		front, err := sumtree.ReadFrontier(r)
		if err != nil || r.Done() != nil {
			return
		}
		w := codec.NewWriter(0)
		front.Append(w)
		if string(w.Bytes()) != string(b) {
			t.Fatalf("%x is written as %x", b, w.Bytes())
		}
		if _, err := front.Root(); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkPush(b *testing.B) {
	var f sumtree.Frontier
	l := leaf(1)
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Push(&l); err != nil {
			b.Fatal(err)
		}
	}
}
