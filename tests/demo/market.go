package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/genesis"
	"github.com/tributary-network/tributary/node/testnet"
)

const (
	sellers    = 10
	channels   = 1_000
	vouchers   = 100_000
	rounds     = 10 // the payees settle this often
	unitPrice  = ledger.Amount(1_234)
	deposit    = 200_000 // drops; a channel signs 123,400
	grant      = 1_000 * ledger.DropsPerCoin
	perRound   = vouchers / channels / rounds // vouchers of a channel in a round
	farExpiry  = 100_000                      // blocks
	pipeBuffer = 256
)

// market is one payer and the sellers it buys from.
type market struct {
	client  *client.Client
	params  settlement.Params
	buyer   *trader
	payer   *pay.Payer
	sellers []*seller
	genesis genesis.Document
	supply  ledger.Amount // of the genesis

	following sync.WaitGroup // keeps the payees up to date
	stop      context.CancelFunc
	broken    chan error // of capacity sellers; what following ended with

	special []outcome
	used    *usage
	corner  *corner
	trading time.Duration // signing and checking, without settling
	settled time.Duration
}

// seller is a payee with its session.
type seller struct {
	*trader
	payee    *pay.Payee
	redeemer *pay.Redeemer
	channels []*pay.PayerChannel
}

// trader is an account whose transactions are counted. It is the pay.Chain of
// its sessions.
type trader struct {
	*client.Account
	name string

	mu        sync.Mutex
	spent     ledger.Amount   // fees
	latencies []time.Duration // of settlements, until final
	entries   int
	bytes     int
}

// Submit implements pay.Chain and keeps count.
func (t *trader) Submit(ctx context.Context, kind chain.Kind, payload []byte) (settlement.Receipt, error) {
	begin := time.Now()
	receipt, err := t.Account.Submit(ctx, kind, payload)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spent += receipt.Fee
	if err == nil && kind == chain.KindSettle && receipt.Code == chain.CodeOK {
		t.latencies = append(t.latencies, time.Since(begin))
		t.entries += len(receipt.Entries)
		t.bytes += chain.TxOverhead + len(payload)
	}
	return receipt, err
}

func newMarket(ctx context.Context, net *testnet.Network) (*market, error) {
	var others []string
	for _, n := range net.Nodes[1:] {
		others = append(others, n.GRPC)
	}
	c, err := client.Dial(ctx, net.Nodes[0].GRPC, client.WithEndpoints(others...))
	if err != nil {
		return nil, err
	}
	background, stop := context.WithCancel(ctx)
	m := &market{client: c, params: c.Params(), stop: stop, broken: make(chan error, sellers), genesis: net.Genesis}
	if m.supply, err = net.Genesis.Settlement().Supply(); err != nil {
		return nil, errors.Join(err, m.close())
	}
	m.buyer = m.trader("payer")
	if m.payer, err = pay.OpenPayer(pay.PayerConfig{Domain: c.Domain(), Account: m.buyer.Identity(), Chain: m.buyer}); err != nil {
		return nil, errors.Join(err, m.close())
	}
	for i := range sellers {
		s := &seller{trader: m.trader(fmt.Sprintf("payee %d", i))}
		s.payee, err = pay.OpenPayee(pay.PayeeConfig{
			Domain: c.Domain(), Account: s.Identity(), Chain: s,
			Redeem: pay.RedeemPolicy{MaxAge: -1, DepositShare: ledger.BasisPoints},
		})
		if err != nil {
			return nil, errors.Join(err, m.close())
		}
		s.redeemer = pay.NewRedeemer(s.payee, m.params)
		m.following.Go(func() { m.broken <- m.follow(background, s.payee, s.Address()) })
		m.sellers = append(m.sellers, s)
	}
	return m, nil
}

func (m *market) trader(name string) *trader { return m.traderIn(name, 0) }

func (m *market) traderIn(name string, zone byte) *trader {
	key := ledger.NewPrivateKey(ledger.HashOf("trib/demo/key", []byte(name)))
	return &trader{Account: m.client.Account(pay.NewIdentity(key, zone)), name: name}
}

func (m *market) close() error {
	m.stop()
	m.following.Wait()
	close(m.broken)
	var failures []error
	for err := range m.broken {
		failures = append(failures, err)
	}
	if m.payer != nil {
		failures = append(failures, m.payer.Close())
	}
	for _, s := range m.sellers {
		failures = append(failures, s.payee.Close())
	}
	return errors.Join(append(failures, m.client.Close())...)
}

// traders are all accounts of the demo.
func (m *market) traders() []*trader {
	all := []*trader{m.buyer}
	for _, s := range m.sellers {
		all = append(all, s.trader)
	}
	return all
}

