package shard

import (
	"fmt"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

const (
	shardSize  = 4 + 4 + 1 + 1 + 1 + 8 + 1 // without parents
	changeSize = 1 + 8 + 4 + 1 + 1 + 1     // without parents
)

// Hash returns the hash of the map's encoding.
func (m *Map) Hash() ledger.Hash { return ledger.HashOf("trib/shard/map/1", m.Encode()) }

// Encode returns the canonical encoding: epoch 8, next id 4, number of shards 4,
// the shards by service, zone and first bucket, number of announced changes 4,
// and these by epoch, service and zone.
//
//	shard:  id 4 | service 4 | zone 1 | first bucket 1 | last bucket 1 | since 8 | parents
//	change: kind 1 | from epoch 8 | service 4 | zone 1 | parents | count 1
//
// where parents are a number 1 and ids 4.
func (m *Map) Encode() []byte {
	w := codec.NewWriter(20 + (shardSize+8)*len(m.shards) + (changeSize+8)*len(m.announced))
	w.Uint64(m.epoch)
	w.Uint32(uint32(m.next))
	w.Uint32(uint32(len(m.shards)))
	for i := range m.shards {
		s := &m.shards[i]
		w.Uint32(uint32(s.ID))
		w.Uint32(s.Service)
		w.Uint8(s.Zone)
		w.Uint8(uint8(s.Buckets.First))
		w.Uint8(uint8(s.Buckets.Last))
		w.Uint64(s.Since)
		writeIDs(w, s.Parents)
	}
	w.Uint32(uint32(len(m.announced)))
	for i := range m.announced {
		c := &m.announced[i]
		w.Uint8(uint8(c.Kind))
		w.Uint64(c.At)
		w.Uint32(c.Service)
		w.Uint8(c.Zone)
		writeIDs(w, c.Shards)
		w.Uint8(c.Count)
	}
	return w.Bytes()
}

func writeIDs(w *codec.Writer, ids []ID) {
	w.Uint8(uint8(len(ids)))
	for _, id := range ids {
		w.Uint32(uint32(id))
	}
}

// readIDs reads up to two ids; what has more is no list that rules make.
func readIDs(r *codec.Reader) (ids []ID) {
	for range r.Uvarint(2) {
		ids = append(ids, ID(r.Uint32()))
	}
	return ids
}

// readCount reads a number of things of at least size bytes each. What cannot
// hold them is read to its end, and so fails.
func readCount(r *codec.Reader, size int) int {
	n := int(r.Uint32())
	if n > r.Remaining()/size {
		r.Fixed(r.Remaining() + 1)
		return 0
	}
	return n
}

// Decode reads what Encode wrote. Beside the errors of codec it returns those of
// New, and ErrBadMap for what is not in its order.
func Decode(b []byte) (*Map, error) {
	r := codec.NewReader(b)
	epoch, next := r.Uint64(), ID(r.Uint32())
	shards := make([]Shard, readCount(r, shardSize))
	for i := range shards {
		s := &shards[i]
		s.ID, s.Service, s.Zone = ID(r.Uint32()), r.Uint32(), r.Uint8()
		s.Buckets = Range{Bucket(r.Uint8()), Bucket(r.Uint8())}
		s.Since = r.Uint64()
		s.Parents = readIDs(r)
	}
	announced := make([]Change, readCount(r, changeSize))
	for i := range announced {
		c := &announced[i]
		c.Kind, c.At = Kind(r.Uint8()), r.Uint64()
		c.Service, c.Zone = r.Uint32(), r.Uint8()
		c.Shards = readIDs(r)
		c.Count = r.Uint8()
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("decode map of shards: %w", err)
	}
	for i := 1; i < len(shards); i++ {
		a, b := &shards[i-1], &shards[i]
		if d := a.place().compare(b.place()); d > 0 || d == 0 && a.Buckets.First > b.Buckets.First {
			return nil, fmt.Errorf("%s stands behind %s: %w", b, a, ErrBadMap)
		}
	}
	for i := 1; i < len(announced); i++ {
		if a, b := &announced[i-1], &announced[i]; compareChanges(*a, *b) > 0 {
			return nil, fmt.Errorf("%s stands behind %s: %w", b, a, ErrBadMap)
		}
	}
	return New(epoch, next, shards, announced)
}
