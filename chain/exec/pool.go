package exec

import (
	"bytes"
	"hash/maphash"
	"slices"
	"sync"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// reserve is the share of each bound that only urgent things may use: 1/4.
const reserve = 4

// pool holds the bundles that passed Check and are not committed. Proposing
// takes nothing out, so that a round that fails loses nothing; only a commit
// removes. It is safe for concurrent use.
type pool struct {
	maxBytes   int64
	maxBundles int
	maxRecords int
	maxAge     uint64
	seed       maphash.Seed

	mu      sync.Mutex
	bundles map[uint64]*bundle
	byHash  map[ledger.Hash]*bundle          // one of those with the record
	bySlot  map[slot][]*bundle               // one for each record with the slot
	fees    map[ledger.Address]ledger.Amount // expected of each signer's records
	bytes   int64
	records int
	order   uint64
}

func newPool(c Config) *pool {
	return &pool{
		maxBytes: c.PoolBytes, maxBundles: c.PoolBundles, maxRecords: c.PoolRecords, maxAge: c.MaxAge,
		seed:    maphash.MakeSeed(),
		bundles: make(map[uint64]*bundle),
		byHash:  make(map[ledger.Hash]*bundle),
		bySlot:  make(map[slot][]*bundle),
		fees:    make(map[ledger.Address]ledger.Amount),
	}
}

// keyOf is a fast keyed hash; whoever finds a bundle by it compares the bytes.
func (p *pool) keyOf(raw []byte) uint64 { return maphash.Bytes(p.seed, raw) }

// find returns the bundle of these bytes, or nil.
func (p *pool) find(raw []byte) *bundle {
	key := p.keyOf(raw)
	p.mu.Lock()
	b := p.bundles[key]
	p.mu.Unlock()
	if b == nil || !bytes.Equal(b.raw, raw) {
		return nil
	}
	return b
}

// add takes b in at head height. It refuses a bundle none of whose records is
// new, with CodeDuplicate or CodeNonceUsed, and one for which there is no room,
// with a BusyError.
func (p *pool) add(b *bundle, height uint64) error {
	key := p.keyOf(b.raw)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bundles[key] != nil {
		return nil // the same, or one whose key collides with it
	}
	if err := p.room(len(b.raw), len(b.records), b.urgent); err != nil {
		return err
	}
	if !slices.ContainsFunc(b.slots, func(s slot) bool { return len(p.bySlot[s]) == 0 }) {
		return p.nothingNew(b)
	}
	b.key = key
	b.live = len(b.slots)
	b.since = height
	b.order = p.order
	p.order++
	p.bundles[b.key] = b
	for i, s := range b.slots {
		p.bySlot[s] = append(p.bySlot[s], b)
		p.byHash[b.records[i].tx.Hash] = b
		p.fees[s.signer] += b.records[i].fee
	}
	p.bytes += int64(len(b.raw))
	p.records += len(b.records)
	return nil
}

// fits returns a BusyError unless there is room for a record of that size.
func (p *pool) fits(size int, urgent bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.room(size, 1, urgent)
}

func (p *pool) room(size, records int, urgent bool) error {
	maxBytes, maxBundles, maxRecords := p.maxBytes, p.maxBundles, p.maxRecords
	if !urgent {
		maxBytes, maxBundles, maxRecords = maxBytes-maxBytes/reserve, maxBundles-maxBundles/reserve, maxRecords-maxRecords/reserve
	}
	if p.bytes+int64(size) > maxBytes || len(p.bundles) >= maxBundles || p.records+records > maxRecords {
		return &BusyError{Reason: ErrPoolFull, RetryAfter: retryFull}
	}
	return nil
}

func (p *pool) nothingNew(b *bundle) error {
	for _, r := range b.records {
		if p.byHash[r.tx.Hash] == nil {
			return chain.Refuse(chain.CodeNonceUsed, "pending transactions use the nonces of all %d records", len(b.records))
		}
	}
	return chain.Refuse(chain.CodeDuplicate, "all %d records are pending in other bundles", len(b.records))
}

// holder returns the hash of the pending record that uses s, if there is one.
func (p *pool) holder(s slot) (ledger.Hash, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.bySlot[s] {
		for i := range b.slots {
			if b.slots[i] == s {
				return b.records[i].tx.Hash, true
			}
		}
	}
	return ledger.Hash{}, false
}

// owed returns the fees expected of an account's records in the pool.
func (p *pool) owed(signer ledger.Address) ledger.Amount {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fees[signer]
}

// has reports whether a record is in the pool.
func (p *pool) has(hash ledger.Hash) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byHash[hash] != nil
}

// usage returns what the pool holds.
func (p *pool) usage() (bundles, records int, size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.bundles), p.records, p.bytes
}

// committed removes the bundles of a block that is now the head, those whose
// records its transactions have used up, and those that are too old. used are
// the slots of the block's records.
func (p *pool) committed(height uint64, raw [][]byte, used []slot) {
	keys := make([]uint64, len(raw))
	for i := range raw {
		keys[i] = p.keyOf(raw[i])
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, key := range keys {
		if b := p.bundles[key]; b != nil && bytes.Equal(b.raw, raw[i]) {
			p.remove(b)
		}
	}
	for _, s := range used {
		for _, b := range p.bySlot[s] {
			b.live--
			if b.live <= 0 {
				p.remove(b)
			}
		}
		delete(p.bySlot, s)
	}
	for _, b := range p.bundles {
		if b.last != 0 && b.last <= height || height > b.since+p.maxAge {
			p.remove(b)
		}
	}
}

// evict removes the bundle of this node that holds a record, so that the record
// can be sent again.
func (p *pool) evict(hash ledger.Hash) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.byHash[hash]; b != nil && b.own {
		p.remove(b)
	}
}

// remove takes b out. The caller holds mu.
func (p *pool) remove(b *bundle) {
	if p.bundles[b.key] != b {
		return
	}
	delete(p.bundles, b.key)
	for i, s := range b.slots {
		if hash := b.records[i].tx.Hash; p.byHash[hash] == b {
			delete(p.byHash, hash)
		}
		if p.fees[s.signer] -= b.records[i].fee; p.fees[s.signer] == 0 {
			delete(p.fees, s.signer)
		}
		holders := p.bySlot[s]
		for j := range holders {
			if holders[j] == b {
				holders = append(holders[:j:j], holders[j+1:]...)
				break
			}
		}
		if len(holders) == 0 {
			delete(p.bySlot, s)
		} else {
			p.bySlot[s] = holders
		}
	}
	p.bytes -= int64(len(b.raw))
	p.records -= len(b.records)
}
