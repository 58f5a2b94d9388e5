// Package kvtest is the contract of ledger/kv as tests, and the tools to break
// it on purpose.
//
// Run is the conformance suite that every kv.Store passes. Faulty wraps a store
// whose commits fail when told to, before or after they take effect, for tests
// of what stands on a store.
package kvtest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/ledger/kv"
)

// Harness makes stores for Run.
type Harness struct {
	// Open returns a new empty store. The suite closes it.
	Open func(t *testing.T) kv.Store
	// Reopen closes a store from Open and opens its content again. Nil if the
	// store keeps nothing over Close.
	Reopen func(t *testing.T, s kv.Store) kv.Store
	// MaxBatch is a number of writes of 100 bytes that cannot fit one commit,
	// or 0 if any number does.
	MaxBatch int
}

// row is one test of the suite.
type row struct {
	name string
	run  func(*testing.T, Harness)
}

// Run runs the conformance suite as subtests of t. What a store cannot do, as
// its harness says, is no part of its suite.
func Run(t *testing.T, h Harness) {
	t.Helper()
	suite := []row{
		{"get", testGet},
		{"refused keys and values", testRefused},
		{"values are not aliased", testAliasing},
		{"iterate", testIterate},
		{"iterator sees its moment", testIteratorMoment},
		{"batch is atomic", testBatch},
		{"snapshot", testSnapshot},
		{"prefixes", testPrefixes},
		{"concurrent readers", testConcurrent},
		{"concurrent writers", testWriters},
		{"closed", testClosed},
	}
	if h.MaxBatch != 0 {
		suite = append(suite, row{"batch too large", testTooLarge})
	}
	if h.Reopen != nil {
		suite = append(suite, row{"durable", testDurable})
	}
	for _, c := range suite {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, h)
		})
	}
}

