package badgerkv_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/kv/kvtest"
)

// tiny is the smallest store badger makes: rotations happen all the time.
func tiny(dir string) badgerkv.Options {
	o := badgerkv.Small(dir)
	o.MemTableSize, o.ValueThreshold, o.BaseTableSize = 1<<20, 1<<10, 1<<20
	return o
}

func open(t *testing.T, o badgerkv.Options) *badgerkv.Store {
	t.Helper()
	s, err := badgerkv.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	reopen := func(t *testing.T, s kv.Store) kv.Store {
		t.Helper()
		b, ok := s.(*badgerkv.Store)
		if !ok {
			t.Fatalf("store is a %T", s)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		return open(t, b.Options())
	}
	for name, h := range map[string]kvtest.Harness{
		"small": {
			Open:     func(t *testing.T) kv.Store { t.Helper(); return open(t, badgerkv.Small(t.TempDir())) },
			Reopen:   reopen,
			MaxBatch: 13_000,
		},
		"tiny": {
			Open:     func(t *testing.T) kv.Store { t.Helper(); return open(t, tiny(t.TempDir())) },
			Reopen:   reopen,
			MaxBatch: 2_000,
		},
		"memory": {
			Open: func(t *testing.T) kv.Store {
				t.Helper()
				o := badgerkv.Memory()
				o.MemTableSize = badgerkv.SmallMemTableSize
				return open(t, o)
			},
			MaxBatch: 13_000,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kvtest.Run(t, h)
		})
	}
}

// TestVersion asks the build system, since a test binary does not name its
// dependencies: older versions bring deleted keys back to life.
func TestVersion(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}}{{with .Replace}} replaced{{end}}", "github.com/dgraph-io/badger/v4")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	if got := strings.TrimSpace(string(out)); got != "v4.9.6" {
		t.Errorf("badger %s is linked, want v4.9.6", got)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	main := badgerkv.Main("x")
	rows, nodes := 40_000*main.EntrySize(12, 272), 60_000*main.EntrySize(15, 100)
	if got := main.MaxBatchBytes(); rows+nodes > got {
		t.Errorf("the largest block takes %d bytes, a batch of the main store %d", rows+nodes, got)
	}
	if got := main.MaxBatchEntries(); 40_000+60_000 > got {
		t.Errorf("the largest block takes 100000 entries, a batch of the main store %d", got)
	}
	t.Run("a batch takes what is promised", func(t *testing.T) {
		t.Parallel()
		s := open(t, badgerkv.Small(t.TempDir()))
		o := s.Options()
		for name, size := range map[string]int{"entries": 0, "bytes": 1000} {
			n := min(o.MaxBatchEntries(), o.MaxBatchBytes()/o.EntrySize(8, size))
			b := s.NewBatch()
			value := make([]byte, size)
			for i := range n {
				if err := b.Set(fmt.Appendf(nil, "%08d", i), value); err != nil {
					t.Fatalf("%s: write %d of %d: %v", name, i, n, err)
				}
			}
			if err := b.Commit(false); err != nil {
				t.Errorf("%s: Commit of %d writes: %v", name, n, err)
			}
		}
	})
}

func TestLocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, tiny(dir))
	_, err := badgerkv.Open(tiny(dir))
	if !errors.Is(err, badgerkv.ErrLocked) {
		t.Fatalf("second Open: %v, want %v", err, badgerkv.ErrLocked)
	}
	for _, part := range []string{dir, "already open by another process", fmt.Sprint(os.Getpid())} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*badgerkv.Options){
		"no directory":        func(o *badgerkv.Options) { o.Dir = "" },
		"memory on disk":      func(o *badgerkv.Options) { o.InMemory = true },
		"memtable too small":  func(o *badgerkv.Options) { o.MemTableSize = 1 << 10 },
		"threshold too large": func(o *badgerkv.Options) { o.ValueThreshold = 2 << 20 },
		"threshold negative":  func(o *badgerkv.Options) { o.ValueThreshold = -1 },
	} {
		o := badgerkv.Small(t.TempDir())
		change(&o)
		if s, err := badgerkv.Open(o); err == nil {
			t.Errorf("%s: Open succeeds", name)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := badgerkv.Main(dir)
	want.MinFree = 0
	if got := open(t, badgerkv.Options{Dir: dir}).Options(); got != want {
		t.Errorf("sizes by default are %+v, want %+v", got, want)
	}
}

func TestDiskGuard(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	free, err := badgerkv.FreeBytes(dir)
	if err != nil || free == 0 {
		t.Fatalf("FreeBytes = %d, %v", free, err)
	}
	o := tiny(filepath.Join(dir, "store"))
	o.MinFree = 1 << 62
	if _, err := badgerkv.Open(o); !errors.Is(err, badgerkv.ErrNoSpace) {
		t.Errorf("Open: %v, want %v", err, badgerkv.ErrNoSpace)
	}
	if err := badgerkv.CheckFree(dir, 1); err != nil {
		t.Errorf("CheckFree of one byte: %v", err)
	}
	if r, err := badgerkv.Reserve(dir); err != nil || r < badgerkv.DefaultMinFree {
		t.Errorf("Reserve = %d, %v", r, err)
	}
	if _, err := badgerkv.FreeBytes(filepath.Join(dir, "missing")); err == nil {
		t.Error("FreeBytes of a missing directory succeeds")
	}
}

// TestValueLog has values on both sides of the threshold survive garbage
// collection and reopening.
func TestValueLog(t *testing.T) {
	t.Parallel()
	o := tiny(t.TempDir())
	o.ValueLogFileSize = 1 << 20
	s := open(t, o)
	value := func(i, round int) []byte {
		return []byte(strings.Repeat(fmt.Sprintf("%d/%d ", i, round), 100*(i%4)+1))
	}
	for round := range 4 {
		for i := range 500 {
			b := s.NewBatch()
			if err := b.Set(fmt.Appendf(nil, "k%03d", i), value(i, round)); err != nil {
				t.Fatal(err)
			}
			if err := b.Commit(i%100 == 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := s.CollectGarbage(0.1); err != nil {
		t.Fatalf("CollectGarbage: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	for i := range 500 {
		got, err := s.Get(fmt.Appendf(nil, "k%03d", i))
		if err != nil || string(got) != string(value(i, 3)) {
			t.Fatalf("value %d is wrong after reopening, error %v", i, err)
		}
	}
}

// TestRotatedLogs syncs while other writers rotate memtables, which is when
// DB.Sync alone would leave a log behind.
func TestRotatedLogs(t *testing.T) {
	t.Parallel()
	o := tiny(t.TempDir())
	s := open(t, o)
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := range 100 {
				b := s.NewBatch()
				for j := range 50 {
					if err := b.Set(fmt.Appendf(nil, "%d/%d/%d", w, i, j), make([]byte, 900)); err != nil {
						t.Error(err)
					}
				}
				if err := b.Commit(w == 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(s.Sync(), s.Close()); err != nil {
		t.Fatalf("Sync and Close: %v", err)
	}
	n := 0
	if err := kv.Scan(open(t, o), nil, func(_, _ []byte) error { n++; return nil }); err != nil || n != 3*100*50 {
		t.Errorf("%d keys after reopening, error %v, want %d", n, err, 3*100*50)
	}
}

// TestSize measures a store with tables and a value log.
func TestSize(t *testing.T) {
	t.Parallel()
	o := tiny(t.TempDir())
	s := open(t, o)
	empty, err := s.Size()
	if err != nil || empty.Tables != 0 || empty.Total == 0 {
		t.Errorf("an empty store: %+v, %v", empty, err)
	}
	for i := range 40 {
		b := s.NewBatch()
		for j := range 100 {
			if err := b.Set(fmt.Appendf(nil, "%d/%d", i, j), make([]byte, 900)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(b.Set(fmt.Appendf(nil, "%d", i), bytes.Repeat([]byte{7}, 10_000)), b.Commit(true)); err != nil {
			t.Fatal(err)
		}
	}
	size, err := s.Size()
	if err != nil || size.Tables < 1<<20 || size.ValueLog < 400_000 || size.Total < size.Tables+size.ValueLog {
		t.Errorf("sizes %+v, %v", size, err)
	}
	if longest := size.Tables + size.ValueLog + 16<<20; size.Total > longest {
		t.Errorf("total of %d bytes counts what is not written", size.Total)
	}
	if size, err := open(t, badgerkv.Memory()).Size(); err != nil || size != (badgerkv.Size{}) {
		t.Errorf("in memory: %+v, %v", size, err)
	}
}

func TestLateReaders(t *testing.T) {
	t.Parallel()
	s := open(t, tiny(t.TempDir()))
	b := s.NewBatch()
	for i := range 1000 {
		if err := b.Set(fmt.Appendf(nil, "k%d", i), []byte("v")); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(true); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	started := make(chan struct{}, 4)
	for range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				if i == 10 {
					started <- struct{}{}
				}
				_, err := s.Get([]byte("k1"))
				n := 0
				it := s.Iterate(nil, nil, i%2 == 0)
				for it.Next() {
					n++
				}
				err = errors.Join(err, it.Close())
				if errors.Is(err, kv.ErrClosed) {
					return
				}
				if err != nil || n != 1000 {
					t.Errorf("%d keys, error %v", n, err)
					return
				}
			}
		})
	}
	for range 4 {
		<-started
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wg.Wait()
}
