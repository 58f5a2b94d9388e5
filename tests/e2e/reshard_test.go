package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/testnet"
	"github.com/tributary-network/tributary/shard"
)

// briefly makes epochs of ten blocks, of which shards may be as many behind as on any test
// network.
func briefly(o *testnet.Options) {
	params := o.Params
	o.Params = func(p *settlement.Params) {
		params(p)
		p.Staking.EpochBlocks = 10
	}
}

// The owner of a service has a shard split while payees book without pause, and merged
// again when the halves have served long enough. A node is killed each time as soon as
// the change holds: the parents make their last blocks without it, and it comes back when
// heirs serve or are about to. Nothing that was acknowledged is lost or counted twice, no
// message stays under way, and all nodes show the same map and the same states.
func TestShardsSplitAndMerge(t *testing.T) {
	t.Parallel()
	net := network(t, oneZone(2, testnet.Proxy), exactly, briefly)
	if _, err := net.Announce(); err != nil {
		t.Fatal(err)
	}
	u := startUsageIn(t, net, 1, 1, testnet.Content, testnet.Proxy)
	end := u.begin(t)
	u.more(t, testnet.Content, 8, "bookings before the split")

	first := shardsOf(t, dial(t, net, 0), testnet.Content)[0]
	await(t, time.Minute, "something of the shard is anchored", func(context.Context) bool {
		return shardsOf(t, dial(t, net, 0), testnet.Content)[0].Anchoring.Height > 0
	})
	operator := newUser(t)
	operator.flags = []string{"--testnet", net.Dir}
	operator.ok("shard", "split", strconv.FormatUint(uint64(first.ID), 10), "--from", net.Nodes[0].Name)
	halves := u.reshaped(t, net, 1, 2, first.ID)
	u.more(t, testnet.Content, 8, "bookings with the heirs")

	u.askMerge(t, net, halves)
	whole := u.reshaped(t, net, 2, 1, halves[0].ID, halves[1].ID)
	if whole[0].Buckets != first.Buckets {
		t.Errorf("%s was split and merged again, and is %s", first.Shard, whole[0].Shard)
	}
	u.more(t, testnet.Content, 8, "bookings with the heir of both")
	end()
	t.Logf("all was earned %v after the last booking", u.drained(t, dial(t, net, 0)))
	u.verify(t, net)
	quiet(t, net)
	for i := range net.Nodes {
		var shown []shard.ID
		for _, s := range shardsOf(t, dial(t, net, i), testnet.Content) {
			shown = append(shown, s.ID)
		}
		if want := []shard.ID{whole[0].ID, first.ID + 1}; !slices.Equal(shown, want) {
			t.Errorf("%s shows shards %d, want %d", net.Nodes[i].Name, shown, want)
		}
	}
}

