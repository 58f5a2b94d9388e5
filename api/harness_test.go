package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/statetree"
	accountv1 "github.com/tributary-network/tributary/proto/tributary/account/v1"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

const (
	zone    = 1
	fortune = 1_000_000 * ledger.DropsPerCoin
	richMen = 4 // accounts with a fortune
	soon    = 2 * time.Minute
)

// keyOf returns the i-th test key.
func keyOf(i int) ledger.PrivateKey {
	var name [8]byte
	binary.BigEndian.PutUint64(name[:], uint64(i))
	return ledger.NewPrivateKey(sha256.Sum256(name[:]))
}

// account is a test account with its next nonce.
type account struct {
	key   ledger.PrivateKey
	addr  ledger.Address
	nonce uint64
}

func accountOf(i int) *account {
	k := keyOf(i)
	return &account{key: k, addr: k.Address(zone)}
}

// world is a chain of one validator without consensus, and a server over it.
type world struct {
	t      testing.TB
	cfg    api.Config
	gen    settlement.Genesis
	exec   *exec.Main
	domain chain.Domain
	conn   *grpc.ClientConn
	dial   func(context.Context, string) (net.Conn, error)
	node   *fakeNode
	store  *memkv.Store
	stop   func() // ends the server and waits

	payer, payee, other *account

	mu      sync.Mutex
	mempool [][]byte
	manual  bool              // blocks are made by step only
	vote    func(*exec.Block) // nil: nobody votes, and there is no staking
	arrived chan struct{}     // capacity 1
}

// fakeNode is the node around the chain.
type fakeNode struct {
	mu      sync.Mutex
	headers map[uint64]api.Header
	ready   bool
	turnout api.Turnout
}

func (n *fakeNode) Info() api.NodeInfo {
	return api.NodeInfo{Version: "v0.0.1", Moniker: "test", ID: "ab", Started: time.Unix(1_700_000_000, 0)}
}

func (n *fakeNode) Chain() api.ChainInfo { return api.ChainInfo{Validator: true, Peers: 3} }

func (n *fakeNode) Ready() (bool, string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ready, "no quorum"
}

func (n *fakeNode) setReady(ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ready = ok
}

func (n *fakeNode) Header(height uint64) (api.Header, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h, ok := n.headers[height]
	return h, ok
}

func (n *fakeNode) Turnout() api.Turnout {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.turnout
}

func (*fakeNode) AddEvidence(evidence []byte) error {
	if string(evidence) != "proof" {
		return fmt.Errorf("%w: %d bytes", api.ErrBadEvidence, len(evidence))
	}
	return nil
}

func (n *fakeNode) LightBlock(_ ledger.ChainID, height uint64) (api.LightBlock, uint64, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h, ok := n.headers[height]
	from := uint64(math.MaxUint64)
	for lowest := range n.headers {
		from = min(from, lowest)
	}
	return api.LightBlock{SignedHeader: h.Hash, ValidatorSet: []byte{byte(height)}}, from, ok
}

func testParams() settlement.Params {
	p := settlement.LocalParams()
	p.Services = []uint32{0, 1}
	return p
}

// newWorld starts a server; change may alter its configuration. Blocks are made
// as soon as there is something to put in.
func newWorld(tb testing.TB, change ...func(*api.Config)) *world {
	tb.Helper()
	w := newChain(tb)
	w.open(change...)
	return w
}

// open starts the server and connects to it.
func (w *world) open(change ...func(*api.Config)) {
	w.t.Helper()
	listener := bufconn.Listen(1 << 20)
	w.dial = func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }
	w.serve(listener, change...)
	w.conn = w.connect()
}

// newChain starts the chain only; change may alter its configuration.
func newChain(tb testing.TB, change ...func(*exec.Config)) *world {
	tb.Helper()
	return newChainOf(tb, func(_ *world, cfg *exec.Config) {
		for _, f := range change {
			f(cfg)
		}
	})
}

