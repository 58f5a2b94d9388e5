package api_test

import (
	"context"
	"log/slog"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
)

// fresh is a chain of a shard over an empty state: consensus has not begun it.
func (s *shardWorld) fresh(id shard.ID, run api.ChainInfo) api.Shard {
	s.t.Helper()
	l, err := layer.New(memkv.New(), layer.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	is := s.shards[id].is
	g := s.light.Genesis(service.Shard{Chain: id, Service: is.Service, Zone: is.Zone, First: uint8(is.Buckets.First), Last: uint8(is.Buckets.Last)})
	x, err := exec.OpenShard(exec.Config{Network: shardtest.Network()}, l, g, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	return api.HostShard(x, func() api.ChainInfo { return run })
}

// illShard is a shard that stands still on this node.
type illShard struct {
	*fakeShard

	run  api.ChainInfo
	fail error // what Submit fails with
}

// Chain implements api.Shard.
func (i *illShard) Chain() api.ChainInfo { return i.run }

// Submit implements api.ShardPool.
func (i *illShard) Submit(ctx context.Context, raw []byte) (exec.ShardStatus, error) {
	if i.fail != nil {
		return exec.ShardStatus{}, i.fail
	}
	return i.fakeShard.Submit(ctx, raw)
}

// TestShardsThatAreBehind: a node that runs a shard which has not begun, catches up or is
// halted there has another node answer for it.
func TestShardsThatAreBehind(t *testing.T) {
	t.Parallel()
	behind := api.ChainInfo{CatchingUp: true, Sync: &api.SyncProgress{Snapshot: true, Target: 40}}
	halted := api.ChainInfo{Halted: true, HaltReason: "a test"}
	for name, row := range map[string]struct {
		run    api.ChainInfo
		empty  bool
		reason string
	}{
		"an heir that has not begun": {run: api.ChainInfo{CatchingUp: true}, empty: true, reason: api.ReasonNotSynced},
		"one that joins by snapshot": {run: behind, empty: true, reason: api.ReasonNotSynced},
		"one that catches up":        {run: behind, reason: api.ReasonNotSynced},
		"one that is halted":         {run: halted, reason: api.ReasonChainHalted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShardWorld(t, map[string][]shard.ID{"ill": {4, 5}, "well": {2, 3, 4, 5}})
			ill := s.nodes["ill"]
			c := s.sell(s.elsewhere(s.payer.addr)).told()
			ill.ill = make(map[shard.ID]api.Shard)
			for _, id := range ill.hosts {
				if ill.ill[id] = (&illShard{fakeShard: s.shards[id], run: row.run}); row.empty {
					ill.ill[id] = s.fresh(id, row.run)
				}
			}
			home, payees := s.home(s.payer.addr), s.home(c.payee.addr)
			booked, err := ill.services().BookUsage(s.ctx(), signedUsage(c.book(1_000)))
			if err != nil || booked.GetSource().GetServedBy() != "well" || booked.GetBooking().GetApplied() != 1 {
				t.Fatalf("a booking: %v, %v", booked, err)
			}
			s.anchorAll(home.is.ID)
			s.deliver(home, payees)
			wantWell := func(what string, source *servicev1.Source, err error) {
				t.Helper()
				if err != nil || source.GetServedBy() != "well" {
					t.Errorf("%s: by %v, %v", what, source, err)
				}
			}
			used, err := ill.services().GetUsage(s.ctx(), &servicev1.GetUsageRequest{Channel: c.name()})
			if wantWell("usage", used.GetSource(), err); used.GetBooked().GetAmount() != 1_000 {
				t.Errorf("usage: %v", used)
			}
			earned, err := ill.services().GetEarnings(s.ctx(), &servicev1.GetEarningsRequest{Payee: api.AccountName(c.payee.addr), Service: "services/content"})
			if wantWell("earnings", earned.GetSource(), err); earned.GetTotal().GetAmount() != 1_000 {
				t.Errorf("earnings: %v", earned)
			}
			status, err := ill.services().GetShardStatus(s.ctx(), &servicev1.GetShardStatusRequest{Name: api.ShardName(home.is.ID)})
			if wantWell("status", status.GetSource(), err); status.GetCatchingUp() || status.GetHalted() || status.GetHeight() == 0 {
				t.Errorf("status: %v", status)
			}
			level, err := ill.routing().GetCongestion(s.ctx(), &servicev1.GetCongestionRequest{Shard: api.ShardName(home.is.ID)})
			if err != nil || level.GetCongestion().GetSource() != servicev1.CongestionSource_CONGESTION_SOURCE_PEER {
				t.Errorf("level: %v, %v", level, err)
			}
			again, err := ill.services().GetBooking(s.ctx(), &servicev1.GetBookingRequest{Name: booked.GetBooking().GetName(), Shard: booked.GetBooking().GetShard()})
			if err != nil || again.GetBooking().GetTransaction().GetStage() != chainv1.Stage_STAGE_FINAL {
				t.Errorf("the booking: %v, %v", again, err)
			}
			trace, err := ill.routing().Trace(s.ctx(), &servicev1.TraceRequest{Name: booked.GetBooking().GetName()})
			if err != nil || trace.GetOrigin().GetState() != servicev1.HopState_HOP_STATE_ANCHORED || len(trace.GetHops()) != 1 ||
				trace.GetHops()[0].GetState() < servicev1.HopState_HOP_STATE_DELIVERED {
				t.Errorf("the trace: %v, %v", trace, err)
			}

			// What was handed on already is refused, so that another node is asked.
			handed := metadata.AppendToOutgoingContext(s.ctx(), "tributary-hops", "1")
			_, err = ill.services().GetUsage(handed, &servicev1.GetUsageRequest{Channel: c.name()})
			if p := wantProblem(t, err, codes.Unavailable, row.reason); p.info.GetMetadata()["endpoints"] != "well" || p.info.GetMetadata()["shard"] != api.ShardName(home.is.ID) {
				t.Errorf("handed on: %v", p.info)
			}
			_, err = ill.services().BookUsage(handed, signedUsage(c.book(2_000)))
			wantProblem(t, err, codes.Unavailable, row.reason)
			_, err = ill.relays().GetWanted(s.ctx(), &servicev1.GetWantedRequest{ChainId: uint32(home.is.ID)})
			wantProblem(t, err, codes.Unavailable, row.reason)
		})
	}
}

// TestNobodyIsAbreast: if nobody has a shard that goes on, the answer says so, and how the
// shard is where it was asked.
func TestNobodyIsAbreast(t *testing.T) {
	t.Parallel()
	s := newShardWorld(t, map[string][]shard.ID{"ill": {4, 5}, "gateway": {2, 3}})
	ill, gateway := s.nodes["ill"], s.nodes["gateway"]
	c := s.sell(s.payee).told()
	home := s.home(s.payer.addr)
	run := api.ChainInfo{CatchingUp: true, Sync: &api.SyncProgress{Target: 40}}
	ill.ill = map[shard.ID]api.Shard{home.is.ID: &illShard{fakeShard: home, run: run}}
	for _, n := range []*shardNode{ill, gateway} {
		_, err := n.services().GetUsage(s.ctx(), &servicev1.GetUsageRequest{Channel: c.name()})
		if p := wantProblem(t, err, codes.Unavailable, api.ReasonNotSynced); p.retry == 0 || p.info.GetMetadata()["height"] != "1" {
			t.Errorf("%v", p)
		}
		_, err = n.services().BookUsage(s.ctx(), signedUsage(c.book(1_000)))
		wantProblem(t, err, codes.Unavailable, api.ReasonNotSynced)
	}
	status, err := ill.services().GetShardStatus(s.ctx(), &servicev1.GetShardStatusRequest{Name: api.ShardName(home.is.ID)})
	if err != nil || !status.GetCatchingUp() || status.GetHeight() != 1 || status.GetSource().GetEvidence() != servicev1.Evidence_EVIDENCE_OWN {
		t.Errorf("status: %v, %v", status, err)
	}
	ill.ill[home.is.ID] = s.fresh(home.is.ID, api.ChainInfo{CatchingUp: true})
	_, err = ill.services().GetShardStatus(s.ctx(), &servicev1.GetShardStatusRequest{Name: api.ShardName(home.is.ID)})
	wantProblem(t, err, codes.Unavailable, api.ReasonNotSynced)
}

// TestShardThatStopsMeanwhile: a booking that a shard does not take since it stopped a
// moment ago goes to another node.
func TestShardThatStopsMeanwhile(t *testing.T) {
	t.Parallel()
	s := newShardWorld(t, map[string][]shard.ID{"ill": {4, 5}, "well": {4, 5}})
	ill := s.nodes["ill"]
	c := s.sell(s.payee).told()
	home := s.home(s.payer.addr)
	for i, fail := range []error{exec.ErrNotRunning, exec.ErrHalted, exec.ErrNotSynced} {
		ill.ill = map[shard.ID]api.Shard{home.is.ID: &illShard{fakeShard: home, fail: fail}}
		booked, err := ill.services().BookUsage(s.ctx(), signedUsage(c.book(ledger.Amount(1_000*(i+1)))))
		if err != nil || booked.GetSource().GetServedBy() != "well" || booked.GetBooking().GetApplied() != 1 {
			t.Errorf("%v: %v, %v", fail, booked, err)
		}
	}
}
