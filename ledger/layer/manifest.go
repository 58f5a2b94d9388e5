package layer

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/statetree"
)

const (
	// SnapshotFormat is the format of snapshots that this program makes and takes.
	SnapshotFormat = 1
	// SnapshotChunkBytes is about the size of a chunk; a record more may follow.
	SnapshotChunkBytes = 1 << 20
	// MaxSnapshotChunk bounds a chunk in bytes.
	MaxSnapshotChunk = 8 << 20
	// MaxSnapshotChunks bounds their number.
	MaxSnapshotChunks = 1 << 16

	manifestMagic = "tributary state snapshot"
	manifestTag   = "tributary/snapshot/manifest"
	chunkTag      = "tributary/snapshot/chunk"
)

// ErrSnapshot is wrapped by what is wrong with a snapshot of somebody else, as
// opposed to this node's store.
var ErrSnapshot = errors.New("the snapshot is not of that state")

// ErrChunk is wrapped by what is wrong with one chunk of a snapshot: whoever sent
// it is wrong, and another may send the right one. It is ErrSnapshot too.
var ErrChunk = fmt.Errorf("the chunk is not the one in the manifest: %w", ErrSnapshot)

// Manifest describes a snapshot: the state at one height in chunks. It is the same
// on every node.
type Manifest struct {
	Format uint32
	State  statetree.Summary
	Bytes  uint64 // of all chunks
	Chunks []ledger.Hash
}

// Encode returns the only encoding of m:
//
//	magic | format u32 | height u64 | application hash | version u64 | leaves u64 |
//	rows u64 | bytes u64 | number of chunks u32 | their hashes
func (m *Manifest) Encode() []byte {
	w := codec.NewWriter(len(manifestMagic) + 88 + ledger.HashSize*len(m.Chunks))
	w.Fixed([]byte(manifestMagic))
	w.Uint32(m.Format)
	w.Uint64(m.State.Height)
	w.Fixed(m.State.AppHash[:])
	w.Uint64(uint64(m.State.Version))
	w.Uint64(m.State.Leaves)
	w.Uint64(m.State.Rows)
	w.Uint64(m.Bytes)
	w.Uint32(uint32(len(m.Chunks)))
	for i := range m.Chunks {
		w.Fixed(m.Chunks[i][:])
	}
	return w.Bytes()
}

// Hash identifies the snapshot.
func (m *Manifest) Hash() ledger.Hash { return ledger.HashOf(manifestTag, m.Encode()) }

// DecodeManifest decodes what Encode wrote. Its errors wrap ErrSnapshot.
func DecodeManifest(b []byte) (Manifest, error) {
	var m Manifest
	r := codec.NewReader(b)
	if magic := r.Fixed(len(manifestMagic)); string(magic) != manifestMagic {
		return m, fmt.Errorf("decode manifest: %w: it is none", ErrSnapshot)
	}
	if m.Format = r.Uint32(); m.Format != SnapshotFormat {
		return m, fmt.Errorf("decode manifest: %w: format %d, this program knows %d", ErrSnapshot, m.Format, SnapshotFormat)
	}
	m.State.Height = r.Uint64()
	r.Into(m.State.AppHash[:])
	version := r.Uint64()
	m.State.Version = int64(version)
	m.State.Leaves, m.State.Rows, m.Bytes = r.Uint64(), r.Uint64(), r.Uint64()
	n := r.Uint32()
	if err := r.Err(); err != nil {
		return m, fmt.Errorf("decode manifest: %w: %w", ErrSnapshot, err)
	}
	if n == 0 || n > MaxSnapshotChunks || uint64(r.Remaining()) != uint64(n)*ledger.HashSize {
		return m, fmt.Errorf("decode manifest: %w: %d chunks in %d bytes", ErrSnapshot, n, r.Remaining())
	}
	if version == 0 || version > m.State.Height+1 || m.Bytes > uint64(n)*MaxSnapshotChunk {
		return m, fmt.Errorf("decode manifest: %w: version %d at height %d, %d bytes", ErrSnapshot, version, m.State.Height, m.Bytes)
	}
	m.Chunks = make([]ledger.Hash, n)
	for i := range m.Chunks {
		r.Into(m.Chunks[i][:])
	}
	if err := r.Done(); err != nil {
		return m, fmt.Errorf("decode manifest: %w: %w", ErrSnapshot, err)
	}
	return m, nil
}

// check reports whether chunk is the one numbered index.
func (m *Manifest) check(index uint32, chunk []byte) error {
	switch {
	case uint64(index) >= uint64(len(m.Chunks)):
		return fmt.Errorf("chunk %d of %d: %w", index, len(m.Chunks), ErrChunk)
	case len(chunk) == 0 || len(chunk) > MaxSnapshotChunk:
		return fmt.Errorf("chunk %d of %d bytes: %w", index, len(chunk), ErrChunk)
	case ledger.HashOf(chunkTag, chunk) != m.Chunks[index]:
		return fmt.Errorf("chunk %d: %w", index, ErrChunk)
	}
	return nil
}
