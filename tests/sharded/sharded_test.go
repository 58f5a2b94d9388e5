package sharded_test

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/carry"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestWholeWay: a channel that is opened on main is known at its home; what is booked
// there is earned at the payee's home; and after the epoch main has paid it, and the
// home knows.
func TestWholeWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, genesisOf(t, 4, 24, 2, 20))
	ids := w.foundAll()
	for i := range w.mains {
		// Nobody has to step in for anybody, however slow the machine is.
		w.relayOver(i, func(c *relay.Config) { c.Block = time.Minute }, func(id shard.ID) relay.Shard { return carry.Shard{Shard: w.hosted[i][id]} })
	}
	w.traffic(25 * time.Millisecond)
	payer, payee := w.userIn(ids[0], 0), w.userIn(ids[1], 0)
	p := w.open(payer, payee, 1_000_000)
	w.settled(p, 400_000)
	paid := uint64(0)
	for _, r := range w.relays {
		paid += r.Counters().Settlements
	}
	if paid != 1 {
		t.Errorf("%d settlements were sent, want 1", paid)
	}
}

// settled books on a channel and waits until main has paid it, everybody knows and
// nothing is under way.
func (w *world) settled(p *pipe, amount ledger.Amount) {
	w.tb.Helper()
	w.until("the home knows the channel", func() bool {
		_, ok := w.known(p)
		return ok
	})
	before := w.earned(p.payee).Total.Amount
	w.book(p, w.pay(p, amount, uint64(amount)))
	w.until("the payee's home knows what was earned", func() bool { return w.earned(p.payee).Total.Amount == before+uint64(amount) })
	w.until("main has paid", func() bool { return w.redeemed(p) == p.cumulative })
	w.until("the home knows that main has paid", func() bool {
		c, ok := w.known(p)
		return ok && c.Lane0.Redeemed == p.cumulative
	})
	w.until("everything is acknowledged", w.quiet)
	w.conserved()
}

// quiet reports whether no message is under way between any chains.
func (w *world) quiet() bool {
	under := uint64(0)
	count := func(v view) {
		for b := range 256 {
			for _, o := range link.Outbounds(v, uint8(b)) {
				under += o.Unacked()
			}
		}
	}
	w.readMain(count)
	for id := range w.shards {
		w.readShard(id, count)
	}
	return under == 0
}

// conserved fails the test unless all that was booked is earned, when nothing is under
// way.
func (w *world) conserved() {
	w.tb.Helper()
	var totals []service.Totals
	var booked, earned service.Sums
	for id := range w.shards {
		w.readShard(id, func(v view) {
			if _, err := service.Audit(v); err != nil {
				w.tb.Errorf("shard %d: %v", id, err)
			}
			t := service.ReadTotals(v)
			totals = append(totals, t)
			booked, earned = booked.Plus(t.Booked), earned.Plus(t.Earned)
		})
	}
	if flight := service.InFlight(totals...); flight != (service.Sums{}) || booked != earned {
		w.tb.Errorf("booked %+v, earned %+v, in flight %+v", booked, earned, flight)
	}
}

// TestRest: a network that nobody uses any more comes to rest, though epochs are short and
// shards anchored at different times.
func TestRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, genesisOf(t, 4, 24, 4, 20))
	ids := w.foundAll()
	for i := range w.mains {
		w.relayOver(i, func(c *relay.Config) { c.Block = 5 * time.Second }, func(id shard.ID) relay.Shard { return carry.Shard{Shard: w.hosted[i][id]} })
	}
	stop := w.traffic(25 * time.Millisecond)
	p := w.open(w.userIn(ids[0], 0), w.userIn(ids[1], 0), 1_000_000)
	w.settled(p, 100_000)
	var from uint64
	w.readMain(func(view) { from, _ = w.mains[0].Head() })
	w.until("main goes on for some epochs", func() bool {
		h, _ := w.mains[0].Head()
		return h > from+50
	})
	stop()
	w.rests(5 * time.Second)
	w.settled(p, 200_000)
	w.rests(5 * time.Second)
}

// TestOneRelay: any one relay is enough, whatever its place in the order.
func TestOneRelay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, genesisOf(t, 4, 24, 2, 20))
	ids := w.foundAll()
	w.relayAt(3)
	w.traffic(25 * time.Millisecond)
	w.settled(w.open(w.userIn(ids[0], 0), w.userIn(ids[1], 0), 1_000_000), 300_000)
	w.settled(w.open(w.userIn(ids[1], 1), w.userIn(ids[0], 1), 1_000_000), 200_000)
}

// TestFaults: relays lose, repeat, twist and reorder what they carry, do not get what
// they ask for, and crash again and again.
func TestFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, genesisOf(t, 4, 24, 2, 20))
	ids := w.foundAll()
	w.traffic(25 * time.Millisecond)
	stops := make([]context.CancelFunc, len(w.mains))
	start := func(i int, seed uint64) {
		_, stops[i] = w.withFaults(i, newFaults(seed, 20, 20, 20, 20))
	}
	for i := range w.mains {
		start(i, uint64(i))
	}
	crashes := make(chan struct{})
	w.group.Go(func() {
		rng := rand.New(rand.NewPCG(5, 5))
		again := time.NewTicker(700 * time.Millisecond)
		defer again.Stop()
		for n := uint64(10); ; n++ {
			select {
			case <-w.ctx.Done():
				return
			case <-crashes:
				return
			case <-again.C:
				i := rng.IntN(len(stops))
				stops[i]()
				start(i, n)
			}
		}
	})
	for round := range 3 {
		w.settled(w.open(w.userIn(ids[0], round), w.userIn(ids[1], round), 1_000_000), 250_000)
	}
	close(crashes)
}

