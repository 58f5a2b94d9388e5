package ledger

import (
	"crypto/sha512"
	"hash"
	"io"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"
)

// randomSize is the length in bytes of the random factors of a batch.
const randomSize = 16

// equation verifies up to BatchSize claims at once, under the one rule of the
// package comment:
//
//	8 (sum z_i R_i + sum z_i k_i A_i - (sum z_i s_i) B) = 0
//
// with random z_i of 128 bits and k_i = SHA-512(R_i, A_i, message). Equal keys
// share a term, so many vouchers of one payer take little more than half the
// work. It is used again and again, by one goroutine.
type equation struct {
	keys Keys // nil remembers nothing

	points  []curve.EdwardsPoint // R of each claim, then each distinct A
	factors []scalar.Scalar      // of points
	base    scalar.Scalar        // sum z_i s_i
	byKey   map[PublicKey]int    // place of A in points
	random  []byte
	hash    hash.Hash
	digest  [sha512.Size]byte
	decoded DecodedKey
}

func newEquation(keys Keys, most int) *equation {
	return &equation{
		keys:    keys,
		points:  make([]curve.EdwardsPoint, 2*most),
		factors: make([]scalar.Scalar, 2*most),
		byKey:   make(map[PublicKey]int, most),
		random:  make([]byte, randomSize*most),
		hash:    sha512.New(),
	}
}

// holds reports whether all claims hold, which are at most as many as the
// equation was made for.
func (q *equation) holds(entropy io.Reader, claims []Claim) bool {
	n := len(claims)
	if _, err := io.ReadFull(entropy, q.random[:randomSize*n]); err != nil {
		return false // then they are verified singly
	}
	clear(q.byKey)
	q.base.Zero()
	used := n
	for i := range claims {
		var ok bool
		if used, ok = q.add(&claims[i], i, used); !ok {
			return false
		}
	}
	scalars := make([]*scalar.Scalar, used+1)
	points := make([]*curve.EdwardsPoint, used+1)
	scalars[0], points[0] = q.base.Neg(&q.base), curve.ED25519_BASEPOINT_POINT
	for i := range used {
		scalars[i+1], points[i+1] = &q.factors[i], &q.points[i]
	}
	var sum curve.EdwardsPoint
	return sum.MultiscalarMulVartime(scalars, points).IsSmallOrder()
}

// add adds claim i; used is how many points there are. It reports false for a
// claim that cannot hold because of its form.
func (q *equation) add(c *Claim, i, used int) (int, bool) {
	r, s := c.Signature[:SignatureSize/2], c.Signature[SignatureSize/2:]
	if !scalar.ScMinimalVartime(s) || !strictPoint(&q.points[i], r) {
		return used, false
	}
	at, known := q.byKey[c.Key]
	if !known {
		at = used
		used++
		if !q.decode(&q.points[at], &c.Key) {
			return used, false
		}
		q.factors[at].Zero()
		q.byKey[c.Key] = at
	}
	q.hash.Reset()
	q.hash.Write(r)
	q.hash.Write(c.Key[:])
	q.hash.Write(c.Message)
	q.hash.Sum(q.digest[:0])
	var wide [scalar.ScalarSize]byte
	copy(wide[:], q.random[randomSize*i:randomSize*(i+1)])
	var k, t scalar.Scalar
	z := &q.factors[i]
	_, errZ := z.SetBytesModOrder(wide[:])
	_, errK := k.SetBytesModOrderWide(q.digest[:])
	_, errS := t.SetBytesModOrder(s)
	if errZ != nil || errK != nil || errS != nil { // of the wrong length, which they are not
		return used, false
	}
	q.base.Add(&q.base, t.Mul(&t, z))
	q.factors[at].Add(&q.factors[at], k.Mul(&k, z))
	return used, true
}

// strictPoint decodes a point and reports whether it is on the curve, in its
// canonical encoding and not of small order.
func strictPoint(p *curve.EdwardsPoint, encoded []byte) bool {
	var compressed curve.CompressedEdwardsY
	if _, err := compressed.SetBytes(encoded); err != nil || !compressed.IsCanonicalVartime() {
		return false
	}
	_, err := p.SetCompressedY(&compressed)
	return err == nil && !p.IsSmallOrder()
}

// DecodedKey is a public key that passed Check, ready to verify with.
type DecodedKey struct {
	key   PublicKey
	point curve.EdwardsPoint
}

// Key returns the key, zero in the zero DecodedKey.
func (d *DecodedKey) Key() PublicKey { return d.key }

// Keys remembers decoded keys. Nothing depends on how many, or on which.
type Keys interface {
	// Load sets d to key and reports true, if it is remembered.
	Load(key *PublicKey, d *DecodedKey) bool
	// Store remembers a copy of d.
	Store(d *DecodedKey)
}

// decode sets p to the point of key, and reports whether the key passes Check.
func (q *equation) decode(p *curve.EdwardsPoint, key *PublicKey) bool {
	if q.keys == nil {
		return strictPoint(p, key[:])
	}
	if q.keys.Load(key, &q.decoded) {
		p.Set(&q.decoded.point)
		return true
	}
	if !strictPoint(p, key[:]) {
		return false
	}
	q.decoded.key = *key
	q.decoded.point.Set(p)
	q.keys.Store(&q.decoded)
	return true
}
