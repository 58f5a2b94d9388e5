package shard

import (
	"math/big"

	"github.com/tributary-network/tributary/ledger"
)

const (
	// SafeMembers is the number of members below which a committee is so easily
	// bad that the status of a node says so.
	SafeMembers = 32
	// BadBps is the part of the stake that the design takes for bad, in basis points.
	BadBps = 2_500
)

// Odds is a probability in parts of Certain, rounded up.
type Odds uint64

// Certain is the probability of what always happens.
const Certain Odds = 1_000_000_000_000_000_000

// Security is how likely a random committee is bad.
type Security struct {
	// Stall is the chance that bad members can keep the others from a quorum, and
	// the shard stands still. Forge is the chance that they are a quorum, and can
	// certify what they like. Money is safe in both cases: it is on the main chain.
	Stall, Forge Odds
}

// SecurityOf returns the security of a committee of members with equal votes,
// each of which is bad with the chance badBps, 0 to 10,000, in basis points: one
// that is drawn from many candidates with so much bad stake. Where the
// candidates are few the chances are lower, and where all of them serve, and
// less than a third of the stake is bad, there are none.
//
// It is exact, and for people: no rule depends on it. It takes about a
// millisecond for 1,000 members.
func SecurityOf(members int, badBps uint32) Security {
	if members < 1 {
		return Security{Stall: Certain, Forge: Certain}
	}
	quorum := members*2/3 + 1
	tails := binomialTails(members, min(badBps, ledger.BasisPoints), members-quorum+1, quorum)
	return Security{Stall: tails[0], Forge: tails[1]}
}

// binomialTails returns for each of least the chance that at least so many of n
// are bad.
func binomialTails(n int, badBps uint32, least ...int) []Odds {
	tails := make([]Odds, len(least))
	bad, good := big.NewInt(int64(badBps)), big.NewInt(ledger.BasisPoints-int64(badBps))
	if good.Sign() == 0 {
		for i := range tails {
			tails[i] = Certain
		}
		return tails
	}
	all := new(big.Int).Exp(big.NewInt(ledger.BasisPoints), big.NewInt(int64(n)), nil)
	sums := make([]big.Int, len(least))
	// term is how many of all draws have k bad members: C(n,k) * bad^k * good^(n-k).
	term := new(big.Int).Exp(good, big.NewInt(int64(n)), nil)
	var factor big.Int
	for k := 0; k <= n; k++ {
		for i := range sums {
			if k >= least[i] {
				sums[i].Add(&sums[i], term)
			}
		}
		term.Mul(term, factor.Mul(big.NewInt(int64(n-k)), bad))
		term.Quo(term, factor.Mul(big.NewInt(int64(k+1)), good)) // leaves no rest
	}
	for i := range sums {
		sum := &sums[i]
		sum.Mul(sum, new(big.Int).SetUint64(uint64(Certain)))
		sum.Add(sum, all).Sub(sum, big.NewInt(1)).Quo(sum, all)
		tails[i] = Odds(sum.Uint64())
	}
	return tails
}
