package sharded_test

import (
	"context"
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
	w.traffic(150 * time.Millisecond) // handing in takes a busy machine some time
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

// TestWithholdElsewhere: of the nodes that run the source and not the destination all but
// one bring nothing to it, and there is no node that runs both. A message arrives when it
// is that one's turn at the latest.
func TestWithholdElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, genesisOf(t, 8, 24, 2, 2_000))
	ids := w.foundAll()
	slow := func(c *relay.Config) { c.Block = time.Hour }
	honest := false
	for i := range w.mains {
		if len(w.hosted[i]) != 1 {
			continue
		}
		f := newFaults(uint64(i), 0, 0, 0, 0)
		if w.hosted[i][ids[0]] != nil && honest {
			f.lose = 100
		}
		honest = honest || w.hosted[i][ids[0]] != nil
		w.relayOver(i, func(c *relay.Config) { slow(c); c.Remote = faultyRemote{remote{w, i}, f} },
			func(id shard.ID) relay.Shard { return carry.Shard{Shard: w.hosted[i][id]} })
	}
	if !honest {
		t.Fatal("nobody runs the source alone")
	}
	w.traffic(25 * time.Millisecond)
	p := w.open(w.userIn(ids[0], 0), w.userIn(ids[1], 0), 1_000_000)
	w.until("the home knows the channel", func() bool {
		_, ok := w.known(p)
		return ok
	})
	bound := relay.Turn(len(w.shards[ids[0]].replicas)-1, link.Relays, len(w.shards[ids[0]].replicas))
	for range 2 {
		height := w.send(p, ids[0])
		w.until("it is anchored", func() bool { return w.anchored(ids[0]) >= height })
		anchored, _ := w.mains[0].Head()
		w.until("it arrives", func() bool { return w.earned(p.payee).Total.Amount == uint64(p.cumulative) })
		arrived, _ := w.mains[0].Head()
		if took := arrived - anchored; took > bound+8 {
			t.Errorf("it arrived %d blocks of main after its anchor, want %d", took, bound)
		}
		t.Logf("there %d blocks of main after the anchor, the last turn is after %d", arrived-anchored, bound)
	}
}

// TestPull: nobody who runs the source brings anything to the nodes that run the
// destination, and these fetch it.
func TestPull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, genesisOf(t, 8, 24, 2, 2_000))
	ids := w.foundAll()
	slow := func(c *relay.Config) { c.Block = time.Hour }
	for i := range w.mains {
		if len(w.hosted[i]) != 1 {
			continue
		}
		f := newFaults(uint64(i), 0, 0, 0, 0)
		if w.hosted[i][ids[0]] != nil {
			f.lose = 100
		}
		w.relayOver(i, func(c *relay.Config) { slow(c); c.Remote = faultyRemote{remote{w, i}, f} },
			func(id shard.ID) relay.Shard { return carry.Shard{Shard: w.hosted[i][id]} })
	}
	w.traffic(25 * time.Millisecond)
	p := w.open(w.userIn(ids[0], 0), w.userIn(ids[1], 0), 1_000_000)
	w.until("the home knows the channel", func() bool {
		_, ok := w.known(p)
		return ok
	})
	const most = 4*link.RelayTimeout + 4*link.RelayTimeout + 8 // their turn, and that of the last of them
	for range 3 {
		height := w.send(p, ids[0])
		w.until("it is anchored", func() bool { return w.anchored(ids[0]) >= height })
		anchored, _ := w.mains[0].Head()
		w.until("it arrives", func() bool { return w.earned(p.payee).Total.Amount == uint64(p.cumulative) })
		arrived, _ := w.mains[0].Head()
		if took := arrived - anchored; took > most {
			t.Errorf("it arrived %d blocks of main after its anchor, want %d", took, most)
		}
		t.Logf("there %d blocks of main after the anchor", arrived-anchored)
	}
	pulled := uint64(0)
	for _, r := range w.relays {
		pulled += r.Counters().Pulled
	}
	if pulled == 0 {
		t.Error("nothing was fetched")
	}
}

// faultyRemote takes what is for shards elsewhere, and loses some of it.
type faultyRemote struct {
	remote

	f *faults
}

func (r faultyRemote) SubmitRelay(ctx context.Context, id shard.ID, payload []byte) error {
	list, err := r.f.mangle(payload)
	for _, one := range list {
		err = r.remote.SubmitRelay(ctx, id, one)
	}
	return err
}
