package badgerkv

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/skl"
)

const (
	// MainMemTableSize is the memtable of a node's main store, in bytes. Its
	// largest batch is MainMaxBatchBytes and MainMaxBatchEntries.
	MainMemTableSize = 128 << 20
	// MainMaxBatchBytes bounds one batch of a main store: the sum over its
	// entries of EntrySize. It holds 40,000 rows of 272 bytes (11.8 MB) and
	// 60,000 tree nodes of 100 bytes (7.6 MB) with room to spare for the rest.
	MainMaxBatchBytes = MainMemTableSize * 15 / 100
	// MainMaxBatchEntries bounds the entries of one batch of a main store.
	MainMaxBatchEntries = MainMaxBatchBytes / int64(skl.MaxNodeSize)
	// SmallMemTableSize is the memtable of the small preset, in bytes: batches
	// up to 1.2 MB.
	SmallMemTableSize = 8 << 20
	// MaxMemTableSize is the largest memtable, in bytes.
	MaxMemTableSize = 1 << 30
	// minMemTableSize is the smallest.
	minMemTableSize = 1 << 20
	// DefaultMinFree is the free space in bytes below which Main refuses to
	// open: a full disk kills the process.
	DefaultMinFree = 2 << 30

	// BulkValue is the length in bytes from which on a Bulk store keeps values in its
	// value log.
	BulkValue = 32 << 10
	// bulkMinFree covers what badger maps and writes when it opens and compacts a Bulk store.
	bulkMinFree = 512 << 20

	// entryOverhead is what badger adds to key and value when it sizes a batch.
	entryOverhead = 12
	// endMark covers the entry with which badger closes a transaction.
	endMark = 64
	// valuePointerSize stands for a value kept in the value log in that sum.
	valuePointerSize = 12
	// maxInlineValue is the largest ValueThreshold badger takes.
	maxInlineValue = 1 << 20
)

// Options says where and how a store is kept. Begin with Main, Small, Bulk or Memory;
// sizes that are 0 become those of Main.
type Options struct {
	// Dir is the directory of the store, made with its parents if missing.
	// Empty with InMemory.
	Dir string
	// InMemory keeps everything in memory and loses it at Close. Values are
	// limited to 1 MiB, or the batch limit if that is smaller.
	InMemory bool
	// MemTableSize in bytes bounds batches (MaxBatchBytes) and decides memory:
	// up to two such tables are resident under load.
	MemTableSize int64
	// ValueThreshold in bytes: longer values go to the value log. What it takes is
	// given back late and by rewriting (CollectGarbage), and stays in memory, so
	// only what is seldom and short-lived should be that long.
	ValueThreshold int64
	// ValueLogFileSize in bytes is the unit in which the value log is reclaimed.
	ValueLogFileSize int64
	// IndexCacheSize in bytes bounds the table indexes in memory. 0: no bound,
	// about 5 MB for a million rows.
	IndexCacheSize int64
	// BaseTableSize in bytes is the size of tables below level 0.
	BaseTableSize int64
	// MinFree is the free space in bytes that the file system of Dir must have
	// at Open. 0: do not check.
	MinFree uint64
	// Logger gets badger's own messages, warnings and errors only. Nil: none.
	Logger *slog.Logger
}

// Main returns the options of a node's main store in dir.
func Main(dir string) Options {
	return Options{
		Dir:              dir,
		MemTableSize:     MainMemTableSize,
		ValueThreshold:   64 << 10,
		ValueLogFileSize: 64 << 20,
		BaseTableSize:    8 << 20,
		MinFree:          DefaultMinFree,
	}
}

// Small returns the options of a store with a small footprint in dir, for tests
// and side stores. It does not check the free space.
func Small(dir string) Options {
	return Options{
		Dir:              dir,
		MemTableSize:     SmallMemTableSize,
		ValueThreshold:   4 << 10,
		ValueLogFileSize: 16 << 20,
		IndexCacheSize:   4 << 20,
		BaseTableSize:    4 << 20,
	}
}

