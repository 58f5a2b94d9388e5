package registry_test

import (
	"testing"

	"github.com/tributary-network/tributary/chain/registry"
)

// TestEpochRecords: each epoch has its record from the last block of the one before on,
// and as long as its assignments.
func TestEpochRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4, service(1, "content", 0))
	last := w.rules.Kept() + 6
	for e := range last {
		if _, ok := registry.ReadEpoch(w.ctx.State, e+1); ok {
			t.Fatalf("epoch %d has a record when epoch %d begins", e+1, e)
		}
		for w.ctx.Height < w.rules.LastBlock(e) {
			w.next()
		}
		w.ctx.Sigma = w.ctx.Height - min(w.ctx.Height, e) // it stands still now and then
		w.next()
		got, ok := registry.ReadEpoch(w.ctx.State, e+1)
		want := registry.EpochRecord{Epoch: e + 1, Sigma: w.rules.LastBlock(e) - e, First: w.rules.FirstBlock(e + 1)}
		if !ok || got != want {
			t.Fatalf("record %+v, want %+v", got, want)
		}
	}
	for e := range last + 1 {
		_, ok := registry.ReadEpoch(w.ctx.State, e)
		if want := len(registry.Assignments(w.ctx.State, e)) > 0; ok != want {
			t.Errorf("epoch %d in epoch %d: the record is kept: %v, assignments: %v", e, last, ok, want)
		}
	}
}
