package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/testnet"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

const (
	// usageTry is how long a booking may take before it is submitted again, usageRest
	// how long it rests before.
	usageTry  = 20 * time.Second
	usageRest = 100 * time.Millisecond
	// usagePatience is how long it is tried: a test waits several times, for patience at
	// most, while a shard that is to book stands still.
	usagePatience = 4 * patience
)

// usageLoad is payees that book without pause what payers in other shards owe them, and
// what they were told is booked.
type usageLoad struct {
	supply ledger.Amount
	domain chain.Domain
	payers []*client.Account
	keys   []ledger.PrivateKey // of the payers
	books  []*usageBook
	late   int // of the last nodes began with a snapshot, and do not know what was booked before

	mu       sync.Mutex
	acked    []client.Booking
	rounds   map[uint32]int    // acknowledged, by service
	messages map[parcel]uint32 // entries, of what another shard is to be told
}

// parcel is what goes from one shard to another as one message: all that a block has
// booked for a payee.
type parcel struct {
	from, to shard.ID
	height   uint64
	payee    ledger.Address
}

// usageBook is what a payee books on one service: one more voucher each round on the
// channel of every payer, or if there are more payees of those in other shards.
type usageBook struct {
	service  uint32
	account  *client.Account
	home     shard.ID
	payers   []int // whose channels it has, by their numbers, ascending
	channels []pay.Channel
	rounds   int  // acknowledged
	tries    int  // begun; usageLoad.mu guards it
	final    bool // it waits until its bookings are final
}

// placed returns a key whose account in a zone is in the lower or upper half of the
// zone's buckets, the n-th such.
func placed(name string, zone byte, upper bool, n int) ledger.PrivateKey {
	for i := 0; ; i++ {
		key := testKey(fmt.Sprintf("%s %d %d", name, zone, i))
		if key.Address(zone).Bucket() >= 128 == upper {
			if n--; n < 0 {
				return key
			}
		}
	}
}

// startUsage opens a channel for each service from a payer in every shard of the
// content service to payees in all of them, so many in each for the first service and one
// for the others, and waits until the channels are known at home.
func startUsage(t *testing.T, net *testnet.Network, payees int, services ...uint32) *usageLoad {
	t.Helper()
	return startUsageIn(t, net, 2, payees, services...)
}

// startUsageIn is startUsage in so many of the zones.
func startUsageIn(t *testing.T, net *testnet.Network, zones, payees int, services ...uint32) *usageLoad {
	t.Helper()
	return startWideUsage(t, net, zones, payees, 1, services...)
}

// startWideUsage is startUsageIn with so many channels from each payer to each payee.
func startWideUsage(t *testing.T, net *testnet.Network, zones, payees, width int, services ...uint32) *usageLoad {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := net.WaitShards(ctx); err != nil {
		t.Fatal(err)
	}
	supply, err := net.Genesis.Settlement().Supply()
	if err != nil {
		t.Fatal(err)
	}
	first := dial(t, net, 0)
	u := &usageLoad{supply: supply, domain: first.Domain(), rounds: map[uint32]int{}, messages: map[parcel]uint32{}}
	var clients []*client.Client // every payee uses another node first
	for i := range net.Nodes {
		clients = append(clients, dial(t, net, i, others(net, i)...))
	}
	status, err := first.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for half := range 2 * zones {
		zone, upper := byte(half/2), half%2 == 1 //nolint:gosec // 0 or 1
		key := placed("payer", zone, upper, 0)
		payer := first.Account(pay.NewIdentity(key, zone))
		if _, err := first.Faucet(ctx, payer.Address(), 10_000*ledger.DropsPerCoin); err != nil {
			t.Fatalf("fund a payer: %v", err)
		}
		u.payers, u.keys = append(u.payers, payer), append(u.keys, key)
		for n := range payees {
			c := clients[(half+n)%len(clients)]
			for i, srv := range services {
				if i > 0 && n > 0 {
					continue
				}
				b := &usageBook{service: srv, account: c.Account(pay.NewIdentity(placed("payee", zone, upper, n), zone))}
				for p := range 2 * zones {
					if n == 0 || p != half {
						b.payers = append(b.payers, slices.Repeat([]int{p}, width)...)
					}
				}
				u.books = append(u.books, b)
			}
		}
	}
	for i, payer := range u.payers {
		var params []channel.OpenParams
		var of []*usageBook
		for _, b := range u.books {
			for _, p := range b.payers {
				if p != i {
					continue
				}
				of = append(of, b)
				params = append(params, channel.OpenParams{
					Payee: b.account.Address(), VoucherKey: u.keys[i].Public(), Service: b.service,
					Deposit: loadDeposit, ExpiresAt: status.Chains[0].Clock + 400_000, Challenge: 100,
				})
			}
		}
		opened, _, err := payer.OpenChannels(ctx, params)
		if err != nil {
			t.Fatalf("open channels: %v", err)
		}
		for j, b := range of {
			b.channels = append(b.channels, opened[j])
		}
	}
	for _, b := range u.books {
		b.home = homeOf(t, first, b)
		for i := range b.channels {
			for _, c := range clients { // a node may be behind others, and refuses what it does not know yet
				await(t, 20*time.Second, "a channel is known at home", func(ctx context.Context) bool {
					_, err := c.Usage(ctx, b.channels[i].ID)
					return err == nil
				})
			}
		}
	}
	return u
}

