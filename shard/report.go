package shard

import (
	"fmt"

	"github.com/tributary-network/tributary/ledger/codec"
)

// KindReport is the kind of the message by which a shard sends its Report to the main
// chain.
const KindReport uint16 = 32

// ReportSize is the length of an encoded Report in bytes.
const ReportSize = 8 + LoadSize

// Report is how full a shard was in an epoch. The shard sends it to the main chain when
// it learns that the epoch is over.
type Report struct {
	Epoch uint64
	Load  Load
}

// Encode returns the canonical encoding, ReportSize bytes: epoch 8, load.
func (p *Report) Encode() []byte {
	w := codec.NewWriter(ReportSize)
	w.Uint64(p.Epoch)
	w.Fixed(p.Load.Encode())
	return w.Bytes()
}

// DecodeReport reads what Encode wrote, with the errors of DecodeLoad.
func DecodeReport(b []byte) (Report, error) {
	r := codec.NewReader(b)
	p := Report{Epoch: r.Uint64()}
	load := r.Fixed(LoadSize)
	if err := r.Done(); err != nil {
		return Report{}, fmt.Errorf("decode report: %w", err)
	}
	var err error
	p.Load, err = DecodeLoad(load)
	return p, err
}
