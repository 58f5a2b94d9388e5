package exec

import (
	"encoding/binary"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// What the index of a shard has beside that of every chain:
//
//	'i' | channel id                   bucket u8 and index of a channel that is known
//	'v' | channel id | lane u8 | seq   height of the block that booked, and which leaf of
//	                                   its usage root the booking is
const (
	idxKnown  = 'i'
	idxBooked = 'v'
)

func bookedKey(id ledger.Hash, lane uint8, seq uint64) []byte {
	return keyOf(idxBooked, append(id[:], lane), seq)
}

// Entries is that of Index.
func (s *shardRules) Entries(b *Committed, _ []*chain.Tx) (rows chain.Changes) {
	r := bodyOf[*ShardResult](b.Body)
	for i := range r.opened {
		rows = append(rows, knownRow(&r.opened[i]))
	}
	for _, id := range r.closed {
		rows = append(rows, chain.Change{Key: keyOf(idxKnown, id[:])})
	}
	for i := range r.Bookings {
		k := &r.Bookings[i]
		w := codec.NewWriter(8)
		w.Uvarint(b.Height)
		w.Uvarint(uint64(i))
		rows = append(rows, chain.Change{Key: bookedKey(k.ChannelID, k.Lane, k.Seq), Value: w.Bytes()})
	}
	return rows
}

func knownRow(c *channelPlace) chain.Change {
	w := codec.NewWriter(8)
	w.Uint8(c.bucket)
	w.Uvarint(c.index)
	return chain.Change{Key: keyOf(idxKnown, c.id[:]), Value: w.Bytes()}
}

// Forget is that of Index: bookings go with their block, as their receipts do.
func (s *shardRules) Forget(b *Committed, _ map[string]bool) (rows chain.Changes, err error) {
	for _, k := range bodyOf[*ShardResult](b.Body).Bookings {
		rows = append(rows, chain.Change{Key: bookedKey(k.ChannelID, k.Lane, k.Seq)})
	}
	return rows, nil
}

// Reindex is that of Index: the channels that are known.
func (s *shardRules) Reindex(v chain.View, _ uint64, add func(chain.Changes) error) error {
	var rows chain.Changes
	g := &s.genesis.Service.Shard
	for bucket := int(g.First); bucket <= int(g.Last); bucket++ {
		for c := range service.Channels(v, uint8(bucket)) {
			rows = append(rows, knownRow(&channelPlace{c.ID, uint8(bucket), c.Index}))
			if len(rows) < reindexBatch {
				continue
			}
			if err := add(rows); err != nil {
				return err
			}
			rows = rows[:0]
		}
	}
	return add(rows)
}

// SnapshotAt is that of Index.
func (s *shardRules) SnapshotAt(height, stride uint64) bool { return height%stride == 0 }

// CheckSnapshot is that of Index: a shard goes on from any height.
func (s *shardRules) CheckSnapshot(uint64) error { return nil }

// place returns where the state has a channel, and ok=false if it is not known.
func (s *shardRules) place(id ledger.Hash) (c channelPlace, ok bool, err error) {
	raw, err := s.exec.index.Get(keyOf(idxKnown, id[:]))
	if err != nil || raw == nil {
		return channelPlace{}, false, err
	}
	r := codec.NewReader(raw)
	c = channelPlace{id: id, bucket: r.Uint8(), index: r.Uvarint(noLimit)}
	if err := r.Done(); err != nil {
		return channelPlace{}, false, fmt.Errorf("look up channel %s: %w", id, err)
	}
	return c, true, nil
}

// booked is where a booking is.
type booked struct {
	lane   uint8
	seq    uint64
	height uint64
	leaf   int
}

func readBooked(key, value []byte) (b booked, err error) {
	at := 1 + ledger.HashSize
	if len(key) != at+9 {
		return b, fmt.Errorf("look up bookings: key %x", key)
	}
	b.lane, b.seq = key[at], binary.BigEndian.Uint64(key[at+1:])
	r := codec.NewReader(value)
	b.height, b.leaf = r.Uvarint(noLimit), int(r.Uvarint(1<<32-1))
	return b, r.Done()
}
