package comet_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
)

// memApp is an application whose state is a hash chain over the transactions.
// It survives the restart of its chain, as a durable one would.
type memApp struct {
	mu      sync.Mutex
	height  uint64
	hash    [32]byte
	txs     int
	light   bool // do not look at the bytes
	staged  memStaged
	changed chan struct{} // closed and replaced at each commit
	onBlock func(comet.Block) error
	onCheck func(tx []byte) error
	propose func(mempool [][]byte) [][]byte
	commit  func() error
	retain  func(height uint64) uint64
	snaps   *memSnapshots // nil: makes and takes none

	extend func(comet.Block) ([]byte, error)
	update func(comet.Block) []comet.ValidatorUpdate

	attest   func(msg []byte) []byte
	attested func(consensusKey, msg, proof []byte) (known, ok bool)
}

type memStaged struct {
	height uint64
	hash   [32]byte
	txs    int
}

func newMemApp() *memApp { return &memApp{changed: make(chan struct{})} }

func (a *memApp) Head() (uint64, []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.height, append([]byte(nil), a.hash[:]...)
}

func (a *memApp) InitChain(genesis []byte) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hash = sha256.Sum256(genesis)
	return append([]byte(nil), a.hash[:]...), nil
}

type badTxError uint32

func (badTxError) Error() string  { return "bad transaction" }
func (b badTxError) Code() uint32 { return uint32(b) }

func (a *memApp) Check(tx []byte, _ bool) error {
	if len(tx) == 0 || tx[0] == 0xff {
		return badTxError(77)
	}
	a.mu.Lock()
	f := a.onCheck
	a.mu.Unlock()
	if f != nil {
		return f(tx)
	}
	return nil
}

func (a *memApp) Propose(_ uint64, _ int64, mempool [][]byte) [][]byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.propose != nil {
		return a.propose(mempool)
	}
	return mempool
}

func (a *memApp) Accept(b comet.Block) error {
	for _, tx := range b.Txs {
		if len(tx) == 0 || tx[0] == 0xff {
			return badTxError(77)
		}
	}
	return nil
}

func (a *memApp) Extend(b comet.Block) ([]byte, error) {
	a.mu.Lock()
	f := a.extend
	a.mu.Unlock()
	if f == nil {
		return nil, nil
	}
	return f(b)
}

func (a *memApp) Attest(msg []byte) []byte {
	if a.attest == nil {
		return nil
	}
	return a.attest(msg)
}

func (a *memApp) Attested(consensusKey, msg, proof []byte) (known, ok bool) {
	if a.attested == nil {
		return false, false
	}
	return a.attested(consensusKey, msg, proof)
}

