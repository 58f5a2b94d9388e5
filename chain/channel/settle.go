package channel

import (
	"github.com/tributary-network/tributary/chain"
)

// Settled is what a batch did.
type Settled struct {
	Entries []EntryResult // one for each entry, in order
	Events  []Event       // one for each channel that changed, in order
	Payout                // of all entries
	Earned  []Earning     // what OwnerFee is made of, ascending by service
	// Urgent is the number of bytes of the entries that moved money of an urgent
	// channel; Bytes that of all entries. A transaction fills the reserved lane
	// with Urgent/Bytes of its size.
	Urgent, Bytes int
	// UrgentCloses is how many urgent channels the batch moved money of and
	// closed.
	UrgentCloses int
}

// Settle is T4 and T5 for every entry of a batch, in order. The payee is
// credited once. bad gives the code, BAD_SIGNATURE or BAD_PREIMAGE, of the
// positions that Batch.Needs or the verification of its needs found wrong. Close
// flags take effect as they stand: the caller has checked the payee's authority.
//
// An entry that is refused leaves the others alone, with one exception: a
// channel with a bad entry is not closed, so that the payee can still claim what
// that entry was meant to. An atomic batch must be run on a State that the
// caller can drop, see Settled.Complete.
func (c *Context) Settle(b *Batch, bad map[int]chain.Code) Settled {
	s := settling{Context: c, batch: b, bad: bad}
	s.out.Entries = make([]EntryResult, len(b.Entries))
	s.out.Events = make([]Event, 0, len(b.Entries))
	for from := 0; from < len(b.Entries); {
		to := groupEnd(b.Entries, from)
		s.channel(from, to)
		from = to
	}
	if s.out.Paid != 0 || s.out.Burned != 0 {
		c.Bank.Pay(s.payeeRow, s.out.Paid, s.out.Burned)
	}
	s.out.Earned = s.earned.pay(c.Bank)
	countClosed(c.State, s.closed)
	return s.out
}

// Complete reports whether every claim of the batch is paid in full now, by it
// or before it: what an atomic batch promises.
func (s *Settled) Complete() bool {
	for i := range s.Entries {
		if code := s.Entries[i].Code; code != chain.CodeOK && code != chain.CodeStale {
			return false
		}
	}
	return true
}

// Abort turns the results into those of an atomic batch that failed.
func (s *Settled) Abort() {
	for i := range s.Entries {
		e := &s.Entries[i]
		if e.Code == chain.CodeOK || e.Code == chain.CodeStale {
			e.Code = chain.CodeBatchAborted
		}
		*e = EntryResult{Index: e.Index, Lane: e.Lane, Code: e.Code}
	}
	s.Events, s.Payout, s.Earned, s.Urgent, s.UrgentCloses = nil, Payout{}, nil, 0, 0
}

// settling is a batch under way.
type settling struct {
	*Context
	batch    *Batch
	bad      map[int]chain.Code
	payeeRow uint64
	closed   uint64
	earned   earnings
	fees     map[uint32]Fees // by number, as far as they were read
	out      Settled
}

// feesOf returns the fees with a number.
func (s *settling) feesOf(number uint32) Fees {
	f, known := s.fees[number]
	if !known {
		f = FeesAt(s.State, number)
		if s.fees == nil {
			s.fees = make(map[uint32]Fees)
		}
		s.fees[number] = f
	}
	return f
}

// channel applies entries [from, to), which are all those of one channel.
func (s *settling) channel(from, to int) {
	entries, results := s.batch.Entries[from:to], s.out.Entries[from:to]
	index := entries[0].Index
	stored := rowAt(s.State, index)
	refused := chain.CodeOK
	switch {
	case stored == nil:
		refused = chain.CodeChannelNotFound
	case !stored.paysTo(&s.batch.Payee):
		refused = chain.CodeNotPayee
	}
	for i := range entries {
		results[i].Index, results[i].Lane, results[i].Code = index, entries[i].Lane, refused
		s.out.Bytes += entries[i].Size()
	}
	if refused != chain.CodeOK {
		return
	}
	s.payeeRow = stored.uint64(offPayeeIndex)

	r, bad := stored, chain.CodeOK
	for i := range entries {
		if entries[i].Claim != ClaimNone {
			r = s.redeem(r, stored, &entries[i], &results[i], from+i)
		}
		if code := results[i].Code; code == chain.CodeBadSignature || code == chain.CodeBadPreimage {
			bad = code
		}
		results[i].Redeemed = r.amount(offRedeemed)
	}
	last := len(entries) - 1
	switch {
	case entries[last].Close && bad == chain.CodeOK:
		s.close(r, index)
		results[last].Closed = true
	case r.patches(stored):
		s.State.Set(Key(index), r)
		s.out.Events = append(s.out.Events, r.event(EventRedeemed, index))
	}
	if entries[last].Claim == ClaimNone {
		results[last].Code = bad
	}
	if stored.urgent(s.Clock) {
		for i := range entries {
			if results[i].Applied() {
				s.out.Urgent += entries[i].Size()
			}
		}
		if results[last].Closed && r.patches(stored) {
			s.out.UrgentCloses++
		}
	}
}

// redeem is T4. It returns the channel's row after the entry: r, or a patched
// copy if r is still the stored one.
func (s *settling) redeem(r, stored row, e *Entry, res *EntryResult, position int) row {
	lane, at := laneOf(s.State, r, e.Index, e.Lane)
	claim := e.claimed()
	if claim.Redeemed <= lane.Redeemed {
		res.Code = chain.CodeStale
		return r
	}
	if code, isBad := s.bad[position]; isBad {
		res.Code = code
		return r
	}
	total, deposit := r.amount(offRedeemed), r.amount(offDeposit)
	paid := min(claim.Redeemed-lane.Redeemed, deposit-total)
	if paid == 0 {
		res.Code = chain.CodeUnderfunded
		return r
	}
	if !r.patches(stored) {
		r = r.patch()
	}
	lane.Redeemed += paid
	if lane.Redeemed == claim.Redeemed {
		lane.Units, lane.UsageRoot = max(lane.Units, claim.Units), claim.UsageRoot
	} else {
		res.Code = chain.CodePartial
	}
	used, bit := r.uint64(offLanesUsed), uint64(1)<<e.Lane
	switch {
	case e.Lane == 0:
		lane.put(r[offLane0:])
	case used&bit == 0:
		addLane(s.State, r, &lane, e.Index, e.Lane)
	default:
		s.State.Set(LaneRows().Key(at), lane.Encode())
	}
	r.putUint64(offLanesUsed, used|bit)
	r.putUint64(offRedeemed, uint64(total+paid))

	var fees Fees
	if number := r.feesNumber(); number != 0 {
		fees = s.feesOf(number)
	}
	p := s.Rules.Payout(&fees, total, total+paid)
	res.Paid, res.Burned, res.OwnerFee = p.Paid, p.Burned, p.OwnerFee
	s.out.Paid += p.Paid
	s.out.Burned += p.Burned
	if p.OwnerFee != 0 {
		s.out.OwnerFee += p.OwnerFee
		s.earned = s.earned.add(r.service(), p.OwnerFee)
	}
	return r
}

// close is the second half of T5: the payer gets the rest and the rent.
func (s *settling) close(r row, index uint64) {
	rest, rent := r.amount(offDeposit)-r.amount(offRedeemed), r.amount(offRent)
	s.Bank.Refund(r.uint64(offPayerIndex), rest, rent)
	erase(s.State, index, r)
	s.closed++
	s.out.Events = append(s.out.Events, r.closed(EventPayeeClosed, index, r.amount(offRedeemed), rest+rent))
}
