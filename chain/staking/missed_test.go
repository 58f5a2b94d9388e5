package staking_test

import (
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
)

// miss applies n blocks that the absent do not sign.
func (w *world) miss(n int, absent ...uint64) {
	w.t.Helper()
	for range n {
		w.apply(block{votes: w.votes(absent...)})
	}
}

func calmParams() staking.Params {
	p := smallParams()
	p.EpochReward, p.EpochBlocks = 0, 1_000
	return p
}

// TestEverybodySigned: such a block writes what the epoch counts, and nothing
// about any validator.
func TestEverybodySigned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, calmParams(), 5_000, 4_000, 3_000)
	w.miss(3)
	o := chain.NewOverlay(w.view)
	c := &staking.Context{State: o, Bank: w.bank, Rules: &w.p, Network: network, Height: w.height + 1}
	if c.Count(staking.Address{}, w.votes()); o.Len() != 2 || o.Changes()[0].Key[0] != 'G' || o.Changes()[1].Key[0] != 'P' {
		t.Errorf("%d keys are written", o.Len())
	}
	if w.view.Get(staking.MissedKey()) != nil {
		t.Error("there are absences")
	}
}

func TestMissedWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, calmParams(), 5_000, 4_000, 3_000)
	missed := func(row uint64) uint32 { return staking.Missed(w.view, w.p, row) }
	w.miss(4, 1)
	w.miss(3, 1, 2)
	w.miss(2)
	if missed(0) != 0 || missed(1) != 7 || missed(2) != 3 {
		t.Fatalf("missed %d, %d, %d", missed(0), missed(1), missed(2))
	}
	w.miss(11) // the window is 20 long
	if missed(1) != 7 || missed(2) != 3 {
		t.Errorf("missed %d, %d", missed(1), missed(2))
	}
	w.miss(5)
	if missed(1) != 2 || missed(2) != 2 {
		t.Errorf("missed %d, %d when the first go", missed(1), missed(2))
	}
	w.idle(w.height + 30)
	if missed(1) != 2 {
		t.Errorf("missed %d after blocks without records", missed(1))
	}
	w.miss(2)
	if missed(1) != 0 || missed(2) != 0 {
		t.Errorf("missed %d, %d in the end", missed(1), missed(2))
	}
}

func TestDowntimeJails(t *testing.T) {
	t.Parallel()
	p := calmParams()
	p.EpochBlocks = 30
	w := newWorld(t, p, 5_000, 4_000, 3_000)
	w.ok(user(0), &staking.Delegate{Validator: 2, Amount: 1_000})
	w.miss(10, 2)
	if v := w.validator(2); v.Jailed {
		t.Fatal("jailed at the limit")
	}
	w.miss(1, 2)
	v := w.validator(2)
	if !v.Jailed || v.JailedUntil != 2 || v.Tokens != 4_000-30 || v.Tombstoned { // a hundredth of what was elected
		t.Fatalf("validator %+v", v)
	}
	if e := w.find(staking.EventJailed); len(e) != 1 || e[0].Validator != 2 || e[0].Epoch != 2 {
		t.Errorf("events %+v", w.events)
	}
	if e := w.find(staking.EventSlashed); len(e) != 1 || e[0].Amount != 30 || e[0].Fault != staking.FaultDowntime {
		t.Errorf("events %+v", w.events)
	}
	if staking.Missed(w.view, w.p, 2) != 0 {
		t.Error("the window does not begin anew")
	}
	if !staking.NeedsTick(w.view, w.p, w.height+1) {
		t.Error("a jail ends by itself")
	}
	w.miss(15, 2) // until the epoch's end it has a seat, and cannot be jailed twice
	if got := w.validator(2); got.Tokens != v.Tokens || staking.Missed(w.view, w.p, 2) != 0 {
		t.Errorf("validator %+v", got)
	}
	if _, code := w.try(operator(2), &staking.Unjail{Validator: 2}); code != chain.CodeJailNotOver {
		t.Errorf("too early: %s", code)
	}
	w.turn(1)
	if m := w.members(1); !slices.Equal(m, []uint64{0, 1}) {
		t.Errorf("the committee is %v", m)
	}
	if !staking.NeedsTick(w.view, w.p, w.height+1) {
		t.Error("the jail does not end by itself")
	}
	if _, code := w.try(operator(2), &staking.Unjail{Validator: 2}); code != chain.CodeJailNotOver {
		t.Errorf("still too early: %s", code)
	}
	if _, code := w.try(user(0), &staking.Delegate{Validator: 2, Amount: 10}); code != chain.CodeValidatorJailed {
		t.Errorf("a delegation: %s", code)
	}
	w.turn(1)
	if staking.NeedsTick(w.view, w.p, w.height+1) {
		t.Error("the jail is over, and there is something to wait for")
	}
	w.ok(operator(2), &staking.Unjail{Validator: 2})
	w.turn(1)
	if m := w.members(3); len(m) != 3 {
		t.Errorf("the committee is %v", m)
	}
}

