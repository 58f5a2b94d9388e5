package comet_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// TestPrune runs a chain whose application keeps twenty blocks: blocks go soon,
// headers when no evidence can be about them, and a restart finds all the rest.
func TestPrune(t *testing.T) {
	t.Parallel()
	const keep, last = 20, 120
	nw := newNetwork(t, "prune", 1)
	nw.genesis.EvidenceMaxBlocks, nw.genesis.EvidenceMaxAge = 40, time.Millisecond
	nw.config = func(c *comet.Config) { c.TimeoutCommit, c.EmptyBlocks = time.Millisecond, true }
	m := nw.members[0]
	m.app.retain = func(height uint64) uint64 { return max(height, keep) - keep }
	var still sync.RWMutex // locked: no block is made
	m.app.setOnBlock(func(comet.Block) error {
		still.RLock()
		defer still.RUnlock()
		return nil
	})
	nw.start(t, 0)
	for i := range last / 2 {
		big := append(tx(i), make([]byte, 20_000)...)
		nw.broadcast(t, 0, big)
		m.app.waitFor(t, 20*time.Second, func(txs int, _ uint64) bool { return txs > i })
	}
	m.app.waitFor(t, 20*time.Second, func(_ int, height uint64) bool { return height >= last })
	for round := range 2 {
		checkPruned(t, m, keep, &still)
		if round == 0 {
			nw.stop(t, 0)
			nw.restart(t, 0)
			m.app.waitFor(t, 20*time.Second, func(_ int, height uint64) bool { return height >= last+20 })
		}
	}
}

func checkPruned(t *testing.T, m *member, keep uint64, still *sync.RWMutex) {
	t.Helper()
	// A little more is kept than the application asks for.
	eventually(t, 10*time.Second, "pruning", func() bool {
		still.Lock()
		if m.chain.Base()+keep+32 > m.chain.LatestHeight() {
			return true
		}
		still.Unlock()
		return false
	})
	defer still.Unlock()
	if err := m.chain.Sweep(); err != nil {
		t.Fatal(err)
	}
	base := m.chain.Base()
	if base < 50 {
		t.Fatalf("blocks are kept from height %d on", base)
	}
	for h := base; h <= m.chain.LatestHeight(); h++ {
		if _, err := m.chain.Txs(h); err != nil && m.chain.Base() <= h {
			t.Errorf("block %d: %v", h, err)
		}
	}
	for h := uint64(1); h < base; h++ {
		if _, err := m.chain.Txs(h); !errors.Is(err, comet.ErrNotFound) {
			t.Errorf("block %d, below %d: %v", h, base, err)
		}
	}
	// Headers stay while evidence may be about them, and no longer.
	first := uint64(1)
	for ; ; first++ {
		if _, err := m.chain.Block(first); err == nil {
			break
		}
	}
	if latest := m.chain.LatestHeight(); first+40+32 < latest || first > base {
		t.Errorf("headers begin at %d, blocks at %d of %d", first, base, latest)
	}
	for h := first; h < base; h++ {
		if _, _, err := m.chain.SignedHeader(h); err != nil {
			t.Errorf("header %d: %v", h, err)
		}
		if _, err := m.chain.Validators(h); err != nil {
			t.Errorf("validators of %d: %v", h, err)
		}
	}
	// Nothing of the heights below is left but what later ones refer to.
	left := 0
	for _, kind := range []string{"blockstore/H:%d", "blockstore/C:%d", "blockstore/EC:%d", "blockstore/P:%d:0", "state/validatorsKey:%d"} {
		for h := uint64(1); h < first; h++ {
			v, err := m.store.Get(fmt.Appendf(nil, kind, h))
			if err != nil {
				t.Fatal(err)
			}
			if v != nil {
				left++
			}
		}
	}
	if left > 2 {
		t.Errorf("%d records of the heights below %d are left", left, first)
	}
	if names, err := filepath.Glob(filepath.Join(m.dir, "chain", "blocks", "*")); err != nil || len(names) > 3 {
		t.Errorf("block files: %v, %v", names, err)
	}
}

// TestStaleBlockFiles starts a chain with an empty store beside the block files of
// another life.
func TestStaleBlockFiles(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "stale", 1)
	m := nw.members[0]
	dir := filepath.Join(m.dir, "chain", "blocks")
	db, closeFiles := comet.NewBlockDatabase(newStore(t), dir)
	for _, h := range []int{1, 1000} {
		saveBlock(t, db, 1, h, 1, 5_000)
	}
	closeFiles()
	nw.start(t, 0)
	if n := files(t, dir); n != 0 {
		t.Errorf("%d stale files", n)
	}
	nw.broadcast(t, 0, append(tx(1), make([]byte, 20_000)...))
	m.app.waitFor(t, 10*time.Second, func(txs int, _ uint64) bool { return txs == 1 })
	if n := files(t, dir); n != 1 {
		t.Errorf("%d files, want 1", n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), hangs)
	defer cancel()
	if err := m.chain.Stop(ctx); err != nil {
		t.Error(err)
	}
	m.chain = nil
}
