package staking_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/beacon"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
)

// TestElection: who has most is elected in the last block but one, consensus
// hears of it there, and anybody can recompute it.
func TestElection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallParams(), 50_000, 40_000, 30_000)
	if m := w.members(0); !slices.Equal(m, []uint64{0, 1, 2}) {
		t.Fatalf("the first committee is %v", m)
	}
	if staking.NeedsTick(w.view, w.p, 1) {
		t.Error("the first committee must be elected again")
	}
	w.ok(user(0), registration(user(0), 9, 45_000))
	w.ok(user(1), &staking.Delegate{Validator: 1, Amount: 20_000})
	if !staking.NeedsTick(w.view, w.p, w.height+1) {
		t.Error("nobody elects the new committee")
	}
	w.idle(8)
	if _, ok := staking.ReadCommittee(w.view, 1); ok {
		t.Fatal("elected too early")
	}
	out := w.apply(block{idle: true})
	if m := w.members(1); w.height != 9 || !slices.Equal(m, []uint64{1, 0, 3}) {
		t.Fatalf("the committee is %v", m)
	}
	if staking.NeedsTick(w.view, w.p, w.height+1) {
		t.Error("it must be elected again")
	}
	want := []staking.Update{
		{ConsensusKey: w.validator(1).ConsensusKey, Power: 60_000 / 2_048},
		{ConsensusKey: w.validator(3).ConsensusKey, Power: 45_000 / 2_048},
		{ConsensusKey: w.validator(2).ConsensusKey},
	}
	slices.SortFunc(want, func(a, b staking.Update) int { return bytes.Compare(a.ConsensusKey[:], b.ConsensusKey[:]) })
	if !slices.Equal(out.Updates, want) {
		t.Errorf("updates %+v, want %+v", out.Updates, want)
	}
	if e := w.find(staking.EventElected); len(e) != 1 || e[0].Validator != 3 || e[0].Epoch != 1 || e[0].Power != 45_000/2_048 {
		t.Errorf("events %+v", w.events)
	}
	if e := w.find(staking.EventLeft); len(e) != 1 || e[0].Validator != 2 || e[0].Epoch != 1 {
		t.Errorf("events %+v", w.events)
	}
	rec, ok := staking.ReadElection(w.view, 1)
	if !ok || out.Election == nil || !bytes.Equal(rec.Encode(), out.Election.Encode()) || len(out.Candidates) != 4 {
		t.Fatalf("election %+v, candidates %+v", rec, out.Candidates)
	}
	if err := rec.Check(out.Candidates); err != nil {
		t.Error(err)
	}
	w.idle(18)
	if out := w.apply(block{idle: true}); len(out.Updates) != 0 || len(w.events) != 0 || out.Election == nil {
		t.Errorf("the same election: %+v, %+v", out, w.events)
	}
}

func TestWhoCannotBeElected(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallParams(), 9_000, 8_000, 7_000, 6_000, 5_000)
	w.p.Seats = 9
	w.ok(operator(0), &staking.Undelegate{Validator: 0, Amount: 8_001}) // too little stake
	w.ok(user(0), &staking.Delegate{Validator: 1, Amount: 5_000})
	w.ok(operator(1), &staking.Undelegate{Validator: 1, Amount: 7_901}) // too little of its own
	w.ok(operator(2), w.edit(2, func(m *staking.Edit) { m.MinSelf = 7_000 }))
	w.ok(operator(2), &staking.Undelegate{Validator: 2, Amount: 1}) // less than it promised
	w.apply(block{evidence: []staking.Evidence{w.equivocation(0, 1)}})
	w.turn(1)
	if m := w.members(1); !slices.Equal(m, []uint64{3, 4}) {
		t.Errorf("elected %v", m)
	}
}

