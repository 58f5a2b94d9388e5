package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// outcome is how a special path ended.
type outcome struct {
	path  string
	what  string
	total ledger.Amount // what the channel paid in all, burn included
}

// The channels of the special paths.
const (
	pathCoop = iota
	pathChallenge
	pathExpiry
	pathUnderfunded
	pathRefused
	paths
)

const shortChallenge = 10 // blocks

// corner is the payer and the payee of the special paths.
type corner struct {
	*market
	payer    *trader
	payee    *trader
	buying   *pay.Payer
	selling  *pay.Payee
	redeemer *pay.Redeemer
	channels []*pay.PayerChannel
}

// specialPaths takes one channel through each special path.
func (m *market) specialPaths(ctx context.Context, step progress) (err error) {
	c := &corner{market: m, payer: m.trader("special payer"), payee: m.trader("special payee")}
	m.corner = c
	c.buying, err = pay.OpenPayer(pay.PayerConfig{Domain: m.client.Domain(), Account: c.payer.Identity(), Chain: c.payer})
	if err != nil {
		return err
	}
	c.selling, err = pay.OpenPayee(pay.PayeeConfig{
		Domain: m.client.Domain(), Account: c.payee.Identity(), Chain: c.payee,
		Redeem: pay.RedeemPolicy{MaxAge: -1, DepositShare: ledger.BasisPoints},
	})
	if err != nil {
		return err
	}
	c.redeemer = pay.NewRedeemer(c.selling, m.params)
	background, stop := context.WithCancel(ctx)
	followed := make(chan error, 1)
	go func() { followed <- m.follow(background, c.selling, c.payee.Address()) }()
	defer func() {
		stop()
		err = errors.Join(err, <-followed, c.buying.Close(), c.selling.Close())
	}()
	for _, t := range []*trader{c.payer, c.payee} {
		if _, err := m.client.Faucet(ctx, t.Address(), grant); err != nil {
			return fmt.Errorf("fund %s: %w", t.name, err)
		}
	}
	if err := c.open(ctx); err != nil {
		return err
	}
	for _, path := range []func(context.Context) (outcome, error){
		c.coopClose, c.challenge, c.underfunded, c.refused, c.expiry,
	} {
		o, err := path(ctx)
		if err != nil {
			return err
		}
		m.special = append(m.special, o)
		step.say("%s: %s", o.path, o.what)
	}
	return nil
}

func (c *corner) open(ctx context.Context) error {
	head, err := c.head(ctx)
	if err != nil {
		return err
	}
	specs := make([]pay.OpenSpec, paths)
	for i := range specs {
		specs[i] = pay.OpenSpec{
			Payee: c.payee.Address(), Key: pay.VoucherKey([ledger.SeedSize]byte{2}, uint64(i)),
			Deposit: deposit, ExpiresAt: head.Clock + farExpiry, Challenge: shortChallenge,
		}
	}
	specs[pathExpiry].Challenge = c.params.MinChallenge
	// As short as it may be; some blocks pass before the open is in one.
	specs[pathExpiry].ExpiresAt = head.Clock + 3*uint64(c.params.MinChallenge) + 20
	specs[pathUnderfunded].Deposit = c.params.MinDeposit
	opened, err := c.buying.Open(ctx, specs)
	if err != nil {
		return fmt.Errorf("open special channels: %w", err)
	}
	c.channels = opened
	return await(ctx, func() (bool, error) {
		_, known := c.selling.Total()
		return known == paths, nil
	})
}

// settle submits one voucher as the payee.
func (c *corner) settle(ctx context.Context, record pay.Channel, v pay.Voucher) (settlement.Receipt, error) {
	b := batch(record, v)
	return c.payee.Submit(ctx, chain.KindSettle, b.Encode())
}

// coopClose: both agree to end below the best voucher, a refund for bad service.
func (c *corner) coopClose(ctx context.Context) (outcome, error) {
	const signed, final = 50_000, 30_000
	pc := c.channels[pathCoop]
	v, err := pc.Pay(ctx, 0, signed, 1)
	if err != nil {
		return outcome{}, err
	}
	if _, err := c.selling.Accept(ctx, v, signed); err != nil {
		return outcome{}, err
	}
	head, err := c.head(ctx)
	if err != nil {
		return outcome{}, err
	}
	offer, err := pc.OfferClose(ctx, final, head.Height+pay.CloseBlocks/2, nil)
	if err != nil {
		return outcome{}, err
	}
	agreed, err := c.selling.AcceptClose(ctx, offer, final)
	if err != nil {
		return outcome{}, err
	}
	if _, err := pc.CoopClose(ctx, agreed, nil); err != nil {
		return outcome{}, fmt.Errorf("cooperative close: %w", err)
	}
	return outcome{
		path:  "cooperative close",
		what:  fmt.Sprintf("both signed to end at %d of the %d drops owed", final, signed),
		total: final,
	}, c.ended(ctx, pc)
}

