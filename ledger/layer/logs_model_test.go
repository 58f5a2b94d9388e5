package layer_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/lanelog"
	"github.com/tributary-network/tributary/ledger/layer"
)

var updateGolden = flag.Bool("update", false, "write the golden vectors anew")

// model is what a store of logs is to whoever uses it: for each log how many of its entries are
// kept, and in which objects.
type model struct {
	tb    testing.TB
	store *memkv.Store
	logs  *layer.Logs
	all   []*modelLog
	now   uint64
}

type modelLog struct {
	*scribe

	sent  []layer.Part    // all that was taken, in order
	items []lanelog.Piece // what is kept, by its entries
	until uint64          // 0: for ever
}

func newModel(tb testing.TB) *model {
	tb.Helper()
	m := &model{tb: tb, store: memkv.New(), now: 1}
	for i := range 3 {
		m.all = append(m.all, &modelLog{scribe: newScribe(logOf(fmt.Sprint(i/2), uint16(i)))})
	}
	m.reopen(nil)
	return m
}

func (m *model) reopen(*rapid.T) { m.logs = layer.NewLogs(m.store, layer.LogOptions{}) }

func (m *model) draw(rt *rapid.T) *modelLog { return m.all[rapid.IntRange(0, 2).Draw(rt, "log")] }

// take adds what was sent to the model.
func (g *modelLog) take(parts []layer.Part) {
	for _, p := range parts {
		var item lanelog.Piece
		if h, err := lanelog.ReadPiece(p.Object); err == nil {
			item = lanelog.Piece{First: h.First, Entries: g.entries[h.First : h.First+uint64(h.Count)]}
		} else if h, err := lanelog.ReadHeader(p.Object); err == nil {
			item = lanelog.Piece{First: h.First, Entries: g.entries[h.First : h.First+uint64(h.Count)]}
			for n := len(g.items); n > 0 && g.items[n-1].First >= h.First; n-- {
				g.items = g.items[:n-1]
			}
		}
		g.items = append(g.items, item)
	}
	g.sent = append(g.sent, parts...)
}

func (m *model) append(rt *rapid.T) {
	g := m.draw(rt)
	if len(g.entries) > 6_000 {
		rt.Skip("long enough")
	}
	n := rapid.OneOf(rapid.IntRange(1, 5), rapid.IntRange(1, 900), rapid.Just(1_024-len(g.entries)%1_024), rapid.IntRange(1_024, 2_500)).Draw(rt, "entries")
	parts := g.grow(m.tb, n)
	var claim *layer.Claim
	if rapid.Bool().Draw(rt, "claim") {
		claim = g.claim(m.tb)
	}
	if _, err := m.logs.Append(g.id, parts, claim); err != nil {
		rt.Fatalf("append %d entries: %v", n, err)
	}
	g.take(parts)
}

// seal has the tail kept as one object.
func (m *model) seal(rt *rapid.T) {
	g := m.draw(rt)
	size := g.log.Size()
	first := size - size%segmentSize
	if first == size {
		rt.Skip("no tail")
	}
	part := layer.Part{Object: g.segment(m.tb, first, size)}
	if _, err := m.logs.Append(g.id, []layer.Part{part}, nil); err != nil {
		rt.Fatalf("seal entries from %d on: %v", first, err)
	}
	if last := g.items[len(g.items)-1]; last.First != first || !bytes.Equal(g.sent[len(g.sent)-1].Object, part.Object) {
		g.take([]layer.Part{part})
	}
}

// repeat sends again what was taken, from any object to the end.
func (m *model) repeat(rt *rapid.T) {
	g := m.draw(rt)
	if len(g.sent) == 0 {
		rt.Skip("nothing was sent")
	}
	from := rapid.IntRange(max(0, len(g.sent)-layer.MaxParts), len(g.sent)-1).Draw(rt, "from")
	if _, err := m.logs.Append(g.id, g.sent[from:], g.claim(m.tb)); err != nil {
		rt.Fatalf("from object %d of %d again: %v", from, len(g.sent), err)
	}
}