// TestLostLeaves: what nobody has any more is listed again, and arrives, whether it was lost
// before the relays knew of it or after.
func TestLostLeaves(t *testing.T) {
	t.Parallel()
	t.Run("unread", func(t *testing.T) {
		t.Parallel()
		lostLeaves(t, false)
	})
	t.Run("read", func(t *testing.T) {
		t.Parallel()
		lostLeaves(t, true)
	})
}

func lostLeaves(t *testing.T, read bool) {
	t.Helper()
	w := newWorld(t, genesisOf(t, 4, 24, 2, 2_000))
	ids := w.foundAll()
	const all = math.MaxUint64
	var first, last atomic.Uint64 // heights of the source whose outboxes are lost
	first.Store(all)
	last.Store(all)
	looked := make([]atomic.Uint64, len(w.mains)) // the last outbox that each relay has read
	for i := range w.mains {
		w.relayOver(i, nil, func(id shard.ID) relay.Shard {
			one := faultyShard{Shard: carry.Shard{Shard: w.hosted[i][id]}, f: newFaults(1, 0, 0, 0, 0)}
			if id == ids[0] {
				one.lost = func(h uint64) bool {
					looked[i].Store(max(looked[i].Load(), h))
					return first.Load() <= h && h <= last.Load()
				}
			}
			return one
		})
	}
	payer, payee := w.userIn(ids[0], 0), w.userIn(ids[1], 0)
	p := w.open(payer, payee, 100_000_000)
	w.until("the home knows the channel", func() bool {
		_, ok := w.known(p)
		return ok
	})
	w.main.stop(true) // nothing is anchored, so nothing is carried yet
	if head, _ := w.shards[ids[0]].replicas[0].exec.Head(); !read {
		first.Store(head + 1)
	}
	w.bookAlone(p, 10_000)
	c, _ := w.known(p)
	height, _ := w.shards[ids[0]].replicas[0].exec.Head()
	for ; height > 0 && c.Booked.Amount > 0; height-- { // the block of the booking is one of the last
		box, err := w.hosted[0][ids[0]].Outbox(height)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(box.Leaves(), func(l link.Leaf) bool { return l.Message != nil }) {
			break
		}
	}
	if read {
		w.until("all relays have read it", func() bool {
			for i := range looked {
				if looked[i].Load() < height {
					return false
				}
			}
			return true
		})
		first.Store(height)
	}
	last.Store(height)
	w.main.stop(false)
	const bookings = link.RelistBlocks + 8
	for range bookings {
		w.bookAlone(p, 10_000)
	}
	w.until("all of it is earned", func() bool { return w.earned(payee).Total.Amount == (bookings+1)*10_000 })
	w.until("everything is acknowledged", w.quiet)
	w.conserved()
	relists := uint64(0)
	for _, r := range w.relays {
		relists += r.Counters().Relists
	}
	if relists == 0 {
		t.Error("nothing was listed again")
	}
}

// TestElsewhere: nodes that run one shard bring what it has to nodes that run the other.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, genesisOf(t, 7, 24, 2, 2_000))
	ids := w.foundAll()
	both := 0
	for i := range w.mains {
		if len(w.hosted[i]) == 2 {
			both++
			continue // they would do it alone
		}
		w.relayOver(i, func(c *relay.Config) { c.Remote = remote{w, i} }, func(id shard.ID) relay.Shard { return carry.Shard{Shard: w.hosted[i][id]} })
	}
	if both == len(w.mains) {
		t.Fatal("all validators are in both committees")
	}
	for round := range 2 {
		payer, payee := w.userIn(ids[round], 0), w.userIn(ids[1-round], 1)
		p := w.open(payer, payee, 1_000_000)
		w.until("the home knows the channel", func() bool {
			_, ok := w.known(p)
			return ok
		})
		for range 3 {
			w.bookAlone(p, 10_000)
		}
		w.until("all of it is earned", func() bool { return w.earned(payee).Total.Amount == 30_000 })
	}
	w.until("everything is acknowledged", w.quiet)
	w.conserved()
}

// bookAlone books in a block of its own.
func (w *world) bookAlone(p *pipe, amount ledger.Amount) {
	w.tb.Helper()
	w.book(p, w.pay(p, amount, 10))
	w.until("a block has the booking", func() bool {
		c, _ := w.known(p)
		return c.Booked.Amount == uint64(p.cumulative)
	})
}

// TestStandstill: a shard that stood still gets all that came meanwhile, also what is
// older than main remembers of a shard without a proof.
func TestStandstill(t *testing.T) {
	t.Parallel()
	w := newWorld(t, genesisOf(t, 4, 24, 2, 2_000))
	ids := w.foundAll()
	for i := range w.mains {
		w.relayAt(i)
	}
	payer, payee := w.userIn(ids[0], 0), w.userIn(ids[1], 0)
	p := w.open(payer, payee, 100_000_000)
	w.until("the home knows the channel", func() bool {
		_, ok := w.known(p)
		return ok
	})
	w.shards[ids[1]].stop(true)
	const bookings = 90
	for range bookings {
		w.bookAlone(p, 10_000)
	}
	other, another := w.userIn(ids[1], 1), w.userIn(ids[0], 1)
	for range 3 { // notices, too
		w.open(other, another, 1_000_000)
	}
	w.shards[ids[1]].stop(false)
	w.until("all of it is earned", func() bool { return w.earned(payee).Total.Amount == bookings*10_000 })
	w.until("everything is acknowledged", w.quiet)
	w.conserved()
}
