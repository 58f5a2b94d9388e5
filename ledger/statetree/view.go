package statetree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger/kv"
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

var _ chain.Seeker = (*view)(nil)

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

func (v *view) Range(prefix []byte) iter.Seq2[[]byte, []byte] { return scan(v.t.snap, prefix, prefix) }

func (v *view) RangeFrom(prefix, from []byte) iter.Seq2[[]byte, []byte] {
	return scan(v.t.snap, prefix, from)
}

// scanChunk is the unit in bytes in which scan takes memory for what it yields.
const scanChunk = 32 << 10

// scan yields copies of the keys with prefix, from one of them on, and of their values.
func scan(r kv.Reader, prefix, from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		it := r.Iterate(from, kv.PrefixEnd(prefix), false)
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
