package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/statetree"
)

const (
	zone    = 1
	fortune = 1_000_000 * ledger.DropsPerCoin
	richMen = 4 // identities with a fortune
	soon    = 2 * time.Minute
)

// keyOf returns the i-th test key.
func keyOf(i int) ledger.PrivateKey {
	var name [8]byte
	binary.BigEndian.PutUint64(name[:], uint64(i))
	return ledger.NewPrivateKey(sha256.Sum256(name[:]))
}

// identityOf returns the i-th test account.
func identityOf(i int) pay.Identity { return pay.NewIdentity(keyOf(i), zone) }

// network is a chain of one validator without consensus, and nodes that serve
// it: the rules, the executor and the API are the real ones.
type network struct {
	gen    settlement.Genesis
	exec   *exec.Main
	layer  *layer.Settlement
	faucet *api.Faucet
	fail   func(format string, args ...any)

	mu      sync.Mutex
	mempool [][]byte
	manual  bool              // blocks are made by step only
	vote    func(*exec.Block) // nil: nobody votes, and there is no staking
	arrived chan struct{}     // capacity 1
	headers map[uint64]api.Header
	nodes   map[string]*node
}

// node is a server of a network. It can be stopped and started, and its
// connections cut.
type node struct {
	network *network
	name    string

	mu       sync.Mutex
	listener *bufconn.Listener // nil while it is stopped
	conns    map[net.Conn]bool
	stop     func() // ends the server and waits
	refused  int    // connections while it was stopped
	sync     *api.SyncProgress
}

// startNetwork starts the chain and a node called "node0". Blocks are made as
// soon as there is something to put in. The returned function ends everything.
func startNetwork(fail func(string, ...any)) (n *network, stop func(), err error) {
	return startNetworkOf(fail, func(*network, *exec.Config) {})
}

// startNetworkOf is startNetwork; setup may alter what the chain begins with.
func startNetworkOf(fail func(string, ...any), setup func(*network, *exec.Config)) (n *network, stop func(), err error) {
	n = &network{
		fail: fail, arrived: make(chan struct{}, 1), headers: make(map[uint64]api.Header), nodes: make(map[string]*node),
		gen:    settlement.Genesis{Name: "test", Time: 1_700_000_000_000, Params: settlement.LocalParams()},
		faucet: &api.Faucet{Key: keyOf(richMen - 1), Zone: zone, Default: 5 * ledger.DropsPerCoin, Max: 100 * ledger.DropsPerCoin},
	}
	for i := range richMen {
		n.gen.Accounts = append(n.gen.Accounts, settlement.GenesisAccount{Address: identityOf(i).Address, Balance: fortune})
	}
	var cfg exec.Config
	setup(n, &cfg)
	n.layer, err = layer.New(memkv.New(), layer.Options{State: statetree.Options{Tables: settlement.Tables()}})
	if err != nil {
		return nil, nil, err
	}
	if n.exec, err = exec.OpenMain(cfg, n.layer, n.gen, slog.New(slog.DiscardHandler)); err != nil {
		return nil, nil, err
	}
	if _, err := n.exec.InitChain(n.gen.Encode()); err != nil {
		return nil, nil, err
	}
	n.apply(nil)
	stopChain := n.run()
	if _, err := n.start("node0"); err != nil {
		stopChain()
		return nil, nil, err
	}
	return n, func() {
		for _, node := range n.nodes {
			node.halt()
		}
		stopChain()
	}, nil
}

// newNetwork starts a network that ends with the test.
func newNetwork(tb testing.TB) *network {
	tb.Helper()
	n, stop, err := startNetwork(tb.Errorf)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(stop)
	return n
}

// run runs the executor and makes blocks.
func (n *network) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() {
		if err := n.exec.Run(ctx, n.receive); err != nil {
			n.fail("Run: %v", err)
		}
	})
	tasks.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-n.arrived:
			}
			n.mu.Lock()
			if !n.manual {
				n.stepLocked()
			}
			n.mu.Unlock()
		}
	})
	for { // Submit refuses until Run has begun
		if _, err := n.exec.Submit(ctx, nil); !errors.Is(err, exec.ErrNotRunning) {
			break
		}
	}
	return func() {
		cancel()
		tasks.Wait()
	}
}

// byHand makes blocks come from steps only, until resume is called.
func (n *network) byHand() (resume func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.manual = true
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.manual = false
		n.stepLocked()
	}
}

// receive is what consensus does with a bundle.
func (n *network) receive(bundle []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, have := range n.mempool {
		if bytes.Equal(have, bundle) {
			return nil
		}
	}
	if err := n.exec.Check(bundle, false); err != nil {
		return err
	}
	n.mempool = append(n.mempool, bundle)
	select {
	case n.arrived <- struct{}{}:
	default:
	}
	return nil
}

// steps makes count blocks of what is in the mempool.
func (n *network) steps(count int) {
	for range count {
		n.mu.Lock()
		n.stepLocked()
		n.mu.Unlock()
	}
}

func (n *network) stepLocked() {
	height, _ := n.exec.Head()
	n.applyLocked(n.exec.Propose(height+1, 1<<30, n.mempool))
	var keep [][]byte
	for _, have := range n.mempool {
		if n.exec.Check(have, true) == nil {
			keep = append(keep, have)
		}
	}
	n.mempool = keep
}

