package api_test

import (
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
)

// runs changes what runs on the node.
func (n *shardNode) runs(hosts []shard.ID, ill map[shard.ID]api.Shard) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.hosts, n.ill = hosts, ill
}

// TestWatchOfAShardThatStops: a watch lasts longer than a call, and ends when the chain that
// it watches does not go on here, so that who watches can do so elsewhere.
func TestWatchOfAShardThatStops(t *testing.T) {
	t.Parallel()
	const beat, beats = 20 * time.Millisecond, 30
	all := []shard.ID{2, 3, 4, 5}
	instead := func(f *fakeShard, run api.ChainInfo) map[shard.ID]api.Shard {
		return map[shard.ID]api.Shard{f.is.ID: &illShard{fakeShard: f, run: run}}
	}
	for name, row := range map[string]struct {
		stop   func(n *shardNode, f *fakeShard)
		code   codes.Code
		reason string
	}{
		"it stops on this node": {func(n *shardNode, _ *fakeShard) { n.runs(nil, nil) }, codes.Unavailable, api.ReasonNotHosted},
		"it begins again":       {func(n *shardNode, f *fakeShard) { n.runs(all, instead(f, api.ChainInfo{})) }, codes.Unavailable, api.ReasonNotHosted},
		"it ended": {func(n *shardNode, f *fakeShard) {
			n.world.end(f.is.ID)
			n.runs(nil, nil)
		}, codes.NotFound, "UNKNOWN_SHARD"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShardWorld(t, map[string][]shard.ID{"a": all}, func(c *api.Config) {
				c.Heartbeat, c.Limits.MaxDeadline = beat, beats*beat/2
			})
			f, n := s.home(s.payer.addr), s.nodes["a"]
			stream, err := n.services().WatchShard(s.ctx(), &servicev1.WatchShardRequest{Name: api.ShardName(f.is.ID)})
			for range beats {
				if err == nil {
					_, err = stream.Recv()
				}
			}
			if err != nil {
				t.Fatalf("a watch that goes on: %v", err)
			}
			row.stop(n, f)
			for err == nil {
				_, err = stream.Recv()
			}
			wantProblem(t, err, row.code, row.reason)
		})
	}
}

// TestWatchOfAShardThatIsHalted: a watch of what halts ends, and of what is halted is refused.
func TestWatchOfAShardThatIsHalted(t *testing.T) {
	t.Parallel()
	s := newShardWorld(t, map[string][]shard.ID{"a": {2, 3, 4, 5}}, func(c *api.Config) { c.Heartbeat = 20 * time.Millisecond })
	f, n := s.home(s.payer.addr), s.nodes["a"]
	halting := &haltingShard{fakeShard: f}
	n.runs(n.hosts, map[shard.ID]api.Shard{f.is.ID: halting})
	for range 2 {
		stream, err := n.services().WatchShard(s.ctx(), &servicev1.WatchShardRequest{Name: api.ShardName(f.is.ID)})
		if err == nil && !halting.halted.Load() {
			_, err = stream.Recv()
			halting.halted.Store(true)
		}
		for err == nil {
			_, err = stream.Recv()
		}
		wantProblem(t, err, codes.Unavailable, api.ReasonChainHalted)
	}
}

// haltingShard is a shard that a test halts.
type haltingShard struct {
	*fakeShard

	halted atomic.Bool
}

// Chain implements api.Shard.
func (h *haltingShard) Chain() api.ChainInfo { return api.ChainInfo{Halted: h.halted.Load()} }
