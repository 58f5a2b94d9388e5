package service

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// Params are the consensus parameters of a service's shards. They come from the
// service's registration, are part of the state, and every node must use the same.
type Params struct {
	// MinAdvance is how much more than the last booking of its lane a voucher must
	// be worth, in drops, at least 1. It is what a booking costs a spammer: money
	// signed away.
	MinAdvance ledger.Amount
	// UnitsPerDrop bounds work: of a lane's units as many count as its cumulative
	// amount buys at this price. At least 1.
	UnitsPerDrop uint64
	// SettleEntries is how many lanes one block settles at most, BatchEntries how
	// many one settlement has at most.
	SettleEntries uint32
	BatchEntries  uint32
	// Ahead is how long, in sigma, a channel must live on at the beginning of an epoch for
	// what is booked on it to wait for the settlement at the end of that epoch. It is 0 if
	// the length of epochs is not known: then only channels that close do not wait.
	Ahead uint64

	MaxBlockBytes int64 // of all bundles
}

// MaxBatchEntries is the largest BatchEntries: that many entries, however long,
// fit a transaction of the main chain.
const MaxBatchEntries = 8_192

const (
	maxSettleEntries = 65_536
	maxBlockBytes    = 64 << 20
	maxMinAdvance    = ledger.Amount(1) << 40
	maxAhead         = uint64(1) << 40
)

// DefaultParams are the parameters to start with.
func DefaultParams() Params {
	return Params{
		MinAdvance: 1, UnitsPerDrop: 1, SettleEntries: 4_096, BatchEntries: 4_096, MaxBlockBytes: 4 << 20,
	}
}

// Validate returns an error that names the first parameter out of its range.
func (p *Params) Validate() error {
	switch {
	case p.MinAdvance == 0 || p.MinAdvance > maxMinAdvance:
		return fmt.Errorf("min_advance is %d drops, want 1 to %d", uint64(p.MinAdvance), uint64(maxMinAdvance))
	case p.UnitsPerDrop == 0:
		return fmt.Errorf("units_per_drop is 0, want 1 or more")
	case p.SettleEntries == 0 || p.SettleEntries > maxSettleEntries:
		return fmt.Errorf("settle_entries is %d, want 1 to %d", p.SettleEntries, maxSettleEntries)
	case p.BatchEntries == 0 || p.BatchEntries > MaxBatchEntries:
		return fmt.Errorf("batch_entries is %d, want 1 to %d", p.BatchEntries, MaxBatchEntries)
	case p.Ahead > maxAhead:
		return fmt.Errorf("ahead is %d, want 0 to %d", p.Ahead, maxAhead)
	case p.MaxBlockBytes < chain.MaxBundleSize || p.MaxBlockBytes > maxBlockBytes:
		return fmt.Errorf("max_block_bytes is %d, want %d to %d", p.MaxBlockBytes, chain.MaxBundleSize, maxBlockBytes)
	}
	return nil
}

// LeastAdvance returns what a transaction with so many entries has to bring in all to be
// worth its place, in drops: MinAdvance for each of them, booked or not.
func (p *Params) LeastAdvance(entries int) uint64 {
	return uint64(p.MinAdvance) * uint64(entries) //nolint:gosec // at most maxMinAdvance, and channel.MaxEntries
}

// Encode returns the canonical encoding: min_advance u64 | units_per_drop u64 |
// settle_entries u32 | batch_entries u32 | ahead u64 | max_block_bytes u64.
func (p *Params) Encode() []byte {
	w := codec.NewWriter(40)
	w.Uint64(uint64(p.MinAdvance))
	w.Uint64(p.UnitsPerDrop)
	w.Uint32(p.SettleEntries)
	w.Uint32(p.BatchEntries)
	w.Uint64(p.Ahead)
	w.Uint64(uint64(p.MaxBlockBytes))
	return w.Bytes()
}

// DecodeParams reads what Encode wrote and validates it.
func DecodeParams(b []byte) (Params, error) {
	r := codec.NewReader(b)
	p := Params{
		MinAdvance: ledger.Amount(r.Uint64()), UnitsPerDrop: r.Uint64(),
		SettleEntries: r.Uint32(), BatchEntries: r.Uint32(), Ahead: r.Uint64(), MaxBlockBytes: int64(r.Uint64()),
	}
	if err := r.Done(); err != nil {
		return Params{}, fmt.Errorf("decode params: %w", err)
	}
	if err := p.Validate(); err != nil {
		return Params{}, fmt.Errorf("decode params: %w", err)
	}
	return p, nil
}

// ReadParams returns the parameters in v.
func ReadParams(v chain.View) (Params, error) { return DecodeParams(v.Get(ParamsKey())) }
