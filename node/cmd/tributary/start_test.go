package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/testnet"
)

// daemon is a node that runs in the background.
type daemon struct {
	cmd    *exec.Cmd
	stderr *bytes.Buffer
	done   chan struct{} // closed when it has ended
}

// start starts a node of a shell's home and waits until it is ready.
func (s *shell) start(t *testing.T, http string, flags ...string) *daemon {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{cmd: exec.Command(self, append([]string{"start", "--http.listen", http}, flags...)...), stderr: &bytes.Buffer{}, done: make(chan struct{})}
	d.cmd.Env, d.cmd.Stderr = s.environ, d.stderr
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait() // ProcessState tells
		close(d.done)
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill() // it may have ended
		<-d.done
	})
	prober, err := testnet.NewProber("")
	if err != nil {
		t.Fatal(err)
	}
	defer prober.Close()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, _, _ := prober.Ready(ctx, testnet.Node{HTTP: http}); ok {
			return d
		}
		select {
		case <-tick.C:
		case <-d.done:
			t.Fatalf("the node ended:\n%s", d.stderr)
		case <-ctx.Done():
			t.Fatal("the node does not get ready")
		}
	}
}

func (d *daemon) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-d.done:
		return d.cmd.ProcessState.ExitCode()
	case <-time.After(testTimeout):
		t.Fatal("the node does not end")
		return 0
	}
}

// freePorts returns addresses of 127.0.0.1 that no one listens on.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var list []string
	for range n {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		list = append(list, l.Addr().String())
	}
	return list
}

// TestListeners checks that a node with the default settings but for the ports
// listens on what is documented, and on nothing else.
func TestListeners(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/net/tcp"); err != nil {
		t.Skip("this system does not list sockets in /proc/net/tcp")
	}
	c := config.Default()
	if c.P2P.Listen != "0.0.0.0:26656" || c.GRPC.Listen != "127.0.0.1:9090" || c.HTTP.Listen != "127.0.0.1:8080" {
		t.Errorf("the defaults are %s, %s and %s", c.P2P.Listen, c.GRPC.Listen, c.HTTP.Listen)
	}
	s := newShell(t)
	s.ok(t, "init", "me")
	ports := freePorts(t, 3)
	_, p2p, err := net.SplitHostPort(ports[0])
	if err != nil {
		t.Fatal(err)
	}
	d := s.start(t, ports[2], "--p2p.listen", "0.0.0.0:"+p2p, "--grpc.listen", ports[1])
	got := listening(t, d.cmd.Process.Pid)
	want := []string{"[::]:" + p2p, ports[1], ports[2]} // every address of both families
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("listens on (-want +got):\n%s", diff)
	}
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := d.wait(t); code != exitOK {
		t.Errorf("exit code %d after SIGTERM:\n%s", code, d.stderr)
	}
	for _, line := range []string{
		`"for":"p2p","address":"0.0.0.0:` + p2p + `","exposure":"network, peers"`,
		`"for":"grpc","address":"` + ports[1] + `","exposure":"loopback"`,
		`"for":"http","address":"` + ports[2] + `","exposure":"loopback"`,
		`"msg":"stopped"`,
	} {
		if strings.Count(d.stderr.String(), line) != 1 {
			t.Errorf("the log does not say once %s:\n%s", line, d.stderr)
		}
	}
}

// listening lists the TCP addresses that a process listens on.
func listening(t *testing.T, pid int) []string {
	t.Helper()
	inodes := map[string]bool{}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		link, err := os.Readlink(filepath.Join(dir, e.Name()))
		if inode, ok := strings.CutPrefix(link, "socket:["); err == nil && ok {
			inodes[strings.TrimSuffix(inode, "]")] = true
		}
	}
	var list []string
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			const listen = "0A"
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == listen && inodes[f[9]] {
				list = append(list, socketAddress(t, f[1]))
			}
		}
	}
	slices.Sort(list)
	return list
}

