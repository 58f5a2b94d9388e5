package statetree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// An export is the IAVL tree in post-order, children before their parent and left
// before right, each leaf with what its hash stands for. Records follow each other
// without separators:
//
//	0 | version | height u8                          inner node
//	1 | version | key | value                        registry key; lengths are uvarints
//	2 | version | table u8 | page u64 | 128 B | rows page: a bit for each row there
//	                                                 is, lowest first, and those rows
//
// version is the uvarint of the IAVL version that made the node. The key of an
// inner node is the first key below its right child; its hash does not cover it,
// so it is derived and not believed.
const (
	recordInner byte = 0
	recordValue byte = 1
	recordPage  byte = 2

	bitmapSize = pageRows / 8
	// pageKeySize is the length of a page's key in the tree: 0 | table | page u64.
	pageKeySize = 10
	// maxExportValue bounds the value of a registry key in an export.
	maxExportValue = 16 << 20
	maxExportKey   = 1 << 10
	// maxExportHeight bounds the height of a tree, which is balanced.
	maxExportHeight = 100
)

// record is one record of an export.
type record struct {
	kind    byte
	version int64
	height  int8   // of an inner node
	key     []byte // in the tree; nil of an inner node
	value   []byte // of a registry key
	page    *page  // its rows; hashes are computed
}

// appendInner and so on append one record to b.
func appendInner(b []byte, version int64, height int8) []byte {
	b = binary.AppendUvarint(append(b, recordInner), uint64(version))
	return append(b, byte(height))
}

func appendValue(b []byte, version int64, key, value []byte) []byte {
	b = binary.AppendUvarint(append(b, recordValue), uint64(version))
	b = append(binary.AppendUvarint(b, uint64(len(key))), key...)
	return append(binary.AppendUvarint(b, uint64(len(value))), value...)
}

func appendPage(b []byte, version int64, p *page) []byte {
	b = binary.AppendUvarint(append(b, recordPage), uint64(version))
	b = append(b, p.id.table())
	b = binary.BigEndian.AppendUint64(b, p.id.page())
	var bitmap [bitmapSize]byte
	for slot, ok := range p.present {
		if ok {
			bitmap[slot/8] |= 1 << (slot % 8)
		}
	}
	b = append(b, bitmap[:]...)
	for slot := range p.present {
		b = append(b, p.row(slot)...)
	}
	return b
}

var errRecord = errors.New("the export is malformed")

// readRecord reads the next record and checks what it says of itself. The page of
// a record is read into the one given; without empty it has no rows and no hashes.
func readRecord(r *codec.Reader, schema *stateproof.Schema, into *page, empty *[pageDepth + 1]ledger.Hash) (rec record, err error) {
	rec.kind = r.Uint8()
	rec.version = int64(r.Uvarint(1<<63 - 1))
	switch rec.kind {
	case recordInner:
		height := r.Uint8()
		if height > maxExportHeight {
			return rec, fmt.Errorf("%w: an inner node of height %d", errRecord, height)
		}
		rec.height = int8(height)
	case recordValue:
		rec.key = bytes.Clone(r.Fixed(int(r.Uvarint(maxExportKey))))
		rec.value = r.Fixed(int(r.Uvarint(maxExportValue)))
	case recordPage:
		if rec.page, err = into, readPage(r, schema, into, empty); err != nil {
			return rec, err
		}
		rec.key = stateproof.PageKey(rec.page.id.table(), rec.page.id.page())
	default:
		return rec, fmt.Errorf("%w: a record of kind %d", errRecord, rec.kind)
	}
	if err := r.Err(); err != nil {
		return rec, fmt.Errorf("%w: %w", errRecord, err)
	}
	if rec.kind == recordValue {
		if len(rec.key) == 0 || schema.RowSize(rec.key[0]) != 0 {
			return rec, fmt.Errorf("%w: %x is no registry key", errRecord, rec.key)
		}
		if err := schema.Check(rec.key, rec.value); err != nil {
			return rec, fmt.Errorf("%w: %w", errRecord, err)
		}
	}
	return rec, nil
}

func readPage(r *codec.Reader, schema *stateproof.Schema, p *page, empty *[pageDepth + 1]ledger.Hash) error {
	table, number, bitmap := r.Uint8(), r.Uint64(), r.Fixed(bitmapSize)
	if err := r.Err(); err != nil {
		return fmt.Errorf("%w: %w", errRecord, err)
	}
	size := schema.RowSize(table)
	if size == 0 || number > (1<<64-1)/pageRows || bytes.Equal(bitmap, make([]byte, bitmapSize)) {
		return fmt.Errorf("%w: page %d of table %#02x", errRecord, number, table)
	}
	p.id, p.size, p.present = newPageID(table, number), size, [pageRows]bool{}
	if empty != nil {
		p.hashes = slices.Grow(p.hashes[:0], hashBytes)[:hashBytes]
		p.rows = slices.Grow(p.rows[:0], pageRows*size)[:pageRows*size]
	}
	for slot := range p.present {
		if bitmap[slot/8]>>(slot%8)&1 == 1 {
			p.present[slot] = true
			if row := r.Fixed(size); empty != nil {
				copy(p.rows[slot*size:], row)
			}
		}
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("%w: %w", errRecord, err)
	}
	if empty != nil {
		p.rehash(empty)
	}
	return nil
}

// leaf returns what the tree holds under the record's key.
func (rec *record) leaf() []byte {
	if rec.kind == recordPage {
		return bytes.Clone(rec.page.root())
	}
	h := stateproof.ValueHash(rec.value)
	return h[:]
}

// shape checks, record by record, that an export is one whole tree in post-order
// with ascending keys.
type shape struct {
	stack        []subtree
	last         []byte // the key of the last leaf
	version      int64  // of the last node, at the end the root's
	leaves, rows uint64
}

// subtree is a tree whose parent has not come yet.
type subtree struct {
	first  []byte // its first key
	height int8
}

func (s *shape) clone() shape {
	c := *s
	c.stack = append([]subtree(nil), s.stack...)
	return c
}

// add takes the next record and returns the key of its node.
func (s *shape) add(rec *record, version int64) (key []byte, err error) {
	if rec.version < 1 || rec.version > version {
		return nil, fmt.Errorf("%w: a node of version %d in version %d", errRecord, rec.version, version)
	}
	s.version = rec.version
	if rec.kind != recordInner {
		if s.last != nil && bytes.Compare(s.last, rec.key) >= 0 {
			return nil, fmt.Errorf("%w: key %x after key %x", errRecord, rec.key, s.last)
		}
		s.last = rec.key
		s.leaves++
		if rec.page != nil {
			for _, ok := range rec.page.present {
				if ok {
					s.rows++
				}
			}
		}
		if len(s.stack) > maxExportHeight {
			return nil, fmt.Errorf("%w: more than %d trees without a parent", errRecord, maxExportHeight)
		}
		s.stack = append(s.stack, subtree{first: rec.key})
		return rec.key, nil
	}
	n := len(s.stack)
	if n < 2 || rec.height != 1+max(s.stack[n-1].height, s.stack[n-2].height) {
		return nil, fmt.Errorf("%w: an inner node of height %d over %d trees", errRecord, rec.height, n)
	}
	key = s.stack[n-1].first
	s.stack = append(s.stack[:n-2], subtree{first: s.stack[n-2].first, height: rec.height})
	return key, nil
}

// whole reports whether the records so far are one tree.
func (s *shape) whole() bool { return len(s.stack) == 1 }
