package layer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/lanelog"
	"github.com/tributary-network/tributary/ledger/sumtree"
)

// The rows of the log layer. A log is named by channel 32 and lane 2.
//
//	"l/" | log                   a log: see logRow
//	"s/" | log | first u64       an object of it, by the number of its first entry: see itemRow
//	"o/" | name 32               the object itself
//	"k/" | channel 32            until when the logs of a closed channel are kept: see Retention
//	"u/" | until u64 | channel   the same by time; empty
//	"d/" | log                   a log whose objects are being removed; empty
const (
	logPrefix    = "l/"
	itemPrefix   = "s/"
	objectPrefix = "o/"
	keepPrefix   = "k/"
	untilPrefix  = "u/"
	dropPrefix   = "d/"

	logIDSize = ledger.HashSize + 2

	logRowVersion  = 1
	itemRowSegment = 1
	itemRowPiece   = 2
	keepRowSize    = 3 * 8
)

// errRow means a row that nobody wrote.
var errRow = errors.New("a row of the log layer is damaged: open the store of a backup, or remove it and let other nodes fill it")

func appendLogID(b []byte, id lanelog.ID) []byte {
	return binary.BigEndian.AppendUint16(append(b, id.Channel[:]...), id.Lane)
}

func readLogID(b []byte) lanelog.ID {
	return lanelog.ID{Channel: ledger.Hash(b[:ledger.HashSize]), Lane: binary.BigEndian.Uint16(b[ledger.HashSize:])}
}

func logKey(id lanelog.ID) []byte { return appendLogID([]byte(logPrefix), id) }

func dropKey(id lanelog.ID) []byte { return appendLogID([]byte(dropPrefix), id) }

func itemsOf(id lanelog.ID) []byte { return appendLogID([]byte(itemPrefix), id) }

func itemKey(id lanelog.ID, first uint64) []byte {
	return binary.BigEndian.AppendUint64(itemsOf(id), first)
}

func objectKey(name ledger.Hash) []byte { return append([]byte(objectPrefix), name[:]...) }

func keepKey(channel ledger.Hash) []byte { return append([]byte(keepPrefix), channel[:]...) }

func untilKey(until uint64, channel ledger.Hash) []byte {
	return append(binary.BigEndian.AppendUint64([]byte(untilPrefix), until), channel[:]...)
}

// logRow is what has to be known of a log to append to it:
//
//	version 1 | frontier of the full segments | frontier of the entries behind them |
//	vouched u64 | root hash that a voucher says of that many 32
//
// with frontiers as sumtree.Frontier.Append writes them.
type logRow struct {
	full        sumtree.Frontier
	part        sumtree.Frontier // less than SegmentEntries
	vouched     uint64           // entries
	vouchedRoot ledger.Hash
}

func (l *logRow) size() uint64 { return l.full.Size + l.part.Size }

func (l *logRow) clone() logRow {
	return logRow{l.full.Clone(), l.part.Clone(), l.vouched, l.vouchedRoot}
}

// root returns the root of the log; ErrSum if full segments and tail cannot be added up.
func (l *logRow) root() (sumtree.Root, error) {
	all := sumtree.Frontier{Size: l.size(), Peaks: slices.Concat(l.full.Peaks, l.part.Peaks)}
	return all.Root()
}

func (l *logRow) sum() (sumtree.Sum, error) {
	a, err := l.full.Sum()
	if err != nil {
		return sumtree.Sum{}, err
	}
	b, err := l.part.Sum()
	if err != nil {
		return sumtree.Sum{}, err
	}
	return a.Add(b)
}

func (l *logRow) encode() []byte {
	w := codec.NewWriter(1 + 8 + 8 + (len(l.full.Peaks)+len(l.part.Peaks))*sumtree.NodeSize + 8 + ledger.HashSize)
	w.Uint8(logRowVersion)
	l.full.Append(w)
	l.part.Append(w)
	w.Uint64(l.vouched)
	w.Fixed(l.vouchedRoot[:])
	return w.Bytes()
}

func decodeLogRow(b []byte) (l logRow, err error) {
	r := codec.NewReader(b)
	if version := r.Uint8(); version != logRowVersion {
		return logRow{}, fmt.Errorf("log of version %d, known is %d: %w", version, logRowVersion, errRow)
	}
	if l.full, err = sumtree.ReadFrontier(r); err != nil {
		return logRow{}, fmt.Errorf("%w: %w", errRow, err)
	}
	if l.part, err = sumtree.ReadFrontier(r); err != nil {
		return logRow{}, fmt.Errorf("%w: %w", errRow, err)
	}
	l.vouched = r.Uint64()
	r.Into(l.vouchedRoot[:])
	if err := r.Done(); err != nil {
		return logRow{}, fmt.Errorf("%w: %w", errRow, err)
	}
	if l.full.Size%lanelog.SegmentEntries != 0 || l.part.Size >= lanelog.SegmentEntries || l.vouched > l.size() {
		return logRow{}, fmt.Errorf("log of %d and %d entries, %d vouched for: %w", l.full.Size, l.part.Size, l.vouched, errRow)
	}
	if _, err := l.sum(); err != nil {
		return logRow{}, fmt.Errorf("%w: %w", errRow, err)
	}
	return l, nil
}

