package staking_test

import (
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
)

// TestPunish: an equivocation costs its part of what was bonded, of what left
// since and of what moved since, and tombstones.
func TestPunish(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.EpochReward = 0
	w := newWorld(t, p, 10_000, 4_000, 4_000)
	for i := range 4 {
		w.ok(user(i), &staking.Delegate{Validator: 0, Amount: 2_000})
	}
	w.ok(user(0), &staking.Undelegate{Validator: 0}) // leaves before the fault
	w.turn(1)                                        // epoch 1: elected with 16,000
	w.ok(user(1), &staking.Undelegate{Validator: 0, Amount: 1_000})
	w.ok(user(2), &staking.Redelegate{From: 0, To: 1})
	w.ok(user(4), &staking.Delegate{Validator: 0, Amount: 500})
	fault := w.height
	w.turn(1)
	w.ok(user(3), &staking.Undelegate{Validator: 0, Amount: 100})
	burned := w.bank.burned

	w.apply(block{evidence: []staking.Evidence{w.equivocation(0, fault)}})
	if e := w.find(staking.EventSlashed); len(e) != 1 || e[0].Amount != 700 || e[0].Height != fault || e[0].Fault != staking.FaultDuplicateVote || e[0].Validator != 0 {
		t.Errorf("events %+v", e)
	}
	if e := w.find(staking.EventTombstoned); len(e) != 1 || e[0].Validator != 0 {
		t.Errorf("events %+v", e)
	}
	if e := w.find(staking.EventForfeited); len(e) != 1 || e[0].Amount != 100 || e[0].Validator != 1 || e[0].Delegator != user(2) || e[0].TxIndex != -1 {
		t.Errorf("events %+v", e) // of the 2,000 that moved
	}
	if got := w.bank.burned - burned; got != 800 { // a twentieth of 16,000, though 500 came later
		t.Errorf("%d drops were burned", got)
	}
	due := func(i int) uint64 {
		list := staking.UnbondingsOf(w.view, w.p, w.height+1, user(i), 0, 10)
		if len(list) != 1 {
			t.Fatalf("user %d has unbondings %+v", i, list)
		}
		return uint64(list[0].Amount)
	}
	if due(0) != 2_000 || due(1) != 950 || due(3) != 95 {
		t.Errorf("unbonding: %d left before, %d and %d after", due(0), due(1), due(3))
	}
	if s := w.stake(1, user(2)); s.Worth != 1_900 {
		t.Errorf("what moved is worth %d", s.Worth)
	}
	// 10,000 + 1,000 + 1,900 + 500 are bonded and bear 800 - 50 - 5 - 100.
	v := w.validator(0)
	if v.Tokens != 13_400-645 || !v.Tombstoned || v.Electable(&w.p) {
		t.Errorf("validator %+v", v)
	}
	if s := w.stake(0, user(1)); s.Worth > 1_000 || s.Worth < 950 {
		t.Errorf("what stayed is worth %d of 1,000", s.Worth)
	}

	// Once is enough, for this fault or another.
	for _, h := range []uint64{fault, fault - 1} {
		state := w.view.digest()
		w.apply(block{idle: true, evidence: []staking.Evidence{w.equivocation(0, h)}})
		if e := w.find(staking.EventEvidenceIgnored); len(e) != 1 || e[0].Code != chain.CodeEvidenceKnown || w.view.digest() != state {
			t.Errorf("again at %d: %+v", h, e)
		}
	}
	w.turn(1)
	if m := w.members(w.epoch()); len(m) != 2 {
		t.Errorf("the committee is %v", m)
	}
}

func TestEvidenceIgnored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallParams(), 5_000, 4_000, 3_000, 2_000) // the last has no seat
	w.turn(5)
	old := w.equivocation(0, w.p.LastBlock(1))
	stranger := w.equivocation(0, w.height)
	stranger.Validator[0] ^= 1
	odd := w.equivocation(0, w.height)
	odd.Kind = 9
	for _, row := range []struct {
		name string
		ev   staking.Evidence
		want chain.Code
	}{
		{"too old", old, chain.CodeEvidenceExpired},
		{"against nobody", stranger, chain.CodeEvidenceOfNoMember},
		{"against one without a seat", w.equivocation(3, w.height), chain.CodeEvidenceOfNoMember},
		{"of the future", w.equivocation(0, w.height+5), chain.CodeEvidenceFromNowhere},
		{"of no block", w.equivocation(0, 0), chain.CodeEvidenceFromNowhere},
		{"of no kind", odd, chain.CodeEvidenceFromNowhere},
	} {
		f := w.fork()
		state := f.view.digest()
		f.apply(block{idle: true, evidence: []staking.Evidence{row.ev}})
		e := f.find(staking.EventEvidenceIgnored)
		if len(f.events) != 1 || len(e) != 1 || e[0].Code != row.want || e[0].Height != row.ev.Height || f.view.digest() != state {
			t.Errorf("%s: %+v, want %s and no change", row.name, f.events, row.want)
		}
	}
	last := w.equivocation(0, w.p.LastBlock(1)+1)
	if w.apply(block{idle: true, evidence: []staking.Evidence{last}}); len(w.find(staking.EventTombstoned)) != 1 {
		t.Errorf("the oldest that counts: %+v", w.events)
	}
}

