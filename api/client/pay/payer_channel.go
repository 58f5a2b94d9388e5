package pay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// PayerChannel signs payments on one channel.
type PayerChannel struct {
	payer *Payer
	key   ledger.PrivateKey

	mu     sync.Mutex
	record Channel
	closed bool
	signed ledger.Amount // what all lanes owe
	lanes  [channel.Lanes]*payerLane
	asked  bool // Run has been asked to top up
}

// payerLane is what has been signed on one lane.
type payerLane struct {
	mu    sync.Mutex
	mark  mark
	last  Voucher    // zero until one is signed
	chain *hashChain // nil unless committed since the last voucher
	count uint32     // of hash chains
	buf   []byte     // for what is signed
}

// ID returns the channel's id.
func (c *PayerChannel) ID() ledger.Hash {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.record.ID
}

// Record returns the newest known record of the channel, without its lanes.
func (c *PayerChannel) Record() Channel {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.record
	r.Lanes = nil
	return r
}

// Closed reports whether the channel no longer exists.
func (c *PayerChannel) Closed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// Signed returns what all lanes owe together.
func (c *PayerChannel) Signed() ledger.Amount {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.signed
}

// Available returns how much can still be signed.
func (c *PayerChannel) Available() ledger.Amount {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.availableLocked()
}

func (c *PayerChannel) availableLocked() ledger.Amount {
	return c.record.Deposit - min(c.record.Deposit, max(c.signed, c.record.Redeemed))
}

// Owed returns what has been signed on lane: drops and billing units.
func (c *PayerChannel) Owed(lane uint8) (ledger.Amount, uint64) {
	m, _ := c.mark(lane)
	return m.owed, m.units
}

