package comet

import (
	"bytes"
	"errors"

	dbm "github.com/cometbft/cometbft-db"
	cmtstore "github.com/cometbft/cometbft/proto/tendermint/store"

	"github.com/tributary-network/tributary/ledger/kv"
)

// Stores that CometBFT asks for by these names.
const (
	blockDB = "blockstore"
	stateDB = "state"
)

// blockRecordKey is where CometBFT's block store keeps the lowest and the highest
// height it has.
const blockRecordKey = "blockStore"

var (
	errKeyEmpty    = errors.New("key cannot be empty")
	errValueNil    = errors.New("value cannot be nil")
	errBatchClosed = errors.New("batch has been written or closed")
	errDetached    = errors.New("store is detached from the chain")
)

// database is a kv store as CometBFT wants it. Batches are atomic and the Sync
// variants durable. Close does nothing: CometBFT reads its stores for seconds
// after closing them and panics if it cannot. Once the gate is closed, reads
// find nothing, which CometBFT takes for pruned, and writes fail. The parts of
// blocks go to files of their own; see blockFiles.
type database struct {
	store  kv.Store
	gate   *gate
	blocks *blockFiles // of the block store; nil for the others
	faults *storeFaults
}

func newDatabase(store kv.Store, g *gate) *database { return &database{store: store, gate: g} }

var _ dbm.DB = (*database)(nil)

// Get implements dbm.DB.
func (d *database) Get(key []byte) ([]byte, error) {
	if len(key) == 0 {
		return nil, errKeyEmpty
	}
	if !d.gate.enter() {
		return nil, nil
	}
	defer d.gate.leave()
	var v []byte
	err := d.faults.read(func() (err error) {
		v, err = d.get(key)
		return err
	})
	return v, err
}

func (d *database) get(key []byte) ([]byte, error) {
	v, err := d.store.Get(key)
	if d.blocks != nil && err == nil && isBlockPlace(v) {
		if height, ok := partHeight(key); ok {
			return d.blocks.get(height, v)
		}
	}
	return v, err
}

// Has implements dbm.DB.
func (d *database) Has(key []byte) (bool, error) {
	v, err := d.Get(key)
	return v != nil, err
}

// Set implements dbm.DB.
func (d *database) Set(key, value []byte) error { return d.write(key, value, false) }

// SetSync implements dbm.DB.
func (d *database) SetSync(key, value []byte) error { return d.write(key, value, true) }

func (d *database) write(key, value []byte, sync bool) error {
	b := d.NewBatch()
	err := b.Set(key, value)
	return finish(b, err, sync)
}

// Delete implements dbm.DB.
func (d *database) Delete(key []byte) error { return d.remove(key, false) }

// DeleteSync implements dbm.DB.
func (d *database) DeleteSync(key []byte) error { return d.remove(key, true) }

func (d *database) remove(key []byte, sync bool) error {
	b := d.NewBatch()
	err := b.Delete(key)
	return finish(b, err, sync)
}

func finish(b dbm.Batch, err error, sync bool) error {
	switch {
	case err != nil:
	case sync:
		err = b.WriteSync()
	default:
		err = b.Write()
	}
	return errors.Join(err, b.Close())
}

// Iterator implements dbm.DB.
func (d *database) Iterator(start, end []byte) (dbm.Iterator, error) {
	return d.iterate(start, end, false)
}

// ReverseIterator implements dbm.DB.
func (d *database) ReverseIterator(start, end []byte) (dbm.Iterator, error) {
	return d.iterate(start, end, true)
}

func (d *database) iterate(start, end []byte, reverse bool) (dbm.Iterator, error) {
	if start != nil && len(start) == 0 || end != nil && len(end) == 0 {
		return nil, errKeyEmpty
	}
	it := &iterator{start: bytes.Clone(start), end: bytes.Clone(end), gate: d.gate}
	if !d.gate.enter() {
		return it, nil
	}
	it.inner = d.store.Iterate(start, end, reverse)
	it.valid = it.inner.Next()
	return it, nil
}

// Close implements dbm.DB and does nothing.
func (d *database) Close() error { return nil }

// NewBatch implements dbm.DB.
func (d *database) NewBatch() dbm.Batch {
	return &batch{gate: d.gate, inner: d.store.NewBatch(), blocks: d.blocks, faults: d.faults}
}