// TestEvidenceOfItsOwnEpoch: one that has lost its seat since is punished for
// what it did when it had one.
func TestEvidenceOfItsOwnEpoch(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.Seats = 2
	w := newWorld(t, p, 5_000, 4_000, 3_000)
	w.ok(user(0), &staking.Delegate{Validator: 2, Amount: 5_000})
	w.turn(1)
	if m := w.members(1); len(m) != 2 || m[0] != 2 || m[1] != 0 {
		t.Fatalf("the committee is %v", m)
	}
	if w.apply(block{evidence: []staking.Evidence{w.equivocation(1, w.height+1)}}); len(w.find(staking.EventEvidenceIgnored)) != 1 {
		t.Errorf("without a seat: %+v", w.events)
	}
	if w.apply(block{evidence: []staking.Evidence{w.equivocation(1, 3)}}); len(w.find(staking.EventTombstoned)) != 1 {
		t.Errorf("with a seat: %+v", w.events)
	}
	if v := w.validator(1); v.Tokens != 3_800 {
		t.Errorf("validator %+v", v)
	}
}

// TestSlashOfTwoValidators: stake that answers for two loses for each what it
// answers for, and what is slashed with both is not lost twice.
func TestSlashOfTwoValidators(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.EpochReward = 0
	w := newWorld(t, p, 10_000, 10_000)
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 10_000})
	w.turn(1)
	w.ok(user(0), &staking.Redelegate{From: 0, To: 1})
	w.turn(1)
	ev := w.equivocation(1, w.height+1)
	ev.Kind = staking.LightClientAttack
	w.apply(block{evidence: []staking.Evidence{ev}}) // a fifth of what it has
	if s := w.stake(1, user(0)); s.Worth != 8_000 {
		t.Fatalf("worth %d after the first", s.Worth)
	}
	w.apply(block{evidence: []staking.Evidence{w.equivocation(0, 15)}}) // a twentieth
	if s := w.stake(1, user(0)); s.Worth != 7_600 {
		t.Errorf("worth %d after the second", s.Worth)
	}
	if v := w.validator(0); v.Tokens != 9_500 {
		t.Errorf("validator 0 has %d", v.Tokens)
	}
	if w.bank.burned != 4_000+400+500 {
		t.Errorf("%d burned", w.bank.burned)
	}
}

// TestSlashIsBounded: what came after the fault does not make it dearer, and what
// leaves after it does not make it cheaper.
func TestSlashIsBounded(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.EpochReward = 0
	w := newWorld(t, p, 10_000, 4_000)
	w.turn(1)
	fault := w.height + 1
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 100_000})
	f := w.fork()
	f.apply(block{evidence: []staking.Evidence{f.equivocation(0, fault)}})
	if f.bank.burned != 500 {
		t.Errorf("%d burned of 10,000 and 100,000 more", f.bank.burned)
	}
	f = w.fork()
	f.ok(user(0), &staking.Undelegate{Validator: 0})
	f.apply(block{evidence: []staking.Evidence{f.equivocation(0, fault)}})
	if f.bank.burned != 500 {
		t.Errorf("%d burned when 100,000 came and went", f.bank.burned)
	}
	f = w.fork()
	f.ok(user(0), &staking.Redelegate{From: 0, To: 1})
	f.apply(block{evidence: []staking.Evidence{f.equivocation(0, fault)}})
	if f.bank.burned > 500 || f.bank.burned < 499 {
		t.Errorf("%d burned when 100,000 came and moved on", f.bank.burned)
	}
	f = w.fork()
	f.ok(operator(0), &staking.Undelegate{Validator: 0})
	f.apply(block{evidence: []staking.Evidence{f.equivocation(0, fault)}})
	if list := staking.UnbondingsOf(f.view, f.p, f.height+1, operator(0), 0, 1); f.bank.burned != 500 || list[0].Amount != 9_500 {
		t.Errorf("%d burned when the culprit had left: %+v", f.bank.burned, list)
	}
}

