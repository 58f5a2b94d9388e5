package statetree

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/ledger/kv"
)

// save has IAVL make the version of the prepared block and keeps its nodes.
func (t *Tree) save() error {
	p := &t.prep
	switch {
	case t.failed != nil:
		return t.failed
	case p.stage == saved:
		return nil
	case p.stage != prepared:
		return ErrNotPrepared
	}
	p.stage = saved
	if len(p.flat) == 0 {
		return nil
	}
	root, version, err := t.iavl.SaveVersion()
	if err != nil {
		return t.fail(fmt.Errorf("save version %d of the tree: %w", p.next.version, err))
	}
	if version != p.next.version || !bytes.Equal(root, p.next.root[:]) {
		return t.fail(fmt.Errorf("the tree saved version %d with root %x, prepared was version %d with root %s",
			version, root, p.next.version, p.next.root))
	}
	p.nodes = t.nodes.drain()
	return nil
}

// WriteAhead commits nodes of the prepared block ahead of it, in batches of about
// limit bytes, if all of them have more than limit bytes, with what the store adds
// to each. Nothing refers to them until the block's own batch is committed, and
// Open removes them if it never is. It keeps the one batch of the block small
// however large the tree is; a block that opens 10,000 channels among a million
// writes 70,000 nodes.
func (t *Tree) WriteAhead(limit int64) error {
	t.writeMu.Lock()
	defer t.writeMu.Unlock()
	if err := t.save(); err != nil {
		return fmt.Errorf("write ahead: %w", err)
	}
	p := &t.prep
	if writeBytes(p.nodes) <= limit {
		return nil
	}
	for len(p.nodes) > 0 {
		n, size := 0, int64(0)
		for n < len(p.nodes) && size <= limit {
			size += writeBytes(p.nodes[n : n+1])
			n++
		}
		if err := t.commitNodes(p.nodes[:n]); err != nil {
			return t.fail(fmt.Errorf("write ahead: %w", err))
		}
		p.nodes = p.nodes[n:]
	}
	return nil
}

// writeOverhead is about what prefixes and the store add to a write in bytes.
const writeOverhead = 16

func writeBytes(writes []write) int64 {
	total := int64(0)
	for _, w := range writes {
		total += int64(len(w.key)+len(w.value)) + writeOverhead
	}
	return total
}

// WriteTo puts the prepared block into w, a batch of the store given to Open:
// changed rows and values, tree nodes, and the record of height and application
// hash. The caller commits it and calls Apply.
func (t *Tree) WriteTo(w kv.Writer) error {
	t.writeMu.Lock()
	defer t.writeMu.Unlock()
	if err := t.save(); err != nil {
		return fmt.Errorf("write block: %w", err)
	}
	p := &t.prep
	err := errors.Join(
		writeAll(kv.PrefixedWriter(w, []byte{dataSpace}), p.flat),
		w.Set([]byte{metaKey}, p.next.encode(t.opts.Tables)),
		writeAll(kv.PrefixedWriter(w, []byte{nodeSpace}), p.nodes))
	if err != nil {
		return t.fail(fmt.Errorf("write block %d: %w", p.next.height, err))
	}
	p.nodes = nil
	p.stage = written
	return nil
}

// Apply shows the written block to readers. The batch of WriteTo must be
// committed. It waits for running calls of Read.
func (t *Tree) Apply() error {
	t.writeMu.Lock()
	defer t.writeMu.Unlock()
	p := &t.prep
	if p.stage != written {
		return fmt.Errorf("apply block: %w", ErrNotPrepared)
	}
	if t.failed != nil {
		return t.failed
	}
	snap, err := t.pin()
	if err != nil {
		return t.fail(fmt.Errorf("apply block %d: %w", p.next.height, err))
	}
	if p.next.version != t.head.Load().version {
		if err := t.pinCommitted(p.next.version); err != nil {
			return t.fail(errors.Join(fmt.Errorf("apply block %d: %w", p.next.height, err), snap.release()))
		}
		t.nodes.oldest = max(t.nodes.oldest, 1)
	}
	old := t.flip(snap)
	p.reset()
	if err := old.release(); err != nil {
		return t.fail(fmt.Errorf("apply block: %w", err))
	}
	return nil
}

// flip replaces what readers see and returns the snapshot of before.
func (t *Tree) flip(snap *pinned) *pinned {
	p := &t.prep
	next := p.next
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, st := range p.pages {
		pg := t.pages.get(st.id)
		if pg == nil {
			continue // evicted: the store has it
		}
		for _, n := range p.dirty[st.nodeFrom:st.nodeTo] {
			copy(pg.node(n.pos), n.hash[:])
		}
		for _, r := range p.rows[st.rowFrom:st.rowTo] {
			pg.present[r.slot] = r.value != nil
			if pg.rows != nil {
				copy(pg.rows[r.slot*pg.size:(r.slot+1)*pg.size], r.value)
			}
		}
	}
	for _, w := range p.flat {
		if t.schema.RowSize(w.key[0]) == 0 {
			t.values.changed(w.key, bytes.Clone(w.value)) // the arena is used again
		}
	}
	old := t.snap
	t.snap = snap
	t.head.Store(&next)
	return old
}
