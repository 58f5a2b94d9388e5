package statetree

import (
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// pinned is a snapshot of the flat values, shared by the tree, as long as it is
// the last one, and Snapshots.
type pinned struct {
	kv.Snapshot

	nodes kv.Reader // of the IAVL tree, in the same snapshot
	refs  atomic.Int32
}

// pin takes a snapshot of the store.
func (t *Tree) pin() (*pinned, error) {
	s, err := t.store.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("take snapshot: %w", err)
	}
	p := &pinned{
		Snapshot: kv.PrefixedSnapshot(s, []byte{dataSpace}),
		nodes:    kv.PrefixedSnapshot(s, []byte{nodeSpace}),
	}
	p.refs.Store(1)
	return p, nil
}

func (p *pinned) release() error {
	if p.refs.Add(-1) > 0 {
		return nil
	}
	return p.Close()
}

// Snapshot is the state at one height for as long as it is open. It reads the
// store only and never delays a block. It is safe for concurrent use.
type Snapshot struct {
	snap   *pinned
	head   meta
	schema *stateproof.Schema
	empty  *[pageDepth + 1]ledger.Hash
	once   sync.Once
}

var _ chain.View = (*Snapshot)(nil)

// OpenSnapshot returns the state at the last applied height. It must be closed,
// for it keeps the store from dropping old data.
func (t *Tree) OpenSnapshot() (*Snapshot, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return nil, fmt.Errorf("open snapshot: %w", kv.ErrClosed)
	}
	t.snap.refs.Add(1)
	return &Snapshot{snap: t.snap, head: *t.head.Load(), schema: &t.schema, empty: t.empty}, nil
}

// Height returns the height of the state.
func (s *Snapshot) Height() uint64 { return s.head.height }

// AppHash returns the application hash at that height.
func (s *Snapshot) AppHash() ledger.Hash { return s.head.root }

// Get returns a copy of the value of key, or nil. It panics with *ReadError.
func (s *Snapshot) Get(key []byte) []byte {
	if len(key) == 0 {
		return nil
	}
	return must(s.snap.Get(key))
}

// Range yields copies of the keys with prefix and of their values, ascending. It
// panics with *ReadError.
func (s *Snapshot) Range(prefix []byte) iter.Seq2[[]byte, []byte] {
	return scan(s.snap, prefix, prefix)
}

// RangeFrom is that of chain.Seeker.
func (s *Snapshot) RangeFrom(prefix, from []byte) iter.Seq2[[]byte, []byte] {
	return scan(s.snap, prefix, from)
}

// Close frees the snapshot, which must not be used any more. It may be called
// twice.
func (s *Snapshot) Close() (err error) {
	s.once.Do(func() { err = s.snap.release() })
	return err
}
