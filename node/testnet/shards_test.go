package testnet_test

import (
	"context"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/node/testnet"
	"github.com/tributary-network/tributary/zone"
)

// content is the first service alone, with its four shards: for what every shard does alike.
func content() []zone.ServiceType { return testnet.Services()[:1] }

// shardsOf returns the shards of node i.
func shardsOf(t *testing.T, n *testnet.Network, i int) []client.ChainStatus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := client.Dial(ctx, n.Nodes[i].GRPC)
	if err != nil {
		return nil
	}
	defer func() { _ = conn.Close() }()
	s, err := conn.Status(ctx)
	if err != nil || len(s.Chains) == 0 {
		return nil
	}
	return s.Chains[1:]
}

// shardHeights returns how high each shard is anchored, as node i knows, if the node runs
// all of them in good health.
func shardHeights(t *testing.T, n *testnet.Network, i int) (anchored map[string]uint64, ok bool) {
	t.Helper()
	anchored = map[string]uint64{}
	for _, c := range shardsOf(t, n, i) {
		if !c.Ready || c.CatchingUp || c.Height < c.Shard.Anchored {
			return nil, false
		}
		anchored[c.Name] = c.Shard.Anchored
	}
	return anchored, len(anchored) == n.Shards()
}

// TestShards: the validators of a network run all its shards, which are anchored, go on
// without one of them, and take it back.
func TestShards(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	// Shards that are not used are anchored after a few blocks of main already.
	n := start(ctx, t, testnet.Options{Params: func(p *settlement.Params) { p.Anchors.LateBlocks = 12 }})
	if err := n.WaitShards(ctx); err != nil {
		t.Fatal(err)
	}
	user, nonce := dial(t, n.Nodes[0].GRPC), uint64(0)
	// further waits until all shards are anchored higher than in from, as nodes know.
	further := func(what string, from map[string]uint64, nodes ...int) map[string]uint64 {
		t.Helper()
		var reached map[string]uint64
		until(ctx, t, 2*time.Minute, what, func(ctx context.Context) bool {
			if err := user.transfer(ctx, n.Genesis.Domain(), nonce); err != nil {
				t.Fatal(err)
			}
			nonce++
			for _, i := range nodes {
				heights, ok := shardHeights(t, n, i)
				for name, height := range heights {
					ok = ok && height > from[name]
				}
				if !ok {
					return false
				}
				reached = heights
			}
			return true
		})
		return reached
	}
	all := []int{0, 1, 2, 3}
	first := further("all shards are anchored", nil, all...)
	if err := n.StopNode(ctx, 3); err != nil {
		t.Fatal(err)
	}
	second := further("they go on without a validator", first, all[:3]...)
	if err := n.StartNode(3); err != nil {
		t.Fatal(err)
	}
	if err := n.WaitShards(ctx); err != nil {
		t.Fatal(err)
	}
	further("they go on with it", second, all...)
}
