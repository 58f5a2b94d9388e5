package layer

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/lanelog"
	"github.com/tributary-network/tributary/ledger/sumtree"
)

const (
	// MaxParts is the largest number of objects that one Append takes.
	MaxParts = 64
	// MaxPage is the largest number of logs or items that one call lists.
	MaxPage = 1_024

	// groupBytes and groupCalls bound the calls that are written in one batch: the length
	// of their objects in all, and their number. One call more may be larger.
	groupBytes = 4 << 20
	groupCalls = 1_024
)

var (
	// ErrNotKept means a log, a part of one or an object that this store does not have.
	ErrNotKept = errors.New("it is not kept here")
	// ErrLost means an object that should be there, but is not, or has other bytes than
	// its name says. Append and Repair take it again.
	ErrLost = errors.New("the object is lost")
	// ErrGap means objects that do not follow what is there, or one another.
	ErrGap = errors.New("entries are missing or out of order")
	// ErrBehind means objects of entries that are there already, cut otherwise.
	ErrBehind = errors.New("those entries are kept already")
	// ErrConflict means another object for what there is one for: see ConflictError.
	ErrConflict = errors.New("two objects say different things of the same entries")
	// ErrMismatch means objects whose roots and sums do not make up what is said of
	// them: by a link, or by a voucher.
	ErrMismatch = errors.New("roots and sums do not make up the log")
	// ErrDropping means a log that is being removed, since its time is over.
	ErrDropping = errors.New("the log is being removed")
	// ErrParts means a call of no use: too many objects, or those of another log.
	ErrParts = errors.New("objects are not those of one call")
)

// ConflictError is evidence: two objects for the same entries of a log, of which at least one is
// not of the log that payer and payee agreed on. It is ErrConflict.
type ConflictError struct {
	Log    lanelog.ID
	First  uint64 // number of the first entry
	Count  int    // entries
	Stored ledger.Hash
	Given  ledger.Hash
}

func (c *ConflictError) Error() string {
	return fmt.Sprintf("entries %d to %d of log %s: %v: %s is kept, %s was given; open both with the log's key to see which one is right",
		c.First, c.First+uint64(c.Count)-1, c.Log, ErrConflict, c.Stored, c.Given)
}

func (c *ConflictError) Unwrap() error { return ErrConflict }

// LogOptions of a store of logs. Zero fields take their defaults.
type LogOptions struct {
	// Reserve is the free disk space in bytes below which nothing is appended any more.
	// 0: what badgerkv.Reserve says of the disk. It must be more than the MinFree of the
	// store, or a store that ran full does not open.
	Reserve uint64
	// Free returns the free space in bytes of the disk. Nil: Open asks the disk, and New
	// does not check.
	Free func() (uint64, error)
}

// Logs is the log layer of one node: the sealed segments of the logs of lanes, checked as far as
// it goes without their keys. It is safe for concurrent use.
//
// What is appended is durable when Append returns. Calls that come while another one is
// written wait and are written together, with one sync of the disk.
type Logs struct {
	store   kv.Store
	owned   *badgerkv.Store // what Close closes, or nil
	reserve uint64
	free    func() (uint64, error) // nil: not checked

	mu    sync.Mutex // guards queue
	queue []*logWrite

	writing sync.Mutex // held by who writes; guards failed, and what a logWrite became
	failed  error      // of an earlier batch
}

// OpenLogs opens the log layer in a store of its own, which is best badgerkv.Bulk. Besides what
// badgerkv.Open says, the error may be that of looking at the disk.
func OpenLogs(store badgerkv.Options, o LogOptions) (*Logs, error) {
	db, err := badgerkv.Open(store)
	if err != nil {
		return nil, fmt.Errorf("open log layer: %w", err)
	}
	if o.Free == nil && !store.InMemory {
		o.Free = func() (uint64, error) { return badgerkv.FreeBytes(store.Dir) }
	}
	if o.Reserve == 0 && !store.InMemory {
		if o.Reserve, err = badgerkv.Reserve(store.Dir); err != nil {
			return nil, errors.Join(fmt.Errorf("open log layer: %w", err), db.Close())
		}
	}
	l := NewLogs(db, o)
	l.owned = db
	return l, nil
}

// NewLogs opens the log layer in store, which has nothing else and stays the caller's: Close
// does not close it.
func NewLogs(store kv.Store, o LogOptions) *Logs {
	return &Logs{store: store, reserve: cmp.Or(o.Reserve, badgerkv.DefaultMinFree), free: o.Free}
}

// Close waits for running calls and closes the store if OpenLogs opened it. Calls that come
// later return kv.ErrClosed then. It may be called twice.
func (l *Logs) Close() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.owned == nil {
		return nil
	}
	if err := l.owned.Close(); err != nil {
		return fmt.Errorf("close log layer: %w", err)
	}
	return nil
}

// Size returns what the store takes on disk: nothing if OpenLogs did not open it.
func (l *Logs) Size() (badgerkv.Size, error) {
	if l.owned == nil {
		return badgerkv.Size{}, nil
	}
	return l.owned.Size()
}

// CheckDisk returns an error that wraps badgerkv.ErrNoSpace if nothing is appended since the
// disk has less free space than the reserve.
func (l *Logs) CheckDisk() error { return l.checkDisk(l.reserve) }

// checkDisk returns badgerkv.ErrNoSpace if less than want bytes are free: badger dies of a full
// disk, so nothing may be written that could fill it.
func (l *Logs) checkDisk(want uint64) error {
	if l.free == nil {
		return nil
	}
	free, err := l.free()
	if err != nil {
		return fmt.Errorf("look at the disk of the log layer: %w", err)
	}
	if free < want {
		return fmt.Errorf("log layer: %w: %d MiB are free, %d MiB are needed to append; free some, lower the reserve, or let logs go whose time is over: what is kept can be read",
			badgerkv.ErrNoSpace, free>>20, want>>20)
	}
	return nil
}

