package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/route"
)

// levelWidth is the length of a bar that shows a level, in characters.
const levelWidth = 10

// bar draws a level: "##........ 12.5%".
func bar(l route.Level) string {
	full := (int(l)*levelWidth + int(route.Full) - 1) / int(route.Full)
	return strings.Repeat("#", full) + strings.Repeat(".", levelWidth-full) + " " + l.String()
}

func (r *shardResult) bar() string {
	if r.Level == nil {
		return ""
	}
	return bar(route.Level(*r.Level))
}

// levels asks how congested the shards are.
func (run *run) levels(name string, list []shardResult) error {
	known := map[uint32]route.Level{}
	for c, err := range run.conn.Congestion(run.ctx, name) {
		if err != nil {
			return err
		}
		known[uint32(c.Shard)] = c.Level
	}
	for i := range list {
		if l, ok := known[list[i].ID]; ok {
			list[i].Level = new(uint16(l))
		}
	}
	return nil
}

// sumsResult is what is counted on service chains.
type sumsResult struct {
	Amount drops  `json:"amount"`
	Units  uint64 `json:"units"`
	Work   uint64 `json:"work"`
}

func newSums(s service.Sums) sumsResult {
	return sumsResult{drops(s.Amount), s.Units, s.Work}
}

func (s sumsResult) String() string {
	return fmt.Sprintf("%s for %d units, of which %d count as work", coins(ledger.Amount(s.Amount)), s.Units, s.Work)
}

// shardStatusResult is what is shown of a shard as it runs.
type shardStatusResult struct {
	shardResult

	Node        string      `json:"node"`
	NodeID      string      `json:"node_id"`
	BlockHeight uint64      `json:"block_height"`
	BlockTime   *time.Time  `json:"block_time,omitempty"`
	AppHash     ledger.Hash `json:"app_hash"`
	Certified   uint64      `json:"certified_height"`
	ShardEpoch  uint64      `json:"shard_epoch"`
	Missed      uint64      `json:"missed_anchors"`
	Inbox       uint64      `json:"inbox"`
	Outbox      uint64      `json:"outbox"`
	WaitBytes   uint64      `json:"waiting_bytes"`
	Channels    uint64      `json:"channels"`
	Booked      sumsResult  `json:"booked"`
	Earned      sumsResult  `json:"earned"`
	Sent        sumsResult  `json:"sent"`
	Waiting     sumsResult  `json:"waiting"`
	PendingTxs  uint64      `json:"pending_txs"`
	Peers       uint32      `json:"peers"`
	Validator   bool        `json:"validator"`
	CatchingUp  bool        `json:"catching_up"`
	Halted      bool        `json:"halted"`
	HaltReason  string      `json:"halt_reason,omitempty"`
	Settling    bool        `json:"settling"`
	Lanes       uint32      `json:"overdue_lanes"`
	Overdue     drops       `json:"overdue"`
	Small       bool        `json:"small_committee"`
	Ended       bool        `json:"ended"`
	sourceResult
}

func newShardStatus(s *client.ShardStatus) shardStatusResult {
	r := shardStatusResult{
		shardResult: newShardResult(&s.ShardInfo), Node: s.Moniker, NodeID: s.NodeID, BlockHeight: s.Height, AppHash: s.AppHash, Certified: s.Certified,
		ShardEpoch: s.ShardEpoch, Missed: s.Anchoring.Missed, Inbox: s.Backlog.Inbox, Outbox: s.Backlog.Outbox, WaitBytes: s.Backlog.Bytes,
		Channels: s.Totals.Channels, Booked: newSums(s.Totals.Booked), Earned: newSums(s.Totals.Earned), Sent: newSums(s.Totals.Sent),
		Waiting: newSums(s.Totals.Waiting), PendingTxs: s.PendingTxs, Peers: s.Peers, Validator: s.Validator, CatchingUp: s.CatchingUp,
		Halted: s.Halted, HaltReason: s.HaltReason, Settling: s.Settling, Lanes: s.OverdueLanes, Overdue: drops(s.Overdue), Small: s.SmallCommittee, Ended: s.Ended, sourceResult: newSource(s.Source),
	}
	r.Level = new(uint16(s.Level))
	if !s.BlockTime.IsZero() {
		r.BlockTime = &s.BlockTime
	}
	return r
}

