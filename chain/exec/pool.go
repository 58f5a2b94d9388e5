package exec

import (
	"bytes"
	"hash/maphash"
	"slices"
	"sync"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// reserve is the share of each bound that users' records may not use: 1/4. What is for
// shards may use half of it, and urgent things all.
const reserve = 4

// openTo returns how much of a bound is open to a class.
func openTo[T int | int64](bound T, c link.Class) T {
	switch c {
	case classUrgent:
		return bound
	case link.ClassUser:
		return bound - bound/reserve
	default:
		return bound - bound/reserve/2
	}
}

// pool holds the bundles that passed Check and are not committed. Proposing
// takes nothing out, so that a round that fails loses nothing; only a commit
// removes. It is safe for concurrent use.
//
// Anyone can put the records of others into a bundle of his own. So a record
// counts in one of its bundles only, the first unless a later one is a much
// better place: there it makes the bundle's rate, and from there it is proposed.
// The other bundles stand in if that one leaves the pool. Hence no record that
// may still execute is lost with a bundle, none is proposed twice in one block,
// and none that was executed is proposed again.
//
// Where records cost nothing one comes in only if it raises something beyond all that
// wait, and leaves when blocks have raised all of it: see Raises.
type pool struct {
	maxBytes   int64
	maxBundles int
	maxRecords int
	maxAge     uint64
	seed       maphash.Seed

	mu      sync.Mutex
	bundles map[uint64]*bundle
	slots   map[Slot]*held
	byHash  map[ledger.Hash]Slot             // of all records in slots
	fees    map[ledger.Address]ledger.Amount // expected of each signer's slots
	raised  raised
	bytes   int64
	records int
	order   uint64
}

// held is where the records of one slot are; never empty.
type held struct {
	places []place // the record counts in the first
	raises *Raises // of the one that came first
}

// place is a record of a bundle.
type place struct {
	b *bundle
	i int
}

func (p place) record() *record { return p.b.records[p.i] }

// share is some of the records of a bundle.
type share struct {
	records int
	bytes   int64 // of raw records
	weight  int64
	room    int64 // bytes that the weight takes
	fees    ledger.Amount
}

func (s *share) add(r *record) {
	s.records++
	s.bytes += int64(len(r.tx.Raw))
	s.weight += r.weight
	s.room += r.room
	s.fees += r.fee
}

func (s *share) sub(r *record) {
	s.records--
	s.bytes -= int64(len(r.tx.Raw))
	s.weight -= r.weight
	s.room -= r.room
	s.fees -= r.fee
}

// rate returns the expected fees in drops for each byte, or the weight of a
// byte if they weigh more.
func (s *share) rate() float64 {
	return float64(s.fees) / float64(max(1, s.bytes, s.room))
}

// halfOf reports whether s is at least half of all, by each measure.
func (s *share) halfOf(all *share) bool {
	return 2*s.records >= all.records && 2*s.bytes >= all.bytes && 2*s.weight >= all.weight
}

func newPool(c Config) *pool {
	return &pool{
		maxBytes: c.PoolBytes, maxBundles: c.PoolBundles, maxRecords: c.PoolRecords, maxAge: c.MaxAge,
		seed:    maphash.MakeSeed(),
		bundles: make(map[uint64]*bundle),
		slots:   make(map[Slot]*held),
		byHash:  make(map[ledger.Hash]Slot),
		fees:    make(map[ledger.Address]ledger.Amount),
		raised:  newRaised(),
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

// add takes b in at head height. It refuses one for which there is no room with
// a BusyError, and one most of whose records are pending in other bundles with
// CodeDuplicate or CodeNonceUsed, or raise no more than others that are with CodeStale. Of
// that one it returns the records that are not: they must come in by another bundle,
// or they would be lost. What this
// node packed itself is never refused as pending: if it was sent again, others
// lack it. Records of it that raise nothing stay out of the pool, and are idle.
func (p *pool) add(b *bundle, height uint64) (rest []*record, idle []ledger.Hash, err error) {
	key := p.keyOf(b.raw)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bundles[key] != nil {
		return nil, nil, nil // the same, or one whose key collides with it
	}
	if err := p.room(len(b.raw), len(b.records), b.class); err != nil {
		return nil, nil, err
	}
	dead := make([]bool, len(b.records))
	copy(dead, b.dead)
	ahead := make(map[Total]uint64)
	var fresh share
	for i, r := range b.records {
		switch {
		case dead[i]:
		case p.slots[b.slots[i]] == nil && !p.raised.suffice(r.raises, ahead):
			dead[i] = true
			idle = append(idle, r.tx.Hash)
		case p.fresh(b, i):
			fresh.add(r)
			rest = append(rest, r)
		}
	}
	switch {
	case !b.own && (len(rest) == 0 || !fresh.halfOf(&b.all)):
		return rest, nil, p.nothingNew(b, len(rest), len(idle))
	case len(idle) == len(b.records):
		return nil, idle, p.nothingNew(b, 0, len(idle))
	}
	b.dead = dead
	b.key, b.since, b.order = key, height, p.order
	b.mine, b.left = share{}, 0
	p.order++
	p.bundles[b.key] = b
	for i := range b.records {
		if !b.dead[i] {
			p.hold(place{b, i})
		}
	}
	p.bytes += int64(len(b.raw))
	p.records += len(b.records)
	return nil, idle, nil
}

// adds reports whether r is pending, or raises as much as it has to beyond what is.
func (p *pool) adds(r *record) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slots[r.slot()] != nil || p.raised.suffice(r.raises, nil)
}

// fresh reports whether record i of b is new, or b a much better place for it
// than where it counts: of an earlier class, or of twice the rate. A record can climb in
// this way a few times only.
func (p *pool) fresh(b *bundle, i int) bool {
	h := p.slots[b.slots[i]]
	if h == nil {
		return true
	}
	first := h.places[0]
	if first.record().tx.Hash != b.records[i].tx.Hash || first.b.class < b.class {
		return false
	}
	return b.class < first.b.class || b.rate > 2*first.b.rate
}

// hold enters a record that may execute. The caller holds mu.
func (p *pool) hold(at place) {
	s, r := at.b.slots[at.i], at.record()
	at.b.left++
	p.byHash[r.tx.Hash] = s
	h := p.slots[s]
	switch {
	case h == nil:
		p.slots[s] = &held{places: []place{at}, raises: r.raises}
		p.raised.add(s, r.raises)
	case p.fresh(at.b, at.i):
		p.discount(h.places[0])
		h.places = slices.Insert(h.places, 0, at)
	default:
		h.places = append(h.places, at)
		return
	}
	p.count(at)
}

// release takes out a record that hold entered. The caller holds mu.
func (p *pool) release(at place) {
	s, hash := at.b.slots[at.i], at.record().tx.Hash
	h := p.slots[s]
	first := h.places[0] == at
	h.places = slices.DeleteFunc(h.places, func(other place) bool { return other == at })
	at.b.left--
	if first {
		p.discount(at)
	}
	if len(h.places) == 0 {
		delete(p.slots, s)
		p.raised.remove(s, h.raises)
	} else if first {
		p.count(h.places[0])
	}
	if !slices.ContainsFunc(h.places, func(other place) bool { return other.record().tx.Hash == hash }) {
		delete(p.byHash, hash)
	}
}

// count makes a record count in its bundle, and its fee for its signer.
func (p *pool) count(at place) {
	at.b.mine.add(at.record())
	p.fees[at.b.slots[at.i].Signer] += at.record().fee
}

// discount undoes count.
func (p *pool) discount(at place) {
	at.b.mine.sub(at.record())
	signer := at.b.slots[at.i].Signer
	if p.fees[signer] -= at.record().fee; p.fees[signer] == 0 {
		delete(p.fees, signer)
	}
}

// fits returns a BusyError unless there is room for a record of that size and class.
func (p *pool) fits(size int, c link.Class) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.room(size, 1, c)
}

func (p *pool) room(size, records int, c link.Class) error {
	if p.bytes+int64(size) > openTo(p.maxBytes, c) || len(p.bundles) >= openTo(p.maxBundles, c) || p.records+records > openTo(p.maxRecords, c) {
		return &BusyError{Reason: ErrPoolFull, RetryAfter: retryFull}
	}
	return nil
}

// nothingNew refuses b, of whose records fresh are new and idle raise nothing.
func (p *pool) nothingNew(b *bundle, fresh, idle int) error {
	if idle > 0 {
		return chain.Refuse(chain.CodeStale, "%d of %d records raise nothing beyond what is pending, or too little for their entries", idle, len(b.records))
	}
	for i, r := range b.records {
		if _, pending := p.byHash[r.tx.Hash]; !pending && fresh == 0 && !b.dead[i] {
			return chain.Refuse(chain.CodeNonceUsed, "pending transactions use the nonces of all %d records", len(b.records))
		}
	}
	return chain.Refuse(chain.CodeDuplicate, "%d of %d records are pending in other bundles", len(b.records)-fresh, len(b.records))
}

// holder returns the hash of the pending record that uses s, if there is one.
func (p *pool) holder(s Slot) (ledger.Hash, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.slots[s]; h != nil {
		return h.places[0].record().tx.Hash, true
	}
	return ledger.Hash{}, false
}

// owed returns the fees expected of the records in the pool that the signer of s
// has in other slots.
func (p *pool) owed(s Slot) ledger.Amount {
	p.mu.Lock()
	defer p.mu.Unlock()
	owed := p.fees[s.Signer]
	if h := p.slots[s]; h != nil {
		owed -= h.places[0].record().fee
	}
	return owed
}

// has reports whether a record is in the pool.
func (p *pool) has(hash ledger.Hash) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.byHash[hash]
	return ok
}

