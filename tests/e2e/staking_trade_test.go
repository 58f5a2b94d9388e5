package e2e_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/testnet"
)

const (
	tradeChannels = 5
	tradePrice    = 500
	tradeDeposit  = 100 * ledger.DropsPerCoin
	tradeMoney    = 1_000 * ledger.DropsPerCoin // of each of the two
)

// trade is a payer that pays without pause and a payee that redeems what it is owed
// by its policy, as a shop would.
type trade struct {
	payer    *client.Account
	payee    *client.Account
	channels []*pay.PayerChannel
	shop     *pay.Payee
	redeemer *pay.Redeemer

	stopSale context.CancelFunc
	sale     sync.WaitGroup
	stop     context.CancelFunc
	tasks    sync.WaitGroup
	errs     [3]error
}

// startTrade opens the channels by one node and redeems by another, or by others
// when that one is down.
func startTrade(t *testing.T, net *testnet.Network, nodes ...int) *trade {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	there, here := dial(t, net, nodes[0], nodes[1:]...), dial(t, net, nodes[1], nodes...)
	tr := &trade{payer: there.Account(pay.NewIdentity(testKey("customer"), 0)), payee: here.Account(pay.NewIdentity(testKey("shop"), 0))}
	for _, a := range []*client.Account{tr.payer, tr.payee} {
		if _, err := there.Faucet(ctx, a.Address(), tradeMoney); err != nil {
			t.Fatal(err)
		}
	}
	customer, err := pay.OpenPayer(pay.PayerConfig{Domain: there.Domain(), Account: tr.payer.Identity(), Chain: tr.payer})
	if err != nil {
		t.Fatal(err)
	}
	tr.shop, err = pay.OpenPayee(pay.PayeeConfig{
		Domain: here.Domain(), Account: tr.payee.Identity(), Chain: tr.payee,
		Redeem: pay.RedeemPolicy{Threshold: 40 * tradePrice, MaxAge: 2 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	tr.redeemer = pay.NewRedeemer(tr.shop, here.Params())
	run, stop := context.WithCancel(t.Context())
	tr.stop, tr.stopSale = stop, stop
	tr.tasks.Go(func() {
		tr.errs[0] = tr.shop.Follow(here.Follow(run, client.Parties{Payee: tr.payee.Address()}))
	})
	tr.tasks.Go(func() { tr.errs[1] = tr.redeemer.Run(run) })
	t.Cleanup(func() {
		tr.end()
		if err := errors.Join(customer.Close(), tr.shop.Close()); err != nil {
			t.Errorf("close payer and payee: %v", err)
		}
	})
	tr.open(ctx, t, there, customer)
	var sale context.Context
	sale, tr.stopSale = context.WithCancel(run)
	tr.sale.Go(func() { tr.errs[2] = tr.sell(sale) })
	return tr
}

func (tr *trade) open(ctx context.Context, t *testing.T, c *client.Client, customer *pay.Payer) {
	t.Helper()
	status, err := c.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	specs := make([]pay.OpenSpec, tradeChannels)
	for i := range specs {
		specs[i] = pay.OpenSpec{
			Payee: tr.payee.Address(), Key: pay.VoucherKey([32]byte{7}, uint64(i)), Deposit: tradeDeposit,
			ExpiresAt: status.Chains[0].Clock + 100_000, Challenge: c.Params().DefaultChallenge,
		}
	}
	if tr.channels, err = customer.Open(ctx, specs); err != nil {
		t.Fatal(err)
	}
	for _, ch := range tr.channels {
		if err := tr.shop.Await(ctx, ch.ID()); err != nil {
			t.Fatal(err)
		}
	}
}

// sell pays on every channel in turn until ctx ends.
func (tr *trade) sell(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		// What is signed must reach the payee, or the two would disagree.
		whole := context.WithoutCancel(ctx)
		v, err := tr.channels[i%tradeChannels].Pay(whole, 0, tradePrice, 1)
		if err == nil {
			_, err = tr.shop.Accept(whole, v, tradePrice)
		}
		if err != nil {
			return err
		}
	}
}

// end stops both.
func (tr *trade) end() {
	tr.stop()
	tr.sale.Wait()
	tr.tasks.Wait()
}

// finish ends the sale, redeems what is left, and fails the test if something went
// wrong.
func (tr *trade) finish(t *testing.T) {
	t.Helper()
	tr.stopSale()
	tr.sale.Wait()
	var ids []ledger.Hash
	for _, ch := range tr.channels {
		ids = append(ids, ch.ID())
	}
	if err := tr.redeemer.Redeem(t.Context(), ids...); err != nil {
		t.Fatal(err)
	}
	tr.end()
	for _, err := range tr.errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	report := tr.redeemer.Total()
	// What was under way at the end may be redeemed twice, which changes nothing.
	if report.Codes[chain.CodeOK]+report.Codes[chain.CodeStale] != report.Entries || report.Codes[chain.CodeOK] == 0 {
		t.Errorf("the payee redeemed %+v", report)
	}
	t.Logf("vouchers of %d drops redeemed by %d entries in %d batches, %d tried again", report.Paid+report.Burned, report.Entries, report.Batches, report.Retries)
}

// verify checks on one node that every voucher was redeemed and that both accounts
// have, to the last drop, what they should.
func (tr *trade) verify(t *testing.T, c *client.Client, name string) {
	t.Helper()
	var owed ledger.Amount
	for _, ch := range tr.channels {
		info, err := c.Channel(t.Context(), ch.ID())
		if err != nil || info.Redeemed != ch.Signed() {
			t.Fatalf("%s: channel %s redeemed %d of the %d drops signed: %v", name, ch.ID(), info.Redeemed, ch.Signed(), err)
		}
		owed += ch.Signed()
	}
	report := tr.redeemer.Total()
	if report.Paid+report.Burned != owed {
		t.Fatalf("the payee got %d drops and %d were burned of the %d owed", report.Paid, report.Burned, owed)
	}
	locked := tradeChannels * (tradeDeposit + c.Params().Rent)
	checkBalance(t, c, name, "the payee", tr.payee.Address(), tradeMoney+report.Paid-feesOf(t, c, tr.payee.Address()))
	checkBalance(t, c, name, "the payer", tr.payer.Address(), tradeMoney-locked-feesOf(t, c, tr.payer.Address()))
}

// feesOf sums the fees of all transactions that an account signed.
func feesOf(t *testing.T, c *client.Client, account ledger.Address) (sum ledger.Amount) {
	t.Helper()
	for s, err := range c.Transactions(t.Context(), account) {
		if err != nil {
			t.Fatal(err)
		}
		sum += s.Receipt.Fee
	}
	return sum
}

func checkBalance(t *testing.T, c *client.Client, node, who string, account ledger.Address, want ledger.Amount) {
	t.Helper()
	if have, err := c.Balance(t.Context(), account); err != nil || have != want {
		t.Errorf("%s: %s has %d drops, want %d: %v", node, who, have, want, err)
	}
}
