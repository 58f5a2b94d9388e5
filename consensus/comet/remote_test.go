package comet_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/p2p/conn"

	"github.com/tributary-network/tributary/consensus/comet"
)

// The test binary is a signer's process, too, if this variable says where the
// node listens; the others say where its keys are and which chain it serves.
const (
	signerNodeVar  = "COMET_TEST_SIGNER_NODE"
	signerDirVar   = "COMET_TEST_SIGNER_DIR"
	signerChainVar = "COMET_TEST_SIGNER_CHAIN"
)

// runSigner is the signer's process. It returns when its standard input ends.
func runSigner() error {
	dir := os.Getenv(signerDirVar)
	signer, err := comet.LoadSigner(dir)
	if err != nil {
		return err
	}
	key, err := comet.LoadNodeKey(dir)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stdout, nil))
	server, err := comet.NewSignerServer(signer, key, os.Getenv(signerChainVar), os.Getenv(signerNodeVar), logger)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel()
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	}()
	return server.Run(ctx)
}

// signerProcess starts the signer whose keys are in dir and returns a function
// that kills it.
func signerProcess(t *testing.T, dir, chainID, node string) (kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0]) //nolint:gosec // this test
	cmd.Env = append(os.Environ(), signerDirVar+"="+dir, signerChainVar+"="+chainID, signerNodeVar+"="+node)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if testing.Verbose() {
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	kill = func() {
		if killed {
			return
		}
		killed = true
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = stdin.Close()
	}
	t.Cleanup(kill)
	return kill
}

// signerKeys makes the keys of a signer in a directory of its own.
func signerKeys(t *testing.T) (dir string, signer *comet.Signer, key *comet.NodeKey) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "keys")
	signer, err := comet.GenerateSigner(dir)
	if err != nil {
		t.Fatal(err)
	}
	if key, err = comet.GenerateNodeKey(dir); err != nil {
		t.Fatal(err)
	}
	return dir, signer, key
}

// signerAddrs returns where a node listens for a signer and where the signer
// finds it, by both kinds of socket.
func signerAddrs(t *testing.T, nodeKey *comet.NodeKey, signerID string) map[string]struct {
	listen, allow, node string
} {
	t.Helper()
	dir, err := os.MkdirTemp("", "signer") //nolint:usetesting // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	socket := "unix://" + filepath.Join(dir, "s")
	tcp := freeAddrs(t, 1)[0]
	return map[string]struct{ listen, allow, node string }{
		"unix": {socket, "", socket},
		"tcp":  {"tcp://" + tcp, signerID, "tcp://" + nodeKey.ID() + "@" + tcp},
	}
}

// TestRemoteSigner lets a validator sign by another process, kills that process
// and starts it again.
func TestRemoteSigner(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"unix", "tcp"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			nw := newNetwork(t, "remote-signer", 4)
			m := nw.members[0]
			dir, signer, key := signerKeys(t)
			nw.genesis.Validators[0].PubKey = signer.PubKey()
			at := signerAddrs(t, m.nodeKey, key.ID())[kind]
			kill := signerProcess(t, dir, nw.genesis.ChainID, at.node)

			ctx, cancel := context.WithTimeout(context.Background(), hangs)
			defer cancel()
			var err error
			m.signer, err = comet.ConnectSigner(ctx, comet.RemoteSignerConfig{
				Dir: filepath.Join(m.dir, "mirror"), Listen: at.listen, Allow: at.allow, ChainID: nw.genesis.ChainID,
			}, m.nodeKey, testLogger("node"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { // after the chain stops
				if err := m.signer.Close(); err != nil {
					t.Error(err)
				}
			})
			nw.startAll(t)
			sent := 0
			voted := func(after uint64) bool { // the key signed a block above after
				sent++
				nw.broadcast(t, 1, tx(sent))
				m.app.waitFor(t, 20*time.Second, func(txs int, _ uint64) bool { return txs == sent })
				return nw.votedAt(t, 1, signer.Address()) > after
			}
			eventually(t, 20*time.Second, "the remote key votes", func() bool { return voted(0) })

			kill()
			eventually(t, 20*time.Second, "the node says that its signer is away", func() bool {
				return errors.Is(m.chain.Status().Signer, comet.ErrSignerAway)
			})
			if ok, reason := nw.healthy(0); ok || !strings.Contains(reason, "remote signer is away") {
				t.Errorf("health without a signer: %v, %q", ok, reason)
			}
			last := nw.members[1].chain.Status().Height
			if voted(last + 1) { // the next block may still have a vote made before
				t.Errorf("a vote after height %d without a signer", last)
			}
			signerProcess(t, dir, nw.genesis.ChainID, at.node)
			last = nw.members[1].chain.Status().Height
			eventually(t, 30*time.Second, "the remote key votes again", func() bool { return voted(last) })
			eventually(t, 20*time.Second, "the node is healthy again", func() bool { ok, _ := nw.healthy(0); return ok })

			mirror, err := comet.LoadSigner(dir)
			if err != nil {
				t.Fatal(err)
			}
			if ours, theirs := m.signer.Height(), mirror.Height(); ours == 0 || ours > theirs {
				t.Errorf("sign state of the node is at height %d, of the signer at %d", ours, theirs)
			}
		})
	}
}

