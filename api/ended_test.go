package api_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
)

// end has a shard end where it is anchored, and two others take over.
func (s *shardWorld) end(id shard.ID) (heirs []string) {
	s.t.Helper()
	row, err := anchor.DecodeState(s.row(anchor.Key(id)))
	if err != nil {
		s.t.Fatal(err)
	}
	row.Until, row.End = 1, row.Height()
	var list []shard.Shard
	for _, f := range s.shards {
		if f.is.ID != id {
			list = append(list, f.is)
			continue
		}
		middle := f.is.Buckets.First + (f.is.Buckets.Last-f.is.Buckets.First)/2
		for i, buckets := range []shard.Range{{First: f.is.Buckets.First, Last: middle}, {First: middle + 1, Last: f.is.Buckets.Last}} {
			heir := shard.Shard{ID: shard.ID(10 + i), Service: f.is.Service, Zone: f.is.Zone, Buckets: buckets, Since: 1, Parents: []shard.ID{id}} //nolint:gosec // two
			list, heirs = append(list, heir), append(heirs, api.ShardName(heir.ID))
		}
	}
	slices.SortFunc(list, func(a, b shard.Shard) int { return int(a.ID) - int(b.ID) })
	m, err := shard.New(1, 12, list, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows[string(anchor.Key(id))], s.rows[string(registry.MapKey())] = row.Encode(), m.Encode()
	return heirs
}

// TestBookingOfAnEndedShard: what a shard did is told after it has ended, by the nodes that
// keep it and over others, and when nobody has it any more it is said who took over.
func TestBookingOfAnEndedShard(t *testing.T) {
	t.Parallel()
	s := newShardWorld(t, map[string][]shard.ID{"here": {4, 5}, "away": {2, 3}, "third": nil})
	here, away, third := s.nodes["here"], s.nodes["away"], s.nodes["third"]
	c := s.sell(s.elsewhere(s.payer.addr)).told()
	home := s.home(s.payer.addr)
	id := home.is.ID
	home.certify = true
	booked, err := here.services().BookUsage(s.ctx(), signedUsage(c.book(1_000)))
	if err != nil {
		t.Fatal(err)
	}
	s.anchorAll(id)
	name := booked.GetBooking().GetName()
	ask := &servicev1.GetBookingRequest{Name: name, Shard: api.ShardName(id), FullResults: true, Prove: []uint32{0}}
	trace := &servicev1.TraceRequest{Name: name, Shard: api.ShardName(id)}
	want, err := here.services().GetBooking(s.ctx(), ask)
	if err != nil || want.GetProof() == nil {
		t.Fatalf("before it ends: %v, %v", want, err)
	}
	traced, err := here.routing().Trace(s.ctx(), trace)
	if err != nil || len(traced.GetVouchers()) != 1 {
		t.Fatalf("trace before it ends: %v, %v", traced, err)
	}
	heirs := s.end(id)
	here.hosts = slices.DeleteFunc(here.hosts, func(x shard.ID) bool { return x == id })
	here.keeps = []shard.ID{id}
	for _, n := range []*shardNode{here, away, third} {
		got, err := n.services().GetBooking(s.ctx(), ask)
		if err != nil || !proto.Equal(got.GetBooking(), want.GetBooking()) || !proto.Equal(got.GetProof(), want.GetProof()) {
			t.Errorf("%s: %v, %v, want %v", n.name, got, err, want)
		}
		evidence := servicev1.Evidence_EVIDENCE_VERIFIED
		if n == here {
			evidence = servicev1.Evidence_EVIDENCE_OWN
		}
		if from := got.GetSource(); (from.GetServedBy() == "") != (n == here) || from.GetEvidence() != evidence {
			t.Errorf("%s: source %v", n.name, from)
		}
		again, err := n.routing().Trace(s.ctx(), trace)
		if err != nil || len(again.GetVouchers()) != 1 || !proto.Equal(again.GetOrigin().GetTransaction(), traced.GetOrigin().GetTransaction()) {
			t.Errorf("%s: traced %v, %v, want %v", n.name, again, err, traced)
		}
	}
	if got, err := here.services().GetBooking(s.ctx(), &servicev1.GetBookingRequest{Name: name}); err != nil || got.GetBooking().GetShard() != api.ShardName(id) {
		t.Errorf("without the name of its shard: %v, %v", got, err)
	}
	unknown := proto.CloneOf(ask)
	unknown.Name, unknown.Prove = api.BookingName(c.open), nil
	_, err = here.services().GetBooking(s.ctx(), unknown)
	wantProblem(t, err, codes.NotFound, api.ReasonTransactionNotFound)

	here.keeps = nil
	for _, n := range []*shardNode{here, third} {
		_, err := n.services().GetBooking(s.ctx(), ask)
		_, traceErr := n.routing().Trace(s.ctx(), trace)
		for _, err := range []error{err, traceErr} {
			p := wantProblem(t, err, codes.NotFound, "UNKNOWN_SHARD")
			if p.info.GetMetadata()["heirs"] != strings.Join(heirs, ", ") || !strings.Contains(err.Error(), "ended in epoch 1") || !strings.Contains(err.Error(), "shards.keep_epochs") {
				t.Errorf("%s: %v, metadata %v", n.name, err, p.info.GetMetadata())
			}
		}
		req := signedUsage(c.book(2_000))
		req.Shard = api.ShardName(id)
		_, err = n.services().BookUsage(s.ctx(), req)
		if p := wantProblem(t, err, codes.NotFound, "UNKNOWN_SHARD"); p.info.GetMetadata()["heirs"] != strings.Join(heirs, ", ") {
			t.Errorf("%s: a booking for it: %v", n.name, err)
		}
	}
}
