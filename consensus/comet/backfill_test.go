package comet_test

import (
	"sync"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// TestStateSyncEvidence has a node that joined by a snapshot take blocks with
// evidence about heights on both sides of it.
func TestStateSyncEvidence(t *testing.T) {
	t.Parallel()
	nw, joiner := stateSyncNetwork(t, "statesync-evidence")
	var mu sync.Mutex
	seen := make(map[uint64]bool)
	joiner.app.setOnBlock(func(b comet.Block) error {
		mu.Lock()
		defer mu.Unlock()
		for _, ev := range b.Evidence {
			seen[ev.Height] = true
		}
		return nil
	})
	nw.join(t, &comet.StateSync{Sources: []comet.LightSource{source{m: nw.members[0]}, source{m: nw.members[2]}}})
	eventually(t, 20*time.Second, "the header of height 1", func() bool {
		_, _, err := joiner.chain.LightBlock(1)
		return err == nil
	})
	base := joiner.chain.Base()
	if base < 2 {
		t.Fatalf("blocks from %d on, so it was no snapshot", base)
	}
	joiner.app.waitFor(t, 20*time.Second, func(_ int, h uint64) bool { return h > base+1 })
	heights := []uint64{2, base - 2, base - 1, base, base + 1}
	for _, h := range heights {
		if err := comet.AddDuplicateVote(nw.members[1].chain, nw.members[3].signer, h); err != nil {
			t.Fatalf("evidence about height %d: %v", h, err)
		}
	}
	eventually(t, 20*time.Second, "evidence", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for _, h := range heights {
			if !seen[h] {
				return false
			}
		}
		return true
	})
	_, height := joiner.app.count()
	joiner.app.waitFor(t, 20*time.Second, func(_ int, h uint64) bool { return h > height+3 })
	// The joiner itself can judge it, and tell light clients.
	for h := uint64(3); h < base; h++ {
		if err := comet.AddDuplicateVote(joiner.chain, nw.members[3].signer, h); err != nil {
			t.Fatalf("evidence about height %d: %v", h, err)
		}
	}
}
