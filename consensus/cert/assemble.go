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

// Ballot is what a certificate is assembled from.
type Ballot struct {
	Checkpoint Checkpoint
	Committee  *committee.Committee
	Keys       []*bls.Key // Committee.Keys()
	Votes      []Vote     // in any order
}

// Assembled is what became of a Ballot.
type Assembled struct {
	Certificate Certificate // unless Err
	// Bad are the members whose votes are wrong, ascending.
	Bad []int
	// Err is what Assemble returns.
	Err error
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
	one := AssembleEach(nil, []Ballot{{Checkpoint: checkpoint, Committee: com, Keys: keys, Votes: votes}})[0]
	return one.Certificate, one.Bad, one.Err
}

// AssembleEach is Assemble for several ballots, in their order and with the same
// results. The votes of all of them are checked at once: if all are right, it costs
// little more than the certificate of one ballot (bls.AggregateEach). random must be
// cryptographic; it is not called for a single ballot.
func AssembleEach(random bls.Random, ballots []Ballot) []Assembled {
	out := make([]Assembled, len(ballots))
	var counts []*count
	var shares []bls.Shares
	for i := range ballots {
		n, err := newCount(&ballots[i], &out[i])
		if err != nil {
			out[i].Err = err
			continue
		}
		counts, shares = append(counts, n), append(shares, n.shares())
	}
	for i, sum := range bls.AggregateEach(random, shares) {
		counts[i].finish(&sum)
	}
	return out
}

// count is a ballot being counted.
type count struct {
	*Ballot
	order []Vote // ascending by member
	voted []bool // by member
	power uint64
	out   *Assembled
}

// newCount checks all of a ballot but its signatures.
func newCount(b *Ballot, out *Assembled) (*count, error) {
	if err := b.Checkpoint.checkCommittee(b.Committee, b.Keys); err != nil {
		return nil, err
	}
	members := b.Committee.Members
	n := &count{Ballot: b, voted: make([]bool, len(members)), out: out}
	for _, v := range b.Votes {
		if v.Member < 0 || v.Member >= len(members) {
			return nil, fmt.Errorf("vote of member %d of %d: %w", v.Member, len(members), ErrStranger)
		}
		if n.voted[v.Member] {
			return nil, fmt.Errorf("member %d: %w", v.Member, ErrRepeated)
		}
		n.voted[v.Member] = true
		n.power += members[v.Member].Power
	}
	if err := checkPower(n.power, b.Committee); err != nil {
		return nil, err
	}
	n.order = slices.Clone(b.Votes)
	slices.SortFunc(n.order, func(a, b Vote) int { return a.Member - b.Member })
	return n, nil
}

func (n *count) shares() bls.Shares {
	s := bls.Shares{
		Keys: make([]*bls.Key, len(n.order)), Message: n.Checkpoint.Message(), Signatures: make([]bls.Signature, len(n.order)),
	}
	for i, v := range n.order {
		s.Keys[i], s.Signatures[i] = n.Keys[v.Member], v.Signature
	}
	return s
}

// finish makes the certificate of the votes that are right.
func (n *count) finish(sum *bls.Aggregated) {
	for _, i := range sum.Bad {
		member := n.order[i].Member
		n.out.Bad, n.voted[member] = append(n.out.Bad, member), false
		n.power -= n.Committee.Members[member].Power
	}
	if n.out.Err = checkPower(n.power, n.Committee); n.out.Err != nil {
		return
	}
	if sum.Err != nil {
		n.out.Err = fmt.Errorf("add up %d votes: %w", len(n.order)-len(sum.Bad), sum.Err)
		return
	}
	n.out.Certificate = Certificate{Checkpoint: n.Checkpoint, Bitmap: bitmap(n.voted), Signature: sum.Sum}
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
