package comet_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	dbm "github.com/cometbft/cometbft-db"

	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
)

func openBadger(tb testing.TB, dir string) *badgerkv.Store {
	tb.Helper()
	o := badgerkv.Small(dir)
	o.MinFree = 0
	store, err := badgerkv.Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	return store
}

// TestDatabase checks what CometBFT expects of a database: the conformance
// tests of cometbft-db, in meaning, on both stores and under a prefix with
// neighbours.
func TestDatabase(t *testing.T) {
	t.Parallel()
	stores := map[string]func(*testing.T) kv.Store{
		"memkv":    func(*testing.T) kv.Store { return memkv.New() },
		"badgerkv": func(t *testing.T) kv.Store { t.Helper(); return openBadger(t, filepath.Join(t.TempDir(), "db")) },
	}
	tests := map[string]func(*testing.T, dbm.DB){
		"get and set": databaseGetSet,
		"bad keys":    databaseBadKeys,
		"iterate":     databaseIterate,
		"batch":       databaseBatch,
		"batch done":  databaseBatchDone,
	}
	for kind, open := range stores {
		for name, test := range tests {
			t.Run(kind+"/"+name, func(t *testing.T) {
				t.Parallel()
				store := open(t)
				for _, neighbour := range []string{"a/zzz", "b0", "c/"} {
					b := store.NewBatch()
					if err := b.Set([]byte(neighbour), []byte("foreign")); err != nil {
						t.Fatal(err)
					}
					if err := b.Commit(false); err != nil {
						t.Fatal(err)
					}
				}
				db, _ := comet.NewDatabase(kv.Prefixed(store, []byte("b/")))
				test(t, db)
			})
		}
	}
}

