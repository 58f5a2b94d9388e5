package api

import (
	"github.com/tributary-network/tributary/chain/exec"
)

// HostShard returns a shard that runs on this node as clients are to see it. run says how
// its chain runs; it must not block, and be safe for concurrent use.
func HostShard(s *exec.Shard, run func() ChainInfo) Shard { return &hostShard{Shard: s, run: run} }

// hostShard is an exec.Shard as a Shard.
type hostShard struct {
	*exec.Shard

	run func() ChainInfo
}

// sameChain reports whether two shards that ran here are one and the same chain, which has not
// been closed and opened again in between.
func sameChain(a, b Shard) bool {
	x, hosted := a.(*hostShard)
	y, both := b.(*hostShard)
	if hosted && both {
		return x.Shard == y.Shard
	}
	return a == b
}

// Chain implements Shard.
func (h *hostShard) Chain() ChainInfo { return h.run() }

// Follow implements ShardBlocks.
func (h *hostShard) Follow(from uint64) ShardReader { return h.Shard.Follow(from) }

// Pending implements ShardPool.
func (h *hostShard) Pending() (records int, size int64) {
	stats := h.Stats()
	return stats.PendingRecords, stats.PendingBytes
}
