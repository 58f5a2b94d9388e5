package api_test

import (
	"testing"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
)

// TestOverdueSettlements: the status of a shard says what waits for payment for more than an
// epoch, on whatever node it is asked.
func TestOverdueSettlements(t *testing.T) {
	t.Parallel()
	s, here, away := twoNodes(t)
	c := s.sell(s.payee).told()
	home := s.home(s.payer.addr)
	want := func(lanes uint32, overdue uint64) {
		t.Helper()
		for _, n := range []*shardNode{here, away} {
			got, err := n.services().GetShardStatus(s.ctx(), &servicev1.GetShardStatusRequest{Name: api.ShardName(home.is.ID)})
			if err != nil || got.GetOverdueLanes() != lanes || got.GetOverdue() != overdue {
				t.Errorf("%s: %d lanes and %d drops, %v, want %d and %d", n.name, got.GetOverdueLanes(), got.GetOverdue(), err, lanes, overdue)
			}
		}
	}
	if _, err := here.services().BookUsage(s.ctx(), signedUsage(c.book(1_000))); err != nil {
		t.Fatal(err)
	}
	want(0, 0)
	for epoch := uint64(1); epoch <= 3; epoch++ {
		s.light.Assign(epoch, home.is.ID, 100, 101, 102, 103)
		for shardtest.Epoch(s.light.Height()+1) < epoch {
			s.light.Block()
		}
		handover := s.light.Handover()
		s.light.Block()
		home.mu.Lock()
		home.block([]*shardblock.Relay{{Kind: shardblock.KindHead, News: shardblock.News{Handovers: []shardblock.Handover{handover}}}})
		home.block([]*shardblock.Relay{s.light.EpochRelay(epoch, home.is.ID)})
		home.mu.Unlock()
	}
	want(1, 1_000)
}
