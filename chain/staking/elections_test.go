package staking_test

import (
	"bytes"
	"testing"

	"github.com/tributary-network/tributary/chain/staking"
)

// elections returns how many bytes of the state are those of elections, and how many
// lists of seats there are.
func (w *world) elections() (size, lists int) {
	for _, prefix := range []byte{'e', 'f', 'i'} {
		for key, value := range w.view.Range([]byte{prefix}) {
			size += len(key) + len(value)
			if prefix == 'i' && len(value) != 8 {
				lists++
			}
		}
	}
	return size, lists
}

// TestElectionsTakeLittle: epochs in which nothing changes have their seats once; those
// in which a power changes have powers and stakes, and keys never; and every record is
// what it was when it was elected.
func TestElectionsTakeLittle(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.Seats, p.Window, p.MaxMissed, p.UnbondingEpochs, p.EvidenceEpochs = 3, 10, 5, 20, 18
	w := newWorld(t, p, 9_000, 8_000, 7_000)
	was := map[uint64][]byte{}
	go10 := func(change bool) {
		for range 10 {
			if change {
				w.ok(user(0), &staking.Delegate{Validator: 1, Amount: 10})
			}
			w.turn(1)
			was[w.epoch()] = w.view.Get(staking.CommitteeKey(w.epoch()))
		}
	}
	go10(false)
	still, lists := w.elections()
	if lists != 1 {
		t.Errorf("%d lists of seats of committees that never changed", lists)
	}
	go10(false)
	if now, lists := w.elections(); lists != 1 || now-still != 10*(9+121+9+8) {
		t.Errorf("ten epochs without a change take %d bytes, in %d lists of seats", now-still, lists)
	}
	still, _ = w.elections()
	go10(true)
	// Two of the whole records are in both, and one reference became a list.
	if now, lists := w.elections(); lists != 11 || now-still != 10*(9+121+9+3*24) {
		t.Errorf("ten epochs with changes take %d bytes, in %d lists of seats", now-still, lists)
	}
	for epoch, record := range was {
		rec, ok := staking.ReadElection(w.view, epoch)
		if !ok || !bytes.Equal(rec.Encode(), record) {
			t.Errorf("epoch %d: the record is another one: %+v", epoch, rec)
		}
	}
	for range 5 { // until all that was is forgotten
		go10(false)
	}
	if _, lists := w.elections(); lists != 1 {
		t.Errorf("%d lists of seats in the end", lists)
	}
	if _, ok := staking.ReadElection(w.view, 30); ok {
		t.Error("epoch 30 is not forgotten")
	}
}

// TestOldElectionsArePunished: what the state keeps of a past committee is enough to
// know who had how much.
func TestOldElectionsArePunished(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.EpochReward = 0
	w := newWorld(t, p, 9_000, 8_000, 7_000)
	w.turn(3)
	if w.view.Get(staking.CommitteeKey(0)) != nil || w.view.Get(staking.PastCommitteeKey(0)) == nil {
		t.Fatal("the committee of epoch 0 is not one of the past")
	}
	w.ok(user(0), &staking.Delegate{Validator: 1, Amount: 5_000})
	w.apply(block{evidence: []staking.Evidence{w.equivocation(1, 2)}})
	if e := w.find(staking.EventSlashed); len(e) != 1 || e[0].Amount != 400 {
		t.Errorf("events %+v", w.events)
	}
}

// TestCandidatesAreListed: those who can be elected are found without the others, in
// whatever way they come and go; world.apply audits the list.
func TestCandidatesAreListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallParams(), 9_000, 8_000, 7_000, 6_000)
	want := func(when string, rows ...uint64) {
		t.Helper()
		list := staking.Candidates(w.view)
		same := len(list) == len(rows)
		for i := range list {
			same = same && list[i].Validator == rows[i]
		}
		if !same {
			t.Errorf("%s: candidates %+v, want %v", when, list, rows)
		}
	}
	want("at first", 0, 1, 2, 3)
	w.ok(operator(3), &staking.Undelegate{Validator: 3, Amount: 5_500})
	want("one has too little", 0, 1, 2)
	w.ok(operator(3), &staking.Delegate{Validator: 3, Amount: 5_000})
	want("it has enough again", 0, 1, 2, 3)
	w.miss(11, 2)
	want("one is jailed", 0, 1, 3)
	w.apply(block{evidence: []staking.Evidence{w.equivocation(1, 1)}})
	want("one equivocated", 0, 3)
	w.turn(4)
	w.ok(operator(2), &staking.Unjail{Validator: 2})
	want("the jail is over", 0, 2, 3)
	w.ok(user(0), registration(user(0), 9, 20_000))
	want("one came", 0, 2, 3, 4)
}
