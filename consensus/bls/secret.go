package bls

import (
	"crypto/sha256"
	"fmt"

	"github.com/cloudflare/circl/ecc/bls12381"
	"github.com/cloudflare/circl/sign/bls"
)

// MinSeedSize is the shortest seed that NewSecretKey takes, in bytes.
const MinSeedSize = 32

// keygenSalt is hashed to the first salt of KeyGen.
const keygenSalt = "BLS-SIG-KEYGEN-SALT-"

// SecretKey is a secret key. It is immutable and never prints its secret.
type SecretKey struct {
	// scalar is behind a pointer so that printing a SecretKey shows an address.
	scalar *bls12381.Scalar
	public PublicKey
}

// NewSecretKey returns the key that seed determines: KeyGen of
// draft-irtf-cfrg-bls-signature with the salt SHA-256("BLS-SIG-KEYGEN-SALT-")
// and no key info. The seed is secret and random, at least MinSeedSize bytes
// (ErrBadSecret).
func NewSecretKey(seed []byte) (*SecretKey, error) {
	if len(seed) < MinSeedSize {
		return nil, fmt.Errorf("BLS seed of %d bytes, want at least %d: %w", len(seed), MinSeedSize, ErrBadSecret)
	}
	salt := sha256.Sum256([]byte(keygenSalt))
	generated, err := bls.KeyGen[bls.KeyG2SigG1](seed, salt[:], nil)
	if err != nil {
		return nil, fmt.Errorf("derive BLS key: %w", err)
	}
	secret, err := generated.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("derive BLS key: %w", err)
	}
	return ParseSecretKey(secret)
}

// ParseSecretKey returns the key whose encoding is secret: SecretSize bytes,
// big-endian, from 1 to the group order less one (ErrBadSecret).
func ParseSecretKey(secret []byte) (*SecretKey, error) {
	if len(secret) != SecretSize {
		return nil, fmt.Errorf("BLS secret of %d bytes, want %d: %w", len(secret), SecretSize, ErrBadSecret)
	}
	k := &SecretKey{scalar: new(bls12381.Scalar)}
	if err := k.scalar.UnmarshalBinary(secret); err != nil {
		return nil, fmt.Errorf("BLS secret is not below the group order: %w", ErrBadSecret)
	}
	if k.scalar.IsZero() == 1 {
		return nil, fmt.Errorf("BLS secret is zero: %w", ErrBadSecret)
	}
	var public bls12381.G2
	public.ScalarMult(k.scalar, bls12381.G2Generator())
	copy(k.public[:], public.BytesCompressed())
	return k, nil
}

// Bytes returns the secret, SecretSize bytes. Handle them like the key.
func (k *SecretKey) Bytes() []byte {
	secret, err := k.scalar.MarshalBinary()
	if err != nil {
		panic(fmt.Sprintf("bls: encode a scalar: %v", err)) // circl documents no such error
	}
	return secret
}

// Public returns the public key.
func (k *SecretKey) Public() PublicKey { return k.public }

// Sign signs message. Signing is deterministic.
func (k *SecretKey) Sign(message []byte) Signature { return k.sign(message, SuiteSign) }

// Prove returns the proof of possession: the signature of statement, followed by
// the own public key, under SuiteProve. The statement says what the proof is for,
// so that nobody can use it for something else; none makes it the proof of the
// draft. Statements that can be told apart by their length or their beginning
// need no other framing: the key has a fixed length and comes last.
func (k *SecretKey) Prove(statement []byte) Signature {
	return k.sign(proven(statement, &k.public), SuiteProve)
}

func proven(statement []byte, k *PublicKey) []byte {
	return append(append(make([]byte, 0, len(statement)+PublicKeySize), statement...), k[:]...)
}

func (k *SecretKey) sign(message []byte, suite string) Signature {
	var p bls12381.G1
	p.Hash(message, []byte(suite))
	p.ScalarMult(k.scalar, &p)
	return encode(&p)
}

// String hides the secret and shows the public key.
func (k *SecretKey) String() string { return "BLS secret key of " + k.public.String() }

// GoString hides the secret like String.
func (k *SecretKey) GoString() string { return k.String() }

func encode(p *bls12381.G1) Signature { return Signature(p.BytesCompressed()) }

// decode returns the point of s, or ErrBadSignature.
func decode(s Signature) (*bls12381.G1, error) {
	p := new(bls12381.G1)
	if err := p.SetBytes(s[:]); err != nil {
		return nil, fmt.Errorf("BLS signature %s: %w", s, ErrBadSignature)
	}
	if p.IsIdentity() {
		return nil, fmt.Errorf("BLS signature is the identity: %w", ErrBadSignature)
	}
	return p, nil
}
