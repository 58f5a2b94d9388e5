package staking

import (
	"fmt"
	"iter"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/consensus/beacon"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// GenesisValidator is a validator that exists from the start, with the stake of
// its operator, which is part of the supply.
type GenesisValidator struct {
	Operator ledger.Address
	Register
}

// Append writes the validator: operator 21, then as the payload of a Register.
func (g *GenesisValidator) Append(w *codec.Writer) {
	w.Fixed(g.Operator[:])
	g.append(w)
}

// Read reads what Append wrote.
func (g *GenesisValidator) Read(r *codec.Reader) {
	r.Into(g.Operator[:])
	g.read(r)
}

// ValidateGenesis returns an error that names the first validator that cannot be,
// by its keys, its stake or its proof of possession, which costs 2 ms each. The
// proofs are those for the zero network; see Prove.
func ValidateGenesis(p *Params, validators []GenesisValidator) error {
	c := Context{State: chain.NewOverlay(noState{}), Rules: p}
	c.setProgress(&progress{})
	for i := range validators {
		g := &validators[i]
		err := g.check()
		if err == nil {
			err = c.checkNew(g.Operator, &g.Register)
		}
		switch {
		case err != nil:
		case g.Operator.IsZero():
			err = fmt.Errorf("the operator is the zero address")
		case g.SelfStake < p.MinStake:
			err = fmt.Errorf("its stake is %d drops, at least min_stake %d", uint64(g.SelfStake), uint64(p.MinStake))
		default:
			err = g.checkKeys(ledger.NetworkID{}, g.Operator)
		}
		if err != nil {
			return fmt.Errorf("validators[%d]: %w", i, err)
		}
		c.create(g.Operator, &g.Register, 0)
	}
	return nil
}

// GenesisCommittee returns the committee of epoch 0, which consensus must begin
// with. seed is the hash of the genesis.
func GenesisCommittee(p *Params, seed ledger.Hash, validators []GenesisValidator) committee.Committee {
	o := chain.NewOverlay(noState{})
	Start(o, p, seed, validators)
	first, _ := ReadCommittee(o, 0)
	return first
}

// Start writes the state of staking at height 0: the validators as rows from 0,
// each with the delegation of its operator, the committee of epoch 0, and seed,
// the hash of the genesis, for the epochs that no seal precedes. It returns the
// sum of the stakes. validators must be valid. Without any there is no staking,
// and nothing is written.
func Start(o *chain.Overlay, p *Params, seed ledger.Hash, validators []GenesisValidator) (staked ledger.Amount) {
	if len(validators) == 0 {
		return 0
	}
	c := Context{State: o, Rules: p}
	c.setProgress(&progress{})
	for i := range validators {
		g := &validators[i]
		c.create(g.Operator, &g.Register, 0)
		staked += g.SelfStake
	}
	for e := range uint64(beacon.Lag) {
		o.Set(SeedKey(e), seed[:])
	}
	all := Candidates(o)
	rec := committee.Hold(0, p.election(), seed, all)
	c.hold(&rec, all)
	progress := c.progress()
	progress.Dirty = false
	c.setProgress(&progress)
	return staked
}

// SealMessage returns what the proposer of the block at height signs with its
// BLS key.
func SealMessage(d chain.Domain, p *Params, height uint64) []byte {
	return beacon.Message(d.Network, d.Chain, p.Epoch(height), height)
}

// CheckSeal reports whether seal is the signature of a member of the committee,
// the proposer, over the seal message of the block at height.
func CheckSeal(d chain.Domain, p *Params, height uint64, key *bls.Key, seal []byte) bool {
	return len(seal) == bls.SignatureSize && key.Verify(SealMessage(d, p, height), bls.Signature(seal))
}

// noState is the View of no state.
type noState struct{}

func (noState) Get([]byte) []byte                      { return nil }
func (noState) Range([]byte) iter.Seq2[[]byte, []byte] { return func(func([]byte, []byte) bool) {} }
