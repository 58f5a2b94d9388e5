package layer

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/statetree"
)

// Restore takes a snapshot of somebody else, chunk by chunk, into a layer that has
// no state yet. Until the last chunk has been taken the layer is empty, and a
// crash leaves it so. It is owned by one goroutine.
type Restore struct {
	manifest Manifest
	tree     *statetree.Restore
	next     uint32
	done     bool
}

// Restore begins to restore the state that m describes. Whether its application
// hash is the chain's is the caller's to know. The restore must be brought to its
// end or aborted; the layer takes no blocks meanwhile. The errors wrap ErrSnapshot
// if m cannot be right, and statetree.ErrNotEmpty if there is a state already.
func (s *Settlement) Restore(m Manifest) (*Restore, error) {
	if err := s.failure(); err != nil {
		return nil, err
	}
	tree, err := s.tree.Restore(m.State)
	if err != nil {
		return nil, blame(err)
	}
	return &Restore{manifest: m, tree: tree}, nil
}

// blame makes what is wrong with an export wrong with the snapshot.
func blame(err error) error {
	if errors.Is(err, statetree.ErrRestore) {
		return fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	return err
}

// Next returns the number of the chunk that comes next.
func (r *Restore) Next() uint32 { return r.next }

// Add takes chunk number index, which must be Next, and reports whether it was the
// last: the state is restored then, durably. After an error that wraps ErrChunk
// nothing has changed and the chunk may be tried again. After any other the
// restore is over and the layer empty; one that wraps ErrSnapshot says that the
// whole snapshot is not of that state.
func (r *Restore) Add(index uint32, chunk []byte) (done bool, err error) {
	if r.done {
		return false, errors.New("restore: it is over")
	}
	if index != r.next {
		return false, fmt.Errorf("restore: chunk %d instead of %d: %w", index, r.next, ErrChunk)
	}
	if err := r.manifest.check(index, chunk); err != nil {
		return false, fmt.Errorf("restore: %w", err)
	}
	if err := r.tree.Add(chunk); err != nil {
		r.done = true
		return false, errors.Join(blame(err), r.tree.Abort())
	}
	if r.next++; int(r.next) < len(r.manifest.Chunks) {
		return false, nil
	}
	r.done = true
	if err := r.tree.Finish(); err != nil {
		return false, blame(err)
	}
	return true, nil
}

// Abort gives up and leaves the layer empty. After the end it does nothing.
func (r *Restore) Abort() error {
	if r.done {
		return nil
	}
	r.done = true
	return r.tree.Abort()
}

// Rewind makes height that of the last block again, where those after it changed nothing:
// the application hash has been the same since. The index stays as it is.
func (s *Settlement) Rewind(height uint64) error {
	if err := s.failure(); err != nil {
		return err
	}
	return s.tree.Rewind(height)
}

// Discard removes the state of a layer that is closed, and leaves all else.
func Discard(store kv.Store) error { return statetree.Discard(kv.Prefixed(store, []byte(statePrefix))) }

// Clear removes all that a layer has in store, the parts of others too. The layer must be
// closed. The state goes last: a layer that has none has nothing else either, whenever the
// process ends.
func Clear(store kv.Store) error {
	for _, prefix := range []string{journalPrefix, indexPrefix, consensusPrefix, viewPrefix} {
		if err := clearPrefix(store, []byte(prefix)); err != nil {
			return fmt.Errorf("clear the layer: %w", err)
		}
	}
	if err := statetree.Discard(kv.Prefixed(store, []byte(statePrefix))); err != nil {
		return fmt.Errorf("clear the layer: %w", err)
	}
	return nil
}

func clearPrefix(store kv.Store, prefix []byte) error {
	for {
		var keys []write
		it := store.Iterate(prefix, kv.PrefixEnd(prefix), false)
		for len(keys) < chunkWrites && it.Next() {
			keys = append(keys, write{key: bytes.Clone(it.Key())})
		}
		if err := it.Close(); err != nil || len(keys) == 0 {
			return err
		}
		if err := put(store, keys, true); err != nil {
			return err
		}
	}
}

// Reindex writes entries to the index of a layer whose state was restored, in as
// many batches as it takes, the last of which is durable.
func (s *Settlement) Reindex(entries []chain.Change) error {
	for len(entries) > 0 {
		n := min(len(entries), chunkWrites)
		b := s.index.NewBatch()
		err := writeIndex(b, entries[:n])
		if err == nil {
			err = b.Commit(n == len(entries))
		}
		b.Discard()
		if err != nil {
			return fmt.Errorf("write the index anew: %w", err)
		}
		entries = entries[n:]
	}
	return nil
}
