package exec_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"log/slog"
	"math/rand/v2"
	"runtime"
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
)

// lastReplayHash is the application hash after the 2,000 blocks of
// TestReplayIsDeterministic. It changes with the rules, the encodings and the
// state tree, and with nothing else: not with caches, processors or restarts.
const lastReplayHash = "3723bf0ed96d6d737cbdda80542eee474ca6db9c25647eceae1c3e6fcbaf1c9b"

// world makes blocks of all kinds of records, good and bad.
type world struct {
	rng      *rand.Rand
	n        *node
	accounts []*account
	lots     []*lot
}

func newWorld(tb testing.TB, seed uint64) *world {
	tb.Helper()
	const people = 12
	params := settlement.LocalParams()
	params.MinChallenge, params.DefaultChallenge, params.MaxChallenge = 3, 5, 20
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 1)),
		n:   newNode(tb, &network{}, genesisOf(people, params), exec.Config{AuditInterval: 50}, false),
	}
	for i := range people {
		w.accounts = append(w.accounts, accountOf(i))
	}
	return w
}

func (w *world) someone() *account { return w.accounts[w.rng.IntN(len(w.accounts))] }

// block makes the bundles of the next block.
func (w *world) block() [][]byte {
	var txs [][]byte
	for range w.rng.IntN(3) {
		var records [][]byte
		for range 1 + w.rng.IntN(3) {
			records = append(records, w.record())
		}
		txs = append(txs, chain.EncodeRecords(records))
	}
	if w.rng.IntN(20) == 0 {
		txs = append(txs, []byte("garbage"), chain.EncodeTick(w.n.height()+1))
	}
	return txs
}

func (w *world) record() []byte {
	d := w.n.exec.Domain()
	switch w.rng.IntN(10) {
	case 0:
		return w.someone().transfer(d, w.someone().addr, ledger.Amount(w.rng.IntN(10_000)))
	case 1:
		return w.open()
	case 2:
		return flip(w.someone().txAt(d, w.rng.Uint64N(400), chain.KindTransfer, transfer(w.someone().addr, 1)), w.rng.IntN(200))
	default:
		if len(w.lots) == 0 {
			return w.open()
		}
		return w.onChannel(w.lots[w.rng.IntN(len(w.lots))])
	}
}

func (w *world) open() []byte {
	d, p := w.n.exec.Domain(), w.n.exec.Params()
	payer, payee := w.someone(), w.someone()
	l := &lot{domain: d, payer: payer, payee: payee, key: keyOf(1 << 20)}
	var open channel.Open
	for range 1 + w.rng.IntN(6) {
		open.Channels = append(open.Channels, channel.OpenParams{
			Payee: payee.addr, VoucherKey: l.key.Public(), Deposit: ledger.Amount(1_000 + w.rng.IntN(5_000)),
			ExpiresAt: w.n.height() + 15 + w.rng.Uint64N(100), Challenge: p.MinChallenge + w.rng.Uint32N(3),
		})
	}
	for i := range open.Channels {
		l.ids = append(l.ids, channel.ID(d, payer.addr, payer.nonce, uint16(i), &open.Channels[i]))
	}
	_ = w.n.exec.Read(func(v chain.View, _ uint64) error {
		l.first = settlement.ChannelCount(v) // a guess: other opens of the block may come first
		return nil
	})
	l.paid = make([]ledger.Amount, len(l.ids))
	w.lots = append(w.lots, l)
	return payer.tx(d, chain.KindOpenChannels, open.Encode())
}

func (w *world) onChannel(l *lot) []byte {
	i := w.rng.IntN(len(l.ids))
	ref := channel.Ref{Index: l.first + uint64(i), ID: l.ids[i]}
	switch w.rng.IntN(6) {
	case 0:
		return l.payer.tx(l.domain, chain.KindRequestClose, (&channel.RequestClose{Channel: ref}).Encode())
	case 1:
		return l.payer.tx(l.domain, chain.KindTopUp, (&channel.TopUp{Channel: ref, NewTotal: ledger.Amount(w.rng.IntN(20_000))}).Encode())
	case 2:
		return l.payer.tx(l.domain, chain.KindExtend, (&channel.Extend{Channel: ref, NewExpiry: w.n.height() + w.rng.Uint64N(300)}).Encode())
	default:
		b := l.batch(0, len(l.ids), ledger.Amount(w.rng.IntN(600)))
		for j := range b.Entries {
			b.Entries[j].Close = w.rng.IntN(8) == 0
			if w.rng.IntN(10) == 0 {
				b.Entries[j].Signature[5] ^= 1
			}
		}
		return l.payee.tx(l.domain, chain.KindSettle, b.Encode())
	}
}

// history is agreed blocks and the application hashes they led to.
type history struct {
	gen    settlement.Genesis
	blocks [][][]byte
	hashes [][]byte
}