// TestNobodyToElect: the old committee stays, since a chain without one is dead.
func TestNobodyToElect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallParams(), 9_000, 8_000)
	w.ok(operator(0), &staking.Undelegate{Validator: 0})
	w.apply(block{evidence: []staking.Evidence{w.equivocation(1, 1)}})
	w.idle(9)
	if len(w.out.Updates) != 0 || len(w.out.Candidates) != 0 {
		t.Errorf("%+v", w.out)
	}
	for range 3 {
		w.turn(1)
		if m := w.members(w.epoch()); !slices.Equal(m, []uint64{0, 1}) {
			t.Fatalf("the committee is %v", m)
		}
		if rec, _ := staking.ReadElection(w.view, w.epoch()); !rec.Kept || rec.Check(nil) != nil {
			t.Fatalf("its record: kept %v, %v", rec.Kept, rec.Check(nil))
		}
	}
	if w.bank.minted != 0 {
		t.Errorf("%d were minted for nobody", w.bank.minted)
	}
}

// TestKeptCommitteesAnswer: who stays in the committee because nobody can be elected
// is punished for what it signs twice with what it has then.
func TestKeptCommitteesAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallParams(), 9_000, 8_000)
	w.ok(operator(0), &staking.Undelegate{Validator: 0, Amount: 8_500}) // 500 are less than MinStake
	w.ok(operator(1), &staking.Undelegate{Validator: 1})
	w.turn(1)
	if rec, _ := staking.ReadElection(w.view, 1); !rec.Kept {
		t.Fatalf("the committee is elected: %+v", rec)
	}
	w.apply(block{idle: true})
	burned := w.bank.burned
	w.apply(block{evidence: []staking.Evidence{w.equivocation(0, w.height)}})
	if e := w.find(staking.EventSlashed); len(e) != 1 || e[0].Amount != 25 || w.bank.burned-burned != 25 {
		t.Errorf("events %+v, %d burned", w.events, w.bank.burned-burned)
	}
}

// TestCommitteesAreKept: for as long as evidence and unbonding last, no longer.
func TestCommitteesAreKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallParams(), 9_000, 8_000)
	const kept = 4 + 3 + 2
	w.turn(15)
	for e := range w.epoch() + 3 {
		_, ok := staking.ReadCommittee(w.view, e)
		seed := staking.Seed(w.view, e)
		if want := e+kept >= w.epoch() && e <= w.epoch(); ok != want {
			t.Errorf("epoch %d of %d: kept %v", e, w.epoch(), ok)
		}
		if want := e+kept >= w.epoch() && e <= w.epoch()+1; seed.IsZero() == want {
			t.Errorf("seed of epoch %d of %d: %s", e, w.epoch(), seed)
		}
	}
}

// TestSeed: the seals of all blocks of an epoch are folded, with records or
// without, and decide the epoch after the next.
func TestSeed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallParams(), 9_000, 8_000)
	genesis := ledger.HashOf("genesis")
	var seeds []ledger.Hash
	acc := beacon.Start(genesis, 0)
	for w.height < 30 {
		epoch := w.p.Epoch(w.height + 1)
		var seal []byte // that of block 4 does not hold
		if w.height+1 != 4 {
			seal = bytes.Repeat([]byte{byte(w.height + 1)}, bls.SignatureSize)
			acc = beacon.Fold(acc, w.height+1, bls.Signature(seal))
		}
		w.apply(block{idle: w.height%3 != 0, seal: seal})
		if w.height == w.p.LastBlock(epoch) {
			seed := beacon.Close(acc, epoch)
			seeds, acc = append(seeds, seed), beacon.Start(seed, epoch+1)
		}
	}
	for e, want := range []ledger.Hash{genesis, genesis, seeds[0], seeds[1], seeds[2], {}} {
		if got := staking.Seed(w.view, uint64(e)); got != want {
			t.Errorf("epoch %d uses %s, want %s", e, got, want)
		}
	}
	if rec, _ := staking.ReadElection(w.view, 2); rec.Seed != seeds[0] {
		t.Error("the election uses another seed")
	}
}

