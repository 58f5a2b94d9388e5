package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	accountv1 "github.com/tributary-network/tributary/proto/tributary/account/v1"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
)

const (
	// bookUnits is how many units a booked voucher covers: in the demonstration ten
	// vouchers of a unit each are paid on a channel for each that is settled.
	bookUnits    = 10
	bookChannels = 500 // of a payee: 500 vouchers are one transaction
	bookAway     = 1   // the shard of those payees of the first shard who live elsewhere
	bookClaim    = 100_000.0
	awayLimit    = 1.5 // times the processor time with all payees at home

	oneShardFigure  = "bookings, one shard, 4 validators"
	allShardsFigure = "bookings, 4 shards at once, 4 validators"
	bookCPUFigure   = "cpu per booking and validator, one shard"
	claimFigure     = "units that the largest service of its kind claims"
)

func awayFigure(share int) string {
	return fmt.Sprintf("cpu per booking and validator, %d %% of payees in another shard", share)
}

// usageBookings measures bookings of vouchers on shards of a local network of four
// processes with all its services.
func (b *bench) usageBookings(ctx context.Context) (err error) {
	if b.report.value(verifyFigure) == 0 { // asked for alone
		if err := b.verifyLimit(); err != nil {
			return err
		}
	}
	channels, window := bookChannels, b.window
	if b.quick {
		channels, window = 250, min(window, 10*time.Second)
	}
	b.report.step("bookings on shards, %d channels of each payee", channels)
	w, err := b.newBookWorld(ctx, channels)
	if w != nil {
		defer func() { err = errors.Join(err, w.end()) }()
	}
	if err != nil {
		return err
	}
	if err := b.bookRates(ctx, w, window); err != nil {
		return err
	}
	if err := b.bookAway(ctx, w, window); err != nil {
		return err
	}
	if err := b.bookLatency(ctx, w, window); err != nil {
		return err
	}
	if n := w.refused.Load(); n > 0 {
		b.report.add("bookings that a congested shard put off", float64(n), "")
	}
	return nil
}

// bookRates measures bookings of one shard and of all of content at once, all payees
// at home.
func (b *bench) bookRates(ctx context.Context, w *bookWorld, window time.Duration) error {
	b.report.step("closed loop on one shard for %v", window/2)
	if _, err := w.bookings(ctx, w.books[0][:bookSellers], window/6); err != nil { // everything is warm then
		return err
	}
	one, err := w.bookings(ctx, w.books[0][:bookSellers], window/2)
	if err != nil {
		return err
	}
	b.report.addRatio(oneShardFigure, one.perSecond(), "bookings/s", verifyFigure)
	b.report.addRatio("signatures of bookings verified by 4 validators", validators*one.perSecond(), "signatures/s", verifyFigure)
	b.report.add(bookCPUFigure, one.cpu(), "us")
	b.report.step("closed loop on all shards of content for %v", window/2)
	var everybody []*book
	for _, books := range w.books {
		everybody = append(everybody, books[:bookSellers]...)
	}
	all, err := w.bookings(ctx, everybody, window/2)
	if err != nil {
		return err
	}
	b.report.addRatio(allShardsFigure, all.perSecond(), "bookings/s", oneShardFigure)
	b.report.addRatio("  against Ed25519", all.perSecond(), "bookings/s", verifyFigure)
	b.report.addRatio("cpu per booking and validator, 4 shards", all.cpu(), "us", bookCPUFigure)
	b.report.add(claimFigure, bookClaim, "units/s")
	b.report.addRatio(fmt.Sprintf("units covered, %d by a booking", bookUnits), bookUnits*all.perSecond(), "units/s", claimFigure)
	b.report.add("units that a booking must cover for ten times the claim", 10*bookClaim/all.perSecond(), "units")
	return nil
}

// bookAway measures what it costs that payees live in another shard, the messages and
// all that carries them included. The shares take turns, there and back, so that a
// machine that gets slower tells for none.
func (b *bench) bookAway(ctx context.Context, w *bookWorld, window time.Duration) error {
	shares := []int{0, 10, 50, 100}
	if b.quick {
		shares = []int{0, 100}
	}
	b.report.step("bookings for payees in another shard")
	turns := slices.Clone(shares)
	slices.Reverse(turns)
	turns = append(slices.Clone(shares), turns...)
	spans := make(map[int]span)
	for _, share := range turns {
		away := share * bookSellers / 100
		books := append(slices.Clone(w.books[0][:bookSellers-away]), w.books[0][bookSellers:bookSellers+away]...)
		s, err := w.bookings(ctx, books, window/4)
		if err != nil {
			return fmt.Errorf("%d %% of payees in another shard: %w", share, err)
		}
		spans[share] = spans[share].with(s)
	}
	for _, share := range shares {
		s := spans[share]
		b.report.addRatio(awayFigure(share), s.cpu(), "us", awayFigure(0))
		b.report.addRatio(fmt.Sprintf("bookings, %d %% of payees in another shard", share), s.perSecond(), "bookings/s", oneShardFigure)
	}
	zero := spans[0]
	b.report.limit(awayFigure(100), awayLimit*zero.cpu())
	return nil
}

// with returns what happened in both spans, with the times and processor times added up.
func (s span) with(more span) span {
	if s.entries == 0 {
		return more
	}
	s.to.at = s.to.at.Add(more.to.at.Sub(more.from.at))
	s.to.cpu += more.to.cpu - more.from.cpu
	s.entries += more.entries
	return s
}

