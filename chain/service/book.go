package service

import (
	"math"
	"math/bits"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// EntryResult is the outcome of one entry of a booking.
type EntryResult struct {
	Bucket uint8 // of the payer, as the entry says
	Index  uint64
	Lane   uint8
	// Code is OK, WRONG_SHARD, CHANNEL_UNKNOWN, NOT_PAYEE, NO_OP_STALE,
	// BAD_SIGNATURE, CHANNEL_EXPIRED, UNITS_FELL, ADVANCE_TOO_SMALL or
	// ABOVE_DEPOSIT.
	Code   chain.Code
	Seq    uint64 // of the booking; 0 unless OK
	Booked Sums   // what the entry added
	Total  Sums   // booked on the channel after it; zero if it is not known here
}

// Applied reports whether the entry booked anything.
func (r *EntryResult) Applied() bool { return r.Code == chain.CodeOK }

// book applies the entries of a transaction, each for itself, and returns what
// became of them and what they added in all.
func (b *block) book(u *Usage, bad map[int]chain.Code) (entries []EntryResult, added Sums) {
	entries = make([]EntryResult, len(u.Batch.Entries))
	for i := range entries {
		e, r := &u.Batch.Entries[i], &entries[i]
		r.Bucket, r.Index, r.Lane = u.Buckets[i], e.Index, e.Lane
		r.Code = b.bookEntry(u, i, bad[i], r)
		if r.Applied() {
			b.add(u.Batch.Payee, r.Booked)
			added = added.Plus(r.Booked)
		}
	}
	if added != (Sums{}) {
		b.totals.Booked = b.totals.Booked.Plus(added)
	}
	return entries, added
}

// bookEntry books entry i, whose signature has the code bad, and fills in r.
func (b *block) bookEntry(u *Usage, i int, bad chain.Code, r *EntryResult) chain.Code {
	e, home := &u.Batch.Entries[i], Place{u.Zone, u.Buckets[i]}
	if !b.shard.Owns(home) {
		return chain.CodeWrongShard
	}
	c, ok := ChannelAt(b.state, home.Bucket, e.Index)
	if !ok {
		return chain.CodeChannelUnknown
	}
	r.Total = c.Booked
	l := LaneOf(b.state, &c, e.Index, e.Lane)
	switch {
	case c.Payee != u.Batch.Payee:
		return chain.CodeNotPayee
	case e.Cumulative <= l.Cumulative:
		return chain.CodeStale
	case bad != chain.CodeOK:
		return bad
	case c.Deadline() <= b.epoch.Sigma:
		return chain.CodeChannelExpired
	case e.Units < l.Units:
		return chain.CodeUnitsFell
	case e.Cumulative-l.Cumulative < b.params.MinAdvance:
		return chain.CodeAdvanceTooSmall
	case uint64(e.Cumulative-l.Cumulative) > uint64(c.Deposit)-c.Booked.Amount:
		return chain.CodeAboveDeposit
	}
	before := l.Sums()
	l.Cumulative, l.Units, l.UsageRoot, l.Signature = e.Cumulative, e.Units, e.UsageRoot, e.Signature
	l.Work = max(l.Work, b.params.work(l.Cumulative, l.Units))
	l.Seq++
	r.Booked = l.Sums().Minus(before)
	c.Booked = c.Booked.Plus(r.Booked)
	r.Seq, r.Total = l.Seq, c.Booked
	ref := laneRef{bucket: home.Bucket, payee: c.Payee, index: e.Index, lane: e.Lane}
	switch {
	case l.Unsettled() && b.ends(&c):
		b.hurry(&ref, &l)
	case l.Unsettled() && l.Moved == 0:
		l.Moved = b.epoch.Number + 1
		b.state.Set(movedKey(home.Bucket, b.epoch.Number, &c.Payee, e.Index, e.Lane), []byte{1})
	}
	setLane(b.state, &c, e.Index, e.Lane, &l)
	b.state.Set(ChannelKey(home.Bucket, e.Index), c.Encode())
	b.bookings = append(b.bookings, Booking{
		ChannelID: c.ID, Lane: e.Lane, Seq: l.Seq, Units: l.Units, Cumulative: l.Cumulative, UsageRoot: l.UsageRoot,
	})
	return chain.CodeOK
}

// work returns how many of the units of a lane were paid for: those that the
// lane's cumulative amount buys at the lowest price that counts. It depends on
// totals only, so that splitting a booking changes nothing.
func (p *Params) work(cumulative ledger.Amount, units uint64) uint64 {
	hi, most := bits.Mul64(uint64(cumulative), p.UnitsPerDrop)
	if hi != 0 {
		most = math.MaxUint64
	}
	return min(units, most)
}
