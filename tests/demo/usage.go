package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/testnet"
	"github.com/tributary-network/tributary/shard/link"
)

const (
	usageZones    = 2                        // a customer and a provider in each
	usageChannels = 5                        // of each customer to each provider on each service
	usageRounds   = 4                        // the providers book this often
	usageUnits    = 10                       // of a channel in a round
	usagePrice    = ledger.Amount(5_000)     // of a channel in a round
	usageDeposit  = 10 * usagePrice          // of a channel
	usageTotal    = usageRounds * usagePrice // of a channel in the end
)

// usage is the part of the demo that books what was used on two services, from customers
// in two zones to providers in two zones. What is booked on one service the shards settle
// by themselves at the ends of epochs, what is booked on the other one the providers
// settle directly as well.
type usage struct {
	*market
	customers, providers []*trader
	sales                []*sale

	mu       sync.Mutex
	finals   []time.Duration // of bookings, until anchored
	bookings int
	vouchers int
	crossed  int           // bookings whose earnings went to another shard
	direct   ledger.Amount // what providers settled themselves
	proved   int
	hops     int
}

// sale is a channel of the services.
type sale struct {
	service  uint32
	customer *trader
	provider *trader
	key      ledger.PrivateKey
	channel  pay.Channel
}

// voucher is what the channel owes after a round, for a booking or a settlement.
func (s *sale) voucher(d chain.Domain, round int) channel.Entry {
	n := ledger.Amount(round + 1) //nolint:gosec // at most usageRounds
	e := channel.Entry{Index: s.channel.Index, Claim: channel.ClaimVoucher, Cumulative: n * usagePrice, Units: uint64(n) * usageUnits}
	e.Signature = s.key.Sign(e.Signed(d, s.channel.ID))
	return e
}

// bookUsage books and settles what was used on the services.
func (m *market) bookUsage(ctx context.Context, step progress) error {
	u := &usage{market: m}
	m.used = u
	for zone := range byte(usageZones) {
		u.customers = append(u.customers, m.traderIn(fmt.Sprintf("customer in zone %d", zone), zone))
		u.providers = append(u.providers, m.traderIn(fmt.Sprintf("provider in zone %d", zone), zone))
	}
	for _, t := range u.traders() {
		if _, err := m.client.Faucet(ctx, t.Address(), grant); err != nil {
			return fmt.Errorf("fund %s: %w", t.name, err)
		}
	}
	if err := u.open(ctx); err != nil {
		return err
	}
	step.say("%d channels of two services are known to the shards that are their homes", len(u.sales))
	for round := range usageRounds {
		if err := u.eachProvider(ctx, func(ctx context.Context, p *trader, service uint32) error {
			return u.book(ctx, p, service, round)
		}); err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
		step.say("usage, round %d of %d: %d vouchers booked in %d bookings, each anchored", round+1, usageRounds, u.vouchers, u.bookings)
	}
	if err := u.eachProvider(ctx, u.earned); err != nil {
		return err
	}
	step.say("what was booked arrived at the homes of the providers, %d times in another shard", u.crossed)
	if err := u.settled(ctx); err != nil {
		return err
	}
	step.say("the shards settled on the main chain what was booked on them")
	return u.closeSales(ctx)
}

// traders are all accounts of this part.
func (u *usage) traders() []*trader {
	return append(append([]*trader{}, u.customers...), u.providers...)
}

// eachProvider calls f for each provider on each service, all at once.
func (u *usage) eachProvider(ctx context.Context, f func(context.Context, *trader, uint32) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range u.providers {
		for _, service := range []uint32{testnet.Content, testnet.Storage} {
			group.Go(func() error {
				if err := f(ctx, p, service); err != nil {
					return fmt.Errorf("%s, service %d: %w", p.name, service, err)
				}
				return nil
			})
		}
	}
	return group.Wait()
}

// of returns the sales of a provider on a service.
func (u *usage) of(p *trader, service uint32) (list []*sale) {
	for _, s := range u.sales {
		if s.provider == p && s.service == service {
			list = append(list, s)
		}
	}
	return list
}

