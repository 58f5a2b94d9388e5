package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/node/testnet"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/zone"
)

// rotationEpoch is how many blocks epochs have on a network whose committees change.
const rotationEpoch = 30

// rotating makes a network of six validators whose service has two shards of four seats:
// one of four leaves each of them in each epoch.
func rotating(o *testnet.Options) {
	o.NoServices, o.Validators = false, 6
	s := testnet.Services()[0]
	s.Shards, s.CommitteeSize, s.Zones = 2, 4, s.Zones[:1]
	o.Services = []zone.ServiceType{s}
	params := o.Params
	o.Params = func(p *settlement.Params) {
		params(p)
		p.Staking.EpochBlocks = rotationEpoch
		p.Anchors.LateBlocks, p.Anchors.StalledBlocks = rotationEpoch, 5*rotationEpoch
	}
}

// Every epoch another member leaves each committee while payees book without pause, for a
// part of the time with a member killed. Shards are handed over by those who leave, so they
// stand still for no longer than newcomers need to be there, none gets another committee,
// and all that was booked is final and paid to the last drop. Who has left stops.
func TestCommitteesRotate(t *testing.T) {
	takesLong(t)
	t.Parallel()
	net := network(t, exactly, rotating)
	u := startUsageIn(t, net, 1, 1, testnet.Content)
	end := u.begin(t)
	r := &rotation{t: t, net: net, usage: u, client: dial(t, net, 0, 1, 2, 3, 4, 5), seats: map[shard.ID][]uint64{}, longest: map[shard.ID]uint64{}}
	stop := r.watch()
	r.epochs(1, "with all")
	victim := r.stays()
	if err := net.KillNode(victim); err != nil {
		t.Fatal(err)
	}
	r.epochs(3, "without "+net.Nodes[victim].Name)
	if err := net.StartNode(victim); err != nil {
		t.Fatal(err)
	}
	ready(t, net, victim)
	r.epochs(1, "with all again")
	stop()
	end()
	u.drained(t, r.client)
	u.verify(t, net)
	r.final()
	r.left()
	for id, n := range r.longest {
		t.Logf("shard %d: %d members left, and main made at most %d blocks without an anchor", id, r.changes[id], n)
		if r.changes[id] < 4 {
			t.Errorf("%d members left shard %d, want one in each epoch", r.changes[id], id)
		}
	}
}

// rotation is a network whose committees change.
type rotation struct {
	t      *testing.T
	net    *testnet.Network
	usage  *usageLoad
	client *client.Client

	mu      sync.Mutex
	seats   map[shard.ID][]uint64 // rows of the validators, as of the last look
	changes map[shard.ID]int      // members that left
	longest map[shard.ID]uint64   // blocks of main without an anchor
	bad     string                // what must not be
}

// watch looks at the shards all the time, until stop is called.
func (r *rotation) watch() (stop func()) {
	r.changes = map[shard.ID]int{}
	ctx, cancel := context.WithCancel(r.t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				r.look(ctx)
			}
		}
	})
	r.t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	return func() {
		cancel()
		group.Wait()
	}
}

func (r *rotation) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, usageTry)
	defer cancel()
	for s, err := range r.client.Shards(ctx, "", nil) {
		if err != nil {
			return
		}
		r.mu.Lock()
		rows, a := rowsOf(&s), &s.Anchoring
		for _, row := range r.seats[s.ID] {
			if !slices.Contains(rows, row) {
				r.changes[s.ID]++
			}
		}
		r.seats[s.ID] = rows
		r.longest[s.ID] = max(r.longest[s.ID], s.Height-min(s.Height, a.Since))
		if a.RedrawEpoch != 0 || a.Redraws != 0 || a.Status != "live" {
			r.bad = fmt.Sprintf("shard %d is %s in epoch %d, at height %d since block %d of %d, redrawn in epoch %d", s.ID, a.Status, s.Epoch, a.Height, a.Since, s.Height, a.RedrawEpoch)
		}
		r.mu.Unlock()
	}
}

func rowsOf(s *client.ShardInfo) (rows []uint64) {
	for i := range s.Members {
		rows = append(rows, s.Members[i].Validator)
	}
	slices.Sort(rows)
	return rows
}

// epochs waits until so many have passed, in each of which payees book in all shards.
func (r *rotation) epochs(n int, what string) {
	r.t.Helper()
	epoch := func() uint64 {
		s, err := r.client.StakingStatus(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		return s.Epoch
	}
	for range n {
		from, begin := epoch(), time.Now()
		want := r.usage.done(testnet.Content) + 2*len(r.usage.books)
		await(r.t, time.Minute, "an epoch with bookings "+what, func(context.Context) bool {
			r.fine()
			return epoch() > from && r.usage.done(testnet.Content) >= want
		})
		r.t.Logf("epoch %d %s took %v, %d bookings so far", from, what, time.Since(begin).Round(time.Millisecond), r.usage.done(testnet.Content))
	}
}

// fine ends the test if a shard stood still.
func (r *rotation) fine() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bad != "" {
		describe(r.t, r.client)
		r.t.Fatal(r.bad)
	}
}

// stays returns a node, not the first, whose validator serves most of the shards in this
// epoch and the next one.
func (r *rotation) stays() (node int) {
	r.t.Helper()
	status, err := r.client.StakingStatus(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	next := status.Epoch + 1
	serves := map[uint64]int{}
	for _, epoch := range []*uint64{nil, &next} {
		for s, err := range r.client.Shards(r.t.Context(), "", epoch) {
			if err != nil {
				r.t.Fatal(err)
			}
			for _, row := range rowsOf(&s) {
				serves[row]++
			}
		}
	}
	node = 1
	for i := 2; i < len(r.net.Nodes); i++ {
		if serves[uint64(i)] > serves[uint64(node)] { //nolint:gosec // few
			node = i
		}
	}
	return node
}

// final waits until every booking is final.
func (r *rotation) final() {
	r.t.Helper()
	for i := range r.usage.acked {
		b := &r.usage.acked[i]
		await(r.t, time.Minute, "a booking is final", func(ctx context.Context) bool {
			got, err := r.client.Booking(ctx, b.Hash, b.Shard)
			return err == nil && got.Stage == client.StageFinal && got.Height == b.Height
		})
	}
}

// left waits until no node runs a shard that it is not drawn for, by what the nodes say.
func (r *rotation) left() {
	r.t.Helper()
	for i := range r.net.Nodes {
		c := dial(r.t, r.net, i)
		await(r.t, time.Minute, r.net.Nodes[i].Name+" has left what others serve", func(ctx context.Context) bool {
			s, err := c.Status(ctx)
			return err == nil && !slices.ContainsFunc(s.Chains, func(ch client.ChainStatus) bool { return ch.Shard != nil && ch.Shard.Leaving })
		})
	}
}
