package testnet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// own reports whether name, in the directory of a network, is what a network
// makes there. Nothing else is ever removed.
func own(name string) bool {
	switch name {
	case layoutFile, runningFile, lockFile, "genesis.json", "ca.pem", "keys", "testnet.log":
		return true
	}
	number, ok := strings.CutPrefix(name, validatorPrefix)
	if !ok {
		number, ok = strings.CutPrefix(name, fullNodePrefix)
	}
	n, err := strconv.Atoi(number)
	return ok && err == nil && n >= 1 && n <= MaxValidators && number == strconv.Itoa(n)
}

// Usable returns why dir cannot become the directory of a network, or nil: it
// does not exist, is empty, or is a network's already. A directory with anything
// of somebody else's in it is refused, because the network's directory is
// removed with it.
func Usable(dir string) error {
	foreign, err := others(dir)
	if err != nil {
		return fmt.Errorf("look into %s: %w", dir, err)
	}
	if foreign != "" {
		return fmt.Errorf("directory %s holds %s, which is no test network's; choose a new or empty one", dir, foreign)
	}
	return nil
}

// others returns the name of something in dir that no network made, or "".
func others(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for _, e := range entries {
		if !own(e.Name()) {
			return e.Name(), nil
		}
	}
	return "", nil
}

// Remove removes the directory of a network that does not run. It refuses one
// that does not look like a network's, and one that holds anything that the
// network did not make; then nothing is removed.
func Remove(dir string) error {
	busy, err := held(dir)
	if err != nil {
		return err
	}
	if busy {
		return fmt.Errorf("remove test network %s: it is running", dir)
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, layoutFile)); errors.Is(err, fs.ErrNotExist) {
		for _, e := range entries {
			if e.Name() != lockFile {
				return fmt.Errorf("remove test network: %s holds %s and no %s", dir, e.Name(), layoutFile)
			}
		}
	}
	return errors.Join(empty(dir), removeEmpty(dir))
}

// empty removes what a network made in its directory but its lock. It removes
// nothing if there is something else. The file by which a network is known goes
// last, so that what is left after an interruption can be removed too.
func empty(dir string) error {
	foreign, err := others(dir)
	if err != nil {
		return err
	}
	if foreign != "" {
		return fmt.Errorf("remove test network: %s holds %s, which the network did not make; move that away first", dir, foreign)
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if e.Name() == lockFile || e.Name() == layoutFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(dir, layoutFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeEmpty removes a directory that holds nothing but the lock. Another
// process may do the same.
func removeEmpty(dir string) error {
	for _, name := range []string{filepath.Join(dir, lockFile), dir} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
