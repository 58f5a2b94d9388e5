package committee

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"github.com/tributary-network/tributary/ledger"
)

// RotationBps is the largest part of a drawn committee that changes from one
// epoch to the next, in basis points of its seats.
const RotationBps = 2_000

// Draw draws n of candidates by lot, one after the other and none twice, each
// with the chance that its Power has among the powers of those not yet drawn.
// With equal powers this is the shuffle of Fisher and Yates. It returns them in
// the order they were drawn: all of them if there are not more than n.
//
// seed is an epoch's seed; tag separates draws from one seed: two draws never
// share a tag. Rows of candidates are distinct, and their powers sum up to at
// most MaxTotalPower; those without power are never drawn. The order of
// candidates does not matter; it is not changed.
func Draw(seed ledger.Hash, tag string, candidates []Member, n int) []Member {
	return newLots(seed, tag).draw(candidates, n)
}

// Rotate returns the committee of n seats that follows current, drawn from
// candidates: members that are no candidate any more leave; so many more leave
// by lot, each with the same chance, that at most RotationBps of the n seats
// (rounded down, but one at least) change; and newcomers are drawn into the
// free seats as by Draw. Nobody leaves by lot for whom there is no newcomer,
// unless n is below the number of seats. More seats change only where more
// members are no candidates any more or n differs from len(current).
//
// So of n seats of equal power, from 4 on, all taken by candidates, those that stay have more
// than two thirds: a committee can decide before its newcomers are ready, and with
// (n-1)/3 - max(1, n/5) more members away (rounded down): none of 4, 1 of 7, 4 of 32. Below
// 4 seats, with several rotations at once, or if members are no candidates any more, it may
// have to wait for newcomers.
//
// Members that stay come first, in the order of current and with the powers
// they have in candidates, then the newcomers in the order they were drawn.
// seed, tag and candidates are as in Draw.
func Rotate(seed ledger.Hash, tag string, current, candidates []Member, n int) []Member {
	lots := newLots(seed, tag)
	seated := make(map[uint64]bool, len(current))
	for _, m := range current {
		seated[m.Validator] = true
	}
	now := make(map[uint64]Member, len(seated))
	newcomers := make([]Member, 0, len(candidates))
	for _, c := range candidates {
		switch {
		case c.Power == 0:
		case seated[c.Validator]:
			now[c.Validator] = c
		default:
			newcomers = append(newcomers, c)
		}
	}
	var stay []Member
	for _, m := range current {
		if c, ok := now[m.Validator]; ok {
			stay = append(stay, c)
		}
	}

	gone := len(current) - len(stay)
	limit := max(1, n*RotationBps/ledger.BasisPoints)
	free := max(0, n-len(stay))
	leave := min(max(0, limit-gone), max(0, len(newcomers)-free))
	leave = min(max(leave, len(stay)-n), len(stay))
	stay = lots.remove(stay, leave)
	return append(stay, lots.drawFrom(newcomers, n-len(stay))...)
}

// lots is an endless row of numbers that a seed and a tag determine: the hashes
// of both and a counter, in words of eight bytes.
type lots struct {
	seed  ledger.Hash
	tag   []byte
	count uint64
	words []byte
}

func newLots(seed ledger.Hash, tag string) *lots {
	return &lots{seed: seed, tag: append(binary.BigEndian.AppendUint32(nil, uint32(len(tag))), tag...)}
}

func (l *lots) word() uint64 {
	if len(l.words) == 0 {
		h := ledger.HashOf("trib/draw/1", l.tag, l.seed[:], binary.BigEndian.AppendUint64(nil, l.count))
		l.count++
		l.words = h[:]
	}
	w := binary.BigEndian.Uint64(l.words)
	l.words = l.words[8:]
	return w
}

// below returns a number below n, at least 1, each with the same chance: words
// in the last, incomplete row of n are thrown away.
func (l *lots) below(n uint64) uint64 {
	if n == 1 {
		return 0
	}
	_, beyond := bits.Div64(1, 0, n) // 2^64 mod n
	for {
		if w := l.word(); w <= math.MaxUint64-beyond {
			return w % n
		}
	}
}

// draw is Draw with the next lots.
func (l *lots) draw(candidates []Member, n int) []Member {
	return l.drawFrom(slices.DeleteFunc(slices.Clone(candidates), func(m Member) bool { return m.Power == 0 }), n)
}

// drawFrom is draw from members with power, whose list it takes apart.
func (l *lots) drawFrom(left []Member, n int) []Member {
	slices.SortFunc(left, func(a, b Member) int { return cmp.Compare(a.Validator, b.Validator) })
	var total uint64
	for _, m := range left {
		total += m.Power
	}
	var drawn []Member
	for len(drawn) < n && len(left) > 0 {
		at, rest := 0, l.below(total)
		for rest >= left[at].Power {
			rest -= left[at].Power
			at++
		}
		drawn, total = append(drawn, left[at]), total-left[at].Power
		left = slices.Delete(left, at, at+1)
	}
	return drawn
}

// remove takes n of list out by lot, each with the same chance, and keeps the
// order of the others.
func (l *lots) remove(list []Member, n int) []Member {
	for range n {
		at := int(l.below(uint64(len(list))))
		list = slices.Delete(list, at, at+1)
	}
	return list
}
