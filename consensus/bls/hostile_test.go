package bls_test

import (
	"errors"
	"math/big"
	"slices"
	"testing"

	"github.com/cloudflare/circl/ecc/bls12381"
	"github.com/cloudflare/circl/ecc/bls12381/ff"

	"github.com/tributary-network/tributary/consensus/bls"
)

// The three highest bits of an encoded point.
const (
	compressed = 0x80
	infinity   = 0x40
	larger     = 0x20
)

func point1(tb testing.TB, s bls.Signature) *bls12381.G1 {
	tb.Helper()
	p := new(bls12381.G1)
	if err := p.SetBytes(s[:]); err != nil {
		tb.Fatal(err)
	}
	return p
}

func point2(tb testing.TB, k bls.PublicKey) *bls12381.G2 {
	tb.Helper()
	p := new(bls12381.G2)
	if err := p.SetBytes(k[:]); err != nil {
		tb.Fatal(err)
	}
	return p
}

// outside1 returns the encoding of a point of the curve over Fp that is not in
// the subgroup: x is the smallest for which x^3+4 is a square.
func outside1(tb testing.TB) bls.Signature {
	tb.Helper()
	for n := range uint64(100) {
		var x, y, four ff.Fp
		x.SetUint64(n)
		four.SetUint64(4)
		y.Sqr(&x)
		y.Mul(&y, &x)
		y.Add(&y, &four)
		var root ff.Fp
		if root.Sqrt(&y) == 1 {
			b, _ := x.MarshalBinary()
			b[0] |= compressed
			return bls.Signature(b)
		}
	}
	tb.Fatal("no such point")
	return bls.Signature{}
}

// plus adds two different points of the curve, in the subgroup or not.
func plus(tb testing.TB, a, b bls.Signature) bls.Signature {
	tb.Helper()
	ax, ay := affine(tb, a)
	bx, by := affine(tb, b)
	var slope, run, x, y ff.Fp
	slope.Sub(&by, &ay)
	run.Sub(&bx, &ax)
	run.Inv(&run)
	slope.Mul(&slope, &run)
	x.Sqr(&slope)
	x.Sub(&x, &ax)
	x.Sub(&x, &bx)
	y.Sub(&ax, &x)
	y.Mul(&y, &slope)
	y.Sub(&y, &ay)
	out, _ := x.MarshalBinary()
	out[0] |= compressed | byte(y.IsNegative())*larger
	return bls.Signature(out)
}

// affine decompresses a point of the curve, in the subgroup or not.
func affine(tb testing.TB, s bls.Signature) (x, y ff.Fp) {
	tb.Helper()
	sign := int(s[0] & larger / larger)
	s[0] &= 0x1f
	if err := x.UnmarshalBinary(s[:]); err != nil {
		tb.Fatal(err)
	}
	var square, four ff.Fp
	four.SetUint64(4)
	square.Sqr(&x)
	square.Mul(&square, &x)
	square.Add(&square, &four)
	if y.Sqrt(&square) != 1 {
		tb.Fatal("not on the curve")
	}
	if y.IsNegative() != sign {
		y.Neg()
	}
	return x, y
}

// outside2 is outside1 for the twist: x^3 + 4(1+i) over Fp2.
func outside2(tb testing.TB) bls.PublicKey {
	tb.Helper()
	for n := range uint64(100) {
		var x, y, b, root ff.Fp2
		x[0].SetUint64(n)
		b[0].SetUint64(4)
		b[1].SetUint64(4)
		y.Sqr(&x)
		y.Mul(&y, &x)
		y.Add(&y, &b)
		if root.Sqrt(&y) == 1 {
			out, _ := x.MarshalBinary()
			out[0] |= compressed
			return bls.PublicKey(out)
		}
	}
	tb.Fatal("no such point")
	return bls.PublicKey{}
}