func record(tb testing.TB, seed uint64, blocks int) *history {
	tb.Helper()
	w := newWorld(tb, seed)
	h := &history{gen: w.n.gen}
	for range blocks {
		txs := w.block()
		out := w.n.force(txs)
		h.blocks, h.hashes = append(h.blocks, txs), append(h.hashes, out.AppHash)
	}
	return h
}

// replay applies h's blocks above the head of n and wants the same hashes.
func (h *history) replay(tb testing.TB, n *node) {
	tb.Helper()
	for i := n.height(); i < uint64(len(h.blocks)); i++ {
		if out := n.force(h.blocks[i]); !bytes.Equal(out.AppHash, h.hashes[i]) {
			tb.Fatalf("block %d: app hash %x, was %x", i+1, out.AppHash, h.hashes[i])
		}
	}
}

func TestReplayIsDeterministic(t *testing.T) { //nolint:paralleltest // sets GOMAXPROCS
	const blocks = 2_000
	before := runtime.GOMAXPROCS(2)
	defer runtime.GOMAXPROCS(before)
	h := record(t, 7, blocks)
	runtime.GOMAXPROCS(1)
	h.replay(t, newNode(t, &network{}, h.gen, exec.Config{Remembered: 2}, false))

	seen := map[string]bool{}
	for i, txs := range h.blocks {
		if hash := hex.EncodeToString(h.hashes[i]); len(txs) == 0 && i > 0 && !bytes.Equal(h.hashes[i], h.hashes[i-1]) {
			seen[hash] = true
		}
	}
	if len(seen) == 0 {
		t.Log("no empty block finalised a channel")
	}
	if got := hex.EncodeToString(h.hashes[blocks-1]); got != lastReplayHash {
		t.Errorf("application hash after block %d is %s, want %s", blocks, got, lastReplayHash)
	}
}

// faultStore fails its commits from the moment it is told to.
type faultStore struct {
	kv.Store
	fail   bool
	before bool // fail without writing; otherwise write and then fail
}

var errFault = errors.New("the power is gone")

func (f *faultStore) NewBatch() kv.Batch { return &faultBatch{Batch: f.Store.NewBatch(), store: f} }

type faultBatch struct {
	kv.Batch
	store *faultStore
}

func (b *faultBatch) Commit(sync bool) error {
	if b.store.fail && b.store.before {
		b.Discard()
		return errFault
	}
	if err := b.Batch.Commit(sync); err != nil || !b.store.fail {
		return err
	}
	return errFault
}

func TestAKilledNodeComesBackWithTheSameHashes(t *testing.T) {
	t.Parallel()
	const blocks = 60
	h := record(t, 11, blocks)
	for _, c := range []struct {
		name string
		// kill stops the node somewhere in block height; the store stays.
		kill func(t *testing.T, n *node, f *faultStore, b exec.Block)
	}{
		{"before Finalize", func(*testing.T, *node, *faultStore, exec.Block) {}},
		{"after Accept", func(t *testing.T, n *node, _ *faultStore, b exec.Block) {
			t.Helper()
			_ = n.exec.Accept(b)
		}},
		{"after Finalize", func(t *testing.T, n *node, _ *faultStore, b exec.Block) {
			t.Helper()
			if _, err := n.exec.Finalize(b); err != nil {
				t.Fatal(err)
			}
		}},
		{"before the commit is written", func(t *testing.T, n *node, f *faultStore, b exec.Block) {
			t.Helper()
			f.fail, f.before = true, true
			commitFails(t, n, b)
		}},
		{"after the commit is written", func(t *testing.T, n *node, f *faultStore, b exec.Block) {
			t.Helper()
			f.fail, f.before = true, false
			commitFails(t, n, b)
		}},
		{"after Commit", func(t *testing.T, n *node, _ *faultStore, b exec.Block) {
			t.Helper()
			if _, err := n.exec.Finalize(b); err != nil {
				t.Fatal(err)
			}
			if _, err := n.exec.Commit(); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			store := &faultStore{Store: memkv.New()}
			n := &node{t: t, net: &network{}, gen: h.gen, store: store}
			n.open(exec.Config{})
			if _, err := n.exec.InitChain(nil); err != nil {
				t.Fatal(err)
			}
			for at := uint64(1); at <= blocks; at += 7 {
				for n.height() < at-1 {
					n.force(h.blocks[n.height()])
				}
				c.kill(t, n, store, blockAt(&h.gen, at, h.blocks[at-1]))
				store.fail = false
				n.open(exec.Config{}) // a new process over the same store
				height, hash := n.exec.Head()
				if height != at && height != at-1 {
					t.Fatalf("killed in block %d, came back at %d", at, height)
				}
				if height > 0 && !bytes.Equal(hash, h.hashes[height-1]) {
					t.Fatalf("came back at %d with app hash %x, was %x", height, hash, h.hashes[height-1])
				}
			}
			h.replay(t, n)
		})
	}
}

