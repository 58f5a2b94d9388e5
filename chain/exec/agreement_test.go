package exec_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
)

// agreement is validators of a real consensus engine, in this process.
type agreement struct {
	gen     settlement.Genesis
	genesis comet.Genesis
	cfg     func(i int, c *exec.Config) // if set, changes what member i runs with
	pace    time.Duration               // least time between blocks
	asks    bool                        // members ask each other for signatures
	members []*member
}

// member is one validator: what survives its restart, and what runs.
type member struct {
	signer  *comet.Signer
	nodeKey *comet.NodeKey
	dir     string
	addr    string
	store   kv.Store

	exec   *exec.Main
	chain  *comet.Chain
	cancel context.CancelFunc
	done   chan error
	// twist, if set, replaces what goes with this member's votes.
	twist atomic.Pointer[func(b comet.Block, extension []byte) []byte]

	mu     sync.Mutex
	honest map[string][]byte // the extensions before they were twisted, by block hash
}

// newAgreement makes n validators that are not started. Without staking they are
// known to consensus only.
func newAgreement(tb testing.TB, n int, params settlement.Params, staked bool) *agreement {
	tb.Helper()
	a := &agreement{gen: genesisOf(40, params), pace: 50 * time.Millisecond}
	var keys []ledger.PublicKey
	for range n {
		m := &member{dir: tb.TempDir(), store: memkv.New(), honest: make(map[string][]byte)}
		var err error
		if m.signer, err = comet.GenerateSigner(filepath.Join(m.dir, "config")); err != nil {
			tb.Fatal(err)
		}
		if m.nodeKey, err = comet.GenerateNodeKey(filepath.Join(m.dir, "config")); err != nil {
			tb.Fatal(err)
		}
		keys = append(keys, ledger.PublicKey(m.signer.PubKey()))
		a.members = append(a.members, m)
	}
	a.genesis = comet.Genesis{ChainID: "agreement", Time: time.Now().Add(-time.Second)}
	for i, addr := range freeAddrs(tb, n) {
		a.members[i].addr = addr
		a.genesis.Validators = append(a.genesis.Validators, comet.GenesisValidator{PubKey: keys[i][:], Power: 10})
	}
	if staked {
		a.gen = withValidators(a.gen, n, keys...)
		a.genesis.Validators = nil
		for _, m := range a.gen.Committee().Members {
			a.genesis.Validators = append(a.genesis.Validators, comet.GenesisValidator{PubKey: m.ConsensusKey[:], Power: int64(m.Power)})
		}
	}
	a.genesis.AppState = a.gen.Encode()
	return a
}

