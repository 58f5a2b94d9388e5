package statetree

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

const (
	pageRows  = stateproof.PageRows
	pageDepth = stateproof.PageDepth
	// pageNodes is the number of hashes of a page: 1,024 rows, 512 pairs and so
	// on to the root, level after level.
	pageNodes = 2*pageRows - 1
	hashBytes = pageNodes * ledger.HashSize
	// pageOverhead is about what a page costs beside its hashes and rows.
	pageOverhead = 256
	// pageBits is the width of the page number in a pageID.
	pageBits = 56
)

// pageID names a page: the table's prefix above the number of the page, which
// has at most 54 bits.
type pageID uint64

func newPageID(table byte, page uint64) pageID { return pageID(table)<<pageBits | pageID(page) }

func (id pageID) table() byte  { return byte(id >> pageBits) }
func (id pageID) page() uint64 { return uint64(id) & (1<<pageBits - 1) }

// levelStart returns the index of the first node of a level.
func levelStart(level int) int { return 2*pageRows - 2*pageRows>>level }

// page is a page in memory, without pointers but its two slices. Its content
// changes only in Apply, while no reader is in Read.
type page struct {
	id      pageID
	size    int            // of a row
	present [pageRows]bool // which rows exist
	hashes  []byte         // pageNodes hashes
	rows    []byte         // pageRows rows; nil: not in memory. Guarded by pageCache.mu

	used   atomic.Bool   // lately, for eviction
	misses atomic.Uint32 // reads that would have hit, had the rows been in memory
}

func (p *page) node(i int) []byte { return p.hashes[i*ledger.HashSize : (i+1)*ledger.HashSize] }
func (p *page) root() []byte      { return p.node(pageNodes - 1) }
func (p *page) bytes() int64      { return hashBytes + pageOverhead + int64(len(p.rows)) }

// row returns the row at slot, or nil. The rows must be in memory.
func (p *page) row(slot int) []byte {
	if !p.present[slot] {
		return nil
	}
	return p.rows[slot*p.size : (slot+1)*p.size : (slot+1)*p.size]
}

// firstRow returns the state key of the first row of a page.
func (id pageID) firstRow() []byte {
	k := make([]byte, 1, 9)
	k[0] = id.table()
	return binary.BigEndian.AppendUint64(k, id.page()*pageRows)
}

// scanRows calls fn with slot and value of every row of page id in r, which maps
// state keys.
func scanRows(r kv.Reader, id pageID, size int, fn func(slot int, row []byte)) error {
	from := id.firstRow()
	to := kv.PrefixEnd(from[:1]) // the end of the table
	if (id.page()+1)*pageRows != 0 {
		to = newPageID(id.table(), id.page()+1).firstRow()
	}
	it := r.Iterate(from, to, false)
	for it.Next() {
		k, v := it.Key(), it.Value()
		if len(k) != 9 || len(v) != size {
			return fmt.Errorf("row %x has %d bytes, want %d: the store is damaged (%w)", k, len(v), size, it.Close())
		}
		fn(int(binary.BigEndian.Uint64(k[1:])%pageRows), v)
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("scan page %d of table %#02x: %w", id.page(), id.table(), err)
	}
	return nil
}

// loadPage reads a page and computes its hashes.
func loadPage(r kv.Reader, id pageID, size int, empty *[pageDepth + 1]ledger.Hash) (*page, error) {
	p := &page{id: id, size: size, hashes: make([]byte, hashBytes), rows: make([]byte, pageRows*size)}
	if err := scanRows(r, id, size, func(slot int, row []byte) {
		copy(p.rows[slot*size:], row)
		p.present[slot] = true
	}); err != nil {
		return nil, err
	}
	p.rehash(empty)
	return p, nil
}

// rehash computes every hash from the rows.
func (p *page) rehash(empty *[pageDepth + 1]ledger.Hash) {
	buf := make([]byte, 0, p.size+16)
	base := p.id.page() * pageRows
	var full [pageRows]bool // whether the subtree has rows, at the level below
	for slot := range pageRows {
		h := empty[0]
		if full[slot] = p.present[slot]; full[slot] {
			h = stateproof.RowHash(buf, p.id.table(), base+uint64(slot), p.row(slot))
		}
		copy(p.node(slot), h[:])
	}
	for level := 1; level <= pageDepth; level++ {
		below, here := levelStart(level-1), levelStart(level)
		for i := range pageRows >> level {
			h := empty[level]
			if full[i] = full[2*i] || full[2*i+1]; full[i] {
				h = stateproof.InnerHash(p.node(below+2*i), p.node(below+2*i+1))
			}
			copy(p.node(here+i), h[:])
		}
	}
}

// siblings returns the hashes beside the way from slot to the root.
func (p *page) siblings(slot int) []ledger.Hash {
	out := make([]ledger.Hash, pageDepth)
	for level := range out {
		copy(out[level][:], p.node(levelStart(level)+(slot>>level^1)))
	}
	return out
}

// emptyHashes returns the hashes of subtrees without rows, by level.
func emptyHashes() *[pageDepth + 1]ledger.Hash {
	var h [pageDepth + 1]ledger.Hash
	h[0] = stateproof.NoRowHash()
	for level := 1; level <= pageDepth; level++ {
		h[level] = stateproof.InnerHash(h[level-1][:], h[level-1][:])
	}
	return &h
}
