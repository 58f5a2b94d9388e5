package client_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain/settlement"
)

// TestFailover: when a node goes, calls go to the next, and back when that goes.
func TestFailover(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	other, err := n.start("node1")
	if err != nil {
		t.Fatal(err)
	}
	c := n.client(t, client.WithEndpoints("node1"))
	account := c.Account(identityOf(0))
	pay := func() {
		t.Helper()
		if _, err := account.Transfer(within(t), settlement.Payment{To: identityOf(9).Address, Amount: 1}); err != nil {
			t.Fatal(err)
		}
	}
	pay()
	if got := c.Endpoint(); got != "node0" {
		t.Errorf("the client uses %s, want node0", got)
	}
	n.nodes["node0"].halt()
	pay()
	if got := c.Endpoint(); got != "node1" {
		t.Errorf("the client uses %s, want node1", got)
	}
	if _, err := n.start("node0"); err != nil {
		t.Fatal(err)
	}
	other.halt()
	pay()
	if got := c.Endpoint(); got != "node0" {
		t.Errorf("the client uses %s, want node0", got)
	}
	if b, err := c.Balance(within(t), identityOf(9).Address); err != nil || b != 3 {
		t.Errorf("balance %d, %v; want 3", b, err)
	}
}

// TestCutConnections breaks connections under way, all the time. Every payment
// is made, and made once.
func TestCutConnections(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	if _, err := n.start("node1"); err != nil {
		t.Fatal(err)
	}
	c := n.client(t, client.WithEndpoints("node1"), client.WithCallTimeout(2*time.Second))
	const goroutines, each = 8, 15
	var left atomic.Int64
	left.Store(goroutines * each)
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range each {
				if _, err := c.Account(identityOf(0)).Transfer(within(t), settlement.Payment{To: identityOf(9).Address, Amount: 1}); err != nil {
					t.Error(err)
				}
				left.Add(-1)
			}
		})
	}
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	cuts := 0
	for left.Load() > 0 {
		<-tick.C
		n.nodes["node0"].cut()
		n.nodes["node1"].cut()
		cuts++
	}
	wg.Wait()
	if b, err := c.Balance(within(t), identityOf(9).Address); err != nil || b != goroutines*each {
		t.Errorf("balance %d, %v; want %d", b, err, goroutines*each)
	}
	if cuts == 0 {
		t.Error("nothing was cut")
	}
}