// TestEverySealCounts: without any one of its seals, with another one or with two
// exchanged, an epoch leaves another seed.
func TestEverySealCounts(t *testing.T) {
	t.Parallel()
	seed := func(change func(seals [][]byte)) ledger.Hash {
		w := newWorld(t, smallParams(), 9_000, 8_000)
		seals := make([][]byte, w.p.EpochBlocks)
		for i := range seals {
			seals[i] = bytes.Repeat([]byte{byte(i + 1)}, bls.SignatureSize)
		}
		change(seals)
		for i := range seals {
			w.apply(block{idle: true, seal: seals[i]})
		}
		return staking.Seed(w.view, beacon.Lag)
	}
	met := map[ledger.Hash]string{seed(func([][]byte) {}): "as it is"}
	add := func(name string, change func(seals [][]byte)) {
		s := seed(change)
		if other, ok := met[s]; ok {
			t.Errorf("%s: the same seed as %s", name, other)
		}
		met[s] = name
	}
	for i := range int(smallParams().EpochBlocks) {
		add(fmt.Sprintf("without seal %d", i), func(seals [][]byte) { seals[i] = nil })
		add(fmt.Sprintf("another seal %d", i), func(seals [][]byte) { seals[i] = bytes.Repeat([]byte{99}, bls.SignatureSize) })
		for j := range i {
			add(fmt.Sprintf("seals %d and %d exchanged", i, j), func(seals [][]byte) { seals[i], seals[j] = seals[j], seals[i] })
		}
	}
}

// TestIdleBlocksChangeNothing: an idle chain stays what it is.
func TestIdleBlocksChangeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallParams(), 9_000, 8_000)
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 100})
	for w.height < 40 {
		was := w.view.digest()
		w.apply(block{idle: true, seal: make([]byte, 48), votes: w.votes(1)})
		if changed := w.view.digest() != was; changed != w.p.EpochBlock(w.height) {
			t.Errorf("block %d changed the state: %v", w.height, changed)
		}
	}
}

func TestRewards(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.MintCap = 2_500
	w := newWorld(t, p, 40_960, 20_480, 20_480) // 20, 10 and 10 units of power
	w.bank.fees, w.supply = 77, w.supply+77
	w.idle(10)
	if e := w.find(staking.EventEpochEnded); len(e) != 1 || e[0].Epoch != 0 || e[0].Amount != 1_000 || e[0].Reward != 1_076 {
		t.Fatalf("events %+v", w.events)
	}
	for row, want := range []struct{ earned, outstanding ledger.Amount }{{53, 485}, {26, 243}, {26, 243}} {
		if v := w.validator(uint64(row)); v.Earned != want.earned || v.Outstanding != want.outstanding {
			t.Errorf("validator %d has %d and %d, want %+v", row, v.Earned, v.Outstanding, want)
		}
	}
	if w.bank.fees != 1 {
		t.Errorf("%d drops of fees are left", w.bank.fees)
	}
	w.turn(1)
	if w.turn(1); w.bank.minted != 2_500 {
		t.Errorf("%d minted", w.bank.minted)
	}
	if e := w.find(staking.EventEpochEnded); len(e) != 1 || e[0].Amount != 500 {
		t.Errorf("events %+v at the cap", w.events)
	}
	w.turn(2)
	if w.bank.minted != 2_500 {
		t.Errorf("%d minted", w.bank.minted)
	}
}

// TestCommissionIsKnownInAdvance: a change costs no reward of the epoch in which it is
// made, and who leaves in the first block of the next never pays it.
func TestCommissionIsKnownInAdvance(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallParams(), 10_000)
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 10_000})
	w.turn(1)
	earned := func() ledger.Amount { return w.validator(0).Earned }
	start := earned()
	w.idle(w.p.LastBlock(1) - 1)
	w.ok(operator(0), w.edit(0, func(m *staking.Edit) { m.Commission = 1_500 })) // in its last block
	if w.height != w.p.LastBlock(1) {
		t.Fatalf("block %d", w.height)
	}
	if got := earned() - start; got != 100 {
		t.Errorf("%d of 1,000 are commission, which was 10 %% when the epoch began", got)
	}
	if v := w.validator(0); v.Commission != 1_500 || v.CommissionIn(1) != 1_000 || v.CommissionIn(2) != 1_500 {
		t.Errorf("validator %+v", v)
	}
	was := w.stake(0, user(0)).Reward
	w.turn(1)
	if got := earned() - start; got != 250 {
		t.Errorf("%d of 2,000 are commission, of the second thousand 15 %%", got)
	}
	if got := w.stake(0, user(0)).Reward - was; got != 425 {
		t.Errorf("half of the stake earned %d of 850", got)
	}
	w.ok(operator(0), w.edit(0, func(m *staking.Edit) { m.Commission = 1_000 }))
	w.turn(1)
	if got := earned() - start; got != 400 {
		t.Errorf("%d of 3,000 are commission: a lower one is not at once either", got)
	}
}