// newChainOf is newChain; setup may alter the genesis as well.
func newChainOf(tb testing.TB, setup func(*world, *exec.Config)) *world {
	tb.Helper()
	cfg := exec.Config{RecentBlocks: 2}
	w := &world{
		t: tb, store: memkv.New(), node: &fakeNode{headers: make(map[uint64]api.Header), ready: true},
		payer: accountOf(0), payee: accountOf(1), other: accountOf(2),
		arrived: make(chan struct{}, 1),
	}
	w.gen = settlement.Genesis{Name: "test", Time: 1_700_000_000_000, Params: testParams()}
	for i := range richMen {
		w.gen.Accounts = append(w.gen.Accounts, settlement.GenesisAccount{Address: keyOf(i).Address(zone), Balance: fortune})
	}
	setup(w, &cfg)
	l, err := layer.New(w.store, layer.Options{State: statetree.Options{Tables: settlement.Tables()}})
	if err != nil {
		tb.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if w.exec, err = exec.OpenMain(cfg, l, w.gen, log); err != nil {
		tb.Fatal(err)
	}
	if _, err := w.exec.InitChain(w.gen.Encode()); err != nil {
		tb.Fatal(err)
	}
	w.domain = w.exec.Domain()
	w.cfg = api.Config{
		Network: api.Network{Name: "test", Domain: w.domain, Params: w.exec.Params(), Local: true},
		Pool:    w.exec, State: w.exec, Index: w.exec, Prover: l, Agreement: w.exec, Node: w.node,
		Limits:         api.Limits{SharePercent: 100}, // the test is the only client
		HealthInterval: 10 * time.Millisecond, Heartbeat: time.Hour,
		Now: time.Now, Log: log,
	}
	w.apply(nil)
	w.run()
	return w
}

// run runs the executor and makes blocks until the test ends.
func (w *world) run() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() {
		if err := w.exec.Run(ctx, w.receive); err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	tasks.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-w.arrived:
			}
			w.mu.Lock()
			if !w.manual {
				w.stepLocked()
			}
			w.mu.Unlock()
		}
	})
	w.t.Cleanup(func() {
		cancel()
		tasks.Wait()
	})
	for { // Submit refuses until Run has begun
		if _, err := w.exec.Submit(ctx, nil); !errors.Is(err, exec.ErrNotRunning) {
			return
		}
	}
}

// byHand makes blocks come from step only, until the returned function is
// called.
func (w *world) byHand() (resume func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.manual = true
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.manual = false
		w.stepLocked()
	}
}

// receive is what consensus does with a bundle.
func (w *world) receive(bundle []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, have := range w.mempool {
		if bytes.Equal(have, bundle) {
			return nil
		}
	}
	if err := w.exec.Check(bundle, false); err != nil {
		return err
	}
	w.mempool = append(w.mempool, bundle)
	select {
	case w.arrived <- struct{}{}:
	default:
	}
	return nil
}

// step makes a block of what is in the mempool.
func (w *world) step() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stepLocked()
}

// steps makes n blocks.
func (w *world) steps(n int) {
	for range n {
		w.step()
	}
}

func (w *world) stepLocked() {
	height, _ := w.exec.Head()
	txs := w.exec.Propose(height+1, 1<<30, w.mempool)
	w.apply(txs)
	var keep [][]byte
	for _, have := range w.mempool {
		if w.exec.Check(have, true) == nil {
			keep = append(keep, have)
		}
	}
	w.mempool = keep
}

func (w *world) apply(txs [][]byte) {
	height, appHash := w.exec.Head()
	at := time.UnixMilli(w.gen.Time + int64(height+1)*1000)
	w.node.mu.Lock()
	w.node.headers[height+1] = api.Header{Height: height + 1, Time: at, Hash: make([]byte, 32), AppHash: bytes.Clone(appHash)}
	w.node.mu.Unlock()
	b := exec.Block{Height: height + 1, Time: at, Txs: txs}
	if w.vote != nil {
		w.vote(&b)
	}
	if _, err := w.exec.Finalize(b); err != nil {
		w.t.Errorf("Finalize(%d): %v", height+1, err)
		return
	}
	if _, err := w.exec.Commit(); err != nil {
		w.t.Errorf("Commit(%d): %v", height+1, err)
	}
}

