package bls

import (
	"fmt"

	"github.com/cloudflare/circl/ecc/bls12381"
)

// Key is a public key ready for verification: a decoded point of the subgroup
// of prime order that is not the identity. It is made once per validator and
// epoch by ParseKey, because decoding costs as much as a sixth of a
// verification. It is immutable.
type Key struct {
	point  bls12381.G2
	public PublicKey
}

// ParseKey decodes and checks k (ErrBadKey). It does not say that anybody knows
// the secret: see VerifyProof.
func ParseKey(k PublicKey) (*Key, error) {
	out := &Key{public: k}
	if err := out.point.SetBytes(k[:]); err != nil {
		return nil, fmt.Errorf("BLS public key %s: %w", k, ErrBadKey)
	}
	if out.point.IsIdentity() {
		return nil, fmt.Errorf("BLS public key is the identity: %w", ErrBadKey)
	}
	return out, nil
}

// Public returns the encoding of the key.
func (k *Key) Public() PublicKey { return k.public }

// String returns the encoding in lower-case hexadecimal.
func (k *Key) String() string { return k.public.String() }

// Verify reports whether s is the signature of message by k.
func (k *Key) Verify(message []byte, s Signature) bool {
	return k.verify(message, s, SuiteSign)
}

// VerifyProof reports whether proof shows that the owner of k knows its secret,
// and made the proof for statement.
func (k *Key) VerifyProof(statement []byte, proof Signature) bool {
	return k.verify(proven(statement, &k.public), proof, SuiteProve)
}

func (k *Key) verify(message []byte, s Signature, suite string) bool {
	point, err := decode(s)
	return err == nil && signs(&k.point, hashed(message, suite), point)
}

// VerifySame reports whether s is the sum of one signature of message by each
// of keys. It is false for no keys and for keys that sum up to the identity.
// The keys must have proved possession; a key that is given twice counts twice.
// It costs one product of two pairings and an addition per key.
func VerifySame(keys []*Key, message []byte, s Signature) bool {
	point, err := decode(s)
	if err != nil || len(keys) == 0 {
		return false
	}
	var sum bls12381.G2
	sum.SetIdentity()
	for _, k := range keys {
		sum.Add(&sum, &k.point)
	}
	return !sum.IsIdentity() && signs(&sum, hashed(message, SuiteSign), point)
}

func hashed(message []byte, suite string) *bls12381.G1 {
	h := new(bls12381.G1)
	h.Hash(message, []byte(suite))
	return h
}

// signs reports whether e(s, g2) = e(h, key), for points that are not the
// identity: one product of two pairings.
func signs(key *bls12381.G2, h, s *bls12381.G1) bool {
	return bls12381.ProdPairFrac(
		[]*bls12381.G1{s, h},
		[]*bls12381.G2{bls12381.G2Generator(), key},
		[]int{1, -1},
	).IsIdentity()
}
