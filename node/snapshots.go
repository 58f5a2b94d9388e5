package node

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger/layer"
)

var _ comet.Snapshotter = application{}

// openSnapshots opens the snapshots that this node keeps for others, or nil for a
// node without a disk.
func (n *Node) openSnapshots(o Options) (*layer.Snapshots, error) {
	if o.InMemory {
		return nil, nil //nolint:nilnil // none are made
	}
	return layer.OpenSnapshots(filepath.Join(n.home.Data(), "snapshots"), 0)
}

// Snapshots implements comet.Snapshotter.
func (a application) Snapshots() []comet.Snapshot {
	var list []comet.Snapshot
	for _, m := range a.Executor.Snapshots() {
		hash := m.Hash()
		list = append(list, comet.Snapshot{
			Height: m.State.Height, Format: m.Format, Chunks: uint32(len(m.Chunks)), //nolint:gosec // bounded by the format
			Hash: hash[:], Metadata: m.Encode(),
		})
	}
	return list
}

// SnapshotChunk implements comet.Snapshotter.
func (a application) SnapshotChunk(height uint64, format, index uint32) ([]byte, error) {
	if format != layer.SnapshotFormat {
		return nil, fmt.Errorf("snapshot of format %d, this node has %d", format, layer.SnapshotFormat)
	}
	return a.Executor.SnapshotChunk(height, index)
}

// OfferSnapshot implements comet.Snapshotter. What the snapshot says beside its
// manifest must fit it.
func (a application) OfferSnapshot(s comet.Snapshot, appHash []byte) error {
	m, err := layer.DecodeManifest(s.Metadata)
	if err != nil {
		return refusal(err)
	}
	hash := m.Hash()
	if m.State.Height != s.Height || m.Format != s.Format || uint64(len(m.Chunks)) != uint64(s.Chunks) || string(hash[:]) != string(s.Hash) {
		return fmt.Errorf("%w: it is not that of its manifest", comet.ErrSnapshotRefused)
	}
	return refusal(a.Executor.OfferSnapshot(s.Metadata, appHash))
}

// ApplySnapshotChunk implements comet.Snapshotter.
func (a application) ApplySnapshotChunk(index uint32, chunk []byte) error {
	return refusal(a.Executor.ApplySnapshotChunk(index, chunk))
}

// refusal puts what is wrong with a snapshot in the words of consensus.
func refusal(err error) error {
	switch {
	case errors.Is(err, layer.ErrChunk):
		return fmt.Errorf("%w: %w", comet.ErrChunkRefused, err)
	case errors.Is(err, layer.ErrSnapshot):
		return fmt.Errorf("%w: %w", comet.ErrSnapshotRefused, err)
	}
	return err
}
