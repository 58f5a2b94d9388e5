package exec_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
)

// Whatever was executed ahead, the decided blocks lead to the same hashes.
func TestAheadChangesNothing(t *testing.T) {
	t.Parallel()
	const blocks = 300
	h := record(t, 23, blocks)
	n := newNode(t, &network{}, h.gen, exec.Config{}, true)
	rng := rand.New(rand.NewPCG(5, 6))
	other := func(at uint64) exec.Block { // not the one that will be decided
		return blockAt(&h.gen, at, h.blocks[rng.IntN(blocks)][:0:0])
	}
	reused := uint64(0)
	for i := range uint64(blocks) {
		b := blockAt(&h.gen, i+1, h.blocks[i])
		for range rng.IntN(4) { // rounds of the height
			x := b
			if rng.IntN(2) == 0 {
				x = other(i + 1)
			}
			if n.exec.Accept(x) == nil && rng.IntN(2) == 0 {
				n.exec.WaitAhead(x)
			}
		}
		certain := n.exec.Accept(b) == nil && rng.IntN(2) == 0 && n.exec.WaitAhead(b)
		before := n.exec.Stats().Ahead
		out, err := n.exec.Finalize(b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.AppHash, h.hashes[i]) {
			t.Fatalf("block %d: app hash %x, was %x", i+1, out.AppHash, h.hashes[i])
		}
		if now := n.exec.Stats().Ahead; certain && now != before+1 {
			t.Errorf("block %d was executed twice", i+1)
		}
		if _, err := n.exec.Commit(); err != nil {
			t.Fatal(err)
		}
		reused = n.exec.Stats().Ahead
	}
	if reused == 0 {
		t.Error("no block was executed ahead")
	}
	if s := n.exec.Stats(); s.Blocks != blocks {
		t.Errorf("%d blocks counted, want %d", s.Blocks, blocks)
	}
}

// Nothing of a block shows before it is decided, and nothing of one that is not.
func TestAheadShowsNothing(t *testing.T) {
	t.Parallel()
	gen := genesisOf(3, settlement.LocalParams())
	n := newNode(t, &network{}, gen, exec.Config{}, true)
	n.step()
	a, b, c := accountOf(0), accountOf(1), accountOf(2)
	raw := a.transfer(n.exec.Domain(), b.addr, 5)
	s := n.submit(raw)
	height, hash := n.exec.Head()
	hash = bytes.Clone(hash)
	first := blockAt(&gen, height+1, [][]byte{chain.EncodeRecords([][]byte{raw})})
	second := blockAt(&gen, height+1, [][]byte{chain.EncodeRecords([][]byte{c.transfer(n.exec.Domain(), b.addr, 7)})})
	before := n.exec.Stats()
	for _, block := range []exec.Block{first, second, first} {
		if err := n.exec.Accept(block); err != nil {
			t.Fatal(err)
		}
		if !n.exec.WaitAhead(block) {
			t.Fatal("an accepted block is not executed ahead")
		}
		if now, err := n.exec.Status(s.Hash); err != nil || now.Stage != exec.StageChecked {
			t.Errorf("a record that is in no decided block has stage %v", now.Stage)
		}
	}
	if h, now := n.exec.Head(); h != height || !bytes.Equal(now, hash) {
		t.Errorf("the head moved to %d, %x", h, now)
	}
	if now := n.exec.Stats(); now.Blocks != before.Blocks || now.Records != before.Records {
		t.Errorf("counted %d blocks and %d records", now.Blocks, now.Records)
	}
	// The block that was executed first, but not last.
	if _, err := n.exec.Finalize(second); err != nil {
		t.Fatal(err)
	}
	if _, err := n.exec.Commit(); err != nil {
		t.Fatal(err)
	}
	if now, _ := n.exec.Status(s.Hash); now.Stage != exec.StageChecked {
		t.Errorf("a record of a block that was not decided has stage %v", now.Stage)
	}
	balance := func(who ledger.Address) (balance ledger.Amount) {
		_ = n.exec.Read(func(v chain.View, _ uint64) error {
			account, _, _ := settlement.AccountByAddress(v, who)
			balance = account.Balance
			return nil
		})
		return balance
	}
	if balance(a.addr) != fortune || balance(b.addr) != fortune+7 {
		t.Errorf("balances %v and %v", balance(a.addr), balance(b.addr))
	}
}

