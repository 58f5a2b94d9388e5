package client_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// runStream runs a stream until the test ends.
func runStream(t *testing.T, c *client.Client) (*client.SettlementStream, func()) {
	t.Helper()
	s := c.NewSettlementStream()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return s, stop
}

// TestStreamSettles: many batches at once over one stream, with results.
func TestStreamSettles(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t)
	records, keys := openChannels(t, c, 50)
	stream, _ := runStream(t, c)
	payee := c.Account(identityOf(1)).Over(stream)
	const batches = 30
	var wg sync.WaitGroup
	for k := range batches {
		wg.Go(func() {
			b := channel.Batch{Payee: payee.Address()}
			for i := range records {
				b.Entries = append(b.Entries, entryOn(c, records[i], keys[i], ledger.Amount(10*(k+1))))
			}
			r, err := payee.Settle(within(t), b)
			// A batch that others have overtaken is refused as stale.
			if err != nil && !errors.Is(err, chain.CodeStale.Err()) {
				t.Error(err)
				return
			}
			if err == nil && len(r.Entries) != len(records) {
				t.Errorf("receipt with %d results, want %d", len(r.Entries), len(records))
			}
		})
	}
	wg.Wait()
	for _, r := range records {
		info, err := c.Channel(within(t), r.ID)
		if err != nil || info.Redeemed != 10*batches {
			t.Fatalf("redeemed %d, %v; want %d", info.Redeemed, err, 10*batches)
		}
	}
	if stream.Pending() != 0 {
		t.Errorf("%d items are still pending", stream.Pending())
	}
}

func TestStreamRefusals(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t)
	records, keys := openChannels(t, c, 3)
	stream, _ := runStream(t, c)
	payee := c.Account(identityOf(1)).Over(stream)
	bad := entryOn(c, records[2], keys[1], 10)
	_, err := payee.Settle(within(t), channel.Batch{
		Payee: payee.Address(), Entries: []channel.Entry{entryOn(c, records[0], keys[0], 10), bad},
	})
	rule, ok := errors.AsType[*chain.RuleError](err)
	if !ok || rule.Code != chain.CodeBadSignature || len(rule.Positions) != 1 || rule.Positions[0] != 1 {
		t.Errorf("got %v with %+v, want entry 1 to be refused for its signature", err, rule)
	}
	// Other transactions go the ordinary way.
	if _, err := payee.RequestClose(within(t), channel.Ref{Index: records[0].Index, ID: records[0].ID}); !errors.Is(err, chain.CodeNotPayer.Err()) {
		t.Errorf("got %v, want %v", err, chain.CodeNotPayer)
	}
}

// TestStreamComesBack: cuts and changes of node under load. Every batch has an
// outcome, and nothing is lost or done twice.
func TestStreamComesBack(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	if _, err := n.start("node1"); err != nil {
		t.Fatal(err)
	}
	c := n.client(t, client.WithEndpoints("node1"))
	const channels, rounds = 12, 12
	records, keys := openChannels(t, c, channels)
	stream, _ := runStream(t, c)
	payee := c.Account(identityOf(1)).Over(stream)
	finished := make(chan struct{})
	var wg sync.WaitGroup
	for i := range records {
		wg.Go(func() {
			for round := range rounds {
				b := channel.Batch{Payee: payee.Address(), Entries: []channel.Entry{entryOn(c, records[i], keys[i], ledger.Amount(100*(round+1)))}}
				if _, err := payee.Settle(within(t), b); err != nil {
					t.Errorf("channel %d, round %d: %v", i, round, err)
					return
				}
			}
		})
	}
	go func() {
		wg.Wait()
		close(finished)
	}()
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	for k, running := 0, true; running; k++ {
		select {
		case <-finished:
			running = false
		case <-tick.C:
			switch k % 4 {
			case 1:
				n.nodes["node0"].cut()
				n.nodes["node1"].cut()
			case 3:
				name := []string{"node0", "node1"}[k/4%2]
				n.nodes[name].halt()
				if _, err := n.start(name); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, r := range records {
		info, err := c.Channel(within(t), r.ID)
		if err != nil || info.Redeemed != 100*rounds {
			t.Errorf("redeemed %d, %v; want %d", info.Redeemed, err, 100*rounds)
		}
	}
}

func TestStreamThatEnded(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t)
	records, keys := openChannels(t, c, 1)
	resume := n.byHand()
	defer resume()
	stream, stop := runStream(t, c)
	payee := c.Account(identityOf(1)).Over(stream)
	done := make(chan error, 1)
	go func() {
		_, err := payee.Settle(within(t), channel.Batch{Payee: payee.Address(), Entries: []channel.Entry{entryOn(c, records[0], keys[0], 10)}})
		done <- err
	}()
	until(t, "the batch to arrive", func() bool { return n.pending() == 1 })
	stop()
	err := <-done
	if _, unknown := errors.AsType[*client.UnknownOutcomeError](err); !unknown || !errors.Is(err, client.ErrStreamEnded) {
		t.Errorf("got %v, want an unknown outcome", err)
	}
	if _, err := stream.Send([]byte{1}, 1).Wait(within(t)); !errors.Is(err, client.ErrStreamEnded) {
		t.Errorf("got %v, want %v", err, client.ErrStreamEnded)
	}
}
