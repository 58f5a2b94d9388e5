package client_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

func TestDialLearnsTheNetwork(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t)
	want := client.Network{Name: "test", Domain: n.exec.Domain(), Params: n.gen.Params, Local: true}
	if diff := cmp.Diff(want, c.Network()); diff != "" {
		t.Errorf("network (-want +got):\n%s", diff)
	}
}

func TestDialFails(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	_, err := client.Dial(within(t), "nowhere", client.WithDialer(n.dial), client.WithInsecure(),
		client.WithRetry(client.RetryPolicy{Attempts: 2, MinDelay: time.Millisecond}))
	e, ok := errors.AsType[*client.Error](err)
	if !ok || e.Code != codes.Unavailable {
		t.Errorf("got %v, want UNAVAILABLE", err)
	}
	// Off loopback without encryption nothing is said.
	_, err = client.Dial(within(t), "node0", client.WithDialer(n.dial),
		client.WithRetry(client.RetryPolicy{Attempts: 1}))
	if err == nil {
		t.Error("spoke plaintext to a host that is not this one")
	}
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t)
	rich := c.Account(identityOf(0))
	a, b := identityOf(100).Address, identityOf(101).Address
	receipt, err := rich.Transfer(within(t), settlement.Payment{To: a, Amount: 700}, settlement.Payment{To: b, Amount: 300})
	if err != nil {
		t.Fatal(err)
	}
	fee := n.gen.Params.TxFee + n.gen.Params.PaymentFee
	if receipt.Paid != 1000 || receipt.Fee != fee || receipt.Code != chain.CodeOK {
		t.Errorf("receipt %+v", receipt)
	}
	for address, want := range map[ledger.Address]ledger.Amount{
		a: 700, b: 300, rich.Address(): fortune - 1000 - fee, identityOf(102).Address: 0,
	} {
		if got, err := c.Balance(within(t), address); err != nil || got != want {
			t.Errorf("balance of %s is %d, %v; want %d", address, got, err, want)
		}
	}
	s, err := c.Transaction(within(t), receipt.Hash)
	if err != nil || s.Stage != client.StageFinal || s.Height == 0 || s.Time.IsZero() {
		t.Errorf("transaction %+v, %v", s, err)
	}
	if diff := cmp.Diff(&receipt, s.Receipt); diff != "" {
		t.Errorf("receipt looked up (-submitted +found):\n%s", diff)
	}
	var hashes []ledger.Hash
	for s, err := range c.Transactions(within(t), rich.Address()) {
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, s.Hash)
	}
	if diff := cmp.Diff([]ledger.Hash{receipt.Hash}, hashes); diff != "" {
		t.Errorf("transactions (-want +got):\n%s", diff)
	}
	block, err := c.Block(within(t), s.Height)
	if err != nil || block.Header.Height != s.Height || len(block.TxHashes) != 1 || block.TxHashes[0] != receipt.Hash {
		t.Errorf("block %+v, %v", block, err)
	}
	if block.Totals.Sum() != richMen*fortune {
		t.Errorf("the totals come to %d", block.Totals.Sum())
	}
	newest := uint64(0)
	for b, err := range c.Blocks(within(t)) {
		if err != nil {
			t.Fatal(err)
		}
		newest = max(newest, b.Header.Height)
	}
	if newest != n.height() {
		t.Errorf("newest block in the list is %d, want %d", newest, n.height())
	}
	status, err := c.Status(within(t))
	if err != nil || status.Moniker != "node0" || len(status.Chains) != 1 || status.Chains[0].Height != n.height() {
		t.Errorf("status %+v, %v", status, err)
	}
}

func TestStatusOfANodeThatCatchesUp(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t)
	for _, want := range []*client.SyncProgress{
		nil,
		{Snapshot: true, Height: 1_000, Target: 1_400, Chunks: 2, TotalChunks: 9, Idle: 31 * time.Second, Stalled: true},
		{Height: 1_100, Target: 1_400, BlocksPerSecond: 12.5, TimeLeft: 24 * time.Second, Idle: time.Second, Note: "no snapshot was found"},
	} {
		nd := n.nodes["node0"]
		nd.mu.Lock()
		nd.sync = (*api.SyncProgress)(want)
		nd.mu.Unlock()
		s, err := c.Status(within(t))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, s.Chains[0].Sync); diff != "" {
			t.Errorf("progress (-want +got):\n%s", diff)
		}
	}
}

