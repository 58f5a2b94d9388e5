package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/testnet"
)

var (
	shardMessages = flag.Int("shards.messages", 300, "how many messages shards send each other in TestShardsUnderFaults")
	shardPayees   = flag.Int("shards.payees", 0, "how many payees each shard has in TestShardsUnderFaults; 0 is more for more messages")
	shardSeed     = flag.Uint64("shards.seed", 0, "what TestShardsUnderFaults does; 0 picks something")
)

// Payees book through all nodes what payers in other shards owe them, while nodes are
// killed one by one, then all at once, then one shard stands still and the others go on.
// Nothing that was acknowledged is lost, nothing is counted twice, the main chain pays
// exactly what was booked, and after each repair all goes on within half a minute.
func TestShardsUnderFaults(t *testing.T) {
	t.Parallel()
	seed := *shardSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("again: -shards.messages %d -shards.seed %d", *shardMessages, seed)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // it can be done again
	net := network(t, serving(testnet.Content, testnet.Proxy), exactly, func(o *testnet.Options) {
		o.Configure = func(_ int, c *config.Config) { c.GRPC.RequestsPerSecond, c.GRPC.Burst = 100_000, 100_000 }
	})
	payees := *shardPayees
	if payees == 0 {
		payees = min(1+*shardMessages/1_000, maxPayees) // more for each block
	}
	u := startUsage(t, net, payees, testnet.Content, testnet.Proxy)
	end, endTurn := u.begin(t), u.turn(t, net)
	u.more(t, testnet.Content, 8*payees, "bookings before a node is killed")

	for kill, begin := 0, time.Now(); kill < 3 || u.sent() < *shardMessages; kill++ {
		victim := random.IntN(len(net.Nodes))
		if err := net.KillNode(victim); err != nil {
			t.Fatal(err)
		}
		u.more(t, testnet.Content, payees+random.IntN(2+2*payees), "bookings while a node is down")
		if err := net.StartNode(victim); err != nil {
			t.Fatal(err)
		}
		took := ready(t, net, victim)
		soon(t, net.Nodes[victim].Name+" is ready", took)
		u.more(t, testnet.Content, random.IntN((8+payees)*payees), "bookings with all")
		sent, passed := u.sent(), time.Since(begin)
		t.Logf("%s was killed, and ready after %v; %d of %d messages after %v, %.0f a second", net.Nodes[victim].Name, took,
			sent, *shardMessages, passed.Round(time.Second), float64(sent)/passed.Seconds())
	}

	for i := range net.Nodes { // whatever their chains do now
		if err := net.KillNode(i); err != nil {
			t.Fatal(err)
		}
	}
	for i := range net.Nodes {
		if err := net.StartNode(i); err != nil {
			t.Fatal(err)
		}
	}
	soon(t, "bookings go on after all were killed", u.more(t, testnet.Content, 4, "bookings after all were killed"))
	for i := range net.Nodes {
		ready(t, net, i)
	}

	stopShard(t, net, u)
	end()
	endTurn()
	soon(t, "all is earned", u.drained(t, dial(t, net, 0, 1, 2, 3)))
	u.verify(t, net)
	first := u.executed(t, net, 0)
	for i := range net.Nodes {
		switch n := u.executed(t, net, i); {
		case n < u.sent():
			t.Errorf("%s executed %d messages, %d bookings were acknowledged that sent one", net.Nodes[i].Name, n, u.sent())
		case n != first:
			t.Errorf("%s executed %d messages, %s executed %d", net.Nodes[i].Name, n, net.Nodes[0].Name, first)
		default:
			t.Logf("%s executed %d messages", net.Nodes[i].Name, n)
		}
	}
}

// maxPayees is how many payees each shard has at most.
const maxPayees = 48

// exactly lets payees have what was paid, to the last drop.
func exactly(o *testnet.Options) {
	params := o.Params
	o.Params = func(p *settlement.Params) {
		params(p)
		p.BurnBps = 0
	}
}

