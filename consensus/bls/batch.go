package bls

import "github.com/cloudflare/circl/ecc/bls12381"

// Random fills p with random bytes, or returns fewer than len(p) or an error, like
// crypto/rand.Read.
type Random func(p []byte) (n int, err error)

// Shares are signatures of one message, Signatures[i] by Keys[i].
type Shares struct {
	Keys       []*Key
	Message    []byte
	Signatures []Signature
}

// Aggregated is what AggregateSame returns.
type Aggregated struct {
	Sum Signature
	Bad []int // indices into Shares, ascending
	Err error // ErrEmpty or ErrIdentity
}

// AggregateEach is AggregateSame for several messages, with the same results in the
// order of list. If all signatures are right, one product of pairings checks all of
// list: two pairings and one more for each further set of signers. random must be
// cryptographic; it is not called for a single message.
//
// With S_i the sum of the signatures of message i, H_i its hash, and K_i the sum of
// the keys, all is right if e(S_i, g2) = e(H_i, K_i) for each i. It checks
//
//	e(sum r_i S_i, g2) = product over distinct K of e(sum of r_i H_i with K_i = K, K)
//
// with random r_i of 128 bits, drawn when the signatures are given. All points are in
// groups of prime order r > 2^254, so what message i lacks of equality is an element
// of order 1 or r, and if one of them is not 1, at most one value of its r_i in 2^128
// makes the product of all hold, whatever the others are. Without them, wrong
// signatures of two messages could cancel out, and both sums would be worth nothing.
// If the product does not hold, halves of list are checked, and single messages in
// the end as AggregateSame does.
//
// It panics if the lengths of a member of list differ.
func AggregateEach(random Random, list []Shares) []Aggregated {
	searches := make([]*search, len(list))
	var batch []*search
	for i := range list {
		s := newSearch(&list[i])
		searches[i] = s
		switch {
		case len(s.shares) == 0:
		case s.key.IsIdentity() || s.point.IsIdentity():
			s.find(s.shares, false)
		default:
			batch = append(batch, s)
		}
	}
	findEach(batch, len(batch) > 1 && draw(random, batch))
	out := make([]Aggregated, len(list))
	for i, s := range searches {
		out[i] = s.result()
	}
	return out
}

// findEach marks the wrong shares of searches, which have factors if together.
func findEach(searches []*search, together bool) {
	switch half := len(searches) / 2; {
	case !together || half == 0:
		for _, s := range searches {
			s.find(s.shares, false)
		}
	case !hold(searches):
		findEach(searches[:half], true)
		findEach(searches[half:], true)
	}
}

// factorSize is the length of a factor in bytes. A false product holds with a
// probability of 2^-128, which is that of guessing a key of this curve.
const factorSize = 16

// factor is a random number, the highest byte first. It is no secret: who learns it
// after the signatures are given can do nothing with it.
type factor [factorSize]byte

// draw gives each of searches its factor. It is false if random fails, and then they
// must be checked one by one.
func draw(random Random, searches []*search) bool {
	for _, s := range searches {
		if n, err := random(s.factor[:]); n < factorSize || err != nil {
			return false
		}
	}
	return true
}

// hold reports whether the sums of all searches sign for the sums of their keys. If
// so, it costs one product of two pairings, and one more for each further key.
func hold(searches []*search) bool {
	var points []*bls12381.G1
	var factors []factor
	for _, s := range searches {
		points, factors = append(points, s.point), append(factors, s.factor)
	}
	left, right, signs := []*bls12381.G1{combine(points, factors)}, []*bls12381.G2{bls12381.G2Generator()}, []int{1}
	taken := make([]bool, len(searches))
	for i, s := range searches {
		if taken[i] {
			continue
		}
		points, factors = points[:0], factors[:0]
		for j := i; j < len(searches); j++ {
			if other := searches[j]; !taken[j] && other.key.IsEqual(s.key) {
				taken[j], points, factors = true, append(points, other.hash), append(factors, other.factor)
			}
		}
		left, right, signs = append(left, combine(points, factors)), append(right, s.key), append(signs, -1)
	}
	for _, p := range left {
		if p.IsIdentity() {
			return false // not for random factors; the pairing is not made for it
		}
	}
	return bls12381.ProdPairFrac(left, right, signs).IsIdentity()
}

// combine returns the sum of points[i] times factors[i], with one row of doublings
// for all. Its time depends on the factors.
func combine(points []*bls12381.G1, factors []factor) *bls12381.G1 {
	const digits = 16 // of four bits
	multiples := make([][digits]bls12381.G1, len(points))
	for i, p := range points {
		m := &multiples[i]
		m[0].SetIdentity()
		for d := 1; d < digits; d++ {
			m[d].Add(&m[d-1], p)
		}
	}
	sum := new(bls12381.G1)
	sum.SetIdentity()
	for at := range 2 * factorSize {
		for range 4 {
			sum.Double()
		}
		for i := range points {
			d := factors[i][at/2]
			if at%2 == 0 {
				d >>= 4
			}
			sum.Add(sum, &multiples[i][d%digits])
		}
	}
	return sum
}
