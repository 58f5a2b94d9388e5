package kvtest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/tributary-network/tributary/ledger/kv"
)

// testConcurrent has a writer that keeps two keys equal and readers that would
// see it if a batch could be read in part.
func testConcurrent(t *testing.T, h Harness) {
	t.Helper()
	s := open(t, h)
	put(t, s, "x", "0", "y", "0")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := readEqual(s); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 200 {
		v := fmt.Sprint(i)
		put(t, s, "x", v, "y", v)
		wantGet(t, s, "x", v)
	}
	close(stop)
	wg.Wait()
}

// readEqual reads the two keys of testConcurrent by a snapshot and an iterator.
func readEqual(s kv.Store) error {
	snap, err := s.Snapshot()
	if err != nil {
		return err
	}
	x, errX := snap.Get([]byte("x"))
	y, errY := snap.Get([]byte("y"))
	if err := errors.Join(errX, errY, snap.Close()); err != nil || !bytes.Equal(x, y) {
		return fmt.Errorf("snapshot reads x=%s y=%s, error %w", x, y, err)
	}
	var values []string
	it := s.Iterate(nil, nil, false)
	for it.Next() {
		values = append(values, string(it.Value()))
	}
	if err := it.Close(); err != nil || len(values) != 2 || values[0] != values[1] {
		return fmt.Errorf("iterator reads %v, error %w", values, err)
	}
	return nil
}

func testWriters(t *testing.T, h Harness) {
	t.Helper()
	s := open(t, h)
	var wg sync.WaitGroup
	const writers, rounds = 4, 50
	for w := range writers {
		wg.Go(func() {
			for i := range rounds {
				b := s.NewBatch()
				if err := b.Set(fmt.Appendf(nil, "%d/%03d", w, i), []byte("v")); err != nil {
					t.Errorf("Set: %v", err)
				}
				if err := b.Commit(i%10 == 0); err != nil {
					t.Errorf("Commit: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if got := len(list(t, s, nil, nil, false)); got != writers*rounds {
		t.Errorf("%d keys, want %d", got, writers*rounds)
	}
}

func testClosed(t *testing.T, h Harness) {
	t.Helper()
	s := open(t, h)
	put(t, s, "a", "1", "b", "2")
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	it := s.Iterate(nil, nil, false)
	it.Next()
	b := s.NewBatch()
	if err := b.Set([]byte("c"), []byte("1")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	late := kv.Prefixed(s, []byte("p"))
	_, errGet := s.Get([]byte("a"))
	_, errView := late.Get([]byte("a"))
	_, errSnap := s.Snapshot()
	_, errSnapGet := snap.Get([]byte("a"))
	after := s.Iterate(nil, nil, true)
	if it.Next() || after.Next() {
		t.Error("a closed store has keys")
	}
	for name, err := range map[string]error{
		"Get": errGet, "Get of a view": errView, "Snapshot": errSnap, "Get of a snapshot": errSnapGet,
		"Commit": b.Commit(true), "open iterator": it.Close(), "new iterator": after.Close(),
	} {
		if !errors.Is(err, kv.ErrClosed) {
			t.Errorf("%s after Close: %v, want %v", name, err, kv.ErrClosed)
		}
	}
	b.Discard()
	if err := snap.Close(); err != nil {
		t.Errorf("Close of a snapshot after its store: %v", err)
	}
}

func testDurable(t *testing.T, h Harness) {
	t.Helper()
	s := h.Open(t)
	want := []string{}
	for i := range 300 {
		k := fmt.Sprintf("k%04d", i)
		put(t, s, k, "x")
		switch i % 3 {
		case 0:
			put(t, s, k, "-")
		case 1:
			put(t, s, k, "")
			want = append(want, k+"=")
		default:
			v := string(bytes.Repeat([]byte{'v'}, i*50))
			put(t, s, k, v)
			want = append(want, k+"="+v)
		}
	}
	for range 2 {
		s = h.Reopen(t, s)
		wantList(t, s, want...)
		wantGet(t, s, "k0000", "-")
		wantGet(t, s, "k0001", "")
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}