// votedAt returns the height of the newest of the last blocks whose commit, as
// member i knows it, has a vote by the validator at address, or 0.
func (n *network) votedAt(t *testing.T, i int, address []byte) uint64 {
	t.Helper()
	chain := n.members[i].chain
	latest := chain.LatestHeight()
	for h := latest; h > 0 && h+5 > latest; h-- {
		commit, err := chain.Commit(h)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range commit.Signatures {
			if s.Voted && bytes.Equal(s.Validator, address) {
				return h
			}
		}
	}
	return 0
}

// connect returns a Signer whose key is served by signer within this process.
func connect(t *testing.T, mirror string, signer *comet.Signer) (*comet.Signer, func()) {
	t.Helper()
	nodeKey, err := comet.GenerateNodeKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	key, err := comet.GenerateNodeKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := signerAddrs(t, nodeKey, key.ID())["unix"]
	server, err := comet.NewSignerServer(signer, key, "c", at.node, testLogger("signer"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), hangs)
	served := make(chan error, 1)
	go func() { served <- server.Run(ctx) }()
	client, err := comet.ConnectSigner(ctx, comet.RemoteSignerConfig{Dir: mirror, Listen: at.listen, ChainID: "c"}, nodeKey, testLogger("node"))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	return client, func() {
		cancel()
		if err := errors.Join(client.Close(), <-served); err != nil {
			t.Error(err)
		}
	}
}

// TestRemoteSignerForgets connects a remote signer that lost its sign state: it
// would sign again, and the node's own record refuses.
func TestRemoteSignerForgets(t *testing.T) {
	t.Parallel()
	dir, signer, _ := signerKeys(t)
	mirror := filepath.Join(t.TempDir(), "mirror")
	client, disconnect := connect(t, mirror, signer)
	first := vote(5, 'a')
	if err := comet.PrivValidator(client).SignVote("c", first); err != nil {
		t.Fatal(err)
	}
	again := vote(5, 'a')
	again.Timestamp = again.Timestamp.Add(time.Second)
	if err := comet.PrivValidator(client).SignVote("c", again); err != nil || !again.Timestamp.Equal(first.Timestamp) {
		t.Errorf("the same vote later: %v, time %v, want that of the first", err, again.Timestamp)
	}
	if err := comet.PrivValidator(client).SignVote("c", vote(5, 'b')); err == nil {
		t.Error("two votes of one step are signed")
	}
	if err := comet.PrivValidator(client).SignVote("other", vote(6, 'a')); err == nil {
		t.Error("a vote for another chain is signed")
	}
	disconnect()

	rewriteSignState(t, dir)
	forgetful, err := comet.LoadSigner(dir)
	if err != nil {
		t.Fatal(err)
	}
	client, disconnect = connect(t, mirror, forgetful)
	defer disconnect()
	for name, v := range map[string]struct{ height int64 }{"the same height": {5}, "a lower height": {4}} {
		if err := comet.PrivValidator(client).SignVote("c", vote(v.height, 'b')); err == nil {
			t.Errorf("%s is signed after the signer lost its state", name)
		}
	}
	if forgetful.Height() != 0 {
		t.Errorf("the signer was asked: its state is at height %d", forgetful.Height())
	}
	if err := comet.PrivValidator(client).SignVote("c", vote(6, 'b')); err != nil {
		t.Errorf("the next height: %v", err)
	}
}

