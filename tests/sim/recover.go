package sim

import (
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// rounds is in how many rounds a network that is well has to end everything.
const rounds = 200

// patience is after how many rounds without progress a link is listed again: more than
// an anchor, a message and its acknowledgement take, since the blocks that a chain makes
// meanwhile let messages expire.
const patience = 8

// recover lets the network be well: nothing is lost or cut off, everybody is up, relays
// carry what is wanted, splits and merges that are announced come to their end, payees book
// the newest vouchers, and all of it is settled.
func (w *World) recover() {
	w.chaos = false
	for _, n := range w.chains {
		n.halted = false
		clear(n.down[:])
	}
	clear(w.cut)
	still := map[link.Link]stuck{}
	until := uint64(0) // epoch that has to begin, so that everything is settled
	booked := 0        // the round in which everything was booked
	for round := 1; round <= rounds; round++ {
		w.now += 1_000
		switch {
		case !w.reshaped() || round%40 == 0: // or that epoch is long over
			until = 0
		case booked == 0 && round > 2:
			booked = round
			w.bookEverything()
		case booked != 0 && round >= booked+2 && until == 0:
			until = 1
			for _, n := range w.live {
				if !n.dead {
					until = max(until, service.ReadEpoch(n.view).Number+1)
				}
			}
		}
		w.round(until)
		if until != 0 && w.settled(until) && w.quiet() && w.reshaped() {
			w.farewell(until)
			return
		}
		w.listAgain(still)
	}
	w.failf("a network that is well does not come to rest: %s", w.unrest())
}

// round lets relays carry everything and each chain make a block. Once shards have begun
// the epoch until they are told of no other, so that they come to rest; 0 is none.
func (w *World) round(until uint64) {
	w.produce(w.main(), true)
	w.anchorAll()
	for _, n := range w.live {
		w.handOver(0, n)
	}
	for _, from := range w.chains {
		for _, to := range w.running() {
			if from != to || !from.isMain() {
				w.carryWanted(0, from, to, 64)
			}
		}
	}
	for i, n := range w.live {
		w.produce(n, w.urged(n)) // what older blocks of main sent, before newer ones make it forget them
		if !n.dead && (until == 0 || service.ReadEpoch(n.view).Number < until) {
			w.tellEpoch(0, n)
			w.produce(n, false)
		}
		w.settleAll(i%w.relays, n)
	}
}

// anchorAll anchors what all shards have, together, so that none is late because of others
// that have a lot.
func (w *World) anchorAll() {
	behind := slices.Clone(w.live)
	for all := true; all || len(behind) > 0; all = false {
		before := map[*node]uint64{}
		for _, n := range behind {
			before[n] = anchoredHeight(w.main().view, n.id)
			w.anchorTo(n.at%w.carriers(), n)
		}
		w.produce(w.main(), true)
		behind = slices.DeleteFunc(behind, func(n *node) bool {
			now := anchoredHeight(w.main().view, n.id)
			return now <= before[n] || now == n.height() || n.replaced
		})
	}
}

// settleAll carries to main what a shard has settled and main has not paid.
func (w *World) settleAll(relay int, n *node) {
	n.settlements = nil
	if n.dead || w.paid(n) {
		return
	}
	for _, s := range service.Outstanding(n.view, service.Spot{}, 64, 64).List {
		unpaid := false
		for i := range s.Batch.Entries {
			e := &s.Batch.Entries[i]
			unpaid = unpaid || !w.settledFor(e.Index, e.Lane, e.Cumulative)
		}
		if unpaid {
			w.mainTx(w.relayKey(relay), chain.KindSettle, s.Batch.Encode())
		}
	}
}

// paid reports whether main paid what a shard has booked on channels that are open, as
// far as deposits go.
func (w *World) paid(n *node) bool {
	for _, a := range w.open() {
		if w.ownerOf(place(service.HomeOf(w.address(a.payer)))) != n {
			continue
		}
		for lane, booked := range a.booked {
			if !w.settledFor(a.index, uint8(lane), ledger.Amount(booked)) {
				return false
			}
		}
	}
	return true
}

// stuck is a link on which messages are under way, and for how many rounds it has been so.
type stuck struct {
	next, acked, returned uint64
	rounds                int
}

// links returns the links that an honest chain has sent on and whose other end is honest.
func (w *World) links(n *node) (list []link.Link) {
	if !w.honest(n) {
		return nil
	}
	last := -1
	for key := range n.view.Range(link.BucketPrefix(0)[:1]) {
		if bucket := int(key[1]); bucket != last {
			last = bucket
			for l := range link.Outbounds(n.view, key[1]) {
				if w.honest(w.ownerOf(l.Dst)) {
					list = append(list, l)
				}
			}
		}
	}
	return list
}

// settled reports whether every honest shard has begun an epoch and settled what moved
// before it, and main has paid all of that.
func (w *World) settled(epoch uint64) bool {
	for _, n := range w.live {
		if w.honest(n) && (service.ReadEpoch(n.view).Number < epoch || service.Settling(n.view) || !w.paid(n)) {
			return false
		}
	}
	return true
}

// quiet reports whether nothing is under way between honest chains.
func (w *World) quiet() bool {
	for _, n := range w.running() {
		for _, l := range w.links(n) {
			o := link.OutboundAt(n.view, l)
			if messages, _ := o.UnderWay(); messages > 0 {
				return false
			}
		}
		if w.honest(n) && !n.isMain() && service.ReadTotals(n.view).Waiting != (service.Sums{}) && w.liar == nil {
			return false
		}
	}
	return true
}

// listAgain lets chains list again what has not moved for some rounds, since nobody can
// prove it any more, once they have made the blocks that it takes.
func (w *World) listAgain(still map[link.Link]stuck) {
	ask := make([][]request, len(w.chains))
	wait := make([]uint64, len(w.chains)) // until which height
	want := func(n *node, r request, since uint64) {
		ask[n.at] = append(ask[n.at], r)
		if since <= n.height()+1 { // or it is a height of a parent, which says nothing here
			wait[n.at] = max(wait[n.at], since+link.RelistBlocks)
		}
		delete(still, r.l)
	}
	for _, n := range w.running() {
		for _, l := range w.links(n) {
			o, dst := link.OutboundAt(n.view, l), w.ownerOf(l.Dst)
			now := stuck{next: o.Next, acked: o.Acked, returned: o.Returned}
			if was := still[l]; o.Unacked() > 0 && was.next == now.next && was.acked == now.acked && was.returned == now.returned {
				now.rounds = was.rounds + 1
			}
			still[l] = now
			switch in := link.InboundAt(dst.view, l); {
			case now.rounds < patience:
			case in.Next > o.Acked: // it arrived: the acknowledgement is lost
				want(dst, request{l, chain.KindReack}, in.Listed)
			default:
				want(n, request{l, chain.KindRelist}, o.Progress)
			}
		}
	}
	for i, n := range w.chains {
		for range link.RelistBlocks {
			if len(ask[i]) > 0 && n.height()+1 < wait[i] && (w.shape.stalls == 0 || !n.isMain()) {
				w.produce(n, true)
			}
		}
		for _, r := range ask[i] {
			w.ask(0, n, r)
		}
	}
}

// request is for a link to be listed, or acknowledged, once more.
type request struct {
	l    link.Link
	kind chain.Kind
}

// ask sends a request of a relay to a chain.
func (w *World) ask(i int, n *node, r request) {
	if n.isMain() {
		w.toMain(i, w.relayKey(i), r.kind, r.l.Encode())
		return
	}
	one := shardblock.Relay{Kind: shardblock.KindRelist, Link: r.l}
	if r.kind == chain.KindReack {
		one.Kind = shardblock.KindReack
	}
	w.send(i, n, item{itemImport, one.Encode()})
}

// unrest says what keeps the network from coming to rest.
func (w *World) unrest() string {
	for _, n := range w.running() {
		for _, l := range w.links(n) {
			o := link.OutboundAt(n.view, l)
			if messages, _ := o.UnderWay(); messages > 0 {
				return "link " + l.String() + " has messages under way"
			}
		}
	}
	if !w.reshaped() {
		return "main's shards are not those that run"
	}
	return "settlements are not paid"
}

// finish checks what has to hold in the end.
func (w *World) finish() {
	for _, key := range w.track.order {
		if t := w.track.messages[key]; t != nil && !t.phase.Final() && w.honest(w.ownerOf(key.l.Src)) && w.honest(w.ownerOf(key.l.Dst)) {
			w.failf("message %d of %s is %s", key.seq, key.l, t.phase)
		}
	}
	if _, err := settlement.Audit(w.main().view); err != nil {
		w.failf("main: %v", err)
	}
	for _, n := range w.live {
		if n.dead {
			continue
		}
		if _, err := shardblock.Audit(n.view); err != nil {
			w.failf("shard %d: %v", n.id, err)
		}
		w.auditLinks(n)
	}
	for _, a := range w.accounts {
		w.finishChannel(a)
	}
	if w.liar == nil {
		w.finishEarnings()
	}
	again := w.fault != FaultNone || w.chance(30) // it takes a third of the time
	for _, n := range w.chains {
		if !n.dead && again {
			w.replay(n)
		}
	}
}

// finishChannel: the home of a channel knows what main knows of it.
func (w *World) finishChannel(a *account) {
	n := w.ownerOf(place(service.HomeOf(w.address(a.payer))))
	if !w.honest(n) {
		return
	}
	c, known := service.ChannelAt(n.view, w.address(a.payer).Bucket(), a.index)
	if known == a.closed {
		w.failf("channel %d is closed on main: %t; its home knows it: %t", a.index, a.closed, known)
	}
	if a.closed {
		return
	}
	if uint64(c.Deposit) != a.deposit || c.ExpiresAt != a.expires {
		w.failf("channel %d has %d drops until %d, its home thinks %d until %d", a.index, a.deposit, a.expires, uint64(c.Deposit), c.ExpiresAt)
	}
	for lane := range uint8(lanesUsed) {
		there := service.LaneOf(n.view, &c, a.index, lane)
		if here, _ := settlement.LaneAt(w.main().view, a.index, lane); here.Redeemed != there.Redeemed {
			w.failf("lane %d of channel %d is redeemed up to %d, its home thinks %d", lane, a.index, uint64(here.Redeemed), uint64(there.Redeemed))
		}
	}
}

// finishEarnings: every payee has in its home what was booked for it anywhere.
func (w *World) finishEarnings() {
	for i := range w.payees {
		a := w.address(w.payeeKey(i))
		got := service.EarningsOf(w.ownerOf(place(service.HomeOf(a))).view, a).Total
		if want := w.track.earned[a]; got != want {
			w.failf("payee %d has earned %+v, %+v was booked for it", i, got, want)
		}
	}
}
