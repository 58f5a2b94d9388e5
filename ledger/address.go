package ledger

import (
	"bytes"
	"fmt"

	"github.com/btcsuite/btcd/btcutil/bech32"
)

const (
	// AddressSize is the length of an Address in bytes.
	AddressSize = 21
	// AddressPrefix is the human-readable part of an address in bech32.
	AddressPrefix = "trib"

	addressTag = "trib/address/1"
)

// Address names an account: one byte for its home zone and the first 20 bytes
// of the hash of its public key. The first hash byte is the account's bucket
// within the zone, so the home shard follows from the address alone.
type Address [AddressSize]byte

// NewAddress returns the address of key in zone.
func NewAddress(zone byte, key PublicKey) Address {
	h := HashOf(addressTag, key[:])
	var a Address
	a[0] = zone
	copy(a[1:], h[:AddressSize-1])
	return a
}

// Zone returns the home zone.
func (a Address) Zone() byte { return a[0] }

// Bucket returns the bucket within the zone, 0 to 255.
func (a Address) Bucket() byte { return a[1] }

// IsZero reports whether a is the zero address, which no key has.
func (a Address) IsZero() bool { return a == Address{} }

// Compare orders addresses by their bytes.
func (a Address) Compare(b Address) int { return bytes.Compare(a[:], b[:]) }

// String returns the address in bech32: "trib1...".
func (a Address) String() string {
	s, err := bech32.EncodeFromBase256(AddressPrefix, a[:])
	if err != nil { // cannot be: prefix and length are constants that fit
		panic(fmt.Sprintf("encode address %x: %v", a[:], err))
	}
	return s
}

// MarshalText returns the bech32 form.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText parses the bech32 form.
func (a *Address) UnmarshalText(text []byte) error {
	v, err := ParseAddress(string(text))
	if err != nil {
		return err
	}
	*a = v
	return nil
}

// ParseAddress parses a bech32 address. The error says what is wrong with it.
func ParseAddress(s string) (Address, error) {
	var a Address
	hrp, data, err := bech32.DecodeToBase256(s)
	switch {
	case err != nil:
		return a, fmt.Errorf("parse address %q: %w", s, err)
	case hrp != AddressPrefix:
		return a, fmt.Errorf("parse address %q: prefix %q, want %q", s, hrp, AddressPrefix)
	case len(data) != AddressSize:
		return a, fmt.Errorf("parse address %q: %d bytes, want %d", s, len(data), AddressSize)
	}
	copy(a[:], data)
	return a, nil
}