// socketAddress reads an address of /proc/net/tcp: hexadecimal, the IP in words
// of the machine's order.
func socketAddress(t *testing.T, text string) string {
	t.Helper()
	host, port, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		t.Fatal(err)
	}
	var ip net.IP
	for i := 0; i < len(host); i += 8 {
		word, err := strconv.ParseUint(host[i:i+8], 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		ip = append(ip, byte(word), byte(word>>8), byte(word>>16), byte(word>>24)) // little-endian machines
	}
	return net.JoinHostPort(ip.String(), strconv.FormatUint(n, 10))
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.ok(t, "init", "me")
	ports := freePorts(t, 3)
	d := s.start(t, ports[2], "--p2p.listen", ports[0], "--grpc.listen", ports[1])
	// A stream that does not end holds the graceful stop up.
	var out bytes.Buffer
	watch := exec.Command(d.cmd.Path, "channel", "watch", "--payer", "alice", "--node", ports[1])
	watch.Env, watch.Stdout, watch.Stderr = s.environ, &out, &out
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = watch.Process.Kill() // it may have ended
		_ = watch.Wait()
	}()
	for range 2 {
		if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
	}
	d.wait(t)
	again := s.start(t, ports[2], "--p2p.listen", ports[0], "--grpc.listen", ports[1])
	if err := again.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := again.wait(t); code != exitOK {
		t.Errorf("exit code %d after SIGINT:\n%s", code, again.stderr)
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.ok(t, "init", "me")
	ports := freePorts(t, 4)
	d := s.start(t, ports[2], "--p2p.listen", ports[0], "--grpc.listen", ports[1])
	for _, test := range []struct {
		name  string
		flags []string
		want  string
	}{
		{"a home in use", nil, "is held by process " + strconv.Itoa(d.cmd.Process.Pid)},
		{"plaintext off loopback", []string{"--grpc.listen", "0.0.0.0:9999"}, "plaintext off loopback"},
		{"plaintext metrics off loopback", []string{"--http.listen", "0.0.0.0:9999"}, "plaintext off loopback"},
	} {
		got := s.run(t, "", append([]string{"start"}, test.flags...)...)
		if got.code != exitError || !strings.Contains(got.stderr, test.want) {
			t.Errorf("%s: start: %+v, want %q", test.name, got, test.want)
		}
	}
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	d.wait(t)
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", ports[3])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	key := filepath.Join(s.home, ".tributary", "config", "validator", "priv_validator_key.json")
	for _, test := range []struct { //nolint:paralleltest // each row spoils the home
		name  string
		flags []string
		spoil func() error
		want  string
	}{
		{"no disk space", []string{"--store.disk_reserve", "900TiB"}, nil, "disk_reserve"},
		{"a taken port", []string{"--grpc.listen", ports[3], "--http.listen", "", "--p2p.listen", ports[0]}, nil, "or change grpc.listen"},
		{"a taken port for HTTP", []string{"--grpc.listen", "", "--http.listen", ports[3], "--p2p.listen", ports[0]}, nil, "or change http.listen"},
		{
			"a taken port for peers",
			[]string{"--grpc.listen", ports[1], "--http.listen", ports[2], "--p2p.listen", ports[3]},
			nil,
			"p2p.listen: cannot listen on " + ports[3],
		},
		{"another network's name", []string{"--node.network", "local-other"}, nil, "local-other"},
		{"an unknown variable", nil, func() error { s.environ = append(s.environ, "TRIBUTARY_GRPC_LISTN=x"); return nil }, "TRIBUTARY_GRPC_LISTEN"},
		{"a key that others can read", nil, func() error { s.environ = s.environ[:len(s.environ)-1]; return os.Chmod(key, 0o644) }, "chmod 600"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.spoil != nil {
				if err := test.spoil(); err != nil {
					t.Fatal(err)
				}
			}
			got := s.run(t, "", append([]string{"start"}, test.flags...)...)
			if got.code != exitError || !strings.Contains(got.stderr, test.want) || strings.Contains(got.stderr, "listening") {
				t.Errorf("start: %+v, want %q, and nothing listening", got, test.want)
			}
		})
	}
}