// lift adds the field's prime to the first coordinate of an encoded point, which
// makes another encoding of the same point, if that fits into 381 bits.
func lift(b []byte) bool {
	p, _ := new(big.Int).SetString("1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab", 16)
	flags := b[0] & 0xe0
	b[0] &= 0x1f
	x := new(big.Int).SetBytes(b[:ff.FpSize])
	x.Add(x, p)
	if x.BitLen() > 381 {
		return false
	}
	x.FillBytes(b[:ff.FpSize])
	b[0] |= flags
	return true
}

func TestBadKeys(t *testing.T) {
	t.Parallel()
	good := secret(1).Public()
	edit := func(change func(k *bls.PublicKey)) bls.PublicKey {
		k := good
		change(&k)
		return k
	}
	var lifted bls.PublicKey
	for n := byte(0); ; n++ {
		if lifted = secret(n).Public(); lift(lifted[:]) {
			break
		}
	}
	for _, row := range []struct {
		name string
		key  bls.PublicKey
	}{
		{"zeros", bls.PublicKey{}},
		{"identity", bls.PublicKey{0: compressed | infinity}},
		{"identity, uncompressed", bls.PublicKey{0: infinity}},
		{"identity with a sign", bls.PublicKey{0: compressed | infinity | larger}},
		{"identity with a coordinate", bls.PublicKey{0: compressed | infinity, 95: 1}},
		{"outside the subgroup", outside2(t)},
		{"not marked as compressed", edit(func(k *bls.PublicKey) { k[0] &^= compressed })},
		{"marked as the identity", edit(func(k *bls.PublicKey) { k[0] |= infinity })},
		{"coordinate plus the prime", lifted},
		{"all ones", edit(func(k *bls.PublicKey) {
			for i := range k {
				k[i] = 0xff
			}
		})},
		{"another coordinate", edit(func(k *bls.PublicKey) { k[95] ^= 1 })},
		{"a signature", edit(func(k *bls.PublicKey) {
			s := secret(1).Sign(nil)
			*k = bls.PublicKey{}
			copy(k[:], s[:])
		})},
	} {
		if _, err := bls.ParseKey(row.key); !errors.Is(err, bls.ErrBadKey) {
			t.Errorf("%s: error %v, want ErrBadKey", row.name, err)
		}
	}
}

func TestBadSignatures(t *testing.T) {
	t.Parallel()
	k, message := secret(1), []byte("message")
	key, good := parse(t, k.Public()), k.Sign(message)
	edit := func(change func(s *bls.Signature)) bls.Signature {
		s := good
		change(&s)
		return s
	}
	low := outside1(t)
	var lifted bls.Signature
	for n := byte(0); ; n++ {
		if lifted = k.Sign([]byte{n}); lift(lifted[:]) {
			break
		}
	}
	for _, row := range []struct {
		name string
		s    bls.Signature
	}{
		{"zeros", bls.Signature{}},
		{"identity", bls.Signature{0: compressed | infinity}},
		{"identity with a sign", bls.Signature{0: compressed | infinity | larger}},
		{"outside the subgroup", low},
		{"not marked as compressed", edit(func(s *bls.Signature) { s[0] &^= compressed })},
		{"plus a point outside the subgroup", plus(t, good, low)},
		{"coordinate plus the prime", lifted},
	} {
		if key.Verify(message, row.s) || bls.VerifySame([]*bls.Key{key}, message, row.s) {
			t.Errorf("%s: verifies", row.name)
		}
		if _, err := bls.Aggregate([]bls.Signature{good, row.s}); !errors.Is(err, bls.ErrBadSignature) {
			t.Errorf("%s: aggregate: error %v, want ErrBadSignature", row.name, err)
		}
		if _, bad, err := bls.AggregateSame([]*bls.Key{key}, message, []bls.Signature{row.s}); !slices.Equal(bad, []int{0}) || !errors.Is(err, bls.ErrEmpty) {
			t.Errorf("%s: aggregate and check: bad %v, error %v", row.name, bad, err)
		}
	}
	if sum := aggregate(t, good, k.Sign(nil)); plus(t, good, k.Sign(nil)) != sum {
		t.Error("plus does not add")
	}
	if negated := edit(func(s *bls.Signature) { s[0] ^= larger }); key.Verify(message, negated) {
		t.Error("the negated signature verifies")
	}
}