// open opens the channels, all of a customer by one signature, and waits until their homes
// have been told of them.
func (u *usage) open(ctx context.Context) error {
	head, err := u.head(ctx)
	if err != nil {
		return err
	}
	for _, c := range u.customers {
		var params []channel.OpenParams
		var made []*sale
		for _, service := range []uint32{testnet.Content, testnet.Storage} {
			for _, p := range u.providers {
				for range usageChannels {
					key := pay.VoucherKey([ledger.SeedSize]byte{2}, uint64(len(u.sales)+len(made)))
					made = append(made, &sale{service: service, customer: c, provider: p, key: key})
					params = append(params, channel.OpenParams{
						Payee: p.Address(), VoucherKey: key.Public(), Deposit: usageDeposit, ExpiresAt: head.Clock + farExpiry,
						Challenge: u.params.DefaultChallenge, Service: service,
					})
				}
			}
		}
		opened, receipt, err := c.OpenChannels(ctx, params)
		if err != nil {
			return fmt.Errorf("open channels of %s: %w", c.name, err)
		}
		c.spent += receipt.Fee
		for i := range opened {
			made[i].channel = opened[i]
		}
		u.sales = append(u.sales, made...)
	}
	for _, s := range u.sales {
		if _, err := u.client.AwaitUsage(ctx, s.channel.ID, nil); err != nil {
			return err
		}
	}
	return nil
}

