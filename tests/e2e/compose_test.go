package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/testnet"
)

const (
	composeProject = "tributary-testnet"
	composeImage   = "tributary:testnet"
	composeLimit   = 4 * time.Minute
	composeNodes   = 5 // with the full node
)

// Four validators and a full node in containers: `make testnet`, settlements from outside over
// TLS, a validator that is killed and started again, `make testnet-down`, and
// nothing is left.
func TestContainers(t *testing.T) {
	t.Parallel()
	d := dockerOrSkip(t)
	tree := stageDeploy(t)
	d.tree = tree
	t.Cleanup(func() { d.mustMake(t, "testnet-down") })
	begin := time.Now()
	if out := d.mustMake(t, "testnet"); !strings.Contains(out, "ready: four validators and a full node") || !strings.Contains(out, "testnet faucet") {
		t.Errorf("make testnet does not say what to try next: %s", out)
	}
	t.Logf("ready after %v", time.Since(begin).Round(time.Millisecond))

	r, err := testnet.Find(filepath.Join(tree, "build", "testnet"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Mode != testnet.ModeContainers || len(r.Nodes) != composeNodes || r.CA == "" {
		t.Fatalf("the network is %+v", r)
	}
	prober, err := testnet.NewProber(r.CA)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(prober.Close)
	for _, n := range r.Nodes {
		d.confined(t, n.Name)
		if ok, reason, err := prober.Ready(t.Context(), n); err != nil || !ok {
			t.Errorf("%s is not ready: %q, %v", n.Name, reason, err)
		}
		if out := d.docker(t, "exec", d.container(t, n.Name), "/tributary", "health", "--ready"); !strings.Contains(out, "chain/main") {
			t.Errorf("health in the container of %s says %q", n.Name, out)
		}
	}
	plaintext, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if c, err := client.Dial(plaintext, r.Nodes[0].GRPC, client.WithInsecure()); err == nil {
		t.Errorf("%s answers without TLS: %v", r.Nodes[0].GRPC, c.Close())
	}
	d.commands(t, r)
	d.settle(t, r, prober)

	d.mustMake(t, "testnet-down")
	d.nothingLeft(t, r)
}

// docker is the daemon, and the tree that the containers are made from.
type docker struct{ tree string }

// dockerOrSkip skips the test where it cannot run, or would disturb somebody.
func dockerOrSkip(t *testing.T) *docker {
	t.Helper()
	if testing.Short() {
		t.Skip("containers take a while; not with -short")
	}
	for _, tool := range []string{"docker", "make"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	d := &docker{}
	if _, err := d.try(t, "compose", "version"); err != nil {
		if _, err := exec.LookPath("docker-compose"); err != nil {
			t.Skip("neither 'docker compose' nor docker-compose is installed")
		}
	}
	if out, err := d.try(t, "info"); err != nil {
		t.Skipf("cannot reach the Docker daemon: %s", out)
	}
	if left := d.leftovers(t); len(left) > 0 {
		t.Skipf("there is a testnet already (%v); 'make testnet-down' removes it", left)
	}
	for _, address := range composeAddresses() {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Skipf("the containers need %s: %v", address, err)
		}
		_ = l.Close() // nothing was accepted
	}
	return d
}

// composeAddresses are the addresses that the compose files publish.
func composeAddresses() []string {
	var list []string
	for i := 1; i <= composeNodes; i++ {
		list = append(list, fmt.Sprintf("127.0.0.1:9%d91", i), fmt.Sprintf("127.0.0.1:9%d92", i))
	}
	return list
}

// stageDeploy copies what `make testnet` needs, with the program under test as
// what `make build` would build, so that the tree is left alone.
func stageDeploy(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for from, to := range map[string]string{
		"../../Makefile":                           "Makefile",
		"../../deploy/testnet":                     "deploy/testnet",
		"../../deploy/Dockerfile":                  "deploy/Dockerfile",
		"../../deploy/docker-compose.yml":          "deploy/docker-compose.yml",
		"../../deploy/docker-compose.fullnode.yml": "deploy/docker-compose.fullnode.yml",
		binary: "build/tributary",
	} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		to = filepath.Join(dir, to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, 0o755); err != nil { //nolint:gosec // programs
			t.Fatal(err)
		}
	}
	return dir
}

// try runs docker and returns both of its streams.
func (d *docker) try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
	return string(out), err
}

