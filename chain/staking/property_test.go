package staking_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
)

// step makes one block of random choices. absent never signs.
func (w *world) step(rt *rapid.T, rng *rand.Rand, absent uint64, codes map[chain.Code]int) {
	n := func(most int) int { return rng.IntN(most + 1) }
	validators := int(staking.ValidatorCount(w.view))
	var b block
	if n(79) == 0 {
		who := uint64(n(validators - 1))
		b.evidence = []staking.Evidence{w.equivocation(who, w.height+1-min(w.height, uint64(n(40))))}
		b.evidence[0].Kind = staking.EvidenceKind(1 + n(1))
	}
	b.votes = w.votes(absent)
	b.idle = n(5) == 0
	b.run = func(c *staking.Context) {
		if b.idle {
			return
		}
		for range n(6) {
			by := user(n(2))
			if n(5) == 0 {
				by = operator(n(3))
			}
			v, to := uint64(n(validators)), uint64(n(validators))
			amount := ledger.Amount([]uint64{0, 1, 2, 7, 100, 1_000, 30_000}[n(6)])
			var m message
			switch n(5) {
			case 0, 1:
				m = &staking.Delegate{Validator: v, Amount: amount + ledger.Amount(n(50))}
			case 2:
				m = &staking.Undelegate{Validator: v, Amount: amount}
			case 3:
				if v == to {
					continue
				}
				m = &staking.Redelegate{From: v, To: to, Amount: amount}
			case 4:
				m = &staking.Claim{Validators: []uint64{v}}
			case 5:
				if n(1) == 0 {
					by = operator(int(v) % 4)
				}
				m = &staking.Unjail{Validator: v}
			}
			before := digest(c.State) + fmt.Sprint(*w.bank.clone())
			_, err := w.do(c, by, m)
			code, ok := chain.CodeOf(err)
			if !ok {
				rt.Fatalf("%T: %v is no rule", m, err)
			}
			codes[code]++
			if err != nil && digest(c.State)+fmt.Sprint(*w.bank.clone()) != before {
				rt.Fatalf("%T %+v is refused (%v) and changes the state", m, m, err)
			}
		}
	}
	w.apply(b)
}

// TestConservation: after every block of whatever anybody does, value is
// conserved, shares add up, and no more can be claimed than there is; world.apply
// audits all of it, and the bank panics when a place would go below nothing.
func TestConservation(t *testing.T) {
	t.Parallel()
	codes := map[chain.Code]int{}
	rapid.Check(t, func(rt *rapid.T) {
		p := smallParams()
		p.MaxEntries, p.JailEpochs = 1, 3
		p.DowntimeBps, p.EpochReward = 333, ledger.Amount(rapid.SampledFrom([]uint64{0, 999, 100_003}).Draw(rt, "reward"))
		p.DuplicateVoteBps = rapid.SampledFrom([]uint32{1, 500, 3_333, 10_000}).Draw(rt, "slash")
		w := newWorld(t, p, 9_001, 8_000, 7_777, 3_000)
		seed := rapid.Uint64().Draw(rt, "seed")
		rng := rand.New(rand.NewPCG(seed, 1))
		for range 100 {
			w.step(rt, rng, seed%5, codes)
		}
	})
	for _, c := range []chain.Code{
		chain.CodeOK, chain.CodeValidatorNotFound, chain.CodeDelegationNotFound, chain.CodeMoreThanDelegated,
		chain.CodeRedelegating, chain.CodeNothingToClaim, chain.CodeTombstoned, chain.CodeNotOperator, chain.CodeTooManyEntries,
		chain.CodeValidatorJailed, chain.CodeJailNotOver, chain.CodeNotJailed, chain.CodeDelegationTooSmall,
	} {
		if codes[c] == 0 {
			t.Errorf("no message ended with %s", c)
		}
	}
	t.Logf("codes: %v", codes)
}

// TestReplay: the same blocks lead to the same state, byte for byte.
func TestReplay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, smallParams(), 9_001, 8_000, 7_777)
		again := w.fork()
		again.quiet = true
		for range 25 {
			amount := ledger.Amount(rapid.Uint64Range(1, 5_000).Draw(rt, "amount"))
			who := user(rapid.IntRange(0, 4).Draw(rt, "user"))
			from, to := rapid.Uint64Range(0, 2).Draw(rt, "from"), rapid.Uint64Range(0, 2).Draw(rt, "to")
			ms := []message{&staking.Delegate{Validator: from, Amount: amount}, &staking.Undelegate{Validator: to, Amount: amount / 2}}
			if from != to {
				ms = append(ms, &staking.Redelegate{From: from, To: to, Amount: amount / 3})
			}
			for _, x := range []*world{w, again} {
				b := block{votes: x.votes(from), seal: make([]byte, 48), run: func(c *staking.Context) {
					for _, m := range ms {
						_, _ = x.do(c, who, m)
					}
				}}
				x.apply(b)
			}
			if w.view.digest() != again.view.digest() {
				rt.Fatalf("block %d: two executions differ", w.height)
			}
		}
	})
}