func (w *world) height() uint64 {
	height, _ := w.exec.Head()
	return height
}

// serve starts a server on listener.
func (w *world) serve(listener net.Listener, change ...func(*api.Config)) {
	w.t.Helper()
	cfg := w.cfg
	for _, f := range change {
		f(&cfg)
	}
	server, err := api.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(ctx, listener); err != nil {
			w.t.Errorf("Serve: %v", err)
		}
	}()
	w.stop = func() {
		cancel()
		<-done
	}
	w.t.Cleanup(w.stop)
}

// connect returns a new connection.
func (w *world) connect(options ...grpc.DialOption) *grpc.ClientConn {
	w.t.Helper()
	options = append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(w.dial), grpc.WithDisableRetry(),
	}, options...)
	conn, err := grpc.NewClient("passthrough:///server", options...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (w *world) settlements() settlementv1.SettlementServiceClient {
	return settlementv1.NewSettlementServiceClient(w.conn)
}

func (w *world) channels() channelv1.ChannelServiceClient {
	return channelv1.NewChannelServiceClient(w.conn)
}

func (w *world) accounts() accountv1.AccountServiceClient {
	return accountv1.NewAccountServiceClient(w.conn)
}

func (w *world) nodes() nodev1.NodeServiceClient { return nodev1.NewNodeServiceClient(w.conn) }

// newServer starts another server over the same chain, as after a restart.
func newServer(w *world) *world {
	w.t.Helper()
	other := &world{
		t: w.t, cfg: w.cfg, gen: w.gen, exec: w.exec, domain: w.domain, node: w.node, store: w.store,
		payer: w.payer, payee: w.payee, other: w.other,
	}
	listener := bufconn.Listen(1 << 20)
	other.dial = func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }
	other.serve(listener)
	other.conn = other.connect()
	return other
}

// ctx returns a context that ends with the test, or after a while.
func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), soon)
	w.t.Cleanup(cancel)
	return ctx
}

// tx signs a transaction of a with its next nonce.
func (w *world) tx(a *account, kind chain.Kind, payload []byte) []byte {
	raw := chain.SignTx(w.domain, a.key, chain.TxFields{Kind: kind, Zone: zone, Nonce: a.nonce, MaxFee: fortune, Payload: payload})
	a.nonce++
	return raw
}

func (w *world) transfer(from *account, to ledger.Address, amount ledger.Amount) []byte {
	p := settlement.Transfer{Payments: []settlement.Payment{{To: to, Amount: amount}}}
	return w.tx(from, chain.KindTransfer, p.Encode())
}

// envelope signs what the fields of a transaction of a encode to.
func (w *world) envelope(a *account, kind chain.Kind, payload []byte) *chainv1.Envelope {
	public := a.key.Public()
	e := &chainv1.Envelope{PublicKey: public[:], Zone: zone, Nonce: a.nonce, MaxFee: uint64(fortune)}
	a.nonce++
	sig := a.key.Sign(chain.UnsignedTx(w.domain, public, chain.TxFields{
		Kind: kind, Zone: zone, Nonce: e.Nonce, MaxFee: fortune, Payload: payload,
	}))
	e.Signature = sig[:]
	return e
}

// hashOf returns the hash of a whole transaction.
func (w *world) hashOf(raw []byte) ledger.Hash {
	w.t.Helper()
	tx, err := chain.DecodeTx(w.domain, raw)
	if err != nil {
		w.t.Fatal(err)
	}
	return tx.Hash
}

// lot is some channels of the payer to the payee, with consecutive rows.
type lot struct {
	world *world
	key   ledger.PrivateKey // voucher key of all
	first uint64
	ids   []ledger.Hash
	paid  []ledger.Amount
}

