package statetree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/ledger/kv"
)

// Prune deletes up to limit IAVL versions that are older than the last
// Options.KeepVersions, each in one unsynced batch, and reports whether there are
// more. It may be called between Prepare and WriteTo, but is meant for the quiet
// time between blocks: deleting a version costs about as much as making it.
func (t *Tree) Prune(limit int) (more bool, err error) {
	t.writeMu.Lock()
	defer t.writeMu.Unlock()
	if t.failed != nil {
		return false, fmt.Errorf("prune: %w", t.failed)
	}
	if t.prep.stage >= saved {
		return t.prunable(), nil
	}
	for range limit {
		if !t.prunable() {
			return false, nil
		}
		if err := t.pruneOldest(); err != nil {
			return false, t.fail(fmt.Errorf("prune version %d of the tree: %w", t.nodes.oldest, err))
		}
	}
	return t.prunable(), nil
}

func (t *Tree) prunable() bool {
	return t.nodes.oldest > 0 && t.nodes.oldest <= t.head.Load().version-int64(t.opts.KeepVersions)
}

// Prunable returns the number of versions that Prune would delete.
func (t *Tree) Prunable() int64 {
	t.writeMu.Lock()
	defer t.writeMu.Unlock()
	if t.nodes.oldest == 0 {
		return 0
	}
	return max(0, t.head.Load().version-int64(t.opts.KeepVersions)-t.nodes.oldest+1)
}

// pruneBatch is the most writes of one batch.
const pruneBatch = 50_000

// pruneOldest deletes the oldest version. The record of the oldest version moves
// on in the same batch.
func (t *Tree) pruneOldest() error {
	if err := t.iavl.DeleteVersionsTo(t.nodes.oldest); err != nil {
		return err
	}
	writes := t.nodes.drain()
	var rest []write
	if len(writes) > pruneBatch {
		// Too many for one batch. What makes the version disappear goes first:
		// its root, and nodes written anew. If the rest is lost in a crash, it
		// only takes space.
		writes, rest = splitPruning(writes, rootKey(t.nodes.oldest))
	}
	next := t.nodes.oldest + 1
	b := t.store.NewBatch()
	defer b.Discard()
	if err := errors.Join(
		b.Set([]byte{oldestKey}, binary.BigEndian.AppendUint64(nil, uint64(next))),
		writeAll(kv.PrefixedWriter(b, []byte{nodeSpace}), writes),
	); err != nil {
		return err
	}
	if err := b.Commit(false); err != nil {
		return err
	}
	t.nodes.oldest = next
	return t.commitChunks(rest)
}

func splitPruning(writes []write, root []byte) (first, rest []write) {
	for _, w := range writes {
		if w.value != nil || bytes.Equal(w.key, root) {
			first = append(first, w)
		} else {
			rest = append(rest, w)
		}
	}
	return first, rest
}
