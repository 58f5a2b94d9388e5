// Package memkv is a kv.Store in memory, for tests and tools.
//
// It keeps the contract of kv and loses everything at Close. The content is a
// persistent treap: a commit builds a new root that shares what did not change
// with the old one, so that a snapshot is a pointer, readers never wait for
// writers, and Clone costs nothing. Clone gives tests the content as a crash at
// that moment would leave it.
package memkv

import (
	"bytes"
	"sync"

	"github.com/tributary-network/tributary/ledger/kv"
)

// Store is an in-memory kv.Store. It is safe for concurrent use.
type Store struct {
	mu     sync.RWMutex
	root   *node
	closed bool
}

var _ kv.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store { return &Store{} }

// Clone returns an independent open store with the present content of s, even
// if s is closed.
func (s *Store) Clone() *Store {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return &Store{root: s.root}
}

// Len returns the number of keys. It walks over all of them.
func (s *Store) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.root.count()
}

// current returns the root as it is now.
func (s *Store) current() (*node, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, kv.ErrClosed
	}
	return s.root, nil
}

// Get returns a copy of the value of key, or nil.
func (s *Store) Get(key []byte) ([]byte, error) {
	if err := kv.CheckKey(key); err != nil {
		return nil, err
	}
	root, err := s.current()
	if err != nil {
		return nil, err
	}
	return root.get(key), nil
}

// Iterate reads [from, to) as it is now.
func (s *Store) Iterate(from, to []byte, reverse bool) kv.Iterator {
	root, err := s.current()
	return newIterator(s, root, from, to, reverse, err)
}

// Snapshot returns the present content.
func (s *Store) Snapshot() (kv.Snapshot, error) {
	root, err := s.current()
	if err != nil {
		return nil, err
	}
	return &snapshot{store: s, root: root}, nil
}

// NewBatch returns an empty batch, which has no limit of size.
func (s *Store) NewBatch() kv.Batch { return &batch{store: s} }

// Close marks the store as closed.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

type snapshot struct {
	store *Store

	mu     sync.RWMutex
	root   *node
	closed bool
}

func (s *snapshot) check() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return kv.ErrClosed
	}
	_, err := s.store.current()
	return err
}

func (s *snapshot) Get(key []byte) ([]byte, error) {
	if err := kv.CheckKey(key); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	return s.root.get(key), nil
}

func (s *snapshot) Iterate(from, to []byte, reverse bool) kv.Iterator {
	return newIterator(s.store, s.root, from, to, reverse, s.check())
}

func (s *snapshot) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// op is one write; a nil value deletes.
type op struct{ key, value []byte }

type batch struct {
	store *Store
	ops   []op
	done  bool
}

func (b *batch) Set(key, value []byte) error {
	if value == nil {
		return kv.ErrNilValue
	}
	return b.add(key, append([]byte{}, value...))
}

func (b *batch) Delete(key []byte) error { return b.add(key, nil) }

func (b *batch) add(key, value []byte) error {
	if b.done {
		return kv.ErrBatchDone
	}
	if err := kv.CheckKey(key); err != nil {
		return err
	}
	b.ops = append(b.ops, op{key: bytes.Clone(key), value: value})
	return nil
}

func (b *batch) Commit(bool) error {
	if b.done {
		return kv.ErrBatchDone
	}
	b.done = true
	s := b.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return kv.ErrClosed
	}
	for _, o := range b.ops {
		if o.value == nil {
			s.root = s.root.remove(o.key)
		} else {
			s.root = s.root.set(o.key, o.value)
		}
	}
	return nil
}

func (b *batch) Discard() { b.done, b.ops = true, nil }
