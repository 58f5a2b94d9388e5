package sharded_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/carry"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/relay"
)

// The stations of a message on its way from one shard to another.
const (
	sent      = iota // the source's block is committed
	certified        // and certified
	posted           // main's pool has its anchor
	anchored         // a block of main has it
	proved           // and is certified
	executed         // the destination's block with it is committed
	stations
)

var legNames = [stations]string{"all", "certificate of the source", "anchor handed in", "block of main", "certificate of main", "block of the destination"}

// way is when a message was at its stations.
type way [stations]time.Time

// TestOneBlockOfMain: a message is on its way to the destination after one block of main,
// the next one after its own block is certified, however short ago the source was anchored;
// and certificates for which messages wait are made at once. It prints how long each leg
// takes.
func TestOneBlockOfMain(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, genesisOf(t, 4, 24, 2, 1_000), time.Hour)
	ids := w.foundAll()
	for i := range w.mains {
		w.relayOver(i, func(c *relay.Config) { c.Block = time.Minute }, func(id shard.ID) relay.Shard { return carry.Shard{Shard: w.hosted[i][id]} })
	}
	rest := w.traffic(25 * time.Millisecond)
	p := w.open(w.userIn(ids[0], 0), w.userIn(ids[1], 0), 1_000_000)
	w.until("the home knows the channel", func() bool {
		_, ok := w.known(p)
		return ok
	})
	w.until("nothing is under way", w.quiet)
	rest()
	w.rests(300 * time.Millisecond)
	w.main.stop(true)
	var ways []way
	for range 10 {
		ways = append(ways, w.travel(p, ids[0]))
	}
	w.follow(p, ids[0])
	w.main.stop(false)
	w.until("everything is acknowledged", w.quiet)
	for leg := range stations {
		begin, end := max(leg, 1)-1, leg
		if leg == 0 {
			end = executed
		}
		var list []time.Duration
		for _, one := range ways {
			list = append(list, one[end].Sub(one[begin]))
		}
		slices.Sort(list)
		t.Logf("%-26s median %8s, longest %8s", legNames[leg], list[len(list)/2].Round(time.Millisecond), list[len(list)-1].Round(time.Millisecond))
	}
}

// follow books several times while main stands still: an anchor that waits there does not
// keep what comes later from being in the same block of main.
func (w *world) follow(p *pipe, src shard.ID) {
	w.tb.Helper()
	before := w.earned(p.payee).Total.Amount
	const times = 3
	var height uint64
	for range times {
		height = w.send(p, src)
		w.untilBy(2*time.Millisecond, "an anchor follows the one that waits", func() bool { return w.posted(src, height) })
	}
	w.mainBlock()
	if got := w.anchored(src); got < height {
		w.tb.Errorf("a block of main anchors height %d, want %d", got, height)
	}
	w.until("the payee's home executes", func() bool { return w.earned(p.payee).Total.Amount == before+times*1_000 })
}

// travel books once on a channel to another shard, and follows what is earned. Main stands
// still, but for one block when it is handed the anchor.
func (w *world) travel(p *pipe, src shard.ID) (out way) {
	w.tb.Helper()
	before := w.earned(p.payee).Total.Amount
	source := w.anyOf(src)
	reach := func(station int, what string, holds func() bool) {
		w.untilBy(2*time.Millisecond, what, holds)
		out[station] = time.Now()
	}
	height := w.send(p, src)
	out[sent] = time.Now()
	reach(certified, "the block is certified", func() bool {
		_, err := source.Certificate(height)
		return err == nil
	})
	reach(posted, "its anchor is handed in to main", func() bool { return w.posted(src, height) })
	w.mainBlock()
	reach(anchored, "the block is anchored", func() bool { return w.anchored(src) >= height })
	reach(proved, "the anchor is proved", func() bool {
		_, st, err := w.mains[0].Certified(anchor.Key(src))
		if err != nil {
			return false
		}
		s, err := anchor.DecodeState(st.Value)
		return err == nil && s.Tree.Size >= height
	})
	reach(executed, "the payee's home executes", func() bool { return w.earned(p.payee).Total.Amount == before+1_000 })
	return out
}

// send books once and returns the height of the source's block with the message.
func (w *world) send(p *pipe, src shard.ID) (height uint64) {
	w.tb.Helper()
	source := w.anyOf(src)
	height, _ = source.Head()
	w.book(p, w.pay(p, 1_000, 1_000))
	w.untilBy(2*time.Millisecond, "the source sends", func() bool {
		for h, _ := source.Head(); height < h; {
			height++
			if box, err := source.Outbox(height); err == nil && box.Root() != (ledger.Hash{}) {
				return true
			}
		}
		return false
	})
	return height
}

// mainBlock lets main, which stands still, make one block.
func (w *world) mainBlock() {
	w.main.mu.Lock()
	w.main.make(w)
	w.main.mu.Unlock()
	w.announce()
}

// posted reports whether an anchor of a shard's height waits at all replicas of main.
func (w *world) posted(id shard.ID, height uint64) bool {
	return !slices.ContainsFunc(w.main.replicas, func(r *replica) bool { return !r.hasAnchor(id, height) })
}

// anchored returns the last height of a shard that main has.
func (w *world) anchored(id shard.ID) (height uint64) {
	w.readMain(func(v view) {
		s, _ := anchor.Read(v, id)
		height = s.Tree.Size
	})
	return height
}

// hasAnchor reports whether an anchor of a shard's height waits for a block of main.
func (r *replica) hasAnchor(id shard.ID, height uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, raw := range r.mempool {
		b, _ := chain.DecodeBundle(raw)
		for _, record := range b.Records {
			tx, err := chain.DecodeTx(r.exec.Domain(), record)
			if err != nil || tx.Kind != chain.KindAnchor {
				continue
			}
			a, _ := anchor.DecodeAnchors(tx.Payload)
			for i := range a.Runs {
				if a.Runs[i].Chain == id && a.Runs[i].Last() >= height {
					return true
				}
			}
		}
	}
	return false
}
