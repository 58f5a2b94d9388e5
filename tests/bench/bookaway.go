package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	awayLimit  = 1.5 // times the processor time with all payees at home
	awayRounds = 6   // bookings of each payee in a slice

	awaySpread = "  in the passes, from %s"
)

func awayFigure(share int) string {
	return fmt.Sprintf("cpu per booking and validator, %d %% of payees in another shard", share)
}

func awayRatio(share int) string {
	return fmt.Sprintf("cpu with %d %% of payees in another shard, of that with 0 %%", share)
}

// slice is a fixed number of bookings and what it took until all of it had arrived.
type slice struct {
	span

	blocks [3]uint64 // of main, of the payers' shard and of the other
}

// bookAway measures what it costs that payees live in another shard, the messages and
// all that carries them included. Each pass books the same number of vouchers with each
// share, so that a machine that others use as well tells for none of them: passes go
// there and back, ratios are within a pass, and what counts is their median.
func (b *bench) bookAway(ctx context.Context, w *bookWorld, window time.Duration) error {
	shares := []int{0, 10, 50, 100}
	if b.quick {
		shares = []int{0, 100}
	}
	passes := 2 * (1 + int(window/(15*time.Second))) // there and back
	b.report.step("bookings for payees in another shard, %d passes", passes)
	taken := make(map[int][]slice)
	for pass := range passes {
		turn := slices.Clone(shares)
		if pass%2 == 1 {
			slices.Reverse(turn)
		}
		for _, share := range turn {
			away := share * bookSellers / 100
			books := append(slices.Clone(w.books[0][:bookSellers-away]), w.books[0][bookSellers:bookSellers+away]...)
			s, err := w.slice(ctx, books)
			if err != nil {
				return fmt.Errorf("%d %% of payees in another shard: %w", share, err)
			}
			taken[share] = append(taken[share], s)
			b.report.step("  %3d %%: %.1f us, %.0f bookings/s, blocks %v", share, s.cpu(), s.perSecond(), s.blocks)
		}
	}
	for _, share := range shares {
		b.awayShare(share, taken[share], taken[0])
	}
	b.report.limit(awayRatio(100), awayLimit)
	return nil
}

// awayShare reports the slices with a share of payees elsewhere, beside those of the
// same passes with none.
func (b *bench) awayShare(share int, taken, home []slice) {
	var cpu, rate, ratio, perBlock, blocks []float64
	for i := range taken {
		s := &taken[i]
		cpu, rate = append(cpu, s.cpu()), append(rate, s.perSecond())
		ratio = append(ratio, s.cpu()/home[i].cpu())
		perBlock = append(perBlock, float64(bookSellers*awayRounds)/float64(max(1, s.blocks[1])))
		blocks = append(blocks, 1_000*float64(s.blocks[0]+s.blocks[1]+s.blocks[2])/float64(s.entries))
	}
	b.report.add(awayFigure(share), median(cpu), "us")
	b.report.add(fmt.Sprintf("bookings, %d %% of payees in another shard", share), median(rate), "bookings/s")
	b.report.add("  payees in a block of their payers' shard", median(perBlock), "")
	b.report.add("  blocks of main and both shards for 1,000 bookings", median(blocks), "")
	if share > 0 {
		b.report.add(awayRatio(share), median(ratio), "times")
		b.report.add(fmt.Sprintf(awaySpread, number(slices.Min(ratio))), slices.Max(ratio), "times")
	}
}

// median returns the middle of list, which it sorts, and the lower of two.
func median(list []float64) float64 {
	slices.Sort(list)
	return list[(len(list)-1)/2]
}

// slice has each of books book so many times, one after the other, and waits until all
// has arrived and every message was acknowledged.
func (w *bookWorld) slice(ctx context.Context, books []*book) (s slice, err error) {
	w.prepare(books, awayRounds)
	before, err := w.blocks(ctx)
	if err != nil {
		return s, err
	}
	if s.from, err = measure(w.net); err != nil {
		return s, err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	var booked atomic.Int64
	for _, k := range books {
		group.Go(func() error {
			for range awayRounds {
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
	if s.to, err = measure(w.net); err != nil {
		return s, err
	}
	s.to.at = end
	after, err := w.blocks(ctx)
	for i := range after {
		s.blocks[i] = after[i] - before[i]
	}
	return s, err
}

// delivered waits until all that was booked is in the payees' earnings, and the payers'
// shard knows it.
func (w *bookWorld) delivered(ctx context.Context, books []*book) error {
	for _, k := range books {
		if err := w.until(ctx, 100*time.Millisecond, func() (bool, error) { return w.arrived(ctx, k) }); err != nil {
			return fmt.Errorf("earnings of %s: %w", k.to, err)
		}
	}
	return w.until(ctx, 100*time.Millisecond, func() (bool, error) {
		s, err := w.clients[0].ShardStatus(ctx, w.shards[0])
		return err == nil && s.Backlog.Outbox == 0, err
	})
}

// blocks returns the heights of main, of the payers' shard and of that of payees elsewhere.
func (w *bookWorld) blocks(ctx context.Context) (heights [3]uint64, err error) {
	two, _, err := w.heights(ctx)
	if err != nil {
		return heights, err
	}
	s, err := w.clients[0].ShardStatus(ctx, w.shards[0])
	return [3]uint64{two[0], s.Height, two[1]}, err
}
