package layer_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/kv/kvtest"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/lanelog"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/sumtree"
)

const segmentSize = lanelog.SegmentEntries

func logKey() lanelog.Key { return lanelog.Key{7} }

func logOf(channel string, lane uint16) lanelog.ID {
	return lanelog.ID{Channel: ledger.HashOf("channel", []byte(channel)), Lane: lane}
}

func logEntry(id lanelog.ID, seq uint64) lanelog.Entry {
	return lanelog.Entry{
		Start: 1_700_000_000_000 + seq*20, Duration: uint32(seq % 50), Kind: uint8(seq % 3),
		Object: ledger.Hash{byte(seq), byte(id.Lane)}, Units: seq%4 + 1, Amount: ledger.Amount(seq%9 + 1),
	}
}

// scribe is a party that writes a log and sends what is new.
type scribe struct {
	log     *lanelog.Log
	id      lanelog.ID
	entries []lanelog.Entry
	add     int // entries of the last call
}

func newScribe(id lanelog.ID) *scribe { return &scribe{log: lanelog.New(logKey(), id), id: id} }

// grow adds n entries and returns what is to be sent of them.
func (s *scribe) grow(tb testing.TB, n int) (parts []layer.Part) {
	tb.Helper()
	from := s.log.Size()
	for range n {
		e := logEntry(s.id, s.log.Size())
		s.entries = append(s.entries, e)
		object, err := s.log.Append(e)
		if err != nil {
			tb.Fatal(err)
		}
		if object != nil {
			parts = append(parts, layer.Part{Object: object, Link: s.link(tb, from, s.log.Size())})
			from = s.log.Size()
		}
	}
	if from < s.log.Size() {
		parts = append(parts, layer.Part{Object: s.piece(tb, from, s.log.Size())})
	}
	return parts
}

// link returns the nodes of some entries of a segment, none of all of them.
func (s *scribe) link(tb testing.TB, from, to uint64) []sumtree.Node {
	tb.Helper()
	if to-from == segmentSize {
		return nil
	}
	p := lanelog.Piece{ID: s.id, First: from, Entries: s.entries[from:to]}
	nodes, err := p.Nodes(logKey())
	if err != nil {
		tb.Fatal(err)
	}
	return nodes
}

func (s *scribe) piece(tb testing.TB, from, to uint64) []byte {
	tb.Helper()
	object, err := lanelog.SealPiece(logKey(), &lanelog.Piece{ID: s.id, First: from, Entries: s.entries[from:to]})
	if err != nil {
		tb.Fatal(err)
	}
	return object
}

func (s *scribe) segment(tb testing.TB, from, to uint64) []byte {
	tb.Helper()
	object, err := lanelog.Seal(logKey(), &lanelog.Segment{ID: s.id, First: from, Entries: s.entries[from:to]})
	if err != nil {
		tb.Fatal(err)
	}
	return object
}

func (s *scribe) root(tb testing.TB) sumtree.Root {
	tb.Helper()
	root, err := s.log.Root()
	if err != nil {
		tb.Fatal(err)
	}
	return root
}

// claim is what the voucher for all entries says.
func (s *scribe) claim(tb testing.TB) *layer.Claim {
	tb.Helper()
	root := s.root(tb)
	return &layer.Claim{Sum: root.Sum, Root: root.Hash()}
}

