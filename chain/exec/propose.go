package exec

import (
	"bytes"
	"cmp"
	"log/slog"
	"maps"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/shard/link"
)

// bundleOverhead is what consensus adds at most to each bundle of a block.
const bundleOverhead = 6

// ShardsPart is the part of a block of main that records for shards have before users', by
// bytes and by weight: 1/3.
const ShardsPart = 3

// Propose picks the bundles of the block at height, of at most maxBytes as
// consensus counts them and at most Traits.BlockBytes and
// Traits.BlockWeight: urgent ones first, by deadline, until the share reserved
// for them is used up; then those for shards, by class, until their third of the block
// is, or one that is more than that alone, if it came before all of them, so that it is
// not left for ever; then all by expected fee for each byte, then by arrival.
// mempool is what consensus holds, oldest first; what the pool does not know of it
// is checked and packed like the rest.
// Nothing is taken out of the pool. A bundle some of whose records were executed,
// have expired, or count in another bundle is proposed without them, so that a
// block has no record twice and none known to have no effect.
//
// Nonces may be used in any order within an account's window, and nothing beyond
// the window passes Check, so the order of one signer's records does not matter.
//
// On a chain that takes relays these come first, as its rules plan them.
//
// The first bundle is the seal of this node, if it is in the epoch's committee.
func (e *Executor) Propose(height uint64, maxBytes int64, mempool [][]byte) [][]byte {
	seal := e.seal(height)
	if seal == nil {
		return e.pick(height, maxBytes, mempool)
	}
	return append([][]byte{seal}, e.pick(height, maxBytes-int64(len(seal)+bundleOverhead), mempool)...)
}

// pick returns the bundles of a block but for its seal.
func (e *Executor) pick(height uint64, maxBytes int64, mempool [][]byte) [][]byte {
	var tick []byte
	for _, raw := range mempool {
		if e.traits.Relays && chain.IsRelay(raw) {
			_ = e.checkRelay(raw, false) // what does not apply is not proposed
			continue
		}
		if e.pool.find(raw) != nil {
			continue
		}
		b, err := e.examine(bytes.Clone(raw))
		switch {
		case err != nil:
			continue // a seal, for instance
		case b.tick == height:
			tick = raw
		case b.tick == 0:
			_ = e.admit(b) // a full pool has better ones to propose
		}
	}
	picked := e.fill(height, maxBytes)
	if len(picked) == 0 && tick != nil && int64(len(tick)+bundleOverhead) <= maxBytes {
		picked = append(picked, tick)
	}
	return picked
}

// fill returns the relays and then the records of a block.
func (e *Executor) fill(height uint64, maxBytes int64) [][]byte {
	if !e.traits.Relays {
		return e.pool.pick(nil, maxBytes, &e.traits)
	}
	takes, err := e.takesRecords(height)
	users := int64(0)
	if takes {
		users = e.pool.liveBytes()
	}
	var relays [][]byte
	if err == nil {
		relays, err = e.planRelays(height, users, min(maxBytes, e.traits.BlockBytes))
	}
	switch {
	case err != nil:
		e.log.Error("nothing proposed", slog.Uint64("height", height), slog.Any("err", err))
		return nil
	case !takes:
		return relays
	}
	return e.pool.pick(relays, maxBytes, &e.traits)
}

// packing is a block being filled.
type packing struct {
	raw        [][]byte
	blockLeft  int64 // bytes of bundles
	wireLeft   int64 // bytes as consensus counts them
	weightLeft int64
	taken      map[*bundle]bool
}

// liveBytes is how many bytes of records could go into a block.
func (p *pool) liveBytes() (size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.bundles {
		size += b.mine.bytes
	}
	return size
}