func open(t *testing.T, h Harness) kv.Store {
	t.Helper()
	s := h.Open(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// put commits key, value pairs in one batch; the value "-" deletes.
func put(t *testing.T, s kv.Store, pairs ...string) {
	t.Helper()
	b := s.NewBatch()
	for i := 0; i < len(pairs); i += 2 {
		var err error
		if pairs[i+1] == "-" {
			err = b.Delete([]byte(pairs[i]))
		} else {
			err = b.Set([]byte(pairs[i]), []byte(pairs[i+1]))
		}
		if err != nil {
			t.Fatalf("write %q: %v", pairs[i], err)
		}
	}
	if err := b.Commit(true); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

// wantGet checks key; the value "-" means absent.
func wantGet(t *testing.T, r kv.Reader, key, want string) {
	t.Helper()
	got, err := r.Get([]byte(key))
	if err != nil {
		t.Fatalf("Get(%q): %v", key, err)
	}
	if want == "-" {
		if got != nil {
			t.Fatalf("Get(%q) = %q, want nil", key, got)
		}
		return
	}
	if got == nil || string(got) != want {
		t.Fatalf("Get(%q) = %#v, want %q", key, got, want)
	}
}

// list returns the pairs in [from, to) as "k=v".
func list(t *testing.T, r kv.Reader, from, to []byte, reverse bool) []string {
	t.Helper()
	it := r.Iterate(from, to, reverse)
	out := []string{}
	for it.Next() {
		if it.Value() == nil {
			t.Fatalf("value of %q is nil", it.Key())
		}
		out = append(out, fmt.Sprintf("%s=%s", it.Key(), it.Value()))
	}
	if it.Next() {
		t.Fatal("Next is true after it was false")
	}
	if err := it.Close(); err != nil {
		t.Fatalf("iterate %q to %q: %v", from, to, err)
	}
	if err := it.Close(); err != nil {
		t.Fatalf("second Close of an iterator: %v", err)
	}
	return out
}

func wantList(t *testing.T, r kv.Reader, want ...string) {
	t.Helper()
	if d := cmp.Diff(append([]string{}, want...), list(t, r, nil, nil, false)); d != "" {
		t.Fatalf("content (-want +got):\n%s", d)
	}
}

func testGet(t *testing.T, h Harness) {
	t.Helper()
	s := open(t, h)
	wantGet(t, s, "a", "-")
	put(t, s, "a", "1", "b", "", "c", "3")
	wantGet(t, s, "a", "1")
	wantGet(t, s, "b", "")
	put(t, s, "a", "2", "c", "-")
	wantGet(t, s, "a", "2")
	wantGet(t, s, "c", "-")
	wantGet(t, s, "aa", "-")
	wantList(t, s, "a=2", "b=")
	put(t, s, "c", "4", "b", "-")
	wantList(t, s, "a=2", "c=4")
}

func testRefused(t *testing.T, h Harness) {
	t.Helper()
	s := open(t, h)
	long := bytes.Repeat([]byte{'k'}, kv.MaxKeySize+1)
	p := kv.Prefixed(s, []byte("p/"))
	for name, key := range map[string][]byte{"nil": nil, "empty": {}, "long": long} {
		for _, st := range []kv.Store{s, p} {
			if _, err := st.Get(key); !errors.Is(err, kv.ErrBadKey) {
				t.Errorf("Get of %s key: %v, want %v", name, err, kv.ErrBadKey)
			}
			b := st.NewBatch()
			if err := b.Set(key, []byte("v")); !errors.Is(err, kv.ErrBadKey) {
				t.Errorf("Set of %s key: %v, want %v", name, err, kv.ErrBadKey)
			}
			if err := b.Delete(key); !errors.Is(err, kv.ErrBadKey) {
				t.Errorf("Delete of %s key: %v, want %v", name, err, kv.ErrBadKey)
			}
			b.Discard()
		}
	}
	b := s.NewBatch()
	defer b.Discard()
	if err := b.Set([]byte("k"), nil); !errors.Is(err, kv.ErrNilValue) {
		t.Errorf("Set of nil value: %v, want %v", err, kv.ErrNilValue)
	}
	if err := b.Set(long[:kv.MaxKeySize], []byte("v")); err != nil {
		t.Errorf("Set of longest key: %v", err)
	}
}

func testAliasing(t *testing.T, h Harness) {
	t.Helper()
	s := open(t, h)
	k, v := []byte("key"), []byte("value")
	b := s.NewBatch()
	if err := b.Set(k, v); err != nil {
		t.Fatal(err)
	}
	d := []byte("gone")
	if err := b.Delete(d); err != nil {
		t.Fatal(err)
	}
	k[0], v[0], d[0] = 'X', 'X', 'X'
	if err := b.Commit(false); err != nil {
		t.Fatal(err)
	}
	wantList(t, s, "key=value")
	got, err := s.Get([]byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i] = 'Y'
	}
	wantGet(t, s, "key", "value")
}

func testIterate(t *testing.T, h Harness) {
	t.Helper()
	s := open(t, h)
	put(t, s, "a", "0", "b", "1", "ba", "2", "bb", "3", "c", "4", "\xff\xff", "5")
	put(t, s, "bb", "-", "d", "6", "e", "", "a", "7")
	for _, c := range []struct {
		name     string
		from, to []byte
		want     []string
	}{
		{"all", nil, nil, []string{"a=7", "b=1", "ba=2", "c=4", "d=6", "e=", "\xff\xff=5"}},
		{"from a key", []byte("ba"), nil, []string{"ba=2", "c=4", "d=6", "e=", "\xff\xff=5"}},
		{"from between", []byte("bb"), nil, []string{"c=4", "d=6", "e=", "\xff\xff=5"}},
		{"to a key", nil, []byte("c"), []string{"a=7", "b=1", "ba=2"}},
		{"to between", nil, []byte("bzz"), []string{"a=7", "b=1", "ba=2"}},
		{"prefix", []byte("b"), []byte("c"), []string{"b=1", "ba=2"}},
		{"one key", []byte("d"), []byte("d\x00"), []string{"d=6"}},
		{"same bounds", []byte("b"), []byte("b"), []string{}},
		{"bounds exchanged", []byte("c"), []byte("b"), []string{}},
		{"nothing there", []byte("x"), []byte("z"), []string{}},
		{"to before all", nil, []byte("A"), []string{}},
		{"empty to", nil, []byte{}, []string{}},
		{"from after all", []byte("\xff\xff\xff"), nil, []string{}},
	} {
		if d := cmp.Diff(c.want, list(t, s, c.from, c.to, false)); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
		back := slices.Clone(c.want)
		slices.Reverse(back)
		if d := cmp.Diff(back, list(t, s, c.from, c.to, true)); d != "" {
			t.Errorf("%s in reverse (-want +got):\n%s", c.name, d)
		}
	}
}

func testIteratorMoment(t *testing.T, h Harness) {
	t.Helper()
	s := open(t, h)
	put(t, s, "a", "1", "b", "1", "c", "1")
	it := s.Iterate(nil, nil, false)
	defer func() {
		if err := it.Close(); err != nil {
			t.Error(err)
		}
	}()
	if !it.Next() || string(it.Key()) != "a" {
		t.Fatal("no first key")
	}
	put(t, s, "b", "2", "c", "-", "d", "1")
	var got []string
	for it.Next() {
		got = append(got, fmt.Sprintf("%s=%s", it.Key(), it.Value()))
	}
	if d := cmp.Diff([]string{"b=1", "c=1"}, got); d != "" {
		t.Fatalf("iterator (-want +got):\n%s", d)
	}
}

func testBatch(t *testing.T, h Harness) {
	t.Helper()
	s := open(t, h)
	put(t, s, "a", "1", "b", "1")
	b := s.NewBatch()
	for _, err := range []error{
		b.Set([]byte("a"), []byte("2")), b.Delete([]byte("b")), b.Set([]byte("c"), []byte("x")),
		b.Set([]byte("c"), []byte("2")), b.Set([]byte("d"), []byte("x")), b.Delete([]byte("d")),
		b.Delete([]byte("e")), b.Set([]byte("e"), []byte("2")), b.Delete([]byte("never there")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	wantList(t, s, "a=1", "b=1")
	if err := b.Commit(true); err != nil {
		t.Fatalf("Commit: %v", err)
	}
	wantList(t, s, "a=2", "c=2", "e=2")
	if err := b.Commit(true); !errors.Is(err, kv.ErrBatchDone) {
		t.Errorf("second Commit: %v, want %v", err, kv.ErrBatchDone)
	}
	if err := b.Set([]byte("f"), []byte("1")); !errors.Is(err, kv.ErrBatchDone) {
		t.Errorf("Set after Commit: %v, want %v", err, kv.ErrBatchDone)
	}
	b.Discard()
	if err := s.NewBatch().Commit(true); err != nil {
		t.Errorf("Commit of an empty batch: %v", err)
	}
	d := s.NewBatch()
	if err := d.Set([]byte("f"), []byte("1")); err != nil {
		t.Fatal(err)
	}
	d.Discard()
	if err := d.Commit(false); !errors.Is(err, kv.ErrBatchDone) {
		t.Errorf("Commit after Discard: %v, want %v", err, kv.ErrBatchDone)
	}
	wantList(t, s, "a=2", "c=2", "e=2")
}

func testTooLarge(t *testing.T, h Harness) {
	t.Helper()
	s := open(t, h)
	put(t, s, "a", "1")
	b := s.NewBatch()
	value := make([]byte, 88)
	var err error
	for i := 0; i < h.MaxBatch && err == nil; i++ {
		err = b.Set(fmt.Appendf(nil, "key %8d", i), value)
	}
	if err != nil && !errors.Is(err, kv.ErrBatchTooLarge) {
		t.Fatalf("Set: %v, want %v", err, kv.ErrBatchTooLarge)
	}
	if err := b.Commit(true); !errors.Is(err, kv.ErrBatchTooLarge) {
		t.Fatalf("Commit: %v, want %v", err, kv.ErrBatchTooLarge)
	}
	wantList(t, s, "a=1")
	put(t, s, "b", "1") // the store goes on
	wantList(t, s, "a=1", "b=1")
}

func testSnapshot(t *testing.T, h Harness) {
	t.Helper()
	s := open(t, h)
	put(t, s, "a", "1", "b", "1")
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "a", "2", "b", "-", "c", "2")
	wantList(t, snap, "a=1", "b=1")
	wantGet(t, snap, "b", "1")
	wantGet(t, snap, "c", "-")
	wantList(t, s, "a=2", "c=2")
	if err := snap.Close(); err != nil {
		t.Fatalf("Close of a snapshot: %v", err)
	}
	if err := snap.Close(); err != nil {
		t.Fatalf("second Close of a snapshot: %v", err)
	}
	if _, err := snap.Get([]byte("a")); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("Get of a closed snapshot: %v, want %v", err, kv.ErrClosed)
	}
	it := snap.Iterate(nil, nil, false)
	if it.Next() {
		t.Error("a closed snapshot has keys")
	}
	if err := it.Close(); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("Iterate of a closed snapshot: %v, want %v", err, kv.ErrClosed)
	}
}

func testPrefixes(t *testing.T, h Harness) {
	t.Helper()
	s := open(t, h)
	a, b := kv.Prefixed(s, []byte("a/")), kv.Prefixed(s, []byte("b/"))
	top := kv.Prefixed(s, []byte("\xff\xff"))
	nested := kv.Prefixed(a, []byte("n/"))
	put(t, a, "1", "a1", "2", "a2")
	put(t, b, "1", "b1")
	put(t, nested, "1", "n1")
	put(t, top, "\xff", "t1")
	put(t, s, "a", "s1")
	wantList(t, a, "1=a1", "2=a2", "n/1=n1")
	wantList(t, b, "1=b1")
	wantList(t, nested, "1=n1")
	wantList(t, top, "\xff=t1")
	wantList(t, s, "a=s1", "a/1=a1", "a/2=a2", "a/n/1=n1", "b/1=b1", "\xff\xff\xff=t1")
	if d := cmp.Diff([]string{"n/1=n1", "2=a2"}, list(t, a, []byte("2"), nil, true)); d != "" {
		t.Errorf("reverse in a view (-want +got):\n%s", d)
	}
	wantGet(t, b, "2", "-")
	snap, err := a.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	batch := s.NewBatch()
	wa, wb := kv.PrefixedWriter(batch, []byte("a/")), kv.PrefixedWriter(batch, []byte("b/"))
	for _, err := range []error{wa.Set([]byte("1"), []byte("x")), wb.Delete([]byte("1")), wa.Delete([]byte("2"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Commit(false); err != nil {
		t.Fatal(err)
	}
	wantList(t, a, "1=x", "n/1=n1")
	wantList(t, b)
	wantList(t, snap, "1=a1", "2=a2", "n/1=n1")
	if err := snap.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	wantGet(t, a, "1", "x") // Close of a view does nothing
}
