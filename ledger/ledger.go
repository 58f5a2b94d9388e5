// Package ledger holds the values every other package speaks about: amounts of
// money, addresses, hashes, keys and signatures.
//
// It is row 0 of the dependency order. It knows no clock, disk, network or
// goroutine: every function here is a function of its arguments. Encodings are
// fixed and canonical (two equal values have one encoding and one encoding has
// one value), because their bytes enter hashes and signatures.
//
// Money is counted in drops, the smallest unit. One coin is 10^6 drops. All
// arithmetic is checked: an operation that would leave [0, 2^63) returns
// ErrOverflow instead of wrapping.
//
// Signatures are Ed25519 under one rule only: the cofactored equation, S below
// the group order, canonical encodings of A and R, and no small-order A or R.
// Single and batch verification use that same rule, so that no crafted
// signature can be valid for one node and invalid for another.
package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// HashSize is the length of a Hash in bytes.
const HashSize = 32

// Hash is a SHA-256 digest. The zero value means "none" where a field is optional.
type Hash [HashSize]byte

// HashOf returns SHA-256(tag || 0x00 || parts...). The tag separates domains:
// two uses of hashing never share a tag. Every part must have a length that the
// tag's definition fixes or that an earlier part states, so that the
// concatenation is unambiguous.
func HashOf(tag string, parts ...[]byte) Hash {
	h := sha256.New()
	h.Write([]byte(tag))
	h.Write([]byte{0})
	for _, p := range parts {
		h.Write(p)
	}
	return Hash(h.Sum(nil))
}

// IsZero reports whether h is the zero hash.
func (h Hash) IsZero() bool { return h == Hash{} }

// String returns h in lower-case hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText returns h in lower-case hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText parses 64 hexadecimal digits.
func (h *Hash) UnmarshalText(text []byte) error {
	v, err := ParseHash(string(text))
	if err != nil {
		return err
	}
	*h = v
	return nil
}

// ParseHash parses 64 hexadecimal digits. The error names what is wrong.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if len(s) != 2*HashSize {
		return h, fmt.Errorf("parse hash: %d characters, want %d hexadecimal digits", len(s), 2*HashSize)
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return Hash{}, fmt.Errorf("parse hash: %w", err)
	}
	return h, nil
}

// NetworkID names a network: the hash of its genesis. It is part of every
// signed message, so that nothing signed for one network is valid on another.
type NetworkID = Hash

// ChainID numbers a chain within a network. The main chain is MainChain.
type ChainID uint32

// MainChain is the ChainID of the chain that settles.
const MainChain ChainID = 1

// ErrOverflow is returned by arithmetic whose result would leave its range.
var ErrOverflow = errors.New("amount out of range")
