package testnet_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tributary-network/tributary/node/testnet"
)

// TestShardsRest: a network with shards that nobody uses any more comes to rest, on all
// its chains.
func TestShardsRest(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	n := start(ctx, t, testnet.Options{})
	if err := n.WaitShards(ctx); err != nil {
		t.Fatal(err)
	}
	user := dial(t, n.Nodes[0].GRPC)
	for nonce := range uint64(25) {
		if err := user.transfer(ctx, n.Genesis.Domain(), nonce); err != nil {
			t.Fatal(err)
		}
	}
	at := func() string {
		heights, _ := shardHeights(t, n, 0)
		return fmt.Sprint(metric(ctx, t, n.Nodes[0], "chain_height"), heights)
	}
	last, since := at(), time.Now()
	until(ctx, t, 2*time.Minute, "the network rests", func(context.Context) bool {
		if now := at(); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 2*quiet
	})
	t.Logf("it rests at %s", last)
}