// running says in a word how the chain runs on the node.
func (r *shardStatusResult) running() string {
	switch {
	case r.Halted:
		return "HALTED: " + r.HaltReason
	case r.Ended:
		return "ended: its heirs go on"
	case r.CatchingUp:
		return "catching up"
	case r.Validator:
		return "yes, and votes"
	default:
		return "yes"
	}
}

func (r *shardStatusResult) fields(t *table) {
	t.field("shard", r.ID)
	t.field("service", r.Service)
	t.field("zone", r.Zone)
	t.field("buckets", r.Buckets)
	t.field("as seen by", r.Node)
	t.field("told by", r.toldBy())
	t.field("runs there", r.running())
	t.field("height", r.BlockHeight)
	if r.BlockTime != nil {
		t.field("block time", *r.BlockTime)
	}
	t.field("certified", r.Certified)
	t.field("anchored", fmt.Sprintf("%d, %s", r.Anchored, r.State))
	if r.Missed > 0 {
		t.field("missed anchors", r.Missed)
	}
	t.field("epoch", r.ShardEpoch)
	t.field("level", r.bar())
	t.field("messages waiting", fmt.Sprintf("%d in, %d out, %d bytes", r.Inbox, r.Outbox, r.WaitBytes))
	t.field("transactions waiting", r.PendingTxs)
	t.field("channels", r.Channels)
	t.field("booked", r.Booked)
	t.field("earned here", r.Earned)
	t.field("earned elsewhere", r.Sent)
	if r.Waiting != (sumsResult{}) {
		t.field("waits for room", r.Waiting)
	}
	if r.Lanes > 0 {
		t.field("overdue", fmt.Sprintf("%s of %s: nobody carries the settlement, or it is worth less than its fee", coins(ledger.Amount(r.Overdue)), plural(int(r.Lanes), "lane")))
	}
	if r.Settling {
		t.field("settling", "lanes of earlier epochs remain to be settled")
	}
	members := fmt.Sprintf("%d: validators %s", len(r.Members), r.validators())
	if r.Small {
		members += fmt.Sprintf("; fewer than %d are easily bad, so trust what is anchored (%s)", shard.SafeMembers, odds(len(r.Members)))
	}
	t.field("committee", members)
	t.field("state", r.AppHash)
}

func (c *cli) shardStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status SHARD",
		Short: "Show how a shard runs, and what is booked on it",
		Long: `Show how a shard runs on the node that is asked or, if that does not run it, on one
that does: its blocks, certificates and anchors, how congested it is, what is booked and
earned, and who serves it.`,
		Args: first(cobra.ExactArgs(1), parseShard),
		RunE: c.connected(func(run *run) error {
			id, err := run.shardID()
			if err != nil {
				return err
			}
			s, err := run.conn.ShardStatus(run.ctx, id)
			if err != nil {
				return shardProblem(err, id)
			}
			r := newShardStatus(&s)
			return c.print(r, r.fields)
		}),
	}
}

// shardProblem says what to do about a shard that could not be asked.
func shardProblem(err error, id shard.ID) error {
	e, told := errors.AsType[*client.Error](err)
	if errors.Is(err, chain.CodeUnknownShard.Err()) {
		switch {
		case told && e.Code == codes.Unavailable:
			return exitf(exitUnavailable, "%w", err)
		case id == 0, told && (e.Metadata["heirs"] != "" || e.Metadata["endpoints"] != ""): // it ended, and the answer says more
			return exitf(exitNotFound, "%w", err)
		}
		return exitf(exitNotFound, "there is no shard %d; 'tributary shard map' shows those there are", id)
	}
	if told && e.Reason == "NOT_HOSTED" {
		if at := e.Metadata["endpoints"]; at != "" {
			return exitf(exitUnavailable, "%w; ask one of them with --node", err)
		}
		return exitf(exitUnavailable, "%w; 'tributary shard map' shows which validators serve it, and whether its anchors come", err)
	}
	return err
}