// TestSlashReachesWhatLeavesAfterTheElection: stake that leaves in the last block
// of an epoch has elected the next committee, and answers for it.
func TestSlashReachesWhatLeavesAfterTheElection(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.EpochReward = 0
	w := newWorld(t, p, 10_000, 4_000)
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 2_000})
	w.idle(w.p.LastBlock(0) - 2)
	early := w.fork()
	early.ok(operator(0), &staking.Undelegate{Validator: 0, Amount: 9_000})
	w.idle(w.p.LastBlock(0) - 1)
	w.ok(operator(0), &staking.Undelegate{Validator: 0})
	w.ok(user(0), &staking.Redelegate{From: 0, To: 1}) // in epoch 1
	for _, x := range []struct {
		w    *world
		left uint64
		want uint64
	}{{early, 9_000, 150}, {w, 9_500, 600}} {
		x.w.idle(w.height)
		x.w.apply(block{evidence: []staking.Evidence{x.w.equivocation(0, x.w.height+1)}})
		list := staking.UnbondingsOf(x.w.view, x.w.p, x.w.height+1, operator(0), 0, 1)
		if x.w.bank.burned != x.want || uint64(list[0].Amount) != x.left {
			t.Errorf("%d burned, %+v is left; want %d and %d", x.w.bank.burned, list, x.want, x.left)
		}
	}
}

// TestSlashOfManyRedelegations: no more than SlashTouches are settled at once, and
// the others lose their part when they are touched, or when they are over.
func TestSlashOfManyRedelegations(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.EpochReward = 0
	w := newWorld(t, p, 10_000, 10_000)
	w.quiet = true
	const n = staking.SlashTouches + 200
	for i := range n {
		w.fund(user(i))
	}
	w.supply += n * riches
	w.apply(block{run: func(c *staking.Context) {
		for i := range n {
			if _, err := w.do(c, user(i), &staking.Delegate{Validator: 0, Amount: 100}); err != nil {
				t.Fatal(err)
			}
		}
	}})
	w.turn(1)
	w.apply(block{run: func(c *staking.Context) {
		for i := range n {
			if _, err := w.do(c, user(i), &staking.Redelegate{From: 0, To: 1}); err != nil {
				t.Fatal(err)
			}
		}
	}})
	w.audit()
	w.apply(block{evidence: []staking.Evidence{w.equivocation(0, w.height)}})
	w.audit()
	touched, late := 0, -1
	for i := range n {
		d, _ := staking.ReadDelegation(w.view, 1, user(i))
		switch d.Shares {
		case 95:
			touched++
		case 100:
			late = i
		default:
			t.Fatalf("user %d has %d shares", i, d.Shares)
		}
		if s := w.stake(1, user(i)); s.Worth != 95 {
			t.Fatalf("user %d has %d drops", i, s.Worth)
		}
	}
	if touched != staking.SlashTouches {
		t.Errorf("%d were settled at once", touched)
	}
	if _, code := w.try(user(late), &staking.Undelegate{Validator: 1, Amount: 96}); code != chain.CodeMoreThanDelegated {
		t.Errorf("more than is left: %s", code)
	}
	w.ok(user(late), &staking.Undelegate{Validator: 1, Amount: 95})
	w.idle(w.p.LastBlock(5))
	if w.idle(w.height + 2); w.bank.burned != 500+n*5 {
		t.Errorf("%d drops are burned in the end, want %d", w.bank.burned, 500+n*5)
	}
	w.audit()
	for k := range w.view.Range([]byte{'y'}) {
		t.Fatalf("key %x is left", k)
	}
}

