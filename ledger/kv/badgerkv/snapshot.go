package badgerkv

import (
	"bytes"
	"fmt"
	"sync"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/tributary-network/tributary/ledger/kv"
)

// snapshot is a read-only transaction, which badger lets many goroutines use.
// It is discarded when the snapshot and all its iterators are closed.
type snapshot struct {
	store *Store
	txn   *badger.Txn

	mu     sync.Mutex
	refs   int
	closed bool
}

var _ kv.Snapshot = (*snapshot)(nil)

func (s *snapshot) Get(key []byte) ([]byte, error) {
	if err := kv.CheckKey(key); err != nil {
		return nil, err
	}
	if err := s.acquire(); err != nil {
		return nil, err
	}
	defer s.release()
	if err := s.store.enter(); err != nil {
		return nil, err
	}
	defer s.store.life.RUnlock()
	return get(s.txn, key)
}

func (s *snapshot) acquire() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return kv.ErrClosed
	}
	s.refs++
	return nil
}

// release gives back one reference. After the store was closed the transaction
// is left alone: its bookkeeping has ended with the store.
func (s *snapshot) release() {
	s.mu.Lock()
	s.refs--
	last := s.refs == 0
	s.mu.Unlock()
	if !last {
		return
	}
	if s.store.enter() == nil {
		s.txn.Discard()
		s.store.life.RUnlock()
	}
}

func (s *snapshot) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if !again {
		s.release()
	}
	return nil
}

func (s *snapshot) Iterate(from, to []byte, reverse bool) kv.Iterator {
	if to != nil && bytes.Compare(from, to) >= 0 {
		return &iterator{}
	}
	if err := s.acquire(); err != nil {
		return &iterator{err: err}
	}
	if err := s.store.enter(); err != nil {
		s.release()
		return &iterator{err: err}
	}
	defer s.store.life.RUnlock()
	it := s.txn.NewIterator(badger.IteratorOptions{Reverse: reverse, Prefix: commonPrefix(from, to)})
	return &iterator{snap: s, it: it, from: bytes.Clone(from), to: bytes.Clone(to), reverse: reverse}
}

// commonPrefix returns what every key in [from, to) begins with, or less. It
// lets badger leave out whole tables.
func commonPrefix(from, to []byte) []byte {
	n := 0
	for n < len(from) && n < len(to) && from[n] == to[n] {
		n++
	}
	return bytes.Clone(from[:n])
}

type iterator struct {
	snap     *snapshot // nil: empty
	it       *badger.Iterator
	from, to []byte
	reverse  bool

	started bool
	key     []byte
	value   []byte
	err     error
	closed  bool
}

var _ kv.Iterator = (*iterator)(nil)

func (it *iterator) Next() bool {
	if it.snap == nil || it.closed || it.err != nil {
		return false
	}
	if it.err = it.snap.store.enter(); it.err != nil {
		return false
	}
	defer it.snap.store.life.RUnlock()
	it.advance()
	if !it.it.Valid() {
		return false
	}
	item := it.it.Item()
	it.key = item.Key()
	if it.reverse && bytes.Compare(it.key, it.from) < 0 ||
		!it.reverse && it.to != nil && bytes.Compare(it.key, it.to) >= 0 {
		return false
	}
	v, err := item.ValueCopy(it.value[:0])
	if err != nil {
		it.err = fmt.Errorf("read value of key %x: %w", it.key, err)
		return false
	}
	if v == nil {
		v = []byte{}
	}
	it.value = v
	return true
}

func (it *iterator) advance() {
	switch {
	case it.started:
		if it.it.Valid() {
			it.it.Next()
		}
	case !it.reverse && len(it.from) > 0:
		it.it.Seek(it.from)
	case it.reverse && it.to != nil:
		it.it.Seek(it.to)
		if it.it.Valid() && bytes.Equal(it.it.Item().Key(), it.to) {
			it.it.Next()
		}
	default:
		it.it.Rewind()
	}
	it.started = true
}

func (it *iterator) Key() []byte   { return it.key }
func (it *iterator) Value() []byte { return it.value }
func (it *iterator) Err() error    { return it.err }

func (it *iterator) Close() error {
	if it.snap == nil || it.closed {
		return it.err
	}
	it.closed = true
	if it.snap.store.enter() == nil {
		it.it.Close()
		it.snap.store.life.RUnlock()
	}
	it.snap.release()
	return it.err
}