// logWrite is a call that writes. The fields but apply and bytes are guarded by Logs.writing.
type logWrite struct {
	apply func(*logBatch) error // checks, and stages what to write; an error stages nothing
	bytes int                   // about what it writes
	space bool                  // whether it is refused below the reserve

	done bool
	err  error
}

// logBatch is what is written together, as seen by those who add to it. A nil value deletes.
type logBatch struct {
	store   kv.Reader
	written map[string][]byte // of earlier calls
	staged  map[string][]byte // of this one
}

// get returns what is under key, with what the batch writes.
func (b *logBatch) get(key []byte) ([]byte, error) {
	if v, ok := b.staged[string(key)]; ok {
		return v, nil
	}
	if v, ok := b.written[string(key)]; ok {
		return v, nil
	}
	return b.store.Get(key)
}

func (b *logBatch) set(key, value []byte) { b.staged[string(key)] = value }
func (b *logBatch) delete(key []byte)     { b.staged[string(key)] = nil }

// log returns the row of a log, and whether there is one.
func (b *logBatch) log(id lanelog.ID) (logRow, bool, error) {
	return readLog(b.get, id)
}

// item returns what is kept from entry first on, and whether anything is.
func (b *logBatch) item(id lanelog.ID, first uint64) (Item, bool, error) {
	return readItem(b.get, id, first)
}

type getter func(key []byte) ([]byte, error)

func readLog(get getter, id lanelog.ID) (logRow, bool, error) {
	raw, err := get(logKey(id))
	if err != nil || raw == nil {
		return logRow{}, false, err
	}
	row, err := decodeLogRow(raw)
	if err != nil {
		return logRow{}, false, fmt.Errorf("log %s: %w", id, err)
	}
	return row, true, nil
}

func readItem(get getter, id lanelog.ID, first uint64) (Item, bool, error) {
	raw, err := get(itemKey(id, first))
	if err != nil || raw == nil {
		return Item{}, false, err
	}
	i, err := decodeItem(first, raw)
	if err != nil {
		return Item{}, false, fmt.Errorf("log %s from entry %d on: %w", id, first, err)
	}
	return i, true, nil
}

// submit has w written, with what others have to write, and returns its error. Who gets hold of
// writing writes for all that wait, the longest waiting first. The queue is as long as there
// are callers.
func (l *Logs) submit(w *logWrite) error {
	l.mu.Lock()
	l.queue = append(l.queue, w)
	l.mu.Unlock()
	l.writing.Lock()
	defer l.writing.Unlock()
	for !w.done {
		l.write(l.take())
	}
	return w.err
}

// take returns the calls that have waited longest, as many as fit a batch.
func (l *Logs) take() []*logWrite {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, size := 0, 0
	for n < min(len(l.queue), groupCalls) && size < groupBytes {
		size += l.queue[n].bytes
		n++
	}
	group := l.queue[:n:n]
	l.queue = l.queue[n:]
	return group
}

// write writes the calls of a group in one batch, or if they are too much for one, in several.
func (l *Logs) write(group []*logWrite) {
	err := l.commit(group)
	if half := len(group) / 2; half > 0 && errors.Is(err, kv.ErrBatchTooLarge) {
		l.write(group[:half])
		l.write(group[half:])
		return
	}
	for _, w := range group {
		w.done = true
		w.err = cmp.Or(w.err, err)
	}
}

// commit writes a group in one batch, durably. What a call did wrong is its own error, and the
// others do not see it.
func (l *Logs) commit(group []*logWrite) error {
	if l.failed != nil {
		return fmt.Errorf("the log layer must be opened again: %w", l.failed)
	}
	bytes := 0
	for _, w := range group {
		bytes += w.bytes
	}
	full := l.checkDisk(l.reserve + uint64(bytes))
	b := &logBatch{store: l.store, written: make(map[string][]byte)}
	for _, w := range group {
		if w.err = nil; w.space && full != nil {
			w.err = full
			continue
		}
		b.staged = make(map[string][]byte)
		if w.err = w.apply(b); w.err != nil {
			continue
		}
		maps.Copy(b.written, b.staged)
	}
	if len(b.written) == 0 {
		return nil
	}
	writes := make([]write, 0, len(b.written))
	for k, v := range b.written {
		writes = append(writes, write{key: []byte(k), value: v})
	}
	err := put(l.store, writes, true)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kv.ErrBatchTooLarge), errors.Is(err, kv.ErrClosed):
	default:
		l.failed = err
	}
	return fmt.Errorf("write to the log layer: %w", err)
}

// Head is a log as it is at one moment.
type Head struct {
	ID   lanelog.ID
	Root sumtree.Root // with entries, units and amount
	Hash ledger.Hash  // of the root: what a voucher says of the log
	// Full and Part are the frontiers over the full segments and over the entries behind
	// them, from which a log goes on.
	Full, Part sumtree.Frontier
	// Vouched is the number of entries up to which a Claim was made of it, and VouchedRoot
	// the root hash of that: what is not signed for may be cut off by Replace.
	Vouched     uint64
	VouchedRoot ledger.Hash
}

func (l *logRow) head(id lanelog.ID) (Head, error) {
	root, err := l.root()
	if err != nil {
		return Head{}, fmt.Errorf("log %s: %w: %w", id, errRow, err)
	}
	return Head{
		ID: id, Root: root, Hash: root.Hash(), Full: l.full, Part: l.part,
		Vouched: l.vouched, VouchedRoot: l.vouchedRoot,
	}, nil
}
