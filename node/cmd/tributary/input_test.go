package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFilesAreRegular: a command that is given a device or a pipe instead of a file
// says so, and neither waits nor reads without end.
func TestFilesAreRegular(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.ok(t, "init", "alone")
	pipe := filepath.Join(s.home, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	hash := strings.Repeat("0", 64)
	for _, row := range []struct {
		name string
		args []string // the file comes last
	}{
		{"certificate", []string{"verify", "certificate", "--committee-hash", hash}},
		{"genesis of a new node", []string{"init", "other", "--home", filepath.Join(s.home, "other"), "--genesis"}},
		{"key", []string{"keys", "import", "k"}},
		{"authority", []string{"status", "--node", "127.0.0.1:1", "--ca"}},
		{"passphrase", []string{"keys", "add", "k", "--passphrase-file"}},
	} {
		for _, file := range []string{pipe, "/dev/zero", "/dev/urandom"} {
			if row.name == "passphrase" && file == pipe {
				continue // which is how service managers hand it over
			}
			if r := s.run(t, "", append(row.args, file)...); r.code == exitOK || !strings.Contains(r.stderr, "not a regular file") || r.stdout != "" {
				t.Errorf("%s %s: %+v", row.name, file, r)
			}
		}
	}
}