// usage returns what the pool holds.
func (p *pool) usage() (bundles, records int, size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.bundles), p.records, p.bytes
}

// committed removes the bundles of a block that is now the head, those none of
// whose records can execute any more, and those that are too old. used are the
// slots that the block's records used up, failed its other records, which had their
// turn, and raises what it raised. It returns the records that have no effect any more
// because of those.
func (p *pool) committed(height uint64, raw [][]byte, used []Slot, failed []ledger.Hash, raises Raises) (stale []ledger.Hash) {
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
		for _, at := range p.places(s) {
			p.kill(at)
		}
	}
	for _, hash := range failed {
		for _, at := range p.placesOf(hash) {
			p.kill(at)
		}
	}
	for i := range raises.List {
		for _, s := range p.raised.executed(&raises.List[i], raises.Least) {
			stale = append(stale, p.slots[s].places[0].record().tx.Hash)
			for _, at := range p.places(s) {
				p.kill(at)
			}
		}
	}
	for _, b := range p.bundles {
		p.expire(b, height)
		if b.left == 0 || height > b.since+p.maxAge {
			p.remove(b)
		}
	}
	return stale
}

// expire kills the records of b that may execute in no block above height.
func (p *pool) expire(b *bundle, height uint64) {
	if b.expires == 0 || b.expires > height {
		return
	}
	for i, r := range b.records {
		if !b.dead[i] && r.expired(height+1) {
			p.kill(place{b, i})
		}
	}
	b.expires = firstExpiry(b.records, height)
}

// kill releases a record that cannot execute any more.
func (p *pool) kill(at place) {
	p.release(at)
	at.b.dead[at.i] = true
}

// evict removes the bundles of this node that hold a record, so that the record
// can be sent again.
func (p *pool) evict(hash ledger.Hash) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range p.placesOf(hash) {
		if at.b.own {
			p.remove(at.b)
		}
	}
}

// places returns a copy of where the records of a slot are.
func (p *pool) places(s Slot) []place {
	if h := p.slots[s]; h != nil {
		return slices.Clone(h.places)
	}
	return nil
}

// placesOf returns where a record is.
func (p *pool) placesOf(hash ledger.Hash) []place {
	s, ok := p.byHash[hash]
	if !ok {
		return nil
	}
	return slices.DeleteFunc(p.places(s), func(at place) bool { return at.record().tx.Hash != hash })
}

// remove takes b out. The caller holds mu.
func (p *pool) remove(b *bundle) {
	if p.bundles[b.key] != b {
		return
	}
	delete(p.bundles, b.key)
	for i := range b.records {
		if !b.dead[i] {
			p.release(place{b, i})
		}
	}
	p.bytes -= int64(len(b.raw))
	p.records -= len(b.records)
}