// TestNobodyGainsBySplitting: a crowd that shares money, and splits, orders and
// times its actions as it likes, never gets more out than one that puts all of it
// in at once and waits, but for what others lose by rounding, which is less than
// a drop each time they act.
func TestNobodyGainsBySplitting(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p := smallParams()
		p.EpochReward = ledger.Amount(rapid.SampledFrom([]uint64{0, 10, 997, 50_021}).Draw(rt, "reward"))
		p.Seats, p.UnbondingEpochs, p.EvidenceEpochs, p.MaxEntries = 2, 3, 2, 16
		const money = 3_001
		start := newWorld(t, p, 9_001, 8_003)
		// What others do is the same in both worlds, and only they slash.
		slashed := rapid.Uint64Range(12, 40).Draw(rt, "slash at")
		played := rapid.IntRange(1, 3).Draw(rt, "crowd")
		others := func(w *world) (b block) {
			switch {
			case w.height == 2:
				b.run = func(c *staking.Context) { mustDo(w, c, user(3), &staking.Delegate{Validator: 0, Amount: 1_777}) }
			case w.height+1 == slashed:
				b.votes = w.votes(0)
			}
			return b
		}
		end := start.p.LastBlock(5)
		finish := func(w *world, crowd []ledger.Address) (got uint64) {
			w.apply(block{run: func(c *staking.Context) {
				for _, a := range crowd {
					if _, err := w.do(c, a, &staking.Undelegate{Validator: 0}); err == nil {
						continue
					}
				}
			}})
			w.turn(5)
			for _, a := range crowd {
				got += w.balance(a)
			}
			return got
		}
		plain := start.fork()
		plain.apply(block{run: func(c *staking.Context) { mustDo(plain, c, user(0), &staking.Delegate{Validator: 0, Amount: money}) }})
		for plain.height < end {
			plain.apply(others(plain))
		}
		want := finish(plain, []ledger.Address{user(0)}) + uint64(played-1)*riches

		split := start.fork()
		crowd := []ledger.Address{user(0), user(1), user(2)}[:played]
		split.apply(block{run: func(c *staking.Context) {
			left := uint64(money)
			for left > 0 {
				part := min(left, rapid.Uint64Range(1, money).Draw(rt, "part"))
				who := crowd[rapid.IntRange(0, played-1).Draw(rt, "who")]
				mustDo(split, c, who, &staking.Delegate{Validator: 0, Amount: ledger.Amount(part)})
				left -= part
			}
		}})
		for split.height < end {
			b := others(split)
			run := b.run
			b.run = func(c *staking.Context) {
				if run != nil {
					run(c)
				}
				if rapid.Bool().Draw(rt, "claims") {
					who := crowd[rapid.IntRange(0, played-1).Draw(rt, "who")]
					_, _ = split.do(c, who, &staking.Claim{Validators: []uint64{0}})
				}
				if rapid.IntRange(0, 3).Draw(rt, "leaves") == 0 {
					who := crowd[rapid.IntRange(0, played-1).Draw(rt, "who")]
					amount := rapid.Uint64Range(1, 50).Draw(rt, "amount")
					_, _ = split.do(c, who, &staking.Undelegate{Validator: 0, Amount: ledger.Amount(amount)})
				}
			}
			split.apply(b)
		}
		const othersAct = 2 // user 3 delegates, the operator registered
		if got := finish(split, crowd); got > want+othersAct {
			rt.Fatalf("split the crowd has %d, unsplit %d", got, want)
		}
	})
}

func mustDo(w *world, c *staking.Context, by ledger.Address, m message) {
	w.t.Helper()
	if _, err := w.do(c, by, m); err != nil {
		w.t.Fatalf("%T: %v", m, err)
	}
}

// TestSlashBounds: whatever happens between the fault and its evidence, no more
// is burned than the stated part of what the culprit had when it was elected, and
// nobody loses more than that part of what they have.
func TestSlashBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p := smallParams()
		p.EpochReward = 0
		p.DuplicateVoteBps = rapid.Uint32Range(0, 10_000).Draw(rt, "points")
		p.MaxEntries = 16
		w := newWorld(t, p, 9_001, 8_000, 7_000)
		act := func(blocks int) {
			for range blocks {
				who := user(rapid.IntRange(0, 3).Draw(rt, "who"))
				amount := ledger.Amount(rapid.Uint64Range(1, 3_000).Draw(rt, "amount"))
				var m message
				switch rapid.IntRange(0, 3).Draw(rt, "what") {
				case 0:
					m = &staking.Delegate{Validator: 0, Amount: amount}
				case 1:
					m = &staking.Undelegate{Validator: 0, Amount: amount}
				case 2:
					m = &staking.Redelegate{From: 0, To: 1, Amount: amount}
				case 3:
					m = &staking.Undelegate{Validator: 1, Amount: amount}
				}
				w.apply(block{run: func(c *staking.Context) { _, _ = w.do(c, who, m) }})
			}
		}
		act(9)
		rec, _ := staking.ReadElection(w.view, 1)
		var elected uint64
		for _, c := range w.out.Candidates {
			if c.Validator == 0 {
				elected = c.Stake
			}
		}
		if len(rec.Committee.Members) == 0 || elected == 0 {
			rt.Fatal("validator 0 has no seat")
		}
		act(12)
		was := map[int]uint64{}
		have := func(i int) (sum uint64) {
			for row := range uint64(2) {
				sum += uint64(w.stake(row, user(i)).Worth)
			}
			for _, u := range staking.UnbondingsOf(w.view, w.p, w.height+1, user(i), 0, 100) {
				sum += uint64(u.Amount)
			}
			return sum
		}
		for i := range 4 {
			was[i] = have(i)
		}
		burned := w.bank.burned
		w.apply(block{evidence: []staking.Evidence{w.equivocation(0, 15)}})
		burned = w.bank.burned - burned
		points := uint64(p.DuplicateVoteBps)
		if burned > elected*points/10_000 {
			rt.Fatalf("%d burned, %d bps of %d", burned, points, elected)
		}
		for i := range 4 {
			// Each of up to five places a user has stake in rounds by a drop.
			if lost := was[i] - min(was[i], have(i)); lost > was[i]*points/10_000+20 {
				rt.Fatalf("user %d lost %d of %d", i, lost, was[i])
			}
		}
	})
}
