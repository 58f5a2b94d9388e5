package home_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/tributary-network/tributary/node/home"
)

// TestReadFile: what has no end and what never answers is refused at once.
func TestReadFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.WriteFile(at("file"), []byte("four"), 0o600), os.Symlink(at("file"), at("link")), syscall.Mkfifo(at("pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, path string
		most       int64
		want       error
	}{
		{"a file", at("file"), 4, nil},
		{"a link to one", at("link"), 9, nil},
		{"larger", at("file"), 3, home.ErrTooLarge},
		{"larger than it says", "/proc/self/status", 9, home.ErrTooLarge},
		{"without an end", "/dev/zero", 9, home.ErrNotRegular},
		{"random", "/dev/urandom", 9, home.ErrNotRegular},
		{"a pipe that nobody writes to", at("pipe"), 9, home.ErrNotRegular},
		{"a directory", dir, 9, home.ErrNotRegular},
		{"nothing", at("none"), 9, fs.ErrNotExist},
	} {
		data, err := home.ReadFile(row.path, row.most)
		if !errors.Is(err, row.want) || row.want == nil && string(data) != "four" || row.want != nil && data != nil {
			t.Errorf("%s: %q, %v, want %v", row.name, data, err, row.want)
		}
	}
}
