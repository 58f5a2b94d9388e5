package statetree

import (
	"bytes"
	"encoding/binary"

	corestore "cosmossdk.io/core/store"
	"github.com/cosmos/iavl"
	dbm "github.com/cosmos/iavl/db"

	"github.com/tributary-network/tributary/ledger/kv"
)

// write is one write to the store; a nil value deletes.
type write struct{ key, value []byte }

// nodeStore is IAVL's database. It reads the store and writes nothing: what IAVL
// commits is staged for the batch of the block. IAVL's own batches are committed
// in pieces unless its flush threshold is never reached.
type nodeStore struct {
	store  kv.Store
	oldest int64 // version, 0 before the first
	staged []write
}

var _ dbm.DB = (*nodeStore)(nil)

// drain returns and forgets what is staged.
func (s *nodeStore) drain() []write {
	w := s.staged
	s.staged = nil
	return w
}

func (s *nodeStore) Get(key []byte) ([]byte, error) { return s.store.Get(key) }

// Has is how IAVL looks for its oldest version: by the node (version, 1), the root.
// But a root can live on inside later versions when its own is pruned, and IAVL
// would then begin to prune anew at a version that is gone.
func (s *nodeStore) Has(key []byte) (bool, error) {
	if version, ok := rootVersion(key); ok && version < s.oldest {
		return false, nil
	}
	v, err := s.store.Get(key)
	return v != nil, err
}

// rootKey returns IAVL's key of the root of a version, rootVersion its inverse.
func rootKey(version int64) []byte { return append([]byte{'s'}, iavl.GetRootKey(version)...) }

func rootVersion(key []byte) (int64, bool) {
	if len(key) != 13 || key[0] != 's' {
		return 0, false
	}
	version := int64(binary.BigEndian.Uint64(key[1:]))
	return version, bytes.Equal(key, rootKey(version))
}

func (s *nodeStore) Iterator(from, to []byte) (corestore.Iterator, error) {
	return newNodeIterator(s.store, from, to, false), nil
}

func (s *nodeStore) ReverseIterator(from, to []byte) (corestore.Iterator, error) {
	return newNodeIterator(s.store, from, to, true), nil
}

// Close does nothing: the store is not IAVL's.
func (s *nodeStore) Close() error { return nil }

func (s *nodeStore) NewBatch() corestore.Batch { return &nodeBatch{store: s} }

// NewBatchWithSize ignores the size, which is the flush threshold.
func (s *nodeStore) NewBatchWithSize(int) corestore.Batch { return s.NewBatch() }

// nodeBatch keeps the slices IAVL hands over, which it makes anew for each node.
type nodeBatch struct {
	store  *nodeStore
	writes []write
	bytes  int
}

func (b *nodeBatch) Set(key, value []byte) error {
	if value == nil {
		return kv.ErrNilValue
	}
	b.add(key, value)
	return nil
}

func (b *nodeBatch) Delete(key []byte) error {
	b.add(key, nil)
	return nil
}

func (b *nodeBatch) add(key, value []byte) {
	b.writes = append(b.writes, write{key, value})
	b.bytes += len(key) + len(value)
}

func (b *nodeBatch) Write() error {
	b.store.staged = append(b.store.staged, b.writes...)
	return b.Close()
}

func (b *nodeBatch) WriteSync() error { return b.Write() }

func (b *nodeBatch) Close() error {
	b.writes, b.bytes = nil, 0
	return nil
}

func (b *nodeBatch) GetByteSize() (int, error) { return b.bytes, nil }

// nodeIterator is a kv.Iterator in IAVL's terms: it begins at the first key.
type nodeIterator struct {
	it       kv.Iterator
	from, to []byte
	valid    bool
}

func newNodeIterator(r kv.Reader, from, to []byte, reverse bool) *nodeIterator {
	it := r.Iterate(from, to, reverse)
	return &nodeIterator{it: it, from: from, to: to, valid: it.Next()}
}

func (it *nodeIterator) Domain() (from, to []byte) { return it.from, it.to }
func (it *nodeIterator) Valid() bool               { return it.valid }
func (it *nodeIterator) Next()                     { it.valid = it.it.Next() }

// Key returns a copy: IAVL keeps keys beyond Next.
func (it *nodeIterator) Key() []byte   { return append([]byte{}, it.it.Key()...) }
func (it *nodeIterator) Value() []byte { return append([]byte{}, it.it.Value()...) }
func (it *nodeIterator) Error() error  { return it.it.Err() }
func (it *nodeIterator) Close() error  { return it.it.Close() }
