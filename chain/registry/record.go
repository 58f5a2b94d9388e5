package registry

import (
	"encoding/binary"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger/codec"
)

// prefixEpoch begins the keys of epoch records:
//
//	'E' | epoch u64    an EpochRecord
const prefixEpoch = 'E'

// EpochRecordSize is the length of an encoded EpochRecord in bytes.
const EpochRecordSize = 24

// EpochRecord is what shards are told when an epoch begins. It is in the state of
// the main chain from the last block of the epoch before on.
type EpochRecord struct {
	Epoch uint64
	Sigma uint64 // settlement clock when the record was made
	First uint64 // height of the first block of the epoch on the main chain
}

// EpochKey returns the state key of an epoch's record.
func EpochKey(epoch uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixEpoch}, epoch)
}

// Encode returns the canonical encoding: epoch, sigma and first height, 8 each.
func (e *EpochRecord) Encode() []byte {
	w := codec.NewWriter(EpochRecordSize)
	w.Uint64(e.Epoch)
	w.Uint64(e.Sigma)
	w.Uint64(e.First)
	return w.Bytes()
}

// DecodeEpochRecord reads what Encode wrote.
func DecodeEpochRecord(b []byte) (EpochRecord, error) {
	r := codec.NewReader(b)
	e := EpochRecord{Epoch: r.Uint64(), Sigma: r.Uint64(), First: r.Uint64()}
	if err := r.Done(); err != nil {
		return EpochRecord{}, fmt.Errorf("decode the record of an epoch: %w", err)
	}
	return e, nil
}

// ReadEpoch returns the record of an epoch, and ok=false if there is none, not yet,
// or not any more.
func ReadEpoch(v chain.View, epoch uint64) (e EpochRecord, ok bool) {
	b := v.Get(EpochKey(epoch))
	if b == nil {
		return EpochRecord{}, false
	}
	e, err := DecodeEpochRecord(b)
	mustRead("record of an epoch", err)
	return e, true
}
