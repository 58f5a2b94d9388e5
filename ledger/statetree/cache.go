package statetree

import (
	"sync"

	"github.com/tributary-network/tributary/ledger/kv"
)

// reloadAfter is how many reads must have missed the rows of a page before they
// are brought back into memory: about as many as cost the same.
const reloadAfter = 128

// pageCache keeps pages within a budget of bytes. Only the writer puts pages in;
// readers look them up. When the budget is exceeded, rows of pages not used
// lately go first, then whole pages (the clock algorithm, in two rounds).
type pageCache struct {
	mu     sync.RWMutex // guards all below and page.rows
	pages  map[pageID]*page
	ring   []*page
	hand   int
	bytes  int64
	budget int64
}

func newPageCache(budget int64) *pageCache {
	return &pageCache{pages: make(map[pageID]*page), budget: budget}
}

// row returns a row, nil if it does not exist. ok is false if the cache does not
// know.
func (c *pageCache) row(id pageID, slot int) (row []byte, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	p := c.pages[id]
	if p == nil {
		return nil, false
	}
	if !p.present[slot] {
		return nil, true
	}
	if !p.used.Load() {
		p.used.Store(true)
	}
	if p.rows == nil {
		p.misses.Add(1)
		return nil, false
	}
	return p.row(slot), true
}

// get returns a page for the writer, or nil.
func (c *pageCache) get(id pageID) *page {
	c.mu.RLock()
	defer c.mu.RUnlock()
	p := c.pages[id]
	if p != nil {
		p.used.Store(true)
	}
	return p
}

// put adds a page and makes room for it. The page is the last to go.
func (c *pageCache) put(p *page) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.used.Store(true)
	c.pages[p.id] = p
	c.ring = append(c.ring, p)
	c.bytes += p.bytes()
	c.shrink(p)
}

// setRows gives a page its rows back.
func (c *pageCache) setRows(p *page, rows []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.misses.Store(0)
	p.rows = rows
	c.bytes += int64(len(rows))
	c.shrink(p)
}

// shrink gets within the budget, sparing keep.
func (c *pageCache) shrink(keep *page) {
	for pass := 0; pass < 2*len(c.ring) && c.bytes > c.budget; pass++ {
		p := c.next()
		if p != keep && !p.used.Swap(false) {
			c.dropRows(p)
		}
	}
	for pass := 2 * len(c.ring); pass > 0 && c.bytes > c.budget; pass-- {
		p := c.next()
		if p == keep || p.used.Swap(false) {
			continue
		}
		c.dropRows(p)
		c.bytes -= p.bytes()
		delete(c.pages, p.id)
		// The last page takes the place just behind the hand.
		c.hand--
		last := len(c.ring) - 1
		c.ring[c.hand] = c.ring[last]
		c.ring[last] = nil
		c.ring = c.ring[:last]
	}
}

// next moves the hand on and returns the page it pointed to.
func (c *pageCache) next() *page {
	if c.hand >= len(c.ring) {
		c.hand = 0
	}
	c.hand++
	return c.ring[c.hand-1]
}

func (c *pageCache) dropRows(p *page) {
	c.bytes -= int64(len(p.rows))
	p.rows = nil
}

// size returns the number of pages, of those with rows, and their bytes.
func (c *pageCache) size() (pages, withRows int, bytes int64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, p := range c.ring {
		if p.rows != nil {
			withRows++
		}
	}
	return len(c.ring), withRows, c.bytes
}

// valueOverhead is about what an entry of the value cache costs beside key and
// value.
const valueOverhead = 96

// valueCache keeps values of registry keys, absence included, within a budget
// of bytes. When it is exceeded, an arbitrary part goes.
type valueCache struct {
	mu     sync.RWMutex
	values map[string][]byte
	bytes  int64
	budget int64
}

func newValueCache(budget int64) *valueCache {
	return &valueCache{values: make(map[string][]byte), budget: budget}
}

// get returns the value of key from the cache, or else from r.
func (c *valueCache) get(r kv.Reader, key []byte) ([]byte, error) {
	c.mu.RLock()
	v, ok := c.values[string(key)]
	c.mu.RUnlock()
	if ok {
		return v, nil
	}
	v, err := r.Get(key)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.values[string(key)]; !ok {
		c.values[string(key)] = v
		c.bytes += cost(len(key), len(v))
	}
	if c.bytes > c.budget {
		c.shrink()
	}
	return v, nil
}

func cost(keyLen, valueLen int) int64 { return int64(keyLen+valueLen) + valueOverhead }

// shrink drops an eighth more than it must, so that it is seldom called.
func (c *valueCache) shrink() {
	for k, v := range c.values { // any order: what is cached changes no result
		if c.bytes <= c.budget-c.budget/8 {
			return
		}
		c.bytes -= cost(len(k), len(v))
		delete(c.values, k)
	}
}

// changed tells of the new value of a key, nil if it has none any more. Whoever changes a
// key has read it and mostly reads it again soon, so it stays in the cache if it was there.
// The cache keeps value.
func (c *valueCache) changed(key, value []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, ok := c.values[string(key)]
	if !ok {
		return
	}
	c.bytes -= cost(len(key), len(old))
	if value == nil {
		delete(c.values, string(key))
		return
	}
	c.values[string(key)] = value
	c.bytes += cost(len(key), len(value))
	if c.bytes > c.budget {
		c.shrink()
	}
}
