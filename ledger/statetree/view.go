package statetree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// ReadError is what a View panics with when the store cannot be read: chain.View
// has no errors, because a replica that cannot read its state must stop.
type ReadError struct{ Err error }

// Error says what failed.
func (e *ReadError) Error() string { return fmt.Sprintf("read state: %v", e.Err) }

// Unwrap returns the error of the store.
func (e *ReadError) Unwrap() error { return e.Err }

// Read calls fn with the state at the last applied height, which does not change
// during the call. The view is safe for use by several goroutines, but nothing it
// handed out may be used after fn has returned: rows lie in memory that the next
// block writes to. fn must be short, since Apply waits for it, and must not call Read,
// Prove or Stats, which may wait for Apply. Errors of the store become the result.
func (t *Tree) Read(fn func(chain.View) error) (err error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return fmt.Errorf("read state: %w", kv.ErrClosed)
	}
	defer recoverRead(&err)
	return fn(&view{t: t})
}

// recoverRead turns the panic of a view into an error.
func recoverRead(err *error) {
	switch r := recover().(type) {
	case nil:
	case *ReadError:
		*err = r
	default:
		panic(r)
	}
}

// view reads memory first, then the snapshot. It lives within Read.
type view struct{ t *Tree }

var _ chain.View = (*view)(nil)

func (v *view) Get(key []byte) []byte {
	if len(key) == 0 {
		return nil
	}
	t := v.t
	if t.schema.RowSize(key[0]) == 0 {
		return must(t.values.get(t.snap, key))
	}
	if len(key) != chain.RowKeySize {
		return nil
	}
	index := binary.BigEndian.Uint64(key[1:])
	if row, ok := t.pages.row(newPageID(key[0], index/pageRows), int(index%pageRows)); ok {
		return row
	}
	return must(t.snap.Get(key))
}

func must(value []byte, err error) []byte {
	if errors.Is(err, kv.ErrBadKey) {
		return nil
	}
	if err != nil {
		panic(&ReadError{Err: err})
	}
	return value
}

func (v *view) Range(prefix []byte) iter.Seq2[[]byte, []byte] { return scan(v.t.snap, prefix) }

// scanChunk is the unit in bytes in which scan takes memory for what it yields.
const scanChunk = 32 << 10

// scan yields copies of the keys with prefix and of their values.
func scan(r kv.Reader, prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		it := r.Iterate(prefix, kv.PrefixEnd(prefix), false)
		defer func() {
			if err := it.Close(); err != nil {
				panic(&ReadError{Err: err})
			}
		}()
		var chunk []byte
		clone := func(b []byte) []byte {
			if len(chunk) < len(b) {
				chunk = make([]byte, max(scanChunk, len(b)))
			}
			out := chunk[:len(b):len(b)]
			chunk = chunk[copy(out, b):]
			return out
		}
		for it.Next() {
			if !yield(clone(it.Key()), clone(it.Value())) {
				return
			}
		}
	}
}

// pinned is a snapshot of the flat values, shared by the tree, as long as it is
// the last one, and Snapshots.
type pinned struct {
	kv.Snapshot

	refs atomic.Int32
}

// pin takes a snapshot of the store.
func (t *Tree) pin() (*pinned, error) {
	s, err := t.store.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("take snapshot: %w", err)
	}
	p := &pinned{Snapshot: kv.PrefixedSnapshot(s, []byte{dataSpace})}
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
	snap *pinned
	head meta
	once sync.Once
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
	return &Snapshot{snap: t.snap, head: *t.head.Load()}, nil
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
func (s *Snapshot) Range(prefix []byte) iter.Seq2[[]byte, []byte] { return scan(s.snap, prefix) }

// Close frees the snapshot, which must not be used any more. It may be called
// twice.
func (s *Snapshot) Close() (err error) {
	s.once.Do(func() { err = s.snap.release() })
	return err
}

// Prove returns what the state at the last applied height holds under key, with
// its proof.
func (t *Tree) Prove(key []byte) (*stateproof.Statement, error) {
	t.writeMu.Lock()
	defer t.writeMu.Unlock()
	if err := t.schema.Check(key, nil); err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	if t.isClosed() {
		return nil, fmt.Errorf("prove: %w", kv.ErrClosed)
	}
	head := t.head.Load()
	st := &stateproof.Statement{
		Height: head.height, Root: head.root,
		Key: append([]byte(nil), key...), Proof: &stateproof.Proof{},
	}
	var err error
	if st.Value, err = t.snap.Get(key); err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	if t.committed == nil || t.committed.Size() == 0 {
		return st, nil
	}
	leaf := key
	if t.schema.RowSize(key[0]) != 0 {
		index := binary.BigEndian.Uint64(key[1:])
		pg, err := t.page(newPageID(key[0], index/pageRows))
		if err != nil {
			return nil, fmt.Errorf("prove: %w", err)
		}
		leaf = stateproof.PageKey(key[0], index/pageRows)
		if ledger.Hash(pg.root()) != t.empty[pageDepth] {
			st.Proof.Siblings = pg.siblings(int(index % pageRows))
		}
	}
	if st.Proof.Tree, err = t.committed.GetProof(leaf); err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	return st, nil
}

func (t *Tree) isClosed() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.closed
}