// TestRogueKey: the key g^x - (sum of the others) signs for everybody, and its
// maker cannot prove possession of it.
func TestRogueKey(t *testing.T) {
	t.Parallel()
	message, attacker := []byte("all my money to me"), secret(200)
	keys, _ := group(t, 3, message)
	rogue := point2(t, attacker.Public())
	for _, k := range keys {
		other := point2(t, k.Public())
		other.Neg()
		rogue.Add(rogue, other)
	}
	key := parse(t, bls.PublicKey(rogue.BytesCompressed()))
	if !bls.VerifySame(append(keys, key), message, attacker.Sign(message)) {
		t.Error("the attack fails without proofs, so this test shows nothing")
	}
	public := key.Public()
	for name, proof := range map[string]bls.Signature{
		"the attacker's signature of the key": attacker.Sign(public[:]),
		"the attacker's own proof":            attacker.Prove(nil),
		"another's proof":                     secret(0).Prove(nil),
		"difference of proofs":                difference(t, attacker.Prove(nil), secret(0).Prove(nil), secret(1).Prove(nil), secret(2).Prove(nil)),
	} {
		if key.VerifyProof(nil, proof) {
			t.Errorf("%s proves possession of the rogue key", name)
		}
	}
}

// difference returns the first signature less all others.
func difference(tb testing.TB, first bls.Signature, others ...bls.Signature) bls.Signature {
	tb.Helper()
	sum := point1(tb, first)
	for _, s := range others {
		p := point1(tb, s)
		p.Neg()
		sum.Add(sum, p)
	}
	return bls.Signature(sum.BytesCompressed())
}

// opposite returns the key whose secret is the group order less k's.
func opposite(tb testing.TB, k *bls.SecretKey) *bls.SecretKey {
	tb.Helper()
	x := new(big.Int).Sub(new(big.Int).SetBytes(bls12381.Order()), new(big.Int).SetBytes(k.Bytes()))
	out, err := bls.ParseSecretKey(x.FillBytes(make([]byte, bls.SecretSize)))
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// TestIdentitySum: two keys that cancel out, each with a good proof, sign
// nothing together.
func TestIdentitySum(t *testing.T) {
	t.Parallel()
	a, message := secret(1), []byte("message")
	b := opposite(t, a)
	keys := []*bls.Key{parse(t, a.Public()), parse(t, b.Public())}
	if !keys[1].VerifyProof(nil, b.Prove(nil)) {
		t.Fatal("the opposite key has no proof")
	}
	shares := []bls.Signature{a.Sign(message), b.Sign(message)}
	if _, err := bls.Aggregate(shares); !errors.Is(err, bls.ErrIdentity) {
		t.Errorf("aggregate: error %v, want ErrIdentity", err)
	}
	if _, bad, err := bls.AggregateSame(keys, message, shares); bad != nil || !errors.Is(err, bls.ErrIdentity) {
		t.Errorf("aggregate and check: bad %v, error %v, want ErrIdentity", bad, err)
	}
	identity := bls.Signature{0: compressed | infinity}
	for name, s := range map[string]bls.Signature{"identity": identity, "zeros": {}, "one of both": shares[0]} {
		if bls.VerifySame(keys, message, s) {
			t.Errorf("%s verifies for keys that cancel out", name)
		}
	}
	// A third key makes the sum its own; a right signature of the pair is never
	// called wrong because a wrong one stands beside it.
	c := secret(2)
	keys, shares = append(keys, parse(t, c.Public())), append(shares, c.Sign([]byte("other")))
	if _, bad, _ := bls.AggregateSame(keys, message, shares); !slices.Equal(bad, []int{2}) {
		t.Errorf("bad %v, want the third only", bad)
	}
	if bls.VerifySame(nil, message, identity) {
		t.Error("no keys sign the identity")
	}
}
