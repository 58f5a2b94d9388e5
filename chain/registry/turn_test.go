package registry_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/zone"
)

// kinds are the kinds of the events since the last time, in words.
func (w *world) kinds() (list []string) {
	for _, e := range w.ctx.Noted() {
		list = append(list, e.Kind.String())
	}
	return list
}

// TestFoundedLate: a service that is registered in the last block of an epoch has its
// shards an epoch later than others, and then with members from the first epoch on.
func TestFoundedLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5, service(1, "content", 0))
	for w.ctx.Height < w.rules.LastBlock(1) {
		w.next()
	}
	s := service(9, "proxy", 0, 1)
	w.must(w.ctx.Register(address(1), &s))
	if got := w.kinds(); !slices.Equal(got, []string{"registered"}) || len(w.shards().Announced()) != 0 {
		t.Errorf("events %v, announced %v", got, w.shards().Announced())
	}
	for i := range byte(5) {
		w.must(w.ctx.Serve(operator(i), &registry.Serve{Service: 9, On: true}))
	}
	w.kinds()
	if !registry.NeedsTick(w.ctx.State, &w.rules, w.rules.FirstBlock(3)) {
		t.Error("the chain may stop before they are drawn")
	}
	w.next()
	if got := w.kinds(); !slices.Equal(got, []string{"announced", "announced"}) {
		t.Errorf("events %v", got)
	}
	w.epoch(3)
	if got := w.shards().Zone(9, 0); got != nil {
		t.Errorf("shards in epoch 3: %v", got)
	}
	w.epoch(4)
	if got := w.kinds(); !slices.Equal(got, []string{"holds", "holds"}) {
		t.Errorf("events %v", got)
	}
	for _, z := range []byte{0, 1} {
		list := w.shards().Zone(9, z)
		if len(list) != 2 {
			t.Fatalf("zone %d: %v", z, list)
		}
		for _, sh := range list {
			if a, ok := registry.ReadAssignment(w.ctx.State, 4, sh.ID); !ok || a.Kept || len(a.Committee.Members) != zone.MinCommittee {
				t.Errorf("%s: %+v", sh, a)
			}
			if s, ok := anchor.Read(w.ctx.State, sh.ID); !ok || s.Since != 4 {
				t.Errorf("%s: anchors since epoch %d", sh, s.Since)
			}
		}
	}
}

// TestEvents: a split from the request to the map, one that comes to nothing, and what
// validators say.
func TestEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5, service(1, "content", 0))
	w.anchored()
	list := w.shards().Zone(1, 0)
	for _, s := range list {
		w.must(w.ctx.Reshard(address(1), &registry.Reshard{Request: shard.Request{Kind: shard.Split, Shard: s.ID}}))
	}
	w.must(w.ctx.Serve(operator(3), &registry.Serve{Service: 1}))
	next := service(1, "content", 0)
	next.Version = 2
	w.must(w.ctx.Update(address(1), &next))
	w.epoch(2)
	heirs := w.shards().Heirs(list[0].ID)
	want := []registry.Event{
		{Kind: registry.EventAsked, Service: 1, Change: shard.Split, Shards: []shard.ID{list[0].ID}},
		{Kind: registry.EventAsked, Service: 1, Change: shard.Split, Shards: []shard.ID{list[1].ID}},
		{Kind: registry.EventServesNot, Service: 1, Validator: 3, Epoch: 2},
		{Kind: registry.EventUpdated, Service: 1, Version: 2},
		{Kind: registry.EventForgotten, TxIndex: -1, Service: 1, Change: shard.Split, Shards: []shard.ID{list[1].ID}},
		{Kind: registry.EventAnnounced, TxIndex: -1, Service: 1, Change: shard.Split, Shards: []shard.ID{list[0].ID}, Epoch: 2},
		{Kind: registry.EventHolds, TxIndex: -1, Service: 1, Change: shard.Split, Shards: []shard.ID{list[0].ID}, Heirs: []shard.ID{heirs[0].ID, heirs[1].ID}, Epoch: 2},
	}
	if got := w.ctx.Noted(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("events %+v, want %+v", got, want)
	}
}

