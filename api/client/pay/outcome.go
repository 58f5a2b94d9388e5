package pay

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// settle submits one batch and books what became of it. It returns the items
// that are to be tried again, after a while if there is an error as well.
func (r *Redeemer) settle(ctx context.Context, items []item) (again []item, err error) {
	batch := r.payee.batch(items)
	receipt, err := r.chain.Submit(ctx, chain.KindSettle, batch.Encode())
	var rule *chain.RuleError
	switch {
	case errors.As(err, &rule):
		return r.refused(ctx, items, rule)
	case err != nil:
		return items, err
	case receipt.Code != chain.CodeOK:
		r.count(func(total *Report) { total.Fees += receipt.Fee })
		return r.refused(ctx, items, &chain.RuleError{Code: receipt.Code, Detail: receipt.Detail})
	case len(receipt.Entries) != len(items):
		return items, fmt.Errorf("receipt %s tells of %d entries, the batch has %d", receipt.Hash, len(receipt.Entries), len(items))
	}
	r.count(func(total *Report) { total.add(&receipt) })
	r.book(ctx, items, receipt.Entries)
	return nil, nil
}

func (t *Report) add(receipt *settlement.Receipt) {
	t.Batches++
	t.Entries += len(receipt.Entries)
	t.Paid += receipt.Paid
	t.Burned += receipt.Burned
	t.Fees += receipt.Fee
	for i := range receipt.Entries {
		t.Codes[receipt.Entries[i].Code]++
	}
}

// refused deals with a batch that was not executed. If the refusal names entries,
// or the batch has only one, they are to blame and the others are tried again at
// once; otherwise everything is, after a look at the channels.
func (r *Redeemer) refused(ctx context.Context, items []item, rule *chain.RuleError) ([]item, error) {
	if !aboutEntry(rule.Code) {
		return items, rule
	}
	positions := rule.Positions
	if len(items) == 1 {
		positions = []int{0}
	}
	blamed := make(map[int]bool, len(positions))
	for _, at := range positions {
		blamed[at] = true
	}
	var to, again []item
	for i := range items {
		if blamed[i] {
			to = append(to, items[i])
		} else {
			again = append(again, items[i])
		}
	}
	if len(to) == 0 {
		return items, errors.Join(rule, r.refresh(ctx, channelsOf(items)))
	}
	if ofState(rule.Code) {
		r.payee.unmark(to)
		if err := r.refresh(ctx, channelsOf(to)); err != nil {
			return items, errors.Join(rule, err)
		}
		if to = r.payee.stillClaimed(to); len(to) > 0 { // the channels say otherwise
			return append(again, to...), rule
		}
		return again, nil
	}
	results := make([]channel.EntryResult, len(to))
	for i := range to {
		results[i] = channel.EntryResult{Index: to[i].entry.Index, Lane: to[i].entry.Lane, Code: rule.Code}
	}
	r.book(ctx, to, results)
	return again, nil
}

// ofState reports whether a code is about what a node knows of a channel. In a
// refusal that is hearsay: the node may be behind, and what is true now, such as
// a deposit that is used up, may not stay so. The channel's record decides.
func ofState(code chain.Code) bool {
	switch code {
	case chain.CodeStale, chain.CodeUnderfunded, chain.CodePartial, chain.CodeChannelNotFound:
		return true
	default:
		return false
	}
}

// stillClaimed returns the items whose claims, or closes, could be made again, by
// what is known of their channels now.
func (p *Payee) stillClaimed(items []item) []item {
	var still []item
	p.eachItem(items, func(c *payeeChannel, l *payeeLane, i int) {
		if c.presence == present && (items[i].entry.Close || min(l.claimable(ordinary), c.claimable()) > 0) {
			still = append(still, items[i])
		}
	})
	return still
}

// aboutEntry reports whether a code can be the outcome of an entry.
func aboutEntry(code chain.Code) bool {
	switch code {
	case chain.CodeStale, chain.CodeUnderfunded, chain.CodePartial, chain.CodeChannelNotFound,
		chain.CodeBadSignature, chain.CodeBadPreimage, chain.CodeNotPayee, chain.CodeLaneLimit:
		return true
	default:
		return false
	}
}

// book records the outcome of every item and reads the channels anew whose
// state does not follow from it.
func (r *Redeemer) book(ctx context.Context, items []item, results []channel.EntryResult) {
	p := r.payee
	var unclear []item
	p.eachItem(items, func(c *payeeChannel, l *payeeLane, i int) {
		res := &results[i]
		if l.sent == items[i].owed {
			l.sent = 0
		}
		c.redeemed = max(c.redeemed, res.Redeemed)
		switch res.Code {
		case chain.CodeOK, chain.CodeStale: // the lane is paid up to the claim, at least
			p.redeemed(c, l, items[i].owed)
		case chain.CodePartial, chain.CodeUnderfunded:
			unclear = append(unclear, items[i])
		case chain.CodeChannelNotFound: // it is in a final block, so the row is gone
			c.leave(ended, p.now().UnixNano(), 0)
		default: // checked before it was accepted, so something is wrong
			l.bad = true
			r.log.LogAttrs(ctx, slog.LevelError, "the chain refuses an accepted claim",
				slog.String("channel", c.id.String()), slog.Int("lane", int(l.number)), slog.String("code", res.Code.String()))
		}
		if res.Closed {
			c.leave(ended, p.now().UnixNano(), 0)
		}
	})
	if err := r.refresh(ctx, channelsOf(unclear)); err != nil && ctx.Err() == nil {
		r.log.LogAttrs(ctx, slog.LevelWarn, "channels could not be read after their settlement", slog.Any("error", err))
	}
}

