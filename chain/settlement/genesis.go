package settlement

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/zone"
)

// Genesis is the state a main chain starts from.
type Genesis struct {
	Name     string // of the network, 1 to 50 bytes
	Time     int64  // Unix milliseconds
	Params   Params
	Accounts []GenesisAccount // in the order of their rows; each address once
	// Validators are those of the first blocks, in the order of their rows, with
	// stakes of their operators that are part of the supply. Without any the chain
	// has no staking: its validators are fixed by whoever starts it, no epoch passes
	// and nobody can register.
	Validators []GenesisValidator
	// Services are registered from the start, ascending by id, and served by all
	// validators. They need validators: without any no epoch passes.
	Services []zone.ServiceType
}

// GenesisValidator is a validator that exists from the start.
type GenesisValidator = staking.GenesisValidator

// GenesisAccount is an account that exists from the start.
type GenesisAccount struct {
	Address ledger.Address
	Balance ledger.Amount // at least 1
}

const (
	maxName            = 50
	maxGenesisAccounts = 1 << 20
	// MaxGenesisValidators is the largest number of validators of a genesis.
	MaxGenesisValidators = 1000
	genesisAccountSize   = ledger.AddressSize + 8
)

// Validate returns an error that names the first field that is wrong.
func (g Genesis) Validate() error {
	switch {
	case g.Name == "" || len(g.Name) > maxName:
		return fmt.Errorf("name has %d bytes, want 1 to %d", len(g.Name), maxName)
	case g.Time <= 0:
		return fmt.Errorf("time is %d ms, want a time after 1970", g.Time)
	case len(g.Accounts) > maxGenesisAccounts:
		return fmt.Errorf("accounts has %d entries, at most %d", len(g.Accounts), maxGenesisAccounts)
	case len(g.Validators) > MaxGenesisValidators:
		return fmt.Errorf("validators has %d entries, at most %d", len(g.Validators), MaxGenesisValidators)
	}
	if err := g.Params.Validate(); err != nil {
		return fmt.Errorf("params: %w", err)
	}
	seen := make(map[ledger.Address]int, len(g.Accounts))
	for i, a := range g.Accounts {
		if first, ok := seen[a.Address]; ok {
			return fmt.Errorf("accounts[%d]: %s stands at accounts[%d] already", i, a.Address, first)
		}
		seen[a.Address] = i
		if a.Address.IsZero() {
			return fmt.Errorf("accounts[%d]: the zero address", i)
		}
		if a.Balance == 0 {
			return fmt.Errorf("accounts[%d]: balance is 0", i)
		}
	}
	if _, err := g.Supply(); err != nil {
		return err
	}
	if err := staking.ValidateGenesis(&g.Params.Staking, g.Validators); err != nil {
		return err
	}
	return validateServices(g.Services, len(g.Validators))
}

// Supply returns the sum of all balances and stakes, which must be below 2^63.
func (g Genesis) Supply() (ledger.Amount, error) {
	var supply ledger.Amount
	for i, a := range g.Accounts {
		sum, err := supply.Add(a.Balance)
		if err != nil {
			return 0, fmt.Errorf("accounts[%d]: supply: %w", i, err)
		}
		supply = sum
	}
	for i := range g.Validators {
		sum, err := supply.Add(g.Validators[i].SelfStake)
		if err != nil {
			return 0, fmt.Errorf("validators[%d]: supply: %w", i, err)
		}
		supply = sum
	}
	return supply, nil
}

// Committee returns the committee of epoch 0, whose members and powers consensus
// must begin with. It has no members if there is no staking. The genesis must be
// valid.
func (g Genesis) Committee() committee.Committee {
	return staking.GenesisCommittee(&g.Params.Staking, g.Hash(), g.Validators)
}

// Hash returns the hash of the canonical encoding.
func (g Genesis) Hash() ledger.Hash { return ledger.HashOf("trib/genesis/1", g.Encode()) }

