package lanelog_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/lanelog"
	"github.com/tributary-network/tributary/ledger/sumtree"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

var (
	key   = lanelog.Key{1, 2, 3}
	logID = lanelog.ID{Channel: ledger.HashOf("channel"), Lane: 5}
)

func entry(seq uint64) lanelog.Entry {
	return lanelog.Entry{
		Start: 1_700_000_000_000 + seq*20, Duration: uint32(seq % 50), Kind: uint8(seq % 3), Result: uint8(seq % 7 / 6),
		Object: key.Object(logID, seq, binary.BigEndian.AppendUint64(nil, seq)), Units: seq%4 + 1, Amount: ledger.Amount(seq%9 + 1),
	}
}

// book is a log with all its segments, full ones and the last.
type book struct {
	log      *lanelog.Log
	segments []lanelog.Segment
}

func write(tb testing.TB, n uint64) *book {
	tb.Helper()
	b := &book{log: lanelog.New(key, logID)}
	for seq := range n {
		full, err := b.log.Append(entry(seq))
		if err != nil {
			tb.Fatal(err)
		}
		if full != nil {
			b.segments = append(b.segments, open(tb, full))
		}
	}
	if tail := b.log.Tail(); len(tail.Entries) > 0 {
		b.segments = append(b.segments, tail)
	}
	return b
}

func (b *book) root(tb testing.TB) sumtree.Root {
	tb.Helper()
	r, err := b.log.Root()
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// subtrees are the roots over segments, taken from the headers of sealed objects.
func (b *book) subtrees(tb testing.TB) sumtree.Subtree {
	tb.Helper()
	level := make([]sumtree.Node, len(b.segments))
	for i := range b.segments {
		h, err := lanelog.ReadHeader(seal(tb, &b.segments[i]))
		if err != nil {
			tb.Fatal(err)
		}
		level[i] = h.Root
	}
	levels := [][]sumtree.Node{level}
	for len(level) > 1 {
		next := make([]sumtree.Node, len(level)/2)
		for i := range next {
			n, err := sumtree.Join(level[2*i], level[2*i+1])
			if err != nil {
				tb.Fatal(err)
			}
			next[i] = n
		}
		level = next
		levels = append(levels, level)
	}
	return func(l uint, i uint64) (sumtree.Node, error) { return levels[l][i], nil }
}

func seal(tb testing.TB, s *lanelog.Segment) []byte {
	tb.Helper()
	object, err := lanelog.Seal(key, s)
	if err != nil {
		tb.Fatal(err)
	}
	return object
}

func open(tb testing.TB, object []byte) lanelog.Segment {
	tb.Helper()
	s, err := lanelog.Open(key, object)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// TestAnyEntryIsProved: at lengths around the borders of segments, from sealed objects alone.
func TestAnyEntryIsProved(t *testing.T) {
	t.Parallel()
	for _, n := range []uint64{1, 2, 3, 1_023, 1_024, 1_025, 2_048, 2_500, 5_121} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			b := write(t, n)
			root, segments := b.root(t), b.subtrees(t)
			var before sumtree.Sum
			for i := range b.segments {
				s := open(t, seal(t, &b.segments[i]))
				tree, err := s.Tree(key)
				if err != nil {
					t.Fatal(err)
				}
				for at := range s.Entries {
					seq := s.First + uint64(at)
					if at < 3 || at > len(s.Entries)-3 || at%100 == 0 {
						checkProof(t, &s, tree, seq, root, segments, before)
					}
					if before, err = before.Add(s.Entries[at].Sum()); err != nil {
						t.Fatal(err)
					}
				}
			}
			if before != root.Sum {
				t.Errorf("entries are %v in all, the root says %v", before, root.Sum)
			}
		})
	}
}

func checkProof(t *testing.T, s *lanelog.Segment, tree *lanelog.Tree, seq uint64, root sumtree.Root, segments sumtree.Subtree, before sumtree.Sum) {
	t.Helper()
	p, err := lanelog.Prove(key, s, tree, seq, root.Size, segments)
	if err != nil {
		t.Fatal(err)
	}
	place, err := p.Verify(logID, root.Hash())
	if err != nil || place.Before != before || place.Total != root.Sum || p.Entry != entry(seq) {
		t.Fatalf("entry %d of %d: %v at %v, %v; want after %v of %v", seq, root.Size, p.Entry, place, err, before, root.Sum)
	}
	for name, change := range map[string]func(*lanelog.Proof, *lanelog.ID){
		"another channel": func(_ *lanelog.Proof, id *lanelog.ID) { id.Channel[0]++ },
		"another lane":    func(_ *lanelog.Proof, id *lanelog.ID) { id.Lane++ },
		"another number":  func(p *lanelog.Proof, _ *lanelog.ID) { p.Seq++ },
		"a longer log":    func(p *lanelog.Proof, _ *lanelog.ID) { p.Size++ },
		"another salt":    func(p *lanelog.Proof, _ *lanelog.ID) { p.Salt[3]++ },
		"more units":      func(p *lanelog.Proof, _ *lanelog.ID) { p.Entry.Units++ },
		"a later time":    func(p *lanelog.Proof, _ *lanelog.ID) { p.Entry.Start++ },
		"another result":  func(p *lanelog.Proof, _ *lanelog.ID) { p.Entry.Result++ },
	} {
		q, id := p, logID
		change(&q, &id)
		if _, err := q.Verify(id, root.Hash()); !errors.Is(err, sumtree.ErrProof) {
			t.Errorf("entry %d of %d with %s: %v", seq, root.Size, name, err)
		}
	}
}

