package telemetry_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/node/telemetry"
)

// TestShardMetrics: shards have metrics beside the main chain's, which go when they stop
// and may come again.
func TestShardMetrics(t *testing.T) {
	t.Parallel()
	r, _ := registry(t)
	sample := func() telemetry.ShardSample {
		return telemetry.ShardSample{
			ChainSample: telemetry.ChainSample{Height: 9, Ready: true}, Serving: true, Members: 4, Anchored: 7, Congestion: 0.25, OverdueLanes: 3, Overdue: 500,
		}
	}
	shardOnly := []string{"shard_serving", "shard_committee_members", "shard_anchored_height", "shard_anchor_lag_blocks", "shard_congestion", "shard_overdue_lanes", "shard_overdue_drops"}
	gather := func() map[string]float64 {
		t.Helper()
		families, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					if l.GetName() == "chain_id" && l.GetValue() == "local-s2" && m.GetGauge() != nil {
						got[f.GetName()[len("tributary_"):]] = m.GetGauge().GetValue()
					}
				}
			}
		}
		return got
	}
	for range 2 {
		c, err := r.NewShard("local-s2", sample)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.NewShard("local-s2", sample); err == nil {
			t.Fatal("a chain has its metrics twice")
		}
		c.Committed(time.Second, time.Second)
		got := gather()
		if got["chain_height"] != 9 || got["chain_ready"] != 1 {
			t.Errorf("what every chain has: %v", got)
		}
		shards := map[string]float64{}
		for _, name := range shardOnly {
			if v, ok := got[name]; ok {
				shards[name] = v
			}
		}
		want := map[string]float64{"shard_serving": 1, "shard_committee_members": 4, "shard_anchored_height": 7, "shard_anchor_lag_blocks": 2, "shard_congestion": 0.25, "shard_overdue_lanes": 3, "shard_overdue_drops": 500}
		if diff := cmp.Diff(want, shards); diff != "" {
			t.Errorf("what shards have (-want +got):\n%s", diff)
		}
		for _, name := range []string{"channel_open", "ledger_conservation_delta", "validator_key_mismatch"} {
			if _, ok := got[name]; ok {
				t.Errorf("a shard has %s", name)
			}
		}
		c.Close()
		if got := gather(); len(got) != 0 {
			t.Errorf("after the end: %v", got)
		}
	}
}
