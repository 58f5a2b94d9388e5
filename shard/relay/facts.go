package relay

import (
	"math"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// facts are what a round needs of main's state.
type facts struct {
	height  uint64
	epoch   uint64 // of the block at height
	seed    ledger.Hash
	params  settlement.Params
	anchors anchor.Params
}

// readFacts reads main's state, of the block at height. ok is false while main has no
// epochs, and so no shards.
func readFacts(v chain.View, height uint64) (f facts, ok bool, err error) {
	p, err := settlement.ReadParams(v)
	if err != nil || height == 0 || p.Staking.EpochBlocks == 0 {
		return facts{}, false, err
	}
	f = facts{height: height, epoch: p.Staking.Epoch(height), params: p}
	f.seed = staking.Seed(v, f.epoch)
	f.anchors = p.Anchors
	return f, true, nil
}

// committeeOf returns who serves a shard, nil if nobody does. One that is replaced and
// not anchored to its end is served by those who end it.
func (f *facts) committeeOf(v chain.View, id shard.ID) *committee.Committee {
	epoch := f.epoch
	if s, ok := anchor.Read(v, id); ok && s.Until > 0 {
		epoch = min(epoch, s.Until)
	}
	return f.committeeIn(v, id, epoch)
}

// committeeIn returns who serves a shard in an epoch, nil if nobody does.
func (f *facts) committeeIn(v chain.View, id shard.ID, epoch uint64) *committee.Committee {
	a, ok := registry.ReadAssignment(v, epoch, id)
	if !ok {
		return nil
	}
	return &a.Committee
}

// spanOf returns the first and the last place of a shard.
func spanOf(s *anchor.State) (first, last link.Place) {
	first = link.Place{Service: s.Service, Zone: s.Zone, Bucket: uint8(s.Buckets.First)}
	last = first
	last.Bucket = uint8(s.Buckets.Last)
	return first, last
}

// carriers are those who are expected to carry from one chain to another, in their
// order: by lot whoever is in both committees, then whoever is in that of the source.
// Nil stands for main, whose committee everybody is in.
func (f *facts) carriers(way link.Link, src, dst *committee.Committee) [][committee.AddressSize]byte {
	var both, rest []committee.Member
	switch {
	case src == nil && dst == nil:
		return nil
	case src == nil:
		both = dst.Members
	case dst == nil:
		both = src.Members
	default:
		for _, m := range src.Members {
			if _, ok := dst.FindValidator(m.Validator); ok {
				both = append(both, m)
			} else {
				rest = append(rest, m)
			}
		}
	}
	order := make([][committee.AddressSize]byte, 0, len(both)+len(rest))
	for _, part := range [][]committee.Member{both, rest} {
		for _, i := range link.Expected(f.seed, f.epoch, way, len(part), math.MaxUint64) {
			order = append(order, part[i].Address())
		}
	}
	return order
}

// rankIn returns the place of a validator in an order.
func rankIn(order [][committee.AddressSize]byte, self [committee.AddressSize]byte) int {
	for i := range order {
		if order[i] == self {
			return i
		}
	}
	return nobody
}
