package pay

import (
	"context"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// OpenSpec is a channel to open.
type OpenSpec struct {
	Payee     ledger.Address
	Key       ledger.PrivateKey // signs the channel's vouchers and nothing else
	Deposit   ledger.Amount
	ExpiresAt uint64 // settlement clock
	Challenge uint32 // settlement clock
	Service   uint32
	Terms     ledger.Hash // of what payer and payee agreed; zero if nothing
}

func (s *OpenSpec) params() channel.OpenParams {
	return channel.OpenParams{
		Payee: s.Payee, VoucherKey: s.Key.Public(), Deposit: s.Deposit, ExpiresAt: s.ExpiresAt,
		Challenge: s.Challenge, Service: s.Service, Terms: s.Terms,
	}
}

// Open opens 1 to channel.MaxOpens channels by one signature of the account and
// tracks them. It returns when they exist, in the order of specs.
func (p *Payer) Open(ctx context.Context, specs []OpenSpec) ([]*PayerChannel, error) {
	open := channel.Open{Channels: make([]channel.OpenParams, len(specs))}
	for i := range specs {
		if specs[i].Key.Public().IsZero() {
			return nil, fmt.Errorf("open channels: channel %d has no voucher key", i)
		}
		open.Channels[i] = specs[i].params()
	}
	receipt, err := p.submit(ctx, chain.KindOpenChannels, open.Encode())
	if err != nil {
		return nil, fmt.Errorf("open %d channels: %w", len(specs), err)
	}
	channels := make([]*PayerChannel, len(specs))
	for i := range specs {
		record := Opened(p.cfg.Domain, &receipt, uint16(i), &open.Channels[i])
		if channels[i], err = p.Track(record, specs[i].Key); err != nil {
			return nil, err
		}
	}
	return channels, nil
}

// Opened returns the record of the channel at position of an open that has the
// receipt and was sent with params, as far as that tells it: all but the rent.
func Opened(d chain.Domain, receipt *settlement.Receipt, position uint16, params *channel.OpenParams) Channel {
	id := channel.ID(d, receipt.Signer, receipt.Nonce, position, params)
	return opened(id, receipt.FirstChannel+uint64(position), receipt.Signer, params)
}

func opened(id ledger.Hash, index uint64, payer ledger.Address, params *channel.OpenParams) Channel {
	return Channel{
		Index: index, ID: id, Payer: payer, Payee: params.Payee, VoucherKey: params.VoucherKey,
		Service: params.Service, Terms: params.Terms, Deposit: params.Deposit,
		ExpiresAt: params.ExpiresAt, Challenge: params.Challenge,
	}
}

// submit submits and turns the receipt of a refused transaction into an error.
func (p *Payer) submit(ctx context.Context, kind chain.Kind, payload []byte) (settlement.Receipt, error) {
	receipt, err := p.cfg.Chain.Submit(ctx, kind, payload)
	if err == nil && receipt.Code != chain.CodeOK {
		err = &chain.RuleError{Code: receipt.Code, Detail: receipt.Detail}
	}
	return receipt, err
}

func (c *PayerChannel) ref() channel.Ref {
	c.mu.Lock()
	defer c.mu.Unlock()
	return channel.Ref{Index: c.record.Index, ID: c.record.ID}
}

// TopUp raises the deposit to newTotal drops, and returns when that is final. A
// total that is not above the present one changes nothing.
func (c *PayerChannel) TopUp(ctx context.Context, newTotal ledger.Amount) error {
	payload := channel.TopUp{Channel: c.ref(), NewTotal: newTotal}
	_, err := c.payer.submit(ctx, chain.KindTopUp, payload.Encode())
	if err != nil {
		return fmt.Errorf("top up channel %s: %w", c.ID(), err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.record.Deposit = max(c.record.Deposit, newTotal)
	return nil
}

// refill tops the channel up as the policy says.
func (c *PayerChannel) refill(ctx context.Context) error {
	policy := c.payer.cfg.TopUp
	c.mu.Lock()
	total, err := c.record.Deposit.Add(policy.By)
	if policy.Limit != 0 {
		total = min(total, policy.Limit)
	}
	due := err == nil && total > c.record.Deposit && !c.closed && !c.record.Closing()
	c.mu.Unlock()
	if due {
		err = c.TopUp(ctx, total)
	}
	c.mu.Lock()
	c.asked = false
	c.mu.Unlock()
	return err
}

// Extend moves the channel's expiry to newExpiry, settlement clock, and returns
// when that is final.
func (c *PayerChannel) Extend(ctx context.Context, newExpiry uint64) error {
	payload := channel.Extend{Channel: c.ref(), NewExpiry: newExpiry}
	if _, err := c.payer.submit(ctx, chain.KindExtend, payload.Encode()); err != nil {
		return fmt.Errorf("extend channel %s: %w", c.ID(), err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.record.ExpiresAt = max(c.record.ExpiresAt, newExpiry)
	return nil
}

// RequestClose asks the chain to close the channel after its challenge window,
// and returns when the request is final. From then on nothing is signed.
func (c *PayerChannel) RequestClose(ctx context.Context) error {
	payload := channel.RequestClose{Channel: c.ref()}
	if _, err := c.payer.submit(ctx, chain.KindRequestClose, payload.Encode()); err != nil {
		return fmt.Errorf("request close of channel %s: %w", c.ID(), err)
	}
	c.mu.Lock()
	if c.record.CloseAt == 0 {
		c.record.CloseAt = c.record.ExpiresAt // at the latest
	}
	c.mu.Unlock()
	_ = c.Refresh(ctx) // for when exactly; it is requested all the same
	return nil
}

// OfferClose signs, as the account, terms on which both parties close the
// channel at once: the payee gets final drops over the channel's life, burn
// included. They hold up to block height validUntil. With rollover the same
// transaction opens the channel that replaces it. The payee completes the offer
// with Payee.AcceptClose, and either party submits it.
//
// Offering closes nothing, and the channel goes on being paid on. A payee that has
// signed refuses payments until the chain has passed validUntil, which it wants to
// be near. Vouchers that were signed before or are signed meanwhile remain valid,
// and once the payee has redeemed more than final the offer is void: the payer
// loses no more than what it signed. So stop paying on the channel before an
// offer, and offer what it owes.
func (c *PayerChannel) OfferClose(ctx context.Context, final ledger.Amount, validUntil uint64, rollover *OpenSpec) (channel.CoopClose, error) {
	offer := channel.CoopClose{
		Channel: c.ref(), Final: final, ValidUntil: validUntil, PayerKey: c.payer.cfg.Account.Key,
	}
	if rollover != nil {
		params := rollover.params()
		offer.Rollover = &params
	}
	terms := offer.Terms()
	sig, err := c.payer.cfg.Account.Signer.Sign(ctx, terms.Signed(c.payer.cfg.Domain))
	if err != nil {
		return channel.CoopClose{}, fmt.Errorf("sign the close of channel %s: %w", c.ID(), err)
	}
	offer.PayerSig = sig
	return offer, nil
}

// CoopClose submits an offer that the payee has signed, and returns when it is
// final. With a roll-over it returns the new channel, whose vouchers are signed
// by rollover's key; otherwise nil.
func (c *PayerChannel) CoopClose(ctx context.Context, agreed channel.CoopClose, rollover *OpenSpec) (*PayerChannel, error) {
	receipt, err := c.payer.submit(ctx, chain.KindCoopClose, agreed.Encode())
	if err != nil {
		return nil, fmt.Errorf("close channel %s: %w", c.ID(), err)
	}
	c.mu.Lock()
	c.closed = true
	payer := c.record.Payer
	c.mu.Unlock()
	if agreed.Rollover == nil || rollover == nil {
		return nil, nil
	}
	id := channel.RolloverID(agreed.Channel.ID, agreed.Rollover)
	return c.payer.Track(opened(id, receipt.FirstChannel, payer, agreed.Rollover), rollover.Key)
}

// merge takes what is new from a record. Totals only rise and a request to close
// is not taken back, so records can come in any order.
func (c *PayerChannel) merge(r *Channel) {
	c.mu.Lock()
	c.record.Index = r.Index
	c.record.Deposit = max(c.record.Deposit, r.Deposit)
	c.record.Redeemed = max(c.record.Redeemed, r.Redeemed)
	c.record.ExpiresAt = max(c.record.ExpiresAt, r.ExpiresAt)
	c.record.OpenHeight = max(c.record.OpenHeight, r.OpenHeight)
	c.record.Rent = max(c.record.Rent, r.Rent)
	if r.CloseAt != 0 {
		c.record.CloseAt = r.CloseAt
	}
	c.mu.Unlock()
	for _, l := range r.Lanes {
		if l.Lane < channel.Lanes {
			c.raise(l.Lane, mark{l.Redeemed, l.Units})
		}
	}
}

func (c *PayerChannel) apply(e *Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.record.Deposit = max(c.record.Deposit, e.Deposit)
	c.record.Redeemed = max(c.record.Redeemed, e.Redeemed)
	switch {
	case e.Kind.Closed():
		c.closed = true
	case e.Kind == channel.EventCloseRequested:
		c.record.CloseAt = e.Deadline
	case e.Kind == channel.EventExtended:
		c.record.ExpiresAt = max(c.record.ExpiresAt, e.Deadline)
	}
}

func isNotFound(err error) bool {
	code, ok := chain.CodeOf(err)
	return ok && code == chain.CodeChannelNotFound
}
