package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tributary-network/tributary/ledger"
)

// Exit codes, as the README promises them.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitUnavailable = 5
)

// commandLimit is how long a command may take.
const commandLimit = patience

// user is somebody at a terminal, with a home directory and an environment that
// nobody else has.
type user struct {
	t     *testing.T
	dir   string   // HOME
	extra []string // further variables, NAME=value
	flags []string // of every command
}

func newUser(t *testing.T) *user {
	t.Helper()
	return &user{t: t, dir: t.TempDir()}
}

// home is where the program keeps things unless told otherwise.
func (u *user) home() string { return filepath.Join(u.dir, ".tributary") }

// file writes a private file and returns its path.
func (u *user) file(name, text string) string {
	u.t.Helper()
	path := filepath.Join(u.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		u.t.Fatal(err)
	}
	return path
}

// answer is what a command left.
type answer struct {
	command        string
	stdout, stderr string
	code           int
}

func (a answer) String() string {
	return fmt.Sprintf("%s\nexit code %d\nstdout: %s\nstderr: %s", a.command, a.code, a.stdout, a.stderr)
}

// command makes a command that has not been started.
func (u *user) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, slices.Concat(args, u.flags)...)
	cmd.Env = append([]string{"HOME=" + u.dir, "PATH=" + os.Getenv("PATH")}, u.extra...)
	cmd.Dir = u.dir
	cmd.WaitDelay = time.Second
	return cmd
}

// run runs a command with what it is to read.
func (u *user) run(stdin string, args ...string) answer {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(u.t.Context()), commandLimit) // cleanups run commands too
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := u.command(ctx, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed || ctx.Err() != nil {
		u.t.Fatalf("tributary %s: %v", strings.Join(args, " "), errors.Join(err, ctx.Err()))
	}
	return answer{"tributary " + strings.Join(args, " "), stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// ok runs a command that must succeed, and returns its output.
func (u *user) ok(args ...string) string {
	u.t.Helper()
	a := u.run("", args...)
	if a.code != exitOK {
		u.t.Fatal(a)
	}
	return a.stdout
}

// read runs a command that must succeed with -o json, and decodes its output.
func (u *user) read(into any, args ...string) {
	u.t.Helper()
	out := u.ok(slices.Concat(args, []string{"-o", "json"})...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		u.t.Fatalf("tributary %s: %v in %s", strings.Join(args, " "), err, out)
	}
}

// refused runs a command that must fail in good order: with the exit code, with
// nothing on standard output, and with one error that has all words.
func (u *user) refused(code int, words []string, args ...string) {
	u.t.Helper()
	u.run("", args...).mustRefuse(u.t, code, words)
}

func (a answer) mustRefuse(t *testing.T, code int, words []string) {
	t.Helper()
	if a.code != code {
		t.Errorf("want exit code %d: %v", code, a)
	}
	if a.stdout != "" {
		t.Errorf("an error is no result: %v", a)
	}
	if strings.Count("\n"+a.stderr, "\nerror: ") != 1 || strings.Contains(a.stderr, "goroutine ") {
		t.Errorf("want one error: %v", a)
	}
	for _, word := range words {
		if !strings.Contains(a.stderr, word) {
			t.Errorf("the message does not say %q: %v", word, a)
		}
	}
	if code == exitUsage && !strings.Contains(a.stderr, "--help") {
		t.Errorf("the message does not say where help is: %v", a)
	}
}

// background starts a command that runs until it is interrupted.
type background struct {
	cmd    *exec.Cmd
	stdout *os.File
	done   chan struct{}
}

func (u *user) background(args ...string) *background {
	u.t.Helper()
	out, err := os.Create(filepath.Join(u.t.TempDir(), "stdout"))
	if err != nil {
		u.t.Fatal(err)
	}
	b := &background{cmd: u.command(context.Background(), args...), stdout: out, done: make(chan struct{})}
	b.cmd.Stdout, b.cmd.Stderr = out, out
	if err := b.cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	go func() {
		_ = b.cmd.Wait() // ProcessState has the result
		close(b.done)
	}()
	u.t.Cleanup(func() {
		_ = b.cmd.Process.Kill() // it may have ended
		<-b.done
		_ = out.Close()
	})
	return b
}

// output is what the command has written so far, both streams.
func (b *background) output() string {
	data, err := os.ReadFile(b.stdout.Name())
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// end sends a signal, waits until the command has ended, and returns its exit
// code.
func (b *background) end(t *testing.T, s os.Signal, limit time.Duration) int {
	t.Helper()
	if err := b.cmd.Process.Signal(s); err != nil {
		t.Fatalf("signal %v: %v; it wrote: %s", b.cmd.Args[1:], err, b.output())
	}
	return b.wait(t, limit)
}

// wait waits until the command has ended by itself, and returns its exit code.
func (b *background) wait(t *testing.T, limit time.Duration) int {
	t.Helper()
	limit = max(limit, patience)
	select {
	case <-b.done:
	case <-time.After(limit):
		t.Fatalf("%v has not ended after %v; it wrote: %s", b.cmd.Args[1:], limit, b.output())
	}
	return b.cmd.ProcessState.ExitCode()
}

// processes lists the processes whose command line has text, without zombies:
// there may be nobody to bury them.
func processes(t *testing.T, text string) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Skipf("no /proc: %v", err)
	}
	var list []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && bytes.Contains(line, []byte(text)) {
			list = append(list, pid) // a zombie has no command line
		}
	}
	return list
}

// gone checks that nothing is at path.
func gone(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", path, err)
	}
}

type jsonNode struct {
	Name   string `json:"name"`
	GRPC   string `json:"grpc"`
	HTTP   string `json:"http"`
	P2P    string `json:"p2p"`
	State  string `json:"state"`
	Height uint64 `json:"height"`
	Peers  int    `json:"peers"`
}

type jsonTx struct {
	Hash    string `json:"hash"`
	Kind    string `json:"kind"`
	Stage   string `json:"stage"`
	Height  uint64 `json:"height"`
	Code    string `json:"code"`
	Fee     drops  `json:"fee"`
	Paid    drops  `json:"paid"`
	Burned  drops  `json:"burned"`
	Entries []struct {
		Code     string `json:"code"`
		Paid     drops  `json:"paid"`
		Redeemed drops  `json:"redeemed_total"`
		Closed   bool   `json:"closed"`
	} `json:"entries"`
}

type jsonChannel struct {
	ID        string `json:"id"`
	State     string `json:"state"`
	Payer     string `json:"payer"`
	Deposit   drops  `json:"deposit"`
	Redeemed  drops  `json:"redeemed"`
	Remaining drops  `json:"remaining"`
	Closed    *struct {
		How      string `json:"how"`
		Refunded drops  `json:"refunded"`
	} `json:"closed"`
}

// drops is an amount as the program prints it in JSON.
type drops ledger.Amount

// UnmarshalText reads what commands read too.
func (d *drops) UnmarshalText(text []byte) error {
	a, err := ledger.ParseAmount(string(text))
	*d = drops(a)
	return err
}

// coins is so many whole coins.
func coins(n uint64) drops { return drops(n * uint64(ledger.DropsPerCoin)) }
