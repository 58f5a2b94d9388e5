package registry_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/shard"
)

// TestProperty: whatever owners, validators and shards do, and however late parents come
// to their ends, no heir is lost, everybody draws the same committees, and nothing piles up.
func TestProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, 8, service(1, "content", 0, 1), service(2, "storage", 0))
		redrawn := map[uint64]bool{}
		next := uint32(3)
		for e := range uint64(rapid.IntRange(4, 10).Draw(rt, "epochs")) {
			for w.ctx.Height < w.rules.FirstBlock(e+1) {
				if rapid.IntRange(0, 3).Draw(rt, "quiet") == 0 {
					act(rt, w, e, &next, redrawn)
				}
				w.next()
			}
			check(rt, w, e+1, redrawn)
		}
	})
}

// act does one thing. What is refused changes nothing.
func act(rt *rapid.T, w *world, epoch uint64, next *uint32, redrawn map[uint64]bool) {
	var ids []shard.ID
	for id := range anchor.All(w.ctx.State) {
		ids = append(ids, id)
	}
	id := rapid.SampledFrom(ids).Draw(rt, "shard")
	s, _ := anchor.Read(w.ctx.State, id)
	switch rapid.SampledFrom([]string{"split", "merge", "report", "anchor", "finish", "finish", "redraw", "serve", "register"}).Draw(rt, "act") {
	case "split":
		_ = w.ctx.Reshard(address(1), &registry.Reshard{Request: shard.Request{Kind: shard.Split, Shard: id}})
	case "merge":
		at, _ := w.shards().Find(id)
		if other, ok := at.Buckets.Sibling(); ok {
			twin, _ := w.shards().Owner(at.Service, at.Zone, other.First)
			for _, x := range []shard.ID{id, twin} {
				_ = w.ctx.Reshard(address(1), &registry.Reshard{Request: shard.Request{Kind: shard.Merge, Shard: x}})
			}
		}
	case "report":
		l := shard.Load{Shard: id, Heavy: shard.Mask(rapid.SampledFrom([]uint64{0, 1<<shard.SplitBlocks - 1}).Draw(rt, "heavy"))}
		l.Light = ^l.Heavy
		p := shard.Report{Epoch: epoch - min(epoch, uint64(rapid.IntRange(0, 2).Draw(rt, "late"))), Load: l}
		_ = w.ctx.Report(s.Service, s.Zone, byte(s.Buckets.First), p.Encode())
	case "anchor":
		if _, served := registry.ReadAssignment(w.ctx.State, epoch, id); served {
			w.anchored(id)
		}
	case "finish":
		if s.Until > 0 && !s.Finished() {
			w.finish(id)
		}
	case "redraw":
		if w.ctx.Redraw(id, uint32(rapid.IntRange(1, 9).Draw(rt, "round"))) {
			redrawn[epoch], redrawn[epoch+1] = true, true
		}
	case "serve":
		who := byte(rapid.IntRange(0, 7).Draw(rt, "validator"))
		_ = w.ctx.Serve(operator(who), &registry.Serve{Service: uint32(rapid.IntRange(1, int(*next)-1).Draw(rt, "service")), On: rapid.Bool().Draw(rt, "on")})
	case "register":
		if *next < 6 {
			s := service(*next, "more"+string(rune('a'+*next)), 0)
			w.must(w.ctx.Register(address(1), &s))
			*next++
		}
	}
}

// check looks at the state at the beginning of an epoch.
func check(rt *rapid.T, w *world, epoch uint64, redrawn map[uint64]bool) {
	v, m := w.ctx.State, w.shards()
	if m.Epoch() != epoch {
		rt.Fatalf("the map is of epoch %d, want %d", m.Epoch(), epoch)
	}
	for s := range m.All() {
		ended := !slices.ContainsFunc(s.Parents, func(p shard.ID) bool {
			parent, ok := anchor.Read(v, p)
			return !ok || !parent.Finished()
		})
		if _, founded := anchor.Read(v, s.ID); founded != ended {
			rt.Fatalf("%s: founded is %v, its parents %v have ended is %v", s, founded, s.Parents, ended)
		}
		now, ok := registry.ReadShort(v, epoch, s.ID)
		if !ok {
			rt.Fatalf("%s has no assignment", s)
		}
		if next, ok := registry.ReadShort(v, epoch+1, s.ID); !ok || len(now.Seats) > 0 && len(next.Seats) == 0 {
			rt.Fatalf("%s has the assignment %+v in the next epoch", s, next)
		}
	}
	for id, s := range anchor.All(v) {
		_, serves := m.Find(id)
		if serves != (s.Until == 0) {
			rt.Fatalf("shard %d serves until %d, and is in the map: %v", id, s.Until, serves)
		}
		if _, kept := registry.ReadReport(v, id); kept && !serves {
			rt.Fatalf("the report of shard %d, which is replaced, is kept", id)
		}
		if before, ok := registry.ReadAssignment(v, epoch-1, id); s.Until == epoch && ok && len(before.Committee.Members) > 0 {
			last, _ := registry.ReadAssignment(v, epoch, id)
			if !last.Last || !slices.Equal(last.Committee.Members, before.Committee.Members) && !redrawn[epoch-1] && !redrawn[epoch] {
				rt.Fatalf("shard %d ends with %+v, had %+v", id, last, before)
			}
		}
	}
	if e, ok := registry.ReadEpoch(v, epoch); !ok || e.First != w.rules.FirstBlock(epoch) {
		rt.Fatalf("the record of the epoch is %+v", e)
	}
	if !redrawn[epoch] && !redrawn[epoch-1] {
		if err := registry.Inputs(v, epoch, m).Check(registry.Assignments(v, epoch)); err != nil {
			rt.Fatal(err)
		}
	}
	for _, s := range m.Announced() {
		for _, id := range s.Shards {
			a, _ := registry.ReadShort(v, epoch, id)
			if row, founded := anchor.Read(v, id); !founded || row.Height() == 0 || len(a.Seats) == 0 {
				rt.Fatalf("%s was announced before shard %d has begun", &s, id)
			}
		}
	}
}
