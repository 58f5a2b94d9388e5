package comet_test

import (
	"context"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// TestStateSyncStopped stops a node while it waits for a chunk that nobody sends. What
// CometBFT runs for it ends too: see TestMain.
func TestStateSyncStopped(t *testing.T) {
	t.Parallel()
	nw, joiner := stateSyncNetwork(t, "stopped")
	gone := make(chan struct{})
	t.Cleanup(func() { close(gone) })
	for _, m := range nw.members[:4] {
		m.app.snaps.lie = func([]byte) []byte { <-gone; return nil }
	}
	at := nw.members[2].chain.LatestHeight()
	trusted, err := nw.members[2].chain.Block(at)
	if err != nil {
		t.Fatal(err)
	}
	nw.config = func(c *comet.Config) {
		c.EmptyBlocks, c.StateSync = true, &comet.StateSync{
			Sources: []comet.LightSource{source{m: nw.members[0]}}, TrustHeight: at, TrustHash: trusted.Hash, Anchored: true,
			DiscoveryTime: 500 * time.Millisecond,
		}
	}
	nw.start(t, 4)
	eventually(t, 60*time.Second, "a snapshot is taken", func() bool { return joiner.chain.Status().Sync.TotalChunks > 0 })
	ctx, cancel := context.WithTimeout(t.Context(), hangs)
	defer cancel()
	began := time.Now()
	if err := joiner.chain.Stop(ctx); err != nil {
		t.Error(err)
	}
	joiner.chain = nil
	t.Logf("stopped after %v", time.Since(began).Round(time.Millisecond))
}
