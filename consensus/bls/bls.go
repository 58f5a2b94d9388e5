// Package bls signs and verifies with BLS on the curve BLS12-381: the
// signatures of validators that leave a committee (certificates) and those that
// nobody can choose (the seals that make up an epoch's seed).
//
// Public keys are points of G2 (96 bytes), signatures points of G1 (48 bytes),
// both compressed. The suite is that of draft-irtf-cfrg-bls-signature with
// proofs of possession: SuiteSign for messages, SuiteProve for proofs. Points,
// pairing and hashing to the curve are github.com/cloudflare/circl's; no other
// package imports it.
//
// Signatures of one message by many keys add up to one signature, which is
// verified against the sum of the keys with one product of two pairings,
// however many keys there are. So do signatures of many messages, with a pairing
// for each set of keys (VerifyMany). This is sound only for keys whose owners have
// proved that they know the secret: without a proof the key g^x - (sum of all
// others) would let its maker sign for everybody. So a key is trusted only
// after VerifyProof, which registration does once. Both key and proof are public,
// and anybody can show them: so a proof is made for a statement that says who may
// show it where, and a registry refuses a key that it has already.
//
// A signature of one message by one key is unique, also in its encoding:
// encodings that are not canonical, points outside the subgroup of prime order
// and the identity are refused everywhere.
//
// It belongs to row 1a of the dependency order. It is pure: no randomness,
// clock or state; secrets and random numbers come from the caller. Everything here is safe for
// concurrent use.
package bls

import (
	"encoding/hex"
	"errors"
	"fmt"
)

const (
	// PublicKeySize is the length of a PublicKey in bytes.
	PublicKeySize = 96
	// SignatureSize is the length of a Signature in bytes.
	SignatureSize = 48
	// SecretSize is the length of an encoded SecretKey in bytes.
	SecretSize = 32
)

const (
	// SuiteSign is the domain that messages are hashed to the curve under.
	SuiteSign = "BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_"
	// SuiteProve is the domain of proofs of possession. No signature of a
	// message is a proof and no proof the signature of a message.
	SuiteProve = "BLS_POP_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_"
)

// Errors of this package.
var (
	// ErrBadKey means bytes that are not the canonical encoding of a point of
	// the subgroup of prime order in G2, or that encode the identity.
	ErrBadKey = errors.New("not a canonical BLS12-381 public key")
	// ErrBadSecret means a secret that is zero, not below the group order, or
	// of the wrong length, or a seed that is too short.
	ErrBadSecret = errors.New("not a BLS12-381 secret key")
	// ErrBadSignature means bytes that are not the canonical encoding of a
	// point of the subgroup of prime order in G1, or that encode the identity.
	ErrBadSignature = errors.New("not a canonical BLS12-381 signature")
	// ErrEmpty means that there is nothing to add up.
	ErrEmpty = errors.New("no signature to aggregate")
	// ErrIdentity means that keys or signatures cancel each other out.
	ErrIdentity = errors.New("the sum of the keys or signatures is the identity")
)

// PublicKey is a public key in its compressed encoding. It is only bytes: a key
// from outside is used through ParseKey, which checks it.
type PublicKey [PublicKeySize]byte

// Signature is a signature, or a sum of signatures, in its compressed encoding.
// It is only bytes: whoever verifies it checks it.
type Signature [SignatureSize]byte

// IsZero reports whether k is all zeros, which is no valid key.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// String returns k in lower-case hexadecimal.
func (k PublicKey) String() string { return hex.EncodeToString(k[:]) }

// MarshalText returns k in lower-case hexadecimal.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText parses 192 hexadecimal digits and checks the key (ErrBadKey).
func (k *PublicKey) UnmarshalText(text []byte) error {
	var v PublicKey
	if err := unhex(v[:], text); err != nil {
		return fmt.Errorf("parse BLS public key: %w", err)
	}
	if _, err := ParseKey(v); err != nil {
		return err
	}
	*k = v
	return nil
}

// IsZero reports whether s is all zeros, which is no valid signature.
func (s Signature) IsZero() bool { return s == Signature{} }

// String returns s in lower-case hexadecimal.
func (s Signature) String() string { return hex.EncodeToString(s[:]) }

// MarshalText returns s in lower-case hexadecimal.
func (s Signature) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText parses 96 hexadecimal digits. It does not check the point.
func (s *Signature) UnmarshalText(text []byte) error {
	var v Signature
	if err := unhex(v[:], text); err != nil {
		return fmt.Errorf("parse BLS signature: %w", err)
	}
	*s = v
	return nil
}

func unhex(dst, text []byte) error {
	if len(text) != 2*len(dst) {
		return fmt.Errorf("%d characters, want %d hexadecimal digits", len(text), 2*len(dst))
	}
	_, err := hex.Decode(dst, text)
	return err
}