// TestBothPartiesAgree: payer and payee, one of whom was started again in between, have the
// same roots at each length and the same objects.
func TestBothPartiesAgree(t *testing.T) {
	t.Parallel()
	payer, payee := lanelog.New(key, logID), lanelog.New(key, logID)
	for seq := range uint64(2_100) {
		if seq%700 == 699 {
			tail := payee.Tail()
			if len(tail.Entries) > 0 {
				tail = open(t, seal(t, &tail))
			}
			again, err := lanelog.Resume(key, payee.Full(), tail)
			if err != nil {
				t.Fatal(err)
			}
			payee = again
		}
		a, err := payer.Append(entry(seq))
		if err != nil {
			t.Fatal(err)
		}
		b, err := payee.Append(entry(seq))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Fatalf("entry %d: objects of %d and %d bytes", seq, len(a), len(b))
		}
		one, err := payer.Root()
		if err != nil {
			t.Fatal(err)
		}
		if other, err := payee.Root(); err != nil || one.Hash() != other.Hash() {
			t.Fatalf("entry %d: roots %v and %v, %v", seq, one, other, err)
		}
	}
	if payee.Size() != 2_100 || payee.ID() != logID {
		t.Errorf("log %s has %d entries", payee.ID(), payee.Size())
	}
}

