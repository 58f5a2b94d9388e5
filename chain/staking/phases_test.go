package staking_test

import (
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
)

// TestPhases is the state machine: everything that can happen to a validator, in
// everything it can be. The validator is number 1; user 0 has stake with it.
func TestPhases(t *testing.T) {
	t.Parallel()
	const it, other = 1, 0
	phases := []struct {
		name  string
		reach func(w *world)
	}{
		{"elected", func(*world) {}},
		{"without a seat", func(w *world) {
			w.p.Seats = 1
			w.turn(1)
		}},
		{"leaving", func(w *world) { // undelegated, with a seat to the end of the epoch
			w.ok(operator(it), &staking.Undelegate{Validator: it})
		}},
		{"gone", func(w *world) { // and out of the committee
			w.ok(operator(it), &staking.Undelegate{Validator: it})
			w.turn(2)
		}},
		{"jailed", func(w *world) { w.miss(w.downtime(), it) }},
		{"jailed and out", func(w *world) {
			w.miss(w.downtime(), it)
			w.turn(1)
		}},
		{"jail over", func(w *world) {
			w.miss(w.downtime(), it)
			w.turn(2)
		}},
		{"tombstoned", func(w *world) {
			w.apply(block{evidence: []staking.Evidence{w.equivocation(it, w.height)}})
		}},
		{"tombstoned and out", func(w *world) {
			w.apply(block{evidence: []staking.Evidence{w.equivocation(it, w.height)}})
			w.turn(2)
		}},
		{"never registered", nil},
	}
	const (
		ok     = chain.CodeOK
		jailed = chain.CodeValidatorJailed
		dead   = chain.CodeTombstoned
		nobody = chain.CodeValidatorNotFound
		free   = chain.CodeNotJailed
		early  = chain.CodeJailNotOver
	)
	type event struct {
		name    string
		by      int // -1: the operator
		message func(w *world, row uint64) message
	}
	events := []event{
		{"edit", -1, func(w *world, row uint64) message {
			if row != it {
				return &staking.Edit{Validator: row}
			}
			return w.edit(row)
		}},
		{"delegate", 0, func(_ *world, row uint64) message { return &staking.Delegate{Validator: row, Amount: 500} }},
		{"self-delegate", -1, func(_ *world, row uint64) message { return &staking.Delegate{Validator: row, Amount: 500} }},
		{"undelegate", 0, func(_ *world, row uint64) message { return &staking.Undelegate{Validator: row, Amount: 100} }},
		{"redelegate to it", 1, func(_ *world, row uint64) message { return &staking.Redelegate{From: other, To: row, Amount: 100} }},
		{"redelegate from it", 0, func(_ *world, row uint64) message { return &staking.Redelegate{From: row, To: other, Amount: 100} }},
		{"claim", 0, func(_ *world, row uint64) message { return &staking.Claim{Validators: []uint64{row}} }},
		{"unjail", -1, func(_ *world, row uint64) message { return &staking.Unjail{Validator: row} }},
	}
	want := map[string][8]chain.Code{
		"elected":            {ok, ok, ok, ok, ok, ok, ok, free},
		"without a seat":     {ok, ok, ok, ok, ok, ok, ok, free},
		"leaving":            {ok, ok, ok, ok, ok, ok, ok, free},
		"gone":               {ok, ok, ok, ok, ok, ok, ok, free},
		"jailed":             {ok, jailed, ok, ok, jailed, ok, ok, early},
		"jailed and out":     {ok, jailed, ok, ok, jailed, ok, ok, early},
		"jail over":          {ok, jailed, ok, ok, jailed, ok, ok, ok},
		"tombstoned":         {dead, dead, dead, ok, dead, ok, ok, dead},
		"tombstoned and out": {dead, dead, dead, ok, dead, ok, ok, dead},
		"never registered":   {nobody, nobody, nobody, nobody, nobody, nobody, nobody, nobody},
	}
	for _, phase := range phases {
		for i, e := range events {
			t.Run(phase.name+"/"+e.name, func(t *testing.T) {
				t.Parallel()
				w := phaseWorld(t)
				row := uint64(77)
				if phase.reach != nil {
					row = it
					phase.reach(w)
				}
				by := operator(it)
				if e.by >= 0 {
					by = user(e.by)
				}
				if _, code := w.try(by, e.message(w, row)); code != want[phase.name][i] {
					t.Fatalf("%s, want %s", code, want[phase.name][i])
				}
				w.turn(6) // whatever happened, the chain goes on and adds up
			})
		}
		if phase.reach == nil {
			continue
		}
		for _, e := range blockEvents() {
			t.Run(phase.name+"/"+e.name, func(t *testing.T) {
				t.Parallel()
				w := phaseWorld(t)
				phase.reach(w)
				before := w.validator(it)
				seated := slices.Contains(w.members(w.epoch()), it)
				e.happen(w, it)
				v := w.validator(it)
				if v.Tokens > before.Tokens || before.Tombstoned && !v.Tombstoned || v.Jailed != before.Jailed && before.Jailed {
					t.Errorf("%+v became %+v", before, v)
				}
				seat := slices.Contains(w.members(w.epoch()), it)
				if again := e.again && seated; before.Tombstoned && (again != (v.Last.Until == w.height) || again != (v.Tokens < before.Tokens)) {
					t.Errorf("punished again: want %t; %+v became %+v", again, before, v)
				}
				if e.again && v.Tombstoned != (before.Tombstoned || seated) {
					t.Errorf("with a seat %t: %+v became %+v", seated, before, v)
				}
				if e.jails && seat && !before.Jailed && !before.Tombstoned && !v.Jailed {
					t.Error("it is not jailed")
				}
				if e.buries && !v.Tombstoned {
					t.Error("it is not tombstoned")
				}
				w.turn(6)
			})
		}
	}
}

type blockEvent struct {
	name string
	// It jails a member, tombstones whoever is in it, costs a tombstoned member again.
	jails, buries, again bool
	happen               func(w *world, row uint64)
}

// blockEvents are what the chain does to a validator by itself.
func blockEvents() []blockEvent {
	return []blockEvent{
		{"misses all", true, false, false, func(w *world, row uint64) { w.miss(w.downtime(), row) }},
		{"signs all", false, false, false, func(w *world, _ uint64) { w.miss(5) }},
		{"equivocated in epoch 1", false, true, false, func(w *world, row uint64) {
			w.apply(block{evidence: []staking.Evidence{w.equivocation(row, w.p.LastBlock(0)+1)}})
		}},
		{"equivocates now", false, false, true, func(w *world, row uint64) {
			w.apply(block{evidence: []staking.Evidence{w.equivocation(row, w.height+1)}})
		}},
		{"an epoch ends", false, false, false, func(w *world, _ uint64) { w.turn(1) }},
	}
}

// downtime is how many blocks get a member jailed; the epochs of a phaseWorld are
// longer.
func (w *world) downtime() int { return int(w.p.MaxMissed) + 1 }

// phaseWorld is at the beginning of epoch 1, with rewards to claim.
func phaseWorld(t *testing.T) *world {
	t.Helper()
	p := smallParams()
	p.EpochBlocks, p.Seats = 25, 2
	w := newWorld(t, p, 200_000, 100_000)
	w.ok(user(0), &staking.Delegate{Validator: 1, Amount: 50_000})
	w.ok(user(1), &staking.Delegate{Validator: 0, Amount: 5_000})
	w.turn(2) // of which the second pays what was delegated
	return w
}
