package bls

import (
	"fmt"

	"github.com/cloudflare/circl/ecc/bls12381"
)

// Aggregate adds up signatures without verifying them. ErrEmpty: there are
// none; ErrBadSignature: one is no signature at all; ErrIdentity: they cancel
// each other out.
func Aggregate(signatures []Signature) (Signature, error) {
	if len(signatures) == 0 {
		return Signature{}, ErrEmpty
	}
	var sum bls12381.G1
	sum.SetIdentity()
	for i, s := range signatures {
		p, err := decode(s)
		if err != nil {
			return Signature{}, fmt.Errorf("signature %d of %d: %w", i, len(signatures), err)
		}
		sum.Add(&sum, p)
	}
	if sum.IsIdentity() {
		return Signature{}, ErrIdentity
	}
	return encode(&sum), nil
}

// AggregateSame adds up the signatures of message by keys, signatures[i] by
// keys[i], and leaves the wrong ones out. bad lists their indices, ascending.
// What it returns passes VerifySame with the keys that are not in bad.
//
// It is optimistic: if all are right it costs one product of two pairings, as
// VerifySame does. Otherwise it finds each wrong one by bisection, about
// 2*log2(n) such products each and at most 2n in all. Wrong signatures whose
// errors cancel out are not told from right ones: their owners, who must have
// worked together, have signed in effect.
//
// ErrEmpty: no signature is left, bad still lists all of them. ErrIdentity:
// what is left cancels out. It panics if the lengths differ.
func AggregateSame(keys []*Key, message []byte, signatures []Signature) (sum Signature, bad []int, err error) {
	one := AggregateEach(nil, []Shares{{Keys: keys, Message: message, Signatures: signatures}})[0]
	return one.Sum, one.Bad, one.Err
}

// share is one signature, decoded, with the key it should be by.
type share struct {
	index int
	key   *bls12381.G2
	point *bls12381.G1
}

// search finds the wrong ones among shares of one message.
type search struct {
	hash   *bls12381.G1
	shares []share // those that are signatures at all
	wrong  []bool

	key    *bls12381.G2 // the sum of the shares' keys
	point  *bls12381.G1 // the sum of the shares' points
	factor factor       // in products for several searches
}

func newSearch(list *Shares) *search {
	if len(list.Keys) != len(list.Signatures) {
		panic(fmt.Sprintf("bls: %d keys for %d signatures", len(list.Keys), len(list.Signatures)))
	}
	s := &search{hash: hashed(list.Message, SuiteSign), wrong: make([]bool, len(list.Keys))}
	for i, signature := range list.Signatures {
		p, err := decode(signature)
		if err != nil {
			s.wrong[i] = true
			continue
		}
		s.shares = append(s.shares, share{index: i, key: &list.Keys[i].point, point: p})
	}
	s.key, s.point = add(s.shares)
	return s
}

// result is what the shares that are not marked wrong add up to.
func (s *search) result() Aggregated {
	var out Aggregated
	for i, wrong := range s.wrong {
		if wrong {
			out.Bad = append(out.Bad, i)
		}
	}
	var left []share
	for _, one := range s.shares {
		if !s.wrong[one.index] {
			left = append(left, one)
		}
	}
	key, point := s.key, s.point
	if len(left) < len(s.shares) {
		key, point = add(left)
	}
	switch {
	case len(left) == 0:
		out.Err = ErrEmpty
	case key.IsIdentity() || point.IsIdentity():
		out.Err = ErrIdentity
	default:
		out.Sum = encode(point)
	}
	return out
}

// find marks the wrong shares of part and reports whether there are any. If
// known, the sum of part was seen to be wrong already.
//
// A sum is right if it signs for the sum of its keys. That is linear: two parts
// that are right are right together, so if one half is right and the whole is
// not, the other half is wrong without looking.
func (s *search) find(part []share, known bool) bool {
	if !known && s.right(part) {
		return false
	}
	if len(part) == 1 {
		s.wrong[part[0].index] = true
		return true
	}
	half := len(part) / 2
	first := s.find(part[:half], false)
	second := s.find(part[half:], !first)
	return first || second
}

// right reports whether the sum of part signs for the sum of its keys. Where
// keys cancel out, so must the signatures.
func (s *search) right(part []share) bool {
	key, point := add(part)
	if key.IsIdentity() || point.IsIdentity() {
		return key.IsIdentity() && point.IsIdentity()
	}
	return signs(key, s.hash, point)
}

func add(part []share) (*bls12381.G2, *bls12381.G1) {
	key, point := new(bls12381.G2), new(bls12381.G1)
	key.SetIdentity()
	point.SetIdentity()
	for _, one := range part {
		key.Add(key, one.key)
		point.Add(point, one.point)
	}
	return key, point
}
