package api_test

import (
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/ledger"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/route"
)

// waits puts into the main chain's state that it waits for an anchor of a shard since a height.
func (s *shardWorld) waits(id shard.ID, from uint64) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	row, err := anchor.DecodeState(s.rows[string(anchor.Key(id))])
	if err != nil {
		s.t.Fatal(err)
	}
	row.From = from
	s.rows[string(anchor.Key(id))] = row.Encode()
}

// TestShardThatMissesAnchors: a shard whose blocks are not anchored in time is congested,
// takes no new bookings and is not hinted, on every node; what it has is answered.
func TestShardThatMissesAnchors(t *testing.T) {
	t.Parallel()
	s, here, away := twoNodes(t)
	c := s.sell(s.payee).told()
	home := s.home(s.payer.addr)
	raw := c.book(1_000)
	_, err := here.services().BookUsage(s.ctx(), signedUsage(raw))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range s.shards {
		s.anchorAll(f.is.ID)
	}
	later, err := here.services().BookUsage(s.ctx(), signedUsage(c.book(2_000)))
	if err != nil {
		t.Fatal(err)
	}
	level := func(n *shardNode) (*servicev1.Congestion, route.Level) {
		got, err := n.routing().GetCongestion(s.ctx(), &servicev1.GetCongestionRequest{Shard: api.ShardName(home.is.ID)})
		if err != nil {
			t.Fatal(err)
		}
		return got.GetCongestion(), route.Level(got.GetCongestion().GetLevelBps())
	}
	// The last anchor is long ago, but there was nothing to anchor until now. The block has
	// an old time, as the first after a rest does, and only the next one tells when it came.
	s.waits(home.is.ID, 0)
	for _, amount := range []ledger.Amount{2_500, 2_600} {
		if m, _ := level(here); m.GetBacklog().GetMissedAnchors() != 0 {
			t.Errorf("a block that was made just now is missed: %v", m)
		}
		if _, err := here.services().BookUsage(s.ctx(), signedUsage(c.book(amount))); err != nil {
			t.Fatal(err)
		}
		home.mu.Lock()
		home.blocks[len(home.blocks)-1].Time = s.gen.Time + int64(s.height())*1000
		home.mu.Unlock()
	}
	due := uint64(s.gen.Params.Anchors.DueBlocks)
	began := s.height()
	for s.height() < began+5*due {
		s.reach(s.height() + 1)
	}
	m, l := level(here)
	if l <= route.Threshold || m.GetBacklog().GetMissedAnchors() < 5 || m.GetRetryAfter() == nil {
		t.Errorf("five anchors are missed: %v", m)
	}
	if m, l := level(away); l <= route.Threshold {
		t.Errorf("as another node says: %v", m)
	}
	for _, n := range []*shardNode{here, away} {
		for _, only := range []bool{false, true} {
			req := signedUsage(c.book(3_000))
			req.ValidateOnly = only
			_, err := n.services().BookUsage(s.ctx(), req)
			p := wantProblem(t, err, codes.ResourceExhausted, api.ReasonCongested)
			if p.retry == 0 || p.info.GetMetadata()["level_bps"] == "" || p.info.GetMetadata()["shard"] != api.ShardName(home.is.ID) {
				t.Errorf("%s: %v, %v", n.name, p.retry, p.info)
			}
		}
		for _, tx := range [][]byte{raw, c.book(2_000)} {
			if got, err := n.services().BookUsage(s.ctx(), signedUsage(tx)); err != nil {
				t.Errorf("%s: the repeat of what is booked: %v, %v", n.name, got, err)
			}
		}
		if _, err := n.services().GetBooking(s.ctx(), &servicev1.GetBookingRequest{Name: later.GetBooking().GetName()}); err != nil {
			t.Errorf("%s: %v", n.name, err)
		}
		for i := range 32 {
			key := keyOf(2_000 + i).Public()
			hint, err := n.routing().Hint(s.ctx(), &servicev1.HintRequest{Service: "services/1", PublicKey: key[:], Zones: []uint32{uint32(home.is.Zone)}})
			if err != nil || hint.GetProvider().GetShard() == api.ShardName(home.is.ID) {
				t.Fatalf("%s: hint %v, %v", n.name, hint, err)
			}
		}
	}
	s.anchorAll(home.is.ID)
	if m, _ := level(here); m.GetBacklog().GetMissedAnchors() != 0 {
		t.Errorf("all is anchored: %v", m)
	}
	if _, err := here.services().BookUsage(s.ctx(), signedUsage(c.book(3_000))); err != nil {
		t.Error(err)
	}
}

// TestSilentShard: a shard with nothing to anchor is congested only once it is late.
func TestSilentShard(t *testing.T) {
	t.Parallel()
	s, here, _ := twoNodes(t)
	id := shard.ID(4)
	late := uint64(s.gen.Params.Anchors.LateBlocks)
	ask := func() *servicev1.Congestion {
		got, err := here.routing().GetCongestion(s.ctx(), &servicev1.GetCongestionRequest{Shard: api.ShardName(id)})
		if err != nil {
			t.Fatal(err)
		}
		return got.GetCongestion()
	}
	s.reach(late)
	s.waits(id, s.height()-late+1)
	if m := ask(); m.GetLevelBps() != 0 {
		t.Errorf("it has nothing to do: %v", m)
	}
	s.waits(id, 1)
	s.reach(late + 20)
	if m := ask(); m.GetLevelBps() <= uint32(route.Threshold) || m.GetSource() != servicev1.CongestionSource_CONGESTION_SOURCE_HERE {
		t.Errorf("it should have made a block: %v", m)
	}
}