// others is all nodes but i, the next one first.
func others(net *testnet.Network, i int) (list []int) {
	for n := 1; n < len(net.Nodes); n++ {
		list = append(list, (i+n)%len(net.Nodes))
	}
	return list
}

// homeOf returns the shard that counts what a payee earns.
func homeOf(t *testing.T, c *client.Client, b *usageBook) shard.ID {
	t.Helper()
	list, err := c.Locate(t.Context(), b.account.Address(), strconv.FormatUint(uint64(b.service), 10))
	if err != nil || len(list) != 1 {
		t.Fatalf("the home of a payee: %d shards, %v", len(list), err)
	}
	return list[0].Shard
}

// begin books in the background. end ends that, when each payee's booking under way is
// acknowledged, and fails the test if one was refused.
func (u *usageLoad) begin(t *testing.T) (end func()) {
	t.Helper()
	return beside(t, len(u.books), func(ctx context.Context, i int) (err error) {
		for b := u.books[i]; ctx.Err() == nil && err == nil && b.rounds < loadDeposit/loadPrice; {
			err = u.round(b)
		}
		return err
	})
}

// beside does so many pieces of work beside the test. end, which the end of the test does
// too, ends their context and waits for them, and fails the test by their errors.
func beside(t *testing.T, n int, work func(ctx context.Context, i int) error) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	failures := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { failures[i] = work(ctx, i) })
	}
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	return func() {
		t.Helper()
		cancel()
		group.Wait()
		if err := errors.Join(failures...); err != nil {
			t.Fatal(err)
		}
	}
}

// round books one more voucher on every channel of b. It tries until all of them are
// acknowledged: what was booked and not acknowledged is booked once nevertheless.
func (u *usageLoad) round(b *usageBook) error {
	entries := u.entries(b)
	for begin := time.Now(); ; {
		list, err := u.try(b, entries)
		u.note(b, list)
		if err == nil {
			break
		}
		// A shard that has ended refuses, and until its heirs serve nobody takes it.
		code, refused := chain.CodeOf(err)
		if refused && code != chain.CodeShardEnded && code != chain.CodeWrongShard || time.Since(begin) > usagePatience {
			return fmt.Errorf("round %d of service %d: %w", b.rounds+1, b.service, err)
		}
		<-time.After(usageRest)
	}
	b.rounds++
	u.mu.Lock()
	defer u.mu.Unlock()
	u.rounds[b.service]++
	return nil
}

// entries are one more voucher on every channel of b.
func (u *usageLoad) entries(b *usageBook) []client.UsageEntry {
	entries := make([]client.UsageEntry, len(b.channels))
	for i, ch := range b.channels {
		e := channel.Entry{
			Index: ch.Index, Claim: channel.ClaimVoucher,
			Cumulative: ledger.Amount(b.rounds+1) * loadPrice, Units: uint64(b.rounds + 1), //nolint:gosec // positive
		}
		payer := b.payers[i]
		e.Signature = u.keys[payer].Sign(e.Signed(u.domain, ch.ID))
		entries[i] = client.UsageEntry{Payer: u.payers[payer].Address(), Entry: e}
	}
	return entries
}