func (a *memApp) Finalize(b comet.Block) (comet.Outcome, error) {
	a.mu.Lock()
	f := a.onBlock
	a.mu.Unlock()
	if f != nil {
		if err := f(b); err != nil {
			return comet.Outcome{}, err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	hash := a.hash
	for _, tx := range b.Txs {
		if a.light {
			tx = tx[:8]
		}
		sum := sha256.Sum256(tx)
		hash = sha256.Sum256(append(hash[:], sum[:]...))
	}
	a.staged = memStaged{b.Height, hash, len(b.Txs)}
	out := comet.Outcome{AppHash: hash[:], Results: make([]comet.TxResult, len(b.Txs))}
	if a.update != nil {
		out.Updates = a.update(b)
	}
	return out, nil
}

func (a *memApp) Commit() (uint64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.commit != nil {
		if err := a.commit(); err != nil {
			return 0, err
		}
	}
	a.height, a.hash = a.staged.height, a.staged.hash
	a.txs += a.staged.txs
	close(a.changed)
	a.changed = make(chan struct{})
	a.snaps.make(a)
	if a.retain != nil {
		return a.retain(a.height), nil
	}
	return 0, nil
}

// setOnBlock installs a hook that Finalize calls first.
func (a *memApp) setOnBlock(f func(comet.Block) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.onBlock = f
}

// count returns the transactions and blocks so far.
func (a *memApp) count() (txs int, height uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.txs, a.height
}

// hangs is how long a wait lasts at least before it is taken for a hang, whatever
// its limit, which is for a machine with nothing else to do.
const hangs = 2 * time.Minute

// waitFor blocks until ok holds after some commit.
func (a *memApp) waitFor(tb testing.TB, limit time.Duration, ok func(txs int, height uint64) bool) {
	tb.Helper()
	limit = max(limit, hangs)
	timer, end := time.NewTimer(limit), time.NewTimer(4*limit)
	defer timer.Stop()
	defer end.Stop()
	for {
		a.mu.Lock()
		changed, txs, height := a.changed, a.txs, a.height
		a.mu.Unlock()
		if ok(txs, height) {
			return
		}
		select {
		case <-changed: // a chain that makes blocks does not hang
			timer.Reset(limit)
		case <-timer.C:
			tb.Fatalf("no block for %v: %d transactions at height %d", limit, txs, height)
		case <-end.C:
			tb.Fatalf("after %v: %d transactions at height %d", 4*limit, txs, height)
		}
	}
}

// member is one validator: what survives a restart of its chain.
type member struct {
	dir     string
	signer  *comet.Signer
	nodeKey *comet.NodeKey
	store   kv.Store
	app     *memApp
	addr    string // listens
	public  string // peers dial, if not addr
	passive bool   // dials nobody
	chain   *comet.Chain
	metrics *prometheus.Registry
}

type network struct {
	genesis comet.Genesis
	members []*member
	config  func(*comet.Config)
	wrap    func(i int, app comet.Application) comet.Application // if set, makes the application of member i
	// registry, if set, takes the metrics of all members; ctx, if set, bounds starts.
	registry *prometheus.Registry
	log      *slog.Logger    // of the starts that follow, if set
	ctx      context.Context //nolint:containedctx // a setting of the test
}

// newNetwork makes n validators that are not started.
func newNetwork(tb testing.TB, chainID string, n int) *network {
	tb.Helper()
	nw := &network{genesis: comet.Genesis{ChainID: chainID, Time: time.Now().Add(-time.Second), AppState: []byte("genesis")}}
	for i, addr := range freeAddrs(tb, n) {
		dir := tb.TempDir()
		signer, err := comet.GenerateSigner(filepath.Join(dir, "config"))
		if err != nil {
			tb.Fatal(err)
		}
		nodeKey, err := comet.GenerateNodeKey(filepath.Join(dir, "config"))
		if err != nil {
			tb.Fatal(err)
		}
		nw.members = append(nw.members, &member{
			dir: dir, signer: signer, nodeKey: nodeKey, store: newStore(tb), app: newMemApp(), addr: addr,
		})
		nw.genesis.Validators = append(nw.genesis.Validators, comet.GenesisValidator{
			PubKey: signer.PubKey(), Power: 10, Name: "v" + strconv.Itoa(i),
		})
	}
	return nw
}

// hosts counts the calls of freeAddrs.
var hosts atomic.Uint32

// freeAddrs returns loopback addresses that were free a moment ago. They are of a host
// that nothing else on this machine is likely to use, where the system has more than
// one of loopback: ports of 127.0.0.1 are given to others before a node listens there,
// or while it is stopped.
func freeAddrs(tb testing.TB, n int) []string {
	tb.Helper()
	const each = 64 // hosts a process has for itself, if their numbers follow each other
	number := uint32(os.Getpid())*each + hosts.Add(1)%each
	host := net.IPv4(127, byte(number>>16), byte(number>>8), byte(number)).String()
	if l, err := net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil {
		host = "127.0.0.1"
	} else if err := l.Close(); err != nil {
		tb.Fatal(err)
	}
	addrs := make([]string, n)
	for i := range addrs {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			tb.Fatal(err)
		}
		defer func() {
			if err := l.Close(); err != nil {
				tb.Error(err)
			}
		}()
		addrs[i] = l.Addr().String()
	}
	return addrs
}

func newStore(testing.TB) kv.Store { return memkv.New() }

func testLogger(name string) *slog.Logger {
	if os.Getenv("COMET_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With(slog.String("node", name))
}

// start starts member i.
func (n *network) start(tb testing.TB, i int) {
	tb.Helper()
	if err := n.tryStart(tb, i); err != nil {
		tb.Fatalf("start %d: %v", i, err)
	}
}

func (n *network) tryStart(tb testing.TB, i int) error {
	tb.Helper()
	m := n.members[i]
	if m.metrics = n.registry; m.metrics == nil {
		m.metrics = prometheus.NewRegistry()
	}
	cfg := comet.Config{Dir: filepath.Join(m.dir, "chain"), ListenAddr: m.addr}
	cfg.TimeoutCommit, cfg.TimeoutPropose = 50*time.Millisecond, 500*time.Millisecond
	cfg.TimeoutVote, cfg.TimeoutDelta = 100*time.Millisecond, 200*time.Millisecond
	for j, peer := range n.members {
		if j != i && !m.passive {
			cfg.Peers = append(cfg.Peers, peer.nodeKey.ID()+"@"+cmp.Or(peer.public, peer.addr))
		}
	}
	if n.config != nil {
		n.config(&cfg)
	}
	logger := n.log
	if logger == nil {
		logger = testLogger(fmt.Sprint(i))
	}
	var app comet.Application = m.app
	if n.wrap != nil {
		app = n.wrap(i, app)
	}
	chain, err := comet.New(cfg, n.genesis, m.signer, m.nodeKey, m.store, app, logger, m.metrics)
	if err != nil {
		return err
	}
	ctx := n.ctx
	if ctx == nil {
		ctx = context.Background()
	}
	if err := chain.Start(ctx); err != nil {
		return err
	}
	m.chain = chain
	tb.Cleanup(func() { n.stop(tb, i) })
	return nil
}

// stop stops member i, if it runs.
func (n *network) stop(tb testing.TB, i int) {
	tb.Helper()
	m := n.members[i]
	if m.chain == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), hangs)
	defer cancel()
	if err := m.chain.Stop(ctx); err != nil {
		tb.Errorf("stop %d: %v", i, err)
	}
	m.chain = nil
}

