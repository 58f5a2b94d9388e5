// Package kv is the contract between the ledger and whatever keeps its bytes: a
// sorted map from byte keys to byte values with atomic batches and consistent
// snapshots.
//
// Everything durable in a node goes through a Store: the state tree, the
// receipts index and the stores of the consensus engine share one Store under
// different prefixes (Prefixed), so that a block can be committed in a single
// atomic batch. ledger/kv/badgerkv keeps the bytes on disk, ledger/kv/memkv in
// memory; both pass the conformance suite of ledger/kv/kvtest, which is the
// contract in executable form.
//
// # Keys and values
//
// A key is 1 to MaxKeySize bytes; keys are ordered as bytes.Compare orders them.
// A value may be empty, and an empty value is not the absence of the key: Get
// returns a non-nil empty slice for the first and nil for the second. Slices
// given to a Store are copied before the call returns; slices returned by Get
// belong to the caller.
//
// # Atomicity and order
//
// A Batch becomes visible and durable as a whole or not at all, whatever its
// size: a store that cannot take a batch in one piece refuses it with
// ErrBatchTooLarge and applies nothing. Batches take effect in the order in
// which their Commit calls return. A read that begins after a Commit has
// returned sees its writes.
//
// # Durability
//
// Commit(true) returns only when the batch, and every batch committed before
// it, would survive a loss of power. Commit(false) survives the death of the
// process but may be lost with the machine. Once a write to the medium has
// failed, a store refuses all further commits: what reached the disk is unknown
// until it is opened again.
package kv

import (
	"errors"
	"fmt"
)

// MaxKeySize is the length in bytes of the longest key a Store takes, prefixes
// of Prefixed included.
const MaxKeySize = 1 << 10

var (
	// ErrClosed is returned by every operation on a store after its Close.
	ErrClosed = errors.New("store is closed")
	// ErrBadKey is returned for a key that is empty or longer than MaxKeySize.
	ErrBadKey = errors.New("key is empty or too long")
	// ErrNilValue is returned by Set for a nil value.
	ErrNilValue = errors.New("value is nil")
	// ErrBatchTooLarge is returned when a batch does not fit one atomic commit
	// of the store. Nothing of it has been applied.
	ErrBatchTooLarge = errors.New("batch is too large for one atomic commit")
	// ErrFailed is what a store returns when its medium cannot be written, or not be
	// read: the disk is full or broken.
	ErrFailed = errors.New("the store has failed")
	// ErrBatchDone is returned by a batch that was committed or discarded.
	ErrBatchDone = errors.New("batch was committed or discarded already")
)

// Reader reads a Store or a Snapshot. It is safe for concurrent use.
type Reader interface {
	// Get returns the value of key, or nil if there is none. The slice belongs
	// to the caller.
	Get(key []byte) ([]byte, error)
	// Iterate reads the keys in [from, to) in ascending order, or descending if
	// reverse. A nil from means the first key, a nil to means after the last.
	// It sees the keys as they were when Iterate was called. Errors show in
	// Iterator.Err; the iterator must be closed.
	Iterate(from, to []byte, reverse bool) Iterator
}

// Iterator walks over keys. It begins before the first key and is owned by one
// goroutine:
//
//	it := r.Iterate(from, to, false)
//	defer it.Close()
//	for it.Next() {
//		use(it.Key(), it.Value())
//	}
//	return it.Err()
type Iterator interface {
	// Next moves to the next key and reports whether there is one.
	Next() bool
	// Key returns the current key, valid until the next call of Next or Close.
	// It must not be modified.
	Key() []byte
	// Value returns the current value, never nil, valid like Key.
	Value() []byte
	// Err returns what ended the iteration early, or nil.
	Err() error
	// Close frees the iterator and returns Err. It may be called twice.
	Close() error
}

// Writer collects writes. It is owned by one goroutine.
type Writer interface {
	// Set stores value under key. The last write to a key wins.
	Set(key, value []byte) error
	// Delete removes key, which need not exist.
	Delete(key []byte) error
}

// Batch is a set of writes that take effect together. An idle batch costs
// nothing; one that was written to must be committed or discarded.
type Batch interface {
	Writer
	// Commit applies the batch atomically, and durably if sync. The batch
	// cannot be used again, whatever Commit returns. An error other than
	// ErrBatchTooLarge leaves open whether the batch was applied.
	Commit(sync bool) error
	// Discard drops the batch. After Commit it does nothing.
	Discard()
}

// Snapshot reads a Store as it was at one moment. Old data cannot be reclaimed
// while a snapshot is open.
type Snapshot interface {
	Reader
	// Close frees the snapshot, whose iterators must be closed before. Reads
	// after it return ErrClosed.
	Close() error
}

// Store is a sorted map of bytes; see the package comment. It is safe for
// concurrent use.
type Store interface {
	Reader
	// NewBatch returns an empty batch.
	NewBatch() Batch
	// Snapshot returns a consistent reader of the present content.
	Snapshot() (Snapshot, error)
	// Close waits for running operations and closes the store. Operations that
	// come later, those of open snapshots and iterators included, return
	// ErrClosed. It may be called twice.
	Close() error
}

// CheckKey returns ErrBadKey, saying what is wrong, or nil. It is meant for
// implementations of Store.
func CheckKey(key []byte) error {
	if len(key) == 0 || len(key) > MaxKeySize {
		return fmt.Errorf("%w: %d bytes, want 1 to %d", ErrBadKey, len(key), MaxKeySize)
	}
	return nil
}

// PrefixEnd returns the first key after every key that begins with prefix, for
// use as the upper bound of Iterate. It is nil, meaning after the last key, if
// there is no such key.
func PrefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := append([]byte(nil), prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}

// Scan calls fn for every key that begins with prefix, ascending, until fn
// returns an error, which Scan returns. The slices are valid during the call
// of fn only.
func Scan(r Reader, prefix []byte, fn func(key, value []byte) error) error {
	it := r.Iterate(prefix, PrefixEnd(prefix), false)
	for it.Next() {
		if err := fn(it.Key(), it.Value()); err != nil {
			return errors.Join(err, it.Close())
		}
	}
	return it.Close()
}