// TestReplaced: a shard that is replaced has a last committee of the members it had, is
// among those of its epoch, and its heirs are founded when it is anchored to its end.
func TestReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5, service(1, "content", 0))
	w.anchored()
	first := w.shards().Zone(1, 0)[0]
	w.must(w.ctx.Reshard(address(1), &registry.Reshard{Request: shard.Request{Kind: shard.Split, Shard: first.ID}}))
	w.epoch(2)
	before, _ := registry.ReadAssignment(w.ctx.State, 1, first.ID)
	last, ok := registry.ReadAssignment(w.ctx.State, 2, first.ID)
	if !ok || !last.Last || last.Committee.Epoch != 2 || !slices.Equal(last.Committee.Members, before.Committee.Members) {
		t.Errorf("the last committee is %+v, %v", last, ok)
	}
	if err := registry.Inputs(w.ctx.State, 2, w.shards()).Check(registry.Assignments(w.ctx.State, 2)); err != nil {
		t.Error(err)
	}
	if s, _ := anchor.Read(w.ctx.State, first.ID); s.Until != 2 {
		t.Errorf("it serves until epoch %d", s.Until)
	}
	heirs := w.shards().Heirs(first.ID)
	w.epoch(4) // it takes its time
	for _, h := range heirs {
		if _, founded := anchor.Read(w.ctx.State, h.ID); founded {
			t.Errorf("heir %d is founded before its parent has ended", h.ID)
		}
	}
	if _, ok := registry.ReadAssignment(w.ctx.State, 4, first.ID); ok {
		t.Error("it has a committee after its last one")
	}
	w.finish(first.ID)
	for _, h := range heirs {
		if s, ok := anchor.Read(w.ctx.State, h.ID); !ok || s.Since != 2 || s.Base != 2 {
			t.Errorf("heir %d: %+v", h.ID, s)
		}
	}
}

// TestRedraw: who has missed anchors is replaced at once and for the next epoch, too,
// one that has still to end as well; and where all serve, there is nobody else.
func TestRedraw(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 12, service(1, "content", 0))
	w.anchored()
	list := w.shards().Zone(1, 0)
	w.must(w.ctx.Reshard(address(1), &registry.Reshard{Request: shard.Request{Kind: shard.Split, Shard: list[0].ID}}))
	w.epoch(1)
	stalled := list[1].ID
	others := func(epoch uint64, id shard.ID) (a, b shard.Assignment) {
		w.t.Helper()
		before, _ := registry.ReadAssignment(w.ctx.State, epoch, id)
		changed := w.ctx.Redraw(id, 1)
		after, ok := registry.ReadAssignment(w.ctx.State, epoch, id)
		if !changed || !ok || slices.Equal(before.Committee.Members, after.Committee.Members) || after.Committee.Epoch != epoch {
			t.Fatalf("shard %d in epoch %d: %v after %v", id, epoch, after, before)
		}
		return before, after
	}
	w.kinds()
	_, a := others(1, stalled)
	if got := w.kinds(); !slices.Equal(got, []string{"redrawn"}) {
		t.Errorf("events %v", got)
	}
	next, _ := registry.ReadAssignment(w.ctx.State, 2, stalled)
	if !slices.Equal(next.Committee.Members, a.Committee.Members) || next.Committee.Epoch != 2 || next.Last {
		t.Errorf("in the next epoch serve %v, want %v", next, a)
	}
	w.epoch(2)
	third, _ := registry.ReadAssignment(w.ctx.State, 3, stalled)
	stay := 0
	for _, m := range third.Committee.Members {
		if _, was := a.Committee.FindValidator(m.Validator); was {
			stay++
		}
	}
	if stay < zone.MinCommittee-1 {
		t.Errorf("%d of the members stay for epoch 3", stay)
	}
	before, last := others(2, list[0].ID)
	if !before.Last || !last.Last {
		t.Errorf("last committees %+v, %+v", before, last)
	}
	if w.ctx.Redraw(99, 1) {
		t.Error("a shard that never was is redrawn")
	}
	few := newWorld(t, 4, service(1, "content", 0))
	for round := range uint32(9) {
		if digest := few.digest(); few.ctx.Redraw(2, round+1) || few.digest() != digest {
			t.Fatal("there is somebody else")
		}
	}
}

// TestRedrawGoesOn: whoever else can serve does, each time, and anybody draws the same
// while the epoch runs.
func TestRedrawGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5, service(1, "content", 0)) // one seat's worth of others
	id := w.shards().Zone(1, 0)[0].ID
	for round := uint32(1); round < 100; round++ {
		before, _ := registry.ReadAssignment(w.ctx.State, 0, id)
		drawn := w.ctx.Redraw(id, round)
		after, _ := registry.ReadAssignment(w.ctx.State, 0, id)
		if !drawn || slices.Equal(before.Committee.Members, after.Committee.Members) {
			t.Fatalf("round %d: %v after %v", round, after, before)
		}
		in, at, ok := registry.RedrawInputs(w.ctx.State, id, round-1)
		if again := shard.Redraw(in, id, at); !ok || at != round || !slices.Equal(again.Committee.Members, after.Committee.Members) {
			t.Fatalf("round %d is %d, drawn again are %v, want %v", round, at, again, after)
		}
		anchors := anchor.Context{State: w.ctx.State, Height: w.ctx.Height}
		anchors.Redrawn(id, round)
	}
	w.epoch(1)
	if _, _, ok := registry.RedrawInputs(w.ctx.State, id, 1); ok {
		t.Error("how others were drawn is kept when the epoch is over")
	}
}

