package e2e_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tributary-network/tributary/node/testnet"
)

// The consensus key of a validator moves to a process of its own. That one dies and
// comes back: the node says so, and votes again.
func TestRemoteSigner(t *testing.T) {
	t.Parallel()
	const victim, other = 3, 1
	nw := network(t, oneZone(2))
	l := startLoad(t, nw, 0, 2)
	end := l.begin(t)
	l.more(t, 3, "settlements with the key in a file")

	// As the signer's help says.
	halt(t, nw, victim)
	u := newUser(t)
	signerHome := filepath.Join(u.dir, "signer")
	keys := filepath.Join(signerHome, "config", "validator")
	u.refused(exitError, []string{"in use", nw.Nodes[other].Home}, "signer", "init", "--home", filepath.Join(u.dir, "wrong"), "--from", nw.Nodes[other].Home)
	var made struct {
		Identity  string `json:"identity"`
		PublicKey string `json:"public_key"`
	}
	u.read(&made, "signer", "init", "--home", signerHome, "--from", nw.Nodes[victim].Home)
	address := remoteSettings(t, nw.Nodes[victim], made.Identity)
	start := []string{
		"signer", "start", "--home", signerHome, "--chain-id", nw.Genesis.ChainID(),
		"--node", "tcp://" + nw.Nodes[victim].NodeID + "@" + address,
	}

	shards, err := os.ReadDir(filepath.Join(keys, "chains"))
	if err != nil || len(shards) == 0 {
		t.Fatalf("the key came with the sign states of %d shards: %v", len(shards), err)
	}

	// Without another validator the quorum needs the one whose key is remote: it
	// must vote without having seen ten blocks without its votes, as none can be
	// made, and the others must count it.
	halt(t, nw, other)
	if err := nw.StartNode(victim); err != nil {
		t.Fatal(err)
	}
	await(t, 20*time.Second, "the node waits for its signer", func(context.Context) bool {
		return strings.Contains(logOf(t, nw, victim), "waiting for the remote signer")
	})
	first := u.background(start...)
	ready(t, nw, victim)
	u.refused(exitError, []string{"in use", signerHome}, start...)
	signed := signHeight(t, keys)
	await(t, 30*time.Second, "the remote key votes", func(context.Context) bool { return signHeight(t, keys) > signed+2 })

	await(t, 30*time.Second, "the signer is asked for the votes on all shards", func(context.Context) bool {
		return strings.Count(first.output(), "signing for a shard") == len(shards)
	})
	l.more(t, 3, "settlements with the remote key and two others")
	steady(t, nw, 3*time.Second, 0, 2, victim)

	if err := nw.StartNode(other); err != nil {
		t.Fatal(err)
	}
	ready(t, nw, other)
	first.end(t, syscall.SIGKILL, 10*time.Second)
	await(t, 20*time.Second, "the node is unhealthy without its signer", func(ctx context.Context) bool {
		return strings.Contains(reasonOf(ctx, t, nw, victim), "remote signer is away")
	})
	l.more(t, 3, "settlements by the others")

	second := u.background(start...)
	await(t, 30*time.Second, "the node is healthy again", func(ctx context.Context) bool { return reasonOf(ctx, t, nw, victim) == "" })
	signed = signHeight(t, keys)
	await(t, 30*time.Second, "the remote key votes again", func(context.Context) bool { return signHeight(t, keys) > signed+2 })
	if code := second.end(t, syscall.SIGTERM, 10*time.Second); code != exitOK {
		t.Errorf("SIGTERM ends the signer with %d: %s", code, second.output())
	}
	third := u.background(start...)
	ready(t, nw, victim)
	end()
	l.verify(t, nw)
	if code := third.end(t, os.Interrupt, 10*time.Second); code != exitOK {
		t.Errorf("Ctrl-C ends the signer with %d: %s", code, third.output())
	}
}

// halt stops node i in good order.
func halt(t *testing.T, nw *testnet.Network, i int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := nw.StopNode(ctx, i); err != nil {
		t.Fatal(err)
	}
}

// remoteSettings tells a node that its key is with a signer of this identity, and
// returns where it waits for that one.
func remoteSettings(t *testing.T, n testnet.Node, identity string) (address string) {
	t.Helper()
	address = freeAddress(t)
	path := filepath.Join(n.Home, "config", "config.toml")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(string(data), "[signer]")
	if !found {
		t.Fatal("the settings have no section signer")
	}
	for _, r := range [][2]string{
		{`mode = "file"`, `mode = "remote"`}, {`listen = ""`, `listen = "tcp://` + address + `"`}, {`allow = ""`, `allow = "` + identity + `"`},
	} {
		if !strings.Contains(after, r[0]) {
			t.Fatalf("the section signer has no %s", r[0])
		}
		after = strings.Replace(after, r[0], r[1], 1)
	}
	if err := os.WriteFile(path, []byte(before+"[signer]"+after), 0o600); err != nil {
		t.Fatal(err)
	}
	return address
}

// freeAddress is a loopback address that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // nothing was accepted
	return l.Addr().String()
}

// reasonOf is why node i is not ready, "" if it is.
func reasonOf(ctx context.Context, t *testing.T, nw *testnet.Network, i int) string {
	t.Helper()
	prober, err := testnet.NewProber(nw.CA)
	if err != nil {
		t.Fatal(err)
	}
	defer prober.Close()
	ok, reason, err := prober.Ready(ctx, nw.Nodes[i])
	switch {
	case err != nil:
		return err.Error()
	case ok:
		return ""
	}
	return reason
}

// steady waits until nodes have been ready for a while without a break. On a busy
// machine what tells a node that others are there may come late now and then.
func steady(t *testing.T, nw *testnet.Network, d time.Duration, nodes ...int) {
	t.Helper()
	var since time.Time
	await(t, patience, "nodes stay ready", func(ctx context.Context) bool {
		now := time.Now()
		for _, i := range nodes {
			if reason := reasonOf(ctx, t, nw, i); reason != "" {
				t.Logf("%s is not ready: %s", nw.Nodes[i].Name, reason)
				since = time.Time{}
				return false
			}
		}
		if since.IsZero() {
			since = now
		}
		return now.Sub(since) >= d
	})
}
