package api_test

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
)

// largeUsage is a booking of many vouchers that nobody signed, signed by their payee.
func (s *shardWorld) largeUsage(entries int) []byte {
	at := service.HomeOf(s.payer.addr)
	u := service.Usage{Service: 1, Zone: at.Zone, Batch: channel.Batch{Payee: s.payee.addr}}
	for i := range entries {
		u.Batch.Entries = append(u.Batch.Entries, channel.Entry{Index: uint64(i + 1), Claim: channel.ClaimVoucher, Cumulative: 10, Units: 5})
		u.Buckets = append(u.Buckets, at.Bucket)
	}
	return chain.SignTx(service.Domain(s.domain.Network, 1), s.payee.key, chain.TxFields{Kind: chain.KindBookUsage, Zone: s.payee.addr.Zone(), Payload: u.Encode()})
}

// TestHandedOnBookingIsPaidFor: what other nodes charge a node for a booking that it hands on,
// it charges its client; and what nobody signed it hands on to nobody.
func TestHandedOnBookingIsPaidFor(t *testing.T) {
	t.Parallel()
	const entries = 2_000
	s := newShardWorld(t, map[string][]shard.ID{"here": {2, 3, 4, 5}})
	raw := s.largeUsage(entries)
	hash := chain.TxHash(raw)
	home := s.home(s.payer.addr)
	took := func(stage chainv1.Stage, resp proto.Message) error {
		proto.Merge(resp, &servicev1.BookUsageResponse{Booking: &servicev1.Booking{
			Name: api.BookingName(hash), Shard: api.ShardName(home.is.ID), Service: api.ServiceName(1),
			Transaction: &chainv1.Transaction{Hash: hash[:], Stage: stage},
		}})
		return nil
	}
	refuse := func(int, proto.Message) error { return refusal(codes.InvalidArgument, "BAD_SIGNATURE") }
	take := func(_ int, resp proto.Message) error { return took(chainv1.Stage_STAGE_CHECKED, resp) }
	for name, row := range map[string]struct {
		req    *servicev1.BookUsageRequest
		answer func(call int, resp proto.Message) error
		burst  int // calls
		calls  int // of others
		limit  bool
	}{
		"refused by two":   {&servicev1.BookUsageRequest{}, refuse, 100, 2, true},
		"only tried":       {&servicev1.BookUsageRequest{ValidateOnly: true}, take, 60, 1, true},
		"taken":            {&servicev1.BookUsageRequest{}, take, 60, 1, false},
		"taken and waited": {&servicev1.BookUsageRequest{WaitFor: chainv1.Stage_STAGE_INCLUDED}, take, 30, 2, true},
		"refused by one, taken by another": {&servicev1.BookUsageRequest{}, func(call int, resp proto.Message) error {
			if call == 1 {
				return refuse(call, resp)
			}
			return take(call, resp)
		}, 60, 2, false},
		"nobody signed it": {&servicev1.BookUsageRequest{Transaction: &servicev1.BookUsageRequest_SignedTx{SignedTx: append(raw[:len(raw)-ledger.SignatureSize:len(raw)-ledger.SignatureSize], make([]byte, ledger.SignatureSize)...)}}, take, 60, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := &others{node: s.nodes["here"], names: []string{"a", "b", "c"}}
			call := 0
			o.answer = func(_ context.Context, _ string, _ func() error, resp proto.Message) error {
				call++
				return row.answer(call, resp)
			}
			n := &shardNode{world: s, name: "gateway", listener: bufconn.Listen(1 << 20)}
			n.start(func(c *api.Config) {
				c.Peers = o
				c.Limits.RequestsPerSecond, c.Limits.Burst = 0.01, row.burst
			})
			if row.req.GetSignedTx() == nil {
				row.req.Transaction = signedUsage(raw).Transaction
			}
			_, err := n.services().BookUsage(s.ctx(), row.req)
			if row.calls == 0 {
				if p := wantProblem(t, err, codes.InvalidArgument, "BAD_SIGNATURE"); p.info.GetMetadata()["shard"] != api.ShardName(home.is.ID) {
					t.Errorf("%v", p.info)
				}
			} else if reasonOf(err) == api.ReasonRateLimited {
				t.Fatal(err)
			}
			if asked, _ := o.reset(); len(asked) != row.calls {
				t.Errorf("asked %v", asked)
			}
			_, err = n.services().GetShardStatus(s.ctx(), &servicev1.GetShardStatusRequest{Name: "shards/1"})
			if limited := reasonOf(err) == api.ReasonRateLimited; limited != row.limit {
				t.Errorf("the next call: %v", err)
			}
		})
	}
}