func (u *usageLoad) try(b *usageBook, entries []client.UsageEntry) ([]client.Booking, error) {
	u.mu.Lock()
	b.tries++
	u.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), usageTry)
	defer cancel()
	stage := client.StageIncluded
	if b.final {
		stage = client.StageFinal
	}
	list, err := b.account.BookUsage(ctx, b.service, entries, stage)
	for i := range list {
		for _, r := range list[i].Results {
			if r.Code != chain.CodeOK && r.Code != chain.CodeStale {
				return list, r.Code.Err()
			}
		}
	}
	return list, err
}

// note remembers the bookings of list that are acknowledged.
func (u *usageLoad) note(b *usageBook, list []client.Booking) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range list {
		if list[i].Stage < client.StageIncluded || list[i].Stage > client.StageFinal {
			continue
		}
		u.acked = append(u.acked, list[i])
		if list[i].Shard != b.home && list[i].Applied > 0 {
			u.messages[parcel{list[i].Shard, b.home, list[i].Height, b.account.Address()}] += uint32(list[i].Applied) //nolint:gosec // few
		}
	}
}

// sent is how many messages shards had to send each other.
func (u *usageLoad) sent() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.messages)
}

// executed is how many earnings messages the shards have executed, as a node has them:
// the numbers of the next messages of all links to the homes of payees.
func (u *usageLoad) executed(t *testing.T, net *testnet.Network, node int) (n int) {
	t.Helper()
	conn, err := grpc.NewClient(net.Nodes[node].GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // it was only asked
	relays := servicev1.NewRelayServiceClient(conn)
	c := dial(t, net, node)
	place := func(p link.Place) *servicev1.Place {
		return &servicev1.Place{Service: p.Service, Zone: uint32(p.Zone), Bucket: uint32(p.Bucket)}
	}
	known := map[link.Link]bool{}
	for _, b := range u.books {
		home := service.HomeOf(b.account.Address())
		req := &servicev1.GetWantedRequest{ChainId: uint32(homeOf(t, c, b))}
		for _, s := range shardsOf(t, c, b.service) {
			l := link.Link{
				Src: link.Place{Service: b.service, Zone: s.Zone, Bucket: uint8(s.Buckets.First)},
				Dst: link.Place{Service: b.service, Zone: home.Zone, Bucket: home.Bucket},
			}
			if uint32(s.ID) != req.GetChainId() && !known[l] {
				known[l] = true
				req.Links = append(req.Links, &servicev1.LinkName{From: place(l.Src), To: place(l.Dst)})
			}
		}
		resp, err := relays.GetWanted(t.Context(), req)
		if err != nil || len(resp.GetLinks()) != len(req.GetLinks()) {
			t.Fatalf("ask for %d links: %d, %v", len(req.GetLinks()), len(resp.GetLinks()), err)
		}
		for _, rows := range resp.GetLinks() {
			in, err := link.DecodeInbound(rows.GetInbound())
			if err != nil {
				t.Fatal(err)
			}
			n += int(in.Next) //nolint:gosec // few
		}
	}
	return n
}

// done is how often payees have booked on a service.
func (u *usageLoad) done(srv uint32) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.rounds[srv]
}

// more waits until payees have booked so often again on a service.
func (u *usageLoad) more(t *testing.T, srv uint32, n int, what string) time.Duration {
	t.Helper()
	before := u.done(srv)
	return await(t, 30*time.Second, what, func(context.Context) bool { return u.done(srv) >= before+n })
}

// booked is all that is booked on a service, when nothing is being booked.
func (u *usageLoad) booked(srv uint32) (sums ledger.Amount) {
	for _, b := range u.books {
		if b.service == srv {
			sums += ledger.Amount(b.rounds*len(b.channels)) * loadPrice
		}
	}
	return sums
}