// fund gets every account its grant from the faucet.
func (m *market) fund(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, t := range m.traders() {
		group.Go(func() error {
			got, err := m.client.Faucet(ctx, t.Address(), grant)
			if err == nil && got != grant {
				err = fmt.Errorf("the faucet gave %s of %s", got, grant)
			}
			if err != nil {
				return fmt.Errorf("fund %s: %w", t.name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// open opens all channels by one transaction of the payer and tells the payees.
func (m *market) open(ctx context.Context) error {
	head, err := m.head(ctx)
	if err != nil {
		return err
	}
	specs := make([]pay.OpenSpec, channels)
	for i := range specs {
		specs[i] = pay.OpenSpec{
			Payee:   m.sellers[i%sellers].Address(),
			Key:     pay.VoucherKey([ledger.SeedSize]byte{1}, uint64(i)),
			Deposit: deposit, ExpiresAt: head.Clock + farExpiry, Challenge: m.params.DefaultChallenge,
		}
	}
	opened, err := m.payer.Open(ctx, specs)
	if err != nil {
		return fmt.Errorf("open channels: %w", err)
	}
	for i, c := range opened {
		s := m.sellers[i%sellers]
		s.channels = append(s.channels, c)
	}
	return m.each(ctx, func(ctx context.Context, s *seller) error {
		return await(ctx, func() (bool, error) {
			_, known := s.payee.Total()
			return known == len(s.channels), nil
		})
	})
}

// head returns where the chain is.
func (m *market) head(ctx context.Context) (client.ChainStatus, error) {
	status, err := m.client.Status(ctx)
	if err != nil {
		return client.ChainStatus{}, err
	}
	return status.Chains[0], nil
}

// await asks ten times a second until done says so.
func await(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// follow keeps a payee up to date with the chain until ctx ends.
func (m *market) follow(ctx context.Context, payee *pay.Payee, address ledger.Address) error {
	err := payee.Follow(m.client.Follow(ctx, client.Parties{Payee: address}))
	if ctx.Err() == nil {
		return fmt.Errorf("follow the chain: %w", err)
	}
	return nil // it ended because it was told to
}

// trade streams the vouchers in rounds and settles after each.
func (m *market) trade(ctx context.Context, step progress) error {
	for round := range rounds {
		begin := time.Now()
		if err := m.each(ctx, m.stream); err != nil {
			return err
		}
		m.trading += time.Since(begin)
		begin = time.Now()
		if err := m.each(ctx, func(ctx context.Context, s *seller) error {
			ids := make([]ledger.Hash, len(s.channels))
			for i, c := range s.channels {
				ids[i] = c.ID()
			}
			return s.redeemer.Redeem(ctx, ids...)
		}); err != nil {
			return fmt.Errorf("settle: %w", err)
		}
		m.settled += time.Since(begin)
		step.say("round %d of %d: %d vouchers paid and settled", round+1, rounds, (round+1)*vouchers/rounds)
	}
	return nil
}

func (m *market) each(ctx context.Context, f func(context.Context, *seller) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range m.sellers {
		group.Go(func() error { return f(ctx, s) })
	}
	return group.Wait()
}

// stream pays s on all its channels, perRound vouchers on each, over a pipe that
// stands for the application's own connection.
func (m *market) stream(ctx context.Context, s *seller) error {
	pipe := pay.NewPipe(pipeBuffer)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.payee.Serve(ctx, pipe) })
	group.Go(func() error {
		for range perRound {
			for _, c := range s.channels {
				v, err := c.PayUnits(ctx, 0, unitPrice, 1)
				if err != nil {
					return fmt.Errorf("pay %s: %w", s.name, err)
				}
				if err := pipe.Send(ctx, pay.Offer{Voucher: v, Price: unitPrice}); err != nil {
					return fmt.Errorf("send to %s: %w", s.name, err)
				}
			}
		}
		return nil
	})
	group.Go(func() error {
		defer pipe.Close()
		for range perRound * len(s.channels) {
			answer, err := pipe.Answer(ctx)
			if err == nil {
				err = answer.Result.Err
			}
			if err != nil {
				return fmt.Errorf("answer of %s: %w", s.name, err)
			}
		}
		return nil
	})
	return group.Wait()
}

// closeAll has every payee close its channels, which refunds the payer.
func (m *market) closeAll(ctx context.Context) error {
	return m.each(ctx, func(ctx context.Context, s *seller) error {
		ids := make([]ledger.Hash, len(s.channels))
		for i, c := range s.channels {
			ids[i] = c.ID()
		}
		return s.redeemer.Close(ctx, ids...)
	})
}

// latencies returns the times to final of all settlements, sorted.
func (m *market) latencies() []time.Duration {
	var all []time.Duration
	for _, s := range m.sellers {
		all = append(all, s.latencies...)
	}
	slices.Sort(all)
	return all
}

// paidOut returns what a payee gets of the first total drops of a channel.
func (m *market) paidOut(total ledger.Amount) ledger.Amount {
	rules := m.params.Rules()
	return total - rules.Burn(total)
}

// batch is a settlement of one voucher, made by hand.
func batch(c pay.Channel, v pay.Voucher) channel.Batch {
	return channel.Batch{Payee: c.Payee, Entries: []channel.Entry{{
		Index: c.Index, Lane: uint8(v.Lane), Claim: channel.ClaimVoucher,
		Cumulative: v.Cumulative, Units: v.Units, UsageRoot: v.UsageRoot, Signature: v.Signature,
	}}}
}