// Print implements dbm.DB and does nothing.
func (d *database) Print() error { return nil }

// Stats implements dbm.DB and knows nothing.
func (d *database) Stats() map[string]string { return nil }

// Compact implements dbm.DB and does nothing: the store compacts itself.
func (d *database) Compact(_, _ []byte) error { return nil }

// batch collects writes; nothing is seen of them before Write.
type batch struct {
	gate   *gate
	inner  kv.Batch // nil once written or closed
	blocks *blockFiles
	faults *storeFaults
	base   int64 // the lowest height kept once the batch is written; 0 if it does not say
}

// Set implements dbm.Batch.
func (b *batch) Set(key, value []byte) error {
	switch {
	case len(key) == 0:
		return errKeyEmpty
	case value == nil:
		return errValueNil
	case b.inner == nil:
		return errBatchClosed
	}
	if b.blocks != nil {
		var err error
		if value, err = b.setBlock(key, value); err != nil {
			return err
		}
	}
	return b.inner.Set(key, value)
}

// setBlock puts the part of a block into its file and returns its place, and
// notes the lowest height kept. Other values it returns as they are.
func (b *batch) setBlock(key, value []byte) ([]byte, error) {
	if string(key) == blockRecordKey {
		var record cmtstore.BlockStoreState
		if err := record.Unmarshal(value); err == nil {
			b.base = record.Base
		}
		return value, nil
	}
	height, ok := partHeight(key)
	if !ok || len(value) < blockFileMin {
		return value, nil
	}
	if !b.gate.enter() {
		return nil, errDetached
	}
	defer b.gate.leave()
	var place []byte
	err := b.faults.write(func() (err error) {
		place, err = b.blocks.add(height, value)
		return err
	})
	return place, err
}

// Delete implements dbm.Batch.
func (b *batch) Delete(key []byte) error {
	switch {
	case len(key) == 0:
		return errKeyEmpty
	case b.inner == nil:
		return errBatchClosed
	}
	return b.inner.Delete(key)
}

// Write implements dbm.Batch.
func (b *batch) Write() error { return b.commit(false) }

// WriteSync implements dbm.Batch.
func (b *batch) WriteSync() error { return b.commit(true) }

func (b *batch) commit(sync bool) error {
	if b.inner == nil {
		return errBatchClosed
	}
	if !b.gate.enter() {
		return errDetached
	}
	defer b.gate.leave()
	inner := b.inner
	b.inner = nil
	return b.faults.write(func() error { return b.apply(inner, sync) })
}

func (b *batch) apply(inner kv.Batch, sync bool) error {
	if b.blocks != nil && sync {
		if err := b.blocks.sync(); err != nil {
			inner.Discard()
			return err
		}
	}
	if err := inner.Commit(sync); err != nil || b.blocks == nil || !sync || b.base == 0 {
		return err
	}
	return b.blocks.drop(b.base)
}

// Close implements dbm.Batch.
func (b *batch) Close() error {
	if b.inner != nil {
		b.inner.Discard()
		b.inner = nil
	}
	return nil
}

// iterator walks a range. It holds the gate open until it is closed.
type iterator struct {
	start, end []byte
	gate       *gate
	inner      kv.Iterator // nil if the gate was closed, or after Close
	valid      bool
}

// Domain implements dbm.Iterator.
func (i *iterator) Domain() (start, end []byte) { return i.start, i.end }

// Valid implements dbm.Iterator.
func (i *iterator) Valid() bool { return i.valid }

// Next implements dbm.Iterator.
func (i *iterator) Next() {
	i.mustBeValid()
	i.valid = i.inner.Next()
}

// Key implements dbm.Iterator.
func (i *iterator) Key() []byte {
	i.mustBeValid()
	return i.inner.Key()
}

// Value implements dbm.Iterator.
func (i *iterator) Value() []byte {
	i.mustBeValid()
	return i.inner.Value()
}

func (i *iterator) mustBeValid() {
	if !i.valid {
		panic("iterator is invalid")
	}
}

// Error implements dbm.Iterator.
func (i *iterator) Error() error {
	if i.inner == nil {
		return nil
	}
	return i.inner.Err()
}

// Close implements dbm.Iterator.
func (i *iterator) Close() error {
	if i.inner == nil {
		return nil
	}
	err := i.inner.Close()
	i.inner, i.valid = nil, false
	i.gate.leave()
	return err
}
