package exec_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
)

// withSnapshot returns a chain of some history whose first node has a snapshot of
// block 1000, and the blocks after it.
func withSnapshot(t *testing.T) (h *past, m layer.Manifest, chunks [][]byte) {
	t.Helper()
	dir := t.TempDir()
	s, err := layer.OpenSnapshots(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	h = newPast(t, exec.Config{Snapshots: s, KeepBlocks: 5})
	n := h.net.nodes[0]
	n.run()
	h.live(t, 100)
	for n.height() < 1_000 {
		h.net.apply(t, nil)
	}
	tick(t, "a snapshot", func() bool { return len(n.exec.Snapshots()) == 1 })
	m = n.exec.Snapshots()[0]
	if m.State.Height != 1_000 {
		t.Fatalf("a snapshot of height %d", m.State.Height)
	}
	for i := range m.Chunks {
		chunk, err := n.exec.SnapshotChunk(1_000, uint32(i))
		if err != nil {
			t.Fatal(err)
		}
		chunks = append(chunks, chunk)
	}
	if _, err := n.exec.SnapshotChunk(999, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a snapshot that is not there: %v", err)
	}
	return h, m, chunks
}

// tick waits for what has no event, as long as the test may run.
func tick(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		if t.Context().Err() != nil {
			t.Fatal(what)
		}
	}
}

// bare returns a node of the chain that has nothing yet.
func (h *past) bare(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, net: h.net, store: memkv.New(), gen: h.net.nodes[0].gen, arrived: make(chan struct{}, 1)}
	n.open(exec.Config{})
	return n
}

func TestJoinFromASnapshot(t *testing.T) {
	t.Parallel()
	h, m, chunks := withSnapshot(t)
	old := h.net.nodes[0]
	n := h.bare(t)
	if err := n.exec.OfferSnapshot(m.Encode(), m.State.AppHash[:]); err != nil {
		t.Fatal(err)
	}
	for i := range chunks {
		if err := n.exec.ApplySnapshotChunk(uint32(i), chunks[i]); err != nil {
			t.Fatal(err)
		}
	}
	if height, hash := n.exec.Head(); height != 1_000 || !bytes.Equal(hash, m.State.AppHash[:]) {
		t.Fatalf("head %d, %x", height, hash)
	}
	h.net.nodes = append(h.net.nodes, n)
	h.live(t, 40) // which wants all nodes to agree
	if diff := cmp.Diff(flat(t, old.store), flat(t, n.store)); diff != "" {
		t.Fatalf("state (-replayed +restored):\n%s", diff)
	}
	var gone *exec.PrunedError
	if _, err := n.exec.BlockResult(1_000); !errors.As(err, &gone) || gone.KeptFrom != 1_001 {
		t.Errorf("a block below the snapshot: %v", err)
	}
	for height := uint64(1_001); height <= n.height(); height++ {
		if _, err := n.exec.BlockResult(height); err != nil {
			t.Errorf("block %d: %v", height, err)
		}
	}
	// Channels that were open at the snapshot are found by id, payer and payee.
	for _, f := range []exec.ChannelFilter{{State: exec.ChannelOpen}, {Payer: h.people[0].addr, State: exec.ChannelOpen}, {Payee: h.people[2].addr, State: exec.ChannelOpen}} {
		want, _, err := old.exec.ListChannels(f, 0, exec.MaxPage)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := n.exec.ListChannels(f, 0, exec.MaxPage)
		if err != nil || len(want) == 0 || len(got) != len(want) {
			t.Errorf("%d open channels are listed, want %d (%v)", len(got), len(want), err)
		}
		for i := range want {
			if row, ok := n.exec.ChannelIndex(want[i].ID); !ok || row != want[i].Index {
				t.Errorf("channel %s: row %d, %v", want[i].ID, row, ok)
			}
		}
	}
	n.open(exec.Config{})
	if n.height() != old.height() {
		t.Errorf("opened again at height %d", n.height())
	}
}

