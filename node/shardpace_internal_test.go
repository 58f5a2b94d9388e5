package node

import (
	"testing"
	"time"

	"github.com/tributary-network/tributary/node/config"
)

// TestPaceOfShards: shards make blocks as often as main does, or as shards.block_interval
// says if that is slower.
func TestPaceOfShards(t *testing.T) {
	t.Parallel()
	n := &Node{cfg: config.Default()}
	n.genesis.Params.BlockInterval = 300
	if main := n.consensusConfig().TimeoutCommit; main != 300*time.Millisecond {
		t.Fatalf("main waits %s", main)
	}
	for interval, want := range map[time.Duration]time.Duration{
		0: 300 * time.Millisecond, 100 * time.Millisecond: 300 * time.Millisecond, 12 * time.Second: 12 * time.Second,
	} {
		n.cfg.Shards.BlockInterval.Duration = interval
		if got := n.shardConsensus(t.TempDir(), 0, 0).TimeoutCommit; got != want {
			t.Errorf("block_interval %s: shards wait %s, want %s", interval, got, want)
		}
	}
}
