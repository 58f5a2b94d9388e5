package statetree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cosmos/iavl"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// neverFlush is the size in bytes at which IAVL would write a part of a version.
const neverFlush = 1 << 30

// recoverChunk is the number of writes in one batch when leftovers of a block
// that was never committed are removed.
const recoverChunk = 10_000

// Tree is the state of one chain. Reads and proofs are safe for concurrent use;
// Prepare, WriteAhead, WriteTo, Apply and Prune are called by the chain's one
// writer at a time.
type Tree struct {
	data   kv.Store // flat values by state key
	store  kv.Store
	schema stateproof.Schema
	opts   Options
	empty  *[pageDepth + 1]ledger.Hash

	// writeMu is held by the writer and by Prove, which share IAVL and loading
	// of pages.
	writeMu   sync.Mutex
	iavl      *iavl.MutableTree
	committed *iavl.ImmutableTree // the version of head, nil before the first
	nodes     *nodeStore
	prep      preparation
	failed    error // why the tree takes no more blocks

	// mu is held shared by Read and exclusively by Apply and Close. Lock writeMu
	// before mu.
	mu     sync.RWMutex
	snap   *pinned // the store at head
	closed bool
	pages  *pageCache
	values *valueCache

	head atomic.Pointer[meta] // set under mu; constant during Read
}

// Open opens the state in s, which is the state's alone. Leftovers of a block
// that was not committed are removed. The Tree does not close s.
func Open(s kv.Store, o Options) (*Tree, error) {
	t, err := open(s, o)
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	return t, nil
}

func open(s kv.Store, o Options) (*Tree, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	schema, err := stateproof.NewSchema(o.Tables)
	if err != nil {
		return nil, err
	}
	t := &Tree{
		store: s, data: kv.Prefixed(s, []byte{dataSpace}), schema: schema, opts: o, empty: emptyHashes(),
		nodes: &nodeStore{store: kv.Prefixed(s, []byte{nodeSpace})},
		pages: newPageCache(o.PageCacheBytes), values: newValueCache(o.RegistryCacheBytes),
	}
	t.newTree()
	unfinished, err := s.Get([]byte{restoreKey})
	if err != nil {
		return nil, fmt.Errorf("look for an unfinished restore: %w", err)
	}
	if unfinished != nil {
		if err := t.wipe(); err != nil {
			return nil, err
		}
	}
	head, err := loadMeta(s, o.Tables)
	if err != nil {
		return nil, err
	}
	if err := t.load(head); err != nil {
		return nil, err
	}
	if t.snap, err = t.pin(); err != nil {
		return nil, err
	}
	t.head.Store(head)
	return t, nil
}

// newTree makes IAVL's tree over the nodes in the store.
func (t *Tree) newTree() {
	t.iavl = iavl.NewMutableTree(t.nodes, t.opts.NodeCache, true, iavl.NewNopLogger(), iavl.FlushThresholdOption(neverFlush))
}

// load brings IAVL to the version of head and removes what came after it.
func (t *Tree) load(head *meta) error {
	if head.version == 0 {
		if err := t.removeNodes(); err != nil {
			return err
		}
	} else if err := t.loadVersion(head); err != nil {
		return err
	}
	if head.recorded {
		return nil
	}
	it := t.data.Iterate(nil, nil, false)
	if it.Next() {
		return errors.Join(errors.New("there is state without a recorded height: the store is damaged"), it.Close())
	}
	return it.Close()
}

func (t *Tree) loadVersion(head *meta) error {
	b, err := t.store.Get([]byte{oldestKey})
	if err != nil {
		return fmt.Errorf("read the oldest version: %w", err)
	}
	t.nodes.oldest = 1
	if len(b) == 8 {
		t.nodes.oldest = int64(binary.BigEndian.Uint64(b))
	}
	if err := t.iavl.LoadVersionForOverwriting(head.version); err != nil {
		return fmt.Errorf("load version %d of the tree: %w", head.version, err)
	}
	if err := t.commitChunks(t.nodes.drain()); err != nil {
		return err
	}
	if got := t.iavl.Hash(); !bytes.Equal(got, head.root[:]) {
		return fmt.Errorf("the tree has root %x at height %d, recorded is %s: the store is damaged", got, head.height, head.root)
	}
	return t.pinCommitted(head.version)
}

// pinCommitted makes version the one that proofs are taken from.
func (t *Tree) pinCommitted(version int64) error {
	if version == 0 {
		return nil
	}
	im, err := t.iavl.GetImmutable(version)
	if err != nil {
		return fmt.Errorf("read version %d of the tree: %w", version, err)
	}
	t.committed = im
	return nil
}

// removeNodes deletes all nodes: those of a first block that was not committed.
func (t *Tree) removeNodes() error {
	var stale []write
	if err := kv.Scan(t.nodes.store, nil, func(key, _ []byte) error {
		stale = append(stale, write{key: bytes.Clone(key)})
		return nil
	}); err != nil {
		return err
	}
	return t.commitChunks(stale)
}

// commitChunks commits node writes that may be applied in pieces.
func (t *Tree) commitChunks(writes []write) error {
	for len(writes) > 0 {
		n := min(len(writes), recoverChunk)
		if err := t.commitNodes(writes[:n]); err != nil {
			return err
		}
		writes = writes[n:]
	}
	return nil
}

// commitNodes commits node writes in one batch, unsynced: the next block syncs.
func (t *Tree) commitNodes(writes []write) error {
	b := t.nodes.store.NewBatch()
	defer b.Discard()
	if err := writeAll(b, writes); err != nil {
		return err
	}
	return b.Commit(false)
}

func writeAll(w kv.Writer, writes []write) error {
	for _, c := range writes {
		var err error
		if c.value == nil {
			err = w.Delete(c.key)
		} else {
			err = w.Set(c.key, c.value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Height returns the height of the last applied block. During Read it is the
// height of the view.
func (t *Tree) Height() uint64 { return t.head.Load().height }

// AppHash returns the application hash at Height.
func (t *Tree) AppHash() ledger.Hash { return t.head.Load().root }

// Empty reports whether no block was ever applied.
func (t *Tree) Empty() bool { return !t.head.Load().recorded }

// Schema returns what verifies proofs of this state.
func (t *Tree) Schema() stateproof.Schema { return t.schema }

// Stats says what the tree keeps in memory and on disk.
type Stats struct {
	Pages, PagesWithRows int
	PageBytes            int64
	Version, Oldest      int64 // IAVL versions
	Keys                 int64 // leaves of the IAVL tree: registry keys and pages
}

// Stats returns the present figures. It waits for a running Prepare.
func (t *Tree) Stats() Stats {
	t.writeMu.Lock()
	defer t.writeMu.Unlock()
	s := Stats{Version: t.head.Load().version, Oldest: t.nodes.oldest}
	s.Pages, s.PagesWithRows, s.PageBytes = t.pages.size()
	if t.committed != nil {
		s.Keys = t.committed.Size()
	}
	return s
}

// Close ends reading and writing. It waits for running calls and does not close
// the store.
func (t *Tree) Close() error {
	t.writeMu.Lock()
	defer t.writeMu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	t.failed = kv.ErrClosed
	return errors.Join(t.snap.release(), t.iavl.Close())
}