// freeAddrs returns loopback addresses that were free a moment ago.
func freeAddrs(tb testing.TB, n int) []string {
	tb.Helper()
	addrs := make([]string, n)
	for i := range addrs {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
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

func agreementLogger() *slog.Logger {
	if os.Getenv("EXEC_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

// start starts member i.
func (a *agreement) start(tb testing.TB, i int) {
	tb.Helper()
	m := a.members[i]
	l, err := layer.New(m.store, layerOptions())
	if err != nil {
		tb.Fatal(err)
	}
	c := exec.Config{
		BLS: blsOf(i), Extensions: m.extensions, Now: time.Now,
		TickInterval: 100 * time.Millisecond, CertifyDelay: 50 * time.Millisecond,
	}
	var app comet.Application = application{m}
	if a.asks {
		m.asking(&c)
		app = answering{application{m}}
	}
	if a.cfg != nil {
		a.cfg(i, &c)
	}
	if m.exec, err = exec.OpenMain(c, l, a.gen, agreementLogger()); err != nil {
		tb.Fatal(err)
	}
	cfg := comet.Config{
		Dir: filepath.Join(m.dir, "chain"), ListenAddr: m.addr,
		TimeoutCommit: a.pace, TimeoutPropose: 500 * time.Millisecond,
		TimeoutVote: 100 * time.Millisecond, TimeoutDelta: 200 * time.Millisecond,
	}
	for j, peer := range a.members {
		if j != i {
			cfg.Peers = append(cfg.Peers, peer.nodeKey.ID()+"@"+peer.addr)
		}
	}
	if m.chain, err = comet.New(cfg, a.genesis, m.signer, m.nodeKey, l.Consensus(), app, agreementLogger(), nil); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel, m.done = cancel, make(chan error, 1)
	go func() { m.done <- m.exec.Run(ctx, m.chain.Broadcast) }()
	if err := m.chain.Start(ctx); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { a.stop(tb, i) })
}

// stop stops member i, if it runs, as a node does: its bundler first.
func (a *agreement) stop(tb testing.TB, i int) {
	tb.Helper()
	m := a.members[i]
	if m.chain == nil {
		return
	}
	m.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), hangs)
	defer cancel()
	if err := errors.Join(<-m.done, m.chain.Stop(ctx)); err != nil {
		tb.Errorf("stop %d: %v", i, err)
	}
	m.chain = nil
}

// startAll starts all members and waits until each can take records.
func (a *agreement) startAll(tb testing.TB) {
	tb.Helper()
	for i := range a.members {
		a.start(tb, i)
	}
	for _, m := range a.members {
		eventually(tb, 20*time.Second, "member ready", func() bool {
			ok, _ := m.chain.Status().Health(time.Now(), comet.HealthLimits{})
			return ok && m.height() > 0
		})
	}
}

// hangs is how long a wait lasts at least before it is taken for a hang, whatever
// its limit, which is for a machine with nothing else to do.
const hangs = 2 * time.Minute

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

func (m *member) height() uint64 {
	height, _ := m.exec.Head()
	return height
}

// extensions is the member's Config.Extensions.
func (m *member) extensions(height uint64) (hash []byte, extensions []exec.VoteExtension, err error) {
	hash, list, err := m.chain.Extensions(height)
	for _, x := range list {
		extensions = append(extensions, exec.VoteExtension{Validator: staking.Address(x.Validator), Round: x.Round, Data: x.Data})
	}
	return hash, extensions, err
}

// settle submits a record at member at and waits until all members have executed
// it.
func (a *agreement) settle(tb testing.TB, at int, raw []byte) exec.Status {
	tb.Helper()
	s, err := a.members[at].exec.Submit(context.Background(), raw)
	if err != nil {
		tb.Fatalf("submit: %v", err)
	}
	for _, m := range a.members {
		if m.chain == nil {
			continue
		}
		eventually(tb, 20*time.Second, "record final", func() bool {
			now, err := m.exec.Status(s.Hash)
			if err == nil && now.Stage >= exec.StageFinal {
				s = now
				return true
			}
			return false
		})
	}
	return s
}

// application is a member as consensus wants it.
type application struct{ m *member }

func (a application) Head() (uint64, []byte)                   { return a.m.exec.Head() }
func (a application) InitChain(genesis []byte) ([]byte, error) { return a.m.exec.InitChain(genesis) }

func (a application) Check(tx []byte, recheck bool) error { return a.m.exec.Check(tx, recheck) }
func (a application) Commit() (uint64, error)             { return a.m.exec.Commit() }
func (a application) Accept(b comet.Block) error          { return a.m.exec.Accept(blockOf(b)) }

func (a application) Propose(height uint64, maxBytes int64, mempool [][]byte) [][]byte {
	return a.m.exec.Propose(height, maxBytes, mempool)
}

func (a application) Extend(b comet.Block) ([]byte, error) {
	extension, err := a.m.exec.Extend(blockOf(b))
	a.m.mu.Lock()
	a.m.honest[string(b.Hash)] = extension
	a.m.mu.Unlock()
	if twist := a.m.twist.Load(); twist != nil {
		extension = (*twist)(b, extension)
	}
	return extension, err
}

func (a application) Finalize(b comet.Block) (out comet.Outcome, err error) {
	done, err := a.m.exec.Finalize(blockOf(b))
	out.AppHash = done.AppHash
	for _, r := range done.Results {
		out.Results = append(out.Results, comet.TxResult(r))
	}
	for _, u := range done.Updates {
		out.Updates = append(out.Updates, comet.ValidatorUpdate{PubKey: u.ConsensusKey[:], Power: u.Power})
	}
	return out, err
}

func blockOf(b comet.Block) exec.Block {
	out := exec.Block{Height: b.Height, Time: b.Time, Proposer: b.Proposer, Txs: b.Txs, Hash: b.Hash, Round: b.Round}
	for _, v := range b.LastVotes {
		out.LastVotes = append(out.LastVotes, staking.Vote{Validator: staking.Address(v.Validator), Signed: v.Signed})
	}
	for _, m := range b.Evidence {
		out.Evidence = append(out.Evidence, staking.Evidence{
			Kind: staking.EvidenceKind(m.Kind), Validator: staking.Address(m.Validator), Height: m.Height,
			Power: m.Power, TotalPower: m.TotalPower,
		})
	}
	return out
}
