package badgerkv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrNoSpace is returned when a file system has less free space than asked for.
var ErrNoSpace = errors.New("not enough free disk space")

// FreeBytes returns the bytes an unprivileged process can still write to the
// file system that holds dir, which must exist.
func FreeBytes(dir string) (uint64, error) {
	free, _, err := space(dir)
	return free, err
}

// Reserve returns the free space in bytes that a node should keep on the file
// system that holds dir: DefaultMinFree or 5 % of it, whichever is more.
func Reserve(dir string) (uint64, error) {
	_, total, err := space(dir)
	return max(DefaultMinFree, total/20), err
}

// CheckFree returns an error that wraps ErrNoSpace if the file system of dir has
// less than reserve bytes free. A node that meets it must stop: badger cannot
// survive a full disk.
func CheckFree(dir string, reserve uint64) error {
	free, err := FreeBytes(dir)
	if err != nil {
		return err
	}
	if free < reserve {
		return fmt.Errorf("%w at %q: %d MiB free, %d MiB needed", ErrNoSpace, dir, free>>20, reserve>>20)
	}
	return nil
}

func space(dir string) (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("read free space at %q: %w", dir, err)
	}
	size := uint64(st.Bsize)
	return st.Bavail * size, st.Blocks * size, nil
}

// Size is the bytes a store takes on disk: what its files occupy, not how long they
// are, as badger makes some in advance.
type Size struct {
	Tables   uint64 // sorted tables
	ValueLog uint64 // values longer than Options.ValueThreshold
	Total    uint64 // of all files, the logs of the memtables included
}

// blockUnit is what a file's blocks are counted in, in bytes; see stat(2).
const blockUnit = 512

// Size returns what the store takes on disk, which is nothing for one in memory. It
// looks at every file, of which a large store has some thousands.
func (s *Store) Size() (size Size, err error) {
	if s.opts.InMemory {
		return Size{}, nil
	}
	entries, err := os.ReadDir(s.opts.Dir)
	if err != nil {
		return Size{}, fmt.Errorf("measure the store: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // badger removed it meanwhile
		}
		if err != nil {
			return Size{}, fmt.Errorf("measure the store: %w", err)
		}
		occupied := uint64(0)
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			occupied = uint64(stat.Blocks) * blockUnit //nolint:gosec // not negative
		}
		switch filepath.Ext(e.Name()) {
		case tableSuffix:
			size.Tables += occupied
		case valueSuffix:
			size.ValueLog += occupied
		}
		size.Total += occupied
	}
	return size, nil
}

const (
	// tableSuffix is what the name of a file with a sorted table ends with.
	tableSuffix = ".sst"
	// valueSuffix is what the name of a file of the value log ends with.
	valueSuffix = ".vlog"
)
