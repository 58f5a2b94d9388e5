package pay

import (
	"cmp"
	"slices"
	"sort"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// item is one claim that is to be redeemed.
type item struct {
	id       ledger.Hash
	entry    channel.Entry
	owed     ledger.Amount // what the entry claims in all
	gain     ledger.Amount // what it pays to the payee, net of burn and of what the service takes
	fee      ledger.Amount // of the entry
	deadline uint64        // of its channel, settlement clock
}

// Sizes of a batch on the wire: payee, mode, authority flag and count; and the
// payee's authority to close.
const (
	batchFrame    = ledger.AddressSize + 4
	authoritySize = ledger.PublicKeySize + 8 + ledger.SignatureSize

	maxPayload = chain.MaxTxSize - chain.TxOverhead

	// maxCloses is how many channels a batch closes. A close may erase 63 lanes and
	// weighs as much, so that a block has room for some hundreds at least, see
	// settlement.Weight.
	maxCloses = 400
)

// cut splits items into batches of at most maxEntries entries that fit a
// transaction each, on a network with parameters p, and close no more than
// maxCloses channels, in the order of items; within a batch they are ascending by
// channel and lane, as the chain wants it. Items of one channel stay together if
// they follow each other and together fit.
func cut(items []item, maxEntries int, p *settlement.Params) [][]item {
	var batches [][]item
	for len(items) > 0 {
		n, size, closes := 0, batchFrame+authoritySize, 0
		for n < len(items) && n < maxEntries && closes < maxCloses {
			size += items[n].entry.Size()
			if size > maxPayload && n > 0 {
				break
			}
			if items[n].entry.Close {
				closes++
			}
			n++
		}
		n = wholeChannels(items, notTooHeavy(p, items[:n]))
		batches = append(batches, ascending(items[:n]))
		items = items[n:]
	}
	return batches
}

// notTooHeavy returns how many of the first items make a batch that a block can
// take, at least 1.
func notTooHeavy(p *settlement.Params, items []item) int {
	heavy := func(n int) bool {
		var b channel.Batch
		for _, it := range ascending(slices.Clone(items[:n])) {
			b.Entries = append(b.Entries, it.entry)
		}
		return tooHeavy(p, b.Encode())
	}
	if !heavy(len(items)) {
		return len(items)
	}
	return max(1, sort.Search(len(items), func(n int) bool { return heavy(n + 1) }))
}

// wholeChannels returns the largest number of items, at most n, that does not
// split a channel, and n if that is none.
func wholeChannels(items []item, n int) int {
	whole := n
	for whole > 0 && whole < len(items) && items[whole].id == items[whole-1].id {
		whole--
	}
	if whole == 0 {
		return n
	}
	return whole
}

func ascending(items []item) []item {
	slices.SortFunc(items, func(a, b item) int {
		return cmp.Or(cmp.Compare(a.entry.Index, b.entry.Index), cmp.Compare(a.entry.Lane, b.entry.Lane))
	})
	return items
}

func (p *Payee) batch(items []item) channel.Batch {
	b := channel.Batch{Payee: p.cfg.Account.Address, Mode: channel.BestEffort, Entries: make([]channel.Entry, len(items))}
	for i := range items {
		b.Entries[i] = items[i].entry
	}
	return b
}

// items returns the claims of c that a batch could make now, worth their fee.
// Claims that are under way are left out, unless it is urgent: then they are made
// again, because what is under way may be waiting for its next attempt. What
// would undo an agreement to close is left out too, unless it is urgent. The
// caller holds the stripe.
func (c *payeeChannel) items(fees *settlement.Params, policy *RedeemPolicy, kind int, view *View) []item {
	if !c.known || c.presence != present {
		return nil
	}
	var items []item
	rules := fees.Rules()
	var taken channel.Fees
	if c.fees != nil {
		taken = *c.fees
	}
	total := c.redeemed
	if kind == ordinary {
		total = max(total, c.settled)
	}
	left := c.deposit - min(c.deposit, total)
	limit := ledger.MaxAmount
	if kind == ordinary && c.agreed.holds(view) {
		limit = c.agreed.final
	}
	for i := range c.lanes {
		l := &c.lanes[i]
		claim, ok := l.claim(c.id)
		pays := min(l.claimable(kind), left)
		if !ok || pays == 0 || total+pays > limit {
			continue
		}
		it := item{
			id: c.id, entry: claim.entry(c.index), owed: l.owed, deadline: c.deadline(),
			fee: entryFee(fees, &claim), gain: rules.Payout(&taken, total, total+pays).Paid,
		}
		budget, err := it.gain.MulDiv(uint64(policy.budget(kind)), ledger.BasisPoints)
		if err != nil || it.fee > budget || it.fee >= it.gain {
			continue
		}
		left -= pays
		total += pays
		items = append(items, it)
	}
	return items
}

func (c *payeeChannel) deadline() uint64 {
	if c.closeAt != 0 {
		return min(c.closeAt, c.expiresAt)
	}
	return c.expiresAt
}

// entryFee returns what an entry with the claim costs.
func entryFee(fees *settlement.Params, c *Claim) ledger.Amount {
	fee := fees.EntryFee
	if c.Commitment != nil {
		fee += fees.StepFee * ((ledger.Amount(c.Reveal.Step) + settlement.StepsPerFee - 1) / settlement.StepsPerFee)
	}
	return fee
}

// mark records that a batch with the items is under way.
func (p *Payee) mark(items []item) {
	p.eachItem(items, func(c *payeeChannel, l *payeeLane, i int) {
		l.sent = max(l.sent, items[i].owed)
	})
}

// unmark takes mark back, for items whose batch will not happen.
func (p *Payee) unmark(items []item) {
	p.eachItem(items, func(c *payeeChannel, l *payeeLane, i int) {
		if l.sent == items[i].owed {
			l.sent = 0
		}
	})
}

// eachItem calls f for the channel and lane of every item that still has one,
// with its stripe locked, and brings the sums up to date afterwards.
func (p *Payee) eachItem(items []item, f func(c *payeeChannel, l *payeeLane, i int)) {
	for i := range items {
		s := p.stripeOf(items[i].id)
		s.mu.Lock()
		if c, ok := s.channels[items[i].id]; ok {
			if l := c.lane(items[i].entry.Lane); l != nil {
				f(c, l, i)
				c.recount()
			}
		}
		s.mu.Unlock()
	}
}
