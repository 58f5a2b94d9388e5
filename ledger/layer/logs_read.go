package layer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/lanelog"
	"github.com/tributary-network/tributary/ledger/sumtree"
)

// Head returns what the log id is now, or ErrNotKept.
func (l *Logs) Head(id lanelog.ID) (Head, error) {
	row, err := l.row(id)
	if err != nil {
		return Head{}, err
	}
	return row.head(id)
}

func (l *Logs) row(id lanelog.ID) (logRow, error) {
	row, ok, err := readLog(l.store.Get, id)
	if err != nil {
		return logRow{}, fmt.Errorf("read: %w", err)
	}
	if !ok {
		return logRow{}, fmt.Errorf("log %s: %w", id, ErrNotKept)
	}
	return row, nil
}

// page bounds what a caller asked for.
func page(limit int) int {
	if limit < 1 || limit > MaxPage {
		return MaxPage
	}
	return limit
}

// List returns the logs after one, ascending by channel and lane, up to limit of them and at most
// MaxPage: nil means from the first on. There are no more if it is less than was asked for.
// Between pages logs may come and go.
func (l *Logs) List(after *lanelog.ID, limit int) ([]Head, error) {
	from := []byte(logPrefix)
	if after != nil {
		from = append(logKey(*after), 0)
	}
	it := l.store.Iterate(from, kv.PrefixEnd([]byte(logPrefix)), false)
	var heads []Head
	for len(heads) < page(limit) && it.Next() {
		head, err := readHead(it.Key(), it.Value())
		if err != nil {
			return nil, errors.Join(err, it.Close())
		}
		heads = append(heads, head)
	}
	return heads, it.Close()
}

func readHead(key, value []byte) (Head, error) {
	if len(key) != len(logPrefix)+logIDSize {
		return Head{}, fmt.Errorf("list logs: key %x: %w", key, errRow)
	}
	id := readLogID(key[len(logPrefix):])
	row, err := decodeLogRow(value)
	if err != nil {
		return Head{}, fmt.Errorf("log %s: %w", id, err)
	}
	return row.head(id)
}

