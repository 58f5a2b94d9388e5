package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/testnet"
)

// begin settles in the background. end ends that, and fails the test if a
// settlement failed.
func (l *load) begin(t *testing.T) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.run(ctx) }()
	t.Cleanup(cancel)
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// more waits until so many further settlements are final.
func (l *load) more(t *testing.T, n int, what string) {
	t.Helper()
	before := l.count()
	await(t, 30*time.Second, what, func(context.Context) bool { return l.count() >= before+n })
}

// ready waits until node i is ready, and returns how long that took.
func ready(t *testing.T, net *testnet.Network, i int) time.Duration {
	t.Helper()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := net.WaitNodeReady(ctx, i); err != nil {
		t.Fatal(err)
	}
	return time.Since(begin).Round(time.Millisecond)
}

func logOf(t *testing.T, net *testnet.Network, i int) string {
	t.Helper()
	data, err := os.ReadFile(net.LogFile(i))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The disk of a validator fills up while it works. It stops in good order before
// the disk is full, does not start while it is, and goes on with the state of
// the others when there is space again.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	const victim = 3
	dir := filepath.Join(t.TempDir(), "net")
	disk := filepath.Join(dir, fmt.Sprintf("validator%d", victim+1))
	mountSmall(t, disk, "192m")
	net := network(t, func(o *testnet.Options) {
		o.Dir = dir
		o.Configure = func(i int, c *config.Config) {
			if i == victim {
				c.Store.DiskReserve = 64 << 20 // the least
			}
		}
	})
	l := startLoad(t, net)
	end := l.begin(t)
	l.more(t, 10, "settlements before the disk fills up")

	ballast, err := os.Create(filepath.Join(disk, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ballast.Close() }) // it is closed below
	for freeBytes(t, disk) > 80<<20 {
		fill(t, ballast)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for stopped := false; !stopped; { // 10 MB a second
		if full := fill(t, ballast); full {
			t.Fatal("the disk is full, and the node has not stopped")
		}
		select {
		case <-net.Exited(victim):
			stopped = true
		case <-tick.C:
		}
	}
	if free := freeBytes(t, disk); free == 0 {
		t.Error("the node stopped when the disk was full; it must stop before")
	} else {
		t.Logf("stopped with %d MiB free", free>>20)
	}
	err = net.WaitNodeReady(t.Context(), victim)
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != exitError {
		t.Fatalf("the node ended with %v, want exit code %d", err, exitError)
	}
	log := logOf(t, net, victim)
	for _, word := range []string{"disk space runs low", "less disk space is free than store.disk_reserve", "free some", `"msg":"stopped"`} {
		if !strings.Contains(log, word) {
			t.Errorf("the log does not say %q", word)
		}
	}
	l.more(t, 10, "settlements by the others")

	for full := false; !full; {
		full = fill(t, ballast) // to the last byte
	}
	newUser(t).refused(exitError, []string{"store.disk_reserve", "free some", disk}, "start", "--home", disk)

	if err := errors.Join(ballast.Close(), os.Remove(ballast.Name())); err != nil {
		t.Fatal(err)
	}
	if err := net.StartNode(victim); err != nil {
		t.Fatal(err)
	}
	t.Logf("ready %v after there was space", ready(t, net, victim))
	l.more(t, 5, "settlements with all")
	end()
	l.verify(t, net)
}

// mountSmall mounts a small disk, or skips the test where it may not.
func mountSmall(t *testing.T, dir, size string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=700,size="+size); err != nil {
		t.Skipf("a small disk needs the right to mount one: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}

// fill writes 1 MiB, and reports whether the disk is full.
func fill(t *testing.T, f *os.File) (full bool) {
	t.Helper()
	_, err := f.Write(bytes.Repeat([]byte{0xa5}, 1<<20))
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return err != nil
}

func freeBytes(t *testing.T, dir string) uint64 {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return s.Bavail * uint64(s.Bsize) //nolint:gosec // block sizes are positive
}

// SIGTERM in the middle of work ends a validator with exit code 0 within ten
// seconds, and leaves nothing, or one block, to be replayed.
func TestTermUnderLoad(t *testing.T) {
	t.Parallel()
	const victim, times = 2, 3
	net := network(t, func(o *testnet.Options) {
		o.Configure = func(i int, c *config.Config) {
			if i == victim {
				c.Log.Level = "info,consensus=debug" // what is replayed
			}
		}
	})
	l := startLoad(t, net)
	end := l.begin(t)
	fastest := patience
	for range times {
		l.more(t, 8, "settlements before SIGTERM")
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := net.StopNode(ctx, victim)
		cancel()
		if err != nil {
			t.Fatalf("SIGTERM: %v after %v", err, time.Since(begin))
		}
		stopped := time.Since(begin).Round(time.Millisecond)
		fastest = min(fastest, stopped)
		l.more(t, 3, "settlements by the others")
		if err := net.StartNode(victim); err != nil {
			t.Fatal(err)
		}
		t.Logf("stopped after %v, ready %v after the start", stopped, ready(t, net, victim))
	}
	end()
	l.verify(t, net)
	if fastest > 10*time.Second { // load only makes it slower, so one time is enough
		t.Errorf("SIGTERM takes %v at least", fastest)
	}

	starts := 0
	for line := range strings.Lines(logOf(t, net, victim)) {
		var entry struct {
			App   int64 `json:"appHeight"`
			Store int64 `json:"storeHeight"`
		}
		if !strings.Contains(line, "ABCI Replay Blocks") {
			continue
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		starts++
		if entry.App > entry.Store || entry.Store-entry.App > 1 || starts > 1 && entry.App == 0 {
			t.Errorf("start %d: the application is at height %d, the blocks end at %d", starts, entry.App, entry.Store)
		}
	}
	if starts != times+1 {
		t.Errorf("the log tells of %d starts, want %d", starts, times+1)
	}
}

// A second node with the key of a validator, as after a restored backup, never
// signs while the first one does: its peers tell of the other, or, if it heard of
// none, the chain's blocks hold votes that its sign state does not know.
func TestSameKeyTwice(t *testing.T) {
	t.Parallel()
	const victim = 3
	net := network(t)
	l := startLoad(t, net)
	end := l.begin(t)
	l.more(t, 5, "settlements before the copy")

	stop, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := net.StopNode(stop, victim); err != nil {
		t.Fatal(err)
	}
	twin := newUser(t)
	twin.ok("init", "twin", "--genesis", filepath.Join(net.Dir, "genesis.json"))
	signer := filepath.Join(twin.home(), "config", "validator")
	twin.must(os.RemoveAll(signer))
	twin.must(os.CopyFS(signer, os.DirFS(filepath.Join(net.Nodes[victim].Home, "config", "validator"))))
	for _, name := range []string{"priv_validator_key.json", "priv_validator_state.json", "bls_key.json"} {
		twin.must(os.Chmod(filepath.Join(signer, name), 0o600))
	}
	twin.must(os.Chmod(signer, 0o700))
	if err := net.StartNode(victim); err != nil {
		t.Fatal(err)
	}
	ready(t, net, victim)
	copied := signHeight(t, signer)
	own := filepath.Join(net.Nodes[victim].Home, "config", "validator")
	await(t, 30*time.Second, "the validator votes on", func(context.Context) bool { return signHeight(t, own) > copied+2 })

	second := twin.background(append([]string{"start"}, soloPorts()...)...)
	await(t, time.Minute, "the second node refuses to sign", func(context.Context) bool {
		out := second.output()
		return strings.Contains(out, "another process signs with this key") || strings.Contains(out, "sign state is behind the chain")
	})
	l.more(t, 20, "settlements beside the second node")
	if now := signHeight(t, signer); now != copied {
		t.Errorf("the second node signed at height %d; its copy ended at %d", now, copied)
	}
	if code := second.end(t, syscall.SIGTERM, 15*time.Second); code != exitOK && !strings.Contains(second.output(), "error: ") {
		t.Errorf("the second node ended with %d and no word", code)
	}
	end()
	l.verify(t, net)
	for i := range net.Nodes {
		if strings.Contains(logOf(t, net, i), "onflicting vote") {
			t.Errorf("%s saw two votes of one key", net.Nodes[i].Name)
		}
	}
}

// signHeight is the height up to which a sign state knows of votes.
func signHeight(t *testing.T, dir string) int64 {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "priv_validator_state.json"))
	if err != nil {
		t.Fatal(err)
	}
	var state struct {
		Height string `json:"height"`
	}
	if err := json.Unmarshal(data, &state); err != nil {
		t.Fatal(err)
	}
	height, err := strconv.ParseInt(state.Height, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return height
}