// Encode returns the canonical encoding:
//
//	name u16+bytes | time u64 | params u32+bytes |
//	count u32 | count x (address 21 | balance u64) |
//	count u32 | count x (operator 21 | as the payload of a staking.Register) |
//	count u32 | count x (service u32+bytes, as zone.ServiceType encodes it)
func (g Genesis) Encode() []byte {
	w := codec.NewWriter(256 + len(g.Accounts)*genesisAccountSize)
	w.String16(g.Name)
	w.Uint64(uint64(g.Time))
	w.Bytes32(g.Params.Encode())
	w.Uint32(uint32(len(g.Accounts)))
	for i := range g.Accounts {
		w.Fixed(g.Accounts[i].Address[:])
		w.Uint64(uint64(g.Accounts[i].Balance))
	}
	w.Uint32(uint32(len(g.Validators)))
	for i := range g.Validators {
		g.Validators[i].Append(w)
	}
	w.Uint32(uint32(len(g.Services)))
	for i := range g.Services {
		w.Bytes32(g.Services[i].Encode())
	}
	return w.Bytes()
}

// DecodeGenesis reads what Encode wrote and validates it.
func DecodeGenesis(b []byte) (Genesis, error) {
	var g Genesis
	r := codec.NewReader(b)
	g.Name = r.String16(maxName)
	g.Time = int64(r.Uint64())
	params := r.Bytes32(1 << 16)
	n := int(r.Uint32())
	if r.Err() == nil && n > r.Remaining()/genesisAccountSize {
		return Genesis{}, fmt.Errorf("decode genesis: %d accounts in %d bytes", n, r.Remaining())
	}
	if r.Err() == nil && n > 0 {
		g.Accounts = make([]GenesisAccount, n)
	}
	for i := range g.Accounts {
		r.Into(g.Accounts[i].Address[:])
		g.Accounts[i].Balance = ledger.Amount(r.Uint64())
	}
	validators := int(r.Uint32())
	if r.Err() == nil && validators > min(MaxGenesisValidators, r.Remaining()/ledger.PublicKeySize) {
		return Genesis{}, fmt.Errorf("decode genesis: %d validators in %d bytes", validators, r.Remaining())
	}
	if r.Err() == nil && validators > 0 {
		g.Validators = make([]GenesisValidator, validators)
	}
	for i := range g.Validators {
		g.Validators[i].Read(r)
	}
	var err error
	if g.Services, err = readServices(r); err == nil {
		err = r.Done()
	}
	if err != nil {
		return Genesis{}, fmt.Errorf("decode genesis: %w", err)
	}
	if g.Params, err = DecodeParams(params); err != nil {
		return Genesis{}, fmt.Errorf("decode genesis: %w", err)
	}
	if err := g.Validate(); err != nil {
		return Genesis{}, fmt.Errorf("decode genesis: %w", err)
	}
	return g, nil
}

// State returns the state at height 0. The genesis must be valid.
func (g Genesis) State() (chain.Changes, error) {
	if err := g.Validate(); err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	supply, err := g.Supply()
	if err != nil {
		return nil, err
	}
	o := chain.NewOverlay(empty{})
	for i := range g.Accounts {
		a := Account{Address: g.Accounts[i].Address, Balance: g.Accounts[i].Balance}
		row := uint64(i)
		o.Set(AccountKey(row), a.Encode())
		o.Set(AccountIndexKey(a.Address), binary.BigEndian.AppendUint64(nil, row))
	}
	staked := staking.Start(o, &g.Params.Staking, g.Hash(), g.Validators)
	startRegistry(o, &g.Params, g.Services)
	b := books{
		Totals: Totals{Accounts: supply - staked, Staked: staked}, supply: supply, rows: uint64(len(g.Accounts)),
	}
	o.Set(TotalsKey(), b.encode())
	o.Set(ParamsKey(), g.Params.Encode())
	if _, err := Audit(o); err != nil {
		return nil, errors.Join(errors.New("genesis does not add up"), err)
	}
	return o.Changes(), nil
}
