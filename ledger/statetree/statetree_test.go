package statetree_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/ledger/statetree"
)

func open(t *testing.T, s kv.Store, o statetree.Options) *statetree.Tree {
	t.Helper()
	tree, err := statetree.Open(s, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return tree
}

// commit makes a prepared block durable and visible.
func commit(s kv.Store, tree *statetree.Tree) error {
	b := s.NewBatch()
	defer b.Discard()
	if err := tree.WriteTo(b); err != nil {
		return err
	}
	if err := b.Commit(true); err != nil {
		return err
	}
	return tree.Apply()
}

// block prepares and commits one block.
func block(t *testing.T, s kv.Store, tree *statetree.Tree, height uint64, changes chain.Changes) ledger.Hash {
	t.Helper()
	root, err := tree.Prepare(height, changes)
	if err != nil {
		t.Fatalf("Prepare: %v", err)
	}
	if err := commit(s, tree); err != nil {
		t.Fatalf("commit of block %d: %v", height, err)
	}
	return root
}

func changes(pairs ...string) chain.Changes {
	var c chain.Changes
	for i := 0; i < len(pairs); i += 2 {
		ch := chain.Change{Key: []byte(pairs[i])}
		if pairs[i+1] != "-" {
			ch.Value = []byte(pairs[i+1])
		}
		c = append(c, ch)
	}
	return c
}

func TestUnchangedStateKeepsItsHash(t *testing.T) {
	t.Parallel()
	s := memkv.New()
	tree := open(t, s, options())
	if tree.AppHash() != stateproof.EmptyRoot() || !tree.Empty() {
		t.Errorf("a new state has hash %s", tree.AppHash())
	}
	if got := block(t, s, tree, 1, nil); got != stateproof.EmptyRoot() {
		t.Errorf("an empty first block gives hash %s", got)
	}
	c := chain.Changes{{Key: rowKey('A', 5), Value: []byte("abc")}, {Key: []byte("k"), Value: []byte{}}}
	root := block(t, s, tree, 2, c)
	keys := s.Len()
	for h, c := range []chain.Changes{
		nil, c, {{Key: rowKey('A', 6)}, {Key: rowKey('C', 6)}, {Key: []byte("absent")}}, {},
	} {
		if got := block(t, s, tree, uint64(3+h), c); got != root {
			t.Errorf("block %d has hash %s, want %s", 3+h, got, root)
		}
	}
	if got := s.Len(); got != keys {
		t.Errorf("blocks that change nothing leave %d keys, want %d", got, keys)
	}
	tree = open(t, s, options())
	if tree.Height() != 6 || tree.AppHash() != root {
		t.Errorf("opened again at height %d with hash %s, want 6 and %s", tree.Height(), tree.AppHash(), root)
	}
	// Emptied again, the state has no history in its hash.
	if got := block(t, s, tree, 7, chain.Changes{{Key: rowKey('A', 5)}, {Key: []byte("k")}}); got != stateproof.EmptyRoot() {
		t.Errorf("an emptied state has hash %s", got)
	}
	st, err := tree.Prove([]byte("k"))
	if err != nil || st.Value != nil {
		t.Fatalf("Prove = %v, %v", st, err)
	}
	schema := tree.Schema()
	if err := schema.VerifyStatement(st); err != nil {
		t.Errorf("proof from an empty state: %v", err)
	}
}

func TestRefusedChanges(t *testing.T) {
	t.Parallel()
	s := memkv.New()
	tree := open(t, s, options())
	block(t, s, tree, 1, changes("k", "v"))
	for name, c := range map[string]chain.Changes{
		"not ascending":   changes("b", "1", "a", "1"),
		"twice":           changes("b", "1", "b", "2"),
		"empty key":       changes("", "1"),
		"reserved key":    changes("\x00x", "1"),
		"long key":        changes(strings.Repeat("k", stateproof.MaxKeySize+1), "1"),
		"short row key":   changes("C123", "1"),
		"row of any size": {{Key: rowKey('C', 1), Value: []byte("short")}},
		"empty row":       {{Key: rowKey('C', 1), Value: []byte{}}},
	} {
		if _, err := tree.Prepare(2, c); err == nil {
			t.Errorf("%s: Prepare succeeds", name)
		}
	}
	for _, h := range []uint64{0, 1, 3} {
		if _, err := tree.Prepare(h, nil); err == nil {
			t.Errorf("Prepare(%d) at height 1 succeeds", h)
		}
	}
	if err := tree.WriteTo(s.NewBatch()); !errors.Is(err, statetree.ErrNotPrepared) {
		t.Errorf("WriteTo: %v, want %v", err, statetree.ErrNotPrepared)
	}
	if err := tree.Apply(); !errors.Is(err, statetree.ErrNotPrepared) {
		t.Errorf("Apply: %v, want %v", err, statetree.ErrNotPrepared)
	}
	block(t, s, tree, 2, changes("k", "w"))
}

// TestWrittenIsFinal has the block in a batch that is never committed.
func TestWrittenIsFinal(t *testing.T) {
	t.Parallel()
	s := memkv.New()
	tree := open(t, s, options())
	root := block(t, s, tree, 1, changes("k", "v"))
	if _, err := tree.Prepare(2, changes("k", "w")); err != nil {
		t.Fatal(err)
	}
	if err := tree.WriteTo(s.NewBatch()); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Prepare(2, nil); err == nil {
		t.Error("Prepare succeeds while a block is being committed")
	}
	tree = open(t, s, options())
	if tree.Height() != 1 || tree.AppHash() != root {
		t.Errorf("opened again at height %d with hash %s", tree.Height(), tree.AppHash())
	}
	block(t, s, tree, 2, changes("k", "x"))
}

// TestLeftovers opens stores in which nodes were written ahead of a block that
// was never committed.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	r := source(t)
	s, m := memkv.New(), newModel()
	for h := uint64(1); h <= 6; h++ {
		tree := open(t, s, options())
		if _, err := tree.Prepare(h, m.randomChanges(r, 100)); err != nil {
			t.Fatal(err)
		}
		before := s.Clone()
		if err := tree.WriteAhead(0); err != nil {
			t.Fatal(err)
		}
		tree = open(t, s, options())
		if s.Len() != before.Len() {
			t.Errorf("%d keys after cleaning up, want %d", s.Len(), before.Len())
		}
		c := m.randomChanges(r, 100)
		if got, want := block(t, s, tree, h, c), m.apply(t, c); got != want {
			t.Fatalf("block %d has hash %s, want %s", h, got, want)
		}
		checkAll(t, tree, m)
	}
}

