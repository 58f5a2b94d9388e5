package client_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// TestManyAtOnce: more transactions of one account than its window holds, from
// many goroutines, all become final, each with a nonce of its own.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t)
	const goroutines, each = 40, 10
	to := identityOf(60).Address
	var mu sync.Mutex
	nonces := make(map[uint64]int)
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			account := c.Account(identityOf(0)) // all of them are one
			for range each {
				r, err := account.Transfer(within(t), settlement.Payment{To: to, Amount: 1})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				nonces[r.Nonce]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if b, err := c.Balance(within(t), to); err != nil || b != goroutines*each {
		t.Errorf("balance %d, %v; want %d", b, err, goroutines*each)
	}
	want := make(map[uint64]int)
	for nonce := range uint64(goroutines * each) {
		want[nonce] = 1
	}
	if diff := cmp.Diff(want, nonces); diff != "" {
		t.Errorf("how often nonces were used (-want +got):\n%s", diff)
	}
}

// TestTwoProcesses: two clients that do not know of each other sign for one
// account. They get into each other's way and find a way.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	to := identityOf(61).Address
	const each = 60
	var wg sync.WaitGroup
	for range 2 {
		c := n.client(t)
		for range 4 {
			wg.Go(func() {
				for range each / 4 {
					if _, err := c.Account(identityOf(0)).Transfer(within(t), settlement.Payment{To: to, Amount: 1}); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	if b, err := n.client(t).Balance(within(t), to); err != nil || b != 2*each {
		t.Errorf("balance %d, %v; want %d: every payment once", b, err, 2*each)
	}
}

// TestTheWindowIsFull: with 256 transactions under way the next waits for one of
// them to end.
func TestTheWindowIsFull(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t)
	account := c.Account(identityOf(0))
	resume := n.byHand()
	payload := settlement.Transfer{Payments: []settlement.Payment{{To: identityOf(62).Address, Amount: 1}}}
	var sent []*client.Transaction
	for range chain.NonceWindow {
		tx, err := account.Send(within(t), chain.KindTransfer, payload.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if s := tx.Status(); s.Stage != client.StageChecked {
			t.Fatalf("sent: %+v", s)
		}
		sent = append(sent, tx)
	}
	done := make(chan error, 1)
	go func() {
		_, err := account.Transfer(within(t), settlement.Payment{To: identityOf(62).Address, Amount: 1})
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("a transaction beyond the window was not held back: %v", err)
	default:
	}
	resume()
	for _, tx := range sent {
		if s, err := tx.Wait(within(t)); err != nil || s.Receipt.Code != chain.CodeOK {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestNobodyWaits: an account that sends and never waits goes on beyond its
// window, because the chain says which nonces it has used.
func TestNobodyWaits(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t)
	account := c.Account(identityOf(0))
	to := identityOf(63).Address
	payload := settlement.Transfer{Payments: []settlement.Payment{{To: to, Amount: 1}}}
	const count = chain.NonceWindow + 50
	for range count {
		if _, err := account.Send(within(t), chain.KindTransfer, payload.Encode()); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the last payment", func() bool {
		b, err := c.Balance(within(t), to)
		return err == nil && b == count
	})
}

// TestRefusedNoncesAreUsedAgain: a refusal leaves no hole behind.
func TestRefusedNoncesAreUsedAgain(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t)
	account := c.Account(identityOf(0))
	for range 5 {
		_, err := account.Transfer(within(t), settlement.Payment{To: identityOf(9).Address, Amount: 2 * fortune})
		if !errors.Is(err, chain.CodeInsufficientBalance.Err()) {
			t.Fatal(err)
		}
	}
	r, err := account.Transfer(within(t), settlement.Payment{To: identityOf(9).Address, Amount: 1})
	if err != nil || r.Nonce != 0 {
		t.Errorf("nonce %d, %v; want 0", r.Nonce, err)
	}
}

// TestExpiredAreSignedAnew: a client that has not heard of the chain for longer
// than its transactions live signs again.
func TestExpiredAreSignedAnew(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t, client.WithLifetime(3))
	account := c.Account(identityOf(0))
	if _, err := account.Transfer(within(t), settlement.Payment{To: identityOf(9).Address, Amount: 1}); err != nil {
		t.Fatal(err)
	}
	n.steps(20)
	r, err := account.Transfer(within(t), settlement.Payment{To: identityOf(9).Address, Amount: 1})
	if err != nil || r.Code != chain.CodeOK {
		t.Fatalf("%+v, %v", r, err)
	}
	if b, err := c.Balance(within(t), identityOf(9).Address); err != nil || b != ledger.Amount(2) {
		t.Errorf("balance %d, %v", b, err)
	}
}