// openLot opens count channels with a deposit each and waits for them.
func (w *world) openLot(count int, deposit ledger.Amount, expires uint64) *lot {
	w.t.Helper()
	l := &lot{world: w, key: keyOf(1 << 20), paid: make([]ledger.Amount, count)}
	open := channel.Open{Channels: make([]channel.OpenParams, count)}
	for i := range open.Channels {
		open.Channels[i] = channel.OpenParams{
			Payee: w.payee.addr, VoucherKey: l.key.Public(), Deposit: deposit,
			ExpiresAt: expires, Challenge: w.gen.Params.DefaultChallenge,
		}
	}
	for i := range open.Channels {
		l.ids = append(l.ids, channel.ID(w.domain, w.payer.addr, w.payer.nonce, uint16(i), &open.Channels[i]))
	}
	resp, err := w.channels().OpenChannels(w.ctx(), &channelv1.OpenChannelsRequest{
		Transaction: &channelv1.OpenChannelsRequest_SignedTx{SignedTx: w.tx(w.payer, chain.KindOpenChannels, open.Encode())},
		WaitFor:     chainv1.Stage_STAGE_FINAL,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if got := resp.GetTransaction(); got.GetCode() != chainv1.Code_CODE_OK || got.GetStage() != chainv1.Stage_STAGE_FINAL {
		w.t.Fatalf("open: %v", got)
	}
	l.first = resp.GetTransaction().GetFirstChannelIndex()
	return l
}

// later is an expiry far away.
func (w *world) later() uint64 { return w.height() + 10_000 }

// entry is a signed claim of the cumulative amount on channel i of the lot.
func (l *lot) entry(i int, cumulative ledger.Amount) channel.Entry {
	e := channel.Entry{Index: l.first + uint64(i), Claim: channel.ClaimVoucher, Cumulative: cumulative, Units: uint64(cumulative)}
	e.Signature = l.key.Sign(e.Signed(l.world.domain, l.ids[i]))
	return e
}

// batch claims amount more on channels [from, to).
func (l *lot) batch(from, to int, amount ledger.Amount) *channel.Batch {
	b := &channel.Batch{Payee: l.world.payee.addr}
	for i := from; i < to; i++ {
		l.paid[i] += amount
		b.Entries = append(b.Entries, l.entry(i, l.paid[i]))
	}
	return b
}

// settle is batch, signed by the payee as a transaction.
func (l *lot) settle(from, to int, amount ledger.Amount) []byte {
	return l.world.tx(l.world.payee, chain.KindSettle, l.batch(from, to, amount).Encode())
}

func signed(raw []byte) *settlementv1.SubmitSettlementRequest {
	return &settlementv1.SubmitSettlementRequest{Transaction: &settlementv1.SubmitSettlementRequest_SignedTx{SignedTx: raw}}
}

func newID() string { return uuid.NewString() }

// wantProblem fails unless err has the code and reason, and returns its details.
func wantProblem(tb testing.TB, err error, code codes.Code, reason string) *problem {
	tb.Helper()
	s := status.Convert(err)
	p := &problem{status: s}
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			p.info = d
		case *errdetails.BadRequest:
			for _, f := range d.GetFieldViolations() {
				p.fields = append(p.fields, f.GetField())
			}
		case *errdetails.RetryInfo:
			p.retry = d.GetRetryDelay().AsDuration()
		case *errdetails.PreconditionFailure:
			p.precondition = d
		}
	}
	if s.Code() != code || p.info.GetReason() != reason || p.info.GetDomain() != api.Domain {
		tb.Fatalf("error %v with info %v, want %v %s of %s", err, p.info, code, reason, api.Domain)
	}
	return p
}

type problem struct {
	status       *status.Status
	info         *errdetails.ErrorInfo
	fields       []string
	retry        time.Duration
	precondition *errdetails.PreconditionFailure
}
