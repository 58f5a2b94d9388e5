package sharded_test

import (
	"testing"
	"time"

	"github.com/tributary-network/tributary/node/carry"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/relay"
)

// TestWithhold: all relays but one take everything and bring nothing. A message arrives
// when it is that one's turn at the latest: it is the last in the order for main, and the
// last for the shard.
func TestWithhold(t *testing.T) {
	t.Parallel()
	const validators = 4
	w := newWorld(t, genesisOf(t, validators, 24, 2, 1_000))
	ids := w.foundAll()
	slow := func(c *relay.Config) { c.Block = time.Hour } // blocks count, not time
	for i := range validators - 1 {
		f := newFaults(uint64(i), 100, 0, 0, 0)
		w.relayOver(i, func(c *relay.Config) {
			slow(c)
			c.Main = faultyMain{carry.Main{Main: w.mains[i]}, f}
		}, func(id shard.ID) relay.Shard { return faultyShard{Shard: carry.Shard{Shard: w.hosted[i][id]}, f: f} })
	}
	w.relayOver(validators-1, slow, func(id shard.ID) relay.Shard { return carry.Shard{Shard: w.hosted[validators-1][id]} })
	w.traffic(25 * time.Millisecond)
	p := w.open(w.userIn(ids[0], 0), w.userIn(ids[1], 0), 1_000_000)
	w.until("the home knows the channel", func() bool {
		_, ok := w.known(p)
		return ok
	})
	w.until("nothing is under way", w.quiet)
	toMain := relay.Turn(validators-1, 1, validators)
	toShard := relay.Turn(validators-1, link.Relays, validators)
	for range 2 {
		from, _ := w.mains[0].Head()
		height := w.send(p, ids[0])
		w.until("it is anchored", func() bool { return w.anchored(ids[0]) >= height })
		anchored, _ := w.mains[0].Head()
		w.until("it arrives", func() bool { return w.earned(p.payee).Total.Amount == uint64(p.cumulative) })
		arrived, _ := w.mains[0].Head()
		const spare = 6 // blocks that main makes while something is handed in
		if took := anchored - from; took > toMain+spare {
			t.Errorf("it was anchored after %d blocks of main, want %d", took, toMain)
		}
		if took := arrived - anchored; took > toShard+spare {
			t.Errorf("it arrived %d blocks of main after that, want %d", took, toShard)
		}
		t.Logf("anchored after %d blocks of main, there after %d more", anchored-from, arrived-anchored)
	}
}
