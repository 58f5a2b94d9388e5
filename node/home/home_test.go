package home_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/node/home"
)

func TestResolve(t *testing.T) {
	t.Parallel()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		given   string
		environ []string
		want    home.Dir // "" = error
	}{
		{"flag", "/a", []string{"TRIBUTARY_HOME=/b", "HOME=/c"}, "/a"},
		{"relative flag", "a/../b", nil, home.Dir(filepath.Join(here, "b"))},
		{"environment", "", []string{"TRIBUTARY_HOME=/b", "HOME=/c"}, "/b"},
		{"empty variable", "", []string{"TRIBUTARY_HOME=", "HOME=/c"}, "/c/.tributary"},
		{"default", "", []string{"HOME=/c"}, "/c/.tributary"},
		{"nothing", "", nil, ""},
	}
	for _, tt := range tests {
		got, err := home.Resolve(tt.given, tt.environ)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestCreateAndCheck(t *testing.T) {
	t.Parallel()
	dir := home.Dir(filepath.Join(t.TempDir(), "deep", "home"))
	if err := dir.Check(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "tributary init") {
		t.Errorf("check of nothing: %v", err)
	}
	for range 2 {
		if err := dir.Create(); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{string(dir), dir.Config(), dir.Data(), dir.Keys()} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != fs.ModeDir|0o700 {
			t.Errorf("mode of %s is %v", path, info.Mode())
		}
	}
	tests := []struct {
		name string
		path string
		mode fs.FileMode
		want string // "" = fine
	}{
		{"home readable by all", string(dir), 0o755, ""},
		{"home writable by group", string(dir), 0o770, "chmod 700 " + string(dir)},
		{"keys readable by all", dir.Keys(), 0o755, "chmod 700 " + dir.Keys()},
		{"config readable by group", dir.Config(), 0o750, "chmod 700 " + dir.Config()},
	}
	for _, tt := range tests {
		if err := os.Chmod(tt.path, tt.mode); err != nil {
			t.Fatal(err)
		}
		err := dir.Check()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if err := os.Chmod(tt.path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadPrivate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := home.WritePrivate(secret, []byte("s"), false); err != nil {
		t.Fatal(err)
	}
	link, folder, open, large := filepath.Join(dir, "link"), filepath.Join(dir, "folder"), filepath.Join(dir, "open"), filepath.Join(dir, "large")
	if err := errors.Join(
		os.Symlink(secret, link),
		os.Mkdir(folder, 0o700),
		os.WriteFile(open, nil, 0o600), os.Chmod(open, 0o640),
		os.WriteFile(large, make([]byte, 1<<20+1), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		path string
		is   error
		want string // in the error; "" = none
	}{
		{secret, nil, ""},
		{link, home.ErrNotPrivate, "symbolic link"},
		{folder, home.ErrNotPrivate, "not a regular file"},
		{open, home.ErrNotPrivate, "mode 0640 gives access to others; run chmod 600 " + open},
		{large, nil, "more than"},
		{filepath.Join(dir, "nothing"), fs.ErrNotExist, "no such file"},
	}
	for _, tt := range tests {
		data, err := home.ReadPrivate(tt.path)
		switch {
		case tt.want == "" && (err != nil || string(data) != "s"):
			t.Errorf("%s: %q, %v", tt.path, data, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", tt.path, err, tt.want)
		case tt.is != nil && !errors.Is(err, tt.is):
			t.Errorf("%s: %v does not wrap %v", tt.path, err, tt.is)
		}
	}
}

func TestWritePrivate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	if err := home.WritePrivate(path, []byte("one"), false); err != nil {
		t.Fatal(err)
	}
	if err := home.WritePrivate(path, []byte("two"), false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second write: %v, want %v", err, fs.ErrExist)
	}
	if data, err := home.ReadPrivate(path); err != nil || string(data) != "one" {
		t.Errorf("kept %q, %v", data, err)
	}
	if err := home.WritePrivate(path, []byte("three"), true); err != nil {
		t.Fatal(err)
	}
	if data, err := home.ReadPrivate(path); err != nil || string(data) != "three" {
		t.Errorf("replaced by %q, %v", data, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
}

// TestLock runs this test again as another process that holds the lock, since
// locks of one process do not exclude each other everywhere.
func TestLock(t *testing.T) {
	if held := os.Getenv("TEST_HOLD_LOCK"); held != "" {
		holdLock(home.Dir(held))
		return
	}
	t.Parallel()
	dir := home.Dir(t.TempDir())
	other := exec.Command(os.Args[0], "-test.run=^TestLock$")
	other.Env = append(os.Environ(), "TEST_HOLD_LOCK="+string(dir))
	input, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(output).ReadString('\n'); err != nil || line != "held\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	_, err = dir.Lock()
	if want := fmt.Sprintf("held by process %d; stop it", other.Process.Pid); !errors.Is(err, home.ErrLocked) || !strings.Contains(err.Error(), want) {
		t.Errorf("lock while held: %v, want %q", err, want)
	}
	// The holder is killed, not asked: the lock must go with it.
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait() // it was killed
	_ = input.Close()
	for range 2 {
		lock, err := dir.Lock()
		if err != nil {
			t.Fatalf("lock after the holder died: %v", err)
		}
		if err := lock.Release(); err != nil {
			t.Fatal(err)
		}
	}
}

func holdLock(dir home.Dir) {
	lock, err := dir.Lock()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = lock.Release() }()
	fmt.Println("held")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the test closes it or kills us
}
