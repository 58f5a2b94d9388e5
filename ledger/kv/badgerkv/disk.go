package badgerkv

import (
	"errors"
	"fmt"

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
