package exec

import (
	"encoding/binary"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/shard"
)

// What the index keeps of services and shards, beside what it keeps of blocks:
//
//	'u' | height               what happened to services and shards
//	'j' | shard u32 | last     first height of the run of anchors that ends with last,
//	                           height of the block of the main chain, position of the
//	                           transaction in it
const (
	idxShards  = 'u'
	idxAnchors = 'j'
)

// maxShardScan is how many blocks one call of ShardEvents looks at.
const maxShardScan = 4_096

// ShardEvents is what a block of the main chain did to services and shards.
type ShardEvents struct {
	Height   uint64
	Registry []registry.Event
	Shards   []settlement.ShardEvent
}

// AnchoredIn is the run of anchors that anchored a height of a shard.
type AnchoredIn struct {
	First, Last uint64 // heights of the shard
	Height      uint64 // of the main chain
	TxIndex     uint32
}

// indexShards returns the index entries of what a block did to services and shards.
func indexShards(r *settlement.Result) (pairs []chain.Change) {
	if len(r.Shards) == 0 && len(r.Registry) == 0 {
		return nil
	}
	e := ShardEvents{Height: r.Height, Registry: r.Registry, Shards: r.Shards}
	pairs = append(pairs, chain.Change{Key: keyOf(idxShards, nil, r.Height), Value: encodeShardEvents(&e)})
	for i := range r.Shards {
		ev := &r.Shards[i]
		if ev.Kind != settlement.ShardAnchored {
			continue
		}
		w := codec.NewWriter(16)
		w.Uvarint(ev.First)
		w.Uvarint(r.Height)
		w.Uvarint(uint64(max(ev.TxIndex, 0))) //nolint:gosec // not negative
		pairs = append(pairs, chain.Change{Key: anchoredKey(ev.Shard, ev.Last), Value: w.Bytes()})
	}
	return pairs
}

func anchoredKey(id shard.ID, last uint64) []byte {
	return keyOf(idxAnchors, binary.BigEndian.AppendUint32(nil, uint32(id)), last)
}

// forgetShards returns the entries that go with a block.
func (m *mainRules) forgetShards(height uint64) (pairs []chain.Change, err error) {
	key := keyOf(idxShards, nil, height)
	raw, err := m.exec.index.Get(key)
	if err != nil || raw == nil {
		return nil, err
	}
	e, err := decodeShardEvents(height, raw)
	if err != nil {
		return nil, err
	}
	for i := range e.Shards {
		if ev := &e.Shards[i]; ev.Kind == settlement.ShardAnchored {
			pairs = append(pairs, chain.Change{Key: anchoredKey(ev.Shard, ev.Last)})
		}
	}
	return append(pairs, chain.Change{Key: key}), nil
}

