package settlement

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// Params are the consensus parameters. They come from the genesis, are part of
// the state, and every node must use the same.
type Params struct {
	// Fees, in drops.
	TxFee      ledger.Amount // for every transaction; not 0, so that a receipt's Fee tells whether its nonce was used
	PaymentFee ledger.Amount // for every payment of a transfer after the first, on top
	OpenFee    ledger.Amount // for every channel opened, on top
	EntryFee   ledger.Amount // for every entry of a batch, on top
	StepFee    ledger.Amount // for every 16 steps of a hash lane, on top

	Rent       ledger.Amount // held for each open channel, refunded when it closes
	MinDeposit ledger.Amount // at least 100 times EntryFee
	BurnBps    uint32        // basis points of what is paid out, burned; 0 to 10,000

	// Settlement clock, in blocks.
	MinChallenge     uint32
	DefaultChallenge uint32
	MaxChallenge     uint32
	MaxLifetime      uint64 // expires_at is at most sigma + MaxLifetime

	// BlockInterval is the least time between two blocks, in milliseconds. It is
	// what the challenge windows, which are counted in blocks, are worth in time:
	// validators wait as long before they vote again, whatever waits to be
	// settled, so nobody can hurry the clock by filling blocks.
	BlockInterval uint32

	MaxBlockBytes int64  // of all bundles
	ReservedBps   uint32 // share of MaxBlockBytes reserved for urgent redemptions
	MaxStretch    uint32 // a window of n sigma lasts at most n*MaxStretch blocks

	// Services are those that a channel may name although they are not registered,
	// ascending: 0 stands for none in particular.
	Services []uint32

	Staking  staking.Params
	Registry RegistryParams
	Anchors  AnchorParams // MaxLag counts as less than EvidenceEpochs, if that is more than 1
}

// DefaultParams are the parameters to start with: four hours of challenge at
// blocks of three seconds, 2 % burned, 30 % of a block reserved.
func DefaultParams() Params {
	return Params{
		TxFee: 20, PaymentFee: 20, OpenFee: 20, EntryFee: 10, StepFee: 1,
		Rent: 1_000, MinDeposit: 1_000, BurnBps: 200,
		MinChallenge: 1_200, DefaultChallenge: 4_800, MaxChallenge: 57_600,
		MaxLifetime:   5_184_000, // 180 days
		BlockInterval: 3_000,
		MaxBlockBytes: 4 << 20, ReservedBps: 3_000, MaxStretch: 4,
		Services: []uint32{0},
		Staking:  staking.DefaultParams(),
		Registry: defaultRegistry(),
		Anchors:  anchor.DefaultParams(),
	}
}

// LocalParams are DefaultParams for networks on one machine, where people want
// to see a challenge window end: it is 5 to 600 blocks long, five blocks a second.
func LocalParams() Params {
	p := DefaultParams()
	p.BlockInterval = 200
	p.MinChallenge, p.DefaultChallenge, p.MaxChallenge = 5, 20, 600
	p.Staking = staking.LocalParams()
	p.Registry = localRegistry()
	p.Anchors = anchor.LocalParams()
	return p
}

// ReservedBytes returns how many bytes of a block are reserved for urgent
// redemptions.
func (p *Params) ReservedBytes() int64 {
	return p.MaxBlockBytes * int64(p.ReservedBps) / ledger.BasisPoints
}

// Rules returns the parameters of the channel protocol.
func (p *Params) Rules() channel.Rules {
	return channel.Rules{
		MinDeposit: p.MinDeposit, Rent: p.Rent, BurnBps: p.BurnBps,
		MinChallenge: p.MinChallenge, MaxChallenge: p.MaxChallenge,
		MaxLifetime: p.MaxLifetime, Services: p.Services,
	}
}

// Bounds of parameters. They keep every sum of the rules below 2^63.
const (
	maxFee           ledger.Amount = 1_000_000_000_000 // for one item, in drops
	maxLifetime                    = 1 << 40
	maxBlockInterval               = 60_000 // ms
	maxBlockBytes                  = 64 << 20
	// maxReserved is as much as urgent redemptions can always fill by nine tenths,
	// whatever they weigh, before the block is full by weight: see weightPerByte. A
	// larger lane could be full of work and not by bytes, and then the settlement
	// clock would go on while urgent redemptions wait.
	maxReserved = 3_000
	maxStretch  = 64
	maxServices = 1_024
	depositFees = 100 // a deposit is worth at least this many entry fees
)

