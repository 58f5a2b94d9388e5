package lanelog

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/sumtree"
)

const (
	// KeySize is the length of a Key in bytes.
	KeySize = 32
	// EntrySize is the length of an encoded Entry in bytes.
	EntrySize = 8 + 4 + 1 + 1 + ledger.HashSize + 8 + 8

	idSize = ledger.HashSize + 2
)

// Tags of what is hashed, so that nothing passes for something else.
const (
	tagEntry  = "trib/log/entry\x00"
	tagSalt   = "trib/log/salt\x00"
	tagObject = "trib/log/object\x00"
	tagSeal   = "trib/log/seal\x00"
)

// ID names a log: each lane of a channel has one.
type ID struct {
	Channel ledger.Hash
	Lane    uint16
}

// String returns the log's name, "CHANNEL/LANE".
func (id ID) String() string { return fmt.Sprintf("%s/%d", id.Channel, id.Lane) }

func (id ID) append(b []byte) []byte {
	return binary.BigEndian.AppendUint16(append(b, id.Channel[:]...), id.Lane)
}

// Key is a log's secret. Payer and payee have it and nobody else: with it one reads the
// segments, and guesses entries from their hashes. One key may serve all logs of a channel.
type Key [KeySize]byte

// derive returns a secret of the key for one purpose.
func (k Key) derive(tag string, parts ...[]byte) ledger.Hash {
	h := sha256.New()
	h.Write([]byte(tag))
	h.Write(k[:])
	for _, p := range parts {
		h.Write(p)
	}
	return ledger.Hash(h.Sum(nil))
}

// Salt returns the salt of entry seq of a log.
func (k Key) Salt(id ID, seq uint64) (salt [sumtree.SaltSize]byte) {
	var b [len(tagSalt) + KeySize + idSize + 8]byte
	buf := append(b[:0], tagSalt...)
	buf = append(buf, k[:]...)
	buf = binary.BigEndian.AppendUint64(id.append(buf), seq)
	h := sha256.Sum256(buf)
	copy(salt[:], h[:])
	return salt
}

// Object returns what an entry says of an object: its hash with the entry's salt, so that
// entries about the same object look different to whoever does not have the key.
func (k Key) Object(id ID, seq uint64, object []byte) ledger.Hash {
	salt := k.Salt(id, seq)
	return ledger.HashOf(tagObject, salt[:], object)
}

// Entry is one line of a log: a billing unit, or some that belong together. Its place in
// the log is its number, from zero on.
type Entry struct {
	Start    uint64 // when the service began, in milliseconds since 1970, by who wrote it
	Duration uint32 // in milliseconds
	Kind     uint8  // what was done, as the service numbers it
	Result   uint8  // how it ended, as the service numbers it; 0 is well
	Object   ledger.Hash
	Units    uint64        // billing units
	Amount   ledger.Amount // what they cost, in drops
}

// Sum returns what the entry adds to its log.
func (e *Entry) Sum() sumtree.Sum { return sumtree.Sum{Units: e.Units, Amount: e.Amount} }

// append writes start 8, duration 4, kind 1, result 1, object 32, units 8, amount 8.
func (e *Entry) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, e.Start)
	b = binary.BigEndian.AppendUint32(b, e.Duration)
	b = append(b, e.Kind, e.Result)
	b = append(b, e.Object[:]...)
	b = binary.BigEndian.AppendUint64(b, e.Units)
	return binary.BigEndian.AppendUint64(b, uint64(e.Amount))
}

// Encode returns the EntrySize bytes of the entry.
func (e *Entry) Encode() []byte { return e.append(make([]byte, 0, EntrySize)) }

// ReadEntry reads what Encode returned, and ErrEncoding for an amount that is none.
func ReadEntry(r *codec.Reader) (Entry, error) {
	e := Entry{Start: r.Uint64(), Duration: r.Uint32(), Kind: r.Uint8(), Result: r.Uint8()}
	r.Into(e.Object[:])
	e.Units, e.Amount = r.Uint64(), ledger.Amount(r.Uint64())
	if err := r.Err(); err != nil {
		return Entry{}, fmt.Errorf("%w: entry: %w", ErrEncoding, err)
	}
	if e.Amount > ledger.MaxAmount {
		return Entry{}, fmt.Errorf("%w: entry of %d drops, at most %d", ErrEncoding, uint64(e.Amount), uint64(ledger.MaxAmount))
	}
	return e, nil
}

// Hash returns the hash of entry seq of a log.
func (e *Entry) Hash(id ID, seq uint64) ledger.Hash {
	var b [len(tagEntry) + idSize + 8 + EntrySize]byte
	buf := append(b[:0], tagEntry...)
	buf = binary.BigEndian.AppendUint64(id.append(buf), seq)
	return sha256.Sum256(e.append(buf))
}

// Leaf returns entry seq as the leaf of its log.
func (e *Entry) Leaf(key Key, id ID, seq uint64) sumtree.Leaf {
	return sumtree.Leaf{Sum: e.Sum(), Salt: key.Salt(id, seq), Entry: e.Hash(id, seq)}
}
