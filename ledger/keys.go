package ledger

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
)

const (
	// PublicKeySize is the length of a PublicKey in bytes.
	PublicKeySize = 32
	// SignatureSize is the length of a Signature in bytes.
	SignatureSize = 64
	// SeedSize is the length of the seed a PrivateKey is made from, in bytes.
	SeedSize = 32
)

// PublicKey is an Ed25519 public key in its canonical encoding. Keys from
// outside must pass Check before they are stored or trusted.
type PublicKey [PublicKeySize]byte

// Signature is an Ed25519 signature, R || S.
type Signature [SignatureSize]byte

// ErrBadKey is returned for a public key that is not the canonical encoding of
// a curve point, or whose point is of small order.
var ErrBadKey = errors.New("not a canonical Ed25519 public key of large order")

// Check returns ErrBadKey unless k is the canonical encoding of a curve point
// that is not of small order. No signature by a key that fails can be valid.
func (k PublicKey) Check() error {
	compressed, err := curve.NewCompressedEdwardsYFromBytes(k[:])
	if err != nil || !compressed.IsCanonicalVartime() {
		return fmt.Errorf("public key %s: %w", k, ErrBadKey)
	}
	var point curve.EdwardsPoint
	if _, err := point.SetCompressedY(compressed); err != nil || point.IsSmallOrder() {
		return fmt.Errorf("public key %s: %w", k, ErrBadKey)
	}
	return nil
}

// IsZero reports whether k is all zeros, which is no valid key.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// String returns k in lower-case hexadecimal.
func (k PublicKey) String() string { return hex.EncodeToString(k[:]) }

// MarshalText returns k in lower-case hexadecimal.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText parses 64 hexadecimal digits and checks the key.
func (k *PublicKey) UnmarshalText(text []byte) error {
	v, err := ParsePublicKey(string(text))
	if err != nil {
		return err
	}
	*k = v
	return nil
}

// ParsePublicKey parses 64 hexadecimal digits and checks the key.
func ParsePublicKey(s string) (PublicKey, error) {
	raw, err := hex.DecodeString(s)
	if err != nil {
		return PublicKey{}, fmt.Errorf("parse public key %q: %w", s, err)
	}
	return PublicKeyFromBytes(raw)
}

// PublicKeyFromBytes returns the key held in b, which must be PublicKeySize
// long and pass Check.
func PublicKeyFromBytes(b []byte) (PublicKey, error) {
	var k PublicKey
	if len(b) != PublicKeySize {
		return k, fmt.Errorf("public key of %d bytes, want %d", len(b), PublicKeySize)
	}
	copy(k[:], b)
	if err := k.Check(); err != nil {
		return PublicKey{}, err
	}
	return k, nil
}

// PrivateKey is an Ed25519 private key. It is safe for concurrent use and never
// prints its secret.
type PrivateKey struct {
	key    ed25519.PrivateKey
	public PublicKey
}

// NewPrivateKey returns the key that seed, 32 secret random bytes, determines.
func NewPrivateKey(seed [SeedSize]byte) PrivateKey {
	key := ed25519.NewKeyFromSeed(seed[:])
	k := PrivateKey{key: key}
	copy(k.public[:], key[SeedSize:])
	return k
}

// Public returns the public key.
func (k PrivateKey) Public() PublicKey { return k.public }

// Seed returns the secret seed. Handle it like the key.
func (k PrivateKey) Seed() [SeedSize]byte { return [SeedSize]byte(k.key.Seed()) }

// Address returns the address of the key in zone.
func (k PrivateKey) Address(zone byte) Address { return NewAddress(zone, k.public) }

// Sign signs message. Signing is deterministic (RFC 8032, pure Ed25519).
func (k PrivateKey) Sign(message []byte) Signature {
	return Signature(ed25519.Sign(k.key, message))
}

// String hides the secret and shows the public key.
func (k PrivateKey) String() string { return "private key of " + k.public.String() }

// GoString hides the secret like String.
func (k PrivateKey) GoString() string { return k.String() }
