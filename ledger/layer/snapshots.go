package layer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/statetree"
)

// DefaultSnapshots is how many snapshots are kept.
const DefaultSnapshots = 2

const (
	manifestFile = "manifest"
	// partialSuffix ends the name of a directory that is being written.
	partialSuffix = ".partial"
	// chunkRest is the pause after each chunk, about as long as one takes.
	chunkRest = 20 * time.Millisecond
)

// Snapshots keeps snapshots of the state for nodes that join. Each is a directory
// named after its height, with the manifest and a file for each chunk. A snapshot
// is written beside and gets its name when all of it is durable, so that a crash
// leaves none that is not whole. It is safe for concurrent use; one snapshot is
// made at a time.
type Snapshots struct {
	dir   string
	keep  int
	chunk int // bytes after which a chunk ends

	making sync.Mutex

	mu    sync.Mutex
	list  []Manifest // ascending by height
	held  bool
	floor uint64 // see Hold
}

// OpenSnapshots opens the snapshots in dir, making it if there is none, and
// removes what is not whole. The newest keep of them are kept; 0 means
// DefaultSnapshots.
func OpenSnapshots(dir string, keep int) (*Snapshots, error) {
	return openSnapshots(&Snapshots{dir: dir, keep: cmp.Or(keep, DefaultSnapshots), chunk: SnapshotChunkBytes})
}

// OpenHeldSnapshots is OpenSnapshots with DefaultSnapshots, and Hold.
func OpenHeldSnapshots(dir string, height uint64) (*Snapshots, error) {
	return openSnapshots(&Snapshots{dir: dir, keep: DefaultSnapshots, chunk: SnapshotChunkBytes, held: true, floor: height})
}

func openSnapshots(s *Snapshots) (*Snapshots, error) {
	dir := s.dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	for _, e := range entries {
		partial := strings.HasSuffix(e.Name(), partialSuffix)
		height, err := strconv.ParseUint(strings.TrimSuffix(e.Name(), partialSuffix), 10, 64)
		if err != nil || !e.IsDir() || s.name(height) != filepath.Join(dir, strings.TrimSuffix(e.Name(), partialSuffix)) {
			continue // not ours
		}
		m, err := s.load(height)
		if partial || err != nil {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return nil, fmt.Errorf("open snapshots: %w", err)
			}
			continue
		}
		s.list = append(s.list, m)
	}
	slices.SortFunc(s.list, func(a, b Manifest) int { return cmp.Compare(a.State.Height, b.State.Height) })
	return s, s.trim()
}

// name returns the directory of the snapshot at height.
func (s *Snapshots) name(height uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%020d", height))
}

func chunkFile(index uint32) string { return fmt.Sprintf("%06d.chunk", index) }

// load reads the manifest of a snapshot and looks whether its chunks are there.
func (s *Snapshots) load(height uint64) (Manifest, error) {
	raw, err := os.ReadFile(filepath.Join(s.name(height), manifestFile))
	if err != nil {
		return Manifest{}, err
	}
	m, err := DecodeManifest(raw)
	if err != nil {
		return m, err
	}
	size := uint64(0)
	for i := range m.Chunks {
		info, err := os.Stat(filepath.Join(s.name(height), chunkFile(uint32(i))))
		if err != nil {
			return m, err
		}
		size += uint64(info.Size())
	}
	if m.State.Height != height || size != m.Bytes {
		return m, fmt.Errorf("%w: height %d and %d bytes", ErrSnapshot, m.State.Height, size)
	}
	return m, nil
}

// List returns the snapshots, the oldest first.
func (s *Snapshots) List() []Manifest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// Oldest returns the height of the oldest snapshot, and ok=false if there is none.
func (s *Snapshots) Oldest() (height uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == 0 {
		return 0, false
	}
	return s.list[0].State.Height, true
}

// Chunk returns a chunk of the snapshot at height, or an error that wraps
// fs.ErrNotExist if there is no such snapshot, or none any more.
func (s *Snapshots) Chunk(height uint64, index uint32) ([]byte, error) {
	s.mu.Lock()
	i := slices.IndexFunc(s.list, func(m Manifest) bool { return m.State.Height == height })
	var m Manifest
	if i >= 0 {
		m = s.list[i]
	}
	s.mu.Unlock()
	if i < 0 || uint64(index) >= uint64(len(m.Chunks)) {
		return nil, fmt.Errorf("chunk %d of the snapshot at height %d: %w", index, height, os.ErrNotExist)
	}
	chunk, err := os.ReadFile(filepath.Join(s.name(height), chunkFile(index)))
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	return chunk, m.check(index, chunk)
}

