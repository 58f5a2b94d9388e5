package statetree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	corestore "cosmossdk.io/core/store"
	"github.com/cosmos/iavl"

	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// restoreKey marks a restore that has not finished. Open removes all that it
// finds beside it.
const restoreKey = 'r'

// restoreBatch is the number of writes of one batch.
const restoreBatch = 2_000

// ErrNotEmpty is returned where a state would be restored over another one.
var ErrNotEmpty = errors.New("there is a state already")

// ErrRestore is wrapped by what is wrong with restored records, as opposed to the
// store.
var ErrRestore = errors.New("the export is not of that state")

// Restore takes the records of an export and makes a state of them. Until Finish
// has returned nil the tree is empty; a crash before leaves nothing behind. It is
// owned by one goroutine.
type Restore struct {
	tree   *Tree
	want   Summary
	at     shape
	iavl   *iavl.MutableTree
	nodes  *iavl.Importer
	rows   []write // not written yet
	page   page    // the one that is being read
	failed error
}

// Restore begins to restore the state that want identifies into a tree that is
// empty or at height 0, and is emptied. It must be finished or aborted; the tree takes no blocks meanwhile.
func (t *Tree) Restore(want Summary) (*Restore, error) {
	t.writeMu.Lock()
	defer t.writeMu.Unlock()
	r, err := t.restore(want)
	if err != nil {
		return nil, fmt.Errorf("restore the state at height %d: %w", want.Height, err)
	}
	return r, nil
}

func (t *Tree) restore(want Summary) (*Restore, error) {
	switch {
	case t.failed != nil:
		return nil, t.failed
	case t.head.Load().height > 0 || t.prep.stage != idle:
		return nil, ErrNotEmpty
	case want.Version < 1 || want.Leaves == 0 || uint64(want.Version) > want.Height+1:
		return nil, fmt.Errorf("%w: version %d and %d leaves", ErrRestore, want.Version, want.Leaves)
	}
	t.iavl.Rollback()
	// Marked twice, since what is wiped may be a state, and wiping ends the mark.
	if err := errors.Join(t.mark(), t.wipe()); err != nil {
		return nil, err
	}
	if t.head.Load().recorded {
		if err := t.show(&meta{root: stateproof.EmptyRoot()}); err != nil {
			return nil, t.fail(err)
		}
	}
	if err := t.mark(); err != nil {
		return nil, err
	}
	store := importStore{nodeStore{store: t.nodes.store}}
	r := &Restore{tree: t, want: want, iavl: iavl.NewMutableTree(&store, exportCache, true, iavl.NewNopLogger())}
	var err error
	if r.nodes, err = r.iavl.Import(want.Version); err != nil {
		return nil, err
	}
	t.failed = errRestoring
	return r, nil
}

var errRestoring = errors.New("the state is being restored")

