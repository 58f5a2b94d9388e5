package sim

import (
	"bytes"
	"iter"
	"slices"
	"strings"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// State is what a chain has committed: a chain.View in memory.
type State struct {
	rows   map[string]*row
	sorted []*row // by key
}

type row struct {
	name       string // the key
	key, value []byte
}

// NewState returns the state with what c sets.
func NewState(c chain.Changes) *State {
	s := &State{rows: make(map[string]*row, len(c))}
	s.Apply(c)
	return s
}

// Get is that of chain.View.
func (s *State) Get(key []byte) []byte {
	if r := s.rows[string(key)]; r != nil {
		return r.value
	}
	return nil
}

// Range is that of chain.View.
func (s *State) Range(prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		for _, r := range s.sorted[s.find(string(prefix)):] {
			if !bytes.HasPrefix(r.key, prefix) || !yield(r.key, r.value) {
				return
			}
		}
	}
}

// find returns where a key is among the sorted ones, or would be.
func (s *State) find(name string) int {
	at, _ := slices.BinarySearchFunc(s.sorted, name, func(r *row, name string) int { return strings.Compare(r.name, name) })
	return at
}

// Apply makes changes.
func (s *State) Apply(changes chain.Changes) {
	for _, c := range changes {
		switch r := s.rows[string(c.Key)]; {
		case r == nil && c.Value != nil:
			r = &row{name: string(c.Key), key: c.Key, value: c.Value}
			s.rows[r.name] = r
			s.sorted = slices.Insert(s.sorted, s.find(r.name), r)
		case r != nil && c.Value != nil: // views yield rows that must not change under them
			next := &row{r.name, r.key, c.Value}
			s.rows[r.name], s.sorted[s.find(r.name)] = next, next
		case r != nil:
			at := s.find(r.name)
			s.sorted = slices.Delete(s.sorted, at, at+1)
			delete(s.rows, r.name)
		}
	}
}

// digestAfter returns the digest of a history that goes on with changes, if there are any.
func digestAfter(before ledger.Hash, changes chain.Changes) ledger.Hash {
	if len(changes) == 0 {
		return before
	}
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