// stopShard has two of four nodes leave out the last shard for a while, which has no
// quorum then; all others go on.
func stopShard(t *testing.T, net *testnet.Network, u *usageLoad) {
	t.Helper()
	ids := allShards(t, dial(t, net, 0))
	last := ids[len(ids)-1]
	for _, i := range []int{2, 3} {
		limitShards(t, net, i, len(ids)-1)
	}
	left := []*client.Client{dial(t, net, 0), dial(t, net, 1)}
	height := func(ctx context.Context) (heights [2]uint64, err error) {
		for i, c := range left {
			s, err := c.ShardStatus(ctx, last)
			if err != nil {
				return heights, err
			}
			heights[i] = s.Height
		}
		return heights, nil
	}
	var before [2]uint64
	await(t, 20*time.Second, "those who are left have the same blocks", func(ctx context.Context) bool {
		var err error
		before, err = height(ctx)
		return err == nil && before[0] == before[1]
	})
	u.more(t, testnet.Content, 12, "bookings beside a shard that stands still")
	after, err := height(t.Context())
	if err != nil || after != before {
		t.Errorf("shard %d went from heights %d to %d with half of its committee: %v", last, before, after, err)
	}
	for _, i := range []int{2, 3} {
		limitShards(t, net, i, 64)
	}
	soon(t, fmt.Sprintf("shard %d, which stood still at height %d, has bookings", last, after[0]), u.more(t, testnet.Proxy, 4, "bookings in the shard that stood still"))
}

// limitShards restarts a node that is to run at most so many shards.
func limitShards(t *testing.T, net *testnet.Network, i, most int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := net.StopNode(ctx, i); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(net.Nodes[i].Home, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Shards.Max = most
	if err := config.Write(c); err != nil {
		t.Fatal(err)
	}
	if err := net.StartNode(i); err != nil {
		t.Fatal(err)
	}
	await(t, 30*time.Second, net.Nodes[i].Name+" runs", func(ctx context.Context) bool {
		c, err := client.Dial(ctx, net.Nodes[i].GRPC)
		if err == nil {
			_ = c.Close() // it was only asked
		}
		return err == nil
	})
}

// maxChecked is of how many bookings at most it is looked whether they are there.
const maxChecked = 4_000

// verify waits until the main chain has paid all that was booked, and checks every node:
// what was acknowledged is there, all of it is earned once, all balances are exact and
// no money came or went.
func (u *usageLoad) verify(t *testing.T, net *testnet.Network) {
	t.Helper()
	begin := time.Now()
	var clients []*client.Client
	for i := range net.Nodes {
		ready(t, net, i)
		c := dial(t, net, i)
		clients = append(clients, c)
		u.drained(t, c)
		u.conserved(t, c, net.Nodes[i].Name)
		u.paid(t, c, net.Nodes[i].Name)
	}
	u.told(t, clients[0])
	alike(t, clients)
	serving, gone := allShards(t, clients[0]), 0
	every := 1 + len(u.acked)/maxChecked
	for i := 0; i < len(u.acked); i += every {
		b := &u.acked[i]
		if !slices.Contains(serving, b.Shard) { // it was split or merged: nodes keep what it did
			gone++
		}
		at := i % (len(net.Nodes) - u.late)
		got, err := clients[at].Booking(t.Context(), b.Hash, b.Shard)
		if err != nil || got.Height != b.Height || got.Booked != b.Booked || got.Stage < client.StageIncluded || got.Stage > client.StageFinal {
			t.Fatalf("%s lost booking %s of block %d in shard %d: height %d, stage %v, %v", net.Nodes[at].Name, b.Hash, b.Height, b.Shard, got.Height, got.Stage, err)
		}
	}
	t.Logf("%d bookings, %d of them in shards that have ended, %d messages, paid and the same on all nodes after %v",
		len(u.acked), gone, u.sent(), time.Since(begin).Round(time.Millisecond))
}

// paid waits until a node knows that all is paid, and checks its balances.
func (u *usageLoad) paid(t *testing.T, c *client.Client, name string) {
	t.Helper()
	balance := map[ledger.Address]ledger.Amount{}
	for _, b := range u.books {
		want := ledger.Amount(b.rounds) * loadPrice
		for _, ch := range b.channels {
			var got ledger.Amount
			await(t, time.Minute, name+" knows that all is paid", func(ctx context.Context) bool {
				info, err := c.Channel(ctx, ch.ID)
				if got = info.Redeemed; err == nil && got > want {
					t.Fatalf("%s: channel %s redeemed %d, want %d", name, ch.ID, got, want)
				}
				return err == nil && got == want
			})
		}
		balance[b.account.Address()] += want * ledger.Amount(len(b.channels))
	}
	for payee, want := range balance {
		if got, err := c.Balance(t.Context(), payee); err != nil || got != want {
			t.Errorf("%s: payee %s has %d, want %d: %v", name, payee, got, want, err)
		}
	}
	status, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if totals := status.Chains[0].Totals; supplyOf(totals) != u.supply {
		t.Errorf("%s: %d drops in all, want %d", name, supplyOf(totals), u.supply)
	}
}
