package comet

import (
	"context"
	"errors"
	"log/slog"

	abci "github.com/cometbft/cometbft/abci/types"
)

// Snapshotter is what an Application may be besides, so that nodes can join from a
// snapshot of its state instead of all blocks. Snapshots and SnapshotChunk may be
// called at any time; OfferSnapshot and ApplySnapshotChunk by one goroutine at a
// time, before the first block.
type Snapshotter interface {
	// Snapshots returns those that this node has to give.
	Snapshots() []Snapshot

	// SnapshotChunk returns a chunk of one, at most about 10 MB, or an error if
	// there is none.
	SnapshotChunk(height uint64, format, index uint32) ([]byte, error)

	// OfferSnapshot begins to restore a snapshot of somebody else, forgetting one
	// that was begun before. appHash is that of the state after the block at its
	// height, from headers that were verified; everything else is hearsay. The
	// error is ErrSnapshotRefused if another snapshot may do, of other nodes:
	// those that offer this one are not asked for any more.
	OfferSnapshot(s Snapshot, appHash []byte) error

	// ApplySnapshotChunk takes the next chunk. After the last, Head must return
	// the snapshot's height and appHash, durably; until then nothing of it may
	// show. The error is ErrChunkRefused if only the sender is wrong, and
	// ErrSnapshotRefused if the snapshot is.
	ApplySnapshotChunk(index uint32, chunk []byte) error
}

// Snapshot describes a snapshot. Two with the same fields are the same.
type Snapshot struct {
	Height   uint64
	Format   uint32
	Chunks   uint32
	Hash     []byte
	Metadata []byte // at most 4 MB
}

var (
	// ErrSnapshotRefused is what a Snapshotter says of a snapshot that cannot be
	// right, or not be taken.
	ErrSnapshotRefused = errors.New("snapshot refused")
	// ErrChunkRefused is what a Snapshotter says of a chunk that another node may
	// send right.
	ErrChunkRefused = errors.New("chunk of the snapshot refused")
)

// snapshotter returns the application as a Snapshotter, or nil.
func (a *adapter) snapshotter() Snapshotter {
	s, _ := a.app.(Snapshotter)
	return s
}

// ListSnapshots implements abci.Application.
func (a *adapter) ListSnapshots(ctx context.Context, _ *abci.RequestListSnapshots) (*abci.ResponseListSnapshots, error) {
	res := &abci.ResponseListSnapshots{}
	s := a.snapshotter()
	if s == nil || !a.gate.enter() {
		return res, nil
	}
	defer a.gate.leave()
	if err := contain(func() error {
		for _, m := range s.Snapshots() {
			res.Snapshots = append(res.Snapshots, &abci.Snapshot{
				Height: m.Height, Format: m.Format, Chunks: m.Chunks, Hash: m.Hash, Metadata: m.Metadata,
			})
		}
		return nil
	}); err != nil {
		a.logger.ErrorContext(ctx, "list snapshots", slog.Any("err", err))
	}
	return res, nil
}

// LoadSnapshotChunk implements abci.Application. Without a chunk, the one who asked
// asks another.
func (a *adapter) LoadSnapshotChunk(ctx context.Context, req *abci.RequestLoadSnapshotChunk) (*abci.ResponseLoadSnapshotChunk, error) {
	res := &abci.ResponseLoadSnapshotChunk{}
	s := a.snapshotter()
	if s == nil || !a.gate.enter() {
		return res, nil
	}
	defer a.gate.leave()
	if err := contain(func() (err error) {
		res.Chunk, err = s.SnapshotChunk(req.Height, req.Format, req.Chunk)
		return err
	}); err != nil {
		res.Chunk = nil
		a.logger.DebugContext(ctx, "no such chunk of a snapshot", slog.Any("err", err))
	}
	return res, nil
}