// TestSlashOfEverything: shares that are worth nothing can be given up, and
// nobody can buy into them.
func TestSlashOfEverything(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.DuplicateVoteBps, p.EpochReward = 10_000, 0
	w := newWorld(t, p, 5_000, 4_000)
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 1_000})
	w.turn(1)
	w.ok(user(1), &staking.Delegate{Validator: 1, Amount: 1_000})
	w.ok(user(0), &staking.Redelegate{From: 0, To: 1, Amount: 400})
	w.ok(user(0), &staking.Undelegate{Validator: 0, Amount: 100})
	w.apply(block{evidence: []staking.Evidence{w.equivocation(0, w.height)}})
	if v := w.validator(0); v.Tokens != 0 || v.Shares != 5_500 || w.bank.burned != 6_000 {
		t.Fatalf("validator %+v, %d burned", v, w.bank.burned)
	}
	if s := w.stake(1, user(0)); s.Shares != 0 {
		t.Errorf("what moved is worth %+v", s)
	}
	if _, code := w.try(user(1), &staking.Delegate{Validator: 0, Amount: 10}); code != chain.CodeTombstoned {
		t.Errorf("a delegation: %s", code)
	}
	if _, code := w.try(user(0), &staking.Undelegate{Validator: 0, Amount: 1}); code != chain.CodeMoreThanDelegated {
		t.Errorf("a drop: %s", code)
	}
	if e := w.ok(user(0), &staking.Undelegate{Validator: 0}); e.Amount != 0 {
		t.Errorf("all: %+v", e)
	}
	w.turn(6)
	if _, ok := staking.ReadDelegation(w.view, 0, user(0)); ok || w.balance(user(0)) != riches-1_000 {
		t.Errorf("user 0 has %d", w.balance(user(0)))
	}
}

// TestSlashOfWhatAnOperatorMoved: its self-stake is what is left of it.
func TestSlashOfWhatAnOperatorMoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallParams(), 10_000, 4_000)
	w.ok(operator(1), &staking.Delegate{Validator: 0, Amount: 1_000})
	w.ok(operator(1), &staking.Redelegate{From: 0, To: 1})
	w.apply(block{evidence: []staking.Evidence{w.equivocation(0, 1)}})
	if v := w.validator(1); v.Self() != 4_950 || v.Tokens != 4_950 {
		t.Errorf("validator %+v", v)
	}
}

// TestRewardsOfSlashedShares: nobody gets what they earned since they were
// touched last.
func TestRewardsOfSlashedShares(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.EpochReward = 100_000
	w := newWorld(t, p, 40_000, 40_000)
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 20_000})
	w.ok(user(0), &staking.Redelegate{From: 0, To: 1})
	w.turn(2)
	reward, fees, had := w.stake(1, user(0)).Reward, w.bank.fees, w.balance(user(0))
	w.apply(block{evidence: []staking.Evidence{w.equivocation(0, 3)}})
	got := w.balance(user(0)) - had
	back := w.bank.fees - fees
	if got != uint64(reward)*95/100 || back < uint64(reward)*5/100 || got+back > uint64(reward) {
		t.Errorf("of %d drops %d are paid and %d go back", reward, got, back)
	}
	w.checkClaimed(1, user(0), got)
}

// TestRewardsOfReleasedShares: whoever moved stake gets what it earned when it is no
// longer answerable, and is told.
func TestRewardsOfReleasedShares(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.EpochReward = 100_000
	w := newWorld(t, p, 40_000, 40_000)
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 20_000})
	w.ok(user(0), &staking.Redelegate{From: 0, To: 1})
	had := w.balance(user(0))
	for w.balance(user(0)) == had {
		if w.height > w.p.LastBlock(uint64(p.UnbondingEpochs)+1) {
			t.Fatal("nothing was paid")
		}
		w.apply(block{idle: true})
	}
	w.checkClaimed(1, user(0), w.balance(user(0))-had)
}

// checkClaimed checks that the last block paid a delegator without a transaction, and
// said so.
func (w *world) checkClaimed(row uint64, a ledger.Address, amount uint64) {
	w.t.Helper()
	want := staking.Event{Kind: staking.EventClaimed, TxIndex: -1, Validator: row, Delegator: a, Reward: ledger.Amount(amount)}
	if list := w.find(staking.EventClaimed); amount == 0 || len(list) != 1 || list[0] != want {
		w.t.Errorf("%d drops were paid, the events are %+v", amount, list)
	}
}

