package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

const (
	awayLimit  = 1.5 // times the processor time with all payees at home
	awayRounds = 3   // bookings of each payee in a slice
	fewRounds  = 12  // likewise, of those of few vouchers
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

	rounds int       // bookings of a payee, each of many vouchers
	blocks [3]uint64 // of main, of the payers' shard and of the other
}

// bookAway measures what it costs that payees live in another shard, the messages and
// all that carries them included. For each share the same number of vouchers is booked
// with none, with the share twice, and with none again, so that a machine that others use
// as well, and that gets slower or faster, tells for neither; and that some times over.
// What counts is the ratio of the sums.
func (b *bench) bookAway(ctx context.Context, w *bookWorld, window time.Duration) error {
	shares, passes := []int{10, 50, 100}, max(1, int(window/(10*time.Second)))
	if b.quick {
		shares, passes = []int{100}, 2*passes
	}
	b.report.step("bookings for payees in another shard, %d passes", passes)
	taken := make(map[int][]versus)
	for pass := range passes {
		for _, share := range shares {
			v, err := w.versus(ctx, share, func(i int, s *slice) {
				b.report.step("  pass %d of %d, %3d %%, slice %d of 4: %.0f bookings/s", pass+1, passes, share, i+1, s.perSecond())
			})
			if err != nil {
				return fmt.Errorf("%d %% of payees in another shard: %w", share, err)
			}
			taken[share] = append(taken[share], v)
			b.report.step("  %3d %%: %.1f of %.1f us, %.0f of %.0f bookings/s, blocks %v of %v", share,
				v.away.cpu(), v.home.cpu(), v.away.perSecond(), v.home.perSecond(), v.away.blocks, v.home.blocks)
		}
	}
	var home slice
	for _, share := range shares {
		for _, v := range taken[share] {
			home = home.with(v.home)
		}
	}
	b.awaySlice(0, home)
	for _, share := range shares {
		b.awayShare(share, taken[share])
		b.report.limit(awayRatio(share), awayLimit)
	}
	return nil
}

// bookFew measures the same with few vouchers in each booking, all payees elsewhere or
// none: what a block has booked for a payee is one message, so the fewer it is, the less
// that saves. It comes after all that books on the channels of books:
// most of these are left behind.
func (b *bench) bookFew(ctx context.Context, w *bookWorld) error {
	home, away := w.books[0][:bookSellers], w.books[0][bookSellers:]
	for _, n := range []int{8, 1} {
		home, away = fewer(home, n), fewer(away, n)
		b.report.step("bookings of %d vouchers for payees in another shard", n)
		v, err := w.alternate(ctx, home, away, fewRounds, func(i int, s *slice) {
			b.report.step("  slice %d of 4: %.0f bookings/s, %.1f us", i+1, s.perSecond(), s.cpu())
		})
		if err != nil {
			return fmt.Errorf("bookings of %d vouchers: %w", n, err)
		}
		each := fmt.Sprintf(", %d vouchers of a payee at a time", n)
		b.report.add(awayFigure(0)+each, v.home.cpu(), "us")
		b.report.add(awayFigure(100)+each, v.away.cpu(), "us")
		b.report.add(awayRatio(100)+each, v.ratio(), "times")
		b.report.limit(awayRatio(100)+each, awayLimit)
		b.report.add("  payees in a block of their payers' shard", float64(v.away.rounds)/float64(max(1, v.away.blocks[1])), "")
	}
	return nil
}

// fewer returns books that go on with the first n channels of each of books, which are
// not to be used any more.
func fewer(books []*book, n int) (list []*book) {
	for _, k := range books {
		less := *k
		less.channels, less.ready = k.channels[:n], nil
		less.round -= len(k.ready) // what was signed and not booked is signed again
		list = append(list, &less)
	}
	return list
}

// versus is bookings with payees elsewhere, beside as many with all payees at home.
type versus struct{ home, away slice }

func (v versus) ratio() float64 { return v.away.cpu() / v.home.cpu() }

// versus takes the slices of a share in their order, and tells of each.
func (w *bookWorld) versus(ctx context.Context, share int, tell func(i int, s *slice)) (v versus, err error) {
	elsewhere := share * bookSellers / 100
	home := w.books[0][:bookSellers]
	away := append(slices.Clone(home[:bookSellers-elsewhere]), w.books[0][bookSellers:bookSellers+elsewhere]...)
	return w.alternate(ctx, home, away, awayRounds, tell)
}

// alternate takes slices of so many rounds with home, with away twice, and with home again.
func (w *bookWorld) alternate(ctx context.Context, home, away []*book, rounds int, tell func(i int, s *slice)) (v versus, err error) {
	for i, books := range [][]*book{home, away, away, home} {
		s, err := w.slice(ctx, books, rounds)
		if err != nil {
			return v, err
		}
		tell(i, &s)
		if i == 1 || i == 2 {
			v.away = v.away.with(s)
		} else {
			v.home = v.home.with(s)
		}
	}
	return v, nil
}

// with returns both slices together.
func (s slice) with(more slice) slice {
	if s.entries == 0 {
		return more
	}
	s.to.at = s.to.at.Add(more.to.at.Sub(more.from.at))
	s.to.cpu += more.to.cpu - more.from.cpu
	s.entries, s.rounds = s.entries+more.entries, s.rounds+more.rounds
	for i := range s.blocks {
		s.blocks[i] += more.blocks[i]
	}
	return s
}

// awayShare reports the slices of a share, and their ratio to those with all payees at
// home between which they were.
func (b *bench) awayShare(share int, taken []versus) {
	var all versus
	var ratios []float64
	for _, v := range taken {
		all.home, all.away = all.home.with(v.home), all.away.with(v.away)
		ratios = append(ratios, v.ratio())
	}
	b.awaySlice(share, all.away)
	b.report.add(awayRatio(share), all.ratio(), "times")
	b.report.add(fmt.Sprintf("  in %d passes from %s to", len(ratios), number(slices.Min(ratios))), slices.Max(ratios), "times")
}

// awaySlice reports what bookings with a share of payees elsewhere took.
func (b *bench) awaySlice(share int, s slice) {
	b.report.add(awayFigure(share), s.cpu(), "us")
	b.report.add(fmt.Sprintf("bookings, %d %% of payees in another shard", share), s.perSecond(), "bookings/s")
	b.report.add("  payees in a block of their payers' shard", float64(s.rounds)/float64(max(1, s.blocks[1])), "")
	b.report.add("  blocks of main and both shards for 1,000 bookings", 1_000*float64(s.blocks[0]+s.blocks[1]+s.blocks[2])/float64(s.entries), "")
}

// slice has each of books book so many times, one after the other, and waits until all
// has arrived and every message was acknowledged.
func (w *bookWorld) slice(ctx context.Context, books []*book, rounds int) (s slice, err error) {
	w.prepare(books, rounds)
	before, err := w.blocks(ctx)
	if err != nil {
		return s, err
	}
	if s.span, err = w.run(ctx, books, func(done int) bool { return done < rounds }); err != nil {
		return s, err
	}
	s.rounds = len(books) * rounds
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
		if err := w.until(ctx, func() (bool, error) { return w.arrived(ctx, k) }); err != nil {
			return fmt.Errorf("earnings of %s: %w", k.to, err)
		}
	}
	return w.until(ctx, func() (bool, error) {
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