// Item is what is kept of a log at one place: a segment, or a piece of the last one.
type Item struct {
	First  uint64 // number of its first entry
	Count  int    // entries, 1 to lanelog.SegmentEntries
	Piece  bool
	Name   ledger.Hash // of the object
	Before sumtree.Sum // over the entries before it
	Sum    sumtree.Sum // over its entries
	// Nodes of a full segment are its root, and those of the perfect subtrees of segments that
	// end with it, lowest first. Those of one that is not full are the peaks over its entries.
	// A piece has none: its object has them.
	Nodes []sumtree.Node
}

// Link returns the link with which a store that has nothing of the item's segment takes it: see
// Logs.Replace.
func (i *Item) Link() []sumtree.Node {
	if i.Full() {
		return nil
	}
	return i.Nodes
}

// End returns the number of the entry that follows the item's last.
func (i *Item) End() uint64 { return i.First + uint64(i.Count) }

// Full reports whether it is a full segment.
func (i *Item) Full() bool { return !i.Piece && i.Count == lanelog.SegmentEntries }

// nodes returns how many Nodes an item has.
func (i *Item) nodes() int {
	switch {
	case i.Piece:
		return 0
	case i.Full():
		return 1 + bits.TrailingZeros64(i.First/lanelog.SegmentEntries+1)
	default:
		return bits.OnesCount(uint(i.Count))
	}
}

// check returns errRow for what no item is.
func (i *Item) check() error {
	at := i.First % lanelog.SegmentEntries
	_, err := i.Before.Add(i.Sum)
	if i.Count < 1 || at+uint64(i.Count) > lanelog.SegmentEntries || i.First >= sumtree.MaxSize || at != 0 && !i.Piece || len(i.Nodes) != i.nodes() || err != nil {
		return fmt.Errorf("%d entries from %d on with %d nodes: %w", i.Count, i.First, len(i.Nodes), errRow)
	}
	return nil
}

// encode returns the item's row, whose key has the log and First:
//
//	kind 1 | count u16 | name 32 | sums before: units, amount | sums | number of nodes 1 | nodes
func (i *Item) encode() []byte {
	w := codec.NewWriter(1 + 2 + ledger.HashSize + 4*8 + 1 + len(i.Nodes)*sumtree.NodeSize)
	if i.Piece {
		w.Uint8(itemRowPiece)
	} else {
		w.Uint8(itemRowSegment)
	}
	w.Uint16(uint16(i.Count))
	w.Fixed(i.Name[:])
	for _, s := range []sumtree.Sum{i.Before, i.Sum} {
		w.Uint64(s.Units)
		w.Uint64(uint64(s.Amount))
	}
	sumtree.AppendPath(w, i.Nodes)
	return w.Bytes()
}

// decodeItem reads the row of the item whose first entry has that number.
func decodeItem(first uint64, b []byte) (Item, error) {
	r := codec.NewReader(b)
	kind := r.Uint8()
	i := Item{First: first, Count: int(r.Uint16()), Piece: kind == itemRowPiece}
	r.Into(i.Name[:])
	for _, s := range []*sumtree.Sum{&i.Before, &i.Sum} {
		s.Units, s.Amount = r.Uint64(), ledger.Amount(r.Uint64())
	}
	var err error
	if i.Nodes, err = sumtree.ReadPath(r); err != nil {
		return Item{}, fmt.Errorf("%w: %w", errRow, err)
	}
	if err := r.Done(); err != nil {
		return Item{}, fmt.Errorf("%w: %w", errRow, err)
	}
	if kind != itemRowSegment && kind != itemRowPiece {
		return Item{}, fmt.Errorf("item of kind %d: %w", kind, errRow)
	}
	return i, i.check()
}

// Retention says for how long the logs of a closed channel are kept.
type Retention struct {
	Height uint64 // of the main chain, at which the channel closed
	Closed uint64 // when that was, in seconds since 1970
	Until  uint64 // up to when its logs are kept, in seconds since 1970
}

// encode returns the row: height u64 | closed u64 | until u64.
func (k Retention) encode() []byte {
	w := codec.NewWriter(keepRowSize)
	w.Uint64(k.Height)
	w.Uint64(k.Closed)
	w.Uint64(k.Until)
	return w.Bytes()
}

func decodeRetention(b []byte) (Retention, error) {
	r := codec.NewReader(b)
	k := Retention{Height: r.Uint64(), Closed: r.Uint64(), Until: r.Uint64()}
	if err := r.Done(); err != nil {
		return Retention{}, fmt.Errorf("%w: %w", errRow, err)
	}
	return k, nil
}