// Items returns what the log id is kept in from the object on that has entry from, ascending, up to
// limit and at most MaxPage. It returns none behind the last entry, and ErrNotKept if there is no
// such log. Full segments stay as they are; the pieces behind them may be another time another.
func (l *Logs) Items(id lanelog.ID, from uint64, limit int) ([]Item, error) {
	var items []Item
	err := l.Walk(id, from, func(i Item) error {
		items = append(items, i)
		if len(items) == page(limit) {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return items, err
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

// Walk calls fn with what Items returns, one after the other, as it is now and whatever its
// number, until fn returns an error, which Walk returns.
func (l *Logs) Walk(id lanelog.ID, from uint64, fn func(Item) error) error {
	if _, err := l.row(id); err != nil {
		return err
	}
	// The object that has entry from begins at most a segment before it.
	start := segment(min(from, sumtree.MaxSize))
	it := l.store.Iterate(itemKey(id, start), kv.PrefixEnd(itemsOf(id)), false)
	for it.Next() {
		item, err := itemAt(id, it.Key(), it.Value())
		if err == nil && item.End() > from {
			err = fn(item)
		}
		if err != nil {
			return errors.Join(err, it.Close())
		}
	}
	return it.Close()
}

func itemAt(id lanelog.ID, key, value []byte) (Item, error) {
	prefix := itemsOf(id)
	if len(key) != len(prefix)+8 {
		return Item{}, fmt.Errorf("log %s: key %x: %w", id, key, errRow)
	}
	item, err := decodeItem(binary.BigEndian.Uint64(key[len(prefix):]), value)
	if err != nil {
		return Item{}, fmt.Errorf("log %s from entry %d on: %w", id, item.First, err)
	}
	return item, nil
}

// Objects calls fn with what Walk does and with its object, of which one is in memory at a time;
// it must not be kept. It ends with ErrLost where one is lost, and with ErrNotKept if the log goes
// meanwhile.
func (l *Logs) Objects(id lanelog.ID, from uint64, fn func(Item, []byte) error) error {
	return l.Walk(id, from, func(i Item) error {
		raw, err := l.fetch(id, &i)
		if err != nil {
			return err
		}
		return fn(i, raw)
	})
}

// fetch returns the object of an item.
func (l *Logs) fetch(id lanelog.ID, i *Item) ([]byte, error) {
	raw, err := object(l.store.Get, i.Name)
	if !errors.Is(err, ErrLost) {
		return raw, err
	}
	if now, ok, errNow := readItem(l.store.Get, id, i.First); errNow != nil || !ok || now.Name != i.Name {
		return nil, errors.Join(fmt.Errorf("log %s: object %s: %w any more", id, i.Name, ErrNotKept), errNow)
	}
	return nil, fmt.Errorf("log %s, entries %d to %d: %w", id, i.First, i.End()-1, err)
}

// Object returns the bytes of an object by its name, which they have. It returns ErrNotKept if no
// log here has it, and ErrLost if one should.
func (l *Logs) Object(name ledger.Hash) ([]byte, error) {
	raw, err := object(l.store.Get, name)
	if errors.Is(err, ErrLost) && !errors.Is(err, kv.ErrFailed) {
		// Nothing says which log an object is of that is not there.
		if there, errThere := l.store.Get(objectKey(name)); errThere == nil && there == nil {
			return nil, fmt.Errorf("object %s: %w", name, ErrNotKept)
		}
	}
	return raw, err
}

// Has reports whether an object is here, with the bytes that its name says.
func (l *Logs) Has(name ledger.Hash) (bool, error) {
	_, err := l.Object(name)
	if errors.Is(err, ErrNotKept) || errors.Is(err, ErrLost) {
		return false, nil
	}
	return err == nil, err
}

// Item returns what has entry seq of the log id; ErrNotKept if the log has no such entry.
func (l *Logs) Item(id lanelog.ID, seq uint64) (Item, error) {
	items, err := l.Items(id, seq, 1)
	if err != nil {
		return Item{}, err
	}
	if len(items) == 0 || items[0].First > seq {
		return Item{}, fmt.Errorf("entry %d of log %s: %w", seq, id, ErrNotKept)
	}
	return items[0], nil
}

// Reach returns what has the first entry with which the log id is want units and drops or more of
// both: where to look for the root that a voucher of as many has. ErrNotKept means that the log
// is less.
func (l *Logs) Reach(id lanelog.ID, want sumtree.Sum) (Item, error) {
	row, err := l.row(id)
	if err != nil {
		return Item{}, err
	}
	reached := func(i *Item) bool {
		end, err := i.Before.Add(i.Sum)
		return err == nil && end.Units >= want.Units && end.Amount >= want.Amount
	}
	var fail error
	n := sort.Search(int(row.full.Size/lanelog.SegmentEntries), func(n int) bool {
		item, err := l.full(id, uint64(n))
		if err != nil {
			fail = err
			return true
		}
		return reached(&item)
	})
	if fail != nil {
		return Item{}, fail
	}
	var found *Item
	err = l.Walk(id, uint64(n)*lanelog.SegmentEntries, func(i Item) error {
		if !reached(&i) {
			return nil
		}
		found = &i
		return errEnough
	})
	switch {
	case found != nil:
		return *found, nil
	case err != nil:
		return Item{}, err
	}
	return Item{}, fmt.Errorf("log %s is less than %d units and %d drops: %w", id, want.Units, uint64(want.Amount), ErrNotKept)
}

// full returns the full segment number n of a log.
func (l *Logs) full(id lanelog.ID, n uint64) (Item, error) {
	item, ok, err := readItem(l.store.Get, id, n*lanelog.SegmentEntries)
	if err != nil {
		return Item{}, err
	}
	if !ok || !item.Full() {
		return Item{}, fmt.Errorf("segment %d of log %s: %w", n, id, ErrNotKept)
	}
	return item, nil
}

// Subtree returns the roots over the segments of the log id as it was, or is, with size entries,
// for lanelog.Prove, and for sumtree.Path of a segment. If the last of them was not full then, last is
// the root over those entries that it had: who has the key knows it (lanelog.Segment.Tree). It may
// be zero if the log has just size entries now. ErrNotKept means that the log has fewer.
func (l *Logs) Subtree(id lanelog.ID, size uint64, last sumtree.Node) (sumtree.Subtree, error) {
	row, err := l.row(id)
	if err != nil {
		return nil, err
	}
	whole, rest := size/lanelog.SegmentEntries, size%lanelog.SegmentEntries
	switch {
	case size == 0 || size > row.size():
		return nil, fmt.Errorf("log %s of %d entries: %w: it has %d", id, size, ErrNotKept, row.size())
	case rest != 0 && size == row.size():
		root, err := row.part.Root()
		if err != nil {
			return nil, fmt.Errorf("log %s: %w", id, err)
		}
		last = root.Node
	case rest != 0 && last.Hash.IsZero():
		return nil, fmt.Errorf("log %s of %d entries: %w: the root over the first %d entries of segment %d, which has more now; open it with the log's key and say that root",
			id, size, ErrNotKept, rest, whole)
	}
	var at sumtree.Subtree
	at = func(level uint, index uint64) (sumtree.Node, error) {
		if level > sumtree.MaxPath-lanelog.SegmentLevel || index > sumtree.MaxSize>>(level+lanelog.SegmentLevel) {
			return sumtree.Node{}, fmt.Errorf("node %d of level %d of log %s: %w", index, level, id, sumtree.ErrSize)
		}
		switch end := (index + 1) << level; {
		case end <= whole:
			item, err := l.full(id, end-1)
			if err != nil {
				return sumtree.Node{}, err
			}
			return item.Nodes[level], nil // as many as 2^level divides end
		case level == 0 && index == whole && rest != 0:
			return last, nil
		case level == 0:
			return sumtree.Node{}, fmt.Errorf("segment %d of log %s of %d entries: %w", index, id, size, sumtree.ErrSize)
		}
		left, err := at(level-1, 2*index)
		if err != nil {
			return sumtree.Node{}, err
		}
		right, err := at(level-1, 2*index+1)
		if err != nil {
			return sumtree.Node{}, err
		}
		return sumtree.Join(left, right)
	}
	return at, nil
}

// Path returns the nodes beside the way from segment number n of the log id to its root, as it was with
// size entries; see Subtree for last and errors. With sumtree.Climb they prove the segment.
func (l *Logs) Path(id lanelog.ID, n, size uint64, last sumtree.Node) ([]sumtree.Node, error) {
	at, err := l.Subtree(id, size, last)
	if err != nil {
		return nil, err
	}
	return sumtree.Path(n, segments(size), at)
}

// segments returns how many segments have size entries.
func segments(size uint64) uint64 {
	return (size + lanelog.SegmentEntries - 1) / lanelog.SegmentEntries
}

// Verify reads all objects of the log id and calls lost with those that are lost, until lost returns
// an error. It returns an error of another kind if the log is not made up of its objects as
// it says, and ends with ctx.
func (l *Logs) Verify(ctx context.Context, id lanelog.ID, lost func(Item) error) error {
	snap, err := l.store.Snapshot()
	if err != nil {
		return fmt.Errorf("verify log %s: %w", id, err)
	}
	defer func() { _ = snap.Close() }() // it was only read
	row, ok, err := readLog(snap.Get, id)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if !ok {
		return fmt.Errorf("log %s: %w", id, ErrNotKept)
	}
	c := recount{id: id, whole: true}
	it := snap.Iterate(itemsOf(id), kv.PrefixEnd(itemsOf(id)), false)
	for it.Next() && ctx.Err() == nil {
		item, err := itemAt(id, it.Key(), it.Value())
		if err == nil {
			err = c.add(snap.Get, &item, lost)
		}
		if err != nil {
			return errors.Join(err, it.Close())
		}
	}
	if err := errors.Join(ctx.Err(), it.Close()); err != nil {
		return fmt.Errorf("verify log %s: %w", id, err)
	}
	return c.compare(&row)
}

// recount makes a log up from its items and objects.
type recount struct {
	id    lanelog.ID
	made  logRow
	size  uint64
	sum   sumtree.Sum
	whole bool // false if a piece is lost, which takes its nodes along
}

func (c *recount) add(get getter, item *Item, lost func(Item) error) error {
	p, err := verifyItem(get, c.id, item, lost)
	if err != nil {
		return err
	}
	if item.First != c.size || item.Before != c.sum {
		return fmt.Errorf("log %s: entry %d after %d units and %d drops follows entry %d after %d and %d: %w",
			c.id, item.First, item.Before.Units, uint64(item.Before.Amount), c.size, c.sum.Units, uint64(c.sum.Amount), errRow)
	}
	var sum sumtree.Sum
	switch {
	case item.Full():
		nodes, err := c.made.seal(item.Nodes[0])
		if err != nil || !slices.Equal(nodes, item.Nodes) {
			return errors.Join(fmt.Errorf("log %s: the nodes of segment %d are not those of the segments up to it: %w", c.id, item.First/lanelog.SegmentEntries, errRow), err)
		}
		sum = item.Nodes[0].Sum
	case !item.Piece:
		c.made.part = sumtree.Frontier{Size: uint64(item.Count), Peaks: item.Nodes}
		sum, err = c.made.part.Sum()
	case p == nil:
		c.whole, sum = false, item.Sum
	default:
		h := lanelog.PieceHeader{Nodes: p.nodes}
		if sum, err = h.Sum(); err == nil && c.whole {
			err = lanelog.Extend(&c.made.part, p.count, p.nodes)
		}
	}
	if err != nil || sum != item.Sum {
		return errors.Join(fmt.Errorf("log %s: entries %d to %d are %d units and %d drops, their row says %d and %d: %w",
			c.id, item.First, item.End()-1, sum.Units, uint64(sum.Amount), item.Sum.Units, uint64(item.Sum.Amount), errRow), err)
	}
	c.size = item.End()
	c.sum, err = c.sum.Add(sum)
	return err
}

// compare returns an error unless the row is of the log that was made.
func (c *recount) compare(row *logRow) error {
	if !c.whole {
		c.made.part = row.part
	}
	made, errMade := c.made.root()
	kept, errKept := row.root()
	if errMade != nil || errKept != nil || made != kept || c.size != row.size() {
		return errors.Join(fmt.Errorf("log %s of %d entries: its objects are of %d, with another root: %w", c.id, row.size(), c.size, errRow), errMade, errKept)
	}
	return nil
}

// verifyItem compares an item with its object, which it returns if it is not lost.
func verifyItem(get getter, id lanelog.ID, item *Item, lost func(Item) error) (*part, error) {
	raw, err := object(get, item.Name)
	if errors.Is(err, ErrLost) {
		return nil, lost(*item)
	}
	if err != nil {
		return nil, err
	}
	p, of, err := readPart(Part{Object: raw})
	if err != nil {
		return nil, fmt.Errorf("log %s: object %s: %w", id, item.Name, err)
	}
	if of != id || p.first != item.First || p.count != item.Count || p.piece != item.Piece || item.Full() && p.root != item.Nodes[0] {
		return nil, fmt.Errorf("log %s, entries %d to %d: the object is %v of log %s: %w", id, item.First, item.End()-1, &p, of, errRow)
	}
	return &p, nil
}
