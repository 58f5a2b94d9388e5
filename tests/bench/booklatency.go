package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	accountv1 "github.com/tributary-network/tributary/proto/tributary/account/v1"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
)

// bookLatency measures the time from a booking's durable block to the block of the
// payee's shard that has taken in the earnings, beside the time that blocks take. Small
// bookings are under way at any time, and a transfer on main and a booking in the payees'
// shard, so that no chain is at rest and makes its blocks as fast as it does.
func (b *bench) bookLatency(ctx context.Context, w *bookWorld, window time.Duration) error {
	b.report.step("time from shard to shard, %d payees with %d vouchers each for %v", bookTravellers, travelChannels, window)
	waited, err := w.catchUp(ctx)
	if err != nil {
		return err
	}
	if waited >= tidyLimit {
		b.report.step("  the nodes are still busy after %v: what is timed waits for that, too", waited.Round(time.Second))
	}
	b.report.add("nodes tidy up after the bookings before it", waited.Seconds(), "s")
	from, begin, err := w.heights(ctx)
	if err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	side, rest := context.WithCancel(groupCtx)
	defer rest()
	var seen []sighting
	group.Go(func() error { return w.keepBusy(side) })
	group.Go(func() error { return w.look(side, &seen) })
	heard := &blocks{news: make(chan struct{})}
	group.Go(func() error { return w.listen(side, heard) })
	group.Go(func() error {
		for side.Err() == nil {
			if err := w.book(context.WithoutCancel(side), w.neighbour); err != nil {
				return err
			}
		}
		return nil
	})
	travels, err := w.travels(groupCtx, window, heard, b.report.step)
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
	latencies := make([]time.Duration, len(travels))
	for i := range travels {
		latencies[i] = travels[i].arrived.Sub(travels[i].durable)
	}
	slices.Sort(latencies)
	b.report.addRatio("durable in one shard to executed in another, p50", quantile(latencies, 0.5), "s", limitFigure)
	b.report.addRatio("durable in one shard to executed in another, p95", quantile(latencies, 0.95), "s", limitFigure)
	b.report.limit("durable in one shard to executed in another, p95", limit)
	b.report.add("  bookings that were timed", float64(len(latencies)), "")
	b.legs(travels, seen)
	return nil
}

const (
	// tidyShare is how much of a processor all nodes together take at most when they are
	// done with what is left of earlier work, as seen over tidyLook, and tidyLimit for how
	// long they are waited for.
	tidyShare = 0.4
	tidyLook  = 2 * time.Second
	tidyLimit = 90 * time.Second
)

// catchUp waits until the nodes have done what is left over from the bookings before: to
// compact the store and to prune states takes both processors of the four for some ten
// seconds after minutes of bookings at full speed, and is no part of a message's way. It
// returns how long that took, tidyLimit or more if they are not done by then.
func (w *bookWorld) catchUp(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	before, err := measure(w.net)
	for err == nil && time.Since(begin) < tidyLimit {
		if err = pause(ctx, tidyLook); err != nil {
			break
		}
		var now usage
		if now, err = measure(w.net); err != nil {
			break
		}
		share := (now.cpu - before.cpu).Seconds() / now.at.Sub(before.at).Seconds()
		if before = now; share < tidyShare {
			break
		}
	}
	return time.Since(begin), err
}

// travel is a booking on its way.
type travel struct {
	height  uint64 // of the payer's shard
	durable time.Time
	arrived time.Time
}

const (
	travelsLeast = 200 // bookings are timed, if that takes no longer than travelsMore windows
	travelsMore  = 3
	travelsTold  = 100 // after so many they are told of
)

