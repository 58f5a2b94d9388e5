package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// bookUnits is how many units a booked voucher covers beyond the one before: a segment
	// of the service's log, which has 1,024 entries of a unit each. Of content, whose
	// unit is a chunk of 256 KiB, that is 256 MiB to one customer.
	bookUnits = 1_024
	// fewUnits is what `make sim` counts, whose payers sign more often.
	fewUnits     = 32
	bookChannels = 500 // of a payee: 500 vouchers are one transaction
	bookAway     = 1   // the shard of those payees of the first shard who live elsewhere
	bookClaim    = 100_000.0
	bookTimes    = 10 // the claim, at least

	oneShardFigure  = "bookings, one shard, 4 validators"
	allShardsFigure = "bookings, 4 shards at once, 4 validators"
	bookCPUFigure   = "cpu per booking and validator, one shard"
	claimFigure     = "units that the largest service of its kind claims"
)

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
		window = min(window, 10*time.Second)
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
	if err := b.bookAway(ctx, w, b.window); err != nil {
		return err
	}
	if err := b.bookLatency(ctx, w, window); err != nil || b.quick {
		return err
	}
	return b.bookFew(ctx, w)
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
	b.report.add("  of the machine's processors, all validators", 100*one.busy(), "%")
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
	covered := fmt.Sprintf("units covered, %d by a booking", bookUnits)
	b.report.addRatio(covered, bookUnits*all.perSecond(), "units/s", claimFigure)
	b.report.least(covered, bookTimes*bookClaim)
	b.report.addRatio(fmt.Sprintf("units covered, %d by a booking", fewUnits), fewUnits*all.perSecond(), "units/s", claimFigure)
	b.report.add(fmt.Sprintf("units that a booking must cover for %d times the claim", bookTimes), bookTimes*bookClaim/all.perSecond(), "units")
	return nil
}

// bookings books in a closed loop, one booking of each payee under way, for so long, and
// waits until everything has arrived.
func (w *bookWorld) bookings(ctx context.Context, books []*book, window time.Duration) (span, error) {
	const perSecond = 4_000 // of each node's processor; more is signed on the way
	w.prepare(books, int(perSecond*window.Seconds())/len(books)/len(books[0].channels)+1)
	deadline := time.Now().Add(window)
	return w.run(ctx, books, func(int) bool { return time.Now().Before(deadline) })
}

// run has each of books book, one booking after the other, as long as more says so to
// whoever has done so many, and waits until everything has arrived and every message was
// acknowledged. The rate is that of the bookings alone, the processor time that of all.
func (w *bookWorld) run(ctx context.Context, books []*book, more func(done int) bool) (s span, err error) {
	if s.from, err = measure(w.net); err != nil {
		return s, err
	}
	var booked atomic.Int64
	group, groupCtx := errgroup.WithContext(ctx)
	for _, k := range books {
		group.Go(func() error {
			for done := 0; more(done); done++ {
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
	if err := w.delivered(ctx, books); err != nil {
		return s, err
	}
	s.entries = booked.Load()
	s.to, err = measure(w.net)
	s.to.at = end
	return s, err
}