// TestMintingEndsWithTheRange: the supply stays an amount.
func TestMintingEndsWithTheRange(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.MintCap = ledger.MaxAmount
	w := newWorld(t, p, 40_000)
	w.bank.balances[w.bank.Row(user(0))] += uint64(ledger.MaxAmount) - w.supply - 1_300
	w.supply = w.bank.sum()
	w.turn(3)
	if w.bank.minted != 1_300 || w.bank.sum() != uint64(ledger.MaxAmount) {
		t.Errorf("%d minted, the supply is %d", w.bank.minted, w.bank.sum())
	}
}

// TestRewardsOfTheAbsent: who missed too much, is jailed or tombstoned gets
// nothing; its part stays for the next epoch.
func TestRewardsOfTheAbsent(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.EpochBlocks, p.Window, p.MaxMissed = 20, 40, 20 // half of the counted blocks are forgiven
	w := newWorld(t, p, 20_480, 20_480, 20_480)
	w.p.Seats = 3
	w.miss(10, 1)
	w.miss(1, 2)
	w.miss(9)
	if a, b, c := w.validator(0), w.validator(1), w.validator(2); a.Outstanding == 0 || a.Outstanding != b.Outstanding || a.Outstanding != c.Outstanding {
		t.Fatalf("%d, %d, %d", a.Outstanding, b.Outstanding, c.Outstanding)
	}
	before := w.validator(1)
	w.miss(7, 1)
	w.miss(7)
	f := w.fork()
	f.miss(1, 1)
	f.idle(40)
	if v := f.validator(1); v.Outstanding != before.Outstanding {
		t.Fatal("eight of fifteen are forgiven")
	}
	w.idle(40)
	if v := w.validator(1); v.Outstanding == before.Outstanding {
		t.Fatal("seven of fourteen are not forgiven")
	}
	// In epoch 2 one misses eleven, and one equivocates.
	before = w.validator(1)
	fees := w.bank.fees
	w.apply(block{evidence: []staking.Evidence{w.equivocation(2, w.height)}})
	other := w.validator(2)
	w.miss(3, 1)
	if v := w.validator(1); v.Jailed {
		t.Fatal("jailed too early")
	}
	w.miss(8, 1)
	w.idle(60)
	if v := w.validator(1); v.Outstanding != before.Outstanding || v.Earned != before.Earned {
		t.Errorf("the absent got %d", v.Outstanding-before.Outstanding)
	}
	if v := w.validator(2); v.Outstanding != other.Outstanding {
		t.Errorf("the tombstoned got %d", v.Outstanding-other.Outstanding)
	}
	if w.bank.fees < fees+600 {
		t.Errorf("%d drops stay for the next epoch", w.bank.fees-fees)
	}
}

// TestRewardsGoOnWithoutShares: what rounding left of a validator's rewards goes
// back when its last share does.
func TestRewardsOfNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallParams(), 9_001, 8_000)
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 13})
	w.turn(2)
	w.ok(user(0), &staking.Undelegate{Validator: 0})
	v := w.validator(0)
	own := w.stake(0, operator(0)).Reward
	if v.Outstanding <= own {
		t.Fatalf("%d outstanding, %d of them the operator's: nothing to round", v.Outstanding, own)
	}
	fees := w.bank.fees
	w.ok(operator(0), &staking.Undelegate{Validator: 0})
	if got := w.validator(0); got.Outstanding != 0 || w.bank.fees != fees+uint64(v.Outstanding-own) {
		t.Errorf("%d outstanding for nobody, %d more of fees", got.Outstanding, w.bank.fees-fees)
	}
	w.turn(2) // it had a seat to the end of the epoch, and nobody to reward
}

