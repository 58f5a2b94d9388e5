package testnet_test

import (
	"context"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/node/testnet"
)

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

// TestShards: the validators of a network find the peers of all its shards.
func TestShards(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	n := start(ctx, t, testnet.Options{})
	until(ctx, t, time.Minute, "all shards are ready on all nodes", func(context.Context) bool {
		for i := range n.Nodes {
			list := shardsOf(t, n, i)
			for _, c := range list {
				if !c.Ready || c.Peers < 3 {
					return false
				}
			}
			if len(list) != 8 {
				return false
			}
		}
		return true
	})
}