// Before Run and after it, blocks are executed when they are decided.
func TestNothingAheadWithoutRun(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(2, settlement.LocalParams()), exec.Config{}, false)
	b := blockAt(&n.gen, 1, nil)
	if err := n.exec.Accept(b); err != nil {
		t.Fatal(err)
	}
	if n.exec.WaitAhead(b) {
		t.Error("executed ahead without Run")
	}
	n.force(nil)
	if s := n.exec.Stats(); s.Ahead != 0 || s.Blocks != 1 {
		t.Errorf("stats %+v", s)
	}
}

// blindStore fails reads of the state while it is told to.
type blindStore struct {
	kv.Store
	blind atomic.Bool
}

var errBlind = errors.New("the disk is gone")

func (s *blindStore) Snapshot() (kv.Snapshot, error) {
	snap, err := s.Store.Snapshot()
	return blindSnapshot{snap, s}, err
}

type blindSnapshot struct {
	kv.Snapshot
	store *blindStore
}

func (s blindSnapshot) Get(key []byte) ([]byte, error) {
	if s.store.blind.Load() {
		return nil, errBlind
	}
	return s.Snapshot.Get(key)
}

// What fails while a block is executed ahead halts the chain if the block is
// decided, and else nothing.
func TestAFailureAheadCountsWhenDecided(t *testing.T) {
	t.Parallel()
	gen := genesisOf(2, settlement.LocalParams())
	store := &blindStore{Store: memkv.New()}
	n := &node{t: t, net: &network{}, store: store, gen: gen, arrived: make(chan struct{}, 1)}
	n.open(exec.Config{})
	if _, err := n.exec.InitChain(nil); err != nil {
		t.Fatal(err)
	}
	n.force(nil)
	n.run()
	// The signer has no account, so that the rules look into the store.
	blockOf := func(stranger int) exec.Block {
		raw := accountOf(stranger).transfer(n.exec.Domain(), accountOf(0).addr, 1)
		return blockAt(&gen, n.height()+1, [][]byte{chain.EncodeRecords([][]byte{raw})})
	}
	fail := func(b exec.Block) {
		store.blind.Store(true)
		defer store.blind.Store(false)
		if err := n.exec.Accept(b); err != nil {
			t.Fatal(err)
		}
		if !n.exec.WaitAhead(b) {
			t.Fatal("not executed ahead")
		}
	}
	fail(blockOf(100))
	n.force(nil) // another block is decided
	fail(blockOf(101))
	b := blockOf(102)
	if err := n.exec.Accept(b); err != nil { // the next round brings another
		t.Fatal(err)
	}
	if _, err := n.exec.Finalize(b); err != nil {
		t.Fatal(err)
	}
	if _, err := n.exec.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := n.exec.HaltError(); err != nil {
		t.Fatalf("a block that was not decided halted the chain: %v", err)
	}
	b = blockOf(103)
	fail(b)
	if _, err := n.exec.Finalize(b); !errors.Is(err, errBlind) {
		t.Errorf("Finalize of a block that failed: %v", err)
	}
	if err := n.exec.HaltError(); !errors.Is(err, errBlind) || !errors.Is(err, exec.ErrHalted) {
		t.Errorf("the chain halted on %v", err)
	}
}

// Reads, submissions and proposals go on while blocks are executed ahead, dropped
// and committed; under the race detector this is a test of its own.
func TestAheadBesideEverything(t *testing.T) {
	t.Parallel()
	gen := genesisOf(12, settlement.LocalParams())
	n := newNode(t, &network{}, gen, exec.Config{}, true)
	n.step()
	l := n.openLot(accountOf(0), accountOf(1), 64, 1_000_000)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				switch i {
				case 0:
					_ = n.exec.Read(func(v chain.View, _ uint64) error {
						_, _, _ = settlement.AccountByAddress(v, l.payee.addr)
						return nil
					})
				case 1:
					_, _ = n.exec.Submit(t.Context(), accountOf(500).transfer(l.domain, l.payee.addr, 1))
				default:
					_ = n.propose()
				}
			}
		})
	}
	for range 60 {
		txs := [][]byte{chain.EncodeRecords([][]byte{l.settle(0, 64, 10)})}
		b := blockAt(&gen, n.height()+1, txs)
		empty := blockAt(&gen, n.height()+1, nil)
		for _, x := range []exec.Block{b, empty, b} {
			if err := n.exec.Accept(x); err != nil {
				t.Fatal(err)
			}
		}
		n.force(txs)
	}
	close(stop)
	wg.Wait()
	if s := n.exec.Stats(); s.Ahead == 0 {
		t.Log("no block was executed ahead")
	}
}