// TestWhenTheJailedLeave: at the next epoch, unless they were jailed in the last block of
// one, whose successor is elected by then.
func TestWhenTheJailedLeave(t *testing.T) {
	t.Parallel()
	for before, want := range map[uint64][]uint64{0: {0, 1, 2}, 1: {0, 1}, 5: {0, 1}} {
		p := calmParams()
		p.EpochBlocks = 30
		w := newWorld(t, p, 5_000, 4_000, 3_000)
		w.idle(p.LastBlock(0) - before - uint64(p.MaxMissed) - 1)
		w.miss(int(p.MaxMissed)+1, 2)
		if w.height != p.LastBlock(0)-before || !w.validator(2).Jailed {
			t.Fatalf("%d blocks before the end: not jailed in block %d", before, w.height)
		}
		w.idle(p.LastBlock(0))
		w.turn(1)
		if m := slices.Sorted(slices.Values(w.members(1))); !slices.Equal(m, want) {
			t.Errorf("jailed %d blocks before the end: the next committee is %v, want %v", before, m, want)
		}
		if m := slices.Sorted(slices.Values(w.members(2))); !slices.Equal(m, []uint64{0, 1}) {
			t.Errorf("jailed %d blocks before the end: the committee after the next is %v", before, m)
		}
	}
}

// TestUnjailNeedsSelfStake: what a slash took must be made up for, which the
// operator may do while it is jailed.
func TestUnjailNeedsSelfStake(t *testing.T) {
	t.Parallel()
	p := calmParams()
	p.EpochBlocks, p.MinSelfStake = 20, 1_000
	w := newWorld(t, p, 5_000, 4_000, 1_000)
	w.miss(11, 2)
	w.turn(2)
	if _, code := w.try(operator(2), &staking.Unjail{Validator: 2}); code != chain.CodeSelfStakeTooSmall {
		t.Fatalf("with 990 of 1,000: %s", code)
	}
	w.ok(operator(2), &staking.Delegate{Validator: 2, Amount: 20})
	w.ok(operator(2), &staking.Unjail{Validator: 2})
}