// TestErrors: the chain's refusals keep their code through gRPC, with positions.
func TestErrors(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t)
	rich, poor := c.Account(identityOf(0)), c.Account(identityOf(200))
	records, keys := openChannels(t, c, 3)
	entry := func(i int, cumulative ledger.Amount) channel.Entry {
		return entryOn(c, records[i], keys[i], cumulative)
	}
	bad := entry(1, 10)
	bad.Signature[3] ^= 1
	payee := identityOf(1).Address
	tests := []struct {
		name      string
		do        func(ctx context.Context) error
		want      chain.Code
		positions []int
	}{
		{"no money", func(ctx context.Context) error {
			_, err := rich.Transfer(ctx, settlement.Payment{To: payee, Amount: 2 * fortune})
			return err
		}, chain.CodeInsufficientBalance, nil},
		{"no account", func(ctx context.Context) error {
			_, err := c.AccountInfo(ctx, poor.Address())
			return err
		}, chain.CodeAccountNotFound, nil},
		{"no channel", func(ctx context.Context) error {
			_, err := c.Channel(ctx, ledger.Hash{1})
			return err
		}, chain.CodeChannelNotFound, nil},
		{"malformed", func(ctx context.Context) error {
			_, err := rich.Submit(ctx, chain.KindTransfer, []byte("nonsense"))
			return err
		}, chain.CodeTooLarge, nil},
		{"challenge", func(ctx context.Context) error {
			_, _, err := rich.OpenChannels(ctx, []channel.OpenParams{{
				Payee: payee, VoucherKey: keyOf(7).Public(), Deposit: 10_000, ExpiresAt: 1000, Challenge: 1,
			}})
			return err
		}, chain.CodeChallengeRange, []int{0}},
		{"bad signature in a batch", func(ctx context.Context) error {
			_, err := rich.Settle(ctx, channel.Batch{Payee: payee, Entries: []channel.Entry{entry(0, 10), bad, entry(2, 10)}})
			return err
		}, chain.CodeBadSignature, []int{1}},
		{"not the payer", func(ctx context.Context) error {
			_, err := c.Account(identityOf(1)).RequestClose(ctx, channel.Ref{Index: records[0].Index, ID: records[0].ID})
			return err
		}, chain.CodeNotPayer, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.do(within(t))
			if !errors.Is(err, tt.want.Err()) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			rule, _ := errors.AsType[*chain.RuleError](err)
			if diff := cmp.Diff(tt.positions, rule.Positions); diff != "" {
				t.Errorf("positions (-want +got):\n%s", diff)
			}
			e, ok := errors.AsType[*client.Error](err)
			if !ok || e.Reason != tt.want.String() {
				t.Errorf("reason %+v, want %s", e, tt.want)
			}
			if _, unknown := errors.AsType[*client.UnknownOutcomeError](err); unknown {
				t.Error("a refusal was taken for an unknown outcome")
			}
		})
	}
}

// openChannels opens count channels from account 0 to account 1.
func openChannels(tb testing.TB, c *client.Client, count int) ([]pay.Channel, []ledger.PrivateKey) {
	tb.Helper()
	params := make([]channel.OpenParams, count)
	keys := make([]ledger.PrivateKey, count)
	status, err := c.Status(within(tb))
	if err != nil {
		tb.Fatal(err)
	}
	for i := range params {
		keys[i] = pay.VoucherKey([32]byte{1}, uint64(i))
		params[i] = channel.OpenParams{
			Payee: identityOf(1).Address, VoucherKey: keys[i].Public(), Deposit: 100_000,
			ExpiresAt: status.Chains[0].Clock + 5_000, Challenge: c.Params().DefaultChallenge,
		}
	}
	records, _, err := c.Account(identityOf(0)).OpenChannels(within(tb), params)
	if err != nil {
		tb.Fatal(err)
	}
	return records, keys
}

// entryOn returns a signed claim of cumulative on lane 0 of a channel.
func entryOn(c *client.Client, record pay.Channel, key ledger.PrivateKey, cumulative ledger.Amount) channel.Entry {
	e := channel.Entry{Index: record.Index, Claim: channel.ClaimVoucher, Cumulative: cumulative, Units: 1}
	e.Signature = key.Sign(e.Signed(c.Domain(), record.ID))
	return e
}

