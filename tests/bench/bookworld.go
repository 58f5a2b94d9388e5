package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/genesis"
	"github.com/tributary-network/tributary/node/testnet"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
	"github.com/tributary-network/tributary/shard"
)

const (
	bookShards   = 4  // of content: two in each of two zones
	bookSellers  = 20 // payees at home in a shard, for each shard that books for them
	bookEpoch    = 1_000_000
	bookExpiry   = 9 * bookEpoch // so late that bookings wait for the end of their epoch to be settled
	bookPrice    = bookUnits     // drops of a voucher: as many units as it covers count as work
	bookPatience = 2 * time.Minute

	// Those whose bookings are timed from shard to shard: many, each with a few vouchers,
	// so that much is timed and the machine is not busy with it.
	bookTravellers = 40
	travelChannels = 5

	bookAttempts = 1_000
	bookKeys     = 1 << 20 // number of the first key
)

// bookWorld is a network with services, and channels of content whose vouchers are
// booked.
type bookWorld struct {
	net     *testnet.Network
	domain  chain.Domain // of vouchers
	clients []*client.Client
	conns   []*grpc.ClientConn
	shards  []shard.ID

	// books[s] are the payees with payers in shard s: first bookSellers with their
	// home there too, then, of the first shard only, as many with it in the second.
	books [bookShards][]*book
	// travellers have payers in the first shard and their home in the second, and
	// neighbour both in the second.
	travellers []*book
	neighbour  *book
}

// book is one payee with one payer. Its owner is the goroutine that books.
type book struct {
	payer, payee ledger.PrivateKey
	from, to     ledger.Address // payer and payee
	shard        int            // of the payer
	channels     []openChannel
	round        int              // vouchers signed for each channel so far
	ready        []*service.Usage // vouchers signed ahead
	node         int
	earned       ledger.Amount
	height       uint64 // of the block with its last booking
}

// bookKey returns the next key from *n on whose account has its home in shard s.
func bookKey(s int, n *int) (ledger.PrivateKey, ledger.Address) {
	for {
		k := accountKey(bookKeys + *n)
		*n++
		if a := k.Address(byte(s / 2)); int(a.Bucket()/128) == s%2 {
			return k, a
		}
	}
}

// newBookWorld starts the network and opens channels for each payee.
func (b *bench) newBookWorld(ctx context.Context, channels int) (*bookWorld, error) {
	w := &bookWorld{}
	var accounts []genesis.Account
	next := 0
	add := func(from, home, node int) *book {
		k := &book{shard: from, node: node % validators}
		k.payer, k.from = bookKey(from, &next)
		k.payee, k.to = bookKey(home, &next)
		accounts = append(accounts, genesis.Account{Address: k.from, Balance: 1 << 44})
		return k
	}
	for i := range bookTravellers {
		w.travellers = append(w.travellers, add(0, bookAway, i))
	}
	w.neighbour = add(bookAway, bookAway, 0)
	for s := range w.books {
		sellers := bookSellers
		if s == 0 {
			sellers *= 2
		}
		for i := range sellers {
			home := s
			if i >= bookSellers {
				home = bookAway
			}
			w.books[s] = append(w.books[s], add(s, home, i))
		}
	}
	accounts = append(accounts, genesis.Account{Address: accountKey(0).Address(0), Balance: 1 << 44})
	var err error
	w.net, err = testnet.StartProcesses(ctx, b.binary, testnet.Options{
		Dir: filepath.Join(b.dir, "book"), Name: "local-book", Accounts: accounts,
		Params: func(p *settlement.Params) {
			p.MaxLifetime = 10 * bookEpoch
			p.Staking.Window, p.Staking.MaxMissed = staking.MaxWindow, staking.MaxWindow-1
			// Settlements at the end of an epoch are what another part measures.
			p.Staking.EpochBlocks = bookEpoch
		},
	})
	if err != nil {
		return nil, fmt.Errorf("start network: %w", err)
	}
	if err := w.connect(ctx); err != nil {
		return w, err
	}
	begin := time.Now()
	if err := w.openAll(ctx, channels); err != nil {
		return w, err
	}
	count := channels*bookSellers*(bookShards+1) + travelChannels*(bookTravellers+1)
	b.report.add("channels of a service opened and known to their shards", float64(count)/time.Since(begin).Seconds(), "channels/s")
	return w, nil
}

