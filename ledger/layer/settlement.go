// Package layer is how the ledger's layers are kept. Settlement is the layer of
// the main chain: what accounts and channels hold, and what became of every
// record. Logs is the layer below both kinds of chain: the logs of what was
// vouched for, kept by the nodes of the service.
//
// # Settlement: one store, one commit
//
// A validator has one store for its settlement layer, divided by prefixes:
//
//	"s/"  the state, kept by ledger/statetree
//	"i/"  the index: receipts, blocks, whatever is looked up but not hashed
//	"c/"  the stores of the consensus engine for this chain
//	"v/"  further views by name
//	"j/"  the journal: a block that is too large for one batch, see below
//
// Commit writes the state of a block, its height and application hash and its
// index entries in one atomic synced batch. A block that does not fit one batch
// of the store is first written as a journal of a few large values, atomically
// and synced, and then carried out piece by piece, by the next New if need be:
// no agreed block is too large to commit, whatever the operator's memtable. After
// a crash the layer is at some height as a whole, never between two, and never
// ahead of the consensus engine's own stores, which are written before: the engine
// replays the blocks that the layer lacks.
//
// # Snapshots
//
// Snapshots are made of states at chosen heights, beside the blocks, and kept as
// files; Restore takes one of another node into a layer that has no state yet.
//
// # Order of calls
//
// Consensus is the one writer: Init once, then for each block Prepare, which may
// be repeated with another block of that height, and Commit. After an error of
// Commit it is unknown whether the block is durable; the Settlement takes no more
// blocks, still reads the state before, and must be closed and opened again.
// Everything else may be called at any time, after Close too.
//
// # Logs: what nobody here can read, checked nevertheless
//
// A node keeps the sealed segments of logs (ledger/lanelog) in a store of its
// own, and has no key. What it can check is that an object has the name that is
// asked for, that the objects of a log follow one another without a gap, and that
// their roots and sums make up the root, the units and the amount that a voucher
// says. The last segment grows by pieces, so that nothing is written twice for each
// voucher, and takes their place when it is full; its link proves that it begins
// with what they say. What is appended is synced when the call returns, many
// calls by one sync. Two objects for the same entries are evidence (ConflictError). An
// object that is lost is said to be, and taken again; a store that was left behind
// takes from another what it missed (Replace). Logs go when the time of their channel
// is over (Retain, Prune), and a disk that runs full stops appending and nothing
// else.
package layer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/ledger/statetree"
)

const (
	statePrefix     = "s/"
	indexPrefix     = "i/"
	consensusPrefix = "c/"
	viewPrefix      = "v/"
)

const (
	// DefaultWriteAheadBytes is the default of Options.WriteAheadBytes, a tenth of
	// a batch of the main store.
	DefaultWriteAheadBytes = 2 << 20

	// pruneStep is how many versions of the state tree are deleted at a time.
	pruneStep = 4
	// maxPruneBacklog is how many versions may wait for Run before Commit itself
	// deletes some.
	maxPruneBacklog = 100
)

// Options of a Settlement. Zero fields take their defaults.
type Options struct {
	// State are the options of the state tree; its Tables are those of the rules.
	State statetree.Options
	// WriteAheadBytes: tree nodes of a block that take more are written ahead of
	// the block's batch (statetree.Tree.WriteAhead).
	WriteAheadBytes int64
}

// Settlement is the settlement layer of one validator. It is safe for concurrent
// use; Init, Prepare and Commit have one caller at a time.
type Settlement struct {
	store kv.Store
	owned *badgerkv.Store // what Close closes, or nil
	tree  *statetree.Tree
	index kv.Store
	opts  Options
	prune chan struct{} // capacity 1: there is something to prune

	journalled atomic.Int64 // commits that took the journal

	mu     sync.Mutex // guards failed
	failed error      // of an earlier Commit
}