// OfferSnapshot implements abci.Application.
func (a *adapter) OfferSnapshot(ctx context.Context, req *abci.RequestOfferSnapshot) (*abci.ResponseOfferSnapshot, error) {
	res := &abci.ResponseOfferSnapshot{Result: abci.ResponseOfferSnapshot_REJECT}
	s, offered := a.snapshotter(), req.Snapshot
	if s == nil || offered == nil {
		return res, nil
	}
	if a.offers.ends() {
		res.Result = abci.ResponseOfferSnapshot_ABORT
		return res, nil
	}
	if !a.offers.begin(offered) {
		res.Result = abci.ResponseOfferSnapshot_REJECT_SENDER
		return res, nil
	}
	err := a.call(ctx, "offer snapshot", int64(offered.Height), func() error {
		err := s.OfferSnapshot(Snapshot{
			Height: offered.Height, Format: offered.Format, Chunks: offered.Chunks, Hash: offered.Hash, Metadata: offered.Metadata,
		}, req.AppHash)
		if errors.Is(err, ErrSnapshotRefused) {
			res.Result = abci.ResponseOfferSnapshot_REJECT_SENDER
			a.logger.WarnContext(ctx, "snapshot refused; who offers it is not asked again",
				slog.Uint64("height", offered.Height), slog.Any("senders", a.offers.refuse()), slog.Any("err", err))
			return nil
		}
		if err == nil {
			res.Result = abci.ResponseOfferSnapshot_ACCEPT
			a.restoring = restoring{height: offered.Height, appHash: req.AppHash, chunks: offered.Chunks}
			a.progress.snapshot(offered.Height, 0, offered.Chunks)
		}
		return err
	})
	if err != nil { // the chain is halted
		res.Result = abci.ResponseOfferSnapshot_ABORT
	}
	return res, nil
}

// restoring is the snapshot that is being restored.
type restoring struct {
	height  uint64
	appHash []byte
	chunks  uint32
	taken   uint32
}

// ApplySnapshotChunk implements abci.Application. Whoever sends a wrong chunk is
// not asked again, and the chunk is fetched from another.
func (a *adapter) ApplySnapshotChunk(ctx context.Context, req *abci.RequestApplySnapshotChunk) (*abci.ResponseApplySnapshotChunk, error) {
	res := &abci.ResponseApplySnapshotChunk{Result: abci.ResponseApplySnapshotChunk_ABORT}
	s := a.snapshotter()
	if s == nil || a.offers.ends() {
		return res, nil
	}
	err := a.call(ctx, "apply snapshot", int64(a.restoring.height), func() error {
		err := s.ApplySnapshotChunk(req.Index, req.Chunk)
		switch {
		case errors.Is(err, ErrChunkRefused):
			res.Result = abci.ResponseApplySnapshotChunk_RETRY
			res.RefetchChunks, res.RejectSenders = []uint32{req.Index}, []string{req.Sender}
			a.offers.ban(req.Sender)
			a.logger.WarnContext(ctx, "chunk of a snapshot refused; its sender is not asked again",
				slog.Uint64("chunk", uint64(req.Index)), slog.String("sender", req.Sender), slog.Any("err", err))
			return nil
		case errors.Is(err, ErrSnapshotRefused):
			// The chunks are those of the description, so whoever gave that lied.
			res.Result, res.RejectSenders = abci.ResponseApplySnapshotChunk_REJECT_SNAPSHOT, a.offers.refuse()
			a.logger.WarnContext(ctx, "snapshot refused; who offered it is not asked again",
				slog.Uint64("height", a.restoring.height), slog.Any("senders", res.RejectSenders), slog.Any("err", err))
			return nil
		case err != nil:
			return err
		}
		res.Result = abci.ResponseApplySnapshotChunk_ACCEPT
		a.restoring.taken++
		a.progress.snapshot(a.restoring.height, a.restoring.taken, a.restoring.chunks)
		if a.restoring.taken == a.restoring.chunks {
			a.offers.end()
			a.head.restored(int64(a.restoring.height), a.restoring.appHash)
		}
		return nil
	})
	if err != nil { // the chain is halted
		res.Result = abci.ResponseApplySnapshotChunk_ABORT
	}
	return res, nil
}

// restored sets what a node has right after it restored a snapshot.
func (h *head) restored(height int64, appHash []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.height, h.appHash, h.nextVals, h.proofDue = height, append([]byte(nil), appHash...), nil, false
}
