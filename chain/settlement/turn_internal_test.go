package settlement

import (
	"testing"

	"github.com/tributary-network/tributary/shard"
)

// TestStalledShardsTakeTurns: however many shards are stalled and stay so, each is among
// those that a block looks for another committee for, within as many blocks.
func TestStalledShardsTakeTurns(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, MaxRedraws, MaxRedraws + 1, 3 * MaxRedraws, 1_000} {
		var stalled []shard.ID
		for i := range n {
			stalled = append(stalled, shard.ID(i+1))
		}
		met := map[shard.ID]bool{}
		for height := uint64(1 << 40); height < 1<<40+uint64(n); height++ {
			some := inTurn(stalled, height)
			if len(some) != min(n, MaxRedraws) {
				t.Fatalf("%d of %d shards in a block", len(some), n)
			}
			for _, id := range some {
				met[id] = true
			}
		}
		if len(met) != n {
			t.Errorf("%d of %d shards had their turn", len(met), n)
		}
	}
}
