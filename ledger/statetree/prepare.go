package statetree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// ErrNotPrepared is returned by WriteTo and Apply out of turn.
var ErrNotPrepared = errors.New("no block is prepared")

// stage is how far the block in hand has got.
type stage int

const (
	idle     stage = iota
	prepared       // the application hash is known
	saved          // IAVL has made the version
	written        // the caller's batch has it all
)

// preparation is the block in hand. Its buffers are used again for the next.
type preparation struct {
	stage stage
	next  meta
	flat  []write // changed values by state key, ascending
	nodes []write // of the IAVL tree, once saved
	pages []stagedPage
	dirty []stagedNode
	rows  []stagedRow
	arena []byte // the values in flat
	tree  []write
}

// stagedPage is a changed page: the nodes and rows that belong to it.
type stagedPage struct {
	id               pageID
	nodeFrom, nodeTo int
	rowFrom, rowTo   int
}

type stagedNode struct {
	pos  int // in page.hashes
	hash ledger.Hash
}

type stagedRow struct {
	slot  int
	value []byte // nil: deleted
}

func (p *preparation) reset() {
	*p = preparation{
		flat: p.flat[:0], pages: p.pages[:0], dirty: p.dirty[:0], rows: p.rows[:0],
		tree: p.tree[:0], arena: p.arena[:0],
	}
}

// copy returns a copy of a value, never nil, in the arena, which was made large
// enough.
func (p *preparation) copy(v []byte) []byte {
	if len(v) == 0 {
		return []byte{}
	}
	at := len(p.arena)
	p.arena = append(p.arena, v...)
	return p.arena[at:len(p.arena):len(p.arena)]
}

// Prepare computes the application hash after changes, which must be ascending,
// each key once, and keeps them for WriteTo. Their keys must not be modified
// until Apply or the next Prepare; values are copied. Nothing becomes visible or
// durable. A block prepared before is dropped.
//
// The height must be the one after the last applied block, or anything for the
// very first block.
func (t *Tree) Prepare(height uint64, changes chain.Changes) (ledger.Hash, error) {
	t.writeMu.Lock()
	defer t.writeMu.Unlock()
	if err := t.ready(height); err != nil {
		return ledger.Hash{}, fmt.Errorf("prepare block %d: %w", height, err)
	}
	t.iavl.Rollback()
	p := &t.prep
	p.reset()
	if err := t.stage(changes); err != nil {
		p.reset()
		return ledger.Hash{}, fmt.Errorf("prepare block %d: %w", height, err)
	}
	head := t.head.Load()
	p.next = meta{recorded: true, height: height, version: head.version, root: head.root}
	if len(p.flat) > 0 {
		if err := t.hash(); err != nil {
			p.reset()
			return ledger.Hash{}, t.fail(fmt.Errorf("prepare block %d: %w", height, err))
		}
	}
	p.stage = prepared
	return p.next.root, nil
}

func (t *Tree) ready(height uint64) error {
	switch head := t.head.Load(); {
	case t.failed != nil:
		return t.failed
	case t.prep.stage >= saved:
		return errors.New("the block prepared before is being committed")
	case head.recorded && height != head.height+1:
		return fmt.Errorf("the state is at height %d", head.height)
	}
	return nil
}

// fail keeps err as the reason why the tree takes no more blocks.
func (t *Tree) fail(err error) error {
	if t.failed == nil {
		t.failed = err
	}
	return err
}

// stage splits changes into pages and registry keys and leaves out what changes
// nothing. The tree's keys come out ascending: pages sort before registry keys.
func (t *Tree) stage(changes chain.Changes) error {
	p := &t.prep
	size := 0
	for i, c := range changes {
		if err := t.schema.Check(c.Key, c.Value); err != nil {
			return err
		}
		if i > 0 && bytes.Compare(changes[i-1].Key, c.Key) >= 0 {
			return fmt.Errorf("changes are not ascending at key %x", c.Key)
		}
		size += len(c.Value)
	}
	if cap(p.arena) < size {
		p.arena = make([]byte, 0, size+size/4)
	}
	var registry []write
	for len(changes) > 0 {
		if t.schema.RowSize(changes[0].Key[0]) == 0 {
			w, err := t.stageValue(changes[0])
			if err != nil {
				return err
			}
			if w.key != nil {
				registry = append(registry, w)
			}
			changes = changes[1:]
			continue
		}
		id, n := firstPage(changes)
		if err := t.stagePage(id, changes[:n]); err != nil {
			return err
		}
		changes = changes[n:]
	}
	p.tree = append(p.tree, registry...)
	return nil
}

// stageValue stages a change of a registry key. The result is the write into the
// tree, without a key if there is none.
func (t *Tree) stageValue(c chain.Change) (write, error) {
	old, err := t.values.get(t.snap, c.Key)
	if err != nil {
		return write{}, err
	}
	if (old == nil) == (c.Value == nil) && bytes.Equal(old, c.Value) {
		return write{}, nil
	}
	p := &t.prep
	// IAVL keeps key and value.
	key := bytes.Clone(c.Key)
	if c.Value == nil {
		p.flat = append(p.flat, write{key: key})
		return write{key: key}, nil
	}
	p.flat = append(p.flat, write{key: key, value: p.copy(c.Value)})
	h := stateproof.ValueHash(c.Value)
	return write{key: key, value: h[:]}, nil
}