// travels times bookings of all travellers for a window, and longer if they are few, and
// tells of how many there are.
func (w *bookWorld) travels(ctx context.Context, window time.Duration, heard *blocks, tell func(format string, args ...any)) (list []travel, err error) {
	begin := time.Now()
	var mu sync.Mutex
	over := func() bool {
		mu.Lock()
		defer mu.Unlock()
		passed := time.Since(begin)
		return passed > window && (len(list) >= travelsLeast || passed > travelsMore*window)
	}
	add := func(t travel) {
		mu.Lock()
		defer mu.Unlock()
		if list = append(list, t); len(list)%travelsTold == 0 {
			tell("  %d bookings timed after %v of %v", len(list), time.Since(begin).Round(time.Second), window)
		}
	}
	group, groupCtx := errgroup.WithContext(ctx)
	for _, k := range w.travellers {
		group.Go(func() error {
			for !over() {
				one, err := w.travel(groupCtx, k, heard)
				if err != nil {
					return err
				}
				add(one)
				if err := pause(groupCtx, rand.N(300*time.Millisecond)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = group.Wait()
	return list, err
}

// blocks tells of new blocks of a shard. It is safe for concurrent use.
type blocks struct {
	mu   sync.Mutex
	news chan struct{} // closed with the next block
}

// next returns a channel that is closed with the next block.
func (b *blocks) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.news
}

func (b *blocks) add() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.news)
	b.news = make(chan struct{})
}

// listen tells heard of the blocks of the payees' shard until ctx ends.
func (w *bookWorld) listen(ctx context.Context, heard *blocks) error {
	err := w.clients[0].WatchShard(ctx, w.shards[bookAway], 0, func(b *client.ShardBlock) error {
		if b.Height != 0 {
			heard.add()
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it was to end
	}
	return err
}

// travel books, and returns when the payee, in another shard, has it, which is asked for
// with every block of that shard.
func (w *bookWorld) travel(ctx context.Context, k *book, heard *blocks) (t travel, err error) {
	if err := w.book(ctx, k); err != nil {
		return t, err
	}
	t.height, t.durable = k.height, time.Now()
	ctx, cancel := context.WithTimeout(ctx, bookPatience)
	defer cancel()
	for {
		next := heard.next()
		ok, err := w.arrived(ctx, k)
		if t.arrived = time.Now(); ok || err != nil {
			return t, err
		}
		select {
		case <-next:
		case <-ctx.Done():
			return t, fmt.Errorf("a booking of block %d did not arrive in time: %w", t.height, ctx.Err())
		}
	}
}

// sighting is how far the payers' shard and main were at a moment.
type sighting struct {
	at                  time.Time
	certified, anchored uint64 // of the payers' shard
	main, proved        uint64 // of main: its last block, and the last one with a certificate
}

// look adds to seen how far the chains are until ctx ends.
func (w *bookWorld) look(ctx context.Context, seen *[]sighting) error {
	for ctx.Err() == nil {
		s, err := w.clients[0].ShardStatus(context.WithoutCancel(ctx), w.shards[0])
		if err != nil {
			return err
		}
		node, err := w.clients[0].Status(context.WithoutCancel(ctx))
		if err != nil {
			return err
		}
		c, _, err := w.clients[0].Certificate(context.WithoutCancel(ctx), 0)
		if err != nil {
			return err
		}
		*seen = append(*seen, sighting{
			at: time.Now(), certified: s.Certified, anchored: s.Anchoring.Height, main: node.Chains[0].Height, proved: c.Checkpoint.Height,
		})
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// legNames are the parts of the way of a booking, as far as they show from outside.
func legNames() []string {
	return []string{
		"durable to certified", "certified to anchored on main", "anchored to certified by main",
		"certified by main to executed: handed in, and in a block",
	}
}

// legsOf returns how long each leg of a travel took, and false if not all was seen.
// seen is in order of time.
func legsOf(t travel, seen []sighting) (legs [4]time.Duration, ok bool) {
	var certified, anchored, proved time.Time
	var by uint64 // block of main that has the anchor, or one after it
	for _, s := range seen {
		if certified.IsZero() && s.certified >= t.height {
			certified = s.at
		}
		if anchored.IsZero() && s.anchored >= t.height {
			anchored, by = s.at, s.main
		}
		if proved.IsZero() && !anchored.IsZero() && s.proved >= by {
			proved = s.at
		}
	}
	if certified.IsZero() || anchored.IsZero() || proved.IsZero() {
		return legs, false
	}
	// What is seen from outside is seen late, but never more so than what follows.
	points := [5]time.Time{t.durable, certified, anchored, proved, t.arrived}
	for i := 3; i >= 0; i-- {
		if points[i].After(points[i+1]) {
			points[i] = points[i+1]
		}
	}
	for i := range legs {
		legs[i] = points[i+1].Sub(points[i])
	}
	return legs, true
}

// legs reports how long each leg took.
func (b *bench) legs(travels []travel, seen []sighting) {
	var took [4][]time.Duration
	for _, t := range travels {
		legs, ok := legsOf(t, seen)
		for i := range legs {
			if ok {
				took[i] = append(took[i], legs[i])
			}
		}
	}
	for i, name := range legNames() {
		if len(took[i]) == 0 {
			return
		}
		slices.Sort(took[i])
		b.report.add("  leg: "+name+", p50", quantile(took[i], 0.5), "s")
		b.report.add("  leg: "+name+", p95", quantile(took[i], 0.95), "s")
	}
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
