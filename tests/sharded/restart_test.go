package sharded_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// crew is the relays of a world, which are started anew when what they work with is.
type crew struct {
	w     *world
	stops []context.CancelFunc
}

// crewOf starts a relay at every validator.
func (w *world) crewOf() *crew {
	w.tb.Helper()
	c := &crew{w: w}
	c.begin()
	return c
}

func (c *crew) begin() {
	c.w.relays = nil
	for i := range c.w.mains {
		_, stop := c.w.relayAt(i)
		c.stops = append(c.stops, stop)
	}
}

// restart kills all replicas of chains, which lose what is in memory, and the relays, and
// opens them again with what they had committed. Nobody makes blocks of them meanwhile: by
// being in chainNet.at of one, which held names, or by mu.
func (c *crew) restart(held *chainNet, chains ...*chainNet) {
	w := c.w
	w.tb.Helper()
	for _, stop := range c.stops {
		stop()
	}
	c.stops = nil
	for _, n := range chains {
		if n != held {
			n.mu.Lock()
		}
		n.kill()
		n.runs.Wait()
		for _, r := range n.replicas {
			cfg := w.mount(r)
			one, err := r.reopen(cfg, r.layer)
			if err != nil {
				w.tb.Fatalf("open chain %d at %d again: %v", n.id, r.at, err)
			}
			r.mu.Lock()
			r.exec, r.mempool = one, nil
			r.mu.Unlock()
		}
		w.run(n)
		if n != held {
			n.mu.Unlock()
		}
		n.poke()
	}
	c.begin()
}

// run runs the executors of a chain until they are killed or the test ends.
func (w *world) run(n *chainNet) {
	ctx, kill := context.WithCancel(w.ctx)
	n.kill = kill
	for _, r := range n.replicas {
		one := r.exec
		n.runs.Add(1)
		w.group.Go(func() {
			defer n.runs.Done()
			if err := one.Run(ctx, func(bundle []byte) error { return n.broadcast(r, bundle) }); err != nil {
				w.tb.Errorf("chain %d at %d: Run: %v", n.id, r.at, err)
			}
		})
	}
}

// step is what a message of a booking goes through.
type step int

const (
	stepCommit step = iota // a block of the source has the booking
	stepAnchor             // a block of main anchors that block
	stepImport             // a block of the destination has the message
	stepAck                // a block of the source has the acknowledgement
)

func (s step) String() string {
	return [...]string{"commit", "anchor", "import", "ack"}[s]
}

// road says what of one booking blocks do.
type road struct {
	source, destination shard.ID
	main                chain.Domain
	booking             []byte
	height              uint64 // of the source, which has the booking; 0 before
}

// has reports whether a block does a step.
func (r *road) has(s step, b exec.Block) bool {
	for _, raw := range b.Txs {
		bundle, err := chain.DecodeBundle(raw)
		if err != nil {
			continue
		}
		for _, record := range bundle.Records {
			if s == stepCommit && string(record) == string(r.booking) || s == stepAnchor && r.anchors(record) {
				return true
			}
		}
		if bundle.Relay == nil || s != stepImport && s != stepAck {
			continue
		}
		if one, err := shardblock.DecodeRelay(bundle.Relay); err == nil && one.Import != nil && r.brings(s, one) {
			return true
		}
	}
	return false
}

func (r *road) anchors(record []byte) bool {
	tx, err := chain.DecodeTx(r.main, record)
	if err != nil || tx.Kind != chain.KindAnchor {
		return false
	}
	a, err := anchor.DecodeAnchors(tx.Payload)
	if err != nil {
		return false
	}
	for i := range a.Runs {
		if a.Runs[i].Chain == r.source && r.height != 0 && a.Runs[i].Last() >= r.height {
			return true
		}
	}
	return false
}

func (r *road) brings(s step, one *shardblock.Relay) bool {
	for _, l := range one.Import.Link.Leaves {
		if s == stepImport && one.Import.Link.Shard == r.source && l.Message != nil {
			return true
		}
		if s == stepAck && one.Import.Link.Shard == r.destination && l.Ack != nil {
			return true
		}
	}
	return false
}

