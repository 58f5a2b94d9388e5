package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/statetree"
)

// restoreState is the snapshot of somebody else that is being restored. It is
// owned by OfferSnapshot and ApplySnapshotChunk.
type restoreState struct {
	restore *layer.Restore
	head    head
}

// offerState hands the state of the head to Run if a snapshot of it is due. What
// Run has not begun with gives way.
func (e *Executor) offerState(height uint64) error {
	if e.cfg.Snapshots == nil || !e.running.Load() || !e.rules.SnapshotAt(height, e.cfg.SnapshotStride) {
		return nil
	}
	state, err := e.layer.OpenSnapshot()
	if err != nil {
		return fmt.Errorf("open the state for a snapshot: %w", err)
	}
	select {
	case old := <-e.snapshotDue:
		_ = old.Close() // it was only read
	default:
	}
	e.snapshotDue <- state // one sender, capacity 1
	return nil
}

// makeSnapshots makes the snapshots that are due until ctx ends. One that cannot
// be made is left out: the chain goes on.
func (e *Executor) makeSnapshots(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			select {
			case state := <-e.snapshotDue:
				_ = state.Close() // it was only read
			default:
			}
			return ctx.Err()
		case state := <-e.snapshotDue:
			m, err := e.makeSnapshot(ctx, state)
			switch {
			case err == nil:
				e.log.InfoContext(ctx, "snapshot made", slog.Uint64("height", m.State.Height), slog.Uint64("bytes", m.Bytes), slog.Int("chunks", len(m.Chunks)))
			case ctx.Err() == nil:
				e.log.ErrorContext(ctx, "snapshot not made", slog.Uint64("height", state.Height()), slog.Any("err", err))
			}
		}
	}
}

func (e *Executor) makeSnapshot(ctx context.Context, state *statetree.Snapshot) (m layer.Manifest, err error) {
	defer contain("make a snapshot", &err)
	defer func() { _ = state.Close() }() // it was only read
	return e.cfg.Snapshots.Make(ctx, state)
}

// Snapshots returns the snapshots of the state that this node has to give.
func (e *Executor) Snapshots() []layer.Manifest {
	if e.cfg.Snapshots == nil {
		return nil
	}
	return e.cfg.Snapshots.List()
}

// SnapshotChunk returns a chunk of a snapshot, or an error that wraps
// fs.ErrNotExist.
func (e *Executor) SnapshotChunk(height uint64, index uint32) ([]byte, error) {
	if e.cfg.Snapshots == nil {
		return nil, fmt.Errorf("snapshot: %w", errNoSnapshots)
	}
	return e.cfg.Snapshots.Chunk(height, index)
}

var errNoSnapshots = errors.New("this node keeps none")

// OfferSnapshot begins to restore the snapshot that manifest describes, of the
// state with appHash, and gives up one that was begun before. It is for a node
// without blocks, before the first. The errors wrap layer.ErrSnapshot if another
// snapshot may do.
func (e *Executor) OfferSnapshot(manifest, appHash []byte) (err error) {
	defer contain("offer snapshot", &err)
	if err := e.endRestore(); err != nil {
		return err
	}
	m, err := layer.DecodeManifest(manifest)
	if err != nil {
		return err
	}
	if !bytes.Equal(appHash, m.State.AppHash[:]) {
		return fmt.Errorf("snapshot of height %d: %w: it is of %s, the chain has %x", m.State.Height, layer.ErrSnapshot, m.State.AppHash, appHash)
	}
	if err := e.rules.CheckSnapshot(m.State.Height); err != nil {
		return err
	}
	r, err := e.layer.Restore(m)
	if err != nil {
		return err
	}
	e.restoring = restoreState{restore: r, head: head{height: m.State.Height, appHash: m.State.AppHash}}
	return nil
}

// endRestore gives up the snapshot that was begun, if any.
func (e *Executor) endRestore() error {
	r := e.restoring.restore
	if r == nil {
		return nil
	}
	e.restoring = restoreState{}
	return r.Abort()
}

// ApplySnapshotChunk takes the next chunk of the snapshot that was offered. After
// the last one the chain goes on from its height; the index begins there, with the
// channels that are open. The errors wrap layer.ErrChunk if another may send the
// chunk right, and layer.ErrSnapshot if the snapshot is wrong.
func (e *Executor) ApplySnapshotChunk(index uint32, chunk []byte) (err error) {
	defer contain("apply snapshot", &err)
	if e.restoring.restore == nil {
		return fmt.Errorf("chunk %d: %w: none was offered", index, layer.ErrSnapshot)
	}
	done, err := e.restoring.restore.Add(index, chunk)
	if err != nil {
		if !errors.Is(err, layer.ErrChunk) {
			e.restoring = restoreState{}
		}
		return err
	}
	if !done {
		return nil
	}
	e.restoring = restoreState{}
	if err := e.reindex(); err != nil {
		return err
	}
	if err := e.load(); err != nil {
		return fmt.Errorf("begin at the snapshot: %w", err)
	}
	e.log.Info("state restored", slog.Uint64("height", e.layer.Height()), slog.String("app_hash", e.layer.AppHash().String()))
	return nil
}

// reindex makes the index of a state without the blocks that led to it: where it
// begins, and what the rules keep of it. What it is called comes last, for a node that does
// not get so far does it again.
func (e *Executor) reindex() error {
	height := e.layer.Height()
	state, err := e.layer.OpenSnapshot()
	if err != nil {
		return fmt.Errorf("index the restored state: %w", err)
	}
	defer func() { _ = state.Close() }() // it was only read
	if err := e.rules.Reindex(state, height, func(rows chain.Changes) error { return e.layer.Reindex(rows) }); err != nil {
		return err
	}
	x := &indexer{height: height}
	x.add([]byte{idxKept}, Cursor{Height: height + 1}.encode())
	x.add([]byte{idxNetwork}, e.traits.Identity[:])
	return e.layer.Reindex(x.pairs)
}

// indexBegun reports whether the index of a state at height is there: a crash
// between restoring the state and indexing it leaves none.
func (e *Executor) indexBegun() (bool, error) {
	network, err := e.index.Get([]byte{idxNetwork})
	if err != nil {
		return false, fmt.Errorf("read the genesis hash: %w", err)
	}
	if network != nil {
		return true, nil
	}
	first := false
	err = e.scan([]byte{idxBlock}, []byte{idxBlock}, func(_, _ []byte) bool {
		first = true
		return false
	})
	return first, err
}

// keptBlocks returns the first height whose block must be kept for those who take
// the oldest snapshot, or to go back to what is anchored.
func (e *Executor) keptBlocks(wanted uint64) uint64 {
	if e.cfg.Snapshots == nil {
		return wanted
	}
	if e.cfg.Anchored != nil && !e.cfg.Snapshots.Hold(e.cfg.Anchored()) {
		return 1
	}
	if oldest, ok := e.cfg.Snapshots.Oldest(); ok {
		return min(wanted, oldest)
	}
	return wanted
}