// TestRedrawLeavesOut: who is jailed since the pools were made is not drawn again.
func TestRedrawLeavesOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 12, service(1, "content", 0))
	w.epoch(1)
	id := w.shards().Zone(1, 0)[0].ID
	a, _ := registry.ReadAssignment(w.ctx.State, 1, id)
	for _, m := range a.Committee.Members {
		v, _ := staking.ReadValidator(w.ctx.State, m.Validator)
		v.Jailed, v.JailedUntil = true, 9
		w.ctx.State.Set(staking.ValidatorKey(m.Validator), v.Encode())
	}
	for round := range uint32(20) {
		w.ctx.Redraw(id, round+1)
		next, _ := registry.ReadAssignment(w.ctx.State, 1, id)
		for _, m := range next.Committee.Members {
			if _, was := a.Committee.FindValidator(m.Validator); was {
				t.Fatalf("round %d: validator %d is jailed and serves", round+1, m.Validator)
			}
		}
	}
}

// TestFinish: the chain goes on to the end of the epoch and no further.
func TestFinish(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4, service(1, "content", 0))
	w.epoch(1)
	if registry.NeedsTick(w.ctx.State, &w.rules, w.ctx.Height) {
		t.Error("it goes on for nothing")
	}
	w.ctx.Finish()
	if !registry.NeedsTick(w.ctx.State, &w.rules, w.rules.LastBlock(1)) || registry.NeedsTick(w.ctx.State, &w.rules, w.rules.FirstBlock(2)) {
		t.Error("it does not go on to the end of the epoch")
	}
	w.must(w.ctx.Serve(operator(0), &registry.Serve{Service: 1}))
	w.ctx.Finish()
	if !registry.NeedsTick(w.ctx.State, &w.rules, w.rules.LastBlock(2)) {
		t.Error("what was asked for before is forgotten")
	}
	none := newWorld(t, 0)
	none.ctx.Finish()
	if none.ctx.On() || registry.NeedsTick(none.ctx.State, &none.rules, 5) {
		t.Error("a chain without a registry goes on")
	}
}

// TestLoads: shards report how full they were, and split and merge by it.
func TestLoads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5, service(1, "content", 0))
	list := w.shards().Zone(1, 0)
	report := func(id shard.ID, epoch uint64, bucket byte, l shard.Load) error {
		l.Shard = id
		p := shard.Report{Epoch: epoch, Load: l}
		return w.ctx.Report(1, 0, bucket, p.Encode())
	}
	heavy, idle := shard.Load{Heavy: 1<<50 - 1}, shard.Load{}.Rest(shard.Window)
	first, second := byte(list[0].Buckets.First), byte(list[1].Buckets.First)
	w.epoch(1)
	w.refused("of another's bucket", chain.CodeUnknownShard, func() error { return report(list[0].ID, 0, second, heavy) })
	w.refused("of no shard", chain.CodeUnknownShard, func() error { return report(99, 0, first, heavy) })
	w.refused("of the future", chain.CodeStale, func() error { return report(list[0].ID, 2, first, heavy) })
	w.refused("of another zone", chain.CodeUnknownShard, func() error {
		return w.ctx.Report(1, 1, first, (&shard.Report{Load: shard.Load{Shard: list[0].ID}}).Encode())
	})
	w.refused("no report", chain.CodeMalformed, func() error { return w.ctx.Report(1, 0, first, []byte{1}) })
	w.must(report(list[0].ID, 0, first, heavy))
	w.must(report(list[1].ID, 0, second, idle))
	w.refused("the same again", chain.CodeStale, func() error { return report(list[0].ID, 0, first, heavy) })
	w.epoch(2)
	if got := w.shards().Announced(); len(got) != 0 {
		t.Fatalf("announced is %v for a shard without an anchor", got)
	}
	w.anchored()
	w.must(report(list[0].ID, 1, first, heavy))
	w.epoch(3)
	if got := w.shards().Announced(); len(got) != 1 || got[0].Kind != shard.Split || got[0].At != 4 || got[0].Shards[0] != list[0].ID {
		t.Fatalf("announced %v", got)
	}
	w.epoch(4)
	if _, kept := registry.ReadReport(w.ctx.State, list[0].ID); kept {
		t.Error("the load of a shard that is replaced is kept")
	}
	heirs := w.shards().Heirs(list[0].ID)
	w.finish(list[0].ID)
	w.anchored(heirs[0].ID, heirs[1].ID)
	w.epoch(4 + shard.Cooldown)
	now := uint64(4 + shard.Cooldown - 1)
	for _, h := range heirs {
		w.must(report(h.ID, now, byte(h.Buckets.First), idle))
	}
	w.epoch(now + 2)
	if got := w.shards().Announced(); len(got) != 1 || got[0].Kind != shard.Merge {
		t.Errorf("announced %v", got)
	}
	// A report that is too old wants nothing.
	late := newWorld(t, 5, service(1, "content", 0))
	late.anchored()
	id := late.shards().Zone(1, 0)[0].ID
	late.epoch(2)
	late.must(late.ctx.Report(1, 0, first, (&shard.Report{Load: shard.Load{Shard: id, Heavy: heavy.Heavy}}).Encode()))
	late.epoch(3)
	if got := late.shards().Announced(); len(got) != 0 {
		t.Errorf("a report of epoch 0 in epoch 2 leads to %v", got)
	}
}

