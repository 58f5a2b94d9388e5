package client_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// collector reads a watch until the test ends.
type collector struct {
	mu     sync.Mutex
	events []pay.Event
	bare   int // opens without the record of the channel
	views  int
	token  string
	err    error
	done   chan struct{}
}

func collect(t *testing.T, watch iter.Seq2[client.Watched, error]) *collector {
	t.Helper()
	c := &collector{done: make(chan struct{})}
	go func() {
		defer close(c.done)
		for m, err := range watch {
			c.mu.Lock()
			switch {
			case err != nil:
				c.err = err
			case m.Event != nil && m.Event.Kind != pay.EventExpiring:
				c.events = append(c.events, *m.Event)
				if m.Event.Kind == channel.EventOpened && (m.Channel == nil || m.Channel.ID != m.Event.ID || m.Channel.VoucherKey == ledger.PublicKey{}) {
					c.bare++
				}
			case m.View != nil:
				c.views++
			}
			if err == nil {
				c.token = m.Token
			}
			c.mu.Unlock()
		}
	}()
	return c
}

func (c *collector) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.events)
}

func (c *collector) seen() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.views
}

// TestWatchLosesNothing: a watch whose connection is cut and whose node goes
// tells every event once and in order.
func TestWatchLosesNothing(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	if _, err := n.start("node1"); err != nil {
		t.Fatal(err)
	}
	watcher := n.client(t, client.WithEndpoints("node1"))
	worker := n.client(t, client.WithEndpoints("node1"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := collect(t, watcher.WatchChannels(ctx, client.WatchFilter{Payee: identityOf(1).Address}))
	until(t, "the first heartbeat", func() bool { return got.seen() > 0 })

	records, keys := openChannels(t, worker, 3)
	payee := worker.Account(identityOf(1))
	const rounds = 40
	for round := range rounds {
		b := channel.Batch{Payee: payee.Address()}
		for i := range records {
			b.Entries = append(b.Entries, entryOn(worker, records[i], keys[i], ledger.Amount(100*(round+1))))
		}
		if _, err := payee.Settle(within(t), b); err != nil {
			t.Fatal(err)
		}
		switch round {
		case 7, 15:
			n.nodes["node0"].cut()
			n.nodes["node1"].cut()
		case 10:
			n.nodes["node0"].halt()
		case 20:
			if _, err := n.start("node0"); err != nil {
				t.Fatal(err)
			}
			n.nodes["node1"].halt()
		}
	}
	until(t, "the last event", func() bool { return got.count() >= 3+3*rounds })
	cancel()
	<-got.done
	if !errors.Is(got.err, context.Canceled) {
		t.Errorf("the watch ends with %v, want %v", got.err, context.Canceled)
	}
	at := make(map[ledger.Hash]ledger.Amount)
	for i, e := range got.events {
		switch {
		case i < 3 && e.Kind != channel.EventOpened, i >= 3 && e.Kind != channel.EventRedeemed:
			t.Fatalf("event %d is %s", i, e.Kind)
		case i >= 3 && e.Redeemed != at[e.ID]+100:
			t.Fatalf("event %d: channel %s goes from %d to %d", i, e.ID, at[e.ID], e.Redeemed)
		case i > 0 && e.Height < got.events[i-1].Height:
			t.Fatalf("event %d of block %d follows one of block %d", i, e.Height, got.events[i-1].Height)
		}
		at[e.ID] = e.Redeemed
	}
	if got.bare != 0 {
		t.Errorf("%d events of opens come without the channel", got.bare)
	}
	if len(got.events) != 3+3*rounds {
		t.Errorf("%d events, want %d", len(got.events), 3+3*rounds)
	}

	// A later watch goes on after the token, or begins at a height.
	if _, err := payee.Settle(within(t), channel.Batch{Payee: payee.Address(), Entries: []channel.Entry{entryOn(worker, records[0], keys[0], 9_999)}}); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]client.WatchFilter{
		"token":   {Channels: []ledger.Hash{records[0].ID}, Token: got.token},
		"height":  {Channels: []ledger.Hash{records[0].ID}, From: n.height()},
		"payer":   {Payer: identityOf(0).Address, Token: got.token},
		"earlier": {Payee: payee.Address(), From: n.height() - 1},
	} {
		again := collect(t, worker.WatchChannels(t.Context(), f))
		until(t, "the event after the "+name, func() bool { return again.count() > 0 })
		again.mu.Lock()
		if e := again.events[len(again.events)-1]; e.Redeemed != 9_999 && name != "earlier" {
			t.Errorf("%s: %+v", name, e)
		}
		again.mu.Unlock()
	}
}

func TestWatchEndsWhenItsReaderStops(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t)
	for m, err := range c.WatchChannels(within(t), client.WatchFilter{Payee: identityOf(1).Address}) {
		if err != nil || m.View == nil || m.View.Height != n.height() {
			t.Errorf("the first message is %+v, %v; want a heartbeat", m, err)
		}
		break
	}
	for _, err := range c.WatchChannels(within(t), client.WatchFilter{}) {
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Reason != "INVALID_FIELD" {
			t.Errorf("a watch of nothing: %v", err)
		}
	}
}

