package badgerkv

import (
	"fmt"
	"time"

	"github.com/tributary-network/tributary/ledger/kv"
)

const (
	// removeKeys and removeBytes bound one of the batches of RemovePrefix, in the lengths
	// of keys.
	removeKeys  = 1_000
	removeBytes = 256 << 10
	// levelZeroTables is how many tables badger has on the first level before it compacts
	// them.
	levelZeroTables = 5
)

// RemovePrefix deletes all keys that begin with prefix, in many batches, so that other
// users of the store wait for none of them for long; nobody may write such a key
// meanwhile. What it deleted is gone for good when it returns nil. The space comes back
// with Compact.
func (s *Store) RemovePrefix(prefix []byte, more func() bool) error {
	from := prefix
	for more() {
		last, err := s.removeSome(from, kv.PrefixEnd(prefix))
		if err != nil {
			return fmt.Errorf("remove what begins with %q: %w", prefix, err)
		}
		if last == nil {
			return s.Sync()
		}
		from = last
	}
	return nil
}

// removeSome deletes the first keys of a range and returns the last of them, nil if there
// was none.
func (s *Store) removeSome(from, to []byte) (last []byte, err error) {
	batch := s.NewBatch()
	defer batch.Discard()
	it := s.Iterate(from, to, false)
	count, size := 0, 0
	for count < removeKeys && size < removeBytes && it.Next() {
		last = append(last[:0], it.Key()...)
		count, size = count+1, size+len(last)
		if err := batch.Delete(last); err != nil {
			_ = it.Close() // it was only read
			return nil, err
		}
	}
	if err := it.Close(); err != nil || count == 0 {
		return nil, err
	}
	return last, batch.Commit(false)
}

// Compact gives the space of what was deleted back, but for long values, which
// CollectGarbage sees to. It writes as much as a memtable holds, and the tables anew that
// have such keys, which takes seconds for each gigabyte of them; Close waits for it.
func (s *Store) Compact() error { return s.compact(1) }

// CompactAll is Compact for a store of long values, before CollectGarbage: badger knows what
// is garbage of them by what it compacted. In a young store, whose tables are all on the
// first level, nothing is before there are more of them than badger wants there; up to six
// memtables are written for that.
func (s *Store) CompactAll() error { return s.compact(levelZeroTables + 1) }

func (s *Store) compact(rolls int) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.life.RUnlock()
	if s.opts.InMemory {
		return nil
	}
	for range rolls {
		err := s.roll()
		if err == nil {
			err = s.db.Flatten(1)
		}
		if err != nil {
			return fmt.Errorf("compact store %q: %w", s.opts.Dir, err)
		}
		if !s.young() {
			break
		}
	}
	return nil
}

// young reports whether there are tables, and all on the first level.
func (s *Store) young() bool {
	tables := s.db.Tables()
	for _, t := range tables {
		if t.Level > 0 {
			return false
		}
	}
	return len(tables) > 0
}

// rollKey is written again and again to fill the memtable, and not there otherwise.
const rollKey = "\x00roll"

const (
	rollPoll = 10 * time.Millisecond
	rollWait = 10 * time.Second
)

// roll fills the memtable, so that badger writes it to a table: what was deleted lately
// is known there alone, and tables keep what it says of them until then. It waits for the
// table.
func (s *Store) roll() error {
	newest := s.newestTable()
	value := make([]byte, min(s.opts.threshold()-1, s.opts.MaxBatchBytes()/2))
	for written := int64(0); written <= s.opts.MemTableSize; written += int64(len(value)) {
		if err := s.rollWith(func(b kv.Batch) error { return b.Set([]byte(rollKey), value) }); err != nil {
			return err
		}
	}
	if err := s.rollWith(func(b kv.Batch) error { return b.Delete([]byte(rollKey)) }); err != nil {
		return err
	}
	tick := time.NewTicker(rollPoll)
	defer tick.Stop()
	for range rollWait / rollPoll {
		if s.newestTable() != newest {
			break
		}
		<-tick.C
	}
	return nil
}

func (s *Store) rollWith(write func(kv.Batch) error) error {
	b := s.NewBatch()
	defer b.Discard()
	if err := write(b); err != nil {
		return err
	}
	return b.Commit(false)
}

// newestTable returns the number of the table that was made last.
func (s *Store) newestTable() (number uint64) {
	for _, t := range s.db.Tables() {
		number = max(number, t.ID)
	}
	return number
}

// SizeOf returns about how many bytes of the store's tables the keys take that begin with
// prefix: of those tables that have no other. What was written lately lies in tables with
// keys of everybody, and is not counted.
func (s *Store) SizeOf(prefix []byte) (uint64, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.life.RUnlock()
	size, _ := s.db.EstimateSize(prefix)
	return size, nil
}
