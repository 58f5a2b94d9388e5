// Package shard says which chain keeps which accounts: the map of all shards of
// all services, how shards split and merge, and who serves each of them.
//
// A service has zones, a zone has 256 buckets, and a shard is a chain of its own
// that owns a range of the buckets of one zone of one service. Zone and bucket
// are the first two bytes of an address, so Map.Home finds the shard of an
// account in O(log n) and without looking anything up. Ranges are the nodes of
// the binary tree over the buckets: aligned powers of two. So each has exactly
// one sibling, a split is a halving, and a merge undoes it.
//
// A Map holds for one epoch. It changes only by Changes that are announced in an
// epoch e and hold from e+Notice, so that the map of e+2 can be told from the last
// block of e on, a whole epoch before anybody has to act by it. What the main
// chain does with m, the map of epoch e:
//
//	any block of e     Announce(m, ...)           a service is registered: its zones
//	last block of e    Announce(m, Plan(...)...)  splits and merges by loads and requests
//	                   m = Apply(m)               the map of e+1; heirs get their ids
//	                   Assign(Map: Apply(m), ...) who serves in e+2, by the seed that e closed for it
//
// What whoever does that has to hold to:
//   - Candidates are those of the main chain's election in the last block but one
//     of e, and only then the seed closes (beacon.Lag). Whoever could still choose a
//     stake, a registration or its work knowing the seed would choose its committee.
//   - Inputs.Previous are the committees of e+1 as they are then, after a Redraw, whose
//     members serve the next epoch too, and those of shards that are replaced in e+2. Epochs 0 and 1 are assigned
//     in the genesis, by its seed.
//   - A split or merge hands over with the first block of the parents in the epoch that
//     replaces them, which is their last: for that they have a committee of the members
//     before (Assignment.Last). Heirs begin with that state, restricted to their buckets,
//     and their committees with the parents' members. No shard is split or merged before
//     it has begun and something of it is final, or its heirs might wait for ever.
//   - A shard that learns of an epoch reports how full it was in the one before (Report):
//     Load.Block for every block that had something in it, and Load.Rest for those that
//     main made in that epoch beyond them, or idle shards would never merge. Main keeps the
//     last report of each shard. Heirs begin with a zero Load, and the parents' are
//     forgotten.
//   - Requests that Plan does not grant are forgotten. Map.Check tells an operator
//     why before, and the request is made again.
//   - Maps of past epochs are kept as long as what names a shard can still come:
//     evidence, and messages up to their expiry. A replaced shard is found in its
//     heirs only in the map of the epoch that replaced it and until they change.
//
// Sources: the design's chapters on places, on epochs, committees and rotation,
// and on split and merge. Ids, buckets and epochs are numbers, sizes are bytes,
// shares are basis points. Rule violations are sentinel errors of this package,
// wrapped with what was wrong; the chain that applies them gives them codes.
//
// It belongs to row 1b of the dependency order: pure functions of values. A Map
// is immutable, and everything here is safe for concurrent use.
package shard

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/tributary-network/tributary/ledger"
)

const (
	// Buckets is the number of buckets of a zone.
	Buckets = 256
	// MaxShards is the largest number of shards of a zone of a service.
	MaxShards = 16
	// FirstID is the lowest id of a shard. Below it are none and the main chain.
	FirstID = ledger.MainChain + 1
	// MaxID is the highest id of a shard. Above it are the ids under which
	// transactions are signed that are valid in all shards of a service, one for
	// each service.
	MaxID ID = 1<<31 - 1
	// MaxService is the highest number of a service.
	MaxService = 1<<31 - 1
)

// ID is the id of a shard's chain. Ids are given in ascending order, and none is
// given twice.
type ID = ledger.ChainID

// Bucket is one of the 256 parts of a zone: the first hash byte of an address.
type Bucket uint8

// BucketOf returns the bucket of an account within its zone.
func BucketOf(a ledger.Address) Bucket { return Bucket(a.Bucket()) }

// Range is the buckets from First to Last, both included. Those of shards are
// aligned powers of two: Size is 1, 2, 4 ... 256 and divides First.
type Range struct{ First, Last Bucket }

// Whole returns the range of all buckets.
func Whole() Range { return Range{Last: Buckets - 1} }

// Valid reports whether r is an aligned power of two.
func (r Range) Valid() bool {
	n := r.Size()
	return n > 0 && bits.OnesCount(uint(n)) == 1 && int(r.First)%n == 0
}

// Size returns the number of buckets, 0 or less if Last is below First.
func (r Range) Size() int { return int(r.Last) - int(r.First) + 1 }

// Contains reports whether b is in r.
func (r Range) Contains(b Bucket) bool { return r.First <= b && b <= r.Last }

// Halves returns the two halves of a valid r, the lower first. A single bucket
// has none: ok is false.
func (r Range) Halves() (low, high Range, ok bool) {
	half := Bucket(r.Size() / 2)
	if half == 0 {
		return r, r, false
	}
	return Range{r.First, r.First + half - 1}, Range{r.First + half, r.Last}, true
}

// Sibling returns the other half of what a valid r is a half of. The whole has
// none: ok is false.
func (r Range) Sibling() (s Range, ok bool) {
	n := r.Size()
	if n == Buckets {
		return r, false
	}
	return Range{r.First ^ Bucket(n), r.Last ^ Bucket(n)}, true
}

// String returns the range in hexadecimal: "00-7f".
func (r Range) String() string { return fmt.Sprintf("%02x-%02x", uint8(r.First), uint8(r.Last)) }

// Divide returns n ranges, 1 to MaxShards, that are all buckets: the whole,
// halved at its largest range, the lowest among equals, until there are n. They
// ascend.
func Divide(n int) []Range {
	list := append(make([]Range, 0, n), Whole())
	for len(list) < n {
		at := 0
		for i, r := range list {
			if r.Size() > list[at].Size() {
				at = i
			}
		}
		low, high, _ := list[at].Halves()
		list = slices.Insert(list, at+1, high)
		list[at] = low
	}
	return list
}

// Shard is a chain that owns buckets of one zone of one service.
type Shard struct {
	ID      ID
	Service uint32
	Zone    byte
	Buckets Range
	// Since is the first epoch in which the shard serves.
	Since uint64
	// Parents are the shards whose state this one began with: none for a shard
	// that was founded with its zone, one after a split, two after a merge, the one
	// with the lower buckets first. They are not in the map any more.
	Parents []ID
}

// String names the shard for people: "shard 5 (service 1, zone 2, buckets 00-7f)".
func (s Shard) String() string {
	return fmt.Sprintf("shard %d (service %d, zone %d, buckets %s)", s.ID, s.Service, s.Zone, s.Buckets)
}
