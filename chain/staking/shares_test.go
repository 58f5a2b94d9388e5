package staking_test

import (
	"math"
	"math/big"
	"math/bits"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
)

func big64(n uint64) *big.Int { return new(big.Int).SetUint64(n) }

// TestIndexIsExact compares the index with integers without limits.
func TestIndexIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var x staking.Index
		want := new(big.Int) // in 2^-64 drops
		var given, taken uint64
		shares := rapid.Uint64Range(1, uint64(ledger.MaxAmount)).Draw(rt, "shares")
		mine := rapid.Uint64Range(0, shares).Draw(rt, "mine")
		for range rapid.IntRange(1, 8).Draw(rt, "epochs") {
			reward := rapid.Uint64Range(0, uint64(ledger.MaxAmount)/8).Draw(rt, "reward")
			before := x
			next, ok := x.Plus(ledger.Amount(reward), shares)
			if !ok {
				rt.Fatal("the index overflows")
			}
			x = next
			given += reward
			step := new(big.Int).Lsh(big64(reward), 64)
			want.Add(want, step.Div(step, big64(shares)))
			got := new(big.Int).Add(new(big.Int).Lsh(big64(x.Whole), 64), big64(x.Fraction))
			if got.Cmp(want) != 0 {
				rt.Fatalf("index %v, want %v", got, want)
			}
			taken += uint64(x.Since(before, mine)) + uint64(x.Since(before, shares-mine))
		}
		if taken > given {
			rt.Fatalf("%d drops claimed of %d", taken, given)
		}
		exact := new(big.Int).Mul(want, big64(mine))
		if got := x.Since(staking.Index{}, mine); big64(uint64(got)).Cmp(exact.Rsh(exact, 64)) != 0 {
			rt.Fatalf("%d drops of %d shares, want %v", got, mine, exact)
		}
	})
}

func TestIndexRefuses(t *testing.T) {
	t.Parallel()
	full := staking.Index{Whole: math.MaxUint64, Fraction: 5}
	if x, ok := full.Plus(1, 1); ok || x != full {
		t.Errorf("an index beyond its range is %v", x)
	}
	if _, ok := full.Plus(1, 0); ok {
		t.Error("a reward for nobody")
	}
	for name, f := range map[string]func(){
		"backwards": func() { (staking.Index{}).Since(staking.Index{Fraction: 1}, 1) },
		"too much":  func() { full.Since(staking.Index{}, 1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("an index that goes %s earns something", name)
				}
			}()
			f()
		}()
	}
}

// TestSharesRoundAgainstWhoMoves: what comes buys and what leaves costs so many shares
// that those who stay lose nothing by it.
func TestSharesRoundAgainstWhoMoves(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		tokens ledger.Amount
		shares uint64
		amount ledger.Amount
		bought uint64
		cost   uint64
	}{
		{1_000, 1_000, 7, 7, 7},
		{999, 1_000, 1, 1, 2}, // 1.001
		{2, 3, 1, 1, 2},       // 1.5
		{3, 1_000, 2, 666, 667},
		{950, 1_000, 19, 20, 20},
		{950, 1_000, 20, 21, 22}, // 21.05
	} {
		p := staking.Pool{Tokens: row.tokens, Shares: row.shares}
		if got := p.Price(row.amount); got != row.cost {
			t.Errorf("%d drops of %+v cost %d shares, want %d", row.amount, p, got, row.cost)
		}
		if got, ok := p.Issue(row.amount); !ok || got != row.bought {
			t.Errorf("%d drops buy %d shares of %d for %d, want %d", row.amount, got, row.shares, row.tokens, row.bought)
		}
	}
}

// noLess fails if a share of now is worth less than one of was.
func noLess(rt *rapid.T, was, now staking.Pool) {
	wasHi, wasLo := bits.Mul64(uint64(was.Tokens), now.Shares)
	nowHi, nowLo := bits.Mul64(uint64(now.Tokens), was.Shares)
	if nowHi < wasHi || nowHi == wasHi && nowLo < wasLo {
		rt.Fatalf("those who stay had a part of %+v, and now of %+v", was, now)
	}
}

// TestPoolNeverPaysMore: whatever goes in and out of a pool in whatever order and
// parts, what a holder got and has is never more than what it put in, slashes
// take from all alike, and the last takes all that is left.
func TestPoolNeverPaysMore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var p staking.Pool
		const holders = 3
		var shares, in, out [holders]uint64
		var slashed uint64
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			who := rapid.IntRange(0, holders-1).Draw(rt, "who")
			was, cut := p, false
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0:
				amount := rapid.Uint64Range(1, 1_000).Draw(rt, "amount")
				n, ok := p.Issue(ledger.Amount(amount))
				if !ok {
					continue
				}
				if uint64(p.Worth(n)) > amount {
					rt.Fatalf("%d drops bought what is worth %d", amount, p.Worth(n))
				}
				shares[who], in[who] = shares[who]+n, in[who]+amount
			case 1:
				worth := uint64(p.Worth(shares[who]))
				if worth == 0 {
					continue
				}
				amount := rapid.Uint64Range(1, worth).Draw(rt, "amount")
				n := p.Price(ledger.Amount(amount))
				if n > shares[who] {
					rt.Fatalf("%d of %d drops cost %d of %d shares", amount, worth, n, shares[who])
				}
				p.Tokens, p.Shares = p.Tokens-ledger.Amount(amount), p.Shares-n
				shares[who], out[who] = shares[who]-n, out[who]+amount
			case 2:
				out[who] += uint64(p.Redeem(shares[who]))
				shares[who] = 0
			case 3:
				burned := uint64(p.Tokens) * rapid.Uint64Range(0, 100).Draw(rt, "percent") / 100
				p.Tokens -= ledger.Amount(burned)
				slashed, cut = slashed+burned, true
			}
			if !cut {
				noLess(rt, was, p)
			}
			var sum, put, got uint64
			for i := range holders {
				sum += shares[i]
				put += in[i]
				got += out[i]
			}
			if sum != p.Shares || p.Shares < uint64(p.Tokens) || put != got+slashed+uint64(p.Tokens) {
				rt.Fatalf("pool %+v, %v shares, %d in, %d out, %d slashed", p, shares, put, got, slashed)
			}
		}
	})
}

func TestPoolBounds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		pool   staking.Pool
		amount ledger.Amount
		shares uint64
		ok     bool
	}{
		{"the first share is a drop", staking.Pool{}, 7, 7, true},
		{"all there can be", staking.Pool{}, ledger.MaxAmount, uint64(ledger.MaxAmount), true},
		{"more than there can be", staking.Pool{Tokens: 1, Shares: 1}, ledger.MaxAmount, 0, false},
		{"worth nothing", staking.Pool{Shares: 5}, 1, 0, false},
		{"two shares a drop", staking.Pool{Tokens: 5, Shares: 10}, 3, 6, true},
		{"rounded down", staking.Pool{Tokens: 3, Shares: 4}, 2, 2, true},
		{"shares beyond their range", staking.Pool{Tokens: 1, Shares: 1 << 62}, 2, 0, false},
		{"a product beyond 64 bits", staking.Pool{Tokens: 1 << 61, Shares: 1 << 62}, 1 << 60, 1 << 61, true},
	} {
		p := c.pool
		shares, ok := p.Issue(c.amount)
		if ok != c.ok || shares != c.shares || !ok && p != c.pool {
			t.Errorf("%s: %d shares, %v, pool %+v", c.name, shares, ok, p)
		}
	}
}