// TestWhoMovesAfterASlash answers for those that come later, not for it.
func TestWhoMovesAfterASlash(t *testing.T) {
	t.Parallel()
	p := calmParams()
	w := newWorld(t, p, 10_000, 10_000, 10_000)
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 1_000})
	w.ok(user(1), &staking.Delegate{Validator: 0, Amount: 1_000})
	w.ok(user(0), &staking.Redelegate{From: 0, To: 1})
	w.miss(11, 0)
	if v := w.validator(0); v.Tokens != 11_000-90 || v.Slashes != 1 { // a hundredth of 10,000, 10 of it by what moved
		t.Fatalf("validator %+v", v)
	}
	e := w.ok(user(1), &staking.Redelegate{From: 0, To: 2})
	w.ok(user(1), &staking.Delegate{Validator: 2, Amount: 1}) // touches it
	e.Amount++
	if s := w.stake(2, user(1)); s.Worth != e.Amount {
		t.Errorf("worth %d of %d", s.Worth, e.Amount)
	}
	if s := w.stake(1, user(0)); s.Worth != 990 {
		t.Errorf("who moved before has %d", s.Worth)
	}
	w.apply(block{evidence: []staking.Evidence{w.equivocation(0, 2)}})
	if s := w.stake(2, user(1)); s.Worth >= e.Amount || s.Worth < e.Amount*95/100 {
		t.Errorf("worth %d of %d after the next slash", s.Worth, e.Amount)
	}
}

// TestUndelegateTwiceAroundASlash: what waits already loses its part once.
func TestUndelegateTwiceAroundASlash(t *testing.T) {
	t.Parallel()
	p := calmParams()
	w := newWorld(t, p, 10_000, 10_000)
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 2_000})
	w.ok(user(0), &staking.Redelegate{From: 0, To: 1})
	w.ok(user(0), &staking.Undelegate{Validator: 1, Amount: 1_000})
	w.apply(block{evidence: []staking.Evidence{w.equivocation(0, 1)}})
	w.ok(user(0), &staking.Undelegate{Validator: 1, Amount: 500})
	if list := staking.UnbondingsOf(w.view, w.p, w.height+1, user(0), 0, 5); len(list) != 1 || list[0].Amount != 1_450 {
		t.Errorf("unbondings %+v", list)
	}
}

// TestTombstoneMakesTheChainGoOn: the next election must come, and nobody counts
// what the dead miss.
func TestTombstoneMakesTheChainGoOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallParams(), 10_000, 4_000)
	w.miss(3, 0)
	if staking.NeedsTick(w.view, w.p, w.height+1) || staking.Missed(w.view, w.p, 0) != 3 {
		t.Fatal("there is something to wait for")
	}
	w.apply(block{evidence: []staking.Evidence{w.equivocation(0, 2)}, votes: w.votes(0)})
	if !staking.NeedsTick(w.view, w.p, w.height+1) || staking.Missed(w.view, w.p, 0) != 0 {
		t.Errorf("it missed %d", staking.Missed(w.view, w.p, 0))
	}
}

// TestOldFaultShieldsNoNewOne: all evidence against a member costs together what
// the worst of it costs alone, in whatever order it comes.
func TestOldFaultShieldsNoNewOne(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		order []int // 0: the fault with 1,000, 1: that with 51,000
		want  []ledger.Amount
	}{
		{"the old one first", []int{0, 1}, []ledger.Amount{50, 2_500}},
		{"the new one first", []int{1, 0}, []ledger.Amount{2_550, 0}},
		{"each twice", []int{0, 0, 1, 1, 0}, []ledger.Amount{50, 0, 2_500, 0, 0}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := smallParams()
			p.EpochReward = 0
			w := newWorld(t, p, 1_000, 40_000, 40_000)
			w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 50_000})
			faults := []uint64{w.height}
			w.turn(1)
			faults = append(faults, w.height+1)
			w.apply(block{})
			for i, at := range row.order {
				w.apply(block{evidence: []staking.Evidence{w.equivocation(0, faults[at])}})
				slashed, ignored := w.find(staking.EventSlashed), w.find(staking.EventEvidenceIgnored)
				switch {
				case row.want[i] == 0:
					if len(slashed) != 0 || len(ignored) != 1 || ignored[0].Code != chain.CodeEvidenceKnown {
						t.Errorf("evidence %d: events %+v", i, w.events)
					}
				case len(slashed) != 1 || slashed[0].Amount != row.want[i] || len(ignored) != 0:
					t.Errorf("evidence %d: events %+v, want %d", i, w.events, row.want[i])
				}
				if n := len(w.find(staking.EventTombstoned)); n != 0 != (i == 0) {
					t.Errorf("evidence %d: %d tombstones", i, n)
				}
			}
			if w.bank.burned != 2_550 || w.validator(0).Tokens != 51_000-2_550 {
				t.Errorf("%d drops were burned, a twentieth of 51,000 is 2,550", w.bank.burned)
			}
		})
	}
}
