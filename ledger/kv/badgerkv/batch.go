package badgerkv

import (
	"errors"
	"fmt"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/tributary-network/tributary/ledger/kv"
)

// arenaChunk is the unit in bytes in which a batch takes memory for the keys
// and values it copies. Badger keeps the slices it is given until the commit.
const arenaChunk = 64 << 10

// batch is one badger transaction, begun with the first write: an open
// transaction keeps badger from dropping old versions.
type batch struct {
	store *Store
	txn   *badger.Txn
	arena []byte
	err   error // why the batch can no longer be committed
	done  bool
}

var _ kv.Batch = (*batch)(nil)

// NewBatch returns an empty batch.
func (s *Store) NewBatch() kv.Batch { return &batch{store: s} }

func (b *batch) Set(key, value []byte) error {
	if value == nil {
		return kv.ErrNilValue
	}
	return b.add(key, value)
}

func (b *batch) Delete(key []byte) error { return b.add(key, nil) }

// add puts one write into the transaction; a nil value deletes.
func (b *batch) add(key, value []byte) error {
	if b.done {
		return kv.ErrBatchDone
	}
	if err := kv.CheckKey(key); err != nil {
		return err
	}
	if b.err != nil {
		return b.err
	}
	if err := b.store.enter(); err != nil {
		return err
	}
	defer b.store.life.RUnlock()
	if b.txn == nil {
		b.txn = b.store.db.NewTransaction(true)
	}
	var err error
	if value == nil {
		err = b.txn.Delete(b.copy(key))
	} else {
		err = b.txn.Set(b.copy(key), b.copy(value))
	}
	if errors.Is(err, badger.ErrTxnTooBig) {
		o := b.store.opts
		b.err = fmt.Errorf("%w: limit is %d bytes and %d entries", kv.ErrBatchTooLarge, o.MaxBatchBytes(), o.MaxBatchEntries())
		return b.err
	}
	if err != nil {
		b.err = fmt.Errorf("write key %x: %w", key, err)
	}
	return b.err
}

// copy returns a copy of p in the arena.
func (b *batch) copy(p []byte) []byte {
	if len(p) > arenaChunk/4 {
		return append([]byte{}, p...)
	}
	if len(b.arena) < len(p) {
		b.arena = make([]byte, arenaChunk)
	}
	out := b.arena[:len(p):len(p)]
	copy(out, p)
	b.arena = b.arena[len(p):]
	return out
}

func (b *batch) Commit(sync bool) error {
	if b.done {
		return kv.ErrBatchDone
	}
	b.done = true
	if err := b.store.enter(); err != nil {
		return err
	}
	defer b.store.life.RUnlock()
	if b.txn != nil {
		defer b.txn.Discard()
	}
	if b.err != nil {
		return fmt.Errorf("commit batch: %w", b.err)
	}
	if err := b.store.failure(); err != nil {
		return fmt.Errorf("commit batch: %w", err)
	}
	if b.txn != nil {
		if err := b.commit(); err != nil {
			return err
		}
	}
	if sync {
		return b.store.sync()
	}
	return nil
}

func (b *batch) commit() error {
	err := b.txn.Commit()
	if errors.Is(err, badger.ErrTxnTooBig) {
		return fmt.Errorf("commit batch: %w", kv.ErrBatchTooLarge)
	}
	if err != nil {
		return b.store.fail(fmt.Errorf("commit batch to %s: %w: %w", b.store.opts.Dir, kv.ErrFailed, err))
	}
	return nil
}

func (b *batch) Discard() {
	if b.done {
		return
	}
	b.done, b.arena = true, nil
	if b.txn != nil && b.store.enter() == nil {
		b.txn.Discard()
		b.store.life.RUnlock()
	}
}
