package sim

import (
	"bytes"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// auditEvery is after how many blocks of a chain everything in it is counted again.
const auditEvery = 16

// numbered names a message.
type numbered struct {
	l   link.Link
	seq uint64
}

// tracked is what the simulation knows of a message of an honest chain.
type tracked struct {
	encoded []byte
	phase   link.Phase
}

// tracker follows messages and counts what they carry.
type tracker struct {
	messages map[numbered]*tracked
	order    []numbered             // of messages, as they were sent
	next     map[link.Link]uint64   // by receipts
	acked    map[link.Link]uint64   // by receipts
	seen     map[link.Link]uint64   // newest anchor clock of the source
	flight   service.Sums           // in earnings messages between honest shards
	received map[*node]service.Sums // by messages that were executed
	earned   map[ledger.Address]service.Sums
	returned map[numbered]bool    // messages that came back
	dated    map[link.Link]uint64 // epoch of the last earnings that were sent
	// undo remembers how what is noted of the block under way is taken back; nil if nothing
	// of it ever is.
	undo func(func())
}

// taken remembers how something is taken back.
func (t *tracker) taken(back func()) {
	if t.undo != nil {
		t.undo(back)
	}
}

// restored remembers a value.
func restored[K comparable, V any](t *tracker, m map[K]V, key K) {
	if was, had := m[key]; had {
		t.taken(func() { m[key] = was })
	} else {
		t.taken(func() { delete(m, key) })
	}
}

func newTracker() tracker {
	return tracker{
		messages: map[numbered]*tracked{}, next: map[link.Link]uint64{}, acked: map[link.Link]uint64{}, seen: map[link.Link]uint64{},
		received: map[*node]service.Sums{}, earned: map[ledger.Address]service.Sums{}, returned: map[numbered]bool{}, dated: map[link.Link]uint64{},
	}
}

// committed checks what a block did.
func (w *World) committed(n *node, height uint64, out *applied) {
	w.track.undo = nil
	if w.shape.stalls > 0 && !n.isMain() {
		w.track.undo = func(f func()) { n.undo[height] = append(n.undo[height], f) }
		epoch := n.epoch
		w.track.taken(func() { n.epoch = epoch })
	}
	for i := range out.imports {
		w.receipts(n, &out.imports[i])
	}
	for _, l := range out.box.Leaves() {
		if l.Message != nil {
			w.sent(l.Message)
		}
	}
	if height%auditEvery == 0 {
		w.auditLinks(n)
	}
	if n.isMain() {
		w.checkMain(n, height, out)
	} else {
		w.checkShard(n, height, out)
	}
}

// refusals counts why things were kept out of a block.
func (w *World) refusals(n *node, out *applied) {
	w.counts.Congested += out.congested
	w.counts.RefusedReturns += out.returns
	for _, code := range out.refused {
		switch code {
		case chain.CodeLinkGap:
			w.counts.Gaps++
		case chain.CodeLinkRepeat, chain.CodeNothingNew:
			w.counts.Repeats++
		case chain.CodeForeignPlace:
			w.counts.Misled++
		case chain.CodeTooLarge:
			w.counts.Oversized++
		case chain.CodeBadCertificate:
			w.counts.BadCertificates++
		case chain.CodeAnchorGap, chain.CodeAnchorStale, chain.CodeAnchorConflict, chain.CodeAnchorEpoch:
			w.counts.BadAnchors++
		case chain.CodeUnknownCommittee, chain.CodeNotAnchored, chain.CodeBadProof:
			w.counts.Unproved++
		case chain.CodeOK:
			w.failf("chain %d refuses something without a code", n.id)
		default: // one of the other lies
		}
	}
}

// sent notes a message that an honest chain has in the outbox of a block, for the first
// time or again.
func (w *World) sent(m *link.Message) {
	key := numbered{m.Link, m.Seq}
	if t := w.track.messages[key]; t != nil {
		if !bytes.Equal(t.encoded, m.Encode()) {
			w.failf("message %d of %s is listed again and is another one", m.Seq, m.Link)
		}
		w.move(key, link.EventCommit)
		w.counts.Listed++
		if w.chaos {
			w.counts.Relisted++
		}
		return
	}
	restored(&w.track, w.track.messages, key)
	w.track.messages[key] = &tracked{encoded: m.Encode(), phase: link.PhaseCommitted}
	w.track.order = append(w.track.order, key)
	w.counts.Sent++
	if !m.IsBounce() && service.MessageKind(m.Kind) == service.KindEarnings {
		w.track.flight = w.track.flight.Plus(sums(w, m))
		w.track.taken(func() { w.track.flight = w.track.flight.Minus(sums(w, m)) })
		w.dated(m)
	}
}

// dated checks that the epochs of what a link tells of earnings do not fall.
func (w *World) dated(m *link.Message) {
	e, err := service.DecodeEarningsMessage(m.Payload)
	if err != nil || e.Epoch < w.track.dated[m.Link] {
		w.failf("message %d of %s has earnings of epoch %d after those of epoch %d", m.Seq, m.Link, e.Epoch, w.track.dated[m.Link])
	}
	restored(&w.track, w.track.dated, m.Link)
	w.track.dated[m.Link] = e.Epoch
}

func sums(w *World, m *link.Message) service.Sums {
	e, err := service.DecodeEarningsMessage(m.Payload)
	if err != nil {
		w.failf("message %d of %s carries no earnings: %v", m.Seq, m.Link, err)
	}
	return e.Sums
}

func (w *World) move(key numbered, events ...link.Event) {
	t := w.track.messages[key]
	was := t.phase
	defer func() {
		if t.phase != was { // or it is listed again, and its destination may take it before that is taken back
			w.track.taken(func() { t.phase = was })
		}
	}()
	for _, e := range events {
		next, ok := t.phase.Next(e)
		if !ok {
			w.failf("message %d of %s: event %d in phase %s", key.seq, key.l, e, t.phase)
		}
		t.phase = next
	}
}

// receipts checks what became of an import: that each message was the next of its link,
// and the one that its source sent.
func (w *World) receipts(n *node, in *imported) {
	at := 0
	for _, r := range in.receipts {
		if r.Result == link.Acked {
			restored(&w.track, w.track.acked, r.Link)
			for ; w.track.acked[r.Link] < r.Seq; w.track.acked[r.Link]++ {
				key := numbered{r.Link, w.track.acked[r.Link]}
				if w.honest(n) && w.honest(w.ownerOf(r.Link.Dst)) {
					w.move(key, link.EventAck)
				}
			}
			continue
		}
		m := &in.messages[at]
		at++
		if m.Link != r.Link || m.Seq != r.Seq || w.track.next[r.Link] != r.Seq {
			w.failf("chain %d takes message %d of %s, %d is next", n.id, r.Seq, r.Link, w.track.next[r.Link])
		}
		restored(&w.track, w.track.next, r.Link)
		restored(&w.track, w.track.seen, r.Link)
		w.track.next[r.Link]++
		w.track.seen[r.Link] = max(w.track.seen[r.Link], in.seen)
		seen, most := w.track.seen[r.Link], max(w.track.seen[r.Link], in.most)
		if expired := r.Code == chain.CodeMessageExpired; !m.IsBounce() && (expired && most <= m.Expiry || !expired && seen > m.Expiry) {
			w.failf("message %d of %s is %s; it expires at %d, and %d is anchored", r.Seq, r.Link, r.Result, m.Expiry, seen)
		}
		w.fate(n, m, r.Result)
	}
}

// fate notes what became of a message.
func (w *World) fate(n *node, m *link.Message, result link.Result) {
	source := w.ownerOf(m.Link.Src)
	if source == n {
		w.counts.Inward++
	}
	if n.isMain() && m.Kind == shard.KindReport && result == link.Executed {
		w.counts.Reports++
	}
	if n.isMain() && (result == link.Bounced || result == link.Expired) {
		w.failf("main sends message %d of %s back", m.Seq, m.Link)
	}
	end := link.EventExecute
	switch result {
	case link.Executed:
		w.counts.Executed++
		w.crossed(source, n)
	case link.Bounced:
		w.counts.Bounced++
		end = link.EventBounce
		if w.honest(source) {
			w.failf("chain %d refuses message %d of %s, which is honest", n.id, m.Seq, m.Link)
		}
	case link.Expired:
		w.counts.Expired++
		end = link.EventExpire
	case link.Returned:
		w.counts.Returned++
		w.returned(n, m)
	case link.Passed:
		if w.honest(source) && (!n.isMain() || m.Kind != shard.KindReport) { // a report may come too late
			w.failf("chain %d passes over message %d of %s, which is honest", n.id, m.Seq, m.Link)
		}
	case link.Acked:
	}
	if service.MessageKind(m.Kind) == service.KindEarnings && result == link.Executed && !n.isMain() {
		restored(&w.track, w.track.received, n)
		w.track.received[n] = w.track.received[n].Plus(sums(w, m))
		w.credited(n, m)
	}
	if !w.honest(source) {
		return
	}
	key := numbered{m.Link, m.Seq}
	t := w.track.messages[key]
	if t == nil || !bytes.Equal(t.encoded, m.Encode()) {
		w.failf("chain %d takes message %d of %s, which its source did not send", n.id, m.Seq, m.Link)
	}
	w.move(key, link.EventAnchor, link.EventDeliver, end)
	if done := result == link.Executed || result == link.Returned; done && service.MessageKind(m.Kind) == service.KindEarnings {
		w.track.flight = w.track.flight.Minus(sums(w, m))
		w.track.taken(func() { w.track.flight = w.track.flight.Plus(sums(w, m)) })
	}
}

// credited checks that what a shard takes of earnings is what there can be: no later than
// main's next epoch, and no more drops than there are.
func (w *World) credited(n *node, m *link.Message) {
	e, err := service.DecodeEarningsMessage(m.Payload)
	if err != nil || e.Epoch > w.epochOf(w.main().height()+1)+1 || e.Amount > uint64(ledger.MaxAmount) {
		w.failf("chain %d takes earnings of epoch %d, %+v", n.id, e.Epoch, e.Sums)
	}
}

// returned checks that what an honest chain takes back it has sent, and that it has not
// come back before, whoever says so.
func (w *World) returned(n *node, m *link.Message) {
	key := numbered{m.Link.Reverse(), m.Of}
	if w.honest(n) {
		sent, err := link.Message{}, error(nil)
		if t := w.track.messages[key]; t != nil {
			sent, err = link.DecodeMessage(t.encoded)
		}
		same := err == nil && sent.Kind == m.Kind && sent.Recipient == m.Sender && sent.Sender == m.Recipient && sent.OriginTx == m.OriginTx &&
			!sent.IsBounce() && bytes.Equal(sent.Payload, m.Payload)
		if !same || w.track.returned[key] {
			w.failf("chain %d takes back message %d of %s: it sent that: %t; it came back before: %t", n.id, m.Of, key.l, same, w.track.returned[key])
		}
	}
	restored(&w.track, w.track.returned, key)
	w.track.returned[key] = true
}

// auditLinks checks the rows of all links that a chain has sent on or received on.
func (w *World) auditLinks(n *node) {
	for l, next := range w.track.next {
		if got := link.InboundAt(n.view, l).Next; w.ownerOf(l.Dst) == n && !n.dead && got != next {
			w.failf("chain %d has %d as the next message of %s, %d is next", n.id, got, l, next)
		}
	}
	last := -1
	for key := range n.view.Range(link.BucketPrefix(0)[:1]) {
		if int(key[1]) == last {
			continue
		}
		last = int(key[1])
		for l, o := range link.Outbounds(n.view, key[1]) {
			w.auditLink(n, l, &o)
		}
	}
}

// auditLink checks what a chain has of a link that it has sent on: the messages that may
// have to be listed again or may come back, and no others.
func (w *World) auditLink(n *node, l link.Link, o *link.Outbound) {
	var size, returns, returned uint64
	for seq := o.Kept; seq < o.Next; seq++ {
		m, ok := link.MessageAt(n.view, l, seq)
		if !ok {
			w.failf("chain %d does not have message %d of %s, which is not acknowledged or may come back", n.id, seq, l)
		}
		size += uint64(m.Size())
		if m.IsBounce() {
			returns, returned = returns+1, returned+uint64(m.Size())
		}
	}
	if o.Kept > 0 && n.view.Get(link.MessageKey(l, o.Kept-1)) != nil {
		w.failf("chain %d keeps message %d of %s, which nobody needs", n.id, o.Kept-1, l)
	}
	if o.Kept > o.Acked || o.Acked > o.Next || size != o.Bytes || returns != o.Returns || returned != o.ReturnBytes ||
		o.Returned > o.Back || o.Back > o.Next || o.Next-o.Kept > link.ReturnCap {
		w.failf("chain %d: link %s has messages of %d bytes and the row %+v", n.id, l, size, *o)
	}
}

// checkMain: value is conserved, nobody is paid what no payer signed, and what is
// anchored of an honest shard is what the shard decided.
func (w *World) checkMain(n *node, height uint64, out *applied) {
	totals := settlement.ReadTotals(n.view)
	if want := w.supply + totals.Minted; totals.Sum() != want {
		w.failf("main has %d drops at height %d, want %d", uint64(totals.Sum()), height, uint64(want))
	}
	for _, c := range out.anchored {
		w.counts.Anchored++
		s := w.byChain[c.Chain]
		if w.honest(s) && (c.Height > s.height() || s.blocks[c.Height-1].cert.Checkpoint != c) {
			w.failf("height %d of shard %d is anchored, which it did not decide", c.Height, c.Chain)
		}
	}
	for i := range out.main.Events {
		w.event(n, &out.main.Events[i])
	}
	w.income(&out.main)
	for i := range out.main.Receipts {
		for _, e := range out.main.Receipts[i].Entries {
			if e.Applied() && !e.Closed {
				w.redeemed(n, e.Index, e.Lane)
			}
		}
	}
	if height%auditEvery == 0 {
		if _, err := settlement.Audit(n.view); err != nil {
			w.failf("main at height %d: %v", height, err)
		}
	}
}

// income checks that owners of services got what receipts say.
func (w *World) income(r *settlement.Result) {
	w.counts.Earned += len(r.Income)
	var got, want ledger.Amount
	for _, x := range r.Income {
		got += x.Amount
	}
	for i := range r.Receipts {
		want += r.Receipts[i].OwnerFee
	}
	if got != want {
		w.failf("owners of services got %d drops at height %d, receipts say %d", uint64(got), r.Height, uint64(want))
	}
}

// event notes what happened to a channel.
func (w *World) event(n *node, e *channel.Event) {
	if e.Kind == channel.EventOpened {
		c, _ := settlement.ChannelAt(n.view, e.Index)
		if int(e.Index) != len(w.accounts) {
			w.failf("channel %d is opened as number %d", e.Index, len(w.accounts))
		}
		if e.Payee.Zone() >= w.shape.zones {
			w.failf("channel %d is opened for %s, whose zone the service does not have", e.Index, e.Payee)
		}
		a := &account{
			index: e.Index, id: c.ID, payer: w.keyOf(e.Payer), payee: w.keyOf(e.Payee),
			deposit: uint64(c.Deposit), expires: c.ExpiresAt,
		}
		w.accounts, w.byID[c.ID] = append(w.accounts, a), a
		w.counts.Opened++
		return
	}
	a := w.accounts[e.Index]
	if uint64(e.Deposit) < a.deposit {
		w.failf("the deposit of channel %d fell from %d to %d", e.Index, a.deposit, uint64(e.Deposit))
	}
	a.deposit = uint64(e.Deposit)
	total := uint64(0)
	for i := range a.lanes {
		total += a.lanes[i].cumulative
	}
	if uint64(e.Redeemed) > min(a.deposit, total) {
		w.failf("channel %d paid %d drops of a deposit of %d, of which %d were signed away", e.Index, uint64(e.Redeemed), a.deposit, total)
	}
	switch {
	case e.Kind.Closed():
		if uint64(e.Redeemed) < a.due {
			w.failf("channel %d is closed and paid %d drops; %d were booked before its payer requested that", e.Index, uint64(e.Redeemed), a.due)
		}
		a.closed = true
		w.counts.Closed++
	case e.Kind == channel.EventCloseRequested:
		a.closing = true
	case e.Kind == channel.EventExtended:
		c, _ := settlement.ChannelAt(n.view, e.Index)
		a.expires = c.ExpiresAt
	}
}

// keyOf returns the key of an address of the world.
func (w *World) keyOf(a ledger.Address) int {
	for i := range w.public {
		if w.address(i) == a {
			return i
		}
	}
	w.failf("nobody has the address %s", a)
	return 0
}

// redeemed checks a lane that main paid on.
func (w *World) redeemed(n *node, index uint64, lane uint8) {
	l, ok := settlement.LaneAt(n.view, index, lane)
	if !ok {
		return // closed later in the block
	}
	a := w.accounts[index]
	if got := uint64(l.Redeemed); got > a.lanes[lane].cumulative || got < a.redeemed[lane] {
		w.failf("lane %d of channel %d is redeemed up to %d, was %d; %d were signed", lane, index, got, a.redeemed[lane], a.lanes[lane].cumulative)
	}
	a.redeemed[lane] = uint64(l.Redeemed)
	w.counts.Redeemed++
}

// checkShard: vouchers that are booked rise, are within deposits and are signed; usage
// is conserved over the shards.
func (w *World) checkShard(n *node, height uint64, out *applied) {
	for i := range out.service.Bookings {
		w.booked(n, &out.service.Bookings[i])
	}
	for i := range out.service.Receipts {
		r := &out.service.Receipts[i]
		if r.Code == chain.CodeOK {
			w.track.earned[r.Payee] = w.track.earned[r.Payee].Plus(r.Booked)
			w.track.taken(func() { w.track.earned[r.Payee] = w.track.earned[r.Payee].Minus(r.Booked) })
		}
		for _, e := range r.Entries {
			if !e.Applied() {
				w.counts.RefusedEntries++
			}
		}
	}
	if e := shardblock.ReadStatus(n.view).Epoch; e > n.epoch {
		w.counts.Epochs++
		n.epoch = e
		w.checkCommittee(n, e)
	}
	totals := service.ReadTotals(n.view)
	if totals.Waiting != (service.Sums{}) {
		w.counts.Waited++
	}
	if totals.Received != w.track.received[n] {
		w.failf("shard %d has received %+v, its messages carried %+v", n.id, totals.Received, w.track.received[n])
	}
	if w.liar == nil && (!w.shape.many() || w.counts.Blocks%w.shape.count() == 0) { // it takes long
		all := make([]service.Totals, 0, len(w.chains))
		for _, s := range w.live {
			all = append(all, service.ReadTotals(s.view))
		}
		if got := service.InFlight(all...); got != w.track.flight {
			w.failf("shards say that %+v is between them, messages carry %+v", got, w.track.flight)
		}
	}
	if height%auditEvery == 0 {
		if _, err := service.Audit(n.view); err != nil {
			w.failf("shard %d at height %d: %v", n.id, height, err)
		}
	}
}

// booked checks one booking.
func (w *World) booked(n *node, b *service.Booking) {
	a := w.byID[b.ChannelID]
	if a == nil || int(b.Lane) >= lanesUsed {
		w.failf("shard %d books on lane %d of channel %s, which nobody opened", n.id, b.Lane, b.ChannelID)
	}
	if w.ownerOf(place(service.HomeOf(w.address(a.payer)))) != n {
		w.failf("shard %d books on channel %d, which lives elsewhere", n.id, a.index)
	}
	cumulative := uint64(b.Cumulative)
	if cumulative <= a.booked[b.Lane] {
		w.failf("lane %d of channel %d is booked up to %d after %d", b.Lane, a.index, cumulative, a.booked[b.Lane])
	}
	was0, lane := a.booked[b.Lane], b.Lane
	w.track.taken(func() { a.booked[lane] = was0 })
	a.booked[b.Lane] = cumulative
	total, was := uint64(0), false
	for lane := range a.booked {
		total += a.booked[lane]
	}
	for _, e := range a.lanes[b.Lane].all {
		was = was || e.Cumulative == b.Cumulative && e.Units == b.Units
	}
	if total > a.deposit || !was {
		w.failf("channel %d: %d booked of a deposit of %d; signed by the payer: %t", a.index, total, a.deposit, was)
	}
	w.counts.Booked++
}
