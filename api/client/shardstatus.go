package client

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/route"
)

// ShardStatus is how a shard runs on the node that answered.
type ShardStatus struct {
	ShardInfo

	NodeID, Moniker string
	Height          uint64 // last block there
	AppHash         ledger.Hash
	BlockTime       time.Time
	ShardEpoch      uint64 // that the shard knows of
	Clock           uint64 // settlement clock, likewise
	Certified       uint64 // last height with a certificate there
	Level           route.Level
	Backlog         route.Backlog
	Totals          service.Totals
	PendingTxs      uint64
	PendingBytes    uint64
	Peers           uint32
	Validator       bool
	CatchingUp      bool
	Halted          bool
	HaltReason      string
	Settling        bool // lanes of earlier epochs remain to be settled
	// OverdueLanes are lanes of which a settlement waits for payment since an epoch before the
	// last, at most 1,024, and Overdue what they are about.
	OverdueLanes   uint32
	Overdue        ledger.Amount
	SmallCommittee bool
	Ended          bool
	Source         Source // of everything but ShardInfo and SmallCommittee, which the main chain says
}

// ShardStatus asks for a shard; the node in use hands the call on if it does not run it.
func (c *Client) ShardStatus(ctx context.Context, id shard.ID) (ShardStatus, error) {
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*servicev1.GetShardStatusResponse, error) {
		return e.services.GetShardStatus(ctx, &servicev1.GetShardStatusRequest{Name: shardsPrefix + strconv.FormatUint(uint64(id), 10)})
	})
	if err != nil {
		return ShardStatus{}, fmt.Errorf("read the status of shard %d: %w", id, err)
	}
	var r reader
	info, err := shardOf(resp.GetShard())
	if err != nil {
		return ShardStatus{}, err
	}
	b, t, bps := resp.GetBacklog(), resp.GetTotals(), resp.GetLevelBps()
	out := ShardStatus{
		ShardInfo: info, NodeID: resp.GetNodeId(), Moniker: resp.GetMoniker(), Height: resp.GetHeight(), AppHash: r.hash("app_hash", resp.GetAppHash()),
		BlockTime: timeOf(resp.GetBlockTime()), ShardEpoch: resp.GetEpoch(), Clock: resp.GetSettlementClock(), Certified: resp.GetCertifiedHeight(),
		Backlog: route.Backlog{Inbox: b.GetInbox(), Outbox: b.GetOutbox(), Bytes: b.GetBytes(), MissedAnchors: b.GetMissedAnchors()},
		Totals: service.Totals{
			Booked: sumsOf(t.GetBooked()), Received: sumsOf(t.GetReceived()), Returned: sumsOf(t.GetReturned()), Earned: sumsOf(t.GetEarned()),
			Sent: sumsOf(t.GetSent()), Waiting: sumsOf(t.GetWaiting()), Stuck: sumsOf(t.GetStuck()), Channels: t.GetChannels(),
		},
		PendingTxs: resp.GetPendingTxs(), PendingBytes: resp.GetPendingBytes(), Peers: resp.GetPeers(), Validator: resp.GetValidator(),
		CatchingUp: resp.GetCatchingUp(), Halted: resp.GetHalted(), HaltReason: resp.GetHaltReason(), Settling: resp.GetSettling(),
		OverdueLanes: resp.GetOverdueLanes(), Overdue: ledger.Amount(resp.GetOverdue()),
		SmallCommittee: resp.GetSmallCommittee(), Ended: resp.GetEnded(), Source: sourceOf(resp.GetSource()),
	}
	if l := r.level(&bps); l != nil {
		out.Level = *l
	}
	return out, r.err
}

// ShardBlock is a block of a shard, or what else WatchShard tells.
type ShardBlock struct {
	Height       uint64 // 0 if this is no block
	Time         time.Time
	Epoch        uint64
	Transactions uint32
	Bookings     uint32 // vouchers booked
	Booked       service.Sums
	Outbox       uint32 // messages and acknowledgements sent
	Imports      uint32 // leaves taken in
	// GapFrom to GapTo are heights that the node no longer has; 0 and 0 if none are missing.
	GapFrom, GapTo uint64
	Head           uint64 // last block of the shard
	Anchored       uint64 // last height that is anchored
	// Generation is how often the shard, as far as the node has it, went on with another
	// committee from what was anchored. A height that comes again with a higher one was made
	// anew: what it was before was taken back.
	Generation uint32
	Level      route.Level
}

// WatchShard calls f for each block of a shard from a height on, 0 for the next one, and
// for each anchor, heartbeats included, until ctx ends or f returns an error, which it
// returns. The nodes of the client must run the shard: Location.Endpoints tells which do.
//
// Once it has begun it comes back by itself, on another node of the client if need be, when
// a connection ends or the shard stops there, and goes on with the block after the last one;
// if the shard went on from an earlier one with another committee, which takes back what was
// not anchored, with the first one that was made anew. No other block comes twice.
func (c *Client) WatchShard(ctx context.Context, id shard.ID, from uint64, f func(*ShardBlock) error) error {
	w := &shardWatch{id: id, next: from, call: f}
	resumable := func(err error) bool { return w.begun && watchResumes(err) }
	err := c.rewatch(ctx, fmt.Sprintf("watch shard %d", id), resumable, func(e *endpoint) (bool, error) { return w.stream(ctx, e) })
	if w.done != nil {
		return w.done
	}
	return err
}

// shardWatch is one WatchShard over all its streams.
type shardWatch struct {
	id   shard.ID
	next uint64 // height to go on with
	// generation is that of the last block that was told; nil before there is one.
	generation *uint32

	call  func(*ShardBlock) error
	begun bool  // something came
	done  error // of call
}

// stream opens one stream and tells what comes until it ends. It reports whether anything
// came.
func (w *shardWatch) stream(ctx context.Context, e *endpoint) (came bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(watchSilence, cancel)
	defer silence.Stop()
	stream, err := e.services.WatchShard(ctx, &servicev1.WatchShardRequest{
		Name: shardsPrefix + strconv.FormatUint(uint64(w.id), 10), FromHeight: w.next, Generation: w.generation,
	})
	if err != nil {
		return false, err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return came, err
		}
		silence.Stop() // the reader may take its time
		came, w.begun = true, true
		if w.done = w.tell(m); w.done != nil {
			return true, errStopped
		}
		silence.Reset(watchSilence)
	}
}

func (w *shardWatch) tell(m *servicev1.WatchShardResponse) error {
	b, next := m.GetBlock(), uint64(0)
	switch {
	case b != nil:
		next = b.GetHeight() + 1
	case m.GetGap() != nil:
		next = m.GetGap().GetToHeight() + 1
	case w.next == 0:
		next = m.GetHeadHeight() + 1
	}
	if next > 0 { // not by a heartbeat: that of another generation comes before what it made anew
		w.next, w.generation = next, new(m.GetGeneration())
	}
	return w.call(&ShardBlock{
		Height: b.GetHeight(), Time: timeOf(b.GetTime()), Epoch: b.GetEpoch(), Transactions: b.GetTransactions(), Bookings: b.GetBookings(),
		Booked: sumsOf(b.GetBooked()), Outbox: b.GetOutbox(), Imports: b.GetImports(),
		GapFrom: m.GetGap().GetFromHeight(), GapTo: m.GetGap().GetToHeight(), Head: m.GetHeadHeight(), Anchored: m.GetAnchoredHeight(), Generation: m.GetGeneration(),
		Level: route.Level(min(m.GetLevelBps(), uint32(route.Full))), //nolint:gosec // at most Full
	})
}