func (n *network) apply(txs [][]byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.applyLocked(txs)
}

func (n *network) applyLocked(txs [][]byte) {
	height, appHash := n.exec.Head()
	at := time.UnixMilli(n.gen.Time + int64(height+1)*1000)
	n.headers[height+1] = api.Header{Height: height + 1, Time: at, Hash: make([]byte, 32), AppHash: bytes.Clone(appHash)}
	b := exec.Block{Height: height + 1, Time: at, Txs: txs}
	if n.vote != nil {
		n.vote(&b)
	}
	if _, err := n.exec.Finalize(b); err != nil {
		n.fail("Finalize(%d): %v", height+1, err)
		return
	}
	if _, err := n.exec.Commit(); err != nil {
		n.fail("Commit(%d): %v", height+1, err)
	}
}

// pending returns how many bundles wait for a block.
func (n *network) pending() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.mempool)
}

// height returns the height of the head.
func (n *network) height() uint64 {
	height, _ := n.exec.Head()
	return height
}

// start starts a node, which did not exist or was halted.
func (n *network) start(name string) (*node, error) {
	nd, ok := n.nodes[name]
	if !ok {
		nd = &node{network: n, name: name, conns: make(map[net.Conn]bool)}
		n.nodes[name] = nd
	}
	server, err := api.New(api.Config{
		Network: api.Network{Name: "test", Domain: n.exec.Domain(), Params: n.exec.Params(), Local: true},
		Pool:    n.exec, State: n.exec, Index: n.exec, Prover: n.layer, Agreement: n.exec, Node: nd, Faucet: n.faucet,
		HealthInterval: 10 * time.Millisecond, Heartbeat: 20 * time.Millisecond,
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	listener := bufconn.Listen(1 << 20)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(ctx, listener); err != nil {
			n.fail("Serve: %v", err)
		}
	}()
	nd.mu.Lock()
	defer nd.mu.Unlock()
	nd.listener = listener
	nd.stop = func() {
		cancel()
		<-done
	}
	return nd, nil
}

// halt stops a node. Connections to it are refused until it is started again.
func (nd *node) halt() {
	nd.mu.Lock()
	stop := nd.stop
	nd.listener, nd.stop = nil, nil
	nd.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// cut breaks all connections to the node.
func (nd *node) cut() {
	nd.mu.Lock()
	defer nd.mu.Unlock()
	for c := range nd.conns {
		_ = c.Close()
	}
	clear(nd.conns)
}

func (nd *node) dial(ctx context.Context) (net.Conn, error) {
	nd.mu.Lock()
	defer nd.mu.Unlock()
	if nd.listener == nil {
		nd.refused++
		return nil, errors.New("connection refused")
	}
	c, err := nd.listener.DialContext(ctx)
	if err == nil {
		nd.conns[c] = true
	}
	return c, err
}

func (nd *node) Info() api.NodeInfo {
	return api.NodeInfo{Version: "v0.0.1", Moniker: nd.name, ID: "ab", Started: time.Unix(1_700_000_000, 0)}
}

func (nd *node) Chain() api.ChainInfo {
	nd.mu.Lock()
	defer nd.mu.Unlock()
	return api.ChainInfo{Validator: true, Peers: 3, Sync: nd.sync, CatchingUp: nd.sync != nil}
}

func (nd *node) Ready() (bool, string) { return true, "" }

func (nd *node) Header(height uint64) (api.Header, bool) {
	nd.network.mu.Lock()
	defer nd.network.mu.Unlock()
	h, ok := nd.network.headers[height]
	return h, ok
}

func (*node) AddEvidence(evidence []byte) error {
	if string(evidence) != "proof" {
		return fmt.Errorf("%w: %d bytes", api.ErrBadEvidence, len(evidence))
	}
	return nil
}

func (nd *node) Turnout() api.Turnout {
	first := staking.AddressOf(keyOf(firstOperator).Public())
	return api.Turnout{Blocks: 40, To: 41, Of: map[staking.Address]api.Attendance{first: {Blocks: 30, Signed: 29}}}
}

func (nd *node) LightBlock(_ ledger.ChainID, height uint64) (api.LightBlock, uint64, bool) {
	h, ok := nd.Header(height)
	return api.LightBlock{SignedHeader: h.Hash, ValidatorSet: []byte{byte(height)}}, 1, ok
}

// dial is the network as a client sees it.
func (n *network) dial(ctx context.Context, target string) (net.Conn, error) {
	nd, ok := n.nodes[target]
	if !ok {
		return nil, errors.New("no such host")
	}
	return nd.dial(ctx)
}

// client connects to nodes, "node0" unless others are named.
func (n *network) client(tb testing.TB, opts ...client.Option) *client.Client {
	tb.Helper()
	c, err := client.Dial(within(tb), "node0", append([]client.Option{
		client.WithDialer(n.dial), client.WithInsecure(),
		client.WithRetry(client.RetryPolicy{Attempts: 20, MinDelay: 5 * time.Millisecond, MaxDelay: 100 * time.Millisecond}),
	}, opts...)...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// within returns a context that ends with the test, or after a while.
func within(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), soon)
	tb.Cleanup(cancel)
	return ctx
}

// until waits for done to become true, which the test's subject makes happen in
// a goroutine of its own.
func until(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	ctx := within(tb)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			tb.Fatalf("%s did not happen", what)
		case <-tick.C:
		}
	}
}
