package node_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/home"
	"github.com/tributary-network/tributary/node/testnet"
)

const testTimeout = 2 * time.Minute

// buffer collects log lines. It is safe for concurrent use.
type buffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}

// solo makes the home directory of a network's only validator.
func solo(t *testing.T) node.Options {
	t.Helper()
	dir := home.Dir(filepath.Join(t.TempDir(), "home"))
	if err := dir.Create(); err != nil {
		t.Fatal(err)
	}
	id, err := node.CreateIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := testnet.SoloGenesis("local", "solo", id).Save(dir.Genesis()); err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.Home, c.P2P.Listen, c.GRPC.Listen, c.HTTP.Listen = string(dir), "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	c.Store.DiskReserve = 1 << 20
	return node.Options{Home: dir, Config: c, Log: slog.New(slog.DiscardHandler)}
}

// TestRunStopsInOrder runs a node and reads its log.
func TestRunStopsInOrder(t *testing.T) {
	t.Parallel()
	o := solo(t)
	out := &buffer{}
	o.Log = slog.New(slog.NewTextHandler(out, nil))
	n, err := node.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if l := n.Listeners(); len(l) != 3 || l[1].Purpose != "grpc" || l[1].Exposure != node.ExposureLoopback || strings.HasSuffix(l[1].Address, ":0") {
		t.Errorf("listeners %+v", l)
	}
	if _, err := node.Open(t.Context(), o); !errors.Is(err, home.ErrLocked) {
		t.Errorf("a second node in the home: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	waitUntil(t, "the node is ready", func() bool { return strings.Contains(out.String(), "chain is ready") })
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	log := out.String()
	last := -1
	for _, line := range []string{"msg=listening", "chain started", "chain is ready", "msg=stopping", "msg=stopped"} {
		at := strings.Index(log, line)
		if at < last || at < 0 {
			t.Errorf("%q is not where it should be in the log:\n%s", line, log)
		}
		last = at
	}
	again, err := node.Open(t.Context(), o) // everything was given back
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// TestFullDiskStopsTheNode fills the disk up to the reserve while a node runs.
func TestFullDiskStopsTheNode(t *testing.T) {
	t.Parallel()
	const room, fill = 1 << 30, 2 << 30
	o := solo(t)
	free, err := badgerkv.FreeBytes(o.Config.Home)
	if err != nil {
		t.Fatal(err)
	}
	if free < 2*fill {
		t.Skipf("%d MiB are free here, too few to fill some", free>>20)
	}
	o.Config.Store.DiskReserve = config.Size(free - room)
	n, err := node.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Run(t.Context()) }()
	ballast, err := os.Create(filepath.Join(t.TempDir(), "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ballast.Close() }()
	if err := unix.Fallocate(int(ballast.Fd()), 0, 0, fill); err != nil {
		t.Logf("fallocate: %v", err)
		t.Skip("this file system cannot set space aside")
	}
	select {
	case err := <-ended:
		if !errors.Is(err, node.ErrDiskReserve) {
			t.Errorf("Run: %v, want %v", err, node.ErrDiskReserve)
		}
	case <-time.After(testTimeout):
		t.Fatal("the node goes on")
	}
	if _, err := node.Open(t.Context(), o); !errors.Is(err, node.ErrDiskReserve) {
		t.Errorf("Open below the reserve: %v", err)
	}
}

func TestOpenNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		spoil func(*node.Options) error
		want  string
	}{
		{"no home", func(o *node.Options) error { o.Home = "/nonexistent"; return nil }, "tributary init"},
		{"no genesis", func(o *node.Options) error { return os.Remove(o.Home.Genesis()) }, "copy the genesis of the network there"},
		{"other network", func(o *node.Options) error { o.Config.Node.Network = "local-x"; return nil }, "local-x"},
		{"no node key", func(o *node.Options) error { return os.Remove(filepath.Join(o.Home.Config(), "node_key.json")) }, "node key"},
		{"lost sign state", func(o *node.Options) error {
			return os.Remove(filepath.Join(o.Home.Config(), "validator", "priv_validator_state.json"))
		}, "priv_validator_state.json"},
		{"readable node key", func(o *node.Options) error {
			return os.Chmod(filepath.Join(o.Home.Config(), "node_key.json"), 0o640)
		}, "chmod 600"},
		{"no certificate", func(o *node.Options) error {
			o.Config.TLS.CertFile, o.Config.TLS.KeyFile = "cert.pem", "key.pem"
			return nil
		}, "tls.key_file"},
		{"plaintext off loopback", func(o *node.Options) error { o.Config.GRPC.Listen = "0.0.0.0:0"; return nil }, "TLS is required"},
		{"an address of another machine", func(o *node.Options) error { o.Config.P2P.Listen = "192.0.2.1:26656"; return nil }, "set p2p.listen to an address of this machine"},
		{"no room", func(o *node.Options) error { o.Config.Store.DiskReserve = 1 << 55; return nil }, "disk_reserve"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := solo(t)
			if err := test.spoil(&o); err != nil {
				t.Fatal(err)
			}
			n, err := node.Open(t.Context(), o)
			if err == nil {
				t.Fatal(errors.Join(errors.New("it opened"), n.Close()))
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("Open: %v, want %q in it", err, test.want)
			}
		})
	}
}

// TestRulesHaltConsensus has the rules stop while no block is under way.
func TestRulesHaltConsensus(t *testing.T) {
	t.Parallel()
	o := solo(t)
	out := &buffer{}
	o.Log = slog.New(slog.NewTextHandler(out, nil))
	n, err := node.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	waitUntil(t, "the node is ready", func() bool { return strings.Contains(out.String(), "chain is ready") })
	if err := n.BreakRules(); err == nil {
		t.Fatal("the rules take any block")
	}
	waitUntil(t, "consensus is halted, too", func() bool { return n.Halt() != nil })
	if reason := n.Halt().Reason; !strings.Contains(reason, "the next is") {
		t.Errorf("consensus halted because %q", reason)
	}
	waitUntil(t, "the log says so", func() bool { return strings.Contains(out.String(), "a chain is halted on this node") })
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(testTimeout)
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("not within %v: %s", testTimeout, what)
		}
	}
}