// TestRemoteSignerStranger connects with a key that is not allowed, and to a
// node of another key.
func TestRemoteSignerStranger(t *testing.T) {
	t.Parallel()
	_, signer, key := signerKeys(t)
	nodeKey, err := comet.GenerateNodeKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := signerAddrs(t, nodeKey, key.ID())["tcp"]
	ctx, cancel := context.WithTimeout(context.Background(), hangs)
	defer cancel()
	type result struct {
		signer *comet.Signer
		err    error
	}
	listening := make(chan result, 1)
	go func() {
		s, err := comet.ConnectSigner(ctx, comet.RemoteSignerConfig{
			Dir: filepath.Join(t.TempDir(), "mirror"), Listen: at.listen, Allow: at.allow, ChainID: "c",
		}, nodeKey, testLogger("node"))
		listening <- result{s, err}
	}()

	var raw net.Conn
	eventually(t, 10*time.Second, "the node listens", func() bool {
		raw, err = net.Dial("tcp", strings.TrimPrefix(at.listen, "tcp://"))
		return err == nil
	})
	stranger, err := conn.MakeSecretConnection(raw, ed25519.GenPrivKey())
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.SetReadDeadline(time.Now().Add(hangs)); err != nil {
		t.Fatal(err)
	}
	if n, err := stranger.Read(make([]byte, 1)); err == nil {
		t.Errorf("a stranger was asked to sign: %d bytes", n)
	} else if netErr := net.Error(nil); errors.As(err, &netErr) && netErr.Timeout() {
		t.Error("a stranger's connection stays open")
	}
	if err := raw.Close(); err != nil {
		t.Error(err)
	}

	server, err := comet.NewSignerServer(signer, key, "c", at.node, testLogger("signer"))
	if err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- server.Run(serving) }()
	r := <-listening
	if r.err != nil {
		t.Fatalf("the allowed signer after a stranger: %v", r.err)
	}
	stop()
	if err := errors.Join(r.signer.Close(), <-served); err != nil {
		t.Error(err)
	}
}

// TestRemoteSignerAbsent waits for a signer that does not come.
func TestRemoteSignerAbsent(t *testing.T) {
	t.Parallel()
	_, _, key := signerKeys(t)
	at := signerAddrs(t, key, key.ID())["unix"]
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := comet.ConnectSigner(ctx, comet.RemoteSignerConfig{Dir: t.TempDir(), Listen: at.listen, ChainID: "c"}, key, testLogger("node"))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), at.listen) {
		t.Errorf("no signer: %v", err)
	}
}

func TestRemoteSignerConfigRefused(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("a", 40)
	for name, test := range map[string]struct {
		config comet.RemoteSignerConfig
		want   string
	}{
		"no scheme":        {comet.RemoteSignerConfig{Listen: "127.0.0.1:1", Allow: id}, "neither unix:///path nor tcp://host:port"},
		"relative path":    {comet.RemoteSignerConfig{Listen: "unix://a"}, "not absolute"},
		"unix with a key":  {comet.RemoteSignerConfig{Listen: "unix:///a", Allow: id}, "leave it empty"},
		"tcp without key":  {comet.RemoteSignerConfig{Listen: "tcp://127.0.0.1:1"}, "identity of a signer's connection key"},
		"tcp without port": {comet.RemoteSignerConfig{Listen: "tcp://127.0.0.1", Allow: id}, "not host:port"},
	} {
		if err := test.config.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	_, signer, key := signerKeys(t)
	for _, node := range []string{"", "127.0.0.1:1", "tcp://127.0.0.1:1", "tcp://" + id + "@127.0.0.1", "http://x"} {
		if _, err := comet.NewSignerServer(signer, key, "c", node, testLogger("signer")); err == nil {
			t.Errorf("node %q is taken", node)
		}
	}
	if fmt.Sprint(comet.RemoteSignerConfig{Listen: "unix:///a"}.Validate()) != "<nil>" {
		t.Error("a good configuration is refused")
	}
}

// TestRemoteSignerLeaves closes a node's end after its signer left: that does not
// wait for the signer to come back.
func TestRemoteSignerLeaves(t *testing.T) {
	t.Parallel()
	var took time.Duration
	for range 10 { // load on the machine only makes it slower
		if took = closeAfterItLeft(t); took <= time.Second {
			return
		}
	}
	t.Errorf("to close took %v the last of ten times, and more than a second each time", took)
}

func closeAfterItLeft(t *testing.T) (took time.Duration) {
	t.Helper()
	_, signer, key := signerKeys(t)
	at := signerAddrs(t, key, key.ID())["unix"]
	server, err := comet.NewSignerServer(signer, key, "c", at.node, testLogger("signer"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), hangs)
	defer cancel()
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- server.Run(serving) }()
	client, err := comet.ConnectSigner(ctx, comet.RemoteSignerConfig{Dir: t.TempDir(), Listen: at.listen, ChainID: "c"}, key, testLogger("node"))
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the node sees that its signer left", func() bool { return errors.Is(client.Err(), comet.ErrSignerAway) })
	if err := comet.PrivValidator(client).SignVote("c", vote(5, 'a')); !errors.Is(err, comet.ErrSignerAway) { // goes on waiting
		t.Errorf("without a signer: %v", err)
	}
	began := time.Now()
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	return time.Since(began)
}
