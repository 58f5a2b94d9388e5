package sharded_test

import (
	"slices"

	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/shard"
)

// tells fails the test unless the index of the main chain tells of the whole of a split,
// and in which block each anchored height of each shard was anchored.
func (w *world) tells(parent shard.ID, heirs []shard.ID) {
	w.tb.Helper()
	m := w.mains[0]
	var kinds []registry.EventKind
	var finished, founded []shard.ID
	runs := map[shard.ID]uint64{} // last height that an event anchors
	last := ^uint64(0)
	next, err := m.ShardEvents(0, func(e *exec.ShardEvents) bool {
		if e.Height >= last {
			w.tb.Errorf("block %d after block %d", e.Height, last)
		}
		last = e.Height
		for i := range e.Registry { // the last of a block first, as the blocks are
			if ev := &e.Registry[len(e.Registry)-1-i]; slices.Contains(ev.Shards, parent) {
				kinds = append(kinds, ev.Kind)
				if ev.Kind == registry.EventHolds && !slices.Equal(ev.Heirs, heirs) {
					w.tb.Errorf("heirs %v, want %v", ev.Heirs, heirs)
				}
			}
		}
		for i := range e.Shards {
			switch ev := &e.Shards[i]; ev.Kind {
			case settlement.ShardFinished:
				finished = append(finished, ev.Shard)
			case settlement.ShardFounded:
				founded = append(founded, ev.Shard)
			case settlement.ShardAnchored:
				runs[ev.Shard] = max(runs[ev.Shard], ev.Last)
			default:
			}
		}
		return true
	})
	if err != nil || next != 0 {
		w.tb.Errorf("goes on at %d, %v", next, err)
	}
	if want := []registry.EventKind{registry.EventHolds, registry.EventAnnounced, registry.EventAsked}; !slices.Equal(kinds, want) {
		w.tb.Errorf("shard %d: events %v, want %v", parent, kinds, want)
	}
	slices.Sort(founded)
	if !slices.Equal(finished, []shard.ID{parent}) || !slices.Equal(founded, heirs) {
		w.tb.Errorf("finished %v, founded %v", finished, founded)
	}
	for id := range w.shards {
		var row anchor.State
		w.readMain(func(v view) { row, _ = anchor.Read(v, id) })
		before := uint64(0)
		for h := uint64(1); h <= row.Height(); h++ {
			at, ok, err := m.Anchored(id, h)
			if err != nil || !ok || at.First > h || at.Last < h || at.Height < before || at.Height == 0 {
				w.tb.Fatalf("block %d of shard %d: %+v, %v, %v", h, id, at, ok, err)
			}
			before = at.Height
		}
		if _, ok, err := m.Anchored(id, 1<<40); ok || err != nil {
			w.tb.Errorf("what is not anchored is, %v", err)
		}
		if runs[id] < min(row.Height(), 1) {
			w.tb.Errorf("shard %d is anchored up to %d, and events tell of %d", id, row.Height(), runs[id])
		}
	}
}