// TestPayoutsAreBounded: what is due beyond PayoutLimit waits for the next blocks.
func TestPayoutsAreBounded(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.EpochReward = 0
	w := newWorld(t, p, 9_000, 8_000)
	w.quiet = true
	const n = 2*staking.PayoutLimit + 100
	w.apply(block{run: func(c *staking.Context) {
		for i := range n {
			w.fund(user(i))
			if _, err := w.do(c, user(i), &staking.Delegate{Validator: 0, Amount: 50}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.do(c, user(i), &staking.Undelegate{Validator: 0}); err != nil {
				t.Fatal(err)
			}
		}
	}})
	w.idle(w.p.LastBlock(4) - 1)
	if !staking.NeedsTick(w.view, w.p, w.height+1) {
		t.Error("nobody waits for the end")
	}
	var last staking.Event
	for _, want := range []int{staking.PayoutLimit, staking.PayoutLimit, 100, 0} {
		w.apply(block{idle: true})
		paid := w.find(staking.EventUnbonded)
		if len(paid) != want {
			t.Fatalf("block %d pays %d, want %d", w.height, len(paid), want)
		}
		for _, e := range paid {
			if e.Amount != 50 || e.Delegator.Compare(last.Delegator) <= 0 {
				t.Fatalf("%+v follows %+v", e, last)
			}
			last = e
		}
	}
	if staking.NeedsTick(w.view, w.p, w.height+1) {
		t.Error("there is nothing to wait for")
	}
}

// TestPages: lists of stakes come in parts, in order and without gaps.
func TestPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallParams(), 9_000, 8_000, 7_000)
	w.quiet = true
	const n = 300
	w.apply(block{run: func(c *staking.Context) {
		for i := range n {
			w.fund(user(i))
			if _, err := w.do(c, user(i), &staking.Delegate{Validator: 1, Amount: ledger.Amount(10 + i)}); err != nil {
				t.Fatal(err)
			}
		}
		for _, row := range []uint64{0, 2} {
			if _, err := w.do(c, user(7), &staking.Delegate{Validator: row, Amount: 5}); err != nil {
				t.Fatal(err)
			}
		}
	}})
	seen := 0
	var after *ledger.Address
	var sum ledger.Amount
	for {
		page := staking.StakesWith(w.view, w.p, w.height+1, 1, after, 17)
		for i := range page {
			if after != nil && page[i].Delegator.Compare(*after) <= 0 {
				t.Fatalf("%s follows %s", page[i].Delegator, after)
			}
			after = &page[i].Delegator
			sum += page[i].Worth
		}
		seen += len(page)
		if len(page) < 17 {
			break
		}
	}
	if v := w.validator(1); seen != n+1 || sum != v.Tokens {
		t.Errorf("%d stakes of %d drops, want %d of %d", seen, sum, n+1, v.Tokens)
	}
	if page := staking.StakesOf(w.view, w.p, w.height+1, user(7), 0, 2); len(page) != 2 || page[0].Validator != 0 || page[1].Validator != 1 {
		t.Errorf("stakes %+v", page)
	}
	if page := staking.StakesOf(w.view, w.p, w.height+1, user(7), 2, 2); len(page) != 1 || page[0].Validator != 2 || page[0].Worth != 5 {
		t.Errorf("stakes %+v", page)
	}
}

func TestSealMessage(t *testing.T) {
	t.Parallel()
	p := smallParams()
	d := chain.Domain{Network: ledger.HashOf("network"), Chain: ledger.MainChain}
	secret := blsKeys(1)
	key, err := bls.ParseKey(secret.Public())
	if err != nil {
		t.Fatal(err)
	}
	seal := secret.Sign(staking.SealMessage(d, &p, 25))
	if !bytes.Equal(staking.SealMessage(d, &p, 25), beacon.Message(d.Network, d.Chain, 2, 25)) {
		t.Error("the seal is of another epoch")
	}
	if !staking.CheckSeal(d, &p, 25, key, seal[:]) || staking.CheckSeal(d, &p, 26, key, seal[:]) || staking.CheckSeal(d, &p, 25, key, seal[:47]) {
		t.Error("seals are not told apart")
	}
}
