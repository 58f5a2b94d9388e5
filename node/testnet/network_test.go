package testnet_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/genesis"
	"github.com/tributary-network/tributary/node/home"
	"github.com/tributary-network/tributary/node/keystore"
	"github.com/tributary-network/tributary/node/testnet"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
)

// TestLostQuorumIsVisible stops two of four validators, which leaves no quorum,
// and starts one again.
func TestLostQuorumIsVisible(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	n := start(ctx, t, testnet.Options{NoServices: true})
	domain := n.Genesis.Domain()
	if err := dial(t, n.Nodes[0].GRPC).transfer(ctx, domain, 0); err != nil {
		t.Fatal(err)
	}
	health := healthOf(t, n.Nodes[0])
	says := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) func(context.Context) bool {
		return func(ctx context.Context) bool {
			r, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "chain/main"})
			return err == nil && r.GetStatus() == want
		}
	}
	until(ctx, t, healthLimit, "health is green", says(grpc_health_v1.HealthCheckResponse_SERVING))
	for _, i := range []int{2, 3} {
		if err := n.StopNode(ctx, i); err != nil {
			t.Fatal(err)
		}
	}
	took := until(ctx, t, healthLimit, "health is red without a quorum", says(grpc_health_v1.HealthCheckResponse_NOT_SERVING))
	t.Logf("health is red after %v", took)
	status, err := dial(t, n.Nodes[0].GRPC).nodes.GetStatus(ctx, &nodev1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if reason := status.GetChains()[0].GetNotReadyReason(); !strings.Contains(reason, "quorum") {
		t.Errorf("the reason is %q", reason)
	}
	if err := n.StartNode(2); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 1, 2} {
		if err := n.WaitNodeReady(ctx, i); err != nil {
			t.Fatal(err)
		}
	}
	if err := dial(t, n.Nodes[2].GRPC).transfer(ctx, domain, 1); err != nil {
		t.Errorf("after a validator came back: %v", err)
	}
}

