package statetree_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cosmos/iavl"
	iavldb "github.com/cosmos/iavl/db"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/ledger/statetree"
)

// tables of the tests: a wide one, a narrow one.
func tables() []chain.Table {
	return []chain.Table{{Prefix: 'C', RowSize: 40}, {Prefix: 'A', RowSize: 3}}
}

// model is the state as a map, with an application hash computed from nothing but
// the map: every page anew, and an IAVL tree in memory that gets the differences.
type model struct {
	state  map[string][]byte
	leaves map[string][]byte
	tree   *iavl.MutableTree
	root   ledger.Hash
	height uint64
}

func newModel() *model {
	return &model{
		state: map[string][]byte{}, leaves: map[string][]byte{}, root: stateproof.EmptyRoot(),
		tree: iavl.NewMutableTree(iavldb.NewMemDB(), 1000, true, iavl.NewNopLogger()),
	}
}

func rowSize(key string) int {
	for _, t := range tables() {
		if key[0] == t.Prefix {
			return t.RowSize
		}
	}
	return 0
}

// apply makes the next block and returns its application hash.
func (m *model) apply(t *testing.T, changes chain.Changes) ledger.Hash {
	t.Helper()
	for _, c := range changes {
		if c.Value == nil {
			delete(m.state, string(c.Key))
		} else {
			m.state[string(c.Key)] = bytes.Clone(c.Value)
		}
	}
	m.height++
	next := m.treeLeaves()
	all := maps.Clone(next)
	maps.Copy(all, m.leaves)
	changed := false
	for _, k := range slices.Sorted(maps.Keys(all)) {
		switch v, ok := next[k]; {
		case !ok:
			changed = true
			if _, removed, err := m.tree.Remove([]byte(k)); err != nil || !removed {
				t.Fatalf("Remove: %v", err)
			}
		case !bytes.Equal(v, m.leaves[k]):
			changed = true
			if _, err := m.tree.Set([]byte(k), v); err != nil {
				t.Fatalf("Set: %v", err)
			}
		}
	}
	m.leaves = next
	if changed {
		h, _, err := m.tree.SaveVersion()
		if err != nil {
			t.Fatalf("SaveVersion: %v", err)
		}
		m.root = ledger.Hash(h)
	}
	return m.root
}

// treeLeaves computes what the IAVL tree holds.
func (m *model) treeLeaves() map[string][]byte {
	out := map[string][]byte{}
	for k, v := range m.state {
		if rowSize(k) == 0 {
			h := sha256.Sum256(v)
			out[k] = h[:]
			continue
		}
		page := binary.BigEndian.Uint64([]byte(k[1:])) / 1024
		pk := string(binary.BigEndian.AppendUint64([]byte{0, k[0]}, page))
		if out[pk] == nil {
			h := m.subtree(k[0], page*1024, 1024)
			out[pk] = h[:]
		}
	}
	return out
}

// subtree hashes rows [first, first+n) the way the specification reads.
func (m *model) subtree(table byte, first, n uint64) [32]byte {
	if n == 1 {
		key := binary.BigEndian.AppendUint64([]byte{table}, first)
		row, ok := m.state[string(key)]
		if !ok {
			return sha256.Sum256([]byte{2})
		}
		return sha256.Sum256(slices.Concat([]byte{0}, key, row))
	}
	l, r := m.subtree(table, first, n/2), m.subtree(table, first+n/2, n/2)
	return sha256.Sum256(slices.Concat([]byte{1}, l[:], r[:]))
}