// shardsOf returns the shards of a service as a node shows them, by zone and bucket.
func shardsOf(t *testing.T, c *client.Client, srv uint32) (list []client.ShardInfo) {
	t.Helper()
	for s, err := range c.Shards(t.Context(), strconv.FormatUint(uint64(srv), 10), nil) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

// askMerge asks for two shards to be merged as soon as they have served long enough, in
// each epoch for both, until the map of the next epoch has their heir.
func (u *usageLoad) askMerge(t *testing.T, net *testnet.Network, halves []client.ShardInfo) {
	t.Helper()
	c := dial(t, net, 0)
	owner := c.Account(pay.NewIdentity(testnet.Key(net.Nodes[0].Name), 0))
	asked := halves[0].Since + shard.Cooldown // the epoch from which on it may be asked for
	await(t, time.Minute, "the merge is announced", func(ctx context.Context) bool {
		s, err := c.StakingStatus(ctx)
		if err != nil {
			return false
		}
		next := s.Epoch + 1
		for h, err := range c.Shards(ctx, strconv.FormatUint(uint64(testnet.Content), 10), &next) {
			if err == nil && slices.Equal(h.Parents, []shard.ID{halves[0].ID, halves[1].ID}) {
				return true
			}
		}
		if s.Epoch < asked {
			return false
		}
		asked = next
		for _, h := range halves {
			m := registry.Reshard{Request: shard.Request{Kind: shard.Merge, Shard: h.ID}}
			if _, err := owner.Submit(ctx, chain.KindReshard, m.Encode()); err != nil { // it is announced already, for one
				t.Logf("ask for the merge of shard %d in epoch %d: %v", h.ID, s.Epoch, err)
				break
			}
		}
		return false
	})
}

// reshaped kills a node as soon as parents serve no longer, lets it come back while
// bookings go on, and waits until their heirs, so many, serve on every node and the
// parents on none. It returns the heirs.
func (u *usageLoad) reshaped(t *testing.T, net *testnet.Network, victim, heirs int, parents ...shard.ID) (list []client.ShardInfo) {
	t.Helper()
	c := dial(t, net, 0)
	await(t, time.Minute, "the change holds", func(context.Context) bool {
		list = slices.DeleteFunc(shardsOf(t, c, testnet.Content), func(s client.ShardInfo) bool { return !slices.Equal(s.Parents, parents) })
		return len(list) == heirs
	})
	begin := time.Now()
	if err := net.KillNode(victim); err != nil {
		t.Fatal(err)
	}
	u.more(t, testnet.Content, 4, "bookings while a node is down")
	if err := net.StartNode(victim); err != nil {
		t.Fatal(err)
	}
	ready(t, net, victim)
	for i := range net.Nodes {
		c := dial(t, net, i)
		for _, h := range list {
			await(t, time.Minute, fmt.Sprintf("%s runs shard %d, which is anchored", net.Nodes[i].Name, h.ID), func(ctx context.Context) bool {
				hosted := hosts(ctx, net, i)
				s, err := c.ShardStatus(ctx, h.ID)
				return err == nil && hosted[h.ID] && s.Anchoring.Height > 0
			})
		}
		for _, p := range parents {
			await(t, time.Minute, fmt.Sprintf("%s has done with shard %d", net.Nodes[i].Name, p), func(ctx context.Context) bool {
				hosted := hosts(ctx, net, i)
				_, known := hosted[p]
				return len(hosted) > 0 && !known
			})
		}
	}
	t.Logf("shards %d are done, and %d heirs serve on all nodes %v after the change began to hold", parents, heirs, time.Since(begin).Round(time.Millisecond))
	return list
}

// hosts returns the shards that a node has to run, and whether they can be relied on;
// none if it does not answer.
func hosts(ctx context.Context, net *testnet.Network, i int) map[shard.ID]bool {
	p, err := testnet.NewProber("")
	if err != nil {
		return nil
	}
	defer p.Close()
	chains, err := p.Chains(ctx, net.Nodes[i])
	if err != nil {
		return nil
	}
	list := map[shard.ID]bool{}
	for _, c := range chains {
		if n, err := strconv.ParseUint(c.Name[1:], 10, 32); err == nil && c.Name[0] == 's' {
			list[shard.ID(n)] = c.Ready
		}
	}
	return list
}

// quiet waits until no node knows of a message that is under way between shards.
func quiet(t *testing.T, net *testnet.Network) {
	t.Helper()
	for i := range net.Nodes {
		c := dial(t, net, i)
		for _, id := range allShards(t, c) {
			await(t, 30*time.Second, fmt.Sprintf("%s: nothing is under way from shard %d", net.Nodes[i].Name, id), func(ctx context.Context) bool {
				s, err := c.ShardStatus(ctx, id)
				return err == nil && s.Backlog.Outbox == 0 && s.Backlog.Bytes == 0
			})
		}
	}
}

// Nobody asks for anything: payees book so much in the only shard of a service that its
// blocks are heavy, and its load has it split, under traffic. When they rest, the loads of
// the halves have them merge again, under traffic too, which goes on as soon as that is
// announced. A node is killed in the middle of both.
func TestLoadSplitsAndMerges(t *testing.T) {
	takesLong(t)
	t.Parallel()
	const heavy = 4 << 10 // bytes of a block
	net := network(t, oneZone(1), exactly, briefly, func(o *testnet.Options) {
		o.Services[0].Zones[0].Policy.Limits.HeavyBytes = heavy
	})
	u := startWideUsage(t, net, 1, 4, 12, testnet.Content)
	c := dial(t, net, 0)
	first := shardsOf(t, c, testnet.Content)
	if len(first) != 1 {
		t.Fatalf("%d shards, want one", len(first))
	}
	begin := time.Now()
	end := u.begin(t)
	await(t, 2*time.Minute, "the split is announced", func(ctx context.Context) bool { return announced(ctx, c, first[0].ID) })
	t.Logf("the split was announced %v after the first booking, %d rounds of bookings later", time.Since(begin).Round(time.Millisecond), u.done(testnet.Content))
	halves := u.reshaped(t, net, 1, 2, first[0].ID)
	u.more(t, testnet.Content, 2*len(u.books), "bookings with the heirs")
	end()
	t.Logf("all was earned %v after the last booking", u.drained(t, c))

	rest := time.Now()
	await(t, 2*time.Minute, "the merge is announced", func(ctx context.Context) bool {
		_, _ = c.Faucet(ctx, testnet.Address("bob"), ledger.DropsPerCoin) // so that main goes on; the next one may work
		return announced(ctx, c, halves[0].ID)
	})
	t.Logf("the merge was announced %v after the last booking", time.Since(rest).Round(time.Millisecond))
	end = u.begin(t)
	whole := u.reshaped(t, net, 2, 1, halves[0].ID, halves[1].ID)
	if whole[0].Buckets != first[0].Buckets {
		t.Errorf("%s was split and merged again, and is %s", first[0].Shard, whole[0].Shard)
	}
	u.more(t, testnet.Content, 2*len(u.books), "bookings with the heir of both")
	end()
	u.verify(t, net)
	quiet(t, net)
}

// announced reports whether a shard has heirs in the map of the next epoch.
func announced(ctx context.Context, c *client.Client, id shard.ID) bool {
	s, err := c.StakingStatus(ctx)
	if err != nil {
		return false
	}
	next := s.Epoch + 1
	for h, err := range c.Shards(ctx, strconv.FormatUint(uint64(testnet.Content), 10), &next) {
		if err == nil && slices.Contains(h.Parents, id) {
			return true
		}
	}
	return false
}
