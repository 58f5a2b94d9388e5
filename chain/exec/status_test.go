package exec_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
)

var errDisk = errors.New("disk error")

// tripStore does something after the next read of a key that ends like watched.
type tripStore struct {
	kv.Store

	mu      sync.Mutex
	watched []byte
	then    func() error // once; its error is that of the read
}

// trip makes the next read of a key with that end call then afterwards.
func (s *tripStore) trip(watched []byte, then func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched, s.then = watched, then
}

func (s *tripStore) Get(key []byte) ([]byte, error) {
	value, err := s.Store.Get(key)
	s.mu.Lock()
	then := s.then
	if then == nil || !bytes.HasSuffix(key, s.watched) {
		s.mu.Unlock()
		return value, err
	}
	s.then = nil
	s.mu.Unlock()
	if failed := then(); failed != nil {
		return nil, failed
	}
	return value, err
}

// tripped is openEnded over a tripStore.
func tripped(t *testing.T) (*node, *tripStore) {
	t.Helper()
	params := settlement.LocalParams()
	store := &tripStore{Store: memkv.New()}
	n := &node{t: t, net: new(network), store: store, gen: genesisOf(2, params), arrived: make(chan struct{}, 1)}
	n.net.nodes = []*node{n}
	n.open(exec.Config{})
	if _, err := n.exec.InitChain(nil); err != nil {
		t.Fatal(err)
	}
	n.run()
	n.include(accountOf(rich).txAt(n.exec.Domain(), 0, chain.KindTransfer, transfer(keyOf(poor).Address(zone), 3*params.TxFee+3)))
	return n, store
}

// asked are the ways to ask what became of a record.
func (n *node) asked() map[string]func(ledger.Hash) (exec.Status, error) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	return map[string]func(ledger.Hash) (exec.Status, error){
		"Status": n.exec.Status,
		"Wait":   func(hash ledger.Hash) (exec.Status, error) { return n.exec.Wait(ended, hash, exec.StageFinal) },
	}
}

// A block that is executed and committed while somebody asks for a record of it
// does not make the record unknown.
func TestARecordIsKnownWhileItsBlockIsCommitted(t *testing.T) {
	t.Parallel()
	n, store := tripped(t)
	nonce := uint64(1)
	for name, ask := range n.asked() {
		hash := n.submit(accountOf(rich).txAt(n.exec.Domain(), nonce, chain.KindTransfer, transfer(keyOf(stepper).Address(zone), 1))).Hash
		nonce++
		n.await()
		store.trip(hash[:], func() error { n.step(); return nil })
		height := n.height()
		if s, err := ask(hash); err != nil || s.Stage != exec.StageChecked && s.Stage != exec.StageFinal {
			t.Errorf("%s while the block is committed: %+v, %v", name, s, err)
		}
		if n.height() == height {
			t.Fatal("no block was made meanwhile")
		}
		if s, err := ask(hash); err != nil || s.Stage != exec.StageFinal {
			t.Errorf("%s afterwards: %+v, %v", name, s, err)
		}
	}
}

// The receipt of a record that was REFUSED is not its last word because the record
// is executed while somebody asks.
func TestARefusedRecordExecutesWhileItIsLookedUp(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(n *node, hash ledger.Hash) (exec.Status, error){
		"Status": func(n *node, hash ledger.Hash) (exec.Status, error) { return n.exec.Status(hash) },
		"ListTxs": func(n *node, _ ledger.Hash) (exec.Status, error) {
			page, _, err := n.exec.ListTxs(exec.TxFilter{Account: keyOf(nobody).Address(zone)}, nil, 1)
			if len(page) != 1 {
				return exec.Status{}, errors.New("not listed")
			}
			return page[0], err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, store := tripped(t)
			d := n.exec.Domain()
			raw := signed(d, nobody, chain.TxFields{MaxFee: fortune})
			refused := n.include(raw)[0]
			if refused.Stage != exec.StageRefused {
				t.Fatalf("from no account: %v", refused.Stage)
			}
			store.trip(refused.Hash[:], func() error {
				n.net.apply(t, [][]byte{chain.EncodeRecords([][]byte{
					accountOf(rich).txAt(d, 1, chain.KindTransfer, transfer(keyOf(nobody).Address(zone), 1_000)), raw,
				})})
				return nil
			})
			s, err := ask(n, refused.Hash)
			if err != nil || s.Stage == exec.StageFinal && s.Receipt.Code != chain.CodeOK {
				t.Errorf("while it was executed: %v %v, %v", s.Stage, s.Receipt, err)
			}
			s, err = n.exec.Status(refused.Hash)
			if err != nil || s.Stage != exec.StageFinal || s.Receipt.Code != chain.CodeOK || s.Height != refused.Height+1 {
				t.Errorf("afterwards: %+v, %v", s, err)
			}
		})
	}
}

// An index that cannot be read is no reason to call a record unknown.
func TestAnIndexThatCannotBeRead(t *testing.T) {
	t.Parallel()
	n, store := tripped(t)
	raw := accountOf(rich).txAt(n.exec.Domain(), 1, chain.KindTransfer, transfer(keyOf(stepper).Address(zone), 1))
	done := n.include(raw)[0]
	asked := n.asked()
	asked["Proof"] = func(hash ledger.Hash) (exec.Status, error) {
		_, err := n.exec.Proof(hash)
		return exec.Status{}, err
	}
	asked["Submit"] = func(ledger.Hash) (exec.Status, error) { return n.exec.Submit(t.Context(), raw) }
	for name, ask := range asked {
		store.trip(done.Hash[:], func() error { return errDisk })
		if _, err := ask(done.Hash); !errors.Is(err, errDisk) {
			t.Errorf("%s = %v, want the error of the store", name, err)
		}
		if _, err := ask(done.Hash); err != nil {
			t.Errorf("%s afterwards: %v", name, err)
		}
	}
}