// refuse sends what is not the log's: nothing may change, which check sees.
func (m *model) refuse(rt *rapid.T) {
	g := m.draw(rt)
	size := g.log.Size()
	other := *g.scribe
	other.entries = append([]lanelog.Entry(nil), g.entries...)
	for range 1_300 {
		other.entries = append(other.entries, lanelog.Entry{Units: 77, Result: 1})
	}
	var part layer.Part
	var want error
	switch what := rapid.SampledFrom([]string{"gap", "conflict", "changed", "claim", "cut"}).Draw(rt, "what"); what {
	case "gap":
		part, want = layer.Part{Object: other.piece(m.tb, size+1, size+2)}, layer.ErrGap
	case "conflict":
		if len(g.items) == 0 {
			rt.Skip("nothing is kept")
		}
		at := rapid.IntRange(0, len(g.items)-1).Draw(rt, "item")
		i := g.items[at]
		other.entries[i.First].Result++
		to := i.First + uint64(len(i.Entries))
		items, err := m.logs.Items(g.id, i.First, 1)
		if err != nil || len(items) != 1 {
			rt.Fatalf("item at entry %d: %v, %v", i.First, items, err)
		}
		if want = layer.ErrConflict; items[0].Piece {
			part.Object = other.piece(m.tb, i.First, to)
		} else {
			part.Object = other.segment(m.tb, i.First, to)
		}
	case "changed":
		p := other.piece(m.tb, 0, 3)
		part, want = layer.Part{Object: p[:len(p)-1]}, lanelog.ErrEncoding
	case "claim":
		claim := g.claim(m.tb)
		claim.Root[5]++
		if _, err := m.logs.Append(g.id, nil, claim); !errors.Is(err, layer.ErrMismatch) {
			rt.Fatalf("another root: %v", err)
		}
		return
	case "cut":
		if size%segmentSize < 2 {
			rt.Skip("no tail")
		}
		part, want = layer.Part{Object: other.piece(m.tb, size-1, size+1)}, layer.ErrBehind
		if (size+1)%segmentSize == 1 {
			rt.Skip("over a border")
		}
	}
	if _, err := m.logs.Append(g.id, []layer.Part{part}, nil); !errors.Is(err, want) {
		rt.Fatalf("want %v, got %v", want, err)
	}
}

// lose takes an object away, and gives it back.
func (m *model) lose(rt *rapid.T) {
	g := m.draw(rt)
	items, err := m.logs.Items(g.id, 0, 0)
	if err != nil || len(items) == 0 {
		rt.Skip("nothing is kept")
	}
	i := items[rapid.IntRange(0, len(items)-1).Draw(rt, "item")]
	object, err := m.logs.Object(i.Name)
	if err != nil {
		rt.Fatal(err)
	}
	b := m.store.NewBatch()
	if err := errors.Join(b.Set(append([]byte("o/"), i.Name[:]...), object[:len(object)/2]), b.Commit(true)); err != nil {
		rt.Fatal(err)
	}
	if _, err := m.logs.Object(i.Name); !errors.Is(err, layer.ErrLost) {
		rt.Fatalf("a lost object: %v", err)
	}
	if err := m.logs.Repair(object); err != nil {
		rt.Fatal(err)
	}
}

func (m *model) retain(rt *rapid.T) {
	g := m.draw(rt)
	until := m.now + rapid.Uint64Range(0, 20).Draw(rt, "until")
	if err := m.logs.Retain(g.id.Channel, layer.Retention{Closed: m.now, Until: until}); err != nil {
		rt.Fatal(err)
	}
	for _, other := range m.all {
		if other.id.Channel == g.id.Channel {
			other.until = until
		}
	}
}

func (m *model) prune(rt *rapid.T) {
	m.now += rapid.Uint64Range(0, 10).Draw(rt, "time")
	want := 0
	for i, g := range m.all {
		if g.until == 0 || g.until > m.now {
			continue
		}
		if len(g.entries) > 0 {
			want++
		}
		m.all[i] = &modelLog{scribe: newScribe(g.id)}
	}
	done, err := m.logs.Prune(m.tb.Context(), m.now)
	if err != nil || done.Logs != want {
		rt.Fatalf("at %d %+v are removed, %v; want %d logs", m.now, done, err, want)
	}
}

// check compares store and model.
func (m *model) check(rt *rapid.T) {
	rows := 0
	for _, g := range m.all {
		items, err := m.logs.Items(g.id, 0, 0)
		if len(g.items) == 0 {
			if !errors.Is(err, layer.ErrNotKept) {
				rt.Fatalf("log %s, of which there is nothing: %v, %v", g.id, items, err)
			}
			continue
		}
		var got, want strings.Builder
		for _, i := range items {
			fmt.Fprintf(&got, "%d+%d ", i.First, i.Count)
		}
		for _, i := range g.items {
			fmt.Fprintf(&want, "%d+%d ", i.First, len(i.Entries))
		}
		if err != nil || got.String() != want.String() {
			rt.Fatalf("log %s is kept in %s, %v; want %s", g.id, got.String(), err, want.String())
		}
		g.checkRoot(m.tb, m.logs)
		rows += 1 + 2*len(items)
	}
	if err := kv.Scan(m.store, nil, func(key, _ []byte) error {
		if c := key[0]; c == 'l' || c == 's' || c == 'o' {
			rows--
		}
		return nil
	}); err != nil || rows != 0 {
		rt.Fatalf("%d rows are missing (or too many, if negative), %v", rows, err)
	}
}

