package badgerkv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// logSync syncs the write-ahead logs that badger has rotated out but may not
// have flushed to a table yet. The log of the n-th memtable is the file
// "n.mem", numbered without gaps; badger deletes it when the table made from it
// is durable. A rotation shows as the existence of the next number.
type logSync struct {
	dir  string
	opts Options

	mu       sync.Mutex
	num      int // number of the newest log seen so far
	values   int // number of the newest file of the value log seen so far
	mark     manifestMark
	manifest fs.FileInfo // of the MANIFEST when it was marked last; nil before
}

// newLogSync returns what syncs the logs of a store that badger has open. mark is
// what is known of its MANIFEST.
func newLogSync(o Options, mark manifestMark) (*logSync, error) {
	dir := o.Dir
	l := &logSync{dir: dir, opts: o, mark: mark}
	var err error
	if l.num, err = newest(dir, ".mem"); err != nil {
		return nil, err
	}
	if l.num < 0 {
		return nil, errors.New("no log of the active memtable")
	}
	if l.values, err = newest(dir, valueSuffix); err != nil {
		return nil, err
	}
	// Badger does not sync the directory when it makes a log.
	return l, errors.Join(syncPath(dir), l.keep())
}

// newest returns the largest number of the files with that suffix, -1 if there is none.
func newest(dir, suffix string) (int, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		return 0, fmt.Errorf("list logs: %w", err)
	}
	num := -1
	for _, f := range files {
		n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(f), suffix))
		if err != nil {
			return 0, fmt.Errorf("list logs: %w", err)
		}
		num = max(num, n)
	}
	return num, nil
}

func (l *logSync) path(n int) string { return filepath.Join(l.dir, fmt.Sprintf("%05d.mem", n)) }

// rotated makes every log rotated out so far durable. It is called after the
// active log was synced. A file of the value log is synced when it is rotated out, but that
// there is a new one is not.
func (l *logSync) rotated() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.num
	values := l.values
	for {
		_, err := os.Stat(filepath.Join(l.dir, fmt.Sprintf("%06d%s", l.values+1, valueSuffix)))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return fmt.Errorf("look for the value log: %w", err)
		}
		l.values++
	}
	for {
		_, err := os.Stat(l.path(l.num + 1))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return fmt.Errorf("look for log: %w", err)
		}
		// If the log is gone, its content lies in a durable table.
		if err := syncPath(l.path(l.num)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		l.num++
	}
	if l.num == before && l.values == values {
		return nil
	}
	return syncPath(l.dir)
}

// syncPath syncs a file or directory.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync %q: %w", path, err)
	}
	return nil
}