func TestOtherTables(t *testing.T) {
	t.Parallel()
	s := memkv.New()
	block(t, s, open(t, s, options()), 1, changes("k", "v"))
	for name, tables := range map[string][]chain.Table{
		"one less":        {{Prefix: 'C', RowSize: 40}},
		"another size":    {{Prefix: 'C', RowSize: 41}, {Prefix: 'A', RowSize: 3}},
		"reserved prefix": {{Prefix: 0, RowSize: 40}},
		"same prefix":     {{Prefix: 'C', RowSize: 40}, {Prefix: 'C', RowSize: 40}},
		"no rows":         {{Prefix: 'C'}},
	} {
		if _, err := statetree.Open(s, statetree.Options{Tables: tables}); err == nil {
			t.Errorf("%s: Open succeeds", name)
		}
	}
	if _, err := statetree.Open(s, statetree.Options{Tables: []chain.Table{tables()[1], tables()[0]}}); err != nil {
		t.Errorf("tables in another order: %v", err)
	}
}

// TestDamage changes single values behind the tree's back.
func TestDamage(t *testing.T) {
	t.Parallel()
	build := func(t *testing.T) *memkv.Store {
		t.Helper()
		s := memkv.New()
		tree := open(t, s, options())
		block(t, s, tree, 1, chain.Changes{{Key: rowKey('A', 1), Value: []byte("abc")}, {Key: []byte("k"), Value: []byte("v")}})
		return s
	}
	row := append([]byte{'d'}, rowKey('A', 1)...)
	for name, c := range map[string]struct {
		key   []byte
		value []byte // nil: delete
		opens bool
	}{
		"row changed":    {row, []byte("abd"), true},
		"row missing":    {row, nil, true},
		"row too long":   {row, []byte("abcd"), true},
		"record missing": {[]byte{'m'}, nil, false},
		"record changed": {[]byte{'m'}, bytes.Repeat([]byte{1}, 59), false},
		"record cut":     {[]byte{'m'}, []byte{1}, false},
		"root missing":   {binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64([]byte("ts"), 1), 1), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := build(t)
			b := s.NewBatch()
			var err error
			if c.value == nil {
				err = b.Delete(c.key)
			} else {
				err = b.Set(c.key, c.value)
			}
			if err := errors.Join(err, b.Commit(true)); err != nil {
				t.Fatal(err)
			}
			tree, err := statetree.Open(s, options())
			if (err == nil) != c.opens {
				t.Fatalf("Open: %v, want success: %v", err, c.opens)
			}
			if err != nil {
				return
			}
			if _, err := tree.Prepare(2, chain.Changes{{Key: rowKey('A', 2), Value: []byte("xyz")}}); err == nil {
				t.Error("Prepare computes a hash over the damage")
			}
			if _, err := tree.Prove(rowKey('A', 2)); err == nil {
				t.Error("Prove proves over the damage")
			}
		})
	}
}