// docker runs docker, which must succeed.
func (d *docker) docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := d.try(t, args...)
	if err != nil {
		t.Fatalf("docker %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// mustMake makes a target, without building the program anew.
func (d *docker) mustMake(t *testing.T, target string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), composeLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "make", "--no-print-directory", "-o", "build", target)
	cmd.Dir = d.tree
	cmd.Env = append(os.Environ(), "FULL_NODE=1")
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("make %s: %v: %s", target, err, out)
	}
	return string(out)
}

// container returns the id of a service's container.
func (d *docker) container(t *testing.T, service string) string {
	t.Helper()
	id := strings.TrimSpace(d.docker(t, "ps", "-aq", "--filter", "label=com.docker.compose.project="+composeProject,
		"--filter", "label=com.docker.compose.service="+service))
	if id == "" || strings.Contains(id, "\n") {
		t.Fatalf("the containers of %s are %q, want one", service, id)
	}
	return id
}

func (d *docker) health(t *testing.T, id string) string {
	t.Helper()
	return strings.TrimSpace(d.docker(t, "inspect", "-f", "{{.State.Health.Status}}", id))
}

// confined checks that a validator's container is healthy and can do nothing
// that it need not.
func (d *docker) confined(t *testing.T, service string) {
	t.Helper()
	id := d.container(t, service)
	if status := d.health(t, id); status != "healthy" {
		t.Errorf("%s is %s", service, status)
	}
	const format = "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.Privileged}} {{.HostConfig.CapDrop}}"
	if got := strings.TrimSpace(d.docker(t, "inspect", "-f", format, id)); got != "65532:65532 true false [ALL]" {
		t.Errorf("%s runs as %q", service, got)
	}
	top := strings.Split(strings.TrimSpace(d.docker(t, "top", id, "-eo", "uid,gid,pid,args")), "\n")[1:]
	nodes := 0
	for _, line := range top { // a health check may be among them
		f := strings.Fields(line)
		if strings.HasSuffix(line, "runc init") { // a health check that is about to begin
			continue
		}
		if len(f) < 5 || f[0] != "65532" || f[1] != "65532" || f[3] != "/tributary" {
			t.Errorf("%s runs %q", service, line)
		} else if f[4] == "start" {
			nodes++
		}
	}
	if nodes != 1 {
		t.Errorf("%s runs %q, want one node", service, top)
	}
}

// commands tries what the ready line proposes.
func (d *docker) commands(t *testing.T, r testnet.Running) {
	t.Helper()
	u := newUser(t)
	dir := filepath.Dir(r.CA)
	if text := u.ok("testnet", "status", "--dir", dir); strings.Count(text, "  ready  ") != composeNodes {
		t.Errorf("status says %q", text)
	}
	u.ok("testnet", "faucet", "alice", "100", "--dir", dir)
	u.refused(exitError, []string{"containers", "make testnet-down"}, "testnet", "down", "--dir", dir)
}

