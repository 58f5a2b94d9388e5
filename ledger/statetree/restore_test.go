package statetree_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/kvtest"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/statetree"
)

// export returns the records of the tree's state.
func export(t *testing.T, tree *statetree.Tree) ([][]byte, statetree.Summary) {
	t.Helper()
	snap, err := tree.OpenSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := snap.Close(); err != nil {
			t.Error(err)
		}
	}()
	var records [][]byte
	sum, err := snap.Export(t.Context(), func(r []byte) error {
		records = append(records, bytes.Clone(r))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return records, sum
}

// restore makes the state of records in an empty tree.
func restore(tree *statetree.Tree, records [][]byte, sum statetree.Summary) error {
	r, err := tree.Restore(sum)
	if err != nil {
		return err
	}
	for _, rec := range records {
		if err := r.Add(rec); err != nil {
			return errors.Join(err, r.Abort())
		}
	}
	return r.Finish()
}

// dump returns what a store holds under one of the tree's spaces.
func dump(t *testing.T, s kv.Store, space string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	if err := kv.Scan(s, []byte(space), func(k, v []byte) error {
		all[string(k)] = string(v)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestRestoreEqualsReplay restores the state of random chains and lets both live
// on: rows, values, hashes, proofs and exports stay the same byte for byte.
func TestRestoreEqualsReplay(t *testing.T) {
	t.Parallel()
	r := source(t)
	for round := range 12 {
		var from, to kv.Store = memkv.New(), memkv.New()
		if round%4 == 0 {
			from, to = onDisk(t), onDisk(t)
		}
		replayed, restored := open(t, from, options()), open(t, to, cramped())
		m := newModel()
		height := uint64(0)
		live := func(blocks int, trees ...*statetree.Tree) {
			for range blocks {
				height++
				changes := m.randomChanges(r, 100)
				want := m.apply(t, changes)
				for _, tree := range trees {
					store := from
					if tree == restored {
						store = to
					}
					if got := block(t, store, tree, height, changes); got != want {
						t.Fatalf("round %d: application hash after block %d is %s, want %s", round, height, got, want)
					}
					if height%5 == 0 {
						if _, err := tree.Prune(10); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}
		for live(1+r.IntN(40), replayed); replayed.Stats().Version == 0; {
			live(1, replayed)
		}
		records, sum := export(t, replayed)
		if err := restore(restored, records, sum); err != nil {
			t.Fatal(err)
		}
		if restored.Height() != height || restored.AppHash() != replayed.AppHash() {
			t.Fatalf("restored height %d, %s", restored.Height(), restored.AppHash())
		}
		same(t, from, to, replayed, restored)
		live(30, replayed, restored)
		same(t, from, to, replayed, restored)
		checkAll(t, restored, m)
		prove(t, restored, m)
		if err := restored.Close(); err != nil {
			t.Fatal(err)
		}
		restored = open(t, to, options())
		live(10, replayed, restored)
		same(t, from, to, replayed, restored)
	}
}

func same(t *testing.T, from, to kv.Store, replayed, restored *statetree.Tree) {
	t.Helper()
	for _, space := range []string{"d", "m"} {
		if diff := cmp.Diff(dump(t, from, space), dump(t, to, space)); diff != "" {
			t.Fatalf("space %q (-replayed +restored):\n%s", space, diff)
		}
	}
	a, aSum := export(t, replayed)
	b, bSum := export(t, restored)
	if aSum != bSum || !bytes.Equal(bytes.Join(a, nil), bytes.Join(b, nil)) {
		t.Fatalf("the exports differ: %+v, %+v", aSum, bSum)
	}
}

// someState returns an exported state of rows in several pages and of values.
func someState(t *testing.T) ([][]byte, statetree.Summary) {
	t.Helper()
	store := memkv.New()
	tree := open(t, store, options())
	m, r := newModel(), source(t)
	for h := uint64(1); h <= 20; h++ {
		c := m.randomChanges(r, 100)
		m.apply(t, c)
		block(t, store, tree, h, c)
	}
	records, sum := export(t, tree)
	if len(records) < 20 {
		t.Fatalf("only %d records", len(records))
	}
	return records, sum
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	records, sum := someState(t)
	clone := func() [][]byte {
		out := make([][]byte, len(records))
		for i := range records {
			out[i] = bytes.Clone(records[i])
		}
		return out
	}
	inner := 0
	for records[inner][0] != 0 {
		inner++
	}
	tests := map[string]func() ([][]byte, statetree.Summary){
		"nothing":               func() ([][]byte, statetree.Summary) { return nil, sum },
		"the last record lacks": func() ([][]byte, statetree.Summary) { return records[:len(records)-1], sum },
		"the first lacks":       func() ([][]byte, statetree.Summary) { return records[1:], sum },
		"one twice": func() ([][]byte, statetree.Summary) {
			return append(append(clone()[:3], records[2]), records[3:]...), sum
		},
		"all twice":   func() ([][]byte, statetree.Summary) { return append(clone(), records...), sum },
		"two swapped": func() ([][]byte, statetree.Summary) { c := clone(); c[0], c[1] = c[1], c[0]; return c, sum },
		"cut in a record": func() ([][]byte, statetree.Summary) {
			c := clone()
			c[0] = c[0][:len(c[0])-1]
			return c, sum
		},
		"a bit of a value":      func() ([][]byte, statetree.Summary) { c := clone(); c[0][len(c[0])-1] ^= 1; return c, sum },
		"an unknown kind":       func() ([][]byte, statetree.Summary) { c := clone(); c[0][0] = 9; return c, sum },
		"another version":       func() ([][]byte, statetree.Summary) { c := clone(); c[inner][1]++; return c, sum },
		"another height":        func() ([][]byte, statetree.Summary) { c := clone(); c[inner][len(c[inner])-1]++; return c, sum },
		"a height beyond int8":  func() ([][]byte, statetree.Summary) { c := clone(); c[inner][len(c[inner])-1] = 0xff; return c, sum },
		"another application":   func() ([][]byte, statetree.Summary) { s := sum; s.AppHash = ledger.Hash{1}; return records, s },
		"another tree version":  func() ([][]byte, statetree.Summary) { s := sum; s.Version++; return records, s },
		"fewer leaves":          func() ([][]byte, statetree.Summary) { s := sum; s.Leaves--; return records, s },
		"more leaves":           func() ([][]byte, statetree.Summary) { s := sum; s.Leaves++; return records, s },
		"fewer rows":            func() ([][]byte, statetree.Summary) { s := sum; s.Rows--; return records, s },
		"more rows":             func() ([][]byte, statetree.Summary) { s := sum; s.Rows++; return records, s },
		"no version":            func() ([][]byte, statetree.Summary) { s := sum; s.Version = 0; return records, s },
		"version of the future": func() ([][]byte, statetree.Summary) { s := sum; s.Version = 1 << 40; return records, s },
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := memkv.New()
			tree := open(t, store, options())
			hostile, want := test()
			if err := restore(tree, hostile, want); !errors.Is(err, statetree.ErrRestore) {
				t.Errorf("Restore: %v", err)
			}
			if n := store.Len(); n != 0 || !tree.Empty() {
				t.Errorf("%d keys are left, empty: %v", n, tree.Empty())
			}
			// The honest one still goes in.
			if err := restore(tree, records, sum); err != nil {
				t.Errorf("an honest restore after it: %v", err)
			}
		})
	}
}

// TestRestoreCrashes ends the process at every write of a restore, before it takes
// effect or after, and opens the tree again: it is empty, or whole after the last.
func TestRestoreCrashes(t *testing.T) {
	t.Parallel()
	records, sum := someState(t)
	for n, done := 1, false; !done; n++ {
		for _, after := range []bool{false, true} {
			inner := memkv.New()
			faulty := kvtest.NewFaulty(inner)
			tree := open(t, faulty, options())
			block(t, faulty, tree, 0, changes("genesis", "1"))
			faulty.FailCommit(n, after)
			err := restore(tree, records, sum)
			if done = err == nil; done {
				break
			}
			again := open(t, inner.Clone(), options())
			if after && again.AppHash() == sum.AppHash && again.Height() == sum.Height {
				continue // it was the last write
			}
			if !again.Empty() && (n > 1 || after) {
				t.Fatalf("the tree is at height %d after %d writes", again.Height(), n)
			}
			if err := restore(again, records, sum); err != nil {
				t.Fatalf("restore after a crash at write %d: %v", n, err)
			}
		}
	}
}

func TestRestoreOverAState(t *testing.T) {
	t.Parallel()
	records, sum := someState(t)
	store := memkv.New()
	tree := open(t, store, options())
	block(t, store, tree, 0, changes("a", "1"))
	block(t, store, tree, 1, changes("b", "1"))
	if err := restore(tree, records, sum); !errors.Is(err, statetree.ErrNotEmpty) {
		t.Errorf("Restore: %v", err)
	}
	if block(t, store, tree, 2, changes("c", "1")); tree.Height() != 2 {
		t.Error("the tree takes no blocks")
	}
	// That of the genesis gives way, and can be made again.
	store = memkv.New()
	tree = open(t, store, options())
	root := block(t, store, tree, 0, changes("a", "1"))
	r, err := tree.Restore(sum)
	if err != nil || !tree.Empty() {
		t.Fatal(err)
	}
	if err := r.Abort(); err != nil || store.Len() != 0 {
		t.Fatal(err, store.Len())
	}
	if block(t, store, tree, 0, changes("a", "1")) != root {
		t.Error("the genesis gives another hash")
	}
	if err := restore(tree, records, sum); err != nil || tree.AppHash() != sum.AppHash {
		t.Errorf("Restore over the genesis: %v", err)
	}
}

func TestBlocksWaitForARestore(t *testing.T) {
	t.Parallel()
	records, sum := someState(t)
	tree := open(t, memkv.New(), options())
	r, err := tree.Restore(sum)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Prepare(1, chain.Changes{}); err == nil {
		t.Error("a block was prepared during a restore")
	}
	if _, err := tree.Restore(sum); err == nil {
		t.Error("two restores at a time")
	}
	if err := r.Add(bytes.Join(records, nil)); err != nil {
		t.Fatal(err)
	}
	if err := r.Abort(); err != nil {
		t.Fatal(err)
	}
	if err := r.Add(records[0]); err == nil {
		t.Error("a record was added after Abort")
	}
	if _, err := tree.Prepare(1, chain.Changes{}); err != nil {
		t.Errorf("a block after Abort: %v", err)
	}
}

func TestExportStops(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	tree := open(t, store, options())
	snap, err := tree.OpenSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := snap.Export(t.Context(), func([]byte) error { return nil }); err == nil {
		t.Error("an empty state was exported")
	}
	if err := snap.Close(); err != nil {
		t.Fatal(err)
	}
	block(t, store, tree, 1, changes("a", "1", "b", "2"))
	if snap, err = tree.OpenSnapshot(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := snap.Close(); err != nil {
			t.Error(err)
		}
	}()
	boom := errors.New("boom")
	if _, err := snap.Export(t.Context(), func([]byte) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("a failing emit: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := snap.Export(ctx, func([]byte) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
	// A store that lost a node or a value exports nothing that looks whole.
	for i := range 4 {
		damaged := store.Clone()
		if err := snap.Close(); err != nil {
			t.Fatal(err)
		}
		other := open(t, damaged, options())
		b, n := damaged.NewBatch(), 0
		for _, space := range []string{"t", "d"} {
			for k := range dump(t, damaged, space) {
				if n++; n == i+1 {
					if err := b.Delete([]byte(k)); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		if err := b.Commit(false); err != nil {
			t.Fatal(err)
		}
		// The snapshot of the head is older than the damage; make a new one.
		block(t, damaged, other, 2, chain.Changes{})
		hurt, err := other.OpenSnapshot()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := hurt.Export(t.Context(), func([]byte) error { return nil }); err == nil {
			t.Errorf("key %d of %d was deleted and the export does not say so", i, n)
		}
		if err := hurt.Close(); err != nil {
			t.Error(err)
		}
	}
}

func FuzzRestore(f *testing.F) {
	f.Add([]byte{1, 1, 1, 'a', 1, 'b'})
	f.Add(append([]byte{2, 1, 'A'}, make([]byte, 8+128)...))
	f.Add([]byte{0, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		store := memkv.New()
		tree, err := statetree.Open(store, options())
		if err != nil {
			t.Fatal(err)
		}
		r, err := tree.Restore(statetree.Summary{Height: 9, Version: 3, Leaves: 2, Rows: 5})
		if err != nil {
			t.Fatal(err)
		}
		before := store.Len()
		if err := r.Add(b); err != nil {
			if !errors.Is(err, statetree.ErrRestore) || store.Len() != before {
				t.Errorf("Add: %v, %d keys", err, store.Len())
			}
		}
		if err := r.Finish(); !errors.Is(err, statetree.ErrRestore) {
			t.Errorf("Finish: %v", err)
		}
		if store.Len() != 0 {
			t.Error(fmt.Sprint(store.Len(), " keys are left"))
		}
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	})
}