// checkFrom compares what v yields from a key in the middle on, and from behind it, with what
// it yields in all.
func (m *model) checkFrom(v chain.View, prefix string, all []string) error {
	if len(all) == 0 {
		return nil
	}
	if _, ok := v.(chain.Seeker); !ok {
		return fmt.Errorf("%T walks to where it begins", v)
	}
	at := len(all) / 2
	key, err := hex.DecodeString(strings.Split(all[at], "=")[0])
	if err != nil {
		return err
	}
	for i, from := range [][]byte{key, append(key, 0)} {
		var got []string
		for k, val := range chain.RangeFrom(v, []byte(prefix), from) {
			got = append(got, fmt.Sprintf("%x=%x", k, val))
		}
		if !slices.Equal(got, all[at+i:]) {
			return fmt.Errorf("height %d: RangeFrom(%x, %x) yields %d keys, want %d, or others", m.height, prefix, from, len(got), len(all)-at-i)
		}
	}
	return nil
}

// check compares what v reads with the model.
func (m *model) check(v chain.View, prefixes ...string) error {
	for _, prefix := range prefixes {
		var want []string
		for _, k := range slices.Sorted(maps.Keys(m.state)) {
			if len(k) >= len(prefix) && k[:len(prefix)] == prefix {
				want = append(want, fmt.Sprintf("%x=%x", k, m.state[k]))
			}
		}
		var got []string
		for k, val := range v.Range([]byte(prefix)) {
			got = append(got, fmt.Sprintf("%x=%x", k, val))
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("height %d: Range(%x) yields %d keys, want %d, or others", m.height, prefix, len(got), len(want))
		}
		if err := m.checkFrom(v, prefix, want); err != nil {
			return err
		}
	}
	for k, want := range m.state {
		if got := v.Get([]byte(k)); got == nil || !bytes.Equal(got, want) {
			return fmt.Errorf("height %d: Get(%x) = %x, want %x", m.height, k, got, want)
		}
	}
	for _, k := range [][]byte{nil, {}, {'C'}, []byte("nothing"), rowKey('C', 1<<40), rowKey('A', 77_777), append(rowKey('A', 1), 0)} {
		if _, ok := m.state[string(k)]; !ok && v.Get(k) != nil {
			return fmt.Errorf("height %d: Get(%x) is there", m.height, k)
		}
	}
	return nil
}

func rowKey(table byte, index uint64) []byte {
	return chain.Table{Prefix: table}.Key(index)
}

// randomChanges makes up to n changes of the kinds that happen: new rows at the
// end, rows here and there, whole registry runs, deletions, writes of what is
// there already.
func (m *model) randomChanges(r *rand.Rand, n int) chain.Changes {
	set := map[string][]byte{}
	present := slices.Sorted(maps.Keys(m.state))
	for range r.IntN(n + 1) {
		switch k := r.IntN(10); {
		case k < 3 && len(present) > 0: // delete
			set[present[r.IntN(len(present))]] = nil
		case k < 4 && len(present) > 0: // no change
			p := present[r.IntN(len(present))]
			set[p] = m.state[p]
		case k < 6:
			set[string(rowKey('C', uint64(r.IntN(3000))))] = random(r, 40)
		case k < 7:
			set[string(rowKey('A', []uint64{0, 1023, 1024, 1<<64 - 1, 1<<64 - 1024, 5_000_000}[r.IntN(6)]))] = random(r, 3)
		case k < 8:
			set[fmt.Sprintf("B%d", r.IntN(20))] = nil // often absent
		default:
			set[fmt.Sprintf("r%03d", r.IntN(200))] = random(r, r.IntN(30))
		}
	}
	changes := chain.Changes{}
	for _, k := range slices.Sorted(maps.Keys(set)) {
		changes = append(changes, chain.Change{Key: []byte(k), Value: set[k]})
	}
	return changes
}

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// source returns a seeded source and logs the seed. SEED in the environment
// repeats a run.
func source(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if v, ok := os.LookupEnv("SEED"); ok {
		var err error
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func options() statetree.Options {
	return statetree.Options{Tables: tables(), KeepVersions: 3}
}

// cramped returns options with which nearly nothing stays in memory.
func cramped() statetree.Options {
	o := options()
	o.PageCacheBytes, o.RegistryCacheBytes, o.NodeCache = 150_000, 1_000, 10
	return o
}
