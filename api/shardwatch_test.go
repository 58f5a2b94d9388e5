package api_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/ledger"
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

// become makes what a shard's chain has a generation's.
func (f *fakeShard) become(generation uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	st := shardblock.ReadStatus(f.chain.State)
	st.Generation = generation
	f.chain.State.Apply(chain.Changes{{Key: shardblock.StatusKey(), Value: st.Encode()}})
}

// TestWatchAfterATakeBack: who goes on with a watch is told what another generation made anew
// since, and nothing else twice; a node that is behind says so.
func TestWatchAfterATakeBack(t *testing.T) {
	t.Parallel()
	s := newShardWorld(t, map[string][]shard.ID{"a": {2, 3, 4, 5}}, func(c *api.Config) { c.Heartbeat = 20 * time.Millisecond })
	c := s.sell(s.payee).told()
	f, n := s.home(s.payer.addr), s.nodes["a"]
	cumulative := ledger.Amount(0)
	book := func() {
		t.Helper()
		cumulative += 1_000
		if _, err := n.services().BookUsage(s.ctx(), signedUsage(c.book(cumulative))); err != nil {
			t.Fatal(err)
		}
	}
	watch := func(from uint64, generation *uint32) (servicev1.ServiceChainService_WatchShardClient, error) {
		t.Helper()
		stream, err := n.services().WatchShard(s.ctx(), &servicev1.WatchShardRequest{Name: api.ShardName(f.is.ID), FromHeight: from, Generation: generation})
		if err == nil {
			_, err = stream.Recv()
		}
		return stream, err
	}
	book() // block 2
	s.anchorAll(f.is.ID)
	book()
	book() // block 4
	if _, err := watch(5, new(uint32(0))); err != nil {
		t.Errorf("a watch goes on: %v", err)
	}
	s.goOn(f.is.ID, 1, 0)
	_, err := watch(5, new(uint32(0)))
	wantProblem(t, err, codes.Unavailable, api.ReasonNotSynced) // its last blocks were taken back

	f.become(1) // it made 3 and 4 anew
	_, err = watch(5, new(uint32(2)))
	wantProblem(t, err, codes.Unavailable, api.ReasonNotSynced)
	rows := []struct {
		from       uint64
		generation *uint32
		want       []uint64
	}{
		{5, new(uint32(0)), []uint64{3, 4, 5}},
		{2, new(uint32(0)), []uint64{2, 3, 4, 5}},
		{5, new(uint32(1)), []uint64{5}},
		{4, new(uint32(1)), []uint64{4, 5}},
		{5, nil, []uint64{5}},
	}
	var streams []servicev1.ServiceChainService_WatchShardClient
	for _, row := range rows {
		stream, err := watch(row.from, row.generation)
		if err != nil {
			t.Fatalf("from %d: %v", row.from, err)
		}
		streams = append(streams, stream)
	}
	book() // block 5
	for i, row := range rows {
		var heights []uint64
		for !slices.Contains(heights, 5) {
			m, err := streams[i].Recv()
			if err != nil {
				t.Fatalf("from %d: %v", row.from, err)
			}
			if m.GetGeneration() != 1 {
				t.Errorf("from %d: %v", row.from, m)
			}
			if m.GetBlock() != nil {
				heights = append(heights, m.GetBlock().GetHeight())
			}
		}
		if !slices.Equal(heights, row.want) {
			t.Errorf("row %d, from %d: blocks %v, want %v", i, row.from, heights, row.want)
		}
	}
}
