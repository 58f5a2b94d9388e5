package comet

import "slices"

// Store is what a chain keeps its blocks and consensus state in: an ordered map
// of bytes. It is safe for concurrent use.
type Store interface {
	// Get returns the value of key, or nil if there is none; an empty value is
	// not nil.
	Get(key []byte) ([]byte, error)
	// Iterate walks start (inclusive) to end (exclusive, nil: no end).
	Iterate(start, end []byte, reverse bool) (Iterator, error)
	// NewBatch starts a set of writes.
	NewBatch() Batch
}

// Batch is a set of writes that is applied as a whole or not at all. It is
// owned by one goroutine.
type Batch interface {
	Set(key, value []byte)
	Delete(key []byte)
	// Commit applies the writes, durably if sync.
	Commit(sync bool) error
}

// Iterator walks keys in order. It is owned by one goroutine.
type Iterator interface {
	Next() bool
	Key() []byte
	Value() []byte
	Err() error
	Close() error
}

// prefixed is the part of a store under a prefix.
type prefixed struct {
	store  Store
	prefix []byte
}

func (p prefixed) key(k []byte) []byte { return slices.Concat(p.prefix, k) }

func (p prefixed) Get(key []byte) ([]byte, error) { return p.store.Get(p.key(key)) }

func (p prefixed) NewBatch() Batch { return prefixedBatch{p.store.NewBatch(), p} }

func (p prefixed) Iterate(start, end []byte, reverse bool) (Iterator, error) {
	if end != nil {
		end = p.key(end)
	} else {
		end = slices.Clone(p.prefix) // ends in a slash, so it can be incremented
		end[len(end)-1]++
	}
	it, err := p.store.Iterate(p.key(start), end, reverse)
	if err != nil {
		return nil, err
	}
	return prefixedIterator{it, len(p.prefix)}, nil
}

type prefixedBatch struct {
	Batch
	prefixed prefixed
}

func (b prefixedBatch) Set(key, value []byte) { b.Batch.Set(b.prefixed.key(key), value) }
func (b prefixedBatch) Delete(key []byte)     { b.Batch.Delete(b.prefixed.key(key)) }

type prefixedIterator struct {
	Iterator
	skip int
}

func (i prefixedIterator) Key() []byte { return i.Iterator.Key()[i.skip:] }