func flat(t *testing.T, s kv.Store) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, space := range []string{"s/d", "s/m"} {
		if err := kv.Scan(s, []byte(space), func(k, v []byte) error {
			all[string(k)] = string(v)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestSnapshotsThatAreRefused(t *testing.T) {
	t.Parallel()
	h, m, chunks := withSnapshot(t)
	n := h.bare(t)
	if err := n.exec.ApplySnapshotChunk(0, chunks[0]); !errors.Is(err, layer.ErrSnapshot) {
		t.Errorf("a chunk of nothing: %v", err)
	}
	other := m
	other.State.AppHash = ledger.Hash{1}
	for name, raw := range map[string][]byte{
		"nothing": nil, "garbage": []byte("garbage"), "another state's": other.Encode(), "cut": m.Encode()[:100],
	} {
		if err := n.exec.OfferSnapshot(raw, m.State.AppHash[:]); !errors.Is(err, layer.ErrSnapshot) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := n.exec.OfferSnapshot(other.Encode(), other.State.AppHash[:]); err != nil {
		t.Fatal(err)
	}
	if err := n.exec.ApplySnapshotChunk(0, []byte("garbage")); !errors.Is(err, layer.ErrChunk) {
		t.Errorf("garbage: %v", err)
	}
	// The chunks fit the manifest, but the state is not of that hash.
	var err error
	for i := range chunks {
		err = n.exec.ApplySnapshotChunk(uint32(i), chunks[i])
	}
	if !errors.Is(err, layer.ErrSnapshot) || errors.Is(err, layer.ErrChunk) || n.height() != 0 {
		t.Errorf("the wrong state: %v", err)
	}
	// The right one may come next, and may begin twice.
	for range 2 {
		if err := n.exec.OfferSnapshot(m.Encode(), m.State.AppHash[:]); err != nil {
			t.Fatal(err)
		}
	}
	for i := range chunks {
		if err := n.exec.ApplySnapshotChunk(uint32(i), chunks[i]); err != nil {
			t.Fatal(err)
		}
	}
	if n.height() != 1_000 {
		t.Errorf("height %d", n.height())
	}
	if err := n.exec.OfferSnapshot(m.Encode(), m.State.AppHash[:]); err == nil {
		t.Error("a snapshot over a chain was accepted")
	}
}

// TestRestoredWithoutAnIndex opens what a crash leaves between the state and its
// index.
func TestRestoredWithoutAnIndex(t *testing.T) {
	t.Parallel()
	h, m, chunks := withSnapshot(t)
	n := h.bare(t)
	if err := n.layer.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := layer.New(n.store, layerOptions())
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Restore(m)
	if err != nil {
		t.Fatal(err)
	}
	for i := range chunks {
		if _, err := r.Add(uint32(i), chunks[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	n.open(exec.Config{})
	var open uint64
	if err := n.exec.Read(func(v chain.View, _ uint64) error {
		open = settlement.OpenChannels(v)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	list, _, err := n.exec.ListChannels(exec.ChannelFilter{Payer: h.people[0].addr}, 0, exec.MaxPage)
	if err != nil || len(list) == 0 || open == 0 || n.height() != 1_000 {
		t.Errorf("%d of %d channels, height %d, %v", len(list), open, n.height(), err)
	}
	h.net.nodes = append(h.net.nodes, n)
	h.live(t, 8)
}

// TestSnapshotsKeepBlocks wants the blocks after the oldest snapshot to stay.
func TestSnapshotsKeepBlocks(t *testing.T) {
	t.Parallel()
	h, _, _ := withSnapshot(t)
	n := h.net.nodes[0]
	var retain uint64
	for range 50 {
		if _, err := n.exec.Finalize(blockAt(&n.gen, n.height()+1, nil)); err != nil {
			t.Fatal(err)
		}
		var err error
		if retain, err = n.exec.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if retain != 1_000 {
		t.Errorf("blocks below %d may go, want 1000", retain)
	}
}

// TestSnapshotFails wants the chain to go on when a snapshot cannot be made.
func TestSnapshotFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := layer.OpenSnapshots(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	h := newPast(t, exec.Config{Snapshots: s})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	n := h.net.nodes[0]
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.exec.Run(ctx, n.broadcast) }()
	for n.height() < 1_010 {
		h.net.apply(t, nil)
	}
	cancel()
	if err := <-done; err != nil || n.exec.HaltError() != nil {
		t.Error(err, n.exec.HaltError())
	}
}
