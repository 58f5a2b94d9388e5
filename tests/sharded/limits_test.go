package sharded_test

import (
	"testing"

	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	"github.com/tributary-network/tributary/zone"
)

// TestLimits: a shard begins with the limits of its zone.
func TestLimits(t *testing.T) {
	t.Parallel()
	gen := genesisOf(t, 4, 2, 1, 20)
	want := zone.Limits{BlockBytes: 3 << 20, HeavyBytes: 1 << 12, MessageBytes: 2 << 10, LinkMessages: 9, LinkBytes: 1 << 18, ExpiryAnchors: 64}
	gen.Services[0].Zones[0].Policy.Limits = want
	changes, err := gen.State()
	if err != nil {
		t.Fatal(err)
	}
	main := shardtest.NewState(changes)
	count := 0
	for id := range anchor.All(main) {
		count++
		g, err := shardblock.FromMain(main, gen.Hash(), &gen.Params.Staking, &gen.Params.Anchors, id)
		if err != nil {
			t.Fatal(err)
		}
		got := zone.Limits{
			BlockBytes: uint32(g.Service.Params.MaxBlockBytes), HeavyBytes: uint32(g.Params.HeavyBytes), //nolint:gosec // as below, what was set
			MessageBytes: uint32(g.Params.MessageBytes),                                                                                  //nolint:gosec // above
			LinkMessages: uint32(g.Params.UnderWay), LinkBytes: uint32(g.Params.UnderWayBytes), ExpiryAnchors: uint32(g.Params.Lifetime), //nolint:gosec // above
		}
		if got != want {
			t.Errorf("shard %d has the limits %+v, want %+v", id, got, want)
		}
	}
	if count == 0 {
		t.Fatal("no shard was founded")
	}
}
