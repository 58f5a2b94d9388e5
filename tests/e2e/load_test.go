package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/testnet"
)

const (
	loadPayees   = 4
	loadChannels = 50 // of each payee
	loadPrice    = 1_000
	loadDeposit  = 10_000_000
)

// load is payees that settle without pause, and what they were told is final.
type load struct {
	domain chain.Domain
	supply ledger.Amount
	payees []*loadPayee
	pause  atomic.Int64 // see calm

	mu    sync.Mutex
	final []ledger.Hash
}

// loadPayee settles its channels, each round one more voucher on every one.
type loadPayee struct {
	account  *client.Account
	key      ledger.PrivateKey // of all its channels' vouchers
	channels []pay.Channel
	rounds   int // that are final
}

func testKey(name string) ledger.PrivateKey {
	return ledger.NewPrivateKey(ledger.HashOf("trib/e2e/key", []byte(name)))
}

// startLoad opens the channels. Payees use the nodes given, all without any.
func startLoad(t *testing.T, net *testnet.Network, nodes ...int) *load {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if len(nodes) == 0 {
		nodes = []int{0, 1, 2, 3}
	}
	c := dial(t, net, nodes[0])
	status, err := c.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	supply, err := net.Genesis.Settlement().Supply() // before its first block a node has no totals
	if err != nil {
		t.Fatal(err)
	}
	l := &load{domain: c.Domain(), supply: supply}
	payer := c.Account(pay.NewIdentity(testKey("payer"), 0))
	if _, err := c.Faucet(ctx, payer.Address(), 10_000*ledger.DropsPerCoin); err != nil {
		t.Fatalf("fund the payer: %v", err)
	}
	for i := range loadPayees {
		key := testKey(fmt.Sprint("payee", i))
		// Every payee uses another node first and the rest when that one is down.
		at := i % len(nodes)
		own := dial(t, net, nodes[at], slices.Concat(nodes[at+1:], nodes[:at])...)
		p := &loadPayee{account: own.Account(pay.NewIdentity(key, 0)), key: key}
		params := make([]channel.OpenParams, loadChannels)
		for j := range params {
			params[j] = channel.OpenParams{
				Payee: p.account.Address(), VoucherKey: key.Public(), Deposit: loadDeposit,
				ExpiresAt: status.Chains[0].Clock + 100_000, Challenge: 100,
			}
		}
		if p.channels, _, err = payer.OpenChannels(ctx, params); err != nil {
			t.Fatalf("open channels: %v", err)
		}
		l.payees = append(l.payees, p)
	}
	// What is final on one node may not have reached the others yet.
	last := l.payees[loadPayees-1].channels[loadChannels-1].ID
	for _, i := range nodes {
		there := dial(t, net, i)
		await(t, 20*time.Second, net.Nodes[i].Name+" has the channels", func(ctx context.Context) bool {
			_, err := there.Channel(ctx, last)
			return err == nil
		})
	}
	return l
}

// run settles until ctx ends. Whatever a node reports as final is remembered.
func (l *load) run(ctx context.Context) error {
	failures := make([]error, len(l.payees))
	var group sync.WaitGroup
	for i, p := range l.payees {
		group.Go(func() {
			for ctx.Err() == nil {
				if failures[i] = l.round(p); failures[i] != nil {
					return
				}
				select {
				case <-ctx.Done():
				case <-time.After(time.Duration(l.pause.Load())):
				}
			}
		})
	}
	group.Wait()
	return errors.Join(failures...)
}

// calm makes every payee wait for d after each of its settlements.
func (l *load) calm(d time.Duration) { l.pause.Store(int64(d)) }

// round settles one more voucher on every channel of p.
func (l *load) round(p *loadPayee) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	batch := channel.Batch{Payee: p.account.Address()}
	for _, c := range p.channels {
		e := channel.Entry{
			Index: c.Index, Claim: channel.ClaimVoucher,
			Cumulative: ledger.Amount(p.rounds+1) * loadPrice, Units: uint64(p.rounds + 1),
		}
		e.Signature = p.key.Sign(e.Signed(l.domain, c.ID))
		batch.Entries = append(batch.Entries, e)
	}
	receipt, err := p.account.Settle(ctx, batch)
	if err != nil {
		return fmt.Errorf("round %d: %w", p.rounds+1, err)
	}
	for i := range receipt.Entries {
		if code := receipt.Entries[i].Code; code != chain.CodeOK {
			return fmt.Errorf("round %d: entry %d: %v", p.rounds+1, i, code)
		}
	}
	p.rounds++
	l.mu.Lock()
	defer l.mu.Unlock()
	l.final = append(l.final, receipt.Hash)
	return nil
}

// verify checks on every node that all that was final is there, that all channels
// have redeemed exactly what was settled, and that money was conserved; and that
// all nodes had the same state at every height.
func (l *load) verify(t *testing.T, net *testnet.Network) {
	t.Helper()
	if len(l.final) == 0 {
		t.Fatal("nothing was settled: the test proves nothing")
	}
	var clients []*client.Client
	var top uint64
	for i := range net.Nodes {
		c := dial(t, net, i)
		clients = append(clients, c)
		status, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		top = max(top, status.Chains[0].Height)
	}
	for i, c := range clients {
		await(t, 30*time.Second, net.Nodes[i].Name+" catches up", func(ctx context.Context) bool {
			status, err := c.Status(ctx)
			return err == nil && status.Chains[0].Height >= top
		})
		l.verifyNode(t, c, net.Nodes[i].Name)
	}
	for h := uint64(2); h <= top; h++ {
		want, err := clients[0].Block(t.Context(), h)
		if err != nil {
			t.Fatalf("block %d: %v", h, err)
		}
		for i, c := range clients[1:] {
			got, err := c.Block(t.Context(), h)
			if err != nil || got.Header.AppHash != want.Header.AppHash || got.ResultsRoot != want.ResultsRoot {
				t.Fatalf("block %d of %s differs: %v", h, net.Nodes[i+1].Name, err)
			}
		}
	}
	t.Logf("%d settlements of %d entries final over %d blocks, on all validators", len(l.final), loadChannels, top)
}

// supplyOf is what the genesis made: rewards are minted on top.
func supplyOf(t settlement.Totals) ledger.Amount { return t.Sum() - t.Minted }

func (l *load) verifyNode(t *testing.T, c *client.Client, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, hash := range l.final {
		s, err := c.Transaction(ctx, hash)
		if err != nil || s.Stage != client.StageFinal || s.Receipt.Code != chain.CodeOK {
			t.Fatalf("%s lost settlement %s: stage %v, %v", name, hash, s.Stage, err)
		}
	}
	for _, p := range l.payees {
		for _, ch := range p.channels {
			info, err := c.Channel(ctx, ch.ID)
			if want := ledger.Amount(p.rounds) * loadPrice; err != nil || info.Redeemed != want {
				t.Fatalf("%s: channel %s redeemed %d, want %d: %v", name, ch.ID, info.Redeemed, want, err)
			}
		}
	}
	status, err := c.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if totals := status.Chains[0].Totals; supplyOf(totals) != l.supply || totals == (settlement.Totals{}) {
		t.Fatalf("%s: %d drops in all, want %d", name, supplyOf(totals), l.supply)
	}
}
