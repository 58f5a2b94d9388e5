package staking_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
)

// TestMistakes: equivocations up to the block that punished one are one mistake and cost
// what the worst of them costs; a later one costs all of its own; none is paid twice.
func TestMistakes(t *testing.T) {
	t.Parallel()
	const double, attack = staking.DuplicateVote, staking.LightClientAttack // 500 and 2,000 bps
	type proof struct {
		kind   staking.EvidenceKind
		height uint64 // of the fault; the evidence n is in block 21+n, in epoch 2
		want   ledger.Amount
	}
	for _, row := range []struct {
		name  string
		proof []proof
	}{
		{"one twice", []proof{{double, 15, 500}, {double, 15, 0}, {double, 15, 0}}},
		{"many of one mistake", []proof{{double, 15, 500}, {double, 14, 0}, {double, 21, 0}, {double, 16, 0}}},
		{"a later one", []proof{{double, 15, 500}, {double, 22, 475}, {double, 23, 451}}},
		{"a later one, twice", []proof{{double, 15, 500}, {double, 22, 475}, {double, 22, 0}, {double, 15, 0}, {double, 24, 451}}},
		{"the later one first", []proof{{double, 20, 500}, {double, 15, 0}}},
		{"a worse one of the same", []proof{{double, 15, 500}, {attack, 15, 1_500}, {attack, 16, 0}, {double, 15, 0}}},
		{"a worse one of the last", []proof{{double, 15, 500}, {double, 22, 475}, {attack, 22, 1_500}, {double, 22, 0}, {attack, 22, 0}}},
		{"a worse one of the first", []proof{{double, 15, 500}, {double, 22, 475}, {attack, 15, 1_500}, {attack, 15, 0}, {double, 22, 0}}},
		{"the first was worse", []proof{{attack, 15, 2_000}, {double, 22, 400}, {attack, 15, 0}, {attack, 22, 1_500}, {attack, 22, 0}}},
		{"of three", []proof{{attack, 15, 2_000}, {double, 22, 400}, {double, 23, 380}, {attack, 15, 0}, {attack, 22, 0}, {double, 23, 0}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := smallParams()
			p.EpochReward, p.LightAttackBps, p.EpochBlocks = 0, 2_000, 10
			w := newWorld(t, p, 10_000, 40_000, 40_000)
			w.idle(20)
			for i, x := range row.proof {
				ev := w.equivocation(0, x.height)
				ev.Kind = x.kind
				before := w.view.digest()
				w.apply(block{idle: true, evidence: []staking.Evidence{ev}})
				slashed, ignored := w.find(staking.EventSlashed), w.find(staking.EventEvidenceIgnored)
				switch {
				case x.want == 0:
					if len(slashed) != 0 || len(ignored) != 1 || ignored[0].Code != chain.CodeEvidenceKnown || w.view.digest() != before {
						t.Errorf("evidence %d: events %+v, want none and no change", i, w.events)
					}
				case len(slashed) != 1 || slashed[0].Amount != x.want || slashed[0].Height != x.height || len(ignored) != 0:
					t.Errorf("evidence %d: events %+v, want %d drops", i, w.events, x.want)
				}
				if n := len(w.find(staking.EventTombstoned)); (n != 0) != (i == 0) {
					t.Errorf("evidence %d: %d tombstones", i, n)
				}
			}
		})
	}
}