// book books the vouchers of a round, and on the second service settles them too.
func (u *usage) book(ctx context.Context, p *trader, service uint32, round int) error {
	sales := u.of(p, service)
	entries := make([]client.UsageEntry, len(sales))
	batch := channel.Batch{Payee: p.Address()}
	for i, s := range sales {
		e := s.voucher(u.client.Domain(), round)
		entries[i] = client.UsageEntry{Payer: s.customer.Address(), Entry: e}
		batch.Entries = append(batch.Entries, e)
	}
	begin := time.Now()
	made, err := p.BookUsage(ctx, service, entries, client.StageFinal)
	if err != nil {
		return fmt.Errorf("book usage: %w", err)
	}
	took := time.Since(begin)
	applied := 0
	for i := range made {
		applied += made[i].Applied
	}
	if applied != len(sales) {
		return fmt.Errorf("%d of %d vouchers were booked", applied, len(sales))
	}
	u.mu.Lock()
	u.finals = append(u.finals, took)
	u.bookings, u.vouchers = u.bookings+len(made), u.vouchers+applied
	u.mu.Unlock()
	if round == usageRounds-1 {
		for i := range made {
			if err := u.follow(ctx, &made[i]); err != nil {
				return err
			}
		}
	}
	if service != testnet.Storage {
		return nil
	}
	receipt, err := p.Settle(ctx, batch)
	if errors.Is(err, chain.CodeStale.Err()) {
		return nil // the shards were faster
	}
	if err != nil {
		return fmt.Errorf("settle directly: %w", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	p.spent += receipt.Fee
	u.direct += receipt.Paid + receipt.Burned
	return nil
}

// follow traces a booking until its earnings are acknowledged by the provider's home, and
// proves its first voucher from the genesis.
func (u *usage) follow(ctx context.Context, b *client.Booking) error {
	var t client.Trace
	err := await(ctx, func() (bool, error) {
		var err error
		if t, err = u.client.Trace(ctx, b.Hash, b.Shard); err != nil {
			return false, err
		}
		for i := range t.Hops {
			if t.Hops[i].Phase != link.PhaseAcked {
				return false, nil
			}
		}
		return t.Phase == link.PhaseAnchored, nil
	})
	if err != nil {
		return fmt.Errorf("trace booking %s: %w", b.Hash, err)
	}
	trust, err := client.TrustCommittee(u.client.Domain(), u.genesis.Settlement().Committee())
	if err != nil {
		return err
	}
	err = await(ctx, func() (bool, error) {
		p, err := u.client.ProveBooking(ctx, b.Hash, b.Shard, 0)
		if e, ok := errors.AsType[*client.Error](err); ok && e.Reason == "PROOF_UNAVAILABLE" {
			return false, nil
		}
		if err != nil || p.Assignment == nil || p.Anchor == nil {
			return false, err
		}
		var trusted []*client.Trust
		for _, s := range []*client.CertifiedState{p.Assignment, p.Anchor} {
			at, _, err := u.client.FollowCommittees(ctx, trust, s.Certificate.Checkpoint.Epoch)
			if err != nil {
				return false, err
			}
			trusted = append(trusted, at)
		}
		return p.Verify(trusted...)
	})
	if err != nil {
		return fmt.Errorf("prove booking %s: %w", b.Hash, err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.proved++
	u.hops += len(t.Hops)
	if len(t.Hops) > 0 {
		u.crossed++
	}
	return nil
}

// earned waits until the provider's home has counted all that was booked for it.
func (u *usage) earned(ctx context.Context, p *trader, service uint32) error {
	want := usageTotal * ledger.Amount(len(u.of(p, service)))
	got := uint64(0)
	err := await(ctx, func() (bool, error) {
		e, err := u.client.Earnings(ctx, p.Address(), fmt.Sprint(service))
		got = e.Total.Amount
		if err == nil && got > uint64(want) {
			err = fmt.Errorf("earned %d drops, and %d were booked", got, want)
		}
		return got == uint64(want), err
	})
	if err != nil {
		return fmt.Errorf("earnings of %d drops, want %d: %w", got, want, err)
	}
	return nil
}

// settled waits until the main chain has paid what is booked, and the shards know that;
// some of it the providers settled, and the rest the shards.
func (u *usage) settled(ctx context.Context) error {
	for _, s := range u.sales {
		var c client.ChannelInfo
		err := await(ctx, func() (ok bool, err error) {
			c, err = u.client.Channel(ctx, s.channel.ID)
			return c.Redeemed == usageTotal, err
		})
		if err != nil {
			return fmt.Errorf("channel %d of service %d: %d of %d drops are settled: %w", s.channel.Index, s.service, c.Redeemed, usageTotal, err)
		}
		_, err = u.client.AwaitUsage(ctx, s.channel.ID, func(x *client.Usage) bool { return len(x.Lanes) == 1 && x.Lanes[0].Redeemed == usageTotal })
		if err != nil {
			return err
		}
	}
	if all := usageTotal * ledger.Amount(len(u.sales)); u.direct == 0 || u.direct >= all {
		return fmt.Errorf("%d of %d drops are settled directly, and the demo is to show both ways", u.direct, all)
	}
	return nil
}

// closeSales has the providers close their channels, which refunds the customers.
func (u *usage) closeSales(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range u.providers {
		group.Go(func() error {
			b := channel.Batch{Payee: p.Address()}
			for _, s := range u.sales {
				if s.provider == p {
					b.Entries = append(b.Entries, channel.Entry{Index: s.channel.Index, Close: true})
				}
			}
			receipt, err := p.Settle(ctx, b)
			if err != nil {
				return fmt.Errorf("close the channels of %s: %w", p.name, err)
			}
			u.mu.Lock()
			defer u.mu.Unlock()
			p.spent += receipt.Fee
			return nil
		})
	}
	return group.Wait()
}

// owed is what the accounts of this part must own.
func (u *usage) owed() (list []owed) {
	for _, c := range u.customers {
		n := ledger.Amount(0)
		for _, s := range u.sales {
			if s.customer == c {
				n++
			}
		}
		list = append(list, owed{c, grant - n*usageTotal - c.spent})
	}
	for _, p := range u.providers {
		n := ledger.Amount(len(u.of(p, testnet.Content)) + len(u.of(p, testnet.Storage)))
		list = append(list, owed{p, grant + n*u.paidOut(usageTotal) - p.spent})
	}
	return list
}