// settle opens a channel and settles vouchers, while a container is killed and
// comes back.
func (d *docker) settle(t *testing.T, r testnet.Running, prober *testnet.Prober) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	clients := make([]*client.Client, len(r.Nodes))
	for i, n := range r.Nodes {
		clients[i] = dialTLS(ctx, t, n, r.CA)
	}
	c := clients[0]
	head, err := c.Block(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	voucherKey := testKey("containers")
	payer, payee := c.Account(pay.NewIdentity(testnet.Key("alice"), 0)), c.Account(pay.NewIdentity(testnet.Key("bob"), 0))
	channels, _, err := payer.OpenChannels(ctx, []channel.OpenParams{{
		Payee: payee.Address(), VoucherKey: voucherKey.Public(), Deposit: 10 * ledger.DropsPerCoin,
		ExpiresAt: head.Clock + 10_000, Challenge: c.Params().DefaultChallenge,
	}})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	redeem := func(total ledger.Amount) ledger.Hash {
		t.Helper()
		e := channel.Entry{Index: channels[0].Index, Claim: channel.ClaimVoucher, Cumulative: total, Units: uint64(total)}
		e.Signature = voucherKey.Sign(e.Signed(c.Domain(), channels[0].ID))
		receipt, err := payee.Settle(ctx, channel.Batch{Payee: payee.Address(), Entries: []channel.Entry{e}})
		if err != nil || len(receipt.Entries) != 1 || receipt.Entries[0].Code != chain.CodeOK {
			t.Fatalf("settle %d: %+v, %v", total, receipt, err)
		}
		return receipt.Hash
	}
	final := []ledger.Hash{redeem(ledger.DropsPerCoin)}

	const victim = 2
	id := d.container(t, r.Nodes[victim].Name)
	d.docker(t, "kill", "-s", "KILL", id)
	final = append(final, redeem(2*ledger.DropsPerCoin))
	d.docker(t, "start", id)
	took := await(t, 30*time.Second, "the killed container is ready", func(ctx context.Context) bool {
		ok, _, err := prober.Ready(ctx, r.Nodes[victim])
		return err == nil && ok
	})
	t.Logf("ready %v after docker start", took.Round(time.Millisecond))
	await(t, 30*time.Second, "Docker sees that it is healthy", func(context.Context) bool { return d.health(t, id) == "healthy" })
	final = append(final, redeem(3*ledger.DropsPerCoin))

	for i, n := range r.Nodes {
		for _, hash := range final {
			await(t, 20*time.Second, n.Name+" has the settlement", func(ctx context.Context) bool {
				s, err := clients[i].Transaction(ctx, hash)
				return err == nil && s.Stage == client.StageFinal && s.Receipt.Code == chain.CodeOK
			})
		}
		info, err := clients[i].Channel(ctx, channels[0].ID)
		if err != nil || info.Redeemed != 3*ledger.DropsPerCoin {
			t.Errorf("%s: %d drops redeemed, %v", n.Name, info.Redeemed, err)
		}
	}
}

// dialTLS connects to a node with a certificate of the authority.
func dialTLS(ctx context.Context, t *testing.T, n testnet.Node, ca string) *client.Client {
	t.Helper()
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("%s holds no certificate", ca)
	}
	c, err := client.Dial(ctx, n.GRPC, client.WithTLS(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots}))
	if err != nil {
		t.Fatalf("dial %s: %v", n.Name, err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the network may be gone
	return c
}

// leftovers lists what Docker has of the network.
func (d *docker) leftovers(t *testing.T) []string {
	t.Helper()
	var left []string
	for kind, args := range map[string][]string{
		"container": {"ps", "-aq", "--filter", "label=com.docker.compose.project=" + composeProject},
		"volume":    {"volume", "ls", "-q", "--filter", "label=com.docker.compose.project=" + composeProject},
		"network":   {"network", "ls", "-q", "--filter", "label=com.docker.compose.project=" + composeProject},
		"image":     {"images", "-q", composeImage},
	} {
		for name := range strings.FieldsSeq(d.docker(t, args...)) {
			left = append(left, kind+" "+name)
		}
	}
	return left
}

func (d *docker) nothingLeft(t *testing.T, r testnet.Running) {
	t.Helper()
	if left := d.leftovers(t); len(left) > 0 {
		t.Errorf("make testnet-down leaves %v", left)
	}
	gone(t, filepath.Dir(r.CA))
	for _, address := range composeAddresses() {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Errorf("%s is still taken: %v", address, err)
			continue
		}
		_ = l.Close() // nothing was accepted
	}
}
