package e2e_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/testnet"
)

// turnover is payers that open channels, top them up and close them without pause: what
// the main chain tells the shards of.
type turnover struct {
	usage *usageLoad
	nodes *client.Client
	done  []ledger.Hash // channels that main said were open, topped up and every second one closed
	times int           // rounds
}

// turn lets the payers of u, one after the other, open channels, top them up and close every
// second one, until the function that it returns is called. Each waits until the home of
// the channel knows, so that blocks do one thing at a time.
func (u *usageLoad) turn(t *testing.T, net *testnet.Network) (end func()) {
	t.Helper()
	v := &turnover{usage: u, nodes: dial(t, net, 0, others(net, 0)...)}
	stop := beside(t, 1, func(ctx context.Context, _ int) error {
		for ; ctx.Err() == nil; v.times++ {
			v.round(ctx)
		}
		return nil
	})
	return func() {
		t.Helper()
		stop()
		if len(v.done) == 0 {
			t.Errorf("in %d rounds no channel was opened, topped up and known at home", v.times)
		}
		for i, id := range v.done {
			want := client.ChannelOpen
			if i%2 == 1 {
				want = client.ChannelClosed
			}
			info, err := v.nodes.Channel(t.Context(), id)
			if err != nil || info.State != want || want == client.ChannelOpen && info.Deposit != 2*loadDeposit {
				t.Errorf("channel %s is %v with a deposit of %d, want %v with twice %d: %v", id, info.State, info.Deposit, want, loadDeposit, err)
			}
		}
		t.Logf("%d channels were opened, topped up and, every second one, closed meanwhile", len(v.done))
	}
}

// round opens a channel and does the rest, unless ctx ends. What fails is tried again:
// main may have done it nevertheless, which is no harm, and what it did its homes know.
func (v *turnover) round(ctx context.Context) {
	u := v.usage
	i := v.times % len(u.payers)
	payer := v.nodes.Account(u.payers[i].Identity())
	var ch pay.Channel
	if !v.until(ctx, func(ctx context.Context) bool {
		status, err := v.nodes.Status(ctx)
		if err != nil {
			return false
		}
		opened, _, err := payer.OpenChannels(ctx, []channel.OpenParams{{
			Payee: u.books[v.times%len(u.books)].account.Address(), VoucherKey: u.keys[i].Public(), Service: testnet.Content,
			Deposit: loadDeposit, ExpiresAt: status.Chains[0].Clock + 400_000, Challenge: v.nodes.Params().MinChallenge,
		}})
		if err == nil {
			ch = opened[0]
		}
		return err == nil
	}) {
		return
	}
	knows := func(deposit ledger.Amount) func(context.Context) bool {
		return func(ctx context.Context) bool {
			at, err := v.nodes.Usage(ctx, ch.ID)
			return err == nil && at.Deposit == deposit
		}
	}
	if !v.until(ctx, knows(loadDeposit)) ||
		!v.until(ctx, func(ctx context.Context) bool {
			_, err := payer.TopUp(ctx, channel.Ref{Index: ch.Index, ID: ch.ID}, 2*loadDeposit)
			return err == nil
		}) || !v.until(ctx, knows(2*loadDeposit)) {
		return
	}
	if len(v.done)%2 == 1 && !v.until(ctx, func(ctx context.Context) bool {
		if info, err := v.nodes.Channel(ctx, ch.ID); err != nil || info.State == client.ChannelOpen {
			_, _ = payer.RequestClose(ctx, channel.Ref{Index: ch.Index, ID: ch.ID}) // it is looked whether it did
			return false
		}
		_, err := v.nodes.Usage(ctx, ch.ID)
		code, _ := chain.CodeOf(err)
		return code == chain.CodeChannelUnknown
	}) {
		return
	}
	v.done = append(v.done, ch.ID)
}

// until tries again until it works, and reports whether it did before ctx ended.
func (v *turnover) until(ctx context.Context, try func(ctx context.Context) bool) bool {
	tick := time.NewTicker(4 * usageRest)
	defer tick.Stop()
	for {
		one, cancel := context.WithTimeout(ctx, usageTry)
		ok := try(one)
		cancel()
		if ok {
			return true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}

// told waits until the homes of all channels of the payers know what main knows of them, as
// a node has both: what is open with its deposit and what was paid, and what is closed not.
func (u *usageLoad) told(t *testing.T, c *client.Client) {
	t.Helper()
	var services []uint32
	for _, b := range u.books {
		services = append(services, b.service)
	}
	channels := 0
	for _, payer := range u.payers {
		for _, state := range []client.ChannelState{0, client.ChannelClosed} {
			for ch, err := range c.Channels(t.Context(), client.Parties{Payer: payer.Address()}, state) {
				if err != nil {
					t.Fatal(err)
				}
				if state == 0 && !slices.Contains(services, ch.Service) {
					continue
				}
				channels++
				await(t, time.Minute, "the home of channel "+ch.ID.String()+" knows what main knows", func(ctx context.Context) bool {
					main, err := c.Channel(ctx, ch.ID)
					if err != nil {
						return false
					}
					at, err := c.Usage(ctx, ch.ID)
					if main.State == client.ChannelClosed {
						code, _ := chain.CodeOf(err)
						return code == chain.CodeChannelUnknown
					}
					var redeemed ledger.Amount
					for _, lane := range at.Lanes {
						redeemed += lane.Redeemed
					}
					return err == nil && at.Deposit == main.Deposit && at.ExpiresAt == main.ExpiresAt && redeemed == main.Redeemed
				})
			}
		}
	}
	t.Logf("the homes of all %d channels know what main knows", channels)
}
