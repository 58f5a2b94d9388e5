package node

import (
	"errors"
	"math"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/node/telemetry"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/route"
)

// look returns the chain of a shard that runs here, or nil.
func (r *shardRun) look() *hosted {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.chain
}

// tell says what the shard does before it runs.
func (r *shardRun) tell(note string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note = note
}

// head returns the height of a shard's chain here, which is above all if it does not run.
func (r *shardRun) head() uint64 {
	h := r.look()
	if h == nil {
		return math.MaxUint64
	}
	head, _ := h.exec.Head()
	return head
}

// find returns the chain of a shard that runs here, or nil.
func (s *shards) find(id shard.ID) *hosted {
	s.mu.Lock()
	r := s.runs[id]
	s.mu.Unlock()
	if r == nil {
		return nil
	}
	return r.look()
}

// running returns the shards that run, ascending.
func (s *shards) running() (ids []shard.ID) {
	for _, r := range s.sorted() {
		if r.look() != nil {
			ids = append(ids, r.id)
		}
	}
	return ids
}

// anchored returns the last height of each of ids that is anchored, by the state of the
// main chain.
func (n *Node) anchored(ids ...shard.ID) map[shard.ID]uint64 {
	heights := make(map[shard.ID]uint64, len(ids))
	// A store that was closed meanwhile leaves them at zero.
	_ = n.main.exec.Read(func(v chain.View, _ uint64) error {
		for _, id := range ids {
			if row, ok := anchor.Read(v, id); ok {
				heights[id] = row.Height()
			}
		}
		return nil
	})
	return heights
}

// Hosting implements api.Hosting.
func (s *shards) Hosting() (list []api.HostedShard, left int) {
	runs := s.sorted()
	ids := make([]shard.ID, len(runs))
	for i, r := range runs {
		ids[i] = r.id
	}
	anchored := s.node.anchored(ids...)
	for _, r := range runs {
		h := r.describe()
		h.Anchored = anchored[r.id]
		list = append(list, h)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return list, s.left
}

// describe tells how the shard is, but for what is anchored.
func (r *shardRun) describe() api.HostedShard {
	r.mu.Lock()
	out := api.HostedShard{
		ID: r.id, From: r.duty.From, Members: r.duty.Members, Leaving: r.duty.Leaving, Known: r.place.ID != 0,
		Service: r.place.Service, Zone: r.place.Zone, Buckets: r.place.Buckets, Data: r.data,
	}
	h, began, err, note := r.chain, r.began, r.err, r.note
	r.mu.Unlock()
	switch {
	case h == nil && note != "":
		out.State, out.Reason = api.HostedStarting, note
	case h == nil && (errors.Is(err, shardblock.ErrNotFounded) || errors.Is(err, errNobodyTells) || errors.Is(err, errPartTaken)):
		out.State, out.Reason = api.HostedWaiting, err.Error()
	case h == nil && err != nil:
		out.State, out.Reason = api.HostedFailed, err.Error()
	case h == nil:
		out.State, out.Reason = api.HostedStarting, "the shard is starting"
	default:
		out.State = api.HostedStarting
		if began || h.sample.Load().chain.Halt != nil {
			out.State = api.HostedRunning
		}
		h.describe(&out)
	}
	return out
}

// describe tells how a chain of a shard does that runs.
func (h *hosted) describe(out *api.HostedShard) {
	s := h.sample.Load()
	out.Ready, out.Reason = s.ready, s.reason
	out.Chain, out.Address = h.serves(), h.chain.ListenAddr()
	height, hash := h.exec.Head()
	out.Height, out.BlockTime = height, s.chain.LastBlockTime
	copy(out.AppHash[:], hash)
	stats := h.exec.Stats()
	out.PendingTxs, out.PendingBytes = uint64(stats.PendingRecords), uint64(stats.PendingBytes) //nolint:gosec // not negative
	if level, _, err := h.shard.Congestion(); err == nil && height > 0 {
		out.LevelBps = uint32(level)
	}
}

// shardSample is what the metrics of a shard show.
func (s *shards) sample(r *shardRun, h *hosted) telemetry.ShardSample {
	r.mu.Lock()
	d := r.duty
	r.mu.Unlock()
	out := telemetry.ShardSample{
		ChainSample: h.chainSample(), Members: d.Members, Anchored: s.node.anchored(r.id)[r.id],
		Serving: d.Members > 0 && !d.Leaving && s.node.mainEpoch() >= d.From,
	}
	if level, _, err := h.shard.Congestion(); err == nil && out.Height > 0 {
		out.Congestion = float64(level) / float64(route.Full)
	}
	if lanes, amount, err := h.shard.Overdue(); err == nil && out.Height > 0 {
		out.OverdueLanes, out.Overdue = lanes, uint64(amount)
	}
	return out
}

// settled reports whether the node knows its shards, and none is about to start.
func (s *shards) settled() bool {
	runs := s.sorted()
	for _, r := range runs {
		if r.describe().State == api.HostedStarting {
			return false
		}
	}
	return len(runs) > 0
}

// states counts the shards by how they are.
func (s *shards) states() (out telemetry.ShardStates) {
	list, left := s.Hosting()
	out.Left = left
	for i := range list {
		switch h := &list[i]; {
		case h.Chain.Halted:
			out.Halted++
		case h.State == api.HostedRunning:
			out.Running++
		case h.State == api.HostedFailed:
			out.Failed++
		default:
			out.Waiting++
		}
	}
	return out
}

// checks is what /readyz tells of the shards, which does not decide about the node.
func (s *shards) checks() (list []telemetry.Check) {
	for _, r := range s.sorted() {
		h := r.describe()
		c := telemetry.Check{Name: "chain/" + shardName(r.id), Ready: h.Ready, Detail: h.Reason, Aside: true}
		list = append(list, c)
	}
	return list
}