// TestLogsModel compares the store with what it is said to be, whatever is done to it.
func TestLogsModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(t)
		rt.Repeat(map[string]func(*rapid.T){
			"append": m.append, "append more": m.append, "seal": m.seal, "repeat": m.repeat, "refuse": m.refuse, "refuse more": m.refuse,
			"lose": m.lose, "retain": m.retain, "prune": m.prune, "reopen": m.reopen, "": m.check,
		})
	})
}

// TestLogsGolden pins the rows of the log layer. A change makes stores unreadable.
func TestLogsGolden(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	l := layer.NewLogs(store, layer.LogOptions{})
	s := newScribe(logOf("a", 5))
	s.send(t, l, 2_048)
	s.send(t, l, 5)
	if _, err := l.Append(s.id, []layer.Part{{Object: s.segment(t, 2_048, 2_053)}}, nil); err != nil {
		t.Fatal(err)
	}
	s.send(t, l, 3)
	if err := l.Retain(s.id.Channel, layer.Retention{Height: 7, Closed: 1_700_000_000, Until: 1_702_592_000}); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := kv.Scan(store, nil, func(key, value []byte) error {
		if bytes.HasPrefix(key, []byte("o/")) {
			value = fmt.Appendf(nil, "%d bytes", len(value))
		}
		_, err := fmt.Fprintf(&out, "%s%x\n\t%x\n", key[:2], key[2:], value)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "logs.txt")
	if *updateGolden {
		if err := errors.Join(os.MkdirAll("testdata", 0o700), os.WriteFile(file, []byte(out.String()), 0o600)); err != nil {
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

// fuzzRow: whatever the bytes, a row is read or refused, and what is read is written alike.
func fuzzRow(f *testing.F, prefix string, recode func(first uint64, b []byte) ([]byte, error)) {
	f.Helper()
	store := memkv.New()
	l := layer.NewLogs(store, layer.LogOptions{})
	s := newScribe(logOf("a", 5))
	s.send(f, l, 2_048)
	s.send(f, l, 5)
	if err := l.Retain(s.id.Channel, layer.Retention{Height: 7, Closed: 8, Until: 9}); err != nil {
		f.Fatal(err)
	}
	first := uint64(0)
	if err := kv.Scan(store, []byte(prefix), func(_, value []byte) error {
		if _, err := recode(first, value); err != nil {
			return err
		}
		f.Add(first, bytes.Clone(value))
		first += segmentSize
		return nil
	}); err != nil || first == 0 {
		f.Fatalf("no rows %s, %v", prefix, err)
	}
	f.Add(uint64(1_025), []byte{})
	f.Fuzz(func(t *testing.T, first uint64, b []byte) {
		again, err := recode(first, b)
		if err == nil && !bytes.Equal(again, b) {
			t.Fatalf("%x is written as %x", b, again)
		}
	})
}

func FuzzLogRow(f *testing.F) {
	fuzzRow(f, "l/", func(_ uint64, b []byte) ([]byte, error) { return layer.RecodeLog(b) })
}

func FuzzLogItem(f *testing.F) { fuzzRow(f, "s/", layer.RecodeItem) }

func FuzzLogRetention(f *testing.F) {
	fuzzRow(f, "k/", func(_ uint64, b []byte) ([]byte, error) { return layer.RecodeRetention(b) })
}

// FuzzLogAppend: whatever is sent, the store takes it as a log or says that it is none, and stays
// whole.
func FuzzLogAppend(f *testing.F) {
	s := newScribe(logOf("a", 5))
	for _, p := range s.grow(f, 1_100) {
		f.Add(p.Object)
	}
	f.Add(s.piece(f, 3, 9))
	f.Add(s.segment(f, 0, 700))
	f.Fuzz(func(t *testing.T, object []byte) {
		l := layer.NewLogs(memkv.New(), layer.LogOptions{})
		begun := newScribe(s.id)
		begun.send(t, l, 3)
		head, err := l.Append(s.id, []layer.Part{{Object: object}}, nil)
		if err != nil {
			begun.checkRoot(t, l)
			return
		}
		if err := l.Verify(t.Context(), s.id, func(i layer.Item) error { return fmt.Errorf("%+v is lost", i) }); err != nil {
			t.Fatal(err)
		}
		if again, err := l.Head(s.id); err != nil || !cmp.Equal(head, again) {
			t.Fatalf("the log is %+v, %v; the call said %+v", again, err, head)
		}
		if has, err := l.Has(lanelog.Name(object)); err != nil || !has {
			t.Fatalf("the object is there: %v, %v", has, err)
		}
	})
}
