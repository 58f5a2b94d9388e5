package badgerkv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/tributary-network/tributary/ledger/kv"
)

// ErrLocked is returned by Open when another process, or another Store of this
// one, has the directory open.
var ErrLocked = errors.New("already open by another process")

// Store is a kv.Store on badger. It is safe for concurrent use.
type Store struct {
	db   *badger.DB
	opts Options
	logs *logSync // nil in memory

	garbage sync.Mutex // held by CollectGarbage

	// life is held shared by every operation and exclusively by Close, so that
	// late readers meet ErrClosed instead of unmapped memory.
	life   sync.RWMutex
	closed bool

	failMu sync.Mutex
	failed error // first failed commit; later ones are refused
}

var _ kv.Store = (*Store)(nil)

// Open opens the store in o.Dir, making it if there is none. The error wraps
// ErrLocked if it is open elsewhere, ErrNoSpace if the disk is nearly full, and
// ErrRolledBack if tables that were synced are not listed any more.
func Open(o Options) (*Store, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if o.InMemory {
		db, err := badger.Open(o.badger())
		if err != nil {
			return nil, fmt.Errorf("open store in memory: %w", err)
		}
		return &Store{db: db, opts: o}, nil
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store %q: %w", o.Dir, err)
	}
	if o.MinFree > 0 {
		if err := CheckFree(o.Dir, o.MinFree); err != nil {
			return nil, fmt.Errorf("open store %q: %w", o.Dir, err)
		}
	}
	mark, err := checkManifest(o)
	if err != nil {
		return nil, fmt.Errorf("open store %q: %w", o.Dir, err)
	}
	db, err := badger.Open(o.badger())
	if err != nil {
		if strings.Contains(err.Error(), "Cannot acquire directory lock") {
			return nil, fmt.Errorf("open store %q: %w%s", o.Dir, ErrLocked, lockHolder(o.Dir))
		}
		return nil, fmt.Errorf("open store %q: %w", o.Dir, err)
	}
	logs, err := newLogSync(o, mark)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store %q: %w", o.Dir, err), db.Close())
	}
	return &Store{db: db, opts: o, logs: logs}, nil
}

// lockHolder names the process that badger wrote into its lock file, if it can.
func lockHolder(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, "LOCK"))
	if err != nil || len(bytes.TrimSpace(b)) == 0 {
		return ""
	}
	return fmt.Sprintf(" (process %s)", bytes.TrimSpace(b))
}

// Options returns what the store was opened with.
func (s *Store) Options() Options { return s.opts }

// enter begins an operation, which ends with s.life.RUnlock.
func (s *Store) enter() error {
	s.life.RLock()
	if s.closed {
		s.life.RUnlock()
		return kv.ErrClosed
	}
	return nil
}

// Get returns the value of key, or nil.
func (s *Store) Get(key []byte) ([]byte, error) {
	if err := kv.CheckKey(key); err != nil {
		return nil, err
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	return get(txn, key)
}

func get(txn *badger.Txn, key []byte) ([]byte, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get key %x: %w: %w", key, kv.ErrFailed, err)
	}
	v, err := item.ValueCopy(nil)
	if err != nil {
		return nil, fmt.Errorf("get value of key %x: %w: %w", key, kv.ErrFailed, err)
	}
	if v == nil {
		v = []byte{}
	}
	return v, nil
}

// Iterate reads [from, to) as it is now.
func (s *Store) Iterate(from, to []byte, reverse bool) kv.Iterator {
	snap, err := s.Snapshot()
	if err != nil {
		return &iterator{err: err}
	}
	it := snap.Iterate(from, to, reverse)
	if err := snap.Close(); err != nil { // the iterator keeps the transaction
		return &iterator{err: errors.Join(err, it.Close())}
	}
	return it
}

// Snapshot returns the present content.
func (s *Store) Snapshot() (kv.Snapshot, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	return &snapshot{store: s, txn: s.db.NewTransaction(false), refs: 1}, nil
}

// Sync makes everything committed so far durable.
func (s *Store) Sync() error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.life.RUnlock()
	return s.sync()
}

func (s *Store) sync() error {
	if s.logs == nil {
		return nil
	}
	err := s.db.Sync()
	if err == nil {
		err = s.logs.rotated()
	}
	if err == nil {
		err = s.logs.keep()
	}
	if err != nil {
		return s.fail(fmt.Errorf("sync store %s: %w: %w", s.opts.Dir, kv.ErrFailed, err))
	}
	return nil
}

// fail keeps err as the reason why commits are refused from now on.
func (s *Store) fail(err error) error {
	s.failMu.Lock()
	defer s.failMu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
	return err
}

func (s *Store) failure() error {
	s.failMu.Lock()
	defer s.failMu.Unlock()
	if s.failed != nil {
		return fmt.Errorf("an earlier commit failed: %w", s.failed)
	}
	return nil
}

// CollectGarbage rewrites the value log file with the most garbage if at least
// ratio (0 to 1) of it is garbage, and reports whether it did. Call it again
// until it reports false, seldom and away from busy hours. It is one file of
// Options.ValueLogFileSize a call, which Close waits for. A call during another one does
// nothing.
func (s *Store) CollectGarbage(ratio float64) (bool, error) {
	if err := s.enter(); err != nil {
		return false, err
	}
	defer s.life.RUnlock()
	if s.opts.InMemory || !s.garbage.TryLock() {
		return false, nil
	}
	defer s.garbage.Unlock()
	// Badger writes what is alive in the file anew, syncs nothing of it, and removes the file:
	// a loss of power would take what was durable. As long as there is an iterator no file is
	// removed, so that what was written can be synced before.
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	switch err := s.db.RunValueLogGC(ratio); {
	case errors.Is(err, badger.ErrNoRewrite), errors.Is(err, badger.ErrRejected):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("collect garbage in store %q: %w", s.opts.Dir, err)
	}
	return true, s.sync()
}

// Close waits for running operations, flushes and closes the store.
func (s *Store) Close() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	err := s.db.Close()
	if err == nil && s.logs != nil {
		err = s.logs.keep()
	}
	if err != nil {
		return fmt.Errorf("close store %q: %w", s.opts.Dir, err)
	}
	return nil
}
