package layer_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/kv/kvtest"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/lanelog"
	"github.com/tributary-network/tributary/ledger/layer"
)

// TestLogsFullDisk: below the reserve nothing is appended, and reading, retention and removal go on.
func TestLogsFullDisk(t *testing.T) {
	t.Parallel()
	const reserve = 1 << 30
	free := uint64(2 << 30)
	l := layer.NewLogs(memkv.New(), layer.LogOptions{Reserve: reserve, Free: func() (uint64, error) { return free, nil }})
	s := newScribe(logOf("a", 0))
	s.send(t, l, 2_000)
	if err := l.CheckDisk(); err != nil {
		t.Error(err)
	}
	free = reserve + 10 // not for what is to be written
	parts, claim := s.grow(t, 10), s.claim(t)
	_, err := l.Append(s.id, parts, claim)
	if !errors.Is(err, badgerkv.ErrNoSpace) || !strings.Contains(err.Error(), "1024 MiB are free") {
		t.Errorf("an append that the disk has no room for: %v", err)
	}
	free = reserve - 1
	if err := l.CheckDisk(); !errors.Is(err, badgerkv.ErrNoSpace) {
		t.Errorf("the disk is full: %v", err)
	}
	if head, err := l.Head(s.id); err != nil || head.Root.Size != 2_000 {
		t.Errorf("on a full disk the log is %+v, %v", head, err)
	}
	if err := l.Objects(s.id, 0, func(_ layer.Item, _ []byte) error { return nil }); err != nil {
		t.Errorf("on a full disk: %v", err)
	}
	free = 2 * reserve
	if _, err := l.Append(s.id, parts, claim); err != nil {
		t.Errorf("with room again: %v", err)
	}
	s.checkKept(t, l)
	free = 0
	if err := l.Retain(s.id.Channel, layer.Retention{Height: 1, Closed: 5, Until: 6}); err != nil {
		t.Error(err)
	}
	if done, err := l.Prune(t.Context(), 6); err != nil || done.Entries != 2_010 {
		t.Errorf("on a full disk %+v are removed, %v", done, err)
	}
	lost := errors.New("no such disk")
	l = layer.NewLogs(memkv.New(), layer.LogOptions{Free: func() (uint64, error) { return 0, lost }})
	if _, err := l.Append(s.id, parts, nil); !errors.Is(err, lost) {
		t.Errorf("a disk that cannot be looked at: %v", err)
	}
}

