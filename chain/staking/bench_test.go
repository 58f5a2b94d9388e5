package staking_test

import (
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
)

const (
	benchValidators = 1_000
	benchDelegators = 100_000
)

// void is a Bank that costs nothing.
type void struct{}

func (void) Row(ledger.Address) uint64                   { return 0 }
func (void) Balance(uint64) ledger.Amount                { return 0 }
func (void) Bond(uint64, ledger.Amount)                  {}
func (void) PayOut(uint64, ledger.Amount, ledger.Amount) {}
func (void) Post(staking.Posting)                        {}

// benchWorld has a hundred delegators behind each of benchValidators.
func benchWorld(b *testing.B, seats uint32) *world {
	b.Helper()
	p := staking.DefaultParams()
	p.Seats, p.MinStake, p.MinSelfStake, p.MinDelegation = seats, 1_000, 1_000, 1_000
	stakes := make([]uint64, benchValidators)
	for i := range stakes {
		stakes[i] = uint64(1_000_000 + i)
	}
	w := newWorld(b, p, stakes...)
	w.quiet = true
	w.height = 1
	o := chain.NewOverlay(w.view)
	c := &staking.Context{State: o, Bank: w.bank, Rules: &w.p, Network: network, Height: w.height}
	for i := range benchDelegators {
		w.fund(user(i))
		mustDo(w, c, user(i), &staking.Delegate{Validator: uint64(i % benchValidators), Amount: riches / 2})
	}
	w.view.apply(o.Changes())
	return w
}

// BenchmarkEpochChange is what the two blocks of an epoch's end cost beyond their
// records, with 1,000 validators and 100,000 delegators.
func BenchmarkEpochChange(b *testing.B) {
	for _, seats := range []uint32{100, 1_000} {
		w := benchWorld(b, seats)
		epoch := w.p.Epoch(w.height)
		seals := make([][]byte, w.p.EpochBlocks)
		for i := range seals {
			seals[i] = make([]byte, 48)
		}
		run := func(name string, height uint64) {
			b.Run(name, func(b *testing.B) {
				b.ReportAllocs()
				keys := 0
				for b.Loop() {
					o := chain.NewOverlay(w.view)
					c := &staking.Context{State: o, Bank: void{}, Rules: &w.p, Network: network, Height: height}
					c.End(staking.Pot{Fees: ledger.Amount(w.bank.fees), Minted: ledger.Amount(w.bank.minted), Supply: ledger.Amount(w.supply)}, seals)
					keys = len(o.Changes())
				}
				b.ReportMetric(float64(keys), "keys/op")
			})
		}
		name := map[uint32]string{100: "seats=100", 1_000: "seats=1000"}[seats]
		run(name+"/elect", w.p.LastBlock(epoch)-1)
		w.height = w.p.LastBlock(epoch) - 2
		w.idle(w.p.LastBlock(epoch) - 1)
		run(name+"/reward", w.p.LastBlock(epoch))
	}
}

// BenchmarkCount is what the votes of a block cost: everybody signed, or one of a
// hundred did not.
func BenchmarkCount(b *testing.B) {
	w := benchWorld(b, 100)
	all := w.votes()
	one := slices.Clone(all)
	one[7].Signed = false
	for name, votes := range map[string][]staking.Vote{"all signed": all, "one did not": one} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c := &staking.Context{State: chain.NewOverlay(w.view), Bank: w.bank, Rules: &w.p, Network: network, Height: 2}
				c.Count(staking.Address{}, votes)
			}
		})
	}
}
