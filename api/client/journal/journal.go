// Package journal keeps small records on disk so that they survive a crash, and
// lets many of them share one fsync.
//
// It is what payers and payees remember by (package pay): a record is the newest
// claim of one lane. Records are registers, not a history: applying one twice,
// or an old one after a newer one, must change nothing. That is what makes the
// rest simple. Appends go to a log; when the log has grown, the owner's live
// records are written beside it as a snapshot and the log before it is deleted;
// and nobody needs to know in which order snapshot and log overlap.
//
// Append returns at once. A group is written and synced after Config.Interval,
// or sooner if it has grown to Config.Records or Config.Weight, or if somebody
// waits for it. A crash of the process or the machine therefore loses at most
// what was appended within the interval, and nothing for which Wait returned.
//
// A crash in the middle of a write tears the last group, at the end of the last
// file; parts of it may be there and earlier ones not. Open copies everything from
// the first record that it cannot read to a file of its own, truncates the log
// there, says so, and goes on. Damage of an earlier file, or of the beginning of
// the last one, is not the work of a crash; Open then fails with ErrCorrupt and
// names file and offset.
//
// A directory has one user at a time, enforced by a lock file.
package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
)

const (
	// MaxRecord is the length of the longest record in bytes.
	MaxRecord = 4 << 10
	// DefaultInterval is the longest time between an append and its fsync.
	DefaultInterval = 50 * time.Millisecond
	// DefaultRecords is the number of records that end a group.
	DefaultRecords = 8192
	// DefaultCompactAt is the size in bytes a log reaches before it is compacted.
	DefaultCompactAt = 64 << 20

	// maxBuffered bounds what waits for the disk; Append blocks beyond it.
	maxBuffered = 8 << 20
)

// Errors of the journal.
var (
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("journal is closed")
	// ErrLocked is returned by Open if another process uses the directory.
	ErrLocked = errors.New("journal is in use by another process")
	// ErrCorrupt is returned by Open for damage that no crash explains.
	ErrCorrupt = errors.New("journal is damaged")
	// ErrRecordSize is returned by Append for an empty record or a longer one
	// than MaxRecord.
	ErrRecordSize = errors.New("record size out of range")
)

// Config says when groups end and logs are compacted. Zero fields have the
// defaults above.
type Config struct {
	Interval  time.Duration // longest time between an append and its fsync
	Records   int           // records that end a group at once
	Weight    uint64        // summed weight that ends a group at once; 0 means no such limit
	CompactAt int64         // bytes of log before compaction

	// Live yields every record that is still needed. It runs in a goroutine of
	// the journal beside appends, and each record is used before the next is
	// asked for. A record must be visible in Live before it is appended. Nil
	// means that the journal only grows.
	Live func() iter.Seq[[]byte]
	// Log receives recoveries and failed compactions; nil means nobody.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Interval <= 0 {
		c.Interval = DefaultInterval
	}
	if c.Records <= 0 {
		c.Records = DefaultRecords
	}
	if c.CompactAt <= 0 {
		c.CompactAt = DefaultCompactAt
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Journal is an open journal. It is safe for concurrent use.
type Journal struct {
	cfg  Config
	dir  string
	lock *flock.Flock

	mu       sync.Mutex
	room     *sync.Cond    // broadcast when a group is taken or the journal ends
	buf      []byte        // frames that wait for the writer
	spare    []byte        // the writer's last group, for reuse
	records  int           // in buf
	waiting  uint64        // weight in buf
	writing  uint64        // weight in the group that is being written
	appended uint64        // number of records ever appended
	durable  uint64        // number of records synced
	synced   chan struct{} // closed and replaced whenever durable or err changes
	err      error         // the first failure; it is final
	closed   bool

	kick  chan struct{} // a group is due
	timer *time.Timer   // kicks Interval after the first record of a group
	done  chan struct{} // closed when the writer has ended

	compaction sync.WaitGroup
	quit       chan struct{} // closed by Close

	// Owned by the writer.
	file *logFile

	busy     chan struct{} // holds a token while a compaction runs
	snapshot atomic.Int64  // size of the last snapshot in bytes
}

// Open opens the journal in dir, which it creates if necessary, and passes every
// record to replay, oldest first; the slice is only valid during the call. The
// caller must Close it.
func Open(dir string, cfg Config, replay func(record []byte) error) (*Journal, error) {
	lock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open journal %q: %w", dir, err)
	}
	cfg = cfg.withDefaults()
	file, snapshot, err := recoverDir(dir, cfg.Log, replay)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open journal %q: %w", dir, err), lock.Unlock())
	}
	j := &Journal{
		cfg: cfg, dir: dir, lock: lock,
		synced: make(chan struct{}), kick: make(chan struct{}, 1),
		done: make(chan struct{}), quit: make(chan struct{}),
		file: file, busy: make(chan struct{}, 1),
	}
	j.snapshot.Store(snapshot)
	j.room = sync.NewCond(&j.mu)
	j.timer = time.AfterFunc(time.Hour, j.hurry)
	j.timer.Stop()
	go j.write()
	return j, nil
}

