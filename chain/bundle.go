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
	recordFrame        = 4
	bundleFrame        = 3
)

// Bundle is what consensus agrees on: some records, in order, or a tick.
//
//	0xB1 | count u16 | count x (length u32 | record)
//	0xB2 | height u64
//
// A tick has no records. It asks for the block at Height, so that the
// settlement clock runs towards a deadline while nobody sends transactions. All
// validators make the same tick, byte for byte.
type Bundle struct {
	Records [][]byte // raw transactions; nil for a tick
	Tick    uint64   // the height asked for; 0 unless a tick
}

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

// BundleSize returns the size of a bundle of size bytes after one more record
// of n bytes; size 0 is the empty bundle.
func BundleSize(size, n int) int {
	if size == 0 {
		size = bundleFrame
	}
	return size + recordFrame + n
}

// DecodeBundle reads a bundle. The records alias raw and are not looked into.
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