// TestMeter: downtime of many jails few at a time, and one whatever its power.
func TestMeter(t *testing.T) {
	t.Parallel()
	p := calmParams()
	p.Seats, p.MeterBps, p.EpochBlocks = 5, 4_000, 100
	w := newWorld(t, p, 40_000, 40_000, 40_000, 40_000, 40_000)
	jailed := func() (rows []uint64) {
		for row := range staking.ValidatorCount(w.view) {
			if v := w.validator(row); v.Jailed {
				rows = append(rows, row)
			}
		}
		return rows
	}
	w.miss(15, 0, 1, 2, 3)
	if got := jailed(); !slices.Equal(got, []uint64{0, 1}) {
		t.Fatalf("jailed %v, want two fifths", got)
	}
	w.miss(80, 2, 3)
	w.turn(2) // the meter lasts three epochs
	w.miss(15, 2, 3)
	if got := jailed(); !slices.Equal(got, []uint64{0, 1}) {
		t.Fatalf("jailed %v within the meter", got)
	}
	w.turn(1)
	w.miss(12, 2, 3)
	if got := jailed(); !slices.Equal(got, []uint64{0, 1, 2, 3}) { // one of three is 3,333 bps, which is not full yet
		t.Errorf("jailed %v with the next meter", got)
	}

	p.MeterBps = 0
	w = newWorld(t, p, 40_000, 40_000, 40_000, 40_000, 40_000)
	w.miss(15, 0, 1)
	if got := jailed(); !slices.Equal(got, []uint64{0}) {
		t.Errorf("jailed %v under a meter of nothing, want one", got)
	}
	// A dwarf that is jailed first does not protect one that is large.
	p.MeterBps = 500
	w = newWorld(t, p, 400_000, 400_000, 4_096, 400_000, 4_096)
	first, large, third := w.validator(0), w.validator(1), w.validator(3)
	for i := range 15 {
		absent := []uint64{0, 2, 4}
		if i < 2 {
			absent = []uint64{2}
		}
		w.apply(block{votes: w.votes(absent...), proposer: []staking.Address{large.Address(), third.Address(), first.Address()}[i%3]})
	}
	if got := jailed(); !slices.Equal(got, []uint64{0, 2}) {
		t.Errorf("jailed %v, want the dwarf, then the one that is large, and no more", got)
	}
	// One with nearly half of the power is jailed alone, and the next after the meter.
	w = newWorld(t, p, 450_000, 200_000, 200_000, 150_000)
	w.turn(2) // the meter begins with the first that is jailed
	w.miss(24, 0, 1)
	if got := jailed(); !slices.Equal(got, []uint64{0}) {
		t.Errorf("jailed %v, want the one that is large, whatever its power", got)
	}
	w.turn(2)
	w.miss(15, 1)
	if got := jailed(); !slices.Equal(got, []uint64{0}) {
		t.Errorf("jailed %v while the meter is full", got)
	}
	w.turn(1)
	w.miss(2, 1)
	if got := jailed(); !slices.Equal(got, []uint64{0, 1}) {
		t.Errorf("jailed %v with the next meter", got)
	}
	// Equivocation is punished however full the meter is.
	w.apply(block{evidence: []staking.Evidence{w.equivocation(2, w.height)}})
	if v := w.validator(2); !v.Tombstoned {
		t.Error("the meter protects an equivocation")
	}
}

// TestAway: who is gone and not jailed because the meter is full is known to be away, who
// missed most first, and no longer when it is back; who is jailed is not.
func TestAway(t *testing.T) {
	t.Parallel()
	p := calmParams()
	p.Seats, p.MeterBps, p.EpochBlocks = 7, 0, 100
	w := newWorld(t, p, slices.Repeat([]uint64{40_000}, 7)...)
	away := func(want ...uint64) {
		t.Helper()
		if got := staking.Away(w.view, &w.p, w.height); !slices.Equal(got, want) {
			t.Errorf("block %d: away are %d, want %d", w.height, got, want)
		}
	}
	w.miss(3, 2)
	w.miss(int(p.MaxMissed)-3, 0, 2)
	away()
	w.miss(1, 0, 2) // 2 is jailed, and the meter full
	w.miss(3, 0, 1)
	if away(0); !w.validator(2).Jailed || w.validator(0).Jailed {
		t.Fatal("the meter jails others than it should")
	}
	w.miss(int(p.MaxMissed), 0, 1)
	away(0, 1)
	w.miss(int(p.Window)-int(p.MaxMissed), 1)
	away(1)
	w.miss(int(p.Window))
	away()
}

// TestVotesOfStrangers: votes of those who are no members, or no validators, say
// nothing.
func TestVotesOfStrangers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, calmParams(), 5_000, 4_000, 3_000, 2_000)
	without := w.validator(3)
	votes := append(w.votes(), staking.Vote{Validator: without.Address()}, staking.Vote{Validator: staking.Address{1}})
	for range 15 {
		w.apply(block{votes: votes})
	}
	if w.view.Get(staking.MissedKey()) != nil {
		t.Error("a stranger missed something")
	}
}

// TestAbsencesLeaveWithTheirMember: who has no seat any more has no window.
func TestAbsencesLeaveWithTheirMember(t *testing.T) {
	t.Parallel()
	p := calmParams()
	p.Seats, p.EpochBlocks = 2, 20
	w := newWorld(t, p, 5_000, 4_000, 3_000)
	w.ok(user(0), &staking.Delegate{Validator: 2, Amount: 5_000})
	w.miss(5, 1)
	w.turn(1)
	if m := w.members(1); !slices.Equal(m, []uint64{2, 0}) || staking.Missed(w.view, w.p, 1) != 0 {
		t.Errorf("committee %v, missed %d", m, staking.Missed(w.view, w.p, 1))
	}
	if w.view.Get(staking.MissedKey()) != nil {
		t.Error("its absences are left")
	}
}