// Append adds a record of the given weight and returns its number, for Wait. It
// copies the record and does not wait for the disk, unless 8 MiB wait already.
// After a failed write every call returns that failure: what a disk has lost
// once it cannot be asked to write again.
func (j *Journal) Append(record []byte, weight uint64) (seq uint64, err error) {
	if len(record) == 0 || len(record) > MaxRecord {
		return 0, fmt.Errorf("%w: %d bytes, want 1 to %d", ErrRecordSize, len(record), MaxRecord)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.buf) > maxBuffered && j.err == nil && !j.closed {
		j.room.Wait()
	}
	if err := j.stateLocked(); err != nil {
		return 0, err
	}
	if len(j.buf) == 0 {
		j.timer.Reset(j.cfg.Interval)
	}
	j.buf = appendFrame(j.buf, record)
	j.records++
	j.waiting += weight
	j.appended++
	if j.records >= j.cfg.Records || j.cfg.Weight != 0 && j.waiting >= j.cfg.Weight {
		j.hurry()
	}
	return j.appended, nil
}

// Wait returns when all records up to seq are on disk, and makes the present
// group due. It returns the journal's failure, or ctx's error.
func (j *Journal) Wait(ctx context.Context, seq uint64) error {
	for {
		j.mu.Lock()
		durable, err, synced := j.durable, j.err, j.synced
		j.mu.Unlock()
		if durable >= seq {
			return nil
		}
		if err != nil {
			return err
		}
		j.hurry()
		select {
		case <-synced:
		case <-j.done:
			if j.Durable() >= seq {
				return nil
			}
			return j.Err()
		case <-ctx.Done():
			return fmt.Errorf("wait for the journal: %w", ctx.Err())
		}
	}
}

// Sync returns when everything appended so far is on disk, like Wait.
func (j *Journal) Sync(ctx context.Context) error {
	j.mu.Lock()
	appended := j.appended
	j.mu.Unlock()
	return j.Wait(ctx, appended)
}

// Durable returns the number of the last record on disk.
func (j *Journal) Durable() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.durable
}

// Exposed returns the summed weight of the records that are not on disk yet.
func (j *Journal) Exposed() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.waiting + j.writing
}

// Err returns nil while the journal works, ErrClosed after Close, and otherwise
// the failure that ended it.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.stateLocked()
}

func (j *Journal) stateLocked() error {
	if j.err != nil {
		return j.err
	}
	if j.closed {
		return ErrClosed
	}
	return nil
}

// Close writes and syncs what waits, ends the journal's goroutines and releases
// the directory. It returns the journal's failure, if any. Further calls do
// nothing.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	j.room.Broadcast()
	j.mu.Unlock()

	close(j.quit)
	<-j.done
	j.compaction.Wait()
	j.timer.Stop()
	j.mu.Lock()
	err := j.err
	j.mu.Unlock()
	return errors.Join(err, j.file.Close(), j.lock.Unlock())
}

// hurry makes the present group due.
func (j *Journal) hurry() {
	select {
	case j.kick <- struct{}{}:
	default:
	}
}