// Validate returns an error that names the first parameter out of its range.
func (p *Params) Validate() error {
	for _, f := range []struct {
		name  string
		value ledger.Amount
	}{
		{"tx_fee", p.TxFee},
		{"payment_fee", p.PaymentFee},
		{"open_fee", p.OpenFee},
		{"entry_fee", p.EntryFee},
		{"step_fee", p.StepFee},
		{"rent", p.Rent},
		{"min_deposit", p.MinDeposit},
	} {
		if f.value > maxFee {
			return fmt.Errorf("%s is %d drops, at most %d", f.name, uint64(f.value), uint64(maxFee))
		}
	}
	switch {
	case p.TxFee == 0:
		return errors.New("tx_fee is 0 drops, at least 1: the fee in a receipt is what tells that the transaction used its nonce")
	case p.MinDeposit == 0 || p.MinDeposit < depositFees*p.EntryFee:
		return fmt.Errorf("min_deposit is %d drops, at least %d times entry_fee and not 0", uint64(p.MinDeposit), depositFees)
	case p.BurnBps > ledger.BasisPoints:
		return fmt.Errorf("burn_bps is %d, at most %d", p.BurnBps, ledger.BasisPoints)
	case p.MinChallenge == 0:
		return errors.New("min_challenge is 0")
	case p.DefaultChallenge < p.MinChallenge:
		return fmt.Errorf("default_challenge is %d, at least min_challenge %d", p.DefaultChallenge, p.MinChallenge)
	case p.MaxChallenge < p.DefaultChallenge:
		return fmt.Errorf("max_challenge is %d, at least default_challenge %d", p.MaxChallenge, p.DefaultChallenge)
	case p.MaxLifetime < channel.MinLifetime*uint64(p.MaxChallenge) || p.MaxLifetime > maxLifetime:
		return fmt.Errorf("max_lifetime is %d, want %d times max_challenge to %d", p.MaxLifetime, channel.MinLifetime, maxLifetime)
	case p.BlockInterval == 0 || p.BlockInterval > maxBlockInterval:
		return fmt.Errorf("block_interval is %d ms, want 1 to %d", p.BlockInterval, maxBlockInterval)
	case p.MaxBlockBytes < chain.MaxBundleSize || p.MaxBlockBytes > maxBlockBytes:
		return fmt.Errorf("max_block_bytes is %d, want %d to %d", p.MaxBlockBytes, chain.MaxBundleSize, maxBlockBytes)
	case p.ReservedBps > maxReserved:
		return fmt.Errorf("reserved_bps is %d, at most %d: urgent redemptions may be too heavy for a block before they fill a larger lane, so the settlement clock would not wait for them", p.ReservedBps, maxReserved)
	case p.MaxStretch == 0 || p.MaxStretch > maxStretch:
		return fmt.Errorf("max_stretch is %d, want 1 to %d", p.MaxStretch, maxStretch)
	case len(p.Services) > maxServices:
		return fmt.Errorf("services has %d entries, at most %d", len(p.Services), maxServices)
	}
	for i := 1; i < len(p.Services); i++ {
		if p.Services[i] <= p.Services[i-1] {
			return fmt.Errorf("services[%d] is %d after %d, want strictly ascending", i, p.Services[i], p.Services[i-1])
		}
	}
	if err := p.Staking.Validate(); err != nil {
		return fmt.Errorf("staking: %w", err)
	}
	if err := p.Registry.Validate(); err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	if err := p.Anchors.Validate(); err != nil {
		return fmt.Errorf("anchors: %w", err)
	}
	return nil
}

func (p *Params) write(w *codec.Writer) {
	for _, a := range []ledger.Amount{p.TxFee, p.PaymentFee, p.OpenFee, p.EntryFee, p.StepFee, p.Rent, p.MinDeposit} {
		w.Uint64(uint64(a))
	}
	w.Uint32(p.BurnBps)
	w.Uint32(p.MinChallenge)
	w.Uint32(p.DefaultChallenge)
	w.Uint32(p.MaxChallenge)
	w.Uint64(p.MaxLifetime)
	w.Uint32(p.BlockInterval)
	w.Uint64(uint64(p.MaxBlockBytes))
	w.Uint32(p.ReservedBps)
	w.Uint32(p.MaxStretch)
	w.Uint16(uint16(len(p.Services)))
	for _, s := range p.Services {
		w.Uint32(s)
	}
	p.Staking.Append(w)
	p.Registry.Append(w)
	p.Anchors.Append(w)
}

func (p *Params) read(r *codec.Reader) {
	for _, a := range []*ledger.Amount{&p.TxFee, &p.PaymentFee, &p.OpenFee, &p.EntryFee, &p.StepFee, &p.Rent, &p.MinDeposit} {
		*a = ledger.Amount(r.Uint64())
	}
	p.BurnBps = r.Uint32()
	p.MinChallenge, p.DefaultChallenge, p.MaxChallenge = r.Uint32(), r.Uint32(), r.Uint32()
	p.MaxLifetime, p.BlockInterval, p.MaxBlockBytes = r.Uint64(), r.Uint32(), int64(r.Uint64())
	p.ReservedBps, p.MaxStretch = r.Uint32(), r.Uint32()
	if n := int(r.Uint16()); n > 0 && n <= r.Remaining()/4 {
		p.Services = make([]uint32, n)
	} else if n > 0 {
		r.Fixed(r.Remaining() + 1) // the services are cut off
	}
	for i := range p.Services {
		p.Services[i] = r.Uint32()
	}
	p.Staking.Read(r)
	p.Registry.Read(r)
	p.Anchors.Read(r)
}

// Encode returns the canonical encoding: the fields in their order, of fixed
// width, with a two-byte number before the services, and those of staking, of the
// registry and of anchors last.
func (p *Params) Encode() []byte {
	w := codec.NewWriter(256)
	p.write(w)
	return w.Bytes()
}

// DecodeParams reads what Encode wrote and validates it.
func DecodeParams(b []byte) (Params, error) {
	var p Params
	r := codec.NewReader(b)
	p.read(r)
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