// Anchored returns which run of anchors anchored a height of a shard; ok is false if it
// is not anchored, or by a block that is not kept.
func (m *Main) Anchored(id shard.ID, height uint64) (at AnchoredIn, ok bool, err error) {
	prefix := keyOf(idxAnchors, binary.BigEndian.AppendUint32(nil, uint32(id)))
	var bad error
	err = m.scan(anchoredKey(id, height), prefix, func(key, value []byte) bool {
		r := codec.NewReader(value)
		at = AnchoredIn{
			First: r.Uvarint(noLimit), Last: binary.BigEndian.Uint64(key[len(prefix):]),
			Height: r.Uvarint(noLimit), TxIndex: uint32(r.Uvarint(1<<32 - 1)),
		}
		bad, ok = r.Done(), at.First <= height
		return false
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		return AnchoredIn{}, false, fmt.Errorf("look up the anchor of block %d of shard %d: %w", height, id, err)
	}
	return at, ok, nil
}

// ShardEvents hands what blocks below before did to services and shards to f, newest
// first, until f returns false, and returns the height to go on from: 0 if there is
// nothing more. The head counts as below 0.
func (m *Main) ShardEvents(before uint64, f func(e *ShardEvents) bool) (next uint64, err error) {
	prefix := []byte{idxShards}
	to := []byte{idxShards + 1}
	if before > 0 {
		to = keyOf(idxShards, nil, before)
	}
	var bad error
	looked := 0
	err = walk(m.index.Iterate(prefix, to, true), func(key, value []byte) bool {
		height := binary.BigEndian.Uint64(key[1:])
		if looked++; looked > maxShardScan {
			next = height + 1
			return false
		}
		var e ShardEvents
		if e, bad = decodeShardEvents(height, value); bad != nil {
			return false
		}
		if !f(&e) {
			next = height
			return false
		}
		return true
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		return 0, fmt.Errorf("read what happened to shards: %w", err)
	}
	return next, nil
}

// encodeShardEvents writes events densely: about 12 bytes each.
func encodeShardEvents(e *ShardEvents) []byte {
	w := codec.NewWriter(8 + 24*(len(e.Registry)+len(e.Shards)))
	w.Uvarint(uint64(len(e.Registry)))
	for i := range e.Registry {
		ev := &e.Registry[i]
		w.Uint8(uint8(ev.Kind))
		w.Uvarint(uint64(ev.TxIndex + 1)) //nolint:gosec // at least -1
		w.Uvarint(uint64(ev.Service))
		w.Uvarint(uint64(ev.Version))
		w.Uint8(ev.Zone)
		w.Uvarint(ev.Validator)
		w.Uint8(uint8(ev.Change))
		writeIDs(w, ev.Shards)
		writeIDs(w, ev.Heirs)
		w.Uvarint(ev.Epoch)
	}
	w.Uvarint(uint64(len(e.Shards)))
	for i := range e.Shards {
		ev := &e.Shards[i]
		w.Uint8(uint8(ev.Kind))
		for _, n := range []uint64{uint64(ev.TxIndex + 1), uint64(ev.Shard), ev.First, ev.Last, ev.Epoch, uint64(ev.Round), uint64(ev.Guilty), uint64(ev.Generation)} { //nolint:gosec // at least -1
			w.Uvarint(n)
		}
	}
	return w.Bytes()
}

func writeIDs(w *codec.Writer, ids []shard.ID) {
	w.Uvarint(uint64(len(ids)))
	for _, id := range ids {
		w.Uvarint(uint64(id))
	}
}

// decodeShardEvents reads what encodeShardEvents wrote.
func decodeShardEvents(height uint64, raw []byte) (ShardEvents, error) {
	const most = 1<<32 - 1
	e := ShardEvents{Height: height}
	r := codec.NewReader(raw)
	for n := r.Uvarint(uint64(r.Remaining())); n > 0 && r.Err() == nil; n-- {
		ev := registry.Event{
			Kind: registry.EventKind(r.Uint8()), TxIndex: int(r.Uvarint(most)) - 1, Service: uint32(r.Uvarint(most)),
			Version: uint32(r.Uvarint(most)), Zone: r.Uint8(), Validator: r.Uvarint(noLimit), Change: shard.Kind(r.Uint8()),
		}
		ev.Shards, ev.Heirs, ev.Epoch = readIDs(r), readIDs(r), r.Uvarint(noLimit)
		e.Registry = append(e.Registry, ev)
	}
	for n := r.Uvarint(uint64(r.Remaining())); n > 0 && r.Err() == nil; n-- {
		e.Shards = append(e.Shards, settlement.ShardEvent{
			Kind: settlement.ShardEventKind(r.Uint8()), TxIndex: int(r.Uvarint(most)) - 1, Shard: shard.ID(r.Uvarint(most)),
			First: r.Uvarint(noLimit), Last: r.Uvarint(noLimit), Epoch: r.Uvarint(noLimit), Round: uint32(r.Uvarint(most)), Guilty: uint32(r.Uvarint(most)),
			Generation: uint32(r.Uvarint(most)),
		})
	}
	if err := r.Done(); err != nil {
		return ShardEvents{}, fmt.Errorf("decode what block %d did to shards: %w", height, err)
	}
	return e, nil
}

func readIDs(r *codec.Reader) (ids []shard.ID) {
	for n := r.Uvarint(uint64(r.Remaining())); n > 0 && r.Err() == nil; n-- {
		ids = append(ids, ledger.ChainID(r.Uvarint(1<<32-1)))
	}
	return ids
}