// firstPage returns the page of the row that changes begin with, and how many of
// them belong to it.
func firstPage(changes chain.Changes) (pageID, int) {
	key := changes[0].Key
	page := binary.BigEndian.Uint64(key[1:]) / pageRows
	n := 1
	for n < len(changes) && changes[n].Key[0] == key[0] && binary.BigEndian.Uint64(changes[n].Key[1:])/pageRows == page {
		n++
	}
	return newPageID(key[0], page), n
}

// stagePage stages changes of rows of one page and the hashes above them.
func (t *Tree) stagePage(id pageID, changes chain.Changes) error {
	pg, err := t.page(id)
	if err != nil {
		return err
	}
	p := &t.prep
	st := stagedPage{id: id, nodeFrom: len(p.dirty), rowFrom: len(p.rows)}
	buf := make([]byte, 0, pg.size+16)
	for _, c := range changes {
		index := binary.BigEndian.Uint64(c.Key[1:])
		slot := int(index % pageRows)
		h := t.empty[0]
		if c.Value != nil {
			h = stateproof.RowHash(buf, id.table(), index, c.Value)
		}
		if bytes.Equal(h[:], pg.node(slot)) {
			continue
		}
		w := write{key: c.Key}
		if c.Value != nil {
			w.value = p.copy(c.Value)
		}
		p.flat = append(p.flat, w)
		p.rows = append(p.rows, stagedRow{slot: slot, value: w.value})
		p.dirty = append(p.dirty, stagedNode{pos: slot, hash: h})
	}
	if len(p.dirty) == st.nodeFrom {
		return nil
	}
	p.climb(pg, st.nodeFrom)
	st.nodeTo, st.rowTo = len(p.dirty), len(p.rows)
	p.pages = append(p.pages, st)
	root := p.dirty[len(p.dirty)-1].hash
	w := write{key: stateproof.PageKey(id.table(), id.page())}
	if root != t.empty[pageDepth] {
		w.value = root[:]
	}
	p.tree = append(p.tree, w)
	return nil
}

// climb appends the nodes above those in p.dirty[from:], which are rows of pg in
// order, level by level up to the root. Shared nodes are hashed once.
func (p *preparation) climb(pg *page, from int) {
	for level := 1; level <= pageDepth; level++ {
		below, here, to := levelStart(level-1), levelStart(level), len(p.dirty)
		for i := from; i < to; i++ {
			pos := p.dirty[i].pos - below
			left, right := pg.node(below+pos&^1), pg.node(below+pos|1)
			if pos&1 == 0 {
				left = p.dirty[i].hash[:]
				if i+1 < to && p.dirty[i+1].pos == below+pos+1 {
					i++
					right = p.dirty[i].hash[:]
				}
			} else {
				right = p.dirty[i].hash[:]
			}
			p.dirty = append(p.dirty, stagedNode{pos: here + pos/2, hash: stateproof.InnerHash(left, right)})
		}
		from = to
	}
}

// page returns a page with its hashes, from memory or the store.
func (t *Tree) page(id pageID) (*page, error) {
	size := t.schema.RowSize(id.table())
	if pg := t.pages.get(id); pg != nil {
		if pg.rows == nil && pg.misses.Load() >= reloadAfter {
			rows := make([]byte, pageRows*size)
			if err := scanRows(t.snap, id, size, func(slot int, row []byte) { copy(rows[slot*size:], row) }); err != nil {
				return nil, err
			}
			t.pages.setRows(pg, rows)
		}
		return pg, nil
	}
	pg, err := loadPage(t.snap, id, size, t.empty)
	if err != nil {
		return nil, err
	}
	if err := t.checkPage(pg); err != nil {
		return nil, err
	}
	t.pages.put(pg)
	return pg, nil
}

// checkPage compares a page from the store with the tree: a replica whose rows
// are damaged must not sign anything.
func (t *Tree) checkPage(pg *page) error {
	var want []byte
	if t.committed != nil {
		var err error
		if want, err = t.committed.Get(stateproof.PageKey(pg.id.table(), pg.id.page())); err != nil {
			return fmt.Errorf("read the root of page %d of table %#02x: %w", pg.id.page(), pg.id.table(), err)
		}
	}
	if want == nil {
		want = t.empty[pageDepth][:]
	}
	if !bytes.Equal(want, pg.root()) {
		return fmt.Errorf("page %d of table %#02x has root %x, the tree says %x: the store is damaged",
			pg.id.page(), pg.id.table(), pg.root(), want)
	}
	return nil
}

// hash puts the staged keys into IAVL's working tree and takes its root.
func (t *Tree) hash() error {
	p := &t.prep
	for _, w := range p.tree {
		var err error
		if w.value == nil {
			_, _, err = t.iavl.Remove(w.key)
		} else {
			_, err = t.iavl.Set(w.key, w.value)
		}
		if err != nil {
			return fmt.Errorf("change the tree at %x: %w", w.key, err)
		}
	}
	p.next.version++
	p.next.root = ledger.Hash(t.iavl.WorkingHash())
	return nil
}
