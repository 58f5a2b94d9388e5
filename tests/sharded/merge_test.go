package sharded_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tributary-network/tributary/shard"
)

// TestMerge: two shards with traffic between them become one. The links between their
// buckets lie inside it then, and all that is on them arrives and is acknowledged.
func TestMerge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, genesisOf(t, 4, 40, 2, 10))
	ids := w.foundAll()
	for i := range w.mains {
		w.relayAt(i)
	}
	w.traffic(25 * time.Millisecond)
	owner := &user{key: keyOf(0), addr: keyOf(0).Address(home)}
	pipes := []*pipe{
		w.open(w.userIn(ids[0], 1), w.userIn(ids[1], 3), 100_000_000),
		w.open(w.userIn(ids[1], 1), w.userIn(ids[0], 3), 100_000_000),
	}
	w.until("the homes know the channels", func() bool {
		return !slices.ContainsFunc(pipes, func(p *pipe) bool { _, ok := w.known(p); return !ok })
	})
	traffic := func() {
		for _, p := range pipes {
			w.bookAgain(p, 1_000)
		}
	}
	traffic()
	w.reshard(owner, shard.Merge, ids...)
	w.untilEnded(traffic, ids...)
	if heirs := w.inherit(ids...); len(heirs) != 1 {
		t.Fatalf("heirs of shards %v are %v, want one", ids, heirs)
	}
	traffic() // what the parents did not book any more is booked by the heir
	w.allPaid(pipes)
}