// TestFloor: shards that are idle merge until their service has as many as it was registered
// with, and not one more although two changes may be announced at a time. On request they
// do.
func TestFloor(t *testing.T) {
	t.Parallel()
	for shards, splits := range map[uint8]int{2: 2, 3: 0, 4: 0} {
		s := service(1, "content", 0)
		s.Shards = shards
		if shards == 3 { // of four, of which both halves may merge at once
			s.Shards = 4
		}
		w := newWorld(t, 5, s)
		if shards == 3 {
			s.Shards, s.Version = 3, 2
			w.must(w.ctx.Update(address(1), &s))
		}
		now := func() int { return len(w.shards().Zone(1, 0)) }
		w.anchored()
		epoch, idle := uint64(0), shard.Load{}.Rest(shard.Window)
		turn := func() {
			for _, sh := range w.shards().Zone(1, 0) {
				for _, p := range sh.Parents {
					if row, _ := anchor.Read(w.ctx.State, p); row.Until > 0 && !row.Finished() {
						w.finish(p)
					}
				}
			}
			w.anchored()
			epoch++
			w.epoch(epoch)
		}
		for range splits {
			list := w.shards().Zone(1, 0)
			slices.SortFunc(list, func(a, b shard.Shard) int {
				return int(b.Buckets.Last-b.Buckets.First) - int(a.Buckets.Last-a.Buckets.First)
			})
			w.must(w.ctx.Reshard(address(1), &registry.Reshard{Request: shard.Request{Kind: shard.Split, Shard: list[0].ID}}))
			for range shard.Notice + 1 {
				turn()
			}
		}
		if now() != 4 {
			t.Fatalf("%d shards, want 4", now())
		}
		for range 4 * shard.Cooldown {
			for _, sh := range w.shards().Zone(1, 0) {
				l := idle
				l.Shard = sh.ID
				_ = w.ctx.Report(1, 0, byte(sh.Buckets.First), (&shard.Report{Epoch: epoch, Load: l}).Encode())
			}
			turn()
			if now() < int(shards) {
				t.Fatalf("registered with %d shards, and has %d", shards, now())
			}
		}
		if now() != int(shards) {
			t.Errorf("registered with %d shards, and keeps %d", shards, now())
		}
		for _, sh := range w.shards().Zone(1, 0)[:2] {
			_ = w.ctx.Reshard(address(1), &registry.Reshard{Request: shard.Request{Kind: shard.Merge, Shard: sh.ID}})
		}
		for range shard.Notice + 1 {
			turn()
		}
		if shards != 3 && now() != int(shards)-1 {
			t.Errorf("on request %d shards are still %d", shards, now())
		}
	}
}

// TestReserved: what channels may name without a registration belongs to nobody.
func TestReserved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	w.ctx.Reserved = []uint32{0, 7}
	s := service(7, "content", 0)
	w.refused("a reserved id", chain.CodeServiceUsed, func() error { return w.ctx.Register(address(1), &s) })
	s.ID = 8
	w.must(w.ctx.Register(address(1), &s))
}

// TestStakes: what a candidate had staked is known for as long as who served.
func TestStakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 6, service(1, "content", 0))
	w.must(w.ctx.Serve(operator(5), &registry.Serve{Service: 1}))
	last := w.rules.Kept() + 4
	w.epoch(last)
	for e := range last + 2 {
		for row := range uint64(7) {
			want := w.rules.MinStake + ledger.Amount(row)*ledger.DropsPerCoin
			kept := len(registry.Assignments(w.ctx.State, e)) > 0 && (row < 5 || row == 5 && e < 2)
			if got, ok := registry.StakeOf(w.ctx.State, e, row); ok != kept || ok && got != want {
				t.Fatalf("validator %d in epoch %d of %d: %s, %v, want %v", row, e, last, got, ok, kept)
			}
		}
	}
}