// challenge: the payer asks to close before the payee has redeemed anything; the
// payee's redeemer sees it and claims within the window.
func (c *corner) challenge(ctx context.Context) (outcome, error) {
	const signed = 70_000
	pc := c.channels[pathChallenge]
	v, err := pc.Pay(ctx, 0, signed, 1)
	if err != nil {
		return outcome{}, err
	}
	if _, err := c.selling.Accept(ctx, v, signed); err != nil {
		return outcome{}, err
	}
	watch, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- c.redeemer.Run(watch) }()
	if err := pc.RequestClose(ctx); err != nil {
		return outcome{}, fmt.Errorf("request close: %w", err)
	}
	if err := c.ended(ctx, pc); err != nil {
		return outcome{}, err
	}
	stop()
	if err := <-done; err != nil {
		return outcome{}, err
	}
	return outcome{
		path:  "payer closes",
		what:  fmt.Sprintf("the payee claimed all %d drops within the challenge window", signed),
		total: signed,
	}, nil
}

// underfunded: the payer signs more than it deposited; the payee gets the deposit.
func (c *corner) underfunded(ctx context.Context) (outcome, error) {
	pc := c.channels[pathUnderfunded]
	record, key := pc.Record(), pay.VoucherKey([ledger.SeedSize]byte{2}, pathUnderfunded)
	over := channel.Voucher{ChannelID: record.ID, Cumulative: 5 * record.Deposit, Units: 5}
	v := pay.Voucher{Voucher: over, Signature: key.Sign(over.Signed(c.client.Domain()))}
	if _, err := c.selling.Accept(ctx, v, 1); !errors.Is(err, pay.Underfunded.Err()) {
		return outcome{}, fmt.Errorf("the payee accepted a voucher above the deposit: %w", err)
	}
	receipt, err := c.settle(ctx, record, v)
	if err != nil {
		return outcome{}, fmt.Errorf("settle above the deposit: %w", err)
	}
	if code := receipt.Entries[0].Code; code != chain.CodePartial {
		return outcome{}, fmt.Errorf("settle above the deposit: %v, want %v", code, chain.CodePartial)
	}
	if err := c.redeemer.Close(ctx, record.ID); err != nil {
		return outcome{}, fmt.Errorf("close the underfunded channel: %w", err)
	}
	return outcome{
		path:  "underfunded",
		what:  fmt.Sprintf("%v: a claim of %d drops got the deposit of %d", chain.CodePartial, v.Cumulative, record.Deposit),
		total: record.Deposit,
	}, c.ended(ctx, pc)
}

// refused: a stale claim and one with a bad signature never reach a block.
func (c *corner) refused(ctx context.Context) (outcome, error) {
	const first, second = 20_000, 15_000
	pc := c.channels[pathRefused]
	old, err := pc.Pay(ctx, 0, first, 1)
	if err != nil {
		return outcome{}, err
	}
	v, err := pc.Pay(ctx, 0, second, 1)
	if err != nil {
		return outcome{}, err
	}
	if _, err := c.selling.Accept(ctx, v, first); err != nil {
		return outcome{}, err
	}
	forged := v
	forged.Cumulative++ // one drop more than was signed
	if _, err := c.settle(ctx, pc.Record(), forged); !errors.Is(err, chain.CodeBadSignature.Err()) {
		return outcome{}, fmt.Errorf("a forged voucher: %w, want %v", err, chain.CodeBadSignature)
	}
	if _, err := c.settle(ctx, pc.Record(), v); err != nil {
		return outcome{}, err
	}
	if _, err := c.settle(ctx, pc.Record(), old); !errors.Is(err, chain.CodeStale.Err()) {
		return outcome{}, fmt.Errorf("a stale voucher: %w, want %v", err, chain.CodeStale)
	}
	if err := c.redeemer.Close(ctx, pc.ID()); err != nil {
		return outcome{}, fmt.Errorf("close: %w", err)
	}
	return outcome{
		path:  "stale, forged",
		what:  fmt.Sprintf("refused at the API as %v and %v", chain.CodeStale, chain.CodeBadSignature),
		total: first + second,
	}, c.ended(ctx, pc)
}

// expiry: nobody closes; the chain does, and refunds the rest.
func (c *corner) expiry(ctx context.Context) (outcome, error) {
	const signed = 40_000
	pc := c.channels[pathExpiry]
	v, err := pc.Pay(ctx, 0, signed, 1)
	if err != nil {
		return outcome{}, err
	}
	if _, err := c.settle(ctx, pc.Record(), v); err != nil {
		return outcome{}, fmt.Errorf("settle before the expiry: %w", err)
	}
	return outcome{
		path:  "expiry",
		what:  fmt.Sprintf("the chain refunded %d of %d drops at the deadline", deposit-signed, deposit),
		total: signed,
	}, c.ended(ctx, pc)
}

// ended waits until the channel is closed.
func (c *corner) ended(ctx context.Context, pc *pay.PayerChannel) error {
	err := await(ctx, func() (bool, error) {
		_, err := c.payer.Channel(ctx, pc.ID())
		if errors.Is(err, chain.CodeChannelNotFound.Err()) {
			return true, nil
		}
		return false, err
	})
	if err != nil {
		return fmt.Errorf("wait for the close of channel %s: %w", pc.ID(), err)
	}
	return nil
}
