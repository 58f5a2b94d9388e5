package sim

import (
	"iter"
	"slices"
	"strings"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// state is what a chain has committed: a chain.View in memory.
type state struct {
	rows map[string][]byte
	keys []string // of rows, ascending
}

func newState(c chain.Changes) *state {
	s := &state{rows: make(map[string][]byte, len(c))}
	s.apply(c)
	return s
}

// Get is that of chain.View.
func (s *state) Get(key []byte) []byte { return s.rows[string(key)] }

// Range is that of chain.View.
func (s *state) Range(prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		from, _ := slices.BinarySearch(s.keys, string(prefix))
		for _, k := range s.keys[from:] {
			if !strings.HasPrefix(k, string(prefix)) || !yield([]byte(k), s.rows[k]) {
				return
			}
		}
	}
}

func (s *state) apply(changes chain.Changes) {
	for _, c := range changes {
		key := string(c.Key)
		at, found := slices.BinarySearch(s.keys, key)
		switch {
		case c.Value == nil && found:
			s.keys = slices.Delete(s.keys, at, at+1)
			delete(s.rows, key)
		case c.Value != nil && !found:
			s.keys = slices.Insert(s.keys, at, key)
			s.rows[key] = c.Value
		case c.Value != nil:
			s.rows[key] = c.Value
		}
	}
}

// digestAfter returns the digest of a history that goes on with changes.
func digestAfter(before ledger.Hash, changes chain.Changes) ledger.Hash {
	size := 0
	for i := range changes {
		size += 9 + len(changes[i].Key) + len(changes[i].Value)
	}
	w := codec.NewWriter(size)
	for i := range changes {
		w.Bytes32(changes[i].Key)
		w.Bool(changes[i].Value == nil)
		w.Bytes32(changes[i].Value)
	}
	return ledger.HashOf("sim/state", before[:], w.Bytes())
}
