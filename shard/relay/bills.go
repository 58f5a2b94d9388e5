package relay

import (
	"maps"
	"slices"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// bills is what a shard has settled and main has not paid, as far as it is looked at. What
// fits on a page is; of more there is one page after the other, as soon as nothing on it
// waits to be sent. Each payee has a share of the pages that go round all of them; where a
// payee has more, pages with all of its lanes come in between.
type bills struct {
	debts map[ledger.Address]*debt // by payee

	page  service.Page
	from  service.Spot // where the page begins
	deep  bool         // it has all lanes of a payee
	other service.Spot // where the next page of the other kind begins
	round uint64       // how often pages have gone round all payees
	waits bool         // something on the page waits to be sent

	looked, paged uint64 // heights of the shard and of main for which the page was read
	fruitful      uint64 // the round in which something was sent last
	rest          hush   // in which nothing is looked at
	resting       bool   // this round is in it

	ending []service.Settlement // of channels that main is about to close

	offers   []offer   // what main would pay of all that
	offersOf [3]uint64 // heights: of main now, and looked and paged
}

// debt is what this node sends of a payee.
type debt struct {
	task

	round uint64 // in which the payee was owed something last
	paid  []paid // what was sent a short time ago
}

// paid is lanes of a payee, from first to last, that were sent to main in a record.
type paid struct {
	first, last channel.LaneTotal
	name        uint64 // as Claim.Paid
	nonce       uint64
	height      uint64 // of main
}

// offer is what main would pay to a payee.
type offer struct {
	payee  ledger.Address
	claim  Claim // none of it is worth its fee if there are no entries
	ending bool  // some of it is of channels that main is about to close
}

// lookBlocks is after how many blocks of main one looks again if there was nothing to send:
// what is settled may wait, and to compare a page with what main has paid takes thousands
// of reads.
const lookBlocks = 4

// hush lasts until a height of main, or a time should main stand still.
type hush struct {
	height uint64
	until  time.Time
}

// left returns how much time of it is left, 0 if it is over.
func (h *hush) left(main uint64, now time.Time) time.Duration {
	if main >= h.height {
		return 0
	}
	return max(h.until.Sub(now), 0)
}

// looks notes after a look, at a height of main, whether something was sent. Nothing is looked
// at for a while if nothing can be, on the only page or on all of them.
func (b *bills) looks(r *Relay, main uint64, sent bool) {
	b.rest = hush{}
	switch {
	case sent:
		b.fruitful = b.round
	case b.waits || b.whole() || b.round > b.fruitful+1:
		b.rest = hush{main + lookBlocks - 1, r.cfg.Now().Add(lookBlocks * slowness * r.cfg.Block)} // the next look is at what main was in this one
	}
}

// read looks at a shard after its block at height, main having been at another height. It
// goes on to the next page once for each block of main, if there is another.
func (b *bills) read(v chain.View, height, main uint64, now time.Time) {
	if b.resting = b.rest.left(main, now) > 0; b.resting {
		return
	}
	next := main != b.paged && !b.waits
	if height == b.looked && (!next || b.whole()) {
		return
	}
	if next {
		b.turn()
	}
	each := maxOfPayee
	if b.deep {
		each = MaxEntries
	}
	b.page = service.Outstanding(v, b.from, MaxEntries, each)
	b.looked, b.paged = height, main
	for i := range b.page.List {
		b.debtOf(b.page.List[i].Batch.Payee)
	}
}

// whole reports whether everything is on the page.
func (b *bills) whole() bool {
	return b.from == (service.Spot{}) && b.page.Next == (service.Spot{}) && !b.page.Passed
}

// turn goes on to the next page. When the pages have gone round all payees, those are
// forgotten who are owed nothing any more.
func (b *bills) turn() {
	if !b.deep && b.page.Next == (service.Spot{}) {
		maps.DeleteFunc(b.debts, func(_ ledger.Address, d *debt) bool { return d.round < b.round })
		b.round++
	}
	b.from = b.page.Next
	if b.deep || b.page.Passed {
		b.deep = !b.deep
		b.from, b.other = b.other, b.from
	}
}

// debtOf returns what is sent of a payee, and notes that it is owed something.
func (b *bills) debtOf(payee ledger.Address) *debt {
	d := b.debts[payee]
	if d == nil {
		d = new(debt)
		b.debts[payee] = d
	}
	d.round = b.round
	return d
}

// ending is where a node looks for channels that main is about to close.
type ending struct {
	at              uint64 // height of main at the last look
	deadline, index uint64 // of the channel with which the next look begins
	waits           bool   // something that was found waits to be sent
}

// look finds what waits for payment on channels that main, at sigma, is about to close: with
// more than is looked at together they must not wait their turn.
func (l *mainLane) look(s *scale, reports []report, sigma uint64) {
	e := &l.ending
	if e.at == s.height {
		return
	}
	from := *e
	if !e.waits {
		e.deadline, e.index = 0, 0
	}
	e.at = s.height
	homes, n := make(map[shard.ID][]service.Homed), 0
	for deadline, index := range channel.Deadlines(s.v, from.deadline, sigma+soon) {
		if deadline == from.deadline && index < from.index {
			continue
		}
		if n++; n > maxEnding {
			if !from.waits {
				e.deadline, e.index = deadline, index
			}
			break
		}
		c, ok := channel.At(s.v, index)
		if !ok {
			continue
		}
		home := service.HomeOf(c.Payer)
		at := link.Place{Service: c.Service, Zone: home.Zone, Bucket: home.Bucket}
		for id, row := range s.rows {
			if first, last := spanOf(&row); at.Compare(first) >= 0 && at.Compare(last) <= 0 {
				homes[id] = append(homes[id], service.Homed{Bucket: home.Bucket, Index: index})
			}
		}
	}
	for i := range reports {
		b := &l.shards[reports[i].id].bills
		b.ending = nil
		list := homes[reports[i].id]
		if len(list) == 0 {
			continue
		}
		err := reports[i].chain.Read(func(v chain.View, _ uint64) error {
			b.ending = service.OutstandingOn(v, list)
			return nil
		})
		if err != nil {
			l.notes.failed(l.r, "settlements cannot be looked at", reports[i].id, err)
		}
	}
}

// settle sends settlements that main would pay and has not paid.
func (l *mainLane) settle(s *scale, reports []report) error {
	sigma := settlement.Clock(s.v, s.height)
	l.look(s, reports, sigma)
	l.ending.waits = false
	batches := 0
	for i := range reports {
		one := &reports[i]
		b := &l.shards[one.id].bills
		if _, ok := s.rows[one.id]; !ok {
			continue
		}
		if b.resting && len(b.ending) == 0 {
			if b.waits || one.head != b.looked {
				s.again = sooner(s.again, b.rest.left(s.height, l.r.cfg.Now()))
			}
			continue
		}
		sent, err := l.settleOf(s, b, sigma, l.turn(s, one.id), MaxBatches-batches)
		if err != nil {
			return err
		}
		if batches += sent; !b.resting && (sent > 0 || batches < MaxBatches) {
			b.looks(l.r, s.height, sent > 0)
		}
	}
	return nil
}

// settleOf sends what main would pay of a shard, in at most limit batches, and returns how many
// it sends.
func (l *mainLane) settleOf(s *scale, b *bills, sigma, turn uint64, limit int) (batches int, err error) {
	b.waits = false
	for j := range l.offers(s, b, sigma) {
		o := &b.offers[j]
		if len(o.claim.Batch.Entries) == 0 {
			if d := b.debtOf(o.payee); !l.underWay(s, d) {
				d.reset()
			}
			continue
		}
		if batches >= limit || len(s.drafts) >= maxRecords {
			l.wait(b, o)
			break
		}
		sent, err := l.pay(s, b, o, turn)
		if err != nil {
			return batches, err
		}
		if sent {
			batches++
		}
	}
	return batches, nil
}

// wait notes that an offer waits to be sent, and has to be looked at again.
func (l *mainLane) wait(b *bills, o *offer) {
	b.waits = true
	l.ending.waits = l.ending.waits || o.ending
}

// offers returns what main would pay of what is looked at, one batch for each payee, those
// first that have channels which main is about to close. It holds for a block of each of
// both chains.
func (l *mainLane) offers(s *scale, b *bills, sigma uint64) []offer {
	at := [3]uint64{s.height, b.looked, b.paged}
	if b.offersOf == at {
		return b.offers
	}
	b.offers, b.offersOf = b.offers[:0], at
	index := make(map[ledger.Address]int)
	for i, list := range [][]service.Settlement{b.ending, b.page.List} {
		for j := range list {
			payee := list[j].Batch.Payee
			at, ok := index[payee]
			if !ok {
				at = len(b.offers)
				index[payee] = at
				b.offers = append(b.offers, offer{payee: payee})
			}
			o := &b.offers[at]
			if len(o.claim.Batch.Entries) > 0 {
				continue // one after the other
			}
			var some bool
			if o.claim, some = l.worth(s, b.debtOf(payee), &list[j], sigma); some {
				o.ending = i == 0
			}
		}
	}
	return b.offers
}

// worth returns what of a settlement is worth its fee, without what was sent a short time
// ago. If it is not worth that as a whole, entries that pay no more than they cost are left
// out, so that they do not keep others from being paid. some is false if nothing is.
func (l *mainLane) worth(s *scale, d *debt, one *service.Settlement, sigma uint64) (c Claim, some bool) {
	d.tidy(l, s)
	rules, dust := s.params.Rules(), false
	leave := func(e *channel.Entry, deadline uint64, pays ledger.Amount) bool {
		return dust && pays <= s.params.EntryFee || d.knows(e, s.height, deadline <= sigma+soon)
	}
	c = ClaimOf(s.v, &rules, one, leave)
	if len(c.Batch.Entries) == 0 || s.worthwhile(&c) {
		return c, len(c.Batch.Entries) > 0
	}
	dust = true
	if c = ClaimOf(s.v, &rules, one, leave); len(c.Batch.Entries) > 0 && s.worthwhile(&c) {
		return c, true
	}
	l.r.counters.Worthless.Add(1)
	return Claim{}, false
}

// worthwhile reports whether a claim is worth the fee of its record.
func (s *scale) worthwhile(c *Claim) bool {
	return Worthwhile(c.Worth, s.params.TxFee+s.params.EntryFee*ledger.Amount(len(c.Batch.Entries)))
}

// tidy forgets what was sent and is neither under way nor paid, or was paid long ago.
func (d *debt) tidy(l *mainLane, s *scale) {
	d.paid = slices.DeleteFunc(d.paid, func(p paid) bool {
		if s.height >= p.height+settleBlocks {
			return true
		}
		lane, _ := channel.LaneAt(s.v, p.first.Index, p.first.Lane)
		return !l.account.waits(&s.row, p.nonce) && paidName(p.first.Index, p.first.Lane, lane.Redeemed) == p.name
	})
}

// underWay reports whether something that was sent of a payee may still execute.
func (l *mainLane) underWay(s *scale, d *debt) bool {
	return slices.ContainsFunc(d.paid, func(p paid) bool { return l.account.waits(&s.row, p.nonce) })
}

// knows reports whether an entry is of a lane that was sent so short a time ago that the
// shard may not know yet what main has paid: a shorter one if it is urgent.
func (d *debt) knows(e *channel.Entry, height uint64, urgent bool) bool {
	wait := uint64(settleBlocks)
	if urgent {
		wait = urgentBlocks
	}
	at := channel.LaneTotal{Index: e.Index, Lane: e.Lane}
	return slices.ContainsFunc(d.paid, func(p paid) bool {
		return height < p.height+wait && at.Compare(&p.first) >= 0 && at.Compare(&p.last) <= 0
	})
}

// pay sends an offer if it is time.
func (l *mainLane) pay(s *scale, b *bills, o *offer, turn uint64) (sent bool, err error) {
	c, d := &o.claim, b.debtOf(o.payee)
	if !l.ready(s, &d.task, c.Paid, turn, patience{}) {
		l.wait(b, o)
		return false, nil
	}
	record, err := l.account.sign(s.v, &s.params, s.height, chain.KindSettle, c.Batch.Encode())
	if err != nil {
		return false, err
	}
	if !l.account.spares(&s.row, record.fee) {
		l.notes.failed(l.r, "settlements are left to others", ledger.MainChain, errReserve)
		s.again = sooner(s.again, d.done(l.r, c.Paid, s.height))
		return false, nil
	}
	entries := c.Batch.Entries
	first, last := &entries[0], &entries[len(entries)-1]
	d.paid = append(d.paid, paid{
		first: channel.LaneTotal{Index: first.Index, Lane: first.Lane}, last: channel.LaneTotal{Index: last.Index, Lane: last.Lane},
		name: c.Paid, nonce: record.nonce, height: s.height,
	})
	l.add(s, draft{signed: record, kind: chain.KindSettle, size: len(entries), tasks: map[*task]uint64{&d.task: c.Paid}})
	return true, nil
}