// bookings books in a closed loop, one booking of each payee under way, and waits until
// all is in the payees' earnings. The rate is that of the loop, the processor time that
// of all.
func (w *bookWorld) bookings(ctx context.Context, books []*book, window time.Duration) (s span, err error) {
	const perSecond = 4_000 // of each node's processor; more is signed on the way
	w.prepare(books, int(perSecond*window.Seconds())/len(books)/len(books[0].channels)+1)
	if s.from, err = measure(w.net); err != nil {
		return s, err
	}
	var booked atomic.Int64
	deadline := time.Now().Add(window)
	group, groupCtx := errgroup.WithContext(ctx)
	for _, k := range books {
		group.Go(func() error {
			for time.Now().Before(deadline) {
				if err := w.book(groupCtx, k); err != nil {
					return err
				}
				booked.Add(int64(len(k.channels)))
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return s, err
	}
	end := time.Now()
	for _, k := range books {
		if err := w.until(ctx, 100*time.Millisecond, func() (bool, error) { return w.arrived(ctx, k) }); err != nil {
			return s, fmt.Errorf("earnings of %s: %w", k.to, err)
		}
	}
	s.entries = booked.Load()
	s.to, err = measure(w.net)
	s.to.at = end
	return s, err
}

// bookLatency measures the time from a booking's durable block to the block of the
// payee's shard that has taken in the earnings, beside the time that blocks take. A few
// bookings are under way at any time, and a transfer on main and a booking in the payees'
// shard, so that no chain is at rest and makes its blocks as fast as it does.
func (b *bench) bookLatency(ctx context.Context, w *bookWorld, window time.Duration) error {
	b.report.step("time from shard to shard")
	const travellers = 4
	var mu sync.Mutex
	var latencies []time.Duration
	from, begin, err := w.heights(ctx)
	if err != nil {
		return err
	}
	deadline := begin.Add(window)
	group, groupCtx := errgroup.WithContext(ctx)
	side, rest := context.WithCancel(groupCtx)
	defer rest()
	group.Go(func() error { return w.keepBusy(side) })
	group.Go(func() error {
		for side.Err() == nil {
			if err := w.book(context.WithoutCancel(side), w.books[bookAway][0]); err != nil {
				return err
			}
		}
		return nil
	})
	var travelling errgroup.Group
	for _, k := range w.books[0][bookSellers : bookSellers+travellers] {
		travelling.Go(func() error {
			for time.Now().Before(deadline) {
				took, err := w.travel(groupCtx, k)
				if err != nil {
					return err
				}
				mu.Lock()
				latencies = append(latencies, took)
				mu.Unlock()
				if err := pause(groupCtx, rand.N(300*time.Millisecond)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = travelling.Wait()
	to, end, heightErr := w.heights(ctx)
	rest()
	if err := errors.Join(err, heightErr, group.Wait()); err != nil {
		return err
	}
	interval := func(i int) float64 { return end.Sub(begin).Seconds() / float64(max(1, to[i]-from[i])) }
	const mainFigure, shardFigure, limitFigure = "a block of main meanwhile", "a block of the payees' shard meanwhile", "two blocks of main and one of the shard"
	limit := 2*interval(0) + interval(1)
	b.report.add(mainFigure, interval(0), "s")
	b.report.add(shardFigure, interval(1), "s")
	b.report.add(limitFigure, limit, "s")
	slices.Sort(latencies)
	b.report.addRatio("durable in one shard to executed in another, p50", quantile(latencies, 0.5), "s", limitFigure)
	b.report.addRatio("durable in one shard to executed in another, p95", quantile(latencies, 0.95), "s", limitFigure)
	b.report.limit("durable in one shard to executed in another, p95", limit)
	b.report.add("  bookings that were timed", float64(len(latencies)), "")
	return nil
}

// travel books and returns how long it took from the block until the payee, in another
// shard, has it.
func (w *bookWorld) travel(ctx context.Context, k *book) (time.Duration, error) {
	if err := w.book(ctx, k); err != nil {
		return 0, err
	}
	begin := time.Now()
	err := w.until(ctx, 20*time.Millisecond, func() (bool, error) { return w.arrived(ctx, k) })
	return time.Since(begin), err
}

// heights returns the heights of main and of the shard of payees who live elsewhere.
func (w *bookWorld) heights(ctx context.Context) (heights [2]uint64, at time.Time, err error) {
	for block, err := range w.clients[0].Blocks(ctx) {
		if err != nil {
			return heights, at, fmt.Errorf("read the newest block: %w", err)
		}
		heights[0] = block.Header.Height
		break
	}
	s, err := w.clients[0].ShardStatus(ctx, w.shards[bookAway])
	heights[1] = s.Height
	return heights, time.Now(), err
}

// keepBusy makes a transfer on main after the other until ctx ends.
func (w *bookWorld) keepBusy(ctx context.Context) error {
	key := accountKey(0)
	for nonce := uint64(0); ctx.Err() == nil; nonce++ {
		payload := settlement.Transfer{Payments: []settlement.Payment{{To: w.books[0][0].from, Amount: 1}}}
		raw := chain.SignTx(w.domain, key, chain.TxFields{Kind: chain.KindTransfer, Nonce: nonce, MaxFee: ledger.MaxAmount, Payload: payload.Encode()})
		res, err := accountv1.NewAccountServiceClient(w.conns[0]).Transfer(context.WithoutCancel(ctx), &accountv1.TransferRequest{
			Transaction: &accountv1.TransferRequest_SignedTx{SignedTx: raw}, WaitFor: chainv1.Stage_STAGE_INCLUDED,
		})
		if err != nil {
			return fmt.Errorf("transfer: %w", err)
		}
		if code := res.GetTransaction().GetCode(); code != chainv1.Code_CODE_OK {
			return fmt.Errorf("transfer: %v", code)
		}
	}
	return nil
}