func commitFails(t *testing.T, n *node, b exec.Block) {
	t.Helper()
	if _, err := n.exec.Finalize(b); err != nil {
		t.Fatal(err)
	}
	if _, err := n.exec.Commit(); !errors.Is(err, errFault) {
		t.Fatalf("Commit: %v, want the store's error", err)
	}
	if _, err := n.exec.Finalize(b); !errors.Is(err, exec.ErrHalted) {
		t.Errorf("Finalize after a failed commit: %v, want ErrHalted", err)
	}
	if err := n.exec.HaltError(); !errors.Is(err, errFault) {
		t.Errorf("HaltError: %v", err)
	}
}

func TestANodeKilledBeforeTheFirstBlockStartsAnew(t *testing.T) {
	t.Parallel()
	h := record(t, 3, 5)
	n := newNode(t, &network{}, h.gen, exec.Config{}, false)
	_, before := n.exec.Head()
	before = bytes.Clone(before)
	n.open(exec.Config{})
	hash, err := n.exec.InitChain(h.gen.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(hash, before) {
		t.Errorf("second InitChain: %x, first %x", hash, before)
	}
	h.replay(t, n)
}

func TestAnotherGenesisIsRefused(t *testing.T) {
	t.Parallel()
	gen := genesisOf(2, settlement.LocalParams())
	n := newNode(t, &network{}, gen, exec.Config{}, false)
	other := genesisOf(3, settlement.LocalParams())
	if _, err := n.exec.InitChain(other.Encode()); err == nil {
		t.Error("InitChain takes another genesis")
	}
	n.force(nil)
	l, err := layer.New(n.store, layerOptions())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.OpenMain(exec.Config{}, l, other, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("Open takes another genesis than the state began with")
	}
}

func TestAViolationOfConservationHaltsTheChain(t *testing.T) {
	t.Parallel()
	gen := genesisOf(2, settlement.LocalParams())
	store := memkv.New()
	n := &node{t: t, net: &network{}, gen: gen, store: store}
	l, err := layer.New(store, layerOptions())
	if err != nil {
		t.Fatal(err)
	}
	changes, err := gen.State()
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range changes { // an account that has one drop too many
		if bytes.Equal(c.Key, settlement.AccountKey(0)) {
			a, err := settlement.DecodeAccount(c.Value)
			if err != nil {
				t.Fatal(err)
			}
			a.Balance++
			changes[i].Value = a.Encode()
		}
	}
	if _, err := l.Init(changes); err != nil {
		t.Fatal(err)
	}
	if n.exec, err = exec.OpenMain(exec.Config{AuditInterval: 3}, l, gen, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	n.force(nil)
	n.force(nil)
	n.run()
	n.force(nil) // the third: now an audit is due, beside the blocks
	select {
	case <-n.exec.Halted():
	case <-time.After(hangs):
		t.Fatal("the audit after block 3 finds nothing")
	}
	if err := n.exec.HaltError(); !errors.Is(err, settlement.ErrNotConserved) || !errors.Is(err, exec.ErrHalted) {
		t.Errorf("the chain halts on %v", err)
	}
	if _, again := n.exec.Finalize(blockAt(&gen, 4, nil)); !errors.Is(again, exec.ErrHalted) {
		t.Errorf("Finalize after the halt: %v", again)
	}
	if _, err := n.exec.Submit(t.Context(), nil); !errors.Is(err, exec.ErrHalted) {
		t.Errorf("Submit after the halt: %v", err)
	}
}

// TestAuditsOfASoundChain: they happen, and stop with Run.
func TestAuditsOfASoundChain(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(2, settlement.LocalParams()), exec.Config{AuditInterval: 2}, true)
	l := n.openLot(accountOf(0), accountOf(1), 3, 1_000_000)
	for deadline := time.Now().Add(10 * time.Second); n.exec.Stats().Audits == 0; {
		n.settleAll(l.settle(0, 3, 10))
		if time.Now().After(deadline) {
			t.Fatal("no audit in all these blocks")
		}
	}
	if err := n.exec.HaltError(); err != nil {
		t.Error(err)
	}
}

func TestAPanicBecomesAnError(t *testing.T) {
	t.Parallel()
	gen := genesisOf(2, settlement.LocalParams())
	n := newNode(t, &network{}, gen, exec.Config{}, true)
	raw := accountOf(99).transfer(n.exec.Domain(), accountOf(1).addr, 1) // of an account that no cache has
	if err := n.store.Close(); err != nil {                              // the view panics from now on
		t.Fatal(err)
	}
	without := func(what string, err error) {
		if _, refused := chain.CodeOf(err); err == nil || refused {
			t.Errorf("%s works without a store: %v", what, err)
		}
	}
	_, err := n.exec.Submit(t.Context(), raw)
	without("Submit", err)
	bundle := chain.EncodeRecords([][]byte{raw})
	without("Check", n.exec.Check(bundle, false))
	if _, err := n.exec.Finalize(blockAt(&gen, 1, [][]byte{bundle})); err == nil {
		t.Error("Finalize works without a store")
	}
}