// TestKilledAtEveryStep: all nodes of the source, of the destination or of main are killed
// when half of those who do a step of a message have committed it, or all have, and go on
// with what they have committed. Nothing is lost and nothing is counted twice.
func TestKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	w := newWorld(t, genesisOf(t, 4, 24, 2, 2_000))
	ids := w.foundAll()
	c := w.crewOf()
	w.traffic(25 * time.Millisecond)
	payer, payee := w.userIn(ids[0], 0), w.userIn(ids[1], 0)
	p := w.open(payer, payee, 100_000_000)
	w.until("the home knows the channel", func() bool {
		_, ok := w.known(p)
		return ok
	})
	source, destination := w.shards[ids[0]], w.shards[ids[1]]
	does := map[step]*chainNet{stepCommit: source, stepAnchor: w.main, stepImport: destination, stepAck: source}
	for _, killed := range []struct {
		name  string
		chain *chainNet
	}{{"source", source}, {"destination", destination}, {"main", w.main}} {
		for s := stepCommit; s <= stepAck; s++ {
			for _, whole := range []bool{false, true} {
				name := fmt.Sprintf("%s at %s, whole=%t", killed.name, s, whole)
				c.killAt(name, p, &road{source: ids[0], destination: ids[1], main: chain.Domain{Network: w.network(), Chain: ledger.MainChain}}, s, whole, does[s], killed.chain)
			}
		}
	}
}

// killAt books, and kills a chain when another, or itself, does a step of the booking.
func (c *crew) killAt(name string, p *pipe, r *road, s step, whole bool, by, killed *chainNet) {
	w := c.w
	w.tb.Helper()
	reached, goOn := make(chan struct{}), make(chan struct{})
	done := false
	source := w.shards[r.source]
	note := func(b exec.Block) {
		if r.height == 0 && r.has(stepCommit, b) {
			r.height = b.Height
		}
	}
	look := func(at bool, b exec.Block) {
		if done || at != whole || !r.has(s, b) {
			return
		}
		done = true
		close(reached)
		<-goOn
	}
	watched := map[*chainNet]func(bool, exec.Block){source: func(_ bool, b exec.Block) { note(b) }}
	watched[by] = look
	if by == source {
		watched[by] = func(at bool, b exec.Block) {
			note(b)
			look(at, b)
		}
	}
	raw := w.bookingOf(p, 1_000)
	r.booking = raw
	for n, at := range watched {
		n.mu.Lock()
		n.at = at
		n.mu.Unlock()
	}
	w.handIn(r.source, raw)
	select {
	case <-reached:
	case <-time.After(hangs):
		close(goOn)
		w.tb.Fatalf("%s: not reached; %s", name, w.heights())
	}
	c.restart(by, killed)
	close(goOn)
	for n := range watched {
		n.mu.Lock()
		n.at = nil
		n.mu.Unlock()
	}
	w.until(name+": the payee's home knows what was earned", func() bool { return w.earned(p.payee).Total.Amount == uint64(p.cumulative) })
	w.until(name+": everything is acknowledged", w.quiet)
	w.conserved()
}

// bookingOf signs that more is owed, and returns the record that books it.
func (w *world) bookingOf(p *pipe, amount ledger.Amount) []byte {
	e := w.pay(p, amount, 1)
	u := service.Usage{Service: serviceID, Zone: home, Buckets: []uint8{p.payer.addr.Bucket()}, Batch: channel.Batch{Payee: p.payee.addr, Entries: []channel.Entry{e}}}
	raw := chain.SignTx(service.Domain(w.network(), serviceID), p.payee.key, chain.TxFields{
		Kind: chain.KindBookUsage, Zone: home, Nonce: p.payee.nonce, Payload: u.Encode(),
	})
	p.payee.nonce++
	return raw
}

// handIn gives a record to a shard as soon as that takes any.
func (w *world) handIn(id shard.ID, raw []byte) {
	w.tb.Helper()
	w.until("the shard takes a record", func() bool {
		_, err := w.anyOf(id).Submit(w.ctx, raw)
		if _, rule := chain.CodeOf(err); err != nil && rule {
			w.tb.Fatalf("hand a record to shard %d: %v", id, err)
		}
		return err == nil
	})
}
