package testnet_test

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/node/testnet"
)

// seeded returns a source whose seed is logged. SEED in the environment repeats a run.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if v, ok := os.LookupEnv("SEED"); ok {
		var err error
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatalf("SEED is %q: it is a number", v)
		}
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // it can be done again
}

// TestShardsAfterStops stops and starts nodes at any moment, one or all of them, also while
// they start, so that their chains are at different heights; each time all come back, and
// in the end all nodes have the same shards.
func TestShardsAfterStops(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	random := seeded(t)
	n := start(ctx, t, testnet.Options{Services: content(), Params: func(p *settlement.Params) { p.Staking.EpochBlocks, p.Anchors.LateBlocks = 10, 6 }})
	if err := n.WaitShards(ctx); err != nil {
		t.Fatal(err)
	}
	// moment ends up to two seconds later, in which anything may happen.
	moment := func() {
		timer := time.NewTimer(time.Duration(random.IntN(2_000)) * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
	user, nonce := dial(t, n.Nodes[0].GRPC), uint64(0)
	pay := func() {
		t.Helper()
		if err := user.transfer(ctx, n.Genesis.Domain(), nonce); err != nil {
			t.Fatal(err)
		}
		nonce++
	}
	again := func(list ...int) {
		t.Helper()
		for _, i := range list {
			if err := n.StartNode(i); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop := func(list ...int) {
		t.Helper()
		for _, i := range list {
			if err := n.StopNode(ctx, i); err != nil {
				t.Fatal(err)
			}
		}
	}
	const rounds = 4
	for round := range rounds {
		victim := 1 + random.IntN(3)
		stop(victim)
		for range 1 + random.IntN(6) {
			pay()
		}
		again(victim)
		moment()
		stop(victim) // wherever its chains are
		again(victim)
		if round == rounds-2 {
			order := random.Perm(4)
			stop(order...) // each sees others go first
			again(random.Perm(4)...)
			user = dial(t, n.Nodes[0].GRPC)
		}
		if err := n.WaitReady(ctx); err != nil {
			t.Fatal(err)
		}
		if err := n.WaitShards(ctx); err != nil {
			t.Fatal(err)
		}
	}
	first := heightsOf(t, n, 0)
	until(ctx, t, 3*time.Minute, "all nodes agree about shards that went on", func(context.Context) bool {
		pay()
		want := shardsOf(t, n, 0)
		for i := range n.Nodes {
			for k, c := range shardsOf(t, n, i) {
				if k >= len(want) || c.Height <= first[c.Name] || c.Height != want[k].Height || c.AppHash != want[k].AppHash || !c.Ready {
					return false
				}
			}
		}
		return len(want) == n.Shards()
	})
}

func heightsOf(t *testing.T, n *testnet.Network, i int) map[string]uint64 {
	t.Helper()
	heights := map[string]uint64{}
	for _, c := range shardsOf(t, n, i) {
		heights[c.Name] = c.Height
	}
	return heights
}
