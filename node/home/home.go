// Package home knows a node's home directory: where its files lie, that they
// are private, and that one process at a time uses them.
//
//	config/   config.toml, genesis.json, TLS files, node key; config/validator
//	          holds the consensus key with its sign state, and the BLS key;
//	          config/relayer_key.json pays for what the node carries
//	data/     stores and consensus write-ahead log
//	keys/     account keys (package keystore)
//	lock      held while a node runs; names the process
//
// Directories have mode 0700 and files that hold secrets 0600. A secret that
// others could read, or that is not a plain file of the user who runs the node,
// is refused with an error that names the file and the remedy, since it may have
// been read or replaced already.
package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
)

// Variable is the environment variable that names the home directory.
const Variable = "TRIBUTARY_HOME"

// Dir is a home directory. The methods that return paths do not look at the
// disk.
type Dir string

// Resolve returns the home directory as an absolute path: given if it is not
// empty, else the value of Variable in environ (in the form of os.Environ), else
// .tributary in the user's home directory.
func Resolve(given string, environ []string) (Dir, error) {
	dir, user := given, ""
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		switch {
		case name == Variable && dir == "":
			dir = value
		case name == "HOME":
			user = value
		}
	}
	if dir == "" {
		if user == "" {
			return "", fmt.Errorf("no home directory: neither --home nor %s nor HOME is set", Variable)
		}
		dir = filepath.Join(user, ".tributary")
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("home directory %q: %w", dir, err)
	}
	return Dir(absolute), nil
}

// Config returns the directory of settings, genesis and node keys.
func (d Dir) Config() string { return filepath.Join(string(d), "config") }

// Data returns the directory of everything that grows.
func (d Dir) Data() string { return filepath.Join(string(d), "data") }

// RelayerKey returns the file of the account that pays for what the node carries
// between chains.
func (d Dir) RelayerKey() string { return filepath.Join(d.Config(), "relayer_key.json") }

// Keys returns the directory of account keys.
func (d Dir) Keys() string { return filepath.Join(string(d), "keys") }

// Genesis returns the path of the genesis file.
func (d Dir) Genesis() string { return filepath.Join(d.Config(), "genesis.json") }

func (d Dir) lock() string { return filepath.Join(string(d), "lock") }

// Create makes the directory and its folders with mode 0700 where they are
// missing, and checks those that are there.
func (d Dir) Create() error {
	for _, dir := range []string{string(d), d.Config(), d.Data(), d.Keys()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("create home directory: %w", err)
		}
	}
	return d.Check()
}

// Check reports whether the home directory is there and private: no one else may
// write to it, and no one else may look into config and keys.
func (d Dir) Check() error {
	info, err := os.Stat(string(d))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("home directory: %w: run `tributary init` or choose another --home", err)
	case err != nil:
		return fmt.Errorf("home directory: %w", err)
	case !info.IsDir():
		return fmt.Errorf("home directory %s is not a directory", d)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("home directory %s has mode %04o, others can write to it; run chmod 700 %s", d, info.Mode().Perm(), d)
	}
	for _, dir := range []string{d.Config(), d.Keys()} {
		if err := CheckPrivateDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// ErrLocked is wrapped by the error of Lock when another process holds the lock.
var ErrLocked = errors.New("home directory is in use")

// Lock is the right to use a home directory. It ends with the process at the
// latest, however that ends.
type Lock struct {
	file *flock.Flock
}

// Lock takes the right to use the directory, which must exist, and does not
// wait for it: if another process has it, the error wraps ErrLocked and names
// that process.
func (d Dir) Lock() (*Lock, error) {
	file := flock.New(d.lock(), flock.SetPermissions(0o600))
	got, err := file.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock home directory %s: %w", d, err)
	}
	if !got {
		return nil, fmt.Errorf("%w: %s is held by %s; stop it or choose another --home", ErrLocked, d, holder(d.lock()))
	}
	if err := os.WriteFile(d.lock(), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("lock home directory %s: %w", d, err), file.Unlock())
	}
	return &Lock{file}, nil
}

// Release gives the right back. The file stays: removing it would let two
// processes lock two files of one name.
func (l *Lock) Release() error {
	if err := l.file.Unlock(); err != nil {
		return fmt.Errorf("unlock home directory: %w", err)
	}
	return nil
}

func holder(lock string) string {
	text, err := os.ReadFile(lock)
	if pid := strings.TrimSpace(string(text)); err == nil && pid != "" {
		return "process " + pid
	}
	return "another process"
}