// Make makes a snapshot of state, which stays the caller's, and drops those that
// are too many. It rests after each chunk, so that blocks need not wait for the
// processor; ctx ends it early. If there is one of that state already, it is
// returned; one of another state at that height, which no longer counts, gives way.
func (s *Snapshots) Make(ctx context.Context, state *statetree.Snapshot) (Manifest, error) {
	s.making.Lock()
	defer s.making.Unlock()
	for _, m := range s.List() {
		if m.State.Height == state.Height() && m.State.AppHash == state.AppHash() {
			return m, nil
		}
	}
	if err := s.Drop(func(m *Manifest) bool { return m.State.Height == state.Height() }); err != nil {
		return Manifest{}, err
	}
	m, err := s.make(ctx, state)
	if err != nil {
		return m, errors.Join(fmt.Errorf("make snapshot at height %d: %w", state.Height(), err),
			os.RemoveAll(s.name(state.Height())+partialSuffix))
	}
	s.mu.Lock()
	s.list = append(s.list, m)
	slices.SortFunc(s.list, func(a, b Manifest) int { return cmp.Compare(a.State.Height, b.State.Height) })
	s.mu.Unlock()
	return m, s.trim()
}

func (s *Snapshots) make(ctx context.Context, state *statetree.Snapshot) (Manifest, error) {
	dir := s.name(state.Height()) + partialSuffix
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		return Manifest{}, err
	}
	w := &chunkWriter{ctx: ctx, dir: dir, size: s.chunk}
	w.m.Format = SnapshotFormat
	sum, err := state.Export(ctx, w.add)
	if err == nil {
		err = w.flush()
	}
	if err != nil {
		return Manifest{}, err
	}
	w.m.State = sum
	if err := writeDurably(filepath.Join(dir, manifestFile), w.m.Encode()); err != nil {
		return Manifest{}, err
	}
	return w.m, errors.Join(syncDir(dir), os.Rename(dir, s.name(state.Height())), syncDir(s.dir))
}

// trim removes the oldest snapshots.
func (s *Snapshots) trim() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.list) > s.keep {
		if s.held && s.list[0].State.Height <= s.floor && s.list[1].State.Height > s.floor {
			return nil
		}
		if err := s.drop(0); err != nil {
			return err
		}
	}
	return nil
}

// Hold has the newest snapshot stay that is not above a height, however many newer ones
// there are: the chain may have to go on from that height. It reports whether there is one.
func (s *Snapshots) Hold(height uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held, s.floor = true, height
	return len(s.list) > 0 && s.list[0].State.Height <= height
}

// Drop removes the snapshots that are worthless.
func (s *Snapshots) Drop(worthless func(*Manifest) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.list) - 1; i >= 0; i-- {
		if worthless(&s.list[i]) {
			if err := s.drop(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// drop removes a snapshot. mu is held.
func (s *Snapshots) drop(i int) error {
	name := s.name(s.list[i].State.Height)
	s.list = slices.Delete(slices.Clone(s.list), i, i+1)
	// Its name goes first, so that a crash leaves no half of it.
	if err := errors.Join(os.RemoveAll(name+partialSuffix), os.Rename(name, name+partialSuffix), os.RemoveAll(name+partialSuffix)); err != nil {
		return fmt.Errorf("drop snapshot: %w", err)
	}
	return nil
}

// chunkWriter collects records into chunks.
type chunkWriter struct {
	ctx  context.Context //nolint:containedctx // of the Make under way
	dir  string
	size int
	m    Manifest
	buf  []byte
}

func (w *chunkWriter) add(record []byte) error {
	w.buf = append(w.buf, record...)
	if len(w.buf) < w.size {
		return nil
	}
	if err := w.flush(); err != nil {
		return err
	}
	rest := time.NewTimer(chunkRest)
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
	return nil
}

func (w *chunkWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if len(w.buf) > MaxSnapshotChunk || len(w.m.Chunks) == MaxSnapshotChunks {
		return fmt.Errorf("chunk %d has %d bytes: the state is too large", len(w.m.Chunks), len(w.buf))
	}
	if err := writeDurably(filepath.Join(w.dir, chunkFile(uint32(len(w.m.Chunks)))), w.buf); err != nil {
		return err
	}
	w.m.Bytes += uint64(len(w.buf))
	w.m.Chunks = append(w.m.Chunks, ledger.HashOf(chunkTag, w.buf))
	w.buf = w.buf[:0]
	return nil
}

func writeDurably(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
