package chain

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"slices"
)

// View is a consistent read of one chain's state at one height.
//
// Get has no error: a replica that cannot read its own state must stop, and
// chain/exec turns the adapter's panic into an error at the block boundary.
// Callers must not modify what Get and Range hand out. A View is owned by one
// goroutine unless its implementation says otherwise.
type View interface {
	// Get returns the value of key, or nil if there is none.
	Get(key []byte) []byte
	// Range yields every key that begins with prefix, ascending, with its value.
	Range(prefix []byte) iter.Seq2[[]byte, []byte]
}

// Seeker is a View that begins a Range at any key without a walk to it.
type Seeker interface {
	View
	// RangeFrom yields what Range(prefix) does from the key from on, which begins with
	// prefix.
	RangeFrom(prefix, from []byte) iter.Seq2[[]byte, []byte]
}

// RangeFrom yields every key of v that begins with prefix and is not below from, which
// begins with it too. It walks over those below unless v is a Seeker.
func RangeFrom(v View, prefix, from []byte) iter.Seq2[[]byte, []byte] {
	if s, ok := v.(Seeker); ok {
		return s.RangeFrom(prefix, from)
	}
	return func(yield func([]byte, []byte) bool) {
		for key, value := range v.Range(prefix) {
			if bytes.Compare(key, from) >= 0 && !yield(key, value) {
				return
			}
		}
	}
}

// Change is one write. A nil Value deletes the key.
type Change struct {
	Key   []byte
	Value []byte
}

// Changes is a set of writes, ascending by key, each key once.
type Changes []Change

// Table describes a dense table: rows of one size, numbered from 0 when they
// are made. The key of row i is Prefix followed by i as 8 big-endian bytes, and
// its value is RowSize bytes long. State trees keep such rows in pages, which
// costs a tenth of a tree leaf for each.
type Table struct {
	Prefix  byte
	RowSize int
}

// RowKeySize is the length of a dense row's key in bytes.
const RowKeySize = 9

// Key returns the key of row index.
func (t Table) Key(index uint64) []byte {
	k := make([]byte, RowKeySize)
	k[0] = t.Prefix
	binary.BigEndian.PutUint64(k[1:], index)
	return k
}

// Index returns the row number in a key made by Key.
func (t Table) Index(key []byte) (uint64, error) {
	if len(key) != RowKeySize || key[0] != t.Prefix {
		return 0, fmt.Errorf("key %x is not a row of table %#02x", key, t.Prefix)
	}
	return binary.BigEndian.Uint64(key[1:]), nil
}

// Overlay is a View with pending writes on top of another View. Rules read and
// write an Overlay; its Changes are what a block does to the state. An Overlay
// is owned by one goroutine.
type Overlay struct {
	base   View
	writes map[string][]byte // nil value: deleted
	keys   *keySet           // of writes; nil until Range is called
}

// NewOverlay returns an empty overlay over base.
func NewOverlay(base View) *Overlay {
	return &Overlay{base: base, writes: make(map[string][]byte)}
}

// Get returns the pending value of key, or the base's.
func (o *Overlay) Get(key []byte) []byte {
	if v, ok := o.writes[string(key)]; ok {
		return v
	}
	return o.base.Get(key)
}

// Set stores value under key. Both are kept, not copied: the caller hands them
// over. An empty value is stored as such; use Delete to remove a key.
func (o *Overlay) Set(key, value []byte) {
	if value == nil {
		value = []byte{}
	}
	o.write(string(key), value)
}

// Delete removes key.
func (o *Overlay) Delete(key []byte) { o.write(string(key), nil) }

func (o *Overlay) write(key string, value []byte) {
	n := len(o.writes)
	o.writes[key] = value
	if o.keys != nil && len(o.writes) > n {
		o.keys.note(key)
	}
}

// Range yields base and pending keys merged, ascending. The overlay must not be
// written to while the sequence is being read.
//
// The first call for a kind of keys, which is their first byte, looks at every
// pending key and sorts those of the kind. After that one costs what the base's
// costs, what it yields, deleted keys included, and the logarithm of the pending
// keys of the kind, for itself and for each that is new.
func (o *Overlay) Range(prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) { o.merge(prefix, yield) }
}

func (o *Overlay) merge(prefix []byte, yield func([]byte, []byte) bool) {
	if o.keys == nil {
		o.keys = new(keySet)
	}
	next := o.keys.from(string(prefix), o.writes)
	key, more := next()
	pass := func() bool { // yields key unless it is deleted, and goes to the next
		k, v := key, o.writes[key]
		key, more = next()
		return v == nil || yield([]byte(k), v)
	}
	for k, v := range o.base.Range(prefix) {
		for more && key < string(k) {
			if !pass() {
				return
			}
		}
		if more && key == string(k) {
			if !pass() {
				return
			}
		} else if !yield(k, v) {
			return
		}
	}
	for more {
		if !pass() {
			return
		}
	}
}

// Changes returns the pending writes, ascending by key. Values are shared with
// the overlay.
func (o *Overlay) Changes() Changes {
	c := make(Changes, 0, len(o.writes))
	for k, v := range o.writes {
		c = append(c, Change{Key: []byte(k), Value: v})
	}
	c.sort()
	return c
}

// Merge applies the pending writes of child, an Overlay over o, to o.
func (o *Overlay) Merge(child *Overlay) {
	if o.keys == nil {
		maps.Copy(o.writes, child.writes)
		return
	}
	for key, value := range child.writes {
		o.write(key, value)
	}
}

// Len returns the number of pending writes.
func (o *Overlay) Len() int { return len(o.writes) }

func (c Changes) sort() {
	slices.SortFunc(c, func(a, b Change) int { return bytes.Compare(a.Key, b.Key) })
}
