package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/testnet"
	"github.com/tributary-network/tributary/shard"
)

// Payees book without pause, some until it is included and some until it is final. All
// nodes are killed at the moment when a block with bookings is acknowledged, and its shards
// stand still for longer than main takes what their committees sign. They go on as other
// generations, from what was anchored: what was acknowledged as final is all there, what was
// only included and is not anchored is told to be gone, and booked again by what its payee
// books next. At the end everything is paid to the last drop.
func TestBookingsAcrossGenerations(t *testing.T) {
	t.Parallel()
	const maxLag = 3
	net := network(t, oneZone(2), exactly, briefly, func(o *testnet.Options) {
		params := o.Params
		o.Params = func(p *settlement.Params) {
			params(p)
			p.Anchors.LateBlocks, p.Anchors.StalledBlocks, p.Anchors.MaxLag = 6, 20, maxLag
		}
	})
	u := startUsageIn(t, net, 1, 4, testnet.Content)
	for i, b := range u.books {
		b.final = i%4 == 1
	}
	watched := watchBlocks(t, dial(t, net, 0, 1, 2, 3), u.books[0].home)
	end := u.begin(t)
	u.anchored(t, dial(t, net, 0))
	u.more(t, testnet.Content, 3*len(u.books), "bookings before the shards stand still")
	u.fresh(t)
	for i := range net.Nodes {
		if err := net.KillNode(i); err != nil {
			t.Fatal(err)
		}
	}
	stood := time.Now()
	runShards(t, net, false)
	c := dial(t, net, 0)
	from, err := c.StakingStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	await(t, time.Minute, "the epochs of what the committees signed are over", func(ctx context.Context) bool {
		_, _ = c.Faucet(ctx, testnet.Address("bob"), ledger.DropsPerCoin) // so that main goes on; the next one may work
		s, err := c.StakingStatus(ctx)
		return err == nil && s.Epoch > from.Epoch+maxLag+1
	})
	before := u.take(t)
	for i := range net.Nodes {
		if err := net.StopNode(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	runShards(t, net, true)
	u.more(t, testnet.Content, len(u.books), "bookings with the next generations")
	t.Logf("bookings go on %v after the shards stood still", time.Since(stood).Round(time.Millisecond))
	for i := range net.Nodes {
		ready(t, net, i)
	}
	u.more(t, testnet.Content, 2*len(u.books), "bookings with all nodes")
	end()

	resumed := resumedAt(t, net)
	for _, id := range allShards(t, c) {
		if _, ok := resumed[id]; !ok {
			t.Errorf("shard %d is the same generation", id)
		}
	}
	watched(resumed[u.books[0].home])
	kept, final, gone := 0, 0, 0
	for i := range before {
		b := &before[i]
		if b.Height <= resumed[b.Shard] {
			kept++
			if b.Stage == client.StageFinal {
				final++
			}
			u.acked = append(u.acked, *b)
			continue
		}
		if b.Stage == client.StageFinal {
			t.Errorf("booking %s of block %d in shard %d was acknowledged as final, and generation 1 goes on after %d", b.Hash, b.Height, b.Shard, resumed[b.Shard])
		}
		gone++
		for n := range net.Nodes {
			tookBack(t, dial(t, net, n), b)
		}
	}
	t.Logf("shards went on after heights %v: of %d bookings that were acknowledged before, %d of them as final, %d were taken back", resumed, len(before), final, gone)
	if gone == 0 || final == 0 {
		t.Errorf("%d bookings were taken back and %d were final before, want some of each", gone, final)
	}
	t.Logf("all was earned %v after the last booking", u.drained(t, dial(t, net, 0, 1, 2, 3)))
	u.verify(t, net)
	for i := range before {
		if b := &before[i]; b.Height <= resumed[b.Shard] {
			if got, err := c.Booking(t.Context(), b.Hash, b.Shard); err != nil || got.Stage != client.StageFinal {
				t.Errorf("booking %s of block %d in shard %d is %v: %v", b.Hash, b.Height, b.Shard, got.Stage, err)
			}
		}
	}
	quiet(t, net)
}

// watchBlocks watches a shard until the function that it returns is called, which fails the
// test unless every block was told once, but those after a height, which another generation
// made anew, once more.
func watchBlocks(t *testing.T, c *client.Client, id shard.ID) func(resumed uint64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	type made struct {
		height     uint64
		generation uint32
	}
	var list []made
	done := make(chan error, 1)
	go func() {
		done <- c.WatchShard(ctx, id, 1, func(b *client.ShardBlock) error {
			if b.Height > 0 {
				list = append(list, made{b.Height, b.Generation})
			}
			if b.GapFrom > 0 {
				return fmt.Errorf("blocks %d to %d are gone", b.GapFrom, b.GapTo)
			}
			return nil
		})
	}()
	return func(resumed uint64) {
		t.Helper()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("shard %d is not watched to the end: %v", id, err)
		}
		again := 0
		for i := 1; i < len(list); i++ {
			before, now := list[i-1], list[i]
			switch {
			case now.height == before.height+1:
			case now.generation > before.generation && now.height == resumed+1 && now.height <= before.height:
				again++
			default:
				t.Errorf("shard %d, which went on after %d: block %d of generation %d is told after block %d of generation %d", id, resumed, now.height, now.generation, before.height, before.generation)
			}
		}
		t.Logf("shard %d: %d blocks were told, and those after %d anew %d times", id, len(list), resumed, again)
	}
}

// anchored waits until it is anchored that all channels are known at home, so that no
// generation has to be told of them again.
func (u *usageLoad) anchored(t *testing.T, c *client.Client) {
	t.Helper()
	for _, b := range u.books {
		for _, ch := range b.channels {
			known := uint64(0)
			await(t, 20*time.Second, "a channel's home is anchored", func(ctx context.Context) bool {
				now, err := c.Usage(ctx, ch.ID)
				if err == nil && known == 0 {
					known = now.Height
				}
				return err == nil && now.Anchored >= known
			})
		}
	}
}

// fresh waits until a booking is acknowledged that is in a higher block of its shard than
// all before, and returns at once.
func (u *usageLoad) fresh(t *testing.T) {
	t.Helper()
	highest := func() map[shard.ID]uint64 {
		u.mu.Lock()
		defer u.mu.Unlock()
		list := map[shard.ID]uint64{}
		for i := range u.acked {
			list[u.acked[i].Shard] = max(list[u.acked[i].Shard], u.acked[i].Height)
		}
		return list
	}
	before := highest()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		for id, h := range highest() {
			if h > before[id] {
				return
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("nothing is booked any more")
		}
	}
}

// take returns the bookings that were acknowledged before the shards stood still, as they
// do, and forgets them. It waits for what was under way: a payee is told what one shard has
// acknowledged only when the other has answered, or none is left to ask.
func (u *usageLoad) take(t *testing.T) []client.Booking {
	t.Helper()
	tries := func() (list []int) {
		u.mu.Lock()
		defer u.mu.Unlock()
		for _, b := range u.books {
			list = append(list, b.tries)
		}
		return list
	}
	before := tries()
	await(t, 2*usageTry, "what was under way is answered", func(context.Context) bool {
		now := tries()
		for i := range now {
			if now[i] == before[i] {
				return false
			}
		}
		return true
	})
	u.mu.Lock()
	defer u.mu.Unlock()
	list := u.acked
	u.acked = nil
	return list
}

// runShards starts all nodes, which stand, with their shards or without, and waits until
// they make blocks of main.
func runShards(t *testing.T, net *testnet.Network, on bool) {
	t.Helper()
	for i := range net.Nodes {
		c, err := config.Load(net.Nodes[i].Home, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Shards.Enabled = on
		if err := errors.Join(config.Write(c), net.StartNode(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range net.Nodes {
		await(t, 30*time.Second, net.Nodes[i].Name+" runs main", func(ctx context.Context) bool {
			c, err := client.Dial(ctx, net.Nodes[i].GRPC)
			if err != nil {
				return false
			}
			defer func() { _ = c.Close() }() // it was only asked
			s, err := c.Status(ctx)
			return err == nil && len(s.Chains) > 0 && s.Chains[0].Ready
		})
	}
}

// resumedAt returns after which heights shards went on as other generations, as all nodes say.
// One may be drawn several times before it makes blocks that are anchored, after the same
// height.
func resumedAt(t *testing.T, net *testnet.Network) map[shard.ID]uint64 {
	t.Helper()
	var first map[shard.ID]uint64
	for i := range net.Nodes {
		list := map[shard.ID]uint64{}
		for e, err := range dial(t, net, i).ShardEvents(t.Context(), 0, "", false) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind == "drawn-anew" && e.Generation > 0 {
				for _, id := range e.Shards {
					if last, again := list[id]; again && last != e.Last {
						t.Fatalf("shard %d went on after height %d, and after height %d before: %+v", id, last, e.Last, e)
					}
					list[id] = e.Last
				}
			}
		}
		if i == 0 {
			first = list
		}
		for id, at := range first {
			if list[id] != at || len(list) != len(first) {
				t.Errorf("%s says shards went on after %v, %s after %v", net.Nodes[i].Name, list, net.Nodes[0].Name, first)
			}
		}
	}
	return first
}

// tookBack fails the test unless a node says that a booking is gone.
func tookBack(t *testing.T, c *client.Client, b *client.Booking) {
	t.Helper()
	got, err := c.Booking(t.Context(), b.Hash, b.Shard)
	switch e, refused := errors.AsType[*client.Error](err); {
	case err == nil && got.Stage == client.StageDropped:
	case refused && e.Code == codes.NotFound:
	default:
		t.Errorf("%s: booking %s of block %d in shard %d was taken back, and is %v in block %d: %v", c.Endpoint(), b.Hash, b.Height, b.Shard, got.Stage, got.Height, err)
	}
}
