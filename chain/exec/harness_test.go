package exec_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/statetree"
)

const (
	zone    = 1
	fortune = 1_000_000 * ledger.DropsPerCoin
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

// genesisOf funds accounts 0 to n-1.
func genesisOf(n int, params settlement.Params) settlement.Genesis {
	g := settlement.Genesis{Name: "test", Time: 1_700_000_000_000, Params: params}
	for i := range n {
		g.Accounts = append(g.Accounts, settlement.GenesisAccount{Address: keyOf(i).Address(zone), Balance: fortune})
	}
	return g
}

// network carries bundles between nodes.
type network struct {
	mu    sync.Mutex
	nodes []*node
	sent  int // bundles broadcast

	blocks [][][]byte // applied; owned by the test's goroutine
}

// broadcasts returns how many bundles were broadcast.
func (net *network) broadcasts() int {
	net.mu.Lock()
	defer net.mu.Unlock()
	return net.sent
}

// node is one validator without consensus: whoever calls step agrees with
// itself.
type node struct {
	t     testing.TB
	net   *network
	exec  *exec.Main
	store kv.Store
	layer *layer.Settlement
	gen   settlement.Genesis

	mu      sync.Mutex
	mempool [][]byte
	arrived chan struct{} // capacity 1
	fail    func(bundle []byte) error
}

// newNode returns a node with an initialised chain; cfg's bundler runs if run.
func newNode(tb testing.TB, net *network, gen settlement.Genesis, cfg exec.Config, run bool) *node {
	tb.Helper()
	n := &node{t: tb, net: net, store: memkv.New(), gen: gen, arrived: make(chan struct{}, 1)}
	n.open(cfg)
	if _, err := n.exec.InitChain(gen.Encode()); err != nil {
		tb.Fatal(err)
	}
	net.mu.Lock()
	net.nodes = append(net.nodes, n)
	net.mu.Unlock()
	if run {
		n.run()
	}
	return n
}

func layerOptions() layer.Options {
	return layer.Options{State: statetree.Options{Tables: settlement.Tables()}}
}

func (n *node) open(cfg exec.Config) {
	n.t.Helper()
	var err error
	if n.layer, err = layer.New(n.store, layerOptions()); err != nil {
		n.t.Fatal(err)
	}
	if n.exec, err = exec.OpenMain(cfg, n.layer, n.gen, slog.New(slog.DiscardHandler)); err != nil {
		n.t.Fatal(err)
	}
}

// run runs the executor until the test ends.
func (n *node) run() {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.exec.Run(ctx, n.broadcast) }()
	for { // Submit refuses until Run has begun
		_, err := n.exec.Submit(ctx, nil)
		if !errors.Is(err, exec.ErrNotRunning) {
			break
		}
	}
	n.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			n.t.Errorf("Run: %v", err)
		}
	})
}

// broadcast is what consensus does with a bundle: it checks it here and then at
// every other node.
func (n *node) broadcast(bundle []byte) error {
	n.mu.Lock()
	fail := n.fail
	n.mu.Unlock()
	if fail != nil {
		if err := fail(bundle); err != nil {
			return err
		}
	}
	n.net.mu.Lock()
	n.net.sent++
	nodes := n.net.nodes
	n.net.mu.Unlock()
	if err := n.receive(bundle); err != nil {
		return err
	}
	for _, peer := range nodes {
		if peer != n {
			_ = peer.receive(bundle)
		}
	}
	return nil
}