// TestResumeRefuses: what does not follow is no log.
func TestResumeRefuses(t *testing.T) {
	t.Parallel()
	b := write(t, 1_030)
	full, tail := b.log.Full(), b.log.Tail()
	for name, c := range map[string]struct {
		full sumtree.Frontier
		tail lanelog.Segment
	}{
		"a gap":               {sumtree.Frontier{}, tail},
		"part of a segment":   {sumtree.Frontier{Size: 3, Peaks: make([]sumtree.Node, 2)}, lanelog.Segment{First: 3}},
		"a tail that is full": {sumtree.Frontier{}, b.segments[0]},
		"a tail from within":  {full, lanelog.Segment{ID: logID, First: 1_025}},
	} {
		if _, err := lanelog.Resume(key, c.full, c.tail); !errors.Is(err, lanelog.ErrEncoding) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestChangedObjects: no byte of an object can change, be missing or be added, and no other
// key opens it.
func TestChangedObjects(t *testing.T) {
	t.Parallel()
	b := write(t, 9)
	object := seal(t, &b.segments[0])
	if tail := b.log.Tail(); !bytes.Equal(object, seal(t, &tail)) {
		t.Error("sealed twice, it is two objects")
	}
	if got := open(t, object); !cmp.Equal(got, b.segments[0]) {
		t.Fatalf("opened as %v", got)
	}
	for i := range object {
		for _, bit := range []byte{1, 0x80} {
			changed := bytes.Clone(object)
			changed[i] ^= bit
			if _, err := lanelog.Open(key, changed); err == nil {
				t.Fatalf("byte %d changed, and it opens", i)
			}
			if lanelog.Name(changed) == lanelog.Name(object) {
				t.Fatalf("byte %d changed, and it has the same name", i)
			}
		}
		if _, err := lanelog.ReadHeader(object[:i]); !errors.Is(err, lanelog.ErrEncoding) {
			t.Fatalf("%d bytes of it: %v", i, err)
		}
	}
	if _, err := lanelog.ReadHeader(append(bytes.Clone(object), 0)); !errors.Is(err, lanelog.ErrEncoding) {
		t.Errorf("a byte more: %v", err)
	}
	if _, err := lanelog.Open(lanelog.Key{9}, object); !errors.Is(err, lanelog.ErrContent) {
		t.Errorf("another key: %v", err)
	}
}

// TestSealRefuses: what is no segment is not sealed, and a log that cannot be added up is
// refused where it becomes so, unchanged.
func TestSealRefuses(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]lanelog.Segment{
		"no entries":        {ID: logID},
		"too many":          {ID: logID, Entries: make([]lanelog.Entry, lanelog.SegmentEntries+1)},
		"a wrong beginning": {ID: logID, First: 5, Entries: make([]lanelog.Entry, 1)},
	} {
		if _, err := lanelog.Seal(key, &s); !errors.Is(err, lanelog.ErrEncoding) {
			t.Errorf("%s: %v", name, err)
		}
	}
	l := lanelog.New(key, logID)
	if _, err := l.Append(lanelog.Entry{Amount: ledger.MaxAmount}); err != nil {
		t.Fatal(err)
	}
	was, _ := l.Root()
	if _, err := l.Append(lanelog.Entry{Amount: 1}); !errors.Is(err, sumtree.ErrSum) {
		t.Errorf("a drop too many: %v", err)
	}
	if now, _ := l.Root(); now != was || len(l.Tail().Entries) != 1 {
		t.Error("an entry that was refused changed the log")
	}
}

// TestNobodyGuesses: an object's name and an entry's hash differ with the salt, so that who
// knows what was fetched cannot look for it.
func TestNobodyGuesses(t *testing.T) {
	t.Parallel()
	other := lanelog.Key{4}
	e := entry(7)
	if key.Object(logID, 7, []byte("x")) == other.Object(logID, 7, []byte("x")) || key.Object(logID, 7, []byte("x")) == key.Object(logID, 8, []byte("x")) {
		t.Error("objects can be recognised")
	}
	a, b, c := e.Leaf(key, logID, 7), e.Leaf(other, logID, 7), e.Leaf(key, logID, 8)
	if a.Node() == b.Node() || a.Salt == c.Salt {
		t.Error("leaves can be guessed")
	}
}

func encode(p *lanelog.Proof) []byte {
	w := codec.NewWriter(0)
	p.Append(w)
	return w.Bytes()
}

func decode(b []byte) (lanelog.Proof, error) {
	r := codec.NewReader(b)
	p, err := lanelog.ReadProof(r)
	if err != nil {
		return p, err
	}
	return p, r.Done()
}

func proofOf(tb testing.TB, b *book, seq uint64) lanelog.Proof {
	tb.Helper()
	s := &b.segments[seq/lanelog.SegmentEntries]
	tree, err := s.Tree(key)
	if err != nil {
		tb.Fatal(err)
	}
	p, err := lanelog.Prove(key, s, tree, seq, b.log.Size(), b.subtrees(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// TestChangedProofs: a proof with other bytes is none, wherever they are.
func TestChangedProofs(t *testing.T) {
	t.Parallel()
	b := write(t, 1_500)
	root := b.root(t).Hash()
	rapid.Check(t, func(rt *rapid.T) {
		p := proofOf(t, b, rapid.Uint64Range(0, 1_499).Draw(rt, "entry"))
		raw := encode(&p)
		raw[rapid.IntRange(0, len(raw)-1).Draw(rt, "byte")] ^= byte(rapid.IntRange(1, 255).Draw(rt, "bits"))
		q, err := decode(raw)
		if err == nil {
			_, err = q.Verify(logID, root)
		}
		if err == nil {
			rt.Fatalf("%x proves entry %d", raw, q.Seq)
		}
	})
}

// TestGolden pins what is hashed, sealed and stored. A change makes logs unreadable.
func TestGolden(t *testing.T) {
	t.Parallel()
	b := write(t, 1_027)
	object := seal(t, &b.segments[1])
	p := proofOf(t, b, 1_025)
	first := entry(0)
	var out strings.Builder
	fmt.Fprintf(&out, "entry %x\nentry hash %s\nsalt %x\nobject %s\n", first.Encode(), first.Hash(logID, 0), key.Salt(logID, 0), first.Object)
	fmt.Fprintf(&out, "root %s\nfull segment %s\ntail %x\nname %s\nproof %x\n",
		b.root(t).Hash(), lanelog.Name(seal(t, &b.segments[0])), object, lanelog.Name(object), encode(&p))
	golden(t, "golden.txt", out.String())
}

// golden compares got with a file in testdata, which -update writes.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

// FuzzOpen: whatever the bytes, they are read or refused, and what opens is sealed alike.
func FuzzOpen(f *testing.F) {
	b := write(f, 3)
	f.Add(seal(f, &b.segments[0]))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, object []byte) {
		s, err := lanelog.Open(key, object)
		if err != nil {
			return
		}
		if again := seal(t, &s); !bytes.Equal(again, object) {
			t.Fatalf("%x is sealed as %x", object, again)
		}
	})
}

// FuzzReadProof: what is read is written back alike.
func FuzzReadProof(f *testing.F) {
	b := write(f, 3)
	p := proofOf(f, b, 1)
	f.Add(encode(&p))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := decode(raw)
		if err != nil {
			return
		}
		if again := encode(&p); !bytes.Equal(again, raw) {
			t.Fatalf("%x is written as %x", raw, again)
		}
		if _, err := p.Verify(logID, b.root(t).Hash()); err == nil && p.Entry != entry(p.Seq) {
			t.Fatalf("%x is proved", raw)
		}
	})
}

// BenchmarkAppend appends entries and seals the segments: what a party does for each.
func BenchmarkAppend(b *testing.B) {
	l := lanelog.New(key, logID)
	e := entry(1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Append(e); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkOpen opens a full segment and checks it.
func BenchmarkOpen(b *testing.B) {
	object := seal(b, &write(b, lanelog.SegmentEntries).segments[0])
	for b.Loop() {
		open(b, object)
	}
	b.ReportMetric(float64(b.N)*lanelog.SegmentEntries/b.Elapsed().Seconds(), "entries/s")
}
