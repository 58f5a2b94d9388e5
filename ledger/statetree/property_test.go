package statetree_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/ledger/statetree"
)

// TestModel runs random blocks against the model: application hashes, reads and
// proofs, with blocks prepared in vain, restarts, pruning and nodes written ahead.
func TestModel(t *testing.T) {
	t.Parallel()
	inMemory := func(*testing.T) kv.Store { return memkv.New() }
	for _, c := range []struct {
		name    string
		options statetree.Options
		store   func(*testing.T) kv.Store
		rounds  int
	}{
		{"roomy", options(), inMemory, 3},
		{"cramped", cramped(), inMemory, 3},
		{"on disk", cramped(), onDisk, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, o := source(t), c.options
			for range c.rounds {
				s, m := c.store(t), newModel()
				tree := open(t, s, o)
				for h := uint64(1); h <= 60; h++ {
					if r.IntN(4) == 0 {
						if _, err := tree.Prepare(h, m.randomChanges(r, 30)); err != nil {
							t.Fatal(err)
						}
					}
					size := 3
					if r.IntN(10) == 0 {
						size = 300
					}
					c := m.randomChanges(r, size)
					got, err := tree.Prepare(h, c)
					if err != nil {
						t.Fatal(err)
					}
					if err := tree.Read(func(v chain.View) error { return m.check(v, "") }); err != nil {
						t.Fatalf("while block %d is prepared: %v", h, err)
					}
					if want := m.apply(t, c); got != want {
						t.Fatalf("block %d has hash %s, want %s", h, got, want)
					}
					if r.IntN(5) == 0 {
						if err := tree.WriteAhead(int64(r.IntN(2000))); err != nil {
							t.Fatal(err)
						}
					}
					if err := commit(s, tree); err != nil {
						t.Fatal(err)
					}
					if r.IntN(3) == 0 {
						if _, err := tree.Prune(r.IntN(4)); err != nil {
							t.Fatal(err)
						}
					}
					if r.IntN(8) == 0 {
						tree = open(t, s, o)
					}
					checkAll(t, tree, m)
				}
				for range 5 {
					prove(t, tree, m)
				}
			}
		})
	}
}

// onDisk returns a store that compacts all the time.
func onDisk(t *testing.T) kv.Store {
	t.Helper()
	o := badgerkv.Small(t.TempDir())
	o.MemTableSize, o.BaseTableSize = 1<<20, 1<<20
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

func checkAll(t *testing.T, tree *statetree.Tree, m *model) {
	t.Helper()
	if tree.Height() != m.height || tree.AppHash() != m.root {
		t.Fatalf("height %d, hash %s, want %d, %s", tree.Height(), tree.AppHash(), m.height, m.root)
	}
	prefixes := []string{"", "C", "A", "r1", "C\x00\x00\x00\x00\x00\x00\x04", "B", "\xff"}
	if err := tree.Read(func(v chain.View) error { return m.check(v, prefixes...) }); err != nil {
		t.Fatal(err)
	}
	snap, err := tree.OpenSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.check(snap, prefixes...), snap.Close()); err != nil {
		t.Fatalf("snapshot: %v", err)
	}
}

// prove checks proofs of keys that are there and of some that are not, and that a
// proof proves nothing else.
func prove(t *testing.T, tree *statetree.Tree, m *model) {
	t.Helper()
	schema := tree.Schema()
	keys := []string{"r", "s", "B5", string(rowKey('C', 7)), string(rowKey('C', 2999)), string(rowKey('C', 1<<50)), string(rowKey('A', 1<<64-1))}
	for k := range m.state {
		if keys = append(keys, k); len(keys) > 40 {
			break
		}
	}
	for _, k := range keys {
		st, err := tree.Prove([]byte(k))
		if err != nil {
			t.Fatalf("Prove(%x): %v", k, err)
		}
		if st.Height != m.height || st.Root != m.root || !bytes.Equal(st.Value, m.state[k]) {
			t.Fatalf("Prove(%x) says %x at height %d, want %x at %d", k, st.Value, st.Height, m.state[k], m.height)
		}
		enc, err := st.Proof.Encode()
		if err != nil {
			t.Fatal(err)
		}
		verify := func(root ledger.Hash, key, value []byte) error {
			p, err := stateproof.Decode(enc)
			if err != nil {
				return err
			}
			return schema.Verify(root, key, value, p)
		}
		if err := verify(m.root, st.Key, st.Value); err != nil {
			t.Fatalf("proof of %x: %v", k, err)
		}
		if st.Value != nil {
			path, err := st.Proof.Path()
			if err != nil {
				t.Fatalf("path of %x: %v", k, err)
			}
			if root, err := schema.Root(st.Key, st.Value, &path); err != nil || root != m.root {
				t.Fatalf("path of %x leads to %s, want %s: %v", k, root, m.root, err)
			}
		}
		other := bytes.Clone(st.Value)
		if len(other) > 0 {
			other[0] ^= 1
		} else {
			other = make([]byte, max(1, rowSize(k)))
		}
		next := []byte(k)
		next[len(next)-1]++
		for what, err := range map[string]error{
			"another root":       verify(ledger.Hash{1}, []byte(k), st.Value),
			"another value":      verify(m.root, []byte(k), other),
			"the opposite":       verify(m.root, []byte(k), opposite(k, st.Value)),
			"another key's fate": verify(m.root, next, oppositeOf(m, next)),
		} {
			if !errors.Is(err, stateproof.ErrInvalid) {
				t.Fatalf("proof of %x proves %s too: %v", k, what, err)
			}
		}
	}
}

// opposite returns a claim that contradicts value.
func opposite(key string, value []byte) []byte {
	if value != nil {
		return nil
	}
	return make([]byte, max(1, rowSize(key)))
}

func oppositeOf(m *model, key []byte) []byte { return opposite(string(key), m.state[string(key)]) }
