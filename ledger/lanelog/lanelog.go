// Package lanelog is the log of what was done for the vouchers of a lane: an entry for each
// billing unit, or for some that belong together, numbered from zero on.
//
// Payer and payee both saw the service and keep the same log. Its root goes into each
// voucher, so that one signature pays, says how much was used, and commits both to every
// line. The tree adds up (ledger/sumtree): a root says how many units and drops its
// entries are in all, and the proof of one entry how many came before it.
//
// Entries are kept in segments of 1,024, the last one of fewer. A segment is sealed into an
// object that anybody may keep: what it is of, how much it has in all, and the root of its
// entries are readable and make it part of the log's tree; the entries are encrypted with a
// key of the two parties (AES-256-GCM). The object is named by its hash, and the same entries
// give the same object, whoever of the two makes it. So who keeps objects can check without
// the key that they are those of a voucher's log and that nothing is missing or out of order,
// and with the key that they hold what they say.
//
// A segment that is not full grows by pieces: objects of the entries that came since, with the
// nodes that make its root. So what is sent and kept for each voucher is what is new in it.
//
// A segment is sealed under a key of its own, made of the log's key and the readable part,
// which has the root of the entries. No key is therefore ever used for two contents, also
// when a segment is sealed as it grows.
//
// It is row 0 of the dependency order: pure functions, no state.
package lanelog

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/ledger/sumtree"
)

const (
	// SegmentEntries is how many entries a segment has, but for the last one of a log.
	SegmentEntries = 1 << SegmentLevel
	// SegmentLevel is the level of a full segment's root in the tree of its log.
	SegmentLevel = 10
)

var (
	// ErrEncoding means bytes that are no entry, segment, piece or proof.
	ErrEncoding = errors.New("not the encoding of a part of a log")
	// ErrContent means that a segment or piece does not hold what it says: it was made with
	// another key, or changed.
	ErrContent = errors.New("segment does not hold what it says")
)

// Log is a log that is written. It keeps the segment that is not full and some hashes of
// those before, whatever its length. It is owned by one goroutine.
type Log struct {
	key  Key
	full sumtree.Frontier // over the full segments
	tail Segment
	part sumtree.Frontier // over the entries of tail
}

// New returns an empty log.
func New(key Key, id ID) *Log {
	return &Log{key: key, tail: Segment{ID: id}}
}

// Resume returns a log that goes on after full segments, whose frontier full is, and the
// entries of tail, which has less than SegmentEntries. It returns ErrEncoding if these do not
// follow one another, and ErrSum if they cannot be added up.
func Resume(key Key, full sumtree.Frontier, tail Segment) (*Log, error) {
	switch {
	case full.Size%SegmentEntries != 0:
		return nil, fmt.Errorf("%w: %d entries are no full segments", ErrEncoding, full.Size)
	case tail.First != full.Size || len(tail.Entries) >= SegmentEntries:
		return nil, fmt.Errorf("%w: %d entries from %d on do not go on after %d", ErrEncoding, len(tail.Entries), tail.First, full.Size)
	}
	l := &Log{key: key, full: full.Clone(), tail: Segment{ID: tail.ID, First: full.Size}}
	for _, e := range tail.Entries {
		if _, err := l.Append(e); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// ID returns which log it is.
func (l *Log) ID() ID { return l.tail.ID }

// Size returns the number of entries, which is the number of the next one.
func (l *Log) Size() uint64 { return l.full.Size + l.part.Size }

// Append appends an entry, and returns the object of the segment that is full with it, or
// nil. The errors are those of sumtree.Frontier.Push, and change nothing.
func (l *Log) Append(e Entry) (object []byte, err error) {
	leaf := e.Leaf(l.key, l.tail.ID, l.Size())
	before, err := l.full.Sum()
	if err != nil {
		return nil, err
	}
	inside, err := l.part.Sum()
	if err != nil {
		return nil, err
	}
	if before, err = before.Add(inside); err == nil {
		_, err = before.Add(e.Sum())
	}
	if err == nil {
		err = l.part.Push(&leaf)
	}
	if err != nil {
		return nil, fmt.Errorf("entry %d of log %s: %w", l.Size(), l.tail.ID, err)
	}
	l.tail.Entries = append(l.tail.Entries, e)
	if len(l.tail.Entries) < SegmentEntries {
		return nil, nil
	}
	root, err := l.part.Root()
	if err != nil {
		return nil, err
	}
	if err := l.full.PushNode(SegmentLevel, root.Node); err != nil {
		return nil, err
	}
	object = l.tail.seal(l.key, root.Node)
	l.part = sumtree.Frontier{}
	l.tail = Segment{ID: l.tail.ID, First: l.full.Size}
	return object, nil
}

// Root returns the root of the log, whose hash goes into vouchers.
func (l *Log) Root() (sumtree.Root, error) {
	all := sumtree.Frontier{Size: l.Size(), Peaks: slices.Concat(l.full.Peaks, l.part.Peaks)}
	return all.Root()
}

// Tail returns the entries after the last full segment, of which there may be none. It is
// valid until the next Append.
func (l *Log) Tail() Segment { return l.tail }

// Piece returns the object of the entries of the tail from number from on. ErrEncoding means
// that there are none.
func (l *Log) Piece(from uint64) ([]byte, error) {
	if from < l.tail.First || from >= l.Size() {
		return nil, fmt.Errorf("%w: piece from entry %d on of a tail of entries %d to %d", ErrEncoding, from, l.tail.First, l.Size())
	}
	return SealPiece(l.key, &Piece{ID: l.tail.ID, First: from, Entries: l.tail.Entries[from-l.tail.First:]})
}

// Full returns the frontier over the full segments, from which Resume goes on.
func (l *Log) Full() sumtree.Frontier { return l.full.Clone() }
