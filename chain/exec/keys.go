package exec

import (
	"hash/maphash"
	"sync"

	"github.com/tributary-network/tributary/ledger"
)

// keyCache remembers decoded public keys. Each key has one place, where the next
// key of that place follows it; nobody can foresee which keys share one. It is
// safe for concurrent use.
type keyCache struct {
	seed maphash.Seed

	mu     sync.Mutex
	places []ledger.DecodedKey
}

var _ ledger.Keys = (*keyCache)(nil)

func newKeyCache(places int) *keyCache {
	return &keyCache{seed: maphash.MakeSeed(), places: make([]ledger.DecodedKey, max(1, places))}
}

func (c *keyCache) place(key ledger.PublicKey) *ledger.DecodedKey {
	return &c.places[maphash.Bytes(c.seed, key[:])%uint64(len(c.places))]
}

// Load implements ledger.Keys. The zero key, of which an empty place is, is none.
func (c *keyCache) Load(key *ledger.PublicKey, d *ledger.DecodedKey) bool {
	place := c.place(*key)
	c.mu.Lock()
	defer c.mu.Unlock()
	if place.Key() != *key || key.IsZero() {
		return false
	}
	*d = *place
	return true
}

// Store implements ledger.Keys.
func (c *keyCache) Store(d *ledger.DecodedKey) {
	place := c.place(d.Key())
	c.mu.Lock()
	defer c.mu.Unlock()
	*place = *d
}