// redeemed records that lane l has been paid up to owed. The caller holds the
// stripe.
func (p *Payee) redeemed(c *payeeChannel, l *payeeLane, owed ledger.Amount) {
	if owed <= l.redeemed {
		return
	}
	l.redeemed = owed
	if owed > l.owed {
		*l = payeeLane{number: l.number, owed: owed, redeemed: owed}
	}
	c.since = 0
	if c.unredeemed() > 0 {
		c.since = p.now().UnixNano()
	}
	// A mark that is lost costs a stale entry, not money.
	_, _ = p.append(redeemedRecord(c.id, l.number, owed), 0)
}

// channelsOf yields the channels of items, which are in the order of a batch.
func channelsOf(items []item) iter.Seq[ledger.Hash] {
	return func(yield func(ledger.Hash) bool) {
		for i := range items {
			if (i == 0 || items[i].id != items[i-1].id) && !yield(items[i].id) {
				return
			}
		}
	}
}

// refresh reads channels from the chain. That one is gone is no error.
func (r *Redeemer) refresh(ctx context.Context, ids iter.Seq[ledger.Hash]) error {
	var errs error
	for id := range ids {
		if err := r.payee.Refresh(ctx, id); err != nil {
			if reason, _ := ReasonOf(err); reason != UnknownChannel {
				errs = errors.Join(errs, err)
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errs
}

// attempts is how often Redeem and Close try what is refused because the payee's
// view of a channel was old, or because of another entry.
const attempts = 3

// Redeem redeems everything the channels owe, now and whatever the policy or an
// agreement to close says; without ids, on all channels. It returns when that is
// final. Batches are settled one after the other.
func (r *Redeemer) Redeem(ctx context.Context, ids ...ledger.Hash) error {
	if len(ids) == 0 {
		ids = r.payee.ids()
	}
	err := r.exhaust(ctx, ids, func() [][]item { return r.payee.batches(ids, r.policy, &r.fees, urgent) })
	if err != nil {
		return fmt.Errorf("redeem: %w", err)
	}
	return nil
}

// Close redeems everything the channels owe and closes them, with one signature
// of the payee for each batch: Chain must submit as the payee. It returns when
// that is final.
func (r *Redeemer) Close(ctx context.Context, ids ...ledger.Hash) error {
	err := r.exhaust(ctx, ids, func() [][]item { return r.payee.closing(ids, r.policy, &r.fees) })
	if err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

// exhaust settles the batches that next returns of the channels until it returns
// none.
func (r *Redeemer) exhaust(ctx context.Context, ids []ledger.Hash, next func() [][]item) error {
	failed := r.refresh(ctx, r.payee.questionable(ids))
	if failed != nil {
		return failed
	}
	for range attempts {
		batches := next()
		if len(batches) == 0 {
			return nil
		}
		failed = nil
		for _, items := range batches {
			r.payee.mark(items)
			again, err := r.settle(ctx, items)
			r.payee.unmark(again)
			if code, ok := chain.CodeOf(err); err != nil && (!ok || !aboutEntry(code)) {
				return err
			}
			failed = errors.Join(failed, err)
			if err == nil && len(again) > 0 {
				failed = errors.Join(failed, fmt.Errorf("%d of %d claims were held up by others", len(again), len(items)))
			}
		}
		if failed == nil {
			return nil
		}
	}
	return failed
}

// ids returns the channels that owe something.
func (p *Payee) ids() []ledger.Hash {
	var ids []ledger.Hash
	for i := range p.stripe {
		s := &p.stripe[i]
		s.mu.Lock()
		for id, c := range s.channels {
			if c.questionable() || c.known && c.claimable() > 0 {
				ids = append(ids, id)
			}
		}
		s.mu.Unlock()
	}
	return ids
}

// questionable yields those of the channels that may be gone and owe something.
func (p *Payee) questionable(ids []ledger.Hash) iter.Seq[ledger.Hash] {
	is := func(id ledger.Hash) bool {
		s := p.stripeOf(id)
		s.mu.Lock()
		defer s.mu.Unlock()
		c, ok := s.channels[id]
		return ok && c.questionable()
	}
	return func(yield func(ledger.Hash) bool) {
		for _, id := range ids {
			if is(id) && !yield(id) {
				return
			}
		}
	}
}

// closing returns batches that close the channels.
func (p *Payee) closing(ids []ledger.Hash, policy RedeemPolicy, fees *settlement.Params) [][]item {
	var items []item
	view := p.View()
	for _, id := range ids {
		s := p.stripeOf(id)
		s.mu.Lock()
		if c, ok := s.channels[id]; ok && c.known && c.presence == present {
			claims := c.items(&settlement.Params{BurnBps: fees.BurnBps}, &policy, urgent, &view)
			if len(claims) == 0 {
				c.makeLane(0)
				claims = []item{{id: id, entry: channel.Entry{Index: c.index}}}
			}
			claims[len(claims)-1].entry.Close = true
			items = append(items, claims...)
		}
		s.mu.Unlock()
	}
	return cut(items, policy.MaxEntries, fees)
}
