package exec

import (
	"bytes"
	"hash/maphash"
	"iter"
	"sync"

	"github.com/tributary-network/tributary/chain"
)

// bundleCache keeps bundles by their bytes, in two generations of at most half
// the limit each: what Accept decoded is there for Finalize, and what the
// bundler made is there for Check. It is safe for concurrent use.
type bundleCache struct {
	limit int64
	seed  maphash.Seed

	mu         sync.Mutex
	young, old map[uint64]*bundle
	size       int64 // of young, in bytes
}

func newBundleCache(limit int64) *bundleCache {
	return &bundleCache{limit: limit, seed: maphash.MakeSeed(), young: make(map[uint64]*bundle)}
}

// get returns the bundle of these bytes, or nil.
func (c *bundleCache) get(raw []byte) *bundle {
	key := maphash.Bytes(c.seed, raw)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range []map[uint64]*bundle{c.young, c.old} {
		if b := m[key]; b != nil && bytes.Equal(b.raw, raw) {
			return b
		}
	}
	return nil
}

// put keeps b.
func (c *bundleCache) put(b *bundle) {
	key := maphash.Bytes(c.seed, b.raw)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.size+int64(len(b.raw)) > c.limit/2 {
		c.old, c.young, c.size = c.young, make(map[uint64]*bundle), 0
	}
	c.young[key] = b
	c.size += int64(len(b.raw))
}

// memoView is a View that reads every key once. Checking a batch asks for the
// same rows several times over. It is owned by one goroutine.
type memoView struct {
	base chain.View
	memo map[string][]byte
}

func newMemoView(base chain.View) *memoView {
	return &memoView{base: base, memo: make(map[string][]byte)}
}

// Get returns the value of key.
func (m *memoView) Get(key []byte) []byte {
	if v, ok := m.memo[string(key)]; ok {
		return v
	}
	v := m.base.Get(key)
	m.memo[string(key)] = v
	return v
}

// Range yields what the base does.
func (m *memoView) Range(prefix []byte) iter.Seq2[[]byte, []byte] { return m.base.Range(prefix) }