// connect dials every node and waits until all run the shards.
func (w *bookWorld) connect(ctx context.Context) error {
	patient := client.RetryPolicy{Attempts: bookAttempts} // a congested shard says when to come again
	for _, n := range w.net.Nodes {
		conn, err := grpc.NewClient(n.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return fmt.Errorf("dial %s: %w", n.GRPC, err)
		}
		w.conns = append(w.conns, conn)
		c, err := client.Dial(ctx, n.GRPC, client.WithInsecure(), client.WithRetry(patient), client.WithCallTimeout(bookPatience))
		if err != nil {
			return fmt.Errorf("dial %s: %w", n.GRPC, err)
		}
		w.clients = append(w.clients, c)
	}
	w.domain = w.clients[0].Domain()
	for i := range w.clients {
		if err := w.hosted(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// hosted waits until node i runs all shards of content.
func (w *bookWorld) hosted(ctx context.Context, i int) error {
	return w.until(ctx, func() (bool, error) {
		w.shards = w.shards[:0]
		for s, err := range w.clients[i].Shards(ctx, strconv.FormatUint(uint64(testnet.Content), 10), nil) {
			if err != nil {
				return false, fmt.Errorf("list shards: %w", err)
			}
			n := len(w.shards)
			if first := shard.Bucket(n % 2 * 128); n < bookShards && (s.Zone != byte(n/2) || !s.Buckets.Contains(first)) {
				return false, fmt.Errorf("shard %d of content is %s: the payers' homes are elsewhere", n, s.Shard)
			}
			if !s.Hosted {
				return false, nil
			}
			w.shards = append(w.shards, s.ID)
		}
		return len(w.shards) == bookShards, nil
	})
}

// until asks done ten times a second until it is true.
func (w *bookWorld) until(ctx context.Context, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, bookPatience)
	defer cancel()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("the network did not get there in time: %w", err)
		}
	}
}

