package service

import (
	"math"
	"math/bits"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// Spot is a lane in the order of outstanding settlements: by payee, channel and lane. The
// zero Spot comes before all.
type Spot struct {
	Payee ledger.Address
	Index uint64
	Lane  uint8
}

// key returns what follows the table in the keys of pending lanes of the spot.
func (s *Spot) key() []byte {
	return appendLaneRef(make([]byte, 0, laneRefSize), &s.Payee, s.Index, s.Lane)
}

// Page is some of the outstanding settlements of a shard.
type Page struct {
	// List are the settlements. Those of one payee follow each other; Epoch is 0.
	List []Settlement
	// Next is where the next page begins: the zero Spot if nothing comes after this one.
	Next Spot
	// Passed says that lanes of a payee were passed over, because it has too many.
	Passed bool
}

// Outstanding returns settlements of lanes that were settled and not paid, with the best
// vouchers of now: what a relay that was away sends to the main chain. They begin with
// the lane from, in their order, and are at most limit lanes in all, each of one payee: what it has
// beyond that is passed over, so that those after it come. A page costs what is on it,
// whatever comes before it or is passed over, if v is a chain.Seeker.
func Outstanding(v chain.View, from Spot, limit, each int) (out Page) {
	s, p := ReadShard(v), must(ReadParams(v))
	m := merging(v, &s, tablePending, from.key())
	defer m.close()
	var refs []laneRef
	lanes := 0 // of the last payee
	for key := m.least(); key != nil; key = m.least() {
		ref := parseRef(key, false)
		if len(refs) > 0 && ref.payee != refs[len(refs)-1].payee {
			lanes = 0
		}
		if len(refs) >= limit {
			out.Next = Spot{ref.payee, ref.index, ref.lane}
			break
		}
		if lanes++; lanes > each {
			out.Passed = true
			m.pass((&Spot{ref.payee, math.MaxUint64, math.MaxUint8}).key())
			continue
		}
		refs = append(refs, ref)
		m.advance()
	}
	out.List = batches(v, refs, int(p.BatchEntries))
	return out
}

// Homed names a channel by the bucket of its payer.
type Homed struct {
	Bucket uint8
	Index  uint64
}

// OutstandingOn is Outstanding for the lanes of some channels, which need not be those of
// this shard.
func OutstandingOn(v chain.View, channels []Homed) []Settlement {
	s, p := ReadShard(v), must(ReadParams(v))
	var refs []laneRef
	for _, at := range channels {
		if at.Bucket < s.First || at.Bucket > s.Last {
			continue
		}
		c, ok := ChannelAt(v, at.Bucket, at.Index)
		if !ok {
			continue
		}
		for set := c.Lanes; set != 0; set &= set - 1 {
			ref := laneRef{bucket: at.Bucket, payee: c.Payee, index: at.Index, lane: uint8(bits.TrailingZeros64(set))}
			if l := LaneOf(v, &c, at.Index, ref.lane); l.Pending() {
				refs = append(refs, ref)
			}
		}
	}
	slices.SortFunc(refs, laneRef.compare)
	return batches(v, refs, int(p.BatchEntries))
}
