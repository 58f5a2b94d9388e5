package settlement

import (
	"github.com/tributary-network/tributary/ledger"
)

// Params are the consensus parameters. They come from the genesis, are part of
// the state, and every node must use the same.
type Params struct {
	// Fees, in drops.
	TxFee    ledger.Amount // for every transaction
	OpenFee  ledger.Amount // for every channel opened, on top
	EntryFee ledger.Amount // for every entry of a batch, on top
	StepFee  ledger.Amount // for every 16 steps of a hash lane, on top

	Rent       ledger.Amount // held for each open channel, refunded when it closes
	MinDeposit ledger.Amount // at least 100 times EntryFee
	BurnBps    uint32        // basis points of what is paid out, burned; 0 to 10,000

	// Settlement clock, in blocks.
	MinChallenge     uint32
	DefaultChallenge uint32
	MaxChallenge     uint32
	MaxLifetime      uint64 // expires_at is at most sigma + MaxLifetime

	MaxBlockBytes int64  // of all bundles
	ReservedBps   uint32 // share of MaxBlockBytes reserved for urgent redemptions
	MaxStretch    uint32 // a window of n sigma lasts at most n*MaxStretch blocks

	Services []uint32 // registered services a channel may name, ascending
}

// DefaultParams are the parameters to start with: four hours of challenge at
// blocks of three seconds, 2 % burned, 30 % of a block reserved.
func DefaultParams() Params {
	return Params{
		TxFee: 20, OpenFee: 20, EntryFee: 10, StepFee: 1,
		Rent: 1_000, MinDeposit: 1_000, BurnBps: 200,
		MinChallenge: 1_200, DefaultChallenge: 4_800, MaxChallenge: 57_600,
		MaxLifetime:   5_184_000, // 180 days at 3 s
		MaxBlockBytes: 4 << 20, ReservedBps: 3_000, MaxStretch: 4,
		Services: []uint32{0},
	}
}

// LocalParams are DefaultParams for networks on one machine, where people want
// to see a challenge window end: it is 5 to 600 blocks long.
func LocalParams() Params {
	p := DefaultParams()
	p.MinChallenge, p.DefaultChallenge, p.MaxChallenge = 5, 20, 600
	p.Services = []uint32{0, 1, 2, 3}
	return p
}