func healthOf(t *testing.T, n testnet.Node) grpc_health_v1.HealthClient {
	t.Helper()
	conn, err := grpc.NewClient(n.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return grpc_health_v1.NewHealthClient(conn)
}

// TestNetworkGoesOn stops a network that is to be kept and starts it again.
func TestNetworkGoesOn(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	dir := filepath.Join(t.TempDir(), "net")
	options := testnet.Options{
		Dir: dir, Name: "local-kept", Validators: 1, NoServices: true,
		Params:    func(p *settlement.Params) { p.TxFee = 7 },
		Accounts:  []genesis.Account{{Address: testnet.Address("somebody"), Balance: 5}},
		Configure: func(_ int, c *config.Config) { c.GRPC.MaxInFlight = 17 },
	}
	first, err := testnet.Start(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := testnet.Start(ctx, options); !errors.Is(err, home.ErrLocked) {
		t.Errorf("a second start in the same directory: %v, want %v", err, home.ErrLocked)
	}
	running, err := first.Announce()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := testnet.Find(dir); err != nil || got.Nodes[0] != running.Nodes[0] || got.PID != os.Getpid() {
		t.Errorf("found %+v, %v, want %+v", got, err, running)
	}
	if err := testnet.Remove(dir); err == nil {
		t.Error("Remove took a running network away")
	}
	domain := first.Genesis.Domain()
	if err := dial(t, first.Nodes[0].GRPC).transfer(ctx, domain, 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(first.Stop(ctx), first.Stop(ctx)); err != nil {
		t.Fatal(err)
	}
	if _, err := testnet.Find(dir); !errors.Is(err, testnet.ErrNoNetwork) {
		t.Errorf("Find after Stop: %v", err)
	}

	second := start(ctx, t, options)
	p := dial(t, second.Nodes[0].GRPC)
	if got, want := p.balance(ctx, t, "alice"), 999_999*ledger.DropsPerCoin-7; got != want {
		t.Errorf("alice has %d drops after a restart, want %d", got, want)
	}
	if got := p.balance(ctx, t, "somebody"); got != 5 {
		t.Errorf("an account of the options has %d drops, want 5", got)
	}
	settings, err := config.Load(second.Nodes[0].Home, nil, nil)
	if err != nil || settings.GRPC.MaxInFlight != 17 {
		t.Errorf("Configure did not reach the settings: %d, %v", settings.GRPC.MaxInFlight, err)
	}
	if err := second.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if kept, err := testnet.Down(ctx, dir, true); err != nil || kept {
		t.Errorf("Down: kept %v, %v", kept, err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Down with purge left the directory: %v", err)
	}
}

func TestInMemoryNetworkLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	dir := filepath.Join(t.TempDir(), "net")
	n, err := testnet.Start(ctx, testnet.Options{Dir: dir, Validators: 1, InMemory: true, Discard: true, NoServices: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := dial(t, n.Nodes[0].GRPC).transfer(ctx, n.Genesis.Domain(), 0); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(filepath.Join(n.Nodes[0].Home, "data", "settlement")); err == nil {
		t.Errorf("a store in memory wrote %d files", len(entries))
	}
	if err := n.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Stop left the directory: %v", err)
	}
}

// listenLow listens on a free loopback port with room above it for a network.
func listenLow(t *testing.T) (l net.Listener, port int) {
	t.Helper()
	for range 100 {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		if addr, ok := l.Addr().(*net.TCPAddr); ok && addr.Port+100 <= 65_000 {
			return l, addr.Port
		}
	}
	t.Fatal("of 100 free ports none has room above it")
	return nil, 0
}

func TestTakenPortIsNamed(t *testing.T) {
	t.Parallel()
	l, port := listenLow(t)
	dir := filepath.Join(t.TempDir(), "net")
	_, err := testnet.Start(t.Context(), testnet.Options{Dir: dir, Discard: true, Validators: 1, BasePort: port - 1})
	if !errors.Is(err, testnet.ErrPortTaken) || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "--base-port") {
		t.Errorf("Start: %v", err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the start that failed left the directory: %v", err)
	}
	// The addresses of a network that is there already stay.
	laid, err := testnet.Files(testnet.Options{Dir: dir, Validators: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "network.json"), networkAt(t, dir, laid.Nodes[0].GRPC, l.Addr().String()), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = testnet.Start(t.Context(), testnet.Options{Dir: dir})
	if !errors.Is(err, testnet.ErrPortTaken) || !strings.Contains(err.Error(), "testnet down --purge") || strings.Contains(err.Error(), "--base-port") {
		t.Errorf("Start of what is there: %v", err)
	}
}

// networkAt returns the description of the network in dir with an address
// replaced.
func networkAt(t *testing.T, dir, before, after string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "network.json"))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(strings.Replace(string(data), before, after, 1))
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		options testnet.Options
		want    string
		early   bool // before anything is made
	}{
		{"public name", testnet.Options{Name: "main"}, "local", true},
		{"too many", testnet.Options{Validators: 33}, "validators", true},
		{"negative", testnet.Options{Validators: -1}, "validators", true},
		{"negative full nodes", testnet.Options{FullNodes: -1}, "full nodes", true},
		{"too many nodes", testnet.Options{Validators: 30, FullNodes: 3}, "full nodes", true},
		{"high ports of full nodes", testnet.Options{Validators: 1, FullNodes: 5, BasePort: 65_000}, "base port", true},
		{"high ports", testnet.Options{BasePort: 65_500}, "base port", true},
		{"bad parameters", testnet.Options{Validators: 1, Params: func(p *settlement.Params) { p.BurnBps = 10_001 }}, "burn_bps", false},
		{"bad settings", testnet.Options{Validators: 1, Configure: func(_ int, c *config.Config) { c.Log.Level = "loud" }}, "log.level", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if err := test.options.Validate(); (err != nil) != test.early {
				t.Errorf("Validate: %v, want an error: %v", err, test.early)
			}
			test.options.Dir, test.options.Discard = filepath.Join(t.TempDir(), "net"), true
			if _, err := testnet.Start(t.Context(), test.options); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Start: %v, want an error about %s", err, test.want)
			}
		})
	}
}

func TestRemoveRefusesWhatIsNoNetwork(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := testnet.Remove(dir); err == nil {
		t.Error("Remove took it")
	}
	if _, err := testnet.Down(t.Context(), dir, true); err == nil {
		t.Error("Down took it")
	}
	if _, err := os.Lstat(precious); err != nil {
		t.Errorf("what was in the directory: %v", err)
	}
}