// Rewind takes back the last blocks, which changed nothing, so that height is that of the
// state again, durably. It does not know whether they did: the caller does, by the
// application hash. A version tells of most that did, and those are refused.
func (t *Tree) Rewind(height uint64) error {
	t.writeMu.Lock()
	defer t.writeMu.Unlock()
	head := *t.head.Load()
	switch {
	case t.failed != nil:
		return t.failed
	case t.prep.stage != idle:
		return errors.New("rewind: a block is under way")
	case !head.recorded || height > head.height || uint64(head.version) > height+1:
		return fmt.Errorf("rewind from height %d to %d: the state has version %d", head.height, height, head.version)
	}
	head.height = height
	b := t.store.NewBatch()
	defer b.Discard()
	if err := errors.Join(b.Set([]byte{metaKey}, head.encode(t.opts.Tables)), b.Commit(true)); err != nil {
		return t.fail(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.head.Store(&head)
	return nil
}

// Discard removes the state in s, which no Tree has open. If the process ends meanwhile,
// Open does the rest.
func Discard(s kv.Store) error {
	t := &Tree{store: s}
	return errors.Join(t.mark(), t.wipe())
}

// mark says durably that whatever is in the store does not count.
func (t *Tree) mark() error {
	b := t.store.NewBatch()
	defer b.Discard()
	return errors.Join(b.Set([]byte{restoreKey}, []byte{1}), b.Commit(true))
}

// wipe removes all state: what a restore that did not finish left behind, or that
// of the genesis.
func (t *Tree) wipe() error {
	for _, space := range []byte{dataSpace, nodeSpace} {
		if err := removeAll(kv.Prefixed(t.store, []byte{space})); err != nil {
			return fmt.Errorf("remove what an unfinished restore left: %w", err)
		}
	}
	b := t.store.NewBatch()
	defer b.Discard()
	return errors.Join(
		b.Delete([]byte{metaKey}), b.Delete([]byte{oldestKey}), b.Delete([]byte{restoreKey}),
		b.Commit(true))
}

func removeAll(s kv.Store) error {
	for {
		var keys []write
		it := s.Iterate(nil, nil, false)
		for len(keys) < recoverChunk && it.Next() {
			keys = append(keys, write{key: append([]byte{}, it.Key()...)})
		}
		if err := it.Close(); err != nil || len(keys) == 0 {
			return err
		}
		if err := commitWrites(s, keys); err != nil {
			return err
		}
	}
}

func commitWrites(s kv.Store, writes []write) error {
	b := s.NewBatch()
	defer b.Discard()
	if err := writeAll(b, writes); err != nil {
		return err
	}
	return b.Commit(false)
}

// Add takes the next records, which must be whole ones. All of them are checked
// before any is written: after an error that wraps ErrRestore nothing has changed
// and others may be tried instead.
func (r *Restore) Add(records []byte) error {
	if r.failed != nil {
		return fmt.Errorf("restore: %w", r.failed)
	}
	if err := r.check(records); err != nil {
		return fmt.Errorf("%w: %w", ErrRestore, err)
	}
	rd := codec.NewReader(records)
	for rd.Remaining() > 0 {
		rec, err := readRecord(rd, &r.tree.schema, &r.page, r.tree.empty)
		if err != nil {
			return r.fail(err)
		}
		key, err := r.at.add(&rec, r.want.Version)
		if err != nil {
			return r.fail(err)
		}
		if err := r.write(&rec, key); err != nil {
			return r.fail(err)
		}
	}
	return nil
}

func (r *Restore) fail(err error) error {
	r.failed = err
	return fmt.Errorf("restore: %w", err)
}

// check reports what is wrong with records. It keeps none of them: a page of one
// row is a thousand times larger in memory than in a record.
func (r *Restore) check(raw []byte) error {
	at := r.at.clone()
	rd := codec.NewReader(raw)
	for rd.Remaining() > 0 {
		rec, err := readRecord(rd, &r.tree.schema, &r.page, nil)
		if err != nil {
			return err
		}
		if _, err := at.add(&rec, r.want.Version); err != nil {
			return err
		}
		if at.leaves > r.want.Leaves || at.rows > r.want.Rows {
			return fmt.Errorf("%w: more than %d leaves and %d rows", errRecord, r.want.Leaves, r.want.Rows)
		}
	}
	return nil
}

// write writes one record. What it keeps must alias neither the caller's bytes,
// which IAVL would hold on to, nor the page.
func (r *Restore) write(rec *record, key []byte) error {
	node := &iavl.ExportNode{Key: append([]byte{}, key...), Version: rec.version, Height: rec.height}
	switch rec.kind {
	case recordValue:
		node.Value = rec.leaf()
		r.rows = append(r.rows, write{key: node.Key, value: append([]byte{}, rec.value...)})
	case recordPage:
		node.Value = rec.leaf()
		for slot, ok := range rec.page.present {
			if !ok {
				continue
			}
			k := binary.BigEndian.AppendUint64([]byte{rec.page.id.table()}, rec.page.id.page()*pageRows+uint64(slot))
			r.rows = append(r.rows, write{key: k, value: bytes.Clone(rec.page.row(slot))})
		}
	}
	if err := r.nodes.Add(node); err != nil {
		return fmt.Errorf("add a node: %w", err)
	}
	if len(r.rows) >= restoreBatch {
		return r.flush()
	}
	return nil
}

func (r *Restore) flush() error {
	for len(r.rows) > 0 {
		n := min(len(r.rows), restoreBatch)
		if err := commitWrites(r.tree.data, r.rows[:n]); err != nil {
			return err
		}
		r.rows = r.rows[n:]
	}
	r.rows = nil
	return nil
}

// Finish checks that the records were the whole state and shows it, durably. An
// error that wraps ErrRestore says that they were not; the tree is empty then, as
// after Abort.
func (r *Restore) Finish() error {
	if err := r.finish(); err != nil {
		return errors.Join(fmt.Errorf("restore the state at height %d: %w", r.want.Height, err), r.Abort())
	}
	return nil
}

func (r *Restore) finish() error {
	if r.failed != nil {
		return r.failed
	}
	if !r.at.whole() || r.at.leaves != r.want.Leaves || r.at.rows != r.want.Rows || r.at.version != r.want.Version {
		return fmt.Errorf("%w: it has %d leaves, %d rows and version %d, want %d, %d and %d", ErrRestore,
			r.at.leaves, r.at.rows, r.at.version, r.want.Leaves, r.want.Rows, r.want.Version)
	}
	if err := r.flush(); err != nil {
		return err
	}
	if err := r.nodes.Commit(); err != nil {
		return fmt.Errorf("finish the tree: %w", err)
	}
	if got := r.iavl.Hash(); string(got) != string(r.want.AppHash[:]) {
		return fmt.Errorf("%w: its application hash is %x, want %s", ErrRestore, got, r.want.AppHash)
	}
	t := r.tree
	t.writeMu.Lock()
	defer t.writeMu.Unlock()
	head := &meta{recorded: true, height: r.want.Height, version: r.want.Version, root: r.want.AppHash}
	b := t.store.NewBatch()
	defer b.Discard()
	if err := errors.Join(
		b.Set([]byte{metaKey}, head.encode(t.opts.Tables)),
		b.Set([]byte{oldestKey}, binary.BigEndian.AppendUint64(nil, uint64(head.version))),
		b.Delete([]byte{restoreKey}),
	); err != nil {
		return err
	}
	if err := b.Commit(true); err != nil {
		return err
	}
	if err := t.show(head); err != nil {
		return t.fail(err)
	}
	r.failed = errors.New("the restore is finished")
	return nil
}

// show begins anew with a restored head.
func (t *Tree) show(head *meta) error {
	t.failed = nil
	if err := t.iavl.Close(); err != nil {
		return err
	}
	t.newTree()
	if err := t.load(head); err != nil {
		return err
	}
	snap, err := t.pin()
	if err != nil {
		return err
	}
	t.mu.Lock()
	old := t.snap
	t.snap = snap
	t.pages, t.values = newPageCache(t.opts.PageCacheBytes), newValueCache(t.opts.RegistryCacheBytes)
	t.head.Store(head)
	t.mu.Unlock()
	return old.release()
}

// Abort gives up and leaves the tree empty. After Finish it does nothing.
func (r *Restore) Abort() error {
	t := r.tree
	t.writeMu.Lock()
	defer t.writeMu.Unlock()
	if !errors.Is(t.failed, errRestoring) {
		return nil
	}
	r.nodes.Close()
	r.failed = errors.New("the restore was given up")
	if err := t.wipe(); err != nil {
		return t.failWith(fmt.Errorf("give up a restore: %w", err))
	}
	t.failed = nil
	return nil
}

// failWith replaces the reason why the tree takes no more blocks.
func (t *Tree) failWith(err error) error {
	t.failed = err
	return err
}

// importStore is IAVL's database during a restore: what it writes is written, in
// pieces, since nothing counts before the end.
type importStore struct{ nodeStore }

func (s *importStore) NewBatch() corestore.Batch {
	return &importBatch{nodeBatch{store: &nodeStore{}}, s.store}
}

// NewBatchWithSize ignores the size.
func (s *importStore) NewBatchWithSize(int) corestore.Batch { return s.NewBatch() }

type importBatch struct {
	nodeBatch
	to kv.Store
}

func (b *importBatch) Write() error {
	writes := b.writes
	b.writes = nil
	for len(writes) > 0 {
		n := min(len(writes), restoreBatch)
		if err := commitWrites(b.to, writes[:n]); err != nil {
			return err
		}
		writes = writes[n:]
	}
	return nil
}

func (b *importBatch) WriteSync() error { return b.Write() }
