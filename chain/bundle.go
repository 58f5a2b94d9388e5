package chain

import (
	"github.com/tributary-network/tributary/ledger/codec"
)

const (
	// BundleRecords is the largest number of records in a bundle.
	BundleRecords = 256
	// BundleTarget is the size in bytes that a bundle of several records does
	// not exceed. A larger record travels as a bundle of its own.
	BundleTarget = 64 << 10
	// MaxBundleSize is the size in bytes of the largest bundle: one record of
	// MaxTxSize and the frame.
	MaxBundleSize = MaxTxSize + 16

	bundleRecords byte = 0xB1
	bundleTick    byte = 0xB2
	bundleSeal    byte = 0xB3
	bundleRelay   byte = 0xB4
	recordFrame        = 4
	bundleFrame        = 3
)

// Bundle is what consensus agrees on: some records, in order, a tick, a seal or a relay.
//
//	0xB1 | count u16 | count x (length u32 | record)
//	0xB2 | height u64
//	0xB3 | height u64 | signature 48
//	0xB4 | payload
//
// A tick has no records. It asks for the block at Height, so that the
// settlement clock runs towards a deadline while nobody sends transactions. All
// validators make the same tick, byte for byte.
//
// A seal is the first thing in a block and makes it the proposer's: see Seal.
//
// A relay is what anybody carries from another chain without signing it: it proves
// itself. Its payload is of 1 to MaxTxSize bytes, and the rules of the chain say what it
// means. Shards take relays, the main chain refuses them.
type Bundle struct {
	Records [][]byte // raw transactions; nil unless records
	Tick    uint64   // the height asked for; 0 unless a tick
	Seal    *Seal    // nil unless a seal
	Relay   []byte   // nil unless a relay
}

// Seal is the BLS signature by which a block's proposer contributes to the seed of
// a coming epoch. The proposer cannot choose it: there is one valid signature for
// a key and a height (consensus/beacon has what is signed).
type Seal struct {
	Height    uint64 // of the block, at least 1
	Signature [SealSize]byte
}

// SealSize is the length of a seal's signature in bytes.
const SealSize = 48

// SealBundleSize is the length of an encoded seal in bytes.
const SealBundleSize = 1 + 8 + SealSize

// EncodeRecords returns the bundle of records, of which there must be 1 to
// BundleRecords.
func EncodeRecords(records [][]byte) []byte {
	size := bundleFrame
	for _, r := range records {
		size += recordFrame + len(r)
	}
	w := codec.NewWriter(size)
	w.Uint8(bundleRecords)
	w.Uint16(uint16(len(records)))
	for _, r := range records {
		w.Bytes32(r)
	}
	return w.Bytes()
}

// EncodeTick returns the tick for height, which must not be 0.
func EncodeTick(height uint64) []byte {
	w := codec.NewWriter(9)
	w.Uint8(bundleTick)
	w.Uint64(height)
	return w.Bytes()
}

// Encode returns the seal as a bundle of SealBundleSize bytes.
func (s *Seal) Encode() []byte {
	w := codec.NewWriter(SealBundleSize)
	w.Uint8(bundleSeal)
	w.Uint64(s.Height)
	w.Fixed(s.Signature[:])
	return w.Bytes()
}

// EncodeRelay returns the bundle of a relay's payload, of 1 to MaxTxSize bytes.
func EncodeRelay(payload []byte) []byte {
	w := codec.NewWriter(1 + len(payload))
	w.Uint8(bundleRelay)
	w.Fixed(payload)
	return w.Bytes()
}

// IsRelay reports whether raw is the bundle of a relay, if it is a bundle at all.
func IsRelay(raw []byte) bool { return len(raw) > 0 && raw[0] == bundleRelay }

// BundleSize returns the size of a bundle of size bytes after one more record
// of n bytes; size 0 is the empty bundle.
func BundleSize(size, n int) int {
	if size == 0 {
		size = bundleFrame
	}
	return size + recordFrame + n
}

// DecodeBundle reads a bundle. The records, or the relay, alias raw and are not looked into.
// It refuses with CodeTooLarge or CodeMalformed.
func DecodeBundle(raw []byte) (Bundle, error) {
	if len(raw) > MaxBundleSize {
		return Bundle{}, Refuse(CodeTooLarge, "bundle of %d bytes, at most %d", len(raw), MaxBundleSize)
	}
	r := codec.NewReader(raw)
	switch tag := r.Uint8(); tag {
	case bundleTick:
		height := r.Uint64()
		if err := r.Done(); err != nil || height == 0 {
			return Bundle{}, Refuse(CodeMalformed, "tick for height %d: %v", height, err)
		}
		return Bundle{Tick: height}, nil
	case bundleSeal:
		seal := &Seal{Height: r.Uint64()}
		r.Into(seal.Signature[:])
		if err := r.Done(); err != nil || seal.Height == 0 {
			return Bundle{}, Refuse(CodeMalformed, "seal of height %d: %v", seal.Height, err)
		}
		return Bundle{Seal: seal}, nil
	case bundleRelay:
		payload := raw[1:]
		if len(payload) == 0 || len(payload) > MaxTxSize {
			return Bundle{}, Refuse(CodeMalformed, "relay of %d bytes, want 1 to %d", len(payload), MaxTxSize)
		}
		return Bundle{Relay: payload}, nil
	case bundleRecords:
		return decodeRecords(r, len(raw))
	default:
		return Bundle{}, Refuse(CodeMalformed, "bundle tag %#02x", tag)
	}
}

func decodeRecords(r *codec.Reader, size int) (Bundle, error) {
	count := int(r.Uint16())
	if count == 0 || count > BundleRecords {
		return Bundle{}, Refuse(CodeMalformed, "bundle of %d records, want 1 to %d", count, BundleRecords)
	}
	if count > 1 && size > BundleTarget {
		return Bundle{}, Refuse(CodeTooLarge, "bundle of %d records has %d bytes, at most %d", count, size, BundleTarget)
	}
	b := Bundle{Records: make([][]byte, count)}
	for i := range b.Records {
		b.Records[i] = r.Bytes32(MaxTxSize)
	}
	if err := r.Done(); err != nil {
		return Bundle{}, Refuse(CodeMalformed, "bundle: %v", err)
	}
	return b, nil
}
