package e2e_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A network in the foreground ends with Ctrl-C and removes its data; with --keep
// the next one goes on where it was.
func TestForegroundNetwork(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	dir := filepath.Join(u.dir, "net")
	up := []string{"testnet", "up", "--dir", dir, "--base-port", "0", "--validators", "1"}
	ready := func(b *background) {
		t.Helper()
		await(t, 30*time.Second, "the network says how to go on", func(context.Context) bool { return strings.Contains(b.output(), "Ctrl-C") })
	}
	b := u.background(append(up, "--keep")...)
	ready(b)
	u.ok("testnet", "faucet", "alice", "7", "--dir", dir)
	u.ok("tx", "transfer", "bob", "3", "--from", "alice", "--testnet", dir)
	before := u.ok("query", "account", "bob", "--testnet", dir)
	if code := b.end(t, os.Interrupt, 20*time.Second); code != exitOK {
		t.Errorf("Ctrl-C ends it with %d: %s", code, b.output())
	}
	b = u.background(append(up, "--keep")...)
	ready(b)
	if after := u.ok("query", "account", "bob", "--testnet", dir); balanceLine(after) != balanceLine(before) {
		t.Errorf("balance %q, before %q", balanceLine(after), balanceLine(before))
	}
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	b.wait(t, 20*time.Second)
	u.ok("testnet", "down", "--dir", dir, "--purge")
	gone(t, dir)

	b = u.background(up...)
	ready(b)
	if code := b.end(t, os.Interrupt, 20*time.Second); code != exitOK {
		t.Errorf("Ctrl-C ends it with %d: %s", code, b.output())
	}
	gone(t, dir)
}

func balanceLine(text string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "balance") {
			return line
		}
	}
	return "no balance in " + text
}

// What the program says of itself.
func TestVersionAndCompletion(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	if text := u.ok("version"); !strings.HasPrefix(text, "tributary ") || strings.Count(text, "\n") != 1 {
		t.Errorf("version says %q", text)
	}
	var v struct {
		Version  string            `json:"version"`
		Commit   string            `json:"commit"`
		Go       string            `json:"go"`
		Platform string            `json:"platform"`
		Modules  map[string]string `json:"modules"`
	}
	u.read(&v, "version", "--long")
	if v.Version == "" || v.Commit == "" || !strings.HasPrefix(v.Go, "go1.26") || !strings.Contains(v.Platform, "/") ||
		v.Modules["github.com/cometbft/cometbft"] != "v0.40.0" || v.Modules["github.com/dgraph-io/badger/v4"] == "" {
		t.Errorf("version --long says %+v", v)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if script := u.ok("completion", shell); len(script) < 1000 || !strings.Contains(script, "tributary") {
			t.Errorf("completion for %s: %d bytes", shell, len(script))
		}
	}
	script := u.file("completion.bash", u.ok("completion", "bash"))
	if bash, err := exec.LookPath("bash"); err == nil {
		if out, err := exec.CommandContext(t.Context(), bash, "-n", script).CombinedOutput(); err != nil {
			t.Errorf("bash does not read the completion: %v: %s", err, out)
		}
	}
	if words := u.ok("__complete", "channel", ""); !strings.Contains(words, "voucher") || !strings.Contains(words, "open") {
		t.Errorf("after 'channel' come %q", words)
	}
	help := u.ok("--help")
	for _, word := range []string{"testnet", "channel", "settle", "keys", "start", "--home", "TRIBUTARY_HOME"} {
		if !strings.Contains(help, word) {
			t.Errorf("the help lacks %q", word)
		}
	}
	if _, err := os.Lstat(u.home()); err == nil {
		t.Errorf("asking what the program is made %s", u.home())
	}
}

// Settings come from four sources, and the program says from which.
func TestEffectiveSettings(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	u.ok("init", "solo")
	u.extra = []string{"TRIBUTARY_MEMPOOL_MAX_TXS=77"}
	var list []struct{ Key, Value, Origin string }
	u.read(&list, "config", "show", "--effective", "--grpc.burst", "99")
	got := map[string][2]string{}
	for _, s := range list {
		got[s.Key] = [2]string{s.Value, s.Origin}
	}
	for key, want := range map[string][2]string{
		"node.moniker":    {`"solo"`, "file"},
		"mempool.max_txs": {"77", "TRIBUTARY_MEMPOOL_MAX_TXS"},
		"grpc.burst":      {"99", "--grpc.burst"},
		"grpc.listen":     {`"127.0.0.1:9090"`, "file"},
	} {
		if s := got[key]; s[0] != want[0] || !strings.Contains(s[1], want[1]) {
			t.Errorf("%s = %s from %s, want %s from %s", key, s[0], s[1], want[0], want[1])
		}
	}
	if file := u.ok("config", "show"); !strings.Contains(file, "[grpc]") || strings.Contains(file, "77") {
		t.Errorf("the file is %q", file)
	}
	u.extra = nil
	if text := u.ok("config", "validate"); !strings.Contains(text, "is valid") {
		t.Errorf("validate says %q", text)
	}
}