// pick returns the bundles of a block that begins with first, in their order.
func (p *pool) pick(first [][]byte, maxBytes int64, limits *Traits) [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	var urgent, shards, all []*bundle
	for _, b := range p.bundles {
		if b.mine.records == 0 {
			continue
		}
		all = append(all, b)
		switch {
		case b.urgent:
			urgent = append(urgent, b)
		case b.class < link.ClassUser:
			shards = append(shards, b)
		}
	}
	slices.SortFunc(urgent, func(a, b *bundle) int {
		return cmp.Or(cmp.Compare(a.deadline, b.deadline), bytes.Compare(a.records[0].tx.Hash[:], b.records[0].tx.Hash[:]))
	})
	slices.SortFunc(all, byRate)
	slices.SortFunc(shards, func(a, b *bundle) int { return cmp.Or(cmp.Compare(a.class, b.class), byRate(a, b)) })
	fill := packing{
		blockLeft: limits.BlockBytes, wireLeft: maxBytes, weightLeft: limits.BlockWeight,
		taken: make(map[*bundle]bool), raw: first,
	}
	for _, raw := range first {
		fill.blockLeft -= int64(len(raw))
		fill.wireLeft -= int64(len(raw) + bundleOverhead)
	}
	room := fill.blockLeft
	reserved := limits.ReservedBytes
	for _, b := range urgent {
		if room-fill.blockLeft >= reserved {
			break
		}
		p.put(&fill, b)
	}
	p.putShards(&fill, shards, packing{
		blockLeft: limits.BlockBytes / ShardsPart, wireLeft: maxBytes / ShardsPart, weightLeft: limits.BlockWeight / ShardsPart,
	})
	for _, b := range all {
		if fill.wireLeft < chain.TxOverhead {
			break
		}
		p.put(&fill, b)
	}
	return fill.raw
}

func byRate(a, b *bundle) int {
	return cmp.Or(cmp.Compare(b.mine.rate(), a.mine.rate()), cmp.Compare(a.order, b.order))
}

// putShards adds those of list that fit into part of the block, or the first to arrive of
// those that do not even alone, if it came before all that would be added: what comes
// later does not keep it out for ever.
func (p *pool) putShards(fill *packing, list []*bundle, part packing) {
	var large *bundle
	for _, b := range list {
		if !part.holds(b) && fill.holds(b) && !fill.taken[b] && (large == nil || b.order < large.order) {
			large = b
		}
	}
	lane := *fill
	lane.raw, lane.taken = slices.Clone(fill.raw), maps.Clone(fill.taken)
	block := max(0, lane.blockLeft-part.blockLeft)
	wire := max(0, lane.wireLeft-part.wireLeft)
	weight := max(0, lane.weightLeft-part.weightLeft)
	lane.blockLeft, lane.wireLeft, lane.weightLeft = lane.blockLeft-block, lane.wireLeft-wire, lane.weightLeft-weight
	first := true // whether large is
	for _, b := range list {
		if p.put(&lane, b); lane.taken[b] && !fill.taken[b] && large != nil && b.order < large.order {
			first = false
		}
	}
	if large != nil && first {
		if p.put(fill, large); fill.taken[large] {
			return
		}
	}
	lane.blockLeft, lane.wireLeft, lane.weightLeft = lane.blockLeft+block, lane.wireLeft+wire, lane.weightLeft+weight
	*fill = lane
}

// holds reports whether there is room for what counts in b.
func (f *packing) holds(b *bundle) bool {
	return b.mine.bytes <= f.blockLeft && b.mine.bytes+bundleOverhead <= f.wireLeft && b.mine.weight <= f.weightLeft
}

// put adds what counts in b to the block if it fits.
func (p *pool) put(fill *packing, b *bundle) {
	if fill.taken[b] || b.mine.bytes > fill.blockLeft || b.mine.weight > fill.weightLeft {
		return
	}
	raw := b.raw
	if b.mine.records < len(b.records) {
		raw = p.trimmed(b)
	}
	size := int64(len(raw))
	if size > fill.blockLeft || size+bundleOverhead > fill.wireLeft {
		return
	}
	fill.taken[b] = true
	fill.raw = append(fill.raw, raw)
	fill.blockLeft -= size
	fill.wireLeft -= size + bundleOverhead
	fill.weightLeft -= b.mine.weight
}

// trimmed returns the bundle of the records that count in b.
func (p *pool) trimmed(b *bundle) []byte {
	records := make([][]byte, 0, b.mine.records)
	for i, r := range b.records {
		if !b.dead[i] && p.slots[b.slots[i]].places[0] == (place{b, i}) {
			records = append(records, r.tx.Raw)
		}
	}
	return chain.EncodeRecords(records)
}