// TestCensorship: proposers below a third of the power that leave out somebody's
// votes jail nobody, alone or together, however many blocks they make count; and
// who is really gone is jailed in time.
func TestCensorship(t *testing.T) {
	t.Parallel()
	p := calmParams()
	p.Seats = 10
	const victim = 9
	members := func() (w *world, who []staking.Address) {
		w = newWorld(t, p, slices.Repeat([]uint64{40_960}, 10)...)
		for row := range uint64(10) {
			v := w.validator(row)
			who = append(who, v.Address())
		}
		return w, who
	}
	for _, censors := range []int{1, 2, 3} {
		w, who := members()
		for i := range 400 {
			// Nobody else's blocks count, but for one of another now and then.
			if i%30 == 0 {
				w.apply(block{votes: w.votes(), proposer: who[5]})
			}
			w.apply(block{votes: w.votes(victim), proposer: who[i%censors]})
			if v := w.validator(victim); v.Jailed {
				t.Fatalf("%d of ten jailed the victim with block %d", censors, w.height)
			}
			if got := staking.Away(w.view, &w.p, w.height); len(got) != 0 {
				t.Fatalf("%d of ten have %d be away with block %d", censors, got, w.height)
			}
		}
		// What the others see of it is not forgotten.
		for i := range 30 {
			w.apply(block{votes: w.votes(victim), proposer: who[i%9]})
		}
		if v := w.validator(victim); !v.Jailed {
			t.Errorf("after %d censors, who is really gone is not jailed", censors)
		}
	}

	w, who := members()
	for i := range int(p.MaxMissed) + 1 {
		if v := w.validator(victim); v.Jailed {
			t.Fatalf("jailed after %d blocks", i)
		}
		w.apply(block{votes: w.votes(victim), proposer: who[i%9]})
	}
	if v := w.validator(victim); !v.Jailed {
		t.Error("who is really gone is not jailed in time")
	}
}

// TestEverySecondBlock: where every second block counts, and so every second proposer's
// only, who is gone is jailed all the same, and paid in no epoch before.
func TestEverySecondBlock(t *testing.T) {
	t.Parallel()
	for n := 4; n <= 10; n++ {
		p := calmParams()
		p.Seats, p.EpochBlocks, p.EpochReward = uint32(n), 10, 1_000
		w := newWorld(t, p, slices.Repeat([]uint64{40_960}, n)...)
		for i := 0; i < 3*int(p.Window) && !w.validator(1).Jailed; i++ {
			w.apply(block{votes: w.votes(1), idle: i%2 == 1})
		}
		v := w.validator(1)
		if !v.Jailed || v.Outstanding+v.Earned != 0 {
			t.Errorf("%d members: jailed %v, paid %d", n, v.Jailed, v.Outstanding+v.Earned)
		}
		if other := w.validator(0); other.Outstanding == 0 {
			t.Errorf("%d members: nobody is paid", n)
		}
	}
}

// TestCensorsTakeNoMoney: proposers below a third of the power that leave out
// somebody's votes in all the blocks of an epoch that count, however few or many, do
// not take its reward; with more than a third of it they may.
func TestCensorsTakeNoMoney(t *testing.T) {
	t.Parallel()
	p := calmParams()
	p.Seats, p.EpochBlocks, p.EpochReward = 10, 20, 10_000
	const victim = 9
	for _, row := range []struct {
		censors, counted int
		paid             bool
	}{{1, 0, true}, {1, 18, true}, {2, 5, true}, {3, 18, true}, {3, 1, true}, {3, 7, true}, {9, 18, false}, {5, 18, false}} {
		w := newWorld(t, p, slices.Repeat([]uint64{40_960}, 10)...)
		var who []staking.Address
		for i := range uint64(10) {
			v := w.validator(i)
			who = append(who, v.Address())
		}
		for i := range int(p.EpochBlocks) {
			w.apply(block{votes: w.votes(victim), proposer: who[i%row.censors], idle: i >= row.counted && i < 18})
		}
		if got := w.validator(victim).Outstanding > 0; got != row.paid {
			t.Errorf("%+v: paid %v", row, got)
		}
	}
}