// TestMistakesReachWhatLeft: a second mistake costs what left since the election of its
// epoch a second time, and what left before only once or not at all.
func TestMistakesReachWhatLeft(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.EpochReward = 0
	w := newWorld(t, p, 10_000, 40_000, 40_000)
	for i := range 4 {
		w.ok(user(i), &staking.Delegate{Validator: 0, Amount: 2_000})
	}
	w.ok(user(0), &staking.Undelegate{Validator: 0}) // in epoch 0
	w.turn(1)
	w.ok(user(1), &staking.Undelegate{Validator: 0}) // in epoch 1
	w.ok(user(2), &staking.Redelegate{From: 0, To: 1})
	w.turn(1)
	left := func(i int) uint64 {
		list := staking.UnbondingsOf(w.view, w.p, w.height+1, user(i), 0, 10)
		if len(list) != 1 {
			t.Fatalf("user %d has unbondings %+v", i, list)
		}
		return uint64(list[0].Amount)
	}
	check := func(when string, first, second, moved, stayed, all uint64) {
		t.Helper()
		if left(0) != first || left(1) != second {
			t.Errorf("%s: unbonding %d and %d, want %d and %d", when, left(0), left(1), first, second)
		}
		if m, s := uint64(w.stake(1, user(2)).Worth), uint64(w.stake(0, user(3)).Worth); m != moved || s != stayed {
			t.Errorf("%s: what moved is worth %d, what stayed %d, want %d and %d", when, m, s, moved, stayed)
		}
		if v := w.validator(0); uint64(v.Tokens) != all {
			t.Errorf("%s: %d drops are bonded, want %d", when, v.Tokens, all)
		}
	}
	check("before", 2_000, 2_000, 2_000, 2_000, 12_000)
	w.apply(block{evidence: []staking.Evidence{w.equivocation(0, 15)}}) // of epoch 1
	check("after the first", 2_000, 1_900, 1_900, 1_900, 11_400)
	w.ok(user(3), &staking.Undelegate{Validator: 0, Amount: 400})
	w.apply(block{evidence: []staking.Evidence{w.equivocation(0, w.height)}}) // of epoch 2
	if e := w.find(staking.EventSlashed); len(e) != 1 || e[0].Amount != 570 {
		t.Errorf("events %+v", w.events)
	}
	// A twentieth of what is bonded and of the 400 that left since the election of epoch
	// 2. Shares of 400 drops are rounded up, so what stayed is a drop less than 1,425.
	check("after the second", 2_000, 1_900, 1_900, 1_424, 11_000-550)
	if u := left(3); u != 380 {
		t.Errorf("of 400 on their way %d are left", u)
	}
	w.turn(6)
}

// TestMistakesBounds: however many equivocations are proved and in whatever order, one
// after the last punishment is always punished, no mistake costs more than its worst
// may, and evidence that was judged before costs nothing.
func TestMistakesBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p := smallParams()
		p.EpochReward, p.LightAttackBps = 0, 2_000
		p.DuplicateVoteBps = rapid.SampledFrom([]uint32{0, 1, 500, 3_000, 10_000}).Draw(rt, "points")
		w := newWorld(t, p, 9_001, 40_000, 40_000)
		w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 1_003})
		w.turn(2)
		type fault struct {
			kind   staking.EvidenceKind
			height uint64
		}
		judged := map[fault]bool{}
		var first, until uint64 // of the mistake under way
		most := uint64(0)       // that all mistakes may cost
		start := w.bank.burned
		for range rapid.IntRange(1, 14).Draw(rt, "proofs") {
			kind := staking.EvidenceKind(rapid.IntRange(1, 2).Draw(rt, "kind"))
			f := fault{kind, rapid.Uint64Range(11, w.height+1).Draw(rt, "height")}
			ev := w.equivocation(0, f.height)
			ev.Kind = f.kind
			if rapid.Bool().Draw(rt, "somebody leaves") {
				w.apply(block{run: func(c *staking.Context) {
					_, _ = w.do(c, user(0), &staking.Undelegate{Validator: 0, Amount: 77})
				}})
			}
			burned := w.bank.burned
			w.apply(block{idle: true, evidence: []staking.Evidence{ev}})
			burned = w.bank.burned - burned
			slashed := w.find(staking.EventSlashed)
			member := len(w.find(staking.EventEvidenceIgnored)) == 0 || w.find(staking.EventEvidenceIgnored)[0].Code == chain.CodeEvidenceKnown
			if judged[f] && (burned != 0 || len(slashed) != 0) {
				rt.Fatalf("fault %+v was judged before and costs %d", f, burned)
			}
			if member {
				judged[f] = true
			}
			v := w.validator(0)
			if f.height > until && member {
				if len(slashed) != 1 || v.Last.Until != w.height {
					rt.Fatalf("fault %+v after height %d is not punished: %+v", f, until, w.events)
				}
				first, until = until, w.height
				most += (9_001 + 1_003) * uint64(max(p.LightAttackBps, p.DuplicateVoteBps)) / 10_000
			}
			if v.Earlier.Until != first || v.Last.Until != until {
				rt.Fatalf("mistakes end at %d and %d, want %d and %d", v.Earlier.Until, v.Last.Until, first, until)
			}
		}
		if all := w.bank.burned - start; all > most {
			rt.Fatalf("%d drops were burned, at most %d", all, most)
		}
	})
}
