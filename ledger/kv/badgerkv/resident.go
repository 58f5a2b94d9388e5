package badgerkv

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	badger "github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// ReleaseMapped takes the sorted tables out of the memory of the process and
// returns how many bytes of address space that was about. They stay in the page
// cache of the system, which drops them when it needs the room; what is read again
// is mapped again, at the cost of a minor fault.
//
// Badger maps its tables and never lets go of a page it wrote or read, so without
// this the process grows with the store. Call it every few seconds. It costs some
// milliseconds for each gigabyte and delays nobody.
func (s *Store) ReleaseMapped() (released int64, err error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.life.RUnlock()
	if s.opts.InMemory {
		return 0, nil
	}
	// To take pages from a range that is a table's no more would wipe whatever
	// is there now. An iterator over everything keeps all tables mapped where
	// they are; those that are in use before and after it was made, it holds.
	before := s.tables()
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	held := make(map[string]bool)
	for path := range s.tables() {
		held[path] = before[path]
	}
	ranges, err := mappedFiles(held)
	if err != nil {
		return 0, fmt.Errorf("release tables of store %q: %w", s.opts.Dir, err)
	}
	for _, r := range ranges {
		// On a shared mapping this drops page table entries, not content.
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, r.from, r.to-r.from, unix.MADV_DONTNEED); errno != 0 {
			return released, fmt.Errorf("release tables of store %q: %w", s.opts.Dir, errno)
		}
		released += int64(r.to - r.from)
	}
	return released, nil
}

// tables returns the files of the tables in use.
func (s *Store) tables() map[string]bool {
	dir, err := filepath.Abs(s.opts.Dir)
	if err != nil {
		return nil
	}
	if target, err := filepath.EvalSymlinks(dir); err == nil {
		dir = target
	}
	paths := make(map[string]bool)
	for _, t := range s.db.Tables() {
		paths[filepath.Join(dir, fmt.Sprintf("%06d.sst", t.ID))] = true
	}
	return paths
}

// addresses is a range of the address space of the process.
type addresses struct{ from, to uintptr }

// mappedFiles returns where those of the files that are wanted are mapped.
func mappedFiles(wanted map[string]bool) ([]addresses, error) {
	f, err := os.Open("/proc/self/maps")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // not on this system
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	var ranges []addresses
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// from-to perms offset device inode path; only shared mappings.
		fields := strings.SplitN(lines.Text(), " ", 6)
		if len(fields) < 6 || !strings.HasSuffix(fields[1], "s") || !wanted[strings.TrimLeft(fields[5], " ")] {
			continue
		}
		from, to, ok := strings.Cut(fields[0], "-")
		a, errFrom := strconv.ParseUint(from, 16, 64)
		b, errTo := strconv.ParseUint(to, 16, 64)
		if !ok || errFrom != nil || errTo != nil || a >= b {
			return nil, fmt.Errorf("/proc/self/maps has the line %q", lines.Text())
		}
		ranges = append(ranges, addresses{uintptr(a), uintptr(b)})
	}
	return ranges, lines.Err()
}