func TestChannelCalls(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t)
	ctx := within(t)
	payer, payee := c.Account(identityOf(0)), c.Account(identityOf(1))
	records, keys := openChannels(t, c, 5)
	ref := channel.Ref{Index: records[0].Index, ID: records[0].ID}

	if _, err := c.Account(identityOf(2)).TopUp(ctx, ref, 150_000); err != nil { // anybody may
		t.Fatal(err)
	}
	if _, err := payer.Extend(ctx, ref, records[0].ExpiresAt+100); err != nil {
		t.Fatal(err)
	}
	batch := channel.Batch{Payee: payee.Address(), Entries: []channel.Entry{
		entryOn(c, records[0], keys[0], 5000), entryOn(c, records[1], keys[1], 2000),
	}}
	receipt, err := payee.Settle(ctx, batch)
	if err != nil {
		t.Fatal(err)
	}
	if len(receipt.Entries) != 2 || receipt.Entries[1].Paid != 1960 || receipt.Entries[1].Burned != 40 || receipt.Paid != 7000-140 {
		t.Errorf("receipt %+v", receipt)
	}
	info, err := c.Channel(ctx, ref.ID)
	if err != nil {
		t.Fatal(err)
	}
	want := records[0]
	want.Deposit, want.Redeemed, want.ExpiresAt = 150_000, 5000, records[0].ExpiresAt+100
	want.Rent, want.OpenHeight, want.Height = n.gen.Params.Rent, info.OpenHeight, info.View.Height
	want.Lanes = []pay.LaneState{{Redeemed: 5000, Units: 1}}
	if diff := cmp.Diff(want, info.Channel); diff != "" || info.State != client.ChannelOpen || info.Burned != 100 {
		t.Errorf("channel in state %s, burned %d (-want +got):\n%s", info.State, info.Burned, diff)
	}

	if _, err := payer.RequestClose(ctx, ref); err != nil {
		t.Fatal(err)
	}
	if _, err := payer.RequestClose(ctx, ref); !errors.Is(err, chain.CodeChannelClosing.Err()) {
		t.Errorf("second request: %v, want %v", err, chain.CodeChannelClosing)
	}
	batch.Entries = []channel.Entry{entryOn(c, records[1], keys[1], 3000)}
	batch.Entries[0].Close = true
	if receipt, err = payee.Settle(ctx, batch); err != nil || !receipt.Entries[0].Closed {
		t.Fatalf("close: %+v, %v", receipt, err)
	}
	closed, err := c.Channel(ctx, records[1].ID)
	if err != nil || closed.State != client.ChannelClosed || closed.Closed == nil ||
		closed.Closed.Kind != channel.EventPayeeClosed || closed.Closed.Refunded != 97_000+n.gen.Params.Rent {
		t.Errorf("closed channel %+v, %+v, %v", closed, closed.Closed, err)
	}
	if _, err := payee.Channel(ctx, records[1].ID); !errors.Is(err, chain.CodeChannelNotFound.Err()) {
		t.Errorf("as pay wants it: %v, want %v", err, chain.CodeChannelNotFound)
	}

	states := map[client.ChannelState]int{}
	for info, err := range c.Channels(ctx, client.Parties{Payee: payee.Address()}, 0) {
		if err != nil {
			t.Fatal(err)
		}
		states[info.State]++
	}
	if diff := cmp.Diff(map[client.ChannelState]int{client.ChannelOpen: 3, client.ChannelClosing: 1}, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	count := 0
	for info, err := range c.Channels(ctx, client.Parties{Payer: payer.Address()}, client.ChannelClosed) {
		if err != nil || info.ID != records[1].ID {
			t.Fatalf("closed: %+v, %v", info, err)
		}
		count++
	}
	if count != 1 {
		t.Errorf("%d closed channels, want 1", count)
	}
	settled := 0
	for s, err := range c.Settlements(ctx, payee.Address()) {
		if err != nil || s.Stage != client.StageFinal {
			t.Fatalf("settlement %+v, %v", s, err)
		}
		settled++
	}
	if settled != 2 {
		t.Errorf("%d settlements, want 2", settled)
	}
}

func TestSimulateDoesNothing(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t)
	rich := c.Account(identityOf(0))
	height := n.height()
	payload := settlement.Transfer{Payments: []settlement.Payment{{To: identityOf(9).Address, Amount: 5}}}
	for range 3 {
		r, err := rich.Simulate(within(t), chain.KindTransfer, payload.Encode())
		if err != nil || r.Paid != 5 || r.Fee != n.gen.Params.TxFee {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if n.height() != height {
		t.Error("a simulation made a block")
	}
	if info, err := c.AccountInfo(within(t), rich.Address()); err != nil || info.NextNonce != 0 || info.Balance != fortune {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestFaucet(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t)
	to := identityOf(50).Address
	for _, want := range []ledger.Amount{n.faucet.Default, 7} {
		asked := want
		if want == n.faucet.Default {
			asked = 0
		}
		if got, err := c.Faucet(within(t), to, asked); err != nil || got != want {
			t.Errorf("got %d, %v; want %d", got, err, want)
		}
	}
	if b, err := c.Balance(within(t), to); err != nil || b != n.faucet.Default+7 {
		t.Errorf("balance %d, %v", b, err)
	}
	_, err := c.Faucet(within(t), to, n.faucet.Max+1)
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Reason != "FAUCET_LIMIT" {
		t.Errorf("too much: %v, want FAUCET_LIMIT", err)
	}
}

func TestCallsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t)
	resume := n.byHand()
	defer resume()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := c.Account(identityOf(0)).Transfer(ctx, settlement.Payment{To: identityOf(9).Address, Amount: 5})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	unknown, ok := errors.AsType[*client.UnknownOutcomeError](err)
	if !ok {
		t.Fatalf("got %v, want an unknown outcome", err)
	}
	resume()
	s, err := c.WaitFor(within(t), unknown.Hash, client.StageFinal)
	if err != nil || s.Receipt.Code != chain.CodeOK {
		t.Errorf("it became %+v, %v", s, err)
	}
}