// Bulk returns the options of a store in dir for large values that are written once and
// kept for long: those of BulkValue bytes and more lie in the value log, which is written
// once and rewritten when half of it is garbage. It opens with less free space than it
// takes writes with, since a disk that is full must not keep it from being read.
func Bulk(dir string) Options {
	return Options{
		Dir:              dir,
		MemTableSize:     32 << 20,
		ValueThreshold:   BulkValue,
		ValueLogFileSize: 64 << 20,
		IndexCacheSize:   32 << 20,
		BaseTableSize:    8 << 20,
		MinFree:          bulkMinFree,
	}
}

// Memory returns the options of a store in memory with the batch limits of Main.
func Memory() Options {
	o := Main("")
	o.InMemory, o.MinFree = true, 0
	return o
}

// MaxBatchBytes returns the largest sum of EntrySize one batch can have.
func (o Options) MaxBatchBytes() int64 { return 15*o.MemTableSize/100 - endMark }

// MaxBatchEntries returns the largest number of writes one batch can have, a
// key that is written twice counted twice.
func (o Options) MaxBatchEntries() int64 {
	return 15*o.MemTableSize/100/int64(skl.MaxNodeSize) - 2
}

// EntrySize returns what one write counts towards MaxBatchBytes.
func (o Options) EntrySize(keyLen, valueLen int) int64 {
	if int64(valueLen) >= o.threshold() {
		valueLen = valuePointerSize
	}
	return int64(keyLen) + int64(valueLen) + entryOverhead
}

func (o Options) threshold() int64 {
	if o.InMemory {
		return min(maxInlineValue, o.MaxBatchBytes())
	}
	return o.ValueThreshold
}

func (o Options) withDefaults() Options {
	d := Main(o.Dir)
	o.MemTableSize = cmp.Or(o.MemTableSize, d.MemTableSize)
	o.ValueThreshold = cmp.Or(o.ValueThreshold, d.ValueThreshold)
	o.ValueLogFileSize = cmp.Or(o.ValueLogFileSize, d.ValueLogFileSize)
	o.BaseTableSize = cmp.Or(o.BaseTableSize, d.BaseTableSize)
	return o
}

func (o Options) validate() error {
	switch {
	case o.InMemory && o.Dir != "":
		return errors.New("a store in memory has no directory")
	case !o.InMemory && o.Dir == "":
		return errors.New("no directory given")
	case o.MemTableSize < minMemTableSize || o.MemTableSize > MaxMemTableSize:
		return fmt.Errorf("memtable of %d bytes, want %d to %d", o.MemTableSize, minMemTableSize, MaxMemTableSize)
	case o.ValueThreshold < 1 || o.ValueThreshold > min(maxInlineValue, o.MaxBatchBytes()):
		return fmt.Errorf("value threshold of %d bytes, want 1 to %d", o.ValueThreshold, min(maxInlineValue, o.MaxBatchBytes()))
	}
	return nil
}

func (o Options) badger() badger.Options {
	b := badger.DefaultOptions(o.Dir).
		WithInMemory(o.InMemory).
		WithMemTableSize(o.MemTableSize).
		WithNumMemtables(2).
		WithNumLevelZeroTables(levelZeroTables).
		WithBaseTableSize(o.BaseTableSize).
		WithValueThreshold(o.threshold()).
		WithValueLogFileSize(o.ValueLogFileSize).
		WithIndexCacheSize(o.IndexCacheSize).
		WithBlockCacheSize(0).
		WithCompression(options.None).
		WithDetectConflicts(false).
		WithMetricsEnabled(false).
		WithNumCompactors(2).
		WithNumGoroutines(2).
		WithSyncWrites(false).
		WithLogger(nil)
	if o.Logger != nil {
		b = b.WithLogger(logger{o.Logger})
	}
	return b
}

// logger hands badger's warnings and errors on. Badger formats its messages,
// so the text is an attribute of a constant message.
type logger struct{ log *slog.Logger }

func (l logger) Errorf(f string, a ...any) {
	l.log.Error("badger reports an error", slog.String("text", fmt.Sprintf(f, a...)))
}

func (l logger) Warningf(f string, a ...any) {
	l.log.Warn("badger warns", slog.String("text", fmt.Sprintf(f, a...)))
}

func (logger) Infof(string, ...any)  {}
func (logger) Debugf(string, ...any) {}