func TestFilesForContainers(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "net")
	l, err := testnet.Files(testnet.Options{Dir: dir, BasePort: 9_190})
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Nodes) != 4 || l.Nodes[2].GRPC != "127.0.0.1:9391" || l.Nodes[2].HTTP != "127.0.0.1:9392" {
		t.Errorf("nodes %+v", l.Nodes)
	}
	for i, node := range l.Nodes {
		settings, err := config.Load(node.Home, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if settings.GRPC.Listen != "0.0.0.0:9090" || settings.HTTP.Listen != "0.0.0.0:8080" || settings.TLS.CertFile == "" {
			t.Errorf("%s listens on %s and %s with certificate %q", node.Name, settings.GRPC.Listen, settings.HTTP.Listen, settings.TLS.CertFile)
		}
		want := fmt.Sprintf("%s@validator%d:26656", l.Nodes[(i+1)%4].NodeID, (i+1)%4+1)
		if peers := strings.Join(settings.P2P.PersistentPeers, " "); len(settings.P2P.PersistentPeers) != 3 || !strings.Contains(peers, want) {
			t.Errorf("%s has peers %s", node.Name, peers)
		}
		if info, err := os.Stat(settings.Path(settings.TLS.KeyFile)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("key of %s: %v, %v", node.Name, info, err)
		}
	}
	if _, err := l.AnnounceContainers(); err != nil {
		t.Fatal(err)
	}
	// The description can be copied elsewhere, as the containers' is.
	elsewhere := t.TempDir()
	for _, name := range []string{"running.json", "ca.pem"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(elsewhere, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := testnet.Find(elsewhere)
	if err != nil || r.CA != filepath.Join(elsewhere, "ca.pem") || r.Mode != testnet.ModeContainers {
		t.Errorf("found %+v, %v", r, err)
	}
	again, err := testnet.Files(testnet.Options{Dir: dir, BasePort: 9_190})
	if err != nil || again.Genesis.NetworkID() != l.Genesis.NetworkID() {
		t.Errorf("Files on a network that is there: %v", err)
	}
	if _, err := testnet.Down(t.Context(), dir, true); err == nil {
		t.Error("Down took containers for its own")
	}
}

// TestFilesForFullNodes makes what two validators and two nodes need that are none yet.
func TestFilesForFullNodes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "net")
	l, err := testnet.Files(testnet.Options{Dir: dir, Validators: 2, FullNodes: 2, BasePort: 9_190})
	if err != nil {
		t.Fatal(err)
	}
	if n := l.Nodes[2]; len(l.Nodes) != 4 || n.Name != "fullnode1" || !n.Full || n.GRPC != "127.0.0.1:9391" || len(l.Genesis.Validators) != 2 {
		t.Errorf("nodes %+v, %d validators", l.Nodes, len(l.Genesis.Validators))
	}
	settings, err := config.Load(l.Nodes[2].Home, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if peers := settings.P2P.PersistentPeers; settings.P2P.ExternalAddress != "fullnode1:26656" || len(peers) != 3 ||
		peers[2] != l.Nodes[3].NodeID+"@fullnode2:26656" {
		t.Errorf("peers see it at %s; its own are %q", settings.P2P.ExternalAddress, settings.P2P.PersistentPeers)
	}
	for i, v := range l.Genesis.Validators {
		if v.Name != testnet.ValidatorName(i) || v.Operator != testnet.Address(v.Name) {
			t.Errorf("validator %d is %q, operated by %s", i, v.Name, v.Operator)
		}
	}
	ring, err := keystore.Open(l.Keys(), keystore.Options{Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	funded := map[ledger.Address]bool{}
	for _, a := range l.Genesis.Accounts {
		funded[a.Address] = a.Balance > 0
	}
	for _, name := range []string{"alice", "validator1", "validator2", "fullnode1"} {
		key, err := ring.Load(name, nil)
		if err != nil || key.Private().Address(0) != testnet.Address(name) || !funded[testnet.Address(name)] {
			t.Errorf("the account %s: %v, with money %v", name, err, funded[testnet.Address(name)])
		}
	}
	if err := testnet.Remove(dir); err != nil {
		t.Error(err)
	}
}

// TestNodesUseTLS runs nodes with the certificates that containers get.
func TestNodesUseTLS(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	n, err := testnet.Start(ctx, testnet.Options{Validators: 1, TLS: true, NoServices: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Stop(ctx); err != nil {
			t.Error(err)
		}
	}()
	prober, err := testnet.NewProber("")
	if err != nil {
		t.Fatal(err)
	}
	defer prober.Close()
	if ok, reason, err := prober.Ready(ctx, n.Nodes[0]); ok {
		t.Errorf("plaintext was answered: %q, %v", reason, err)
	}
	if _, err := dial(t, n.Nodes[0].GRPC).nodes.GetStatus(ctx, &nodev1.GetStatusRequest{}); err == nil {
		t.Error("plaintext gRPC was answered")
	}
}

func TestProcessIsNotOurs(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	n := start(ctx, t, testnet.Options{Validators: 1, NoServices: true})
	if err := n.KillNode(0); err == nil {
		t.Error("KillNode killed a node without a process of its own")
	}
	if err := n.PauseNode(0); err == nil {
		t.Error("PauseNode froze a node without a process of its own")
	}
	if pid := n.PID(0); pid != syscall.Getpid() {
		t.Errorf("PID %d", pid)
	}
	if err := n.StopNode(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if err := n.StopNode(ctx, 0); !errors.Is(err, testnet.ErrStopped) {
		t.Errorf("StopNode again: %v", err)
	}
}