func (n *node) receive(bundle []byte) error {
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

// await waits until something is in the mempool.
func (n *node) await() {
	n.t.Helper()
	for {
		n.mu.Lock()
		have := len(n.mempool)
		n.mu.Unlock()
		if have > 0 {
			return
		}
		select {
		case <-n.arrived:
		case <-time.After(hangs):
			n.t.Fatal("nothing came into the mempool")
		}
	}
}

const unlimited = 1 << 30

// propose returns the block this node would propose.
func (n *node) propose() [][]byte {
	height, _ := n.exec.Head()
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.exec.Propose(height+1, unlimited, n.mempool)
}

// step proposes a block and applies it on all nodes.
func (n *node) step() exec.Outcome {
	n.t.Helper()
	return n.net.apply(n.t, n.propose())
}

// apply lets all nodes vote for a block and apply it. It wants them to agree.
func (net *network) apply(tb testing.TB, txs [][]byte) exec.Outcome {
	tb.Helper()
	net.blocks = append(net.blocks, txs)
	var first exec.Outcome
	for i, n := range net.nodes {
		height, _ := n.exec.Head()
		if err := n.exec.Accept(blockAt(&n.gen, height+1, txs)); err != nil {
			tb.Fatalf("node %d: Accept(%d): %v", i, height+1, err)
		}
		out := n.force(txs)
		if i == 0 {
			first = out
		} else if !bytes.Equal(out.AppHash, first.AppHash) {
			tb.Fatalf("node %d: app hash %x at height %d, want %x", i, out.AppHash, height+1, first.AppHash)
		}
	}
	return first
}

// blockAt is the block of these bundles at height.
func blockAt(gen *settlement.Genesis, height uint64, txs [][]byte) exec.Block {
	hash := sha256.New()
	hash.Write(binary.BigEndian.AppendUint64(nil, height))
	for _, tx := range txs {
		sum := sha256.Sum256(tx)
		hash.Write(sum[:])
	}
	return exec.Block{
		Height: height, Time: time.UnixMilli(gen.Time + int64(height)*1000), Txs: txs, Hash: hash.Sum(nil),
	}
}

// force finalizes and commits a block without asking for a vote.
func (n *node) force(txs [][]byte) exec.Outcome {
	n.t.Helper()
	height, _ := n.exec.Head()
	out, err := n.exec.Finalize(blockAt(&n.gen, height+1, txs))
	if err != nil {
		n.t.Fatalf("Finalize(%d): %v", height+1, err)
	}
	if _, err := n.exec.Commit(); err != nil {
		n.t.Fatalf("Commit(%d): %v", height+1, err)
	}
	n.recheck(txs)
	return out
}

// recheck is what consensus does with the mempool after a block.
func (n *node) recheck(committed [][]byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var keep [][]byte
	for _, have := range n.mempool {
		gone := false
		for _, tx := range committed {
			gone = gone || bytes.Equal(have, tx)
		}
		if !gone && n.exec.Check(have, true) == nil {
			keep = append(keep, have)
		}
	}
	n.mempool = keep
}

func (n *node) height() uint64 {
	height, _ := n.exec.Head()
	return height
}

// submit submits raw and wants it CHECKED.
func (n *node) submit(raw []byte) exec.Status {
	n.t.Helper()
	s, err := n.exec.Submit(n.t.Context(), raw)
	if err != nil {
		n.t.Fatalf("Submit: %v", err)
	}
	return s
}

// settleAll submits the records, makes blocks until all are final, and returns
// their statuses.
func (n *node) settleAll(records ...[]byte) []exec.Status {
	n.t.Helper()
	statuses := make([]exec.Status, len(records))
	for i, raw := range records {
		statuses[i] = n.submit(raw)
	}
	for i := range statuses {
		for range 1_000 {
			s, err := n.exec.Status(statuses[i].Hash)
			if err != nil {
				n.t.Fatalf("record %d is unknown", i)
			}
			if statuses[i] = s; s.Stage >= exec.StageFinal {
				break
			}
			n.await()
			n.step()
		}
	}
	return statuses
}

// tx signs a transaction of a with its next nonce.
func (a *account) tx(d chain.Domain, kind chain.Kind, payload []byte) []byte {
	raw := a.txAt(d, a.nonce, kind, payload)
	a.nonce++
	return raw
}

func (a *account) txAt(d chain.Domain, nonce uint64, kind chain.Kind, payload []byte) []byte {
	return chain.SignTx(d, a.key, chain.TxFields{Kind: kind, Zone: zone, Nonce: nonce, MaxFee: fortune, Payload: payload})
}

func (a *account) transfer(d chain.Domain, to ledger.Address, amount ledger.Amount) []byte {
	return a.tx(d, chain.KindTransfer, transfer(to, amount))
}

func transfer(to ledger.Address, amount ledger.Amount) []byte {
	p := settlement.Transfer{Payments: []settlement.Payment{{To: to, Amount: amount}}}
	return p.Encode()
}

// lot is some channels of one payer, with consecutive rows, to one payee.
type lot struct {
	domain chain.Domain
	payer  *account
	payee  *account
	key    ledger.PrivateKey // voucher key of all
	first  uint64
	ids    []ledger.Hash
	paid   []ledger.Amount
}

// openLot opens n channels with a deposit each and makes blocks until they are
// there.
func (n *node) openLot(payer, payee *account, count int, deposit ledger.Amount) *lot {
	n.t.Helper()
	d, p := n.exec.Domain(), n.exec.Params()
	l := &lot{domain: d, payer: payer, payee: payee, key: keyOf(1 << 20)}
	for left := count; left > 0; left -= channel.MaxOpens {
		var open channel.Open
		for range min(left, channel.MaxOpens) {
			open.Channels = append(open.Channels, channel.OpenParams{
				Payee: payee.addr, VoucherKey: l.key.Public(), Deposit: deposit,
				ExpiresAt: n.height() + p.MaxLifetime/2, Challenge: p.DefaultChallenge,
			})
		}
		nonce := payer.nonce
		s := n.settleAll(payer.tx(d, chain.KindOpenChannels, open.Encode()))[0]
		if s.Receipt.Code != chain.CodeOK {
			n.t.Fatalf("open: %v", s.Receipt.Code)
		}
		if len(l.ids) == 0 {
			l.first = s.Receipt.FirstChannel
		}
		for i := range open.Channels {
			l.ids = append(l.ids, channel.ID(d, payer.addr, nonce, uint16(i), &open.Channels[i]))
		}
	}
	l.paid = make([]ledger.Amount, len(l.ids))
	return l
}

// entry is a signed claim of the cumulative amount on channel i of the lot.
func (l *lot) entry(i int, cumulative ledger.Amount) channel.Entry {
	e := channel.Entry{Index: l.first + uint64(i), Claim: channel.ClaimVoucher, Cumulative: cumulative, Units: uint64(cumulative)}
	e.Signature = l.key.Sign(e.Signed(l.domain, l.ids[i]))
	return e
}

// batch claims amount more on channels [from, to).
func (l *lot) batch(from, to int, amount ledger.Amount) *channel.Batch {
	b := &channel.Batch{Payee: l.payee.addr}
	for i := from; i < to; i++ {
		l.paid[i] += amount
		b.Entries = append(b.Entries, l.entry(i, l.paid[i]))
	}
	return b
}

// settle is batch, signed by the payee as a transaction.
func (l *lot) settle(from, to int, amount ledger.Amount) []byte {
	return l.payee.tx(l.domain, chain.KindSettle, l.batch(from, to, amount).Encode())
}

func codeOf(tb testing.TB, err error) chain.Code {
	tb.Helper()
	code, ok := chain.CodeOf(err)
	if !ok {
		tb.Fatalf("%v is no refusal by a rule", err)
	}
	return code
}
