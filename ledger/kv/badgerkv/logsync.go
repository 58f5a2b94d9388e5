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
	mark     manifestMark
	manifest fs.FileInfo // of the MANIFEST when it was marked last; nil before
}

// newLogSync returns what syncs the logs of a store that badger has open. mark is
// what is known of its MANIFEST.
func newLogSync(o Options, mark manifestMark) (*logSync, error) {
	dir := o.Dir
	files, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	l := &logSync{dir: dir, opts: o, num: -1, mark: mark}
	for _, f := range files {
		n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(f), ".mem"))
		if err != nil {
			return nil, fmt.Errorf("list logs: %w", err)
		}
		l.num = max(l.num, n)
	}
	if l.num < 0 {
		return nil, errors.New("no log of the active memtable")
	}
	// Badger does not sync the directory when it makes a log.
	return l, errors.Join(syncPath(dir), l.keep())
}

func (l *logSync) path(n int) string { return filepath.Join(l.dir, fmt.Sprintf("%05d.mem", n)) }

// rotated makes every log rotated out so far durable. It is called after the
// active log was synced.
func (l *logSync) rotated() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.num
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
	if l.num == before {
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
