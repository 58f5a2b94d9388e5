package home

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// maxPrivate bounds a secret file, in bytes: keys and certificates are far
// smaller.
const maxPrivate = 1 << 20

// ErrNotPrivate is wrapped by the errors for files and directories that others
// can reach.
var ErrNotPrivate = errors.New("not private")

// ReadPrivate reads a secret file of at most 1 MiB. It must be a regular file,
// not a link, of the user who runs the process (root may read everyone's), with
// no access for group and others; else the error wraps ErrNotPrivate and says
// what to do.
func ReadPrivate(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s is %w: it is a symbolic link; put the file itself there", path, ErrNotPrivate)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is %w: it is not a regular file", path, ErrNotPrivate)
	}
	if err := private(path, info, "600"); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxPrivate+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxPrivate {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxPrivate)
	}
	return data, nil
}

// WritePrivate writes a secret file with mode 0600, whole or not at all, and
// makes it durable before it returns. An existing file is kept, with an error
// that wraps fs.ErrExist, unless replace is set.
func WritePrivate(path string, data []byte, replace bool) error {
	dir := filepath.Dir(path)
	temp, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }() // fails once it is renamed
	_, err = temp.Write(data)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if replace {
		err = os.Rename(temp.Name(), path)
	} else {
		err = os.Link(temp.Name(), path) // unlike rename, fails if path exists
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

// CheckPrivateDir reports whether path is a directory that only its owner, the
// user who runs the process, can look into.
func CheckPrivateDir(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", path)
	}
	return private(path, info, "700")
}

func private(path string, info fs.FileInfo, mode string) error {
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("%s is %w: its mode %04o gives access to others; run chmod %s %s", path, ErrNotPrivate, perm, mode, path)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if user := os.Geteuid(); ok && user != 0 && int(owner.Uid) != user {
		return fmt.Errorf("%s is %w: it belongs to user %d, and user %d runs this; run chown %d %s", path, ErrNotPrivate, owner.Uid, user, user, path)
	}
	return nil
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}
