package channel

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// Open is T1: payer opens a channel for each of params, under the ids that
// nonce gives them. Their indexes are first and those after it.
func (c *Context) Open(payer Party, nonce uint64, params []OpenParams) (first uint64, events []Event, err error) {
	var need ledger.Amount
	for i := range params {
		if err := c.Rules.CheckParams(payer.Address, &params[i], c.Clock); err != nil {
			return 0, nil, at(err, i)
		}
		if need, err = add(need, params[i].Deposit, c.Rules.Rent); err != nil {
			return 0, nil, err
		}
	}
	if have := c.Bank.Balance(payer.Row); have < need {
		return 0, nil, chain.Refuse(chain.CodeInsufficientBalance, "deposits and rents of %d drops, balance is %d", uint64(need), uint64(have))
	}
	ids := make([]ledger.Hash, len(params))
	for i := range params {
		ids[i] = ID(c.Domain, payer.Address, nonce, uint16(i), &params[i])
	}
	first, events = c.create(payer, ids, params)
	return first, events, nil
}

// create makes the records of channels that have been checked and paid for.
func (c *Context) create(payer Party, ids []ledger.Hash, params []OpenParams) (first uint64, events []Event) {
	n := ReadCounters(c.State)
	first = n.Channels
	n.Channels += uint64(len(params))
	n.Open += uint64(len(params))
	c.State.Set(CountersKey(), n.Encode())

	events = make([]Event, len(params))
	var deposits, rents ledger.Amount
	var fees uint32
	for i := range params {
		p := &params[i]
		if c.Rules.Fees != nil && (i == 0 || p.Service != params[i-1].Service) {
			fees = numberOf(c.State, c.Rules.Fees(p.Service, payer.Address))
		}
		ch := Channel{
			ID: ids[i], Payer: payer.Address, Payee: p.Payee,
			PayerIndex: payer.Row, PayeeIndex: c.Bank.Row(p.Payee),
			VoucherKey: p.VoucherKey, Service: p.Service, Terms: p.Terms,
			Deposit: p.Deposit, Rent: c.Rules.Rent,
			OpenHeight: c.Height, ExpiresAt: p.ExpiresAt, Challenge: p.Challenge, FeesNumber: fees,
		}
		index := first + uint64(i)
		r := row(ch.Encode())
		c.State.Set(Key(index), r)
		schedule(c.State, ch.ExpiresAt, index)
		deposits += p.Deposit // the sum was checked against the balance
		rents += ch.Rent
		events[i] = r.event(EventOpened, index)
	}
	c.Bank.Lock(payer.Row, deposits, rents)
	return first, events
}

// TopUp is T2: from adds what is missing to the new total. Anyone may.
func (c *Context) TopUp(from Party, t *TopUp) (Event, error) {
	r, err := c.find(&t.Channel)
	if err != nil {
		return Event{}, err
	}
	deposit := r.amount(offDeposit)
	switch {
	case t.NewTotal > ledger.MaxAmount:
		return Event{}, chain.Refuse(chain.CodeAmountOverflow, "total %d exceeds %d", uint64(t.NewTotal), uint64(ledger.MaxAmount))
	case t.NewTotal <= deposit:
		return Event{}, chain.Refuse(chain.CodeStale, "channel %d has a deposit of %d already", t.Channel.Index, uint64(deposit))
	}
	if err := c.live(t.Channel.Index, r); err != nil {
		return Event{}, err
	}
	if have, need := c.Bank.Balance(from.Row), t.NewTotal-deposit; have < need {
		return Event{}, chain.Refuse(chain.CodeInsufficientBalance, "top-up of %d drops, balance is %d", uint64(need), uint64(have))
	}
	r = r.patch()
	r.putUint64(offDeposit, uint64(t.NewTotal))
	c.State.Set(Key(t.Channel.Index), r)
	c.Bank.Lock(from.Row, t.NewTotal-deposit, 0)
	return r.event(EventToppedUp, t.Channel.Index), nil
}

// Extend is T3: the payer sets a later expiry.
func (c *Context) Extend(by ledger.Address, e *Extend) (Event, error) {
	r, err := c.findAsPayer(by, &e.Channel)
	if err != nil {
		return Event{}, err
	}
	expires, limit := r.uint64(offExpiresAt), c.Clock+c.Rules.MaxLifetime
	if e.NewExpiry <= expires {
		return Event{}, chain.Refuse(chain.CodeStale, "channel %d expires at %d already", e.Channel.Index, expires)
	}
	if err := c.live(e.Channel.Index, r); err != nil {
		return Event{}, err
	}
	if e.NewExpiry > limit {
		return Event{}, chain.Refuse(chain.CodeExpiryOutOfRange, "expires at %d, at most %d", e.NewExpiry, limit)
	}
	r = r.patch()
	r.putUint64(offExpiresAt, e.NewExpiry)
	c.State.Set(Key(e.Channel.Index), r)
	reschedule(c.State, expires, e.NewExpiry, e.Channel.Index)
	return r.event(EventExtended, e.Channel.Index), nil
}

// RequestClose is T6: the payer starts the challenge window.
func (c *Context) RequestClose(by ledger.Address, q *RequestClose) (Event, error) {
	r, err := c.findAsPayer(by, &q.Channel)
	if err != nil {
		return Event{}, err
	}
	if err := c.live(q.Channel.Index, r); err != nil {
		return Event{}, err
	}
	expires := r.uint64(offExpiresAt)
	r = r.patch()
	r.putUint64(offCloseAt, min(c.Clock+r.challenge(), expires))
	c.State.Set(Key(q.Channel.Index), r)
	reschedule(c.State, expires, r.deadline(), q.Channel.Index)
	return r.event(EventCloseRequested, q.Channel.Index), nil
}

func (c *Context) findAsPayer(by ledger.Address, ref *Ref) (row, error) {
	r, err := c.find(ref)
	if err == nil && r.payer() != by {
		return nil, chain.Refuse(chain.CodeNotPayer, "payer of channel %d is %s, not %s", ref.Index, r.payer(), by)
	}
	return r, err
}

// add returns the sum of amounts, or AMOUNT_OVERFLOW.
func add(amounts ...ledger.Amount) (sum ledger.Amount, err error) {
	for _, a := range amounts {
		if sum, err = sum.Add(a); err != nil {
			return 0, chain.Refuse(chain.CodeAmountOverflow, "%v", err)
		}
	}
	return sum, nil
}
