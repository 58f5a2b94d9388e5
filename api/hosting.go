package api

import (
	"fmt"
	"time"

	"github.com/tributary-network/tributary/ledger"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
	"github.com/tributary-network/tributary/shard"
)

// Hosting tells of the shards of a node. It must be safe for concurrent use.
type Hosting interface {
	// Hosting returns what the node is to run, ascending by number, and how many shards
	// it has no room for. It is asked often and must not block.
	Hosting() (list []HostedShard, left int)
	// Genesis returns what a shard, whether it runs here or not, begins from, encoded, or
	// an error that wraps exec.ErrUnknown if the node does not have that.
	Genesis(id shard.ID) ([]byte, error)
}

// HostedState is whether the chain of a shard runs on a node.
type HostedState uint8

// The states of a hosted shard.
const (
	HostedWaiting  HostedState = 1 // the main chain does not have yet what it begins from
	HostedStarting HostedState = 2
	HostedRunning  HostedState = 3
	HostedFailed   HostedState = 4 // it is tried again
)

// HostedShard is a shard that a node runs, or is to run.
type HostedShard struct {
	ID    shard.ID
	State HostedState
	// Service, Zone and Buckets are known from the founding on; Known is false before.
	Known   bool
	Service uint32
	Zone    byte
	Buckets shard.Range
	// From is the epoch from which on the node serves it, Members the size of the
	// committee, 0 of a shard that ends.
	From    uint64
	Members int
	// Leaving says that the main chain has others serve it, to whom the shard has not gone
	// over; From is the last epoch that the node served, and Members who did in that.
	Leaving bool
	// Anchored is the last height that is anchored on the main chain, LevelBps how full
	// the shard is, in basis points.
	Anchored uint64
	LevelBps uint32

	Ready     bool
	Reason    string // one line: why it is not ready, or does not run
	Address   string // host:port for peers, while it runs
	Height    uint64
	BlockTime time.Time
	AppHash   ledger.Hash
	Chain     ChainInfo
	// Pending is how many records wait, and their bytes.
	PendingTxs, PendingBytes uint64
	// Data is about how many bytes of the disk it takes, as of a moment ago.
	Data uint64
}

// hosted renders the shards of the node.
func (n *nodes) hosted() (list []*nodev1.ChainStatus, left uint32) {
	if n.Hosting == nil {
		return nil, 0
	}
	shards, more := n.Hosting.Hosting()
	for i := range shards {
		list = append(list, renderHosted(&shards[i]))
	}
	return list, uint32(max(more, 0))
}

func renderHosted(s *HostedShard) *nodev1.ChainStatus {
	out := &nodev1.ChainStatus{
		Name: fmt.Sprintf("s%d", s.ID), ChainId: uint32(s.ID), Height: s.Height, AppHash: s.AppHash[:],
		CatchingUp: s.Chain.CatchingUp, Halted: s.Chain.Halted, HaltReason: s.Chain.HaltReason,
		Ready: s.Ready, NotReadyReason: s.Reason, Validator: s.Chain.Validator, Peers: uint32(s.Chain.Peers),
		PendingTxs: s.PendingTxs, PendingBytes: s.PendingBytes,
		Shard: &nodev1.HostedShard{
			State: renderHostedState(s.State), FromEpoch: s.From, CommitteeSize: uint32(max(s.Members, 0)),
			CommitteeSmall: s.Members > 0 && s.Members < shard.SafeMembers,
			AnchoredHeight: s.Anchored, LevelBps: s.LevelBps, P2PAddress: s.Address, DataBytes: s.Data, Leaving: s.Leaving,
		},
	}
	if s.Known {
		out.Shard.Service, out.Shard.Zone = s.Service, uint32(s.Zone)
		out.Shard.FirstBucket, out.Shard.LastBucket = uint32(s.Buckets.First), uint32(s.Buckets.Last)
	}
	if !s.BlockTime.IsZero() {
		out.BlockTime = renderStamp(s.BlockTime)
	}
	if s.Chain.Sync != nil {
		out.Sync = renderSync(s.Chain.Sync)
	}
	return out
}

func renderHostedState(s HostedState) nodev1.HostedShardState {
	switch s {
	case HostedWaiting:
		return nodev1.HostedShardState_HOSTED_SHARD_STATE_WAITING
	case HostedStarting:
		return nodev1.HostedShardState_HOSTED_SHARD_STATE_STARTING
	case HostedRunning:
		return nodev1.HostedShardState_HOSTED_SHARD_STATE_RUNNING
	case HostedFailed:
		return nodev1.HostedShardState_HOSTED_SHARD_STATE_FAILED
	}
	return nodev1.HostedShardState_HOSTED_SHARD_STATE_UNSPECIFIED
}
