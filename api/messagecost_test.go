package api_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// slowBlocks is a main chain whose blocks take their time to be read.
type slowBlocks struct {
	api.Main

	take time.Duration
}

// Outbox implements api.Main.
func (b *slowBlocks) Outbox(height uint64) (*link.Outbox, error) {
	<-time.After(b.take)
	return b.Main.Outbox(height)
}

// TestNoticesOfASettlement: a settlement's notice is found among those of all that its block
// redeemed, the search is paid for, and it ends with the call.
func TestNoticesOfASettlement(t *testing.T) {
	t.Parallel()
	s := newShardWorld(t, map[string][]shard.ID{"here": {2, 3, 4, 5}}, func(c *api.Config) {
		c.Limits.RequestsPerSecond, c.Limits.Burst = 0.01, 450
	})
	c := s.sell(s.payee).told()
	b := c.usage(1_000).Batch
	tx := s.do(s.payee, chain.KindSettle, b.Encode())
	at := service.HomeOf(s.payer.addr)
	var leaves []link.Leaf
	const notices = 50
	for i := range uint64(notices) {
		n := channel.RedeemedNotice{Zone: at.Zone, Bucket: at.Bucket}
		for j := range uint64(channel.MaxRedeemedLanes) {
			n.Lanes = append(n.Lanes, channel.LaneTotal{Index: 1<<40 + i<<20 + j, Redeemed: 1})
		}
		if i == notices-1 {
			n.Lanes[0].Index = c.index
		}
		leaves = append(leaves, link.Leaf{Message: &link.Message{
			Link: link.Link{Dst: link.Place{Service: 1, Zone: at.Zone, Bucket: at.Bucket}}, Seq: i, Kind: uint16(channel.NoticeRedeemed), Expiry: 1, Payload: n.Encode(),
		}})
	}
	box, err := link.OutboxOf(leaves)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.boxes[tx.GetHeight()] = box
	s.mu.Unlock()
	ask := &servicev1.GetMessageRequest{ChainId: uint32(ledger.MainChain), What: &servicev1.GetMessageRequest_Sent_{Sent: &servicev1.GetMessageRequest_Sent{TxHash: tx.GetHash()}}}
	here := s.nodes["here"].routing()
	got, err := here.GetMessage(s.ctx(), ask)
	if err != nil || len(got.GetSent()) != 1 || !got.GetNetted() {
		t.Fatalf("%v, %v", got, err)
	}
	if in, err := link.DecodeImport(got.GetSent()[0].GetImport()); err != nil || in.Range.Begin != notices-1 {
		t.Errorf("leaf %d, %v", in.Range.Begin, err)
	}
	_, err = here.GetMessage(s.ctx(), ask)
	wantProblem(t, err, codes.ResourceExhausted, api.ReasonRateLimited)

	slow := &shardNode{world: s, name: "slow", listener: bufconn.Listen(1 << 20)}
	slow.start(func(c *api.Config) {
		c.Limits.MaxDeadline = 20 * time.Millisecond
		c.Main = &slowBlocks{Main: c.Main, take: 2 * c.Limits.MaxDeadline}
	})
	_, err = slow.routing().GetMessage(s.ctx(), ask)
	wantProblem(t, err, codes.DeadlineExceeded, api.ReasonDeadline)
}