// openAll opens channels of each payee, and waits until their shards know them.
func (w *bookWorld) openAll(ctx context.Context, channels int) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	all := slices.Concat(w.books[:]...)
	few := append(slices.Clone(w.travellers), w.neighbour)
	for _, k := range all {
		group.Go(func() error { return w.open(groupCtx, k, channels) })
	}
	for _, k := range few {
		group.Go(func() error { return w.open(groupCtx, k, travelChannels) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, k := range append(all, few...) {
		last := k.channels[len(k.channels)-1]
		err := w.until(ctx, func() (bool, error) {
			_, err := w.clients[0].Usage(ctx, last.id)
			if status.Code(err) == codes.NotFound {
				return false, nil
			}
			return err == nil, err
		})
		if err != nil {
			return fmt.Errorf("channel %d at its home: %w", last.index, err)
		}
	}
	return nil
}

func (w *bookWorld) open(ctx context.Context, k *book, count int) error {
	open := channel.Open{Channels: make([]channel.OpenParams, count)}
	for i := range open.Channels {
		key := accountKey(1000 + i%256)
		open.Channels[i] = channel.OpenParams{
			Payee: k.to, VoucherKey: key.Public(), Service: testnet.Content, Deposit: 1 << 24, ExpiresAt: bookExpiry, Challenge: 100,
		}
		k.channels = append(k.channels, openChannel{id: channel.ID(w.domain, k.from, 0, uint16(i), &open.Channels[i]), key: key})
	}
	raw := chain.SignTx(w.domain, k.payer, chain.TxFields{Kind: chain.KindOpenChannels, Zone: k.from.Zone(), MaxFee: ledger.MaxAmount, Payload: open.Encode()})
	ctx, cancel := context.WithTimeout(ctx, submitLimit)
	defer cancel()
	res, err := channelv1.NewChannelServiceClient(w.conns[k.node]).OpenChannels(ctx, &channelv1.OpenChannelsRequest{
		Transaction: &channelv1.OpenChannelsRequest_SignedTx{SignedTx: raw}, WaitFor: chainv1.Stage_STAGE_FINAL,
	})
	if err != nil {
		return fmt.Errorf("open channels: %w", err)
	}
	if tx := res.GetTransaction(); tx.GetCode() != chainv1.Code_CODE_OK {
		return fmt.Errorf("open channels: stage %v, code %v", tx.GetStage(), tx.GetCode())
	}
	for i := range k.channels {
		k.channels[i].index = res.GetTransaction().GetFirstChannelIndex() + uint64(i)
	}
	return nil
}

// sign returns the next voucher of every channel of k, in one booking.
func (w *bookWorld) sign(k *book) *service.Usage {
	k.round++
	u := &service.Usage{Service: testnet.Content, Zone: k.from.Zone(), Batch: channel.Batch{Payee: k.to, Mode: channel.BestEffort}}
	for _, c := range k.channels {
		e := channel.Entry{
			Index: c.index, Claim: channel.ClaimVoucher, Cumulative: ledger.Amount(k.round * bookPrice),
			Units: uint64(k.round * bookUnits), UsageRoot: c.id,
		}
		e.Signature = c.key.Sign(e.Signed(w.domain, c.id))
		u.Batch.Entries, u.Buckets = append(u.Batch.Entries, e), append(u.Buckets, k.from.Bucket())
	}
	return u
}

// prepare has the payers of books sign vouchers for rounds of bookings ahead of time.
func (w *bookWorld) prepare(books []*book, rounds int) {
	var group sync.WaitGroup
	for _, k := range books {
		group.Go(func() {
			for len(k.ready) < rounds {
				k.ready = append(k.ready, w.sign(k))
			}
		})
	}
	group.Wait()
}

// book submits the next booking of k as a payee does, by the client, and returns when it
// is in a durable block of its shard. Every voucher must have been booked.
func (w *bookWorld) book(ctx context.Context, k *book) error {
	if len(k.ready) == 0 {
		k.ready = append(k.ready, w.sign(k))
	}
	next := k.ready[0]
	k.ready = k.ready[1:]
	ctx, cancel := context.WithTimeout(ctx, submitLimit)
	defer cancel()
	payee := w.clients[k.node].Account(pay.NewIdentity(k.payee, k.to.Zone()))
	b, err := payee.SubmitUsage(ctx, next, client.StageIncluded)
	switch {
	case err != nil:
		return fmt.Errorf("book: %w", err)
	case b.Code != chain.CodeOK || b.Applied != len(k.channels):
		return fmt.Errorf("book: code %v, %d of %d vouchers booked", b.Code, b.Applied, len(k.channels))
	}
	k.earned += ledger.Amount(len(k.channels) * bookPrice)
	k.height = b.Height
	return nil
}

// arrived reports whether all that k has booked is in its payee's earnings.
func (w *bookWorld) arrived(ctx context.Context, k *book) (bool, error) {
	e, err := w.clients[0].Earnings(ctx, k.to, strconv.FormatUint(uint64(testnet.Content), 10))
	if err == nil && e.Total.Amount > uint64(k.earned) {
		err = fmt.Errorf("%s earned %d, and only %d was booked", k.to, e.Total.Amount, k.earned)
	}
	return err == nil && e.Total.Amount == uint64(k.earned), err
}

// end stops the network and frees its disk.
func (w *bookWorld) end() error {
	var failures []error
	for _, c := range w.clients {
		failures = append(failures, c.Close())
	}
	for _, c := range w.conns {
		failures = append(failures, c.Close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(append(failures, w.net.Stop(ctx))...)
}