// TestLogsOpen: a store that cannot be opened says why.
func TestLogsOpen(t *testing.T) {
	t.Parallel()
	o := badgerkv.Bulk(t.TempDir())
	o.MinFree = 1 // whatever else lies on the disk
	l, err := layer.OpenLogs(o, layer.LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := layer.OpenLogs(o, layer.LogOptions{}); !errors.Is(err, badgerkv.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	if size, err := l.Size(); err != nil || size.Total == 0 {
		t.Errorf("it takes %+v, %v", size, err)
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	o.MinFree = 1 << 62
	if _, err := layer.OpenLogs(o, layer.LogOptions{}); !errors.Is(err, badgerkv.ErrNoSpace) {
		t.Errorf("opened on a full disk: %v", err)
	}
	none := layer.NewLogs(memkv.New(), layer.LogOptions{})
	if size, err := none.Size(); err != nil || size != (badgerkv.Size{}) || none.Close() != nil {
		t.Errorf("a store of somebody else takes %+v, %v", size, err)
	}
}

// TestLogsStream reads a log of six megabytes, and checks and removes it, in a fraction of that. It is
// not parallel, since it measures what the process has.
func TestLogsStream(t *testing.T) { //nolint:paralleltest // see above
	const segments, limit = 80, 2 << 20
	l := openLogs(t, badgerkv.Small(t.TempDir()))
	s := newScribe(logOf("a", 0))
	for range segments {
		if _, err := l.Append(s.id, s.grow(t, segmentSize), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Retain(s.id.Channel, layer.Retention{Until: 1}); err != nil {
		t.Fatal(err)
	}
	s.entries = nil
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most, bytes, n := live(), uint64(0), 0, 0
	if err := l.Objects(s.id, 0, func(_ layer.Item, object []byte) error {
		bytes += len(object)
		if n++; n%8 == 0 {
			most = max(most, live())
		}
		return nil
	}); err != nil || bytes < segments*segmentSize*lanelog.EntrySize {
		t.Fatalf("%d bytes are read, %v", bytes, err)
	}
	if most > before+limit {
		t.Errorf("%d bytes are in memory while %d are read", most-before, bytes)
	}
	var first, last runtime.MemStats
	runtime.ReadMemStats(&first)
	if err := l.Verify(t.Context(), s.id, func(i layer.Item) error { return fmt.Errorf("%+v is lost", i) }); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&last)
	if got := last.TotalAlloc - first.TotalAlloc; got > uint64(2*bytes) {
		t.Errorf("to check %d bytes took %d", bytes, got)
	}
	if done, err := l.Prune(t.Context(), 1); err != nil || done.Objects != segments {
		t.Errorf("removed are %+v, %v", done, err)
	}
}

// pruneWorld fills a store with two logs each of some channels, of which each closed at a time of its
// own.
func pruneWorld(tb testing.TB, l *layer.Logs, channels uint64, entries int) []*scribe {
	tb.Helper()
	var all []*scribe
	for channel := range channels {
		for lane := range uint16(2) {
			s := newScribe(logOf(fmt.Sprint(channel), lane))
			for range 3 {
				s.send(tb, l, entries/3)
			}
			all = append(all, s)
		}
		if err := l.Retain(all[len(all)-1].id.Channel, layer.Retention{Height: channel, Closed: 100 + channel, Until: 200 + channel}); err != nil {
			tb.Fatal(err)
		}
	}
	return all
}

// checkPruned checks that the logs from a number on are there and those before not.
func checkPruned(tb testing.TB, l *layer.Logs, all []*scribe, from int) {
	tb.Helper()
	for i, s := range all {
		if i >= from {
			s.checkRoot(tb, l)
			continue
		}
		if _, err := l.Head(s.id); !errors.Is(err, layer.ErrNotKept) {
			tb.Fatalf("log %d of %d that are gone: %v", i, from, err)
		}
		if _, err := l.Object(lanelog.Name(s.segment(tb, 0, segmentSize))); !errors.Is(err, layer.ErrNotKept) {
			tb.Fatalf("an object of log %d of %d that are gone: %v", i, from, err)
		}
		if _, ok, err := l.Retention(s.id.Channel); ok || err != nil {
			tb.Fatalf("channel %s is remembered: %v", s.id.Channel, err)
		}
	}
}

// TestLogsPrune: logs go when their time is over, and the disk gets as much smaller.
func TestLogsPrune(t *testing.T) {
	t.Parallel()
	o := badgerkv.Small(t.TempDir())
	o.ValueLogFileSize = 1 << 20
	o.MemTableSize, o.BaseTableSize = 1<<20, 1<<20 // of which one or two may be on the disk besides
	l := openLogs(t, o)
	all := pruneWorld(t, l, 10, 9_000)
	full, err := l.Size()
	if err != nil {
		t.Fatal(err)
	}
	if keep, ok, err := l.Retention(all[4].id.Channel); err != nil || !ok || keep != (layer.Retention{Height: 2, Closed: 102, Until: 202}) {
		t.Errorf("retention is %+v, %v, %v", keep, ok, err)
	}
	if err := l.Retain(all[0].id.Channel, layer.Retention{Closed: 5, Until: 4}); err == nil {
		t.Error("a channel is kept until before it closed")
	}
	if done, err := l.Prune(t.Context(), 199); err != nil || done != (layer.Pruned{}) {
		t.Errorf("before any time is over: %+v, %v", done, err)
	}
	// Channel 0 gets more time, channel 9 less.
	for i, until := range map[int]uint64{0: 300, 18: 150} {
		if err := l.Retain(all[i].id.Channel, layer.Retention{Closed: 100, Until: until}); err != nil {
			t.Fatal(err)
		}
	}
	all = append(append(append([]*scribe{}, all[18:]...), all[2:18]...), all[:2]...)
	done, err := l.Prune(t.Context(), 207)
	want := layer.Pruned{Channels: 8, Logs: 16, Entries: 16 * 9_000, Objects: 16 * 9}
	if err != nil || done != want {
		t.Errorf("removed are %+v, %v; want %+v", done, err, want)
	}
	checkPruned(t, l, all, 16)
	less, err := l.Size()
	if err != nil || less.ValueLog > full.ValueLog/2 || less.Total > full.Total*2/3 {
		t.Errorf("the store takes %d KiB, %d KiB before four fifths went; %v", less.Total>>10, full.Total>>10, err)
	}
	t.Logf("full %d KiB, value log %d; after four fifths went %d KiB, value log %d", full.Total>>10, full.ValueLog>>10, less.Total>>10, less.ValueLog>>10)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLogs(t, o)
	checkPruned(t, l, all, 16)
	if done, err = l.Prune(t.Context(), 1<<64-1); err != nil || done.Logs != 4 {
		t.Errorf("removed are %+v, %v", done, err)
	}
	checkPruned(t, l, all, 20)
	s := newScribe(all[0].id) // a log of that name begins anew
	s.send(t, l, 5)
	s.checkKept(t, l)
}

// TestLogsPruneInterrupted has every commit of a removal fail, before and after it takes effect: nothing
// half removed is read, and the next call goes on.
func TestLogsPruneInterrupted(t *testing.T) {
	t.Parallel()
	base := memkv.New()
	all := pruneWorld(t, layer.NewLogs(base, layer.LogOptions{}), 4, 1_200)
	plain := kvtest.NewFaulty(base.Clone())
	if _, err := layer.NewLogs(plain, layer.LogOptions{}).Prune(t.Context(), 201); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= plain.Commits(); n++ {
		for _, after := range []bool{false, true} {
			store := base.Clone()
			f := kvtest.NewFaulty(store)
			f.FailCommit(n, after)
			if _, err := layer.NewLogs(f, layer.LogOptions{}).Prune(t.Context(), 201); !errors.Is(err, kvtest.ErrInjected) {
				t.Fatalf("commit %d fails: %v", n, err)
			}
			checkHalf(t, store, all)
			l := layer.NewLogs(store, layer.LogOptions{})
			if _, err := l.Prune(t.Context(), 201); err != nil {
				t.Fatalf("commit %d fails, going on: %v", n, err)
			}
			checkPruned(t, l, all, 4)
			if err := kv.Scan(store, []byte("d/"), func(key, _ []byte) error { return fmt.Errorf("%q is left", key) }); err != nil {
				t.Error(err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := layer.NewLogs(base, layer.LogOptions{})
	if _, err := l.Prune(ctx, 201); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	checkPruned(t, l, all, 0)
}

// checkHalf checks that each log is there as a whole or not at all, and does not begin anew before
// all of it is gone.
func checkHalf(t *testing.T, store *memkv.Store, all []*scribe) {
	t.Helper()
	l := layer.NewLogs(store.Clone(), layer.LogOptions{})
	for _, s := range all {
		if _, err := l.Head(s.id); err == nil {
			s.checkRoot(t, l)
			continue
		}
		again := newScribe(s.id)
		switch _, err := l.Append(s.id, again.grow(t, 3), nil); {
		case errors.Is(err, layer.ErrDropping):
		case err != nil:
			t.Errorf("log %s begins anew: %v", s.id, err)
		default:
			again.checkKept(t, l)
		}
	}
}
