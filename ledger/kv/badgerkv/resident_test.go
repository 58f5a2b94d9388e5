package badgerkv_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
)

// mapped returns the bytes of files that are mapped into this process and
// resident.
func mapped(tb testing.TB) int64 {
	tb.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Skipf("what is mapped is not told here: %v", err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssFile:"); ok {
			var kb int64
			if _, err := fmt.Sscan(rest, &kb); err != nil {
				tb.Fatal(err)
			}
			return kb << 10
		}
	}
	tb.Skip("/proc/self/status of this system does not tell RssFile")
	return 0
}

// TestReleaseMapped fills tables and gives their memory back; what is read
// afterwards is what was written.
func TestReleaseMapped(t *testing.T) { //nolint:paralleltest // measures the process
	store, err := badgerkv.Open(badgerkv.Small(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		if _, err := store.ReleaseMapped(); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}()
	const blocks, rows = 100, 500
	for b := range uint64(blocks) {
		fill(t, store, b, rows)
	}
	before := mapped(t)
	released, err := store.ReleaseMapped()
	if err != nil {
		t.Fatal(err)
	}
	after := mapped(t)
	t.Logf("%d MiB of tables; mapped files resident: %d MiB before, %d MiB after", released>>20, before>>20, after>>20)
	// Of the 20 MiB written badger has flushed one memtable of 8 MiB or two by
	// now; when is up to it.
	if released < 4<<20 || before-after < released/2 {
		t.Errorf("%d bytes were released, %d bytes less are resident", released, before-after)
	}
	for b := range uint64(blocks) {
		check(t, store, b, rows)
	}
}

func rowOf(b, i uint64) (key, value []byte) {
	key = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, i), b)
	return key, bytes.Repeat(key, 50)
}

func fill(tb testing.TB, store kv.Store, b uint64, rows int) {
	tb.Helper()
	batch := store.NewBatch()
	for i := range uint64(rows) {
		if err := batch.Set(rowOf(b, i)); err != nil {
			tb.Fatal(err)
		}
	}
	if err := batch.Commit(false); err != nil {
		tb.Fatal(err)
	}
}

func check(tb testing.TB, store kv.Store, b uint64, rows int) {
	tb.Helper()
	for i := range uint64(rows) {
		key, want := rowOf(b, i)
		if got, err := store.Get(key); err != nil || !bytes.Equal(got, want) {
			tb.Errorf("row %d of block %d: %d bytes, %v", i, b, len(got), err)
			return
		}
	}
}

// TestReleaseMappedUnderLoad releases all the time while tables are written,
// compacted away and read, and the heap grows and shrinks where they were.
func TestReleaseMappedUnderLoad(t *testing.T) {
	t.Parallel()
	store, err := badgerkv.Open(badgerkv.Small(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	const blocks, rows = 150, 400
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if _, err := store.ReleaseMapped(); err != nil {
				t.Error(err)
				return
			}
		}
	})
	wg.Go(func() {
		for ctx.Err() == nil {
			ballast := make([][]byte, 64)
			for i := range ballast {
				ballast[i] = bytes.Repeat([]byte{byte(i)}, 256<<10)
			}
			for i, b := range ballast {
				if bytes.Count(b, []byte{byte(i)}) != len(b) {
					t.Error("the heap was wiped")
					return
				}
			}
		}
	})
	for b := range uint64(blocks) {
		fill(t, store, b%50, rows) // each three times, so that tables go
		check(t, store, rand.Uint64N(min(b+1, 50)), rows)
	}
	cancel()
	wg.Wait()
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}
