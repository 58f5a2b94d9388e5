package home

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// ErrNotRegular is wrapped by the errors for files that are to be read whole and are
// devices, pipes or directories.
var ErrNotRegular = errors.New("not a regular file")

// ErrTooLarge is wrapped by the errors for files with more bytes than they may have.
var ErrTooLarge = errors.New("too large")

// ReadFile reads a file that is no secret, of most bytes or fewer. It must be regular,
// or a link to such a one: what else a path can name may have no end, or never answer.
// Without the file the error wraps fs.ErrNotExist, and otherwise ErrNotRegular or
// ErrTooLarge where that is why.
func ReadFile(path string, most int64) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // or a pipe without a writer would hold us
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is %w: name one, copy what it gives to one first", path, ErrNotRegular)
	}
	data, err := io.ReadAll(io.LimitReader(file, most+1)) // its size may say less: it can grow, and in /proc it is 0
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%s is %w: it has %d bytes or more, at most %d", path, ErrTooLarge, max(info.Size(), most+1), most)
	}
	return data, nil
}