// Pay signs a voucher for amount more drops and units more billing units on
// lane. It refuses with a *RefusalError: Underfunded beyond the deposit, Closing,
// UnknownChannel once closed, InvalidAmount for 0, BadLane.
//
// The ctx is used for the journal and, if the channel turns out to have paid
// more than this payer remembers signing, for reading it again.
func (c *PayerChannel) Pay(ctx context.Context, lane uint8, amount ledger.Amount, units uint64) (Voucher, error) {
	l, err := c.ready(ctx, lane)
	if err != nil {
		return Voucher{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	total, err := l.mark.owed.Add(amount)
	if err != nil || amount == 0 || units > math.MaxUint64-l.mark.units {
		return Voucher{}, refuse(InvalidAmount, "%d drops for %d units more", uint64(amount), units)
	}
	return c.sign(ctx, l, channel.Voucher{Lane: uint16(lane), Cumulative: total, Units: l.mark.units + units})
}

// PayUnits signs a voucher for units billing units at unitPrice drops each: a
// slice paid ahead, or a bill.
func (c *PayerChannel) PayUnits(ctx context.Context, lane uint8, unitPrice ledger.Amount, units uint64) (Voucher, error) {
	amount, err := unitPrice.Mul(units)
	if err != nil {
		return Voucher{}, refuse(InvalidAmount, "%v", err)
	}
	return c.Pay(ctx, lane, amount, units)
}

// Sign signs v, whose totals are absolute, as the application sets them; its
// ChannelID is filled in. The totals signed last give that voucher again, so
// that a repeated request pays once; lower ones are refused as OutOfDate.
func (c *PayerChannel) Sign(ctx context.Context, v channel.Voucher) (Voucher, error) {
	if v.Lane >= channel.Lanes {
		return Voucher{}, badLane(uint64(v.Lane))
	}
	l, err := c.ready(ctx, uint8(v.Lane))
	if err != nil {
		return Voucher{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v.ChannelID = l.last.ChannelID
	switch {
	case v.Cumulative > ledger.MaxAmount:
		return Voucher{}, refuse(InvalidAmount, "%d drops", uint64(v.Cumulative))
	case v == l.last.Voucher && v.Cumulative == l.mark.owed:
		return l.last, nil
	case v.Cumulative <= l.mark.owed:
		r := refuse(OutOfDate, "lane %d owes %d already", v.Lane, l.mark.owed)
		r.Owed = l.mark.owed
		return Voucher{}, r
	}
	return c.sign(ctx, l, v)
}

// sign signs v on lane l, which the caller holds. v pays more than the lane owes.
func (c *PayerChannel) sign(ctx context.Context, l *payerLane, v channel.Voucher) (Voucher, error) {
	delta := v.Cumulative - l.mark.owed
	id, err := c.reserve(delta)
	if err != nil {
		return Voucher{}, err
	}
	v.ChannelID = id
	l.buf = c.payer.domain.appendSigned(l.buf[:0], &v)
	l.last = Voucher{Voucher: v, Signature: c.key.Sign(l.buf)}
	l.mark, l.chain = mark{v.Cumulative, v.Units}, nil
	if err := c.payer.keep(ctx, laneKey{id, uint8(v.Lane)}, l.mark, delta); err != nil {
		return Voucher{}, err
	}
	return l.last, nil
}

// reserve takes delta out of what can still be signed.
func (c *PayerChannel) reserve(delta ledger.Amount) (ledger.Hash, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	available := c.availableLocked()
	switch {
	case c.closed:
		return c.record.ID, refuse(UnknownChannel, "channel %s is closed", c.record.ID)
	case c.record.Closing():
		return c.record.ID, refuse(Closing, "channel %s closes at %d", c.record.ID, c.record.CloseAt)
	case delta > available:
		c.askLocked()
		return c.record.ID, refuse(Underfunded, "%d drops, the deposit has %d left", uint64(delta), uint64(available))
	}
	c.signed += delta
	if available-delta < c.payer.cfg.TopUp.Below {
		c.askLocked()
	}
	return c.record.ID, nil
}

// askLocked asks Payer.Run to top the channel up, once until it has.
func (c *PayerChannel) askLocked() {
	if c.asked || c.payer.cfg.TopUp.By == 0 {
		return
	}
	select {
	case c.payer.low <- c:
		c.asked = true
	default: // the queue is full; the next payment asks again
	}
}

// ready returns the lane. If the chain has paid out more than this payer knows
// to have signed, it reads the channel first: that is the floor to sign above.
func (c *PayerChannel) ready(ctx context.Context, lane uint8) (*payerLane, error) {
	if lane >= channel.Lanes {
		return nil, badLane(uint64(lane))
	}
	c.mu.Lock()
	forgotten := c.record.Redeemed > c.signed && !c.closed
	c.mu.Unlock()
	if forgotten && c.payer.cfg.Chain != nil {
		if err := c.Refresh(ctx); err != nil {
			return nil, err
		}
	}
	return c.lane(lane), nil
}

func badLane(lane uint64) error {
	return refuse(BadLane, "lane %d, lanes are 0 to %d", lane, channel.Lanes-1)
}

// lane returns lane, which exists, and makes it if it was not used before.
func (c *PayerChannel) lane(lane uint8) *payerLane {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lanes[lane] == nil {
		c.lanes[lane] = &payerLane{}
		c.lanes[lane].last.ChannelID = c.record.ID
	}
	return c.lanes[lane]
}

// mark returns what has been signed on lane, and false if nothing has.
func (c *PayerChannel) mark(lane uint8) (mark, bool) {
	if lane >= channel.Lanes {
		return mark{}, false
	}
	c.mu.Lock()
	l := c.lanes[lane]
	c.mu.Unlock()
	if l == nil {
		return mark{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mark, l.mark.owed != 0
}

// raise makes m the least that lane owes.
func (c *PayerChannel) raise(lane uint8, m mark) {
	l := c.lane(lane)
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.owed <= l.mark.owed {
		return
	}
	c.mu.Lock()
	c.signed += m.owed - l.mark.owed
	c.mu.Unlock()
	m.units = max(m.units, l.mark.units)
	l.mark, l.chain = m, nil
}

// CatchUp takes the answer of a payee that knows of more than this payer
// remembers having signed. It checks the payer's own signature in it, raises the
// lane to it, and returns nil if the payment can be made anew on top of it.
func (c *PayerChannel) CatchUp(ctx context.Context, lane uint8, answer *RefusalError) error {
	if answer.Reason != OutOfDate || lane >= channel.Lanes {
		return answer
	}
	best := answer.Best
	if best == nil { // the payee has it from the chain
		return c.Refresh(ctx)
	}
	if best.ChannelID() != c.ID() || best.Lane() != uint16(lane) || !best.Verify(c.payer.domain.Domain, c.key.Public()) {
		return refuse(BadSignature, "the payee's proof of what lane %d owes is not ours", lane)
	}
	m := mark{best.Owed(), best.Units()}
	c.raise(lane, m)
	return c.payer.keep(ctx, laneKey{c.ID(), lane}, m, 0)
}

// Refresh reads the channel from the chain. It is refused with UnknownChannel if
// the channel is closed, which ends it here too, or if the node does not know it,
// which may just be behind.
func (c *PayerChannel) Refresh(ctx context.Context) error {
	record, err := c.payer.cfg.Chain.Channel(ctx, c.ID())
	var closed *ClosedError
	switch {
	case errors.As(err, &closed):
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		return refuse(UnknownChannel, "channel %s is closed", c.ID())
	case isNotFound(err):
		return refuse(UnknownChannel, "the node asked does not know channel %s; it may be behind", c.ID())
	case err != nil:
		return fmt.Errorf("read channel %s: %w", c.ID(), err)
	}
	c.merge(&record)
	return nil
}