// TestReadersSeeOneHeight has readers compare rows and registry keys that every
// block sets to its height, while blocks go by.
func TestReadersSeeOneHeight(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]statetree.Options{"roomy": options(), "cramped": cramped()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := memkv.New()
			tree := open(t, s, o)
			keys := [][]byte{rowKey('C', 0), rowKey('C', 1500), rowKey('C', 1<<30), []byte("k1"), []byte("k2")}
			at := func(h uint64) chain.Changes {
				var c chain.Changes
				for _, k := range keys {
					c = append(c, chain.Change{Key: k, Value: fmt.Appendf(nil, "%040d", h)})
				}
				return c
			}
			block(t, s, tree, 1, at(1))
			stop := make(chan struct{})
			var wg sync.WaitGroup
			check := func(v chain.View, h uint64) error {
				want := fmt.Sprintf("%040d", h)
				for _, k := range keys {
					if got := v.Get(k); string(got) != want {
						return fmt.Errorf("%x is %s at height %d", k, got, h)
					}
				}
				n := 0
				for k, got := range v.Range([]byte("C")) {
					if n++; string(got) != want {
						return fmt.Errorf("range: %x is %s at height %d", k, got, h)
					}
				}
				if n != 3 {
					return fmt.Errorf("%d rows at height %d", n, h)
				}
				return nil
			}
			for i := range 3 {
				wg.Go(func() {
					schema := tree.Schema()
					for {
						select {
						case <-stop:
							return
						default:
						}
						var err error
						switch i {
						case 0:
							err = tree.Read(func(v chain.View) error { return check(v, tree.Height()) })
						case 1:
							var snap *statetree.Snapshot
							if snap, err = tree.OpenSnapshot(); err == nil {
								err = errors.Join(check(snap, snap.Height()), snap.Close())
							}
						default:
							var st *stateproof.Statement
							if st, err = tree.Prove(keys[1]); err == nil {
								err = schema.VerifyStatement(st)
							}
						}
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			for h := uint64(2); h <= 150; h++ {
				block(t, s, tree, h, at(h))
				if _, err := tree.Prune(2); err != nil {
					t.Error(err)
				}
			}
			close(stop)
			wg.Wait()
		})
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	s := memkv.New()
	tree := open(t, s, options())
	block(t, s, tree, 1, changes("k", "v"))
	snap, err := tree.OpenSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tree.Close(), tree.Close()); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if got := snap.Get([]byte("k")); string(got) != "v" {
		t.Errorf("a snapshot reads %q after Close, want v", got)
	}
	if err := errors.Join(snap.Close(), snap.Close()); err != nil {
		t.Errorf("Close of a snapshot: %v", err)
	}
	_, errSnap := tree.OpenSnapshot()
	_, errProve := tree.Prove([]byte("k"))
	_, errPrepare := tree.Prepare(2, nil)
	_, errPrune := tree.Prune(1)
	for name, err := range map[string]error{
		"Read": tree.Read(func(chain.View) error { return nil }), "OpenSnapshot": errSnap,
		"Prove": errProve, "Prepare": errPrepare, "Prune": errPrune,
	} {
		if !errors.Is(err, kv.ErrClosed) {
			t.Errorf("%s: %v, want %v", name, err, kv.ErrClosed)
		}
	}
	tree = open(t, s, options())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	err = tree.Read(func(v chain.View) error { v.Get([]byte("k")); return nil })
	var read *statetree.ReadError
	if !errors.As(err, &read) || !errors.Is(err, kv.ErrClosed) {
		t.Errorf("Read of a closed store: %v, want a ReadError of %v", err, kv.ErrClosed)
	}
}

// TestEmptyValue has a block whose only value is empty, which is not a deletion.
func TestEmptyValue(t *testing.T) {
	t.Parallel()
	s := memkv.New()
	tree := open(t, s, options())
	root := block(t, s, tree, 1, changes("k", ""))
	if root == stateproof.EmptyRoot() {
		t.Error("a key with an empty value is not in the hash")
	}
	if err := tree.Read(func(v chain.View) error {
		if got := v.Get([]byte("k")); got == nil || len(got) != 0 {
			t.Errorf("Get = %#v, want an empty value", got)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// TestPruneRootThatLivesOn prunes a version whose root is a part of later ones.
// IAVL takes the version for the oldest when it is opened again.
func TestPruneRootThatLivesOn(t *testing.T) {
	t.Parallel()
	s := memkv.New()
	o := options()
	o.KeepVersions = 1
	tree := open(t, s, o)
	block(t, s, tree, 1, changes("m", "1"))
	for h := uint64(2); h <= 12; h++ {
		block(t, s, tree, h, changes(fmt.Sprintf("a%d", h), "1"))
		if _, err := tree.Prune(1); err != nil {
			t.Fatalf("Prune at %d: %v", h, err)
		}
		tree = open(t, s, o)
	}
	if st := tree.Stats(); st.Oldest != 12 || st.Version != 12 {
		t.Errorf("%+v, want version 12 only", st)
	}
}

// TestPrune follows the versions kept while blocks change one key or nothing.
func TestPrune(t *testing.T) {
	t.Parallel()
	s := memkv.New()
	o := options()
	tree := open(t, s, o)
	for h := uint64(1); h <= 50; h++ {
		var c chain.Changes
		if h%3 != 0 {
			c = changes("k", fmt.Sprint(h), fmt.Sprintf("l%d", h%7), fmt.Sprint(h))
		}
		block(t, s, tree, h, c)
	}
	if st := tree.Stats(); st.Version != 34 || st.Oldest != 1 || tree.Prunable() != 31 {
		t.Errorf("before: %+v, %d prunable", st, tree.Prunable())
	}
	more, err := tree.Prune(10)
	if err != nil || !more {
		t.Errorf("Prune = %v, %v, want more", more, err)
	}
	tree = open(t, s, o)
	if st := tree.Stats(); st.Oldest != 11 {
		t.Errorf("after pruning 10 and opening again: %+v", st)
	}
	keys := s.Len()
	if more, err = tree.Prune(1000); err != nil || more {
		t.Errorf("Prune = %v, %v, want no more", more, err)
	}
	if st := tree.Stats(); st.Oldest != 32 || tree.Prunable() != 0 || s.Len() >= keys {
		t.Errorf("after: %+v, %d prunable, %d keys of %d", st, tree.Prunable(), s.Len(), keys)
	}
	root := block(t, s, tree, 51, changes("k", "end"))
	tree = open(t, s, o)
	if tree.AppHash() != root || tree.Stats().Version != 35 {
		t.Errorf("opened again: %+v", tree.Stats())
	}
}
