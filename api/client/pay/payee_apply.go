package pay

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// Apply brings the payee up to date with one piece of news.
func (p *Payee) Apply(u Update) {
	p.applying.Lock()
	defer p.applying.Unlock()
	if u.Listing == ListingBegins {
		p.generation++
	}
	if u.Channel != nil {
		p.upsert(u.Channel)
	}
	if u.Event != nil {
		p.apply(u.Event)
	}
	if u.Listing == ListingEnds {
		p.leaveUnlisted(u.View)
	}
	p.see(u.View, u.Listing == ListingEnds)
	close(p.news)
	p.news = make(chan struct{})
}

// Await returns when the payee has heard of the channels, and of all others by a
// list, so that it can accept on them. A payer may be quicker than the news of
// the channel that it has opened.
func (p *Payee) Await(ctx context.Context, ids ...ledger.Hash) error {
	for {
		p.applying.Lock()
		news := p.news
		p.applying.Unlock()
		ids = slices.DeleteFunc(slices.Clone(ids), p.knows)
		if len(ids) == 0 && p.view.Load().listed {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("wait for news of %d channels: %w", len(ids), ctx.Err())
		}
	}
}

func (p *Payee) knows(id ledger.Hash) bool {
	s := p.stripeOf(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.channels[id]
	return ok && c.known
}

// see records a view of the chain. One below what is known comes from a node that
// is behind.
func (p *Payee) see(v View, listed bool) {
	old := p.view.Load()
	if v == (View{}) {
		if !listed {
			return
		}
		v = old.View
	}
	if v.Height < old.Height {
		v.Height, v.Lag = old.Height, v.Lag+old.Height-v.Height
	}
	v.Clock = max(v.Clock, old.Clock)
	p.view.Store(&viewAt{View: v, at: p.now(), listed: old.listed || listed})
}

// View returns the newest view of the chain.
func (p *Payee) View() View { return p.view.Load().View }

// upsert merges a record. Records of other payees' channels are ignored.
func (p *Payee) upsert(r *Channel) {
	if a := p.cfg.Account.Address; !a.IsZero() && r.Payee != a {
		return
	}
	s := p.stripeOf(r.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.channels[r.ID]
	if !ok {
		c = &payeeChannel{id: r.ID}
		s.channels[r.ID] = c
	}
	if c.presence == ended {
		return
	}
	c.merge(r)
	c.generation = p.generation
	c.seen(r.Height)
	p.touched(c)
}

// touched keeps the age of what is owed, and hurries the redeemer if the channel
// is on its way out. The caller holds the stripe.
func (p *Payee) touched(c *payeeChannel) {
	if c.unredeemed() == 0 || c.presence == ended {
		c.since = 0
		return
	}
	if c.since == 0 {
		c.since = p.now().UnixNano()
	}
	if c.claimable() > 0 && c.urgent(p.view.Load().Clock) {
		p.due.push(c.id, true)
	}
}

// urgent reports whether what is owed should be redeemed at once.
func (c *payeeChannel) urgent(clock uint64) bool {
	return c.known && c.presence == present && (c.closeAt != 0 || c.expiring(clock))
}

func (p *Payee) apply(e *Event) {
	s := p.stripeOf(e.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.channels[e.ID]
	if ok && e.Kind.Closed() {
		c.leave(ended, p.now().UnixNano(), e.Height)
	}
	if !ok || !c.known {
		return
	}
	c.deposit = max(c.deposit, e.Deposit)
	c.redeemed = max(c.redeemed, e.Redeemed)
	switch e.Kind { //nolint:exhaustive // the others change totals only
	case channel.EventCloseRequested:
		c.closeAt = e.Deadline
	case channel.EventExtended:
		c.expiresAt = max(c.expiresAt, e.Deadline)
	}
	p.touched(c)
	if (e.Kind == channel.EventCloseRequested || e.Kind == EventExpiring) && c.unredeemed() > 0 {
		p.due.push(c.id, true)
	}
}

// leaveUnlisted marks the channels that the list which just ended did not name,
// and forgets those with which nothing is lost. A list may come from a node that
// is behind or wrong, so it is no proof that a channel is closed: claims are kept.
// Only a list of a state after a channel's expiry shows that it has ended.
func (p *Payee) leaveUnlisted(v View) {
	now := p.now().UnixNano()
	known := p.view.Load()
	current := v.current(&known.View)
	for i := range p.stripe {
		s := &p.stripe[i]
		s.mu.Lock()
		for id, c := range s.channels {
			if c.generation != p.generation {
				switch {
				case !current:
					c.leave(doubted, now, v.Height)
				case c.expiresAt != 0 && v.Clock > c.expiresAt:
					c.leave(ended, now, v.Height)
				default:
					c.leave(unlisted, now, v.Height)
				}
			}
			if c.forgettable(now) {
				delete(s.channels, id)
			}
		}
		s.mu.Unlock()
	}
}

// Refresh reads a channel from the chain.
func (p *Payee) Refresh(ctx context.Context, id ledger.Hash) error {
	record, err := p.cfg.Chain.Channel(ctx, id)
	var closed *ClosedError
	switch {
	case errors.As(err, &closed):
		p.gone(id, ended)
		return unknown(id)
	case isNotFound(err):
		p.gone(id, doubted)
		return unknown(id)
	case err != nil:
		return fmt.Errorf("read channel %s: %w", id, err)
	}
	p.Apply(Update{Channel: &record})
	return nil
}

// gone records that a channel has ended, or that a node does not know it.
func (p *Payee) gone(id ledger.Hash, to presence) {
	s := p.stripeOf(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.channels[id]; ok {
		c.leave(to, p.now().UnixNano(), 0)
	}
}

// Balance is where the money of a payee's channel is, in drops.
type Balance struct {
	Deposit    ledger.Amount // total ever deposited
	Owed       ledger.Amount // by the best claims of all lanes
	Redeemed   ledger.Amount // paid out, burn included
	UnderWay   ledger.Amount // claimed by batches that are not final
	Unredeemed ledger.Amount // owed and not paid out
	Closed     bool          // its close was seen, or an up-to-date list does not name it
}

// Balance returns where the money of a channel is, and false if the payee does
// not know the channel.
func (p *Payee) Balance(id ledger.Hash) (Balance, bool) {
	s := p.stripeOf(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.channels[id]
	if !ok {
		return Balance{}, false
	}
	return c.balance(), true
}

// Total returns the sums over all channels that are not closed, and how many
// they are.
func (p *Payee) Total() (sum Balance, channels int) {
	for i := range p.stripe {
		s := &p.stripe[i]
		s.mu.Lock()
		for _, c := range s.channels {
			if c.presence < unlisted {
				b := c.balance()
				sum.Deposit += b.Deposit
				sum.Owed += b.Owed
				sum.Redeemed += b.Redeemed
				sum.UnderWay += b.UnderWay
				sum.Unredeemed += b.Unredeemed
				channels++
			}
		}
		s.mu.Unlock()
	}
	return sum, channels
}

func (c *payeeChannel) balance() Balance {
	b := Balance{Deposit: c.deposit, Owed: c.owed, Closed: c.presence >= unlisted}
	for i := range c.lanes {
		l := &c.lanes[i]
		b.Redeemed += l.redeemed
		b.UnderWay += max(l.redeemed, l.sent) - l.redeemed
	}
	b.Unredeemed = b.Owed - b.Redeemed
	b.Redeemed = max(b.Redeemed, c.redeemed)
	return b
}

// Best returns the best claim of a lane, and false if there is none.
func (p *Payee) Best(id ledger.Hash, lane uint8) (Claim, bool) {
	s := p.stripeOf(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.channels[id]
	if !ok {
		return Claim{}, false
	}
	l := c.lane(lane)
	if l == nil {
		return Claim{}, false
	}
	claim, ok := l.claim(id)
	if ok && claim.Commitment != nil {
		commitment := *claim.Commitment
		claim.Commitment = &commitment
	}
	return claim, ok
}
