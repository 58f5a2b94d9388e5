package exec_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
)

// runUntilEnd runs a chain that takes relays until the test ends.
func runUntilEnd(t *testing.T, e *exec.Executor) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx, func([]byte) error { return nil }) }()
	for errors.Is(e.SubmitRelay(ctx, nil), exec.ErrNotRunning) {
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A chain of any rules is joined by a snapshot, and goes on from it with the others.
func TestJoinAnyChainFromASnapshot(t *testing.T) {
	t.Parallel()
	snapshots, err := layer.OpenSnapshots(t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	old := newTallyNode(t, exec.Config{BLS: blsOf(0), Snapshots: snapshots, SnapshotStride: 8})
	runUntilEnd(t, old.exec)
	a := accountOf(0)
	for i := range uint64(8) {
		old.agree(relayBundle('a', i), old.record(a))
	}
	tick(t, "a snapshot", func() bool { return len(old.exec.Snapshots()) == 1 })
	m := old.exec.Snapshots()[0]
	if m.State.Height != 8 {
		t.Fatalf("a snapshot of height %d", m.State.Height)
	}

	n := bareTallyNode(t)
	if err := n.exec.OfferSnapshot(m.Encode(), m.State.AppHash[:]); err != nil {
		t.Fatal(err)
	}
	for i := range m.Chunks {
		chunk, err := old.exec.SnapshotChunk(8, uint32(i))
		if err != nil {
			t.Fatal(err)
		}
		if err := n.exec.ApplySnapshotChunk(uint32(i), chunk); err != nil {
			t.Fatal(err)
		}
	}
	if height, hash := n.exec.Head(); height != 8 || !bytes.Equal(hash, m.State.AppHash[:]) {
		t.Fatalf("head %d, %x", height, hash)
	}
	if err := n.exec.Check(relayBundle('a', 7), false); err == nil {
		t.Error("a relay of before the snapshot is taken")
	}
	for i := uint64(8); i < 12; i++ {
		if err := n.exec.Check(relayBundle('a', i), false); err != nil {
			t.Fatal(err)
		}
		block := n.exec.Propose(i+1, 1<<20, nil)
		want, got := old.agree(block...), n.agree(block...)
		if len(block) != 1 || !bytes.Equal(want.AppHash, got.AppHash) {
			t.Fatalf("block %d: %x and %x, of %x", i+1, want.AppHash, got.AppHash, block)
		}
		n.open() // at any time
	}
	if _, err := n.exec.Outbox(8); !errors.Is(err, exec.ErrPruned) {
		t.Errorf("outbox of a block below the snapshot: %v", err)
	}
	n.certify(12)
	n.provedRow('s', 'a')
}

// A chain that stops holds nothing of its store.
func TestStoppedChainTakesNoRelays(t *testing.T) {
	t.Parallel()
	n := newTallyNode(t, exec.Config{})
	for range 2 { // it may run again
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.exec.Run(ctx, func([]byte) error { return nil }) }()
		for errors.Is(n.exec.SubmitRelay(ctx, carried('a', 0)), exec.ErrNotRunning) {
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := n.exec.Check(relayBundle('a', 1), false); !errors.Is(err, exec.ErrNotRunning) {
			t.Errorf("after Run: %v", err)
		}
	}
}

// bareTallyNode is a node that has nothing yet.
func bareTallyNode(t *testing.T) *tallyNode {
	t.Helper()
	n := &tallyNode{t: t, store: memkv.New(), votes: make(map[uint64]exec.Block), cfg: exec.Config{BLS: blsOf(0)}}
	n.cfg.Extensions = n.extensions
	n.open()
	return n
}
