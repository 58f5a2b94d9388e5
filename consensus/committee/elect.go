package committee

import (
	"bytes"
	"cmp"
	"math/bits"
	"slices"

	"github.com/tributary-network/tributary/ledger"
)

// PowerUnit is the stake in drops that makes one unit of power. It is fixed, so
// that the power of a member does not jump with the stakes of others, and large
// enough that all drops that can exist make less than MaxTotalPower.
const PowerUnit = 1 << 11

// maxCut says how much of all stake the cap may take: the maxCut-th part.
const maxCut = 4

// Rules decide an election. They are consensus parameters.
type Rules struct {
	// Seats is the largest number of members, at most MaxSeats (more counts as
	// MaxSeats).
	Seats uint32
	// PowerCapBps is the share of the total power, in basis points, that one member
	// is to have at most, as far as that costs no more than a quarter of the stake;
	// see Elect. From ledger.BasisPoints on there is no cap, and with 0 the quarter
	// decides alone.
	PowerCapBps uint32
	// MinStake and MinSelfStake are the smallest stake in all and by the
	// validator itself that can be elected, in drops.
	MinStake, MinSelfStake uint64
}

// Elect returns the members that candidates elect under r: those with the
// highest stakes, at most r.Seats, each with power.
//
// Candidates below r.MinStake or r.MinSelfStake, or without any stake, are not
// elected. Where stakes are equal the lower SHA-256 of seed and consensus key
// goes first, then the lower row. The order of candidates does not matter; it
// is not changed.
//
// A stake of s drops is max(1, s/PowerUnit) units of power, but not more than the
// cap: the largest whole number of units that is at most r.PowerCapBps of the sum of
// the powers it leads to, exactly, or the smallest that leaves three quarters of all
// units, exactly, whichever is higher. So a whale is cut as far as others have stake
// to stand in for it, and where the members are few or the others are dwarfs, the
// cap gives way: what is cut from the large must not make the small rule. Whatever
// the stakes and whatever the cap:
//
//   - Members with x of the units have at most 4/3 x of the power. A third of the
//     power takes a quarter of the units, two thirds take half of them.
//   - Nobody has more than a third of the power, under a cap of at most a third, if
//     no member has more than half of the units and no two have more than three
//     quarters (up to one unit, which rounding takes).
//   - Every power is at least 1, more stake never means less power, and the sum is at
//     most MaxTotalPower provided that all stakes are drops of one supply (at most
//     ledger.MaxAmount together).
//
// More than that no cap can do: others cannot hold a whale down without themselves
// holding more than their share, and a whale that means harm runs several
// validators. The cap is for large operators that fail.
//
// Members come by power, highest first, then by that hash.
func Elect(r Rules, seed ledger.Hash, candidates []Candidate) []Member {
	type ranked struct {
		*Candidate
		hash  ledger.Hash
		power uint64
	}
	var list []ranked
	for i := range candidates {
		c := &candidates[i]
		if c.Stake > 0 && c.Stake >= r.MinStake && c.SelfStake >= r.MinSelfStake {
			list = append(list, ranked{c, lot(seed, &c.ConsensusKey), 0})
		}
	}
	byLot := func(a, b ranked) int {
		return cmp.Or(bytes.Compare(a.hash[:], b.hash[:]), cmp.Compare(a.Validator, b.Validator))
	}
	slices.SortFunc(list, func(a, b ranked) int { return cmp.Or(cmp.Compare(b.Stake, a.Stake), byLot(a, b)) })
	list = list[:min(len(list), int(min(r.Seats, MaxSeats)))]
	if len(list) == 0 {
		return nil
	}

	units := make([]uint64, len(list))
	for i := range list {
		units[i] = max(1, list[i].Stake/PowerUnit)
	}
	limit := powerCap(units, r.PowerCapBps)
	for i := range list {
		list[i].power = min(units[i], limit)
	}
	slices.SortFunc(list, func(a, b ranked) int { return cmp.Or(cmp.Compare(b.power, a.power), byLot(a, b)) })
	members := make([]Member, len(list))
	for i, m := range list {
		members[i] = Member{Validator: m.Validator, ConsensusKey: m.ConsensusKey, BLSKey: m.BLSKey, Power: m.power}
	}
	return members
}

// lot breaks ties.
func lot(seed ledger.Hash, key *[32]byte) ledger.Hash {
	return ledger.HashOf("trib/elect/1", seed[:], key[:])
}

// order puts members into the order in which Elect returns them.
func order(seed ledger.Hash, members []Member) {
	lots := make(map[uint64]ledger.Hash, len(members))
	for i := range members {
		lots[members[i].Validator] = lot(seed, &members[i].ConsensusKey)
	}
	slices.SortFunc(members, func(a, b Member) int {
		left, right := lots[a.Validator], lots[b.Validator]
		return cmp.Or(cmp.Compare(b.Power, a.Power), bytes.Compare(left[:], right[:]), cmp.Compare(a.Validator, b.Validator))
	})
}

// powerCap returns the cap on units that Elect describes, between the smallest and
// the largest of them. units are in descending order, not empty and at least 1.
//
// The sum of min(unit, c) grows with c, and is a concave function of it and 0 at 0:
// what leaves enough does so with everything above it, and what keeps to bps does so
// with everything below it. So halving finds both.
func powerCap(units []uint64, bps uint32) uint64 {
	var total uint64 // at most MaxSeats * 2^53: no overflow
	for _, u := range units {
		total += u
	}
	low, high := uint64(1), units[0]
	for low < high {
		if middle := low + (high-low)/2; capped(units, middle) >= total-total/maxCut {
			high = middle
		} else {
			low = middle + 1
		}
	}
	high = units[0]
	for low < high {
		middle := low + (high-low+1)/2
		if withinCap(units, middle, bps) {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return low
}

// capped returns the sum of min(unit, c) over all units.
func capped(units []uint64, c uint64) (sum uint64) {
	for _, u := range units {
		sum += min(u, c)
	}
	return sum
}

// withinCap reports whether c is at most bps basis points of the total power
// that the cap c leads to.
func withinCap(units []uint64, c uint64, bps uint32) bool {
	shareHi, shareLo := bits.Mul64(capped(units, c), uint64(bps))
	powerHi, powerLo := bits.Mul64(c, ledger.BasisPoints)
	return powerHi < shareHi || powerHi == shareHi && powerLo <= shareLo
}