func databaseGetSet(t *testing.T, db dbm.DB) {
	t.Helper()
	check := func(key string, want []byte) {
		t.Helper()
		v, err := db.Get([]byte(key))
		if err != nil || !bytes.Equal(v, want) || (v == nil) != (want == nil) {
			t.Errorf("Get(%q) = %#v, %v, want %#v", key, v, err, want)
		}
		if has, err := db.Has([]byte(key)); err != nil || has != (want != nil) {
			t.Errorf("Has(%q) = %v, %v", key, has, err)
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check("a", nil)
	do(db.Set([]byte("a"), []byte{1}))
	check("a", []byte{1})
	do(db.SetSync([]byte("a"), []byte{2}))
	check("a", []byte{2})
	do(db.Set([]byte("empty"), []byte{}))
	check("empty", []byte{})
	key, value := []byte("mine"), []byte("value")
	do(db.Set(key, value))
	key[0], value[0] = 'x', 'x' // the caller's slices are copied
	check("mine", []byte("value"))
	do(db.Delete([]byte("a")))
	do(db.Delete([]byte("a"))) // once more: nothing to do
	do(db.DeleteSync([]byte("mine")))
	check("a", nil)
	check("mine", nil)
	do(db.Close()) // does nothing
	check("empty", []byte{})
}

func databaseBadKeys(t *testing.T, db dbm.DB) {
	t.Helper()
	for _, key := range [][]byte{nil, {}} {
		if _, err := db.Get(key); err == nil {
			t.Error("Get of an empty key")
		}
		if _, err := db.Has(key); err == nil {
			t.Error("Has of an empty key")
		}
		for name, err := range map[string]error{
			"Set": db.Set(key, []byte{1}), "SetSync": db.SetSync(key, []byte{1}),
			"Delete": db.Delete(key), "DeleteSync": db.DeleteSync(key),
		} {
			if err == nil {
				t.Errorf("%s of an empty key", name)
			}
		}
	}
	if db.Set([]byte("k"), nil) == nil || db.SetSync([]byte("k"), nil) == nil {
		t.Error("Set of a nil value")
	}
	for _, domain := range [][2][]byte{{{}, nil}, {nil, {}}} {
		if _, err := db.Iterator(domain[0], domain[1]); err == nil {
			t.Error("Iterator with an empty bound")
		}
		if _, err := db.ReverseIterator(domain[0], domain[1]); err == nil {
			t.Error("ReverseIterator with an empty bound")
		}
	}
}

func databaseIterate(t *testing.T, db dbm.DB) {
	t.Helper()
	for _, k := range []int{0, 1, 2, 3, 5, 6, 7, 9} {
		if err := db.Set([]byte{byte('0' + k)}, []byte{byte(k)}); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		start, end string
		want       string
	}{
		{"", "", "01235679"},
		{"2", "", "235679"},
		{"4", "", "5679"},
		{"", "6", "01235"},
		{"1", "7", "12356"},
		{"4", "5", ""},
		{"3", "3", ""},
		{"7", "2", ""},
		{"99", "", ""},
	}
	bound := func(s string) []byte {
		if s == "" {
			return nil
		}
		return []byte(s)
	}
	for _, tt := range tests {
		for _, reverse := range []bool{false, true} {
			open, want := db.Iterator, []byte(tt.want)
			if reverse {
				open = db.ReverseIterator
				slices.Reverse(want)
			}
			it, err := open(bound(tt.start), bound(tt.end))
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			for ; it.Valid(); it.Next() {
				if v := it.Value(); len(v) != 1 || v[0] != it.Key()[0]-'0' {
					t.Errorf("key %q has value %v", it.Key(), v)
				}
				got = append(got, it.Key()...)
			}
			if !bytes.Equal(got, want) || it.Error() != nil {
				t.Errorf("[%q, %q) reverse %v: %q, %v, want %q", tt.start, tt.end, reverse, got, it.Error(), want)
			}
			if start, end := it.Domain(); string(start) != tt.start || string(end) != tt.end {
				t.Errorf("Domain = %q, %q", start, end)
			}
			mustPanic(t, "Next at the end", it.Next)
			mustPanic(t, "Key at the end", func() { it.Key() })
			mustPanic(t, "Value at the end", func() { it.Value() })
			for range 2 {
				if err := it.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s did not panic", what)
		}
	}()
	f()
}

func databaseBatch(t *testing.T, db dbm.DB) {
	t.Helper()
	if err := db.Set([]byte("old"), []byte{1}); err != nil {
		t.Fatal(err)
	}
	b := db.NewBatch()
	for i := range 100 {
		if err := b.Set(fmt.Appendf(nil, "k%d", i), []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if b.Delete([]byte("old")) != nil || b.Delete([]byte("k1")) != nil || b.Set([]byte("k1"), []byte{7}) != nil {
		t.Fatal("writes to a batch")
	}
	if v, err := db.Get([]byte("k5")); err != nil || v != nil {
		t.Errorf("a batch is seen before Write: %v, %v", v, err)
	}
	if err := b.WriteSync(); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string][]byte{"k5": {5}, "k1": {7}, "old": nil} {
		if v, err := db.Get([]byte(key)); err != nil || !bytes.Equal(v, want) {
			t.Errorf("Get(%q) = %v, %v, want %v", key, v, err, want)
		}
	}
	dropped := db.NewBatch()
	if dropped.Set([]byte("dropped"), []byte{1}) != nil || dropped.Close() != nil {
		t.Fatal("close a batch")
	}
	if v, err := db.Get([]byte("dropped")); err != nil || v != nil {
		t.Errorf("a closed batch was written: %v, %v", v, err)
	}
}

func databaseBatchDone(t *testing.T, db dbm.DB) {
	t.Helper()
	written, closed := db.NewBatch(), db.NewBatch()
	if err := written.Write(); err != nil { // empty ones are fine
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for _, b := range []dbm.Batch{written, closed} {
		for name, err := range map[string]error{
			"Set": b.Set([]byte("k"), []byte{1}), "Delete": b.Delete([]byte("k")), "Write": b.Write(), "WriteSync": b.WriteSync(),
		} {
			if err == nil {
				t.Errorf("%s on a batch that is done", name)
			}
		}
		if err := b.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	b := db.NewBatch()
	if b.Set(nil, []byte{1}) == nil || b.Set([]byte("k"), nil) == nil || b.Delete(nil) == nil {
		t.Error("a batch took an empty key or a nil value")
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// After the chain has stopped, CometBFT's stragglers find nothing and write
// nothing, whatever became of the store.
func TestDatabaseDetached(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	db, detach := comet.NewDatabase(store)
	if err := db.Set([]byte("k"), []byte{1}); err != nil {
		t.Fatal(err)
	}
	late := db.NewBatch()
	if err := late.Set([]byte("k"), []byte{2}); err != nil {
		t.Fatal(err)
	}
	detach()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if v, err := db.Get([]byte("k")); v != nil || err != nil {
		t.Errorf("Get = %v, %v", v, err)
	}
	if err := late.Write(); err == nil || !strings.Contains(err.Error(), "detached") {
		t.Errorf("Write = %v", err)
	}
	if err := late.Close(); err != nil {
		t.Error(err)
	}
	if err := db.SetSync([]byte("k"), []byte{3}); err == nil {
		t.Error("SetSync was accepted")
	}
	it, err := db.Iterator(nil, nil)
	if err != nil || it.Valid() || it.Error() != nil || it.Close() != nil {
		t.Errorf("Iterator = %v, %v", it, err)
	}
}