// TestFollow: what package pay hears is what the chain does, from a list through
// every change, and after an outage.
func TestFollow(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t)
	id := identityOf(1)
	records, keys := openChannels(t, c, 600) // more than a page
	payee, err := pay.OpenPayee(pay.PayeeConfig{Domain: c.Domain(), Account: id, Chain: c.Account(id)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- payee.Follow(c.Follow(ctx, client.Parties{Payee: id.Address})) }()
	channels := func() int { _, count := payee.Total(); return count }
	until(t, "the list", func() bool { return channels() == 600 && payee.View().Height > 0 })

	more, moreKeys := openChannels(t, c, 2)
	until(t, "the new channels", func() bool { return channels() == 602 })
	payer, err := pay.OpenPayer(pay.PayerConfig{Domain: c.Domain()})
	if err != nil {
		t.Fatal(err)
	}
	accept := func(record pay.Channel, key ledger.PrivateKey) error {
		pc, err := payer.Track(record, key)
		if err != nil {
			t.Fatal(err)
		}
		v, err := pc.Pay(ctx, 0, 10, 1)
		if err != nil {
			return err
		}
		_, err = payee.Accept(ctx, v, 10)
		return err
	}
	for _, err := range []error{accept(records[0], keys[0]), accept(more[1], moreKeys[1])} {
		if err != nil {
			t.Error(err)
		}
	}
	ref := channel.Ref{Index: records[1].Index, ID: records[1].ID}
	if _, err := c.Account(identityOf(0)).RequestClose(within(t), ref); err != nil {
		t.Fatal(err)
	}
	until(t, "the news of the close request", func() bool {
		return errors.Is(accept(records[1], keys[1]), pay.Closing.Err())
	})
	n.steps(int(c.Params().DefaultChallenge) + 2)
	until(t, "the news of the close", func() bool { b, _ := payee.Balance(records[1].ID); return b.Closed })

	// While nobody listens a channel is closed and another opened.
	node := n.nodes["node0"]
	node.halt()
	if _, err := n.start("node1"); err != nil {
		t.Fatal(err)
	}
	other, err := client.Dial(within(t), "node1", client.WithDialer(n.dial), client.WithInsecure())
	if err != nil {
		t.Fatal(err)
	}
	closing := channel.Batch{Payee: id.Address, Entries: []channel.Entry{{Index: records[2].Index, Close: true}}}
	if _, err := other.Account(id).Settle(within(t), closing); err != nil {
		t.Fatal(err)
	}
	openChannels(t, other, 1)
	if _, err := n.start("node0"); err != nil {
		t.Fatal(err)
	}
	until(t, "the news of the outage", func() bool {
		b, _ := payee.Balance(records[2].ID)
		return b.Closed && channels() == 601
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("following ends with %v, want %v", err, context.Canceled)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
}

// TestExpiringNotices: a channel that nears its expiry is told about.
func TestExpiringNotices(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t)
	records, _ := openChannels(t, c, 1)
	n.steps(int(records[0].ExpiresAt-n.height()) - 100)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	var kinds []channel.EventKind
	for m, err := range c.WatchChannels(ctx, client.WatchFilter{Payee: identityOf(1).Address, ExpiringWithin: 200}) {
		if err != nil {
			t.Fatal(err)
		}
		if m.Event != nil {
			kinds = append(kinds, m.Event.Kind)
			break
		}
	}
	if diff := cmp.Diff([]channel.EventKind{pay.EventExpiring}, kinds); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