// send grows the log by n entries and has them stored.
func (s *scribe) send(tb testing.TB, l *layer.Logs, n int) layer.Head {
	tb.Helper()
	head, err := l.Append(s.id, s.grow(tb, n), s.claim(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return head
}

func openLogs(tb testing.TB, o badgerkv.Options) *layer.Logs {
	tb.Helper()
	l, err := layer.OpenLogs(o, layer.LogOptions{Reserve: 1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := l.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return l
}

// checkRoot checks that the store has a log of the scribe's root, and all its objects.
func (s *scribe) checkRoot(tb testing.TB, l *layer.Logs) {
	tb.Helper()
	head, err := l.Head(s.id)
	root := s.root(tb)
	if err != nil || head.Root != root || head.Hash != root.Hash() || head.ID != s.id {
		tb.Fatalf("log %s: head %+v, %v; want root %v", s.id, head, err, root)
	}
	if err := l.Verify(tb.Context(), s.id, func(i layer.Item) error { return fmt.Errorf("%+v is lost", i) }); err != nil {
		tb.Fatal(err)
	}
}

// checkKept checks that the store has the log as the scribe has it: head, items, entries, sums.
func (s *scribe) checkKept(tb testing.TB, l *layer.Logs) {
	tb.Helper()
	s.checkRoot(tb, l)
	root := s.root(tb)
	size, sum := uint64(0), sumtree.Sum{}
	if err := l.Objects(s.id, 0, func(i layer.Item, object []byte) error {
		entries, err := openObject(object)
		if err != nil {
			return err
		}
		if i.First != size || len(entries) != i.Count || i.Name != lanelog.Name(object) || i.Before != sum || i.Piece != lanelog.IsPiece(object) {
			return fmt.Errorf("item %+v of %d entries after %d, %v", i, len(entries), size, sum)
		}
		if diff := cmp.Diff(s.entries[i.First:i.End()], entries); diff != "" {
			return fmt.Errorf("entries of %+v: %s", i, diff)
		}
		size = i.End()
		sum, err = sum.Add(i.Sum)
		return err
	}); err != nil || size != root.Size || sum != root.Sum {
		tb.Fatalf("log %s: objects of %d entries and %v, %v; want %v", s.id, size, sum, err, root)
	}
}

func openObject(object []byte) ([]lanelog.Entry, error) {
	if lanelog.IsPiece(object) {
		p, err := lanelog.OpenPiece(logKey(), object)
		return p.Entries, err
	}
	s, err := lanelog.Open(logKey(), object)
	return s.Entries, err
}

// TestLogsLife: logs grow by pieces and segments, over borders and whole ones at once, in memory and
// on disk, through closing and opening.
func TestLogsLife(t *testing.T) {
	t.Parallel()
	o := badgerkv.Small(t.TempDir())
	disk := openLogs(t, o)
	memory := layer.NewLogs(memkv.New(), layer.LogOptions{})
	one, two := newScribe(logOf("a", 0)), newScribe(logOf("a", 1))
	for round, n := range []int{1, 1, 30, 500, 491, 1, 1_024, 1_023, 1, 2, 3_000, 0, 70} {
		for _, s := range []*scribe{one, two} {
			if s == two && round%3 == 2 {
				continue
			}
			parts, claim := s.grow(t, n), s.claim(t)
			for _, l := range []*layer.Logs{disk, memory} {
				head, err := l.Append(s.id, parts, claim)
				if err != nil || head.Vouched != s.log.Size() || head.VouchedRoot != claim.Root {
					t.Fatalf("%d entries more: %+v, %v", n, head, err)
				}
				again, err := l.Append(s.id, parts, claim)
				if err != nil || !cmp.Equal(head, again) {
					t.Fatalf("%d entries again: %+v, %v; want %+v", n, again, err, head)
				}
				s.checkRoot(t, l)
			}
		}
		if round%4 == 3 {
			if err := disk.Close(); err != nil {
				t.Fatal(err)
			}
			disk = openLogs(t, o)
		}
	}
	for _, s := range []*scribe{one, two} {
		s.checkKept(t, disk)
		s.checkKept(t, memory)
	}
	if err := disk.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Head(one.id); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("a head after Close: %v", err)
	}
	if _, err := disk.Append(one.id, one.grow(t, 1), nil); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("an append after Close: %v", err)
	}
}

// TestLogsProve: entries are proved by what the store says of segments, also for vouchers of when the
// log was shorter, and segments are by themselves.
func TestLogsProve(t *testing.T) {
	t.Parallel()
	l := layer.NewLogs(memkv.New(), layer.LogOptions{})
	s := newScribe(logOf("a", 3))
	type moment struct {
		root sumtree.Root
		last sumtree.Node
	}
	var moments []moment
	for _, n := range []int{1, 700, 323, 1_024, 900, 2_148, 5_000, 12} {
		s.send(t, l, n)
		m := moment{root: s.root(t)}
		if tail := s.log.Tail(); len(tail.Entries) > 0 {
			tree, err := tail.Tree(logKey())
			if err != nil {
				t.Fatal(err)
			}
			m.last = tree.Root()
		}
		moments = append(moments, m)
	}
	for at, m := range moments {
		size := m.root.Size
		for _, seq := range []uint64{0, size / 3, size / 2, size - 1} {
			item, err := l.Item(s.id, seq)
			if err != nil {
				t.Fatal(err)
			}
			first := seq - seq%segmentSize
			segment := lanelog.Segment{ID: s.id, First: first, Entries: s.entries[first:min(size, first+segmentSize)]}
			if item.First > seq || item.End() <= seq {
				t.Fatalf("entry %d is said to be in %+v", seq, item)
			}
			tree, err := segment.Tree(logKey())
			if err != nil {
				t.Fatal(err)
			}
			segments, err := l.Subtree(s.id, size, m.last)
			if err != nil {
				t.Fatal(err)
			}
			p, err := lanelog.Prove(logKey(), &segment, tree, seq, size, segments)
			if err != nil {
				t.Fatal(err)
			}
			if place, err := p.Verify(s.id, m.root.Hash()); err != nil || place.Total != m.root.Sum {
				t.Fatalf("entry %d of %d: %v, %v", seq, size, place, err)
			}
			path, err := l.Path(s.id, seq/segmentSize, size, m.last)
			if err != nil {
				t.Fatal(err)
			}
			top, before, err := sumtree.Climb(tree.Root(), seq/segmentSize, (size+segmentSize-1)/segmentSize, path)
			if err != nil || top != m.root.Node {
				t.Fatalf("segment %d of a log of %d leads to %v, %v", seq/segmentSize, size, top, err)
			}
			if item.Full() && item.Before != before {
				t.Errorf("before segment %d are %v, its path says %v", seq/segmentSize, item.Before, before)
			}
		}
		if _, err := l.Path(s.id, 0, size, sumtree.Node{}); err != nil && (size%segmentSize == 0 || at == len(moments)-1) {
			t.Errorf("a path at %d entries: %v", size, err)
		} else if err == nil && size%segmentSize != 0 && at < len(moments)-1 {
			t.Errorf("a path at %d entries without their last root", size)
		}
		item, err := l.Reach(s.id, m.root.Sum)
		if err != nil || item.First >= size || item.End() < size {
			t.Errorf("%v are reached in %+v, %v; want entry %d", m.root.Sum, item, err, size-1)
		}
	}
	size := s.log.Size()
	for name, err := range map[string]error{
		"path beyond":      second(l.Path(s.id, 0, size+1, sumtree.Node{})),
		"path of none":     second(l.Path(s.id, 0, 0, sumtree.Node{})),
		"another log":      second(l.Path(logOf("b", 0), 0, 1, sumtree.Node{})),
		"entry beyond":     second(l.Item(s.id, size)),
		"sums beyond":      second(l.Reach(s.id, sumtree.Sum{Units: 1 << 60})),
		"head of no log":   second(l.Head(logOf("b", 0))),
		"items of no log":  second(l.Items(logOf("b", 0), 0, 0)),
		"object of no log": second(l.Object(ledger.Hash{1})),
	} {
		if !errors.Is(err, layer.ErrNotKept) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := l.Path(s.id, 99, size, sumtree.Node{}); !errors.Is(err, sumtree.ErrSize) {
		t.Errorf("a segment beyond the log: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestLogsAreListed in pages, and what they are kept in too, from any entry on.
func TestLogsAreListed(t *testing.T) {
	t.Parallel()
	l := layer.NewLogs(memkv.New(), layer.LogOptions{})
	var want []string
	for lane := range uint16(5) {
		s := newScribe(logOf("a", lane))
		s.send(t, l, int(lane)+1)
		want = append(want, s.id.String())
	}
	var got []string
	var after *lanelog.ID
	for {
		page, err := l.List(after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for i := range page {
			got = append(got, page[i].ID.String())
			after = &page[i].ID
		}
		if len(page) < 2 {
			break
		}
	}
	if !cmp.Equal(got, want) {
		t.Errorf("listed are %v, want %v", got, want)
	}
	s := newScribe(logOf("b", 0))
	for _, n := range []int{1_500, 100, 1_000, 10, 10} {
		s.send(t, l, n)
	}
	for from, want := range map[uint64]string{
		0: "0+1024 1024+1024 2048+552 2600+10 2610+10 ", 1_023: "0+1024 1024+1024 2048+552 2600+10 2610+10 ",
		1_024: "1024+1024 2048+552 2600+10 2610+10 ", 2_599: "2048+552 2600+10 2610+10 ", 2_615: "2610+10 ", 2_620: "", 1 << 63: "",
	} {
		items, err := l.Items(s.id, from, 0)
		var got strings.Builder
		for _, i := range items {
			fmt.Fprintf(&got, "%d+%d ", i.First, i.Count)
		}
		if err != nil || got.String() != want {
			t.Errorf("from entry %d on it is in %q, %v; want %q", from, got.String(), err, want)
		}
	}
	if items, err := l.Items(s.id, 0, 3); err != nil || len(items) != 3 {
		t.Errorf("three items are %d, %v", len(items), err)
	}
}

// TestLogsTogether: calls that come while another is written are written together, and each gets
// its own answer.
func TestLogsTogether(t *testing.T) {
	t.Parallel()
	slow := &gate{Store: memkv.New(), entered: make(chan struct{}, 10), open: make(chan struct{})}
	counted := kvtest.NewFaulty(slow)
	l := layer.NewLogs(counted, layer.LogOptions{})
	const calls = 50
	scribes := make([]*scribe, calls+1)
	var wg sync.WaitGroup
	for i := range scribes {
		scribes[i] = newScribe(logOf("a", uint16(i/2))) // two calls for most logs, in any order
		if i%2 == 1 {
			scribes[i].grow(t, scribes[i-1].add)
		}
		scribes[i].add = 5 + i
		parts, claim := scribes[i].grow(t, 5+i), scribes[i].claim(t)
		if i%10 == 8 {
			claim.Units++
		}
		wg.Go(func() {
			_, err := l.Append(scribes[i].id, parts, claim)
			switch {
			case i%10 == 8:
				if !errors.Is(err, layer.ErrMismatch) {
					t.Errorf("call %d: %v", i, err)
				}
			case i%2 == 0 && err != nil, i%2 == 1 && err != nil && !errors.Is(err, layer.ErrGap):
				t.Errorf("call %d: %v", i, err)
			}
		})
		if i == 0 {
			<-slow.entered // and waits at the gate
		}
	}
	for l.Waiting() < calls {
		runtime.Gosched()
	}
	close(slow.open)
	wg.Wait()
	if counted.Commits() != 2 {
		t.Errorf("%d calls took %d batches, want 2", calls+1, counted.Commits())
	}
	for i := 0; i < len(scribes); i += 2 {
		head, err := l.Head(scribes[i].id)
		switch {
		case i%10 == 8:
			if !errors.Is(err, layer.ErrNotKept) {
				t.Errorf("what was refused is kept: %v", err)
			}
		case err == nil && head.Root.Size == scribes[i].log.Size():
			scribes[i].checkKept(t, l)
		case err == nil && i+1 < len(scribes):
			scribes[i+1].checkKept(t, l)
		default:
			t.Errorf("log %s: %+v, %v", scribes[i].id, head, err)
		}
	}
}

// gate is a store whose commits have to be durable and wait until it is open.
type gate struct {
	kv.Store

	entered, open chan struct{}
}

func (g *gate) NewBatch() kv.Batch { return &gated{g.Store.NewBatch(), g} }

type gated struct {
	kv.Batch

	gate *gate
}

func (b *gated) Commit(durable bool) error {
	if !durable {
		b.Discard()
		return errors.New("a commit that is not durable")
	}
	b.gate.entered <- struct{}{}
	<-b.gate.open
	return b.Batch.Commit(durable)
}

// TestLogsGroupTooLarge: calls that do not fit one batch of the store are written in several.
func TestLogsGroupTooLarge(t *testing.T) {
	t.Parallel()
	slow := &gate{Store: few{memkv.New()}, entered: make(chan struct{}, 100), open: make(chan struct{})}
	l := layer.NewLogs(slow, layer.LogOptions{})
	var wg sync.WaitGroup
	scribes := make([]*scribe, 20)
	for i := range scribes {
		scribes[i] = newScribe(logOf("a", uint16(i)))
		parts := scribes[i].grow(t, 3)
		wg.Go(func() {
			if _, err := l.Append(scribes[i].id, parts, nil); err != nil {
				t.Error(err)
			}
		})
		if i == 0 {
			<-slow.entered
		}
	}
	for l.Waiting() < len(scribes)-1 {
		runtime.Gosched()
	}
	close(slow.open)
	wg.Wait()
	for _, s := range scribes {
		s.checkKept(t, l)
	}
	s := newScribe(logOf("b", 0))
	if _, err := l.Append(s.id, s.grow(t, 5_000), nil); !errors.Is(err, kv.ErrBatchTooLarge) {
		t.Errorf("a call that fits no batch: %v", err)
	}
	if s = scribes[0]; s.send(t, l, 1).Root.Size != 4 {
		t.Error("the store failed with it")
	}
}

// few is a store whose batches have at most seven writes.
type few struct{ kv.Store }

func (f few) NewBatch() kv.Batch { return &fewBatch{Batch: f.Store.NewBatch()} }

type fewBatch struct {
	kv.Batch

	writes int
}

func (b *fewBatch) Set(key, value []byte) error {
	b.writes++
	return b.Batch.Set(key, value)
}

func (b *fewBatch) Commit(durable bool) error {
	if b.writes > 7 {
		b.Discard()
		return kv.ErrBatchTooLarge
	}
	return b.Batch.Commit(durable)
}