// Open opens the settlement layer in a store of its own.
func Open(store badgerkv.Options, o Options) (*Settlement, error) {
	db, err := badgerkv.Open(store)
	if err != nil {
		return nil, fmt.Errorf("open settlement layer: %w", err)
	}
	s, err := New(db, o)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.owned = db
	return s, nil
}

// New opens the settlement layer in store, which stays the caller's: Close does
// not close it.
func New(store kv.Store, o Options) (*Settlement, error) {
	if o.WriteAheadBytes == 0 {
		o.WriteAheadBytes = DefaultWriteAheadBytes
	}
	if err := replay(store); err != nil {
		return nil, fmt.Errorf("open settlement layer: %w", err)
	}
	tree, err := statetree.Open(kv.Prefixed(store, []byte(statePrefix)), o.State)
	if err != nil {
		return nil, fmt.Errorf("open settlement layer: %w", err)
	}
	return &Settlement{
		store: store, tree: tree, opts: o,
		index: kv.Prefixed(store, []byte(indexPrefix)),
		prune: make(chan struct{}, 1),
	}, nil
}

// Init makes changes the state before the first block, at height 0, durably, and
// returns its application hash. Called again before the first block it returns
// the same hash for the same changes and an error for others.
func (s *Settlement) Init(changes chain.Changes) (ledger.Hash, error) {
	if s.tree.Empty() {
		if _, err := s.Prepare(0, changes); err != nil {
			return ledger.Hash{}, fmt.Errorf("init: %w", err)
		}
		if err := s.Commit(nil); err != nil {
			return ledger.Hash{}, fmt.Errorf("init: %w", err)
		}
		return s.AppHash(), nil
	}
	if h := s.Height(); h != 0 {
		return ledger.Hash{}, fmt.Errorf("init: the state is at height %d already", h)
	}
	// Writing again what is there changes nothing.
	again, err := s.Prepare(1, changes)
	if err != nil {
		return ledger.Hash{}, fmt.Errorf("init: %w", err)
	}
	if root := s.AppHash(); again != root {
		return ledger.Hash{}, fmt.Errorf("init: the state began with application hash %s, these changes give %s", root, again)
	}
	return again, nil
}

// Prepare computes the application hash after the block at height, which must be
// Height()+1, and keeps its changes for Commit. Nothing becomes visible or
// durable. A block prepared before is dropped. Changes are ascending, each key
// once; their keys must not be modified until Commit.
func (s *Settlement) Prepare(height uint64, changes chain.Changes) (ledger.Hash, error) {
	if err := s.failure(); err != nil {
		return ledger.Hash{}, err
	}
	return s.tree.Prepare(height, changes)
}

// Commit makes the prepared block durable together with its index entries, in
// any order, of which a nil value deletes, and then shows it to readers. The
// entries must not be modified meanwhile.
func (s *Settlement) Commit(index []chain.Change) error {
	if err := s.failure(); err != nil {
		return err
	}
	if err := s.commit(index); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.failed = err
		return err
	}
	if s.tree.Prunable() == 0 {
		return nil
	}
	select {
	case s.prune <- struct{}{}:
	default:
	}
	if s.tree.Prunable() > maxPruneBacklog {
		_, err := s.tree.Prune(pruneStep)
		return err
	}
	return nil
}

func (s *Settlement) commit(index []chain.Change) error {
	if err := s.tree.WriteAhead(s.opts.WriteAheadBytes); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	var all spool
	if err := s.tree.WriteTo(kv.PrefixedWriter(&all, []byte(statePrefix))); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if err := writeIndex(kv.PrefixedWriter(&all, []byte(indexPrefix)), index); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	err := put(s.store, all.writes, true)
	if errors.Is(err, kv.ErrBatchTooLarge) { // and nothing of it was applied
		s.journalled.Add(1)
		err = journalled(s.store, all.writes)
	}
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return s.tree.Apply()
}

func (s *Settlement) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return fmt.Errorf("the settlement layer must be opened again: %w", s.failed)
	}
	return nil
}

// Height returns the height of the last committed block, or 0 before the first.
// Within Read it is the height of the view.
func (s *Settlement) Height() uint64 { return s.tree.Height() }

