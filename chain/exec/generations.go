package exec

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger/kv"
)

// A shard that goes on from its last anchored height with another generation takes back
// what the one before made beyond: ForgetAbove the index of it, and the state by executing
// the blocks up to that height again (Rebuild), from a snapshot or the genesis, unless
// nothing has changed since (layer.Settlement.Rewind). All of it is done to a shard that
// does not run, and may be done again after a crash in the middle.

// ForgetAbove removes from the index what blocks above a height left in it, and their
// certificates. The layer's state must be that of a block of its generation still, whatever
// its height.
func (s *Shard) ForgetAbove(height uint64) (err error) {
	defer contain("forget blocks of an earlier generation", &err)
	s.retention.mu.Lock()
	defer s.retention.mu.Unlock()
	last, err := s.lastIndexed()
	if err != nil {
		return err
	}
	x := &pruner{exec: s.Executor, at: Cursor{Height: height + 1}, removed: make(map[string]bool)}
	for x.at.Height <= last {
		at := x.at
		x.records = 0
		if err := x.block(); err != nil {
			return fmt.Errorf("forget block %d: %w", at.Height, err)
		}
		if err := s.layer.UpdateIndex(x.pairs); err != nil {
			return err
		}
		x.pairs = nil
		clear(x.removed)
	}
	if s.retention.next.Height > height+1 {
		if err := s.layer.UpdateIndex(chain.Changes{{Key: []byte{idxKept}, Value: Cursor{Height: height + 1}.encode()}}); err != nil {
			return err
		}
	}
	return removeFrom(s.certificates.store, certificateKey(height+1))
}

// lastIndexed returns the highest block that the index has, 0 if it has none.
func (e *Executor) lastIndexed() (height uint64, err error) {
	prefix := []byte{idxBlock}
	err = walk(e.index.Iterate(prefix, kv.PrefixEnd(prefix), true), func(key, _ []byte) bool {
		if len(key) == 9 {
			height = binary.BigEndian.Uint64(key[1:])
		}
		return false
	})
	return height, err
}

// removeFrom removes all rows from a key on.
func removeFrom(store kv.Store, from []byte) error {
	for {
		b := store.NewBatch()
		n := 0
		err := walk(store.Iterate(from, nil, false), func(key, _ []byte) bool {
			if b.Delete(key) == nil {
				n++
			}
			return n < pruneRecords
		})
		if err == nil && n > 0 {
			err = b.Commit(true)
		}
		b.Discard()
		if err != nil || n == 0 {
			return err
		}
	}
}

// Rebuild executes blocks that were agreed on before, from the next one up to a height, as
// consensus would. block returns the one at a height.
func (s *Shard) Rebuild(ctx context.Context, to uint64, block func(height uint64) (Block, error)) error {
	for height := s.head.Load().height + 1; height <= to; height++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := block(height)
		if err != nil {
			return err
		}
		if _, err := s.Finalize(b); err != nil {
			return fmt.Errorf("execute block %d again: %w", height, err)
		}
		if _, err := s.Commit(); err != nil {
			return fmt.Errorf("execute block %d again: %w", height, err)
		}
	}
	return nil
}

// Recall makes anew what the index has of the state rather than of blocks: which channels
// are known.
func (s *Shard) Recall() (err error) {
	defer contain("index the state anew", &err)
	var rows chain.Changes
	err = s.scan([]byte{idxKnown}, []byte{idxKnown}, func(key, _ []byte) bool {
		rows = append(rows, chain.Change{Key: append([]byte{}, key...)})
		return true
	})
	if err != nil {
		return err
	}
	state, err := s.layer.OpenSnapshot()
	if err != nil {
		return err
	}
	defer func() { _ = state.Close() }() // it was only read
	return errors.Join(s.layer.Reindex(rows), s.shard.Reindex(state, s.layer.Height(), func(rows chain.Changes) error { return s.layer.Reindex(rows) }))
}