// drained waits until every payee has earned at home what was booked, and returns how
// long that took.
func (u *usageLoad) drained(t *testing.T, c *client.Client) time.Duration {
	t.Helper()
	begin := time.Now()
	for _, b := range u.books {
		want := uint64(b.rounds * len(b.channels) * loadPrice) //nolint:gosec // positive
		got := uint64(0)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		tick := time.NewTicker(50 * time.Millisecond)
		for got != want {
			ask, done := context.WithTimeout(ctx, usageTry)
			e, err := c.Earnings(ask, b.account.Address(), strconv.FormatUint(uint64(b.service), 10))
			done()
			if err == nil {
				got = e.Total.Amount
			}
			if got > want {
				t.Fatalf("payee %s earned %d on service %d, want %d: something was counted twice", b.account.Address(), got, b.service, want)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				describe(t, c)
				t.Fatalf("payee %s earned %d on service %d, want %d: %s says %v", b.account.Address(), got, b.service, want, c.Endpoint(), err)
			}
		}
		tick.Stop()
		cancel()
	}
	return time.Since(begin).Round(time.Millisecond)
}

// describe logs how all shards are as a node sees them.
func describe(t *testing.T, c *client.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), usageTry)
	defer cancel()
	for s, err := range c.Shards(ctx, "", nil) {
		if err != nil {
			t.Log(err)
			return
		}
		d, err := c.ShardStatus(ctx, s.ID)
		t.Logf("%s: epoch %d, anchored %d (%s); at %s height %d of epoch %d, clock %d, certified %d, %+v, level %d, totals %+v, %v", s.Shard, s.Epoch, s.Anchoring.Height,
			s.Anchoring.Status, d.Moniker, d.Height, d.ShardEpoch, d.Clock, d.Certified, d.Backlog, d.Level, d.Totals, err)
	}
}

// conserved waits until all that was booked is earned in the shards of all services, as a
// node has them.
func (u *usageLoad) conserved(t *testing.T, c *client.Client, name string) {
	t.Helper()
	var services []uint32
	for _, b := range u.books {
		if !slices.Contains(services, b.service) {
			services = append(services, b.service)
		}
	}
	for _, srv := range services {
		want := uint64(u.booked(srv))
		await(t, 20*time.Second, fmt.Sprintf("%s: %d are booked on service %d, and nothing is under way", name, want, srv), func(ctx context.Context) bool {
			var list []service.Totals
			var booked, earned service.Sums
			for s, err := range c.Shards(ctx, strconv.FormatUint(uint64(srv), 10), nil) {
				if err != nil {
					return false
				}
				status, err := c.ShardStatus(ctx, s.ID)
				if err != nil {
					return false
				}
				list = append(list, status.Totals)
				booked, earned = booked.Plus(status.Totals.Booked), earned.Plus(status.Totals.Earned)
			}
			if booked.Amount > want || earned.Amount > want {
				t.Fatalf("%s: service %d has booked %+v and earned %+v, want %d", name, srv, booked, earned, want)
			}
			return service.InFlight(list...) == service.Sums{} && booked == earned && booked.Amount == want
		})
	}
}

// alike waits until all nodes are at the same height of each shard, and fails the test
// if their states are not the same there.
func alike(t *testing.T, nodes []*client.Client) {
	t.Helper()
	for _, id := range allShards(t, nodes[0]) {
		await(t, 20*time.Second, fmt.Sprintf("all nodes are at the same height of shard %d", id), func(ctx context.Context) bool {
			first, err := nodes[0].ShardStatus(ctx, id)
			for _, c := range nodes[1:] {
				if err != nil {
					return false
				}
				var s client.ShardStatus
				if s, err = c.ShardStatus(ctx, id); err != nil || s.Height != first.Height {
					return false
				}
				if s.AppHash != first.AppHash {
					t.Fatalf("shard %d at height %d: %s on %s, %s on %s", id, s.Height, s.AppHash, s.Moniker, first.AppHash, first.Moniker)
				}
			}
			return true
		})
	}
}

// allShards returns the shards of all services, ascending.
func allShards(t *testing.T, c *client.Client) (ids []shard.ID) {
	t.Helper()
	for s, err := range c.Shards(t.Context(), "", nil) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.ID)
	}
	slices.Sort(ids)
	return ids
}
