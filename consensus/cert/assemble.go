package cert

import (
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/committee"
)

// Vote is one member's signature of a checkpoint's message, not yet verified.
type Vote struct {
	// Member is the index of the member in its committee.
	Member    int
	Signature bls.Signature
}

// Assemble makes the certificate of checkpoint from votes, in any order, by
// members of com, whose decoded keys are keys (com.Keys()). What it returns
// passes Verify.
//
// Wrong votes are left out; bad lists their members, ascending. All votes are
// added up first and checked at once: the usual case costs one product of two
// pairings. Only if that fails are the wrong ones looked for, by bisection
// (bls.AggregateSame).
//
// ErrTooLittlePower: the right votes have not more than two thirds of the
// power. If already all votes together have not, nothing is checked and bad is
// nil. ErrStranger, ErrRepeated: a vote of no member, two of one member.
// ErrWrongEpoch, ErrWrongCommittee, ErrWrongKeys: as in Verify.
// bls.ErrIdentity: the keys of all who voted right cancel out, which takes as
// many malicious members as forging does.
func Assemble(checkpoint Checkpoint, com *committee.Committee, keys []*bls.Key, votes []Vote) (certificate Certificate, bad []int, err error) {
	if err := checkpoint.checkCommittee(com, keys); err != nil {
		return Certificate{}, nil, err
	}
	voted := make([]bool, len(com.Members))
	var power uint64
	for _, v := range votes {
		if v.Member < 0 || v.Member >= len(com.Members) {
			return Certificate{}, nil, fmt.Errorf("vote of member %d of %d: %w", v.Member, len(com.Members), ErrStranger)
		}
		if voted[v.Member] {
			return Certificate{}, nil, fmt.Errorf("member %d: %w", v.Member, ErrRepeated)
		}
		voted[v.Member] = true
		power += com.Members[v.Member].Power
	}
	if err := checkPower(power, com); err != nil {
		return Certificate{}, nil, err
	}

	order := slices.Clone(votes)
	slices.SortFunc(order, func(a, b Vote) int { return a.Member - b.Member })
	signing := make([]*bls.Key, len(order))
	shares := make([]bls.Signature, len(order))
	for i, v := range order {
		signing[i], shares[i] = keys[v.Member], v.Signature
	}
	sum, wrong, err := bls.AggregateSame(signing, checkpoint.Message(), shares)
	for _, i := range wrong {
		member := order[i].Member
		bad, voted[member] = append(bad, member), false
		power -= com.Members[member].Power
	}
	if short := checkPower(power, com); short != nil {
		return Certificate{}, bad, short
	}
	if err != nil {
		return Certificate{}, bad, fmt.Errorf("add up %d votes: %w", len(order)-len(bad), err)
	}
	return Certificate{Checkpoint: checkpoint, Bitmap: bitmap(voted), Signature: sum}, bad, nil
}

// bitmap returns the shortest bitmap of the members that signed.
func bitmap(signed []bool) []byte {
	var b []byte
	for i, yes := range signed {
		if yes {
			b = append(b, make([]byte, i/8+1-len(b))...)
			b[i/8] |= 1 << (i % 8)
		}
	}
	return b
}