// restart makes member i again from what is on its disk.
func (n *network) restart(tb testing.TB, i int) {
	tb.Helper()
	n.reload(tb, i)
	n.start(tb, i)
}

func (n *network) reload(tb testing.TB, i int) {
	tb.Helper()
	m := n.members[i]
	var err error
	if m.signer, err = comet.LoadSigner(filepath.Join(m.dir, "config")); err != nil {
		tb.Fatal(err)
	}
	if m.nodeKey, err = comet.LoadNodeKey(filepath.Join(m.dir, "config")); err != nil {
		tb.Fatal(err)
	}
}

func (n *network) startAll(tb testing.TB) {
	tb.Helper()
	for i := range n.members {
		n.start(tb, i)
	}
	for i := range n.members {
		n.waitReady(tb, i)
	}
}

// eventually polls for what has no event to wait for.
func eventually(tb testing.TB, limit time.Duration, what string, ok func() bool) {
	tb.Helper()
	limit = max(limit, hangs)
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			tb.Fatalf("%s: not within %v", what, limit)
		}
	}
}

func (n *network) healthy(i int) (bool, string) {
	s := n.members[i].chain.Status()
	return s.Health(time.Now(), comet.HealthLimits{})
}

func (n *network) waitReady(tb testing.TB, i int) {
	tb.Helper()
	eventually(tb, 15*time.Second, fmt.Sprintf("member %d healthy", i), func() bool {
		ok, _ := n.healthy(i)
		return ok && n.members[i].chain.Status().Height > 0
	})
}

// quick does what must take at most limit up to ten times, until it does. Load on
// the machine only makes it slower, so one time is enough; what waits for a timer
// is slow every time.
func quick(tb testing.TB, limit time.Duration, what string, do func()) {
	tb.Helper()
	var took time.Duration
	for range 10 {
		begin := time.Now()
		do()
		if took = time.Since(begin); took <= limit {
			tb.Logf("%s took %v", what, took)
			return
		}
	}
	tb.Errorf("%s took %v the last of ten times, and more than %v each time", what, took, limit)
}

func (n *network) broadcast(tb testing.TB, i int, tx []byte) {
	tb.Helper()
	if err := n.members[i].chain.Broadcast(tx); err != nil {
		tb.Fatalf("broadcast at %d: %v", i, err)
	}
}

// tx makes the n-th distinct transaction of a test.
func tx(n int) []byte { return binary.BigEndian.AppendUint64([]byte{1}, uint64(n)) }

var errBoom = errors.New("boom")