// AppHash returns the application hash at Height, within Read that of the view.
func (s *Settlement) AppHash() ledger.Hash { return s.tree.AppHash() }

// Empty reports whether nothing was ever committed, not even by Init.
func (s *Settlement) Empty() bool { return s.tree.Empty() }

// Read calls fn with the state at Height, which does not change during the call.
// What the view hands out must not be kept beyond it. fn must be short, since
// Commit waits for it, and must not call Read, Prove or Stats.
func (s *Settlement) Read(fn func(chain.View) error) error { return s.tree.Read(fn) }

// OpenSnapshot returns the state at Height for long reads, which delay nothing.
// It must be closed.
func (s *Settlement) OpenSnapshot() (*statetree.Snapshot, error) { return s.tree.OpenSnapshot() }

// Prove returns what the state at Height holds under key, with its proof.
func (s *Settlement) Prove(key []byte) (*stateproof.Statement, error) { return s.tree.Prove(key) }

// Schema returns what verifies proofs of this state.
func (s *Settlement) Schema() stateproof.Schema { return s.tree.Schema() }

// Journalled returns how many commits since Open did not fit one batch of the
// store and took the journal, which writes everything twice.
func (s *Settlement) Journalled() int64 { return s.journalled.Load() }

// Stats returns figures of the state tree. It waits for a running Prepare.
func (s *Settlement) Stats() statetree.Stats { return s.tree.Stats() }

// Index reads the index as committed last. Unlike the state it may move on
// between two reads.
func (s *Settlement) Index() kv.Reader { return s.index }

// UpdateIndex writes entries to the index beside the blocks, of which a nil value
// deletes, in one atomic batch that is not synced. An entry must not be one that
// a Commit under way writes too.
func (s *Settlement) UpdateIndex(entries []chain.Change) error {
	if err := s.failure(); err != nil {
		return err
	}
	b := s.index.NewBatch()
	defer b.Discard()
	if err := writeIndex(b, entries); err != nil {
		return fmt.Errorf("update the index: %w", err)
	}
	if err := b.Commit(false); err != nil {
		return fmt.Errorf("update the index: %w", err)
	}
	return nil
}

func writeIndex(w kv.Writer, entries []chain.Change) error {
	for _, e := range entries {
		var err error
		if e.Value == nil {
			err = w.Delete(e.Key)
		} else {
			err = w.Set(e.Key, e.Value)
		}
		if err != nil {
			return fmt.Errorf("write index entry %x: %w", e.Key, err)
		}
	}
	return nil
}

// Consensus returns the part of the store for the consensus engine's own stores
// of this chain. Closing it does nothing.
func (s *Settlement) Consensus() kv.Store {
	return kv.Prefixed(s.store, []byte(consensusPrefix))
}

// View returns a part of the store for other users, by a name without "/".
// Closing it does nothing.
func (s *Settlement) View(name string) kv.Store {
	return kv.Prefixed(s.store, []byte(viewPrefix+name+"/"))
}

// Run deletes old versions of the state tree between blocks until ctx ends, and
// returns nil then. Without it Commit deletes them itself, late.
func (s *Settlement) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.prune:
		}
		for more := true; more && ctx.Err() == nil; {
			var err error
			more, err = s.tree.Prune(1)
			if errors.Is(err, kv.ErrClosed) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("run settlement layer: %w", err)
			}
		}
	}
}

// Prune deletes up to limit old versions of the state tree and reports whether
// there are more, for callers without Run.
func (s *Settlement) Prune(limit int) (more bool, err error) { return s.tree.Prune(limit) }

// Close waits for running calls and closes the layer, and its store if Open
// opened it. Calls that come later return kv.ErrClosed. It may be called twice.
func (s *Settlement) Close() error {
	err := s.tree.Close()
	if s.owned != nil {
		err = errors.Join(err, s.owned.Close())
	}
	if err != nil {
		return fmt.Errorf("close settlement layer: %w", err)
	}
	return nil
}
