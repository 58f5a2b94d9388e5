package client_test

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/ledger"
)

// A payer opens two channels, pays in vouchers that never touch the chain, and
// the payee redeems both channels at once and closes them.
//
// The network here is one node within the process. With a node of your own leave
// out the options: client.Dial(ctx, "localhost:9090").
func Example() {
	options, stop, err := exampleNetwork()
	if err == nil {
		defer stop()
		err = openPayRedeem(context.Background(), options)
	}
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// owed: 0.2 coins
	// paid: 0.196 burned: 0.004 fees: 0.00004 by 1 transaction
}

func openPayRedeem(ctx context.Context, options []client.Option) (err error) {
	c, err := client.Dial(ctx, "node0", options...)
	if err != nil {
		return err
	}
	defer func() { err = firstOf(err, c.Close()) }()

	// Two accounts, with play money.
	alice, bob := pay.NewIdentity(keyOf(10), zone), pay.NewIdentity(keyOf(11), zone)
	for _, account := range []ledger.Address{alice.Address, bob.Address} {
		if _, err := c.Faucet(ctx, account, 10*ledger.DropsPerCoin); err != nil {
			return err
		}
	}

	// Bob knows of his channels by following the chain.
	payee, err := pay.OpenPayee(pay.PayeeConfig{Domain: c.Domain(), Account: bob, Chain: c.Account(bob)})
	if err != nil {
		return err
	}
	follow, stop := context.WithCancel(ctx)
	var tasks errgroup.Group
	tasks.Go(func() error { return payee.Follow(c.Follow(follow, client.Parties{Payee: bob.Address})) })
	defer func() {
		stop()
		_ = tasks.Wait() // it was stopped
		err = firstOf(err, payee.Close())
	}()

	// Alice opens two channels with one signature.
	payer, err := pay.OpenPayer(pay.PayerConfig{Domain: c.Domain(), Account: alice, Chain: c.Account(alice)})
	if err != nil {
		return err
	}
	defer func() { err = firstOf(err, payer.Close()) }()
	status, err := c.Status(ctx)
	if err != nil {
		return err
	}
	specs := make([]pay.OpenSpec, 2)
	for i := range specs {
		specs[i] = pay.OpenSpec{
			Payee: bob.Address, Key: pay.VoucherKey([32]byte{42}, uint64(i)), Deposit: 2 * ledger.DropsPerCoin,
			ExpiresAt: status.Chains[0].Clock + 10_000, Challenge: c.Params().DefaultChallenge,
		}
	}
	channels, err := payer.Open(ctx, specs)
	if err != nil {
		return err
	}
	if err := payee.Await(ctx, channels[0].ID(), channels[1].ID()); err != nil {
		return err
	}

	// She pays a thousand drops at a time. How vouchers travel is up to you; a
	// voucher has 146 bytes, see pay.Voucher.Encode.
	for range 100 {
		for _, channel := range channels {
			voucher, err := channel.Pay(ctx, 0, 1000, 1)
			if err != nil {
				return err
			}
			if _, err := payee.Accept(ctx, voucher, 1000); err != nil {
				return err
			}
		}
	}
	owed, _ := payee.Total()
	fmt.Println("owed:", owed.Unredeemed, "coins")

	// One transaction redeems and closes both. 2 % are burned.
	redeemer := pay.NewRedeemer(payee, c.Params())
	if err := redeemer.Close(ctx, channels[0].ID(), channels[1].ID()); err != nil {
		return err
	}
	report := redeemer.Total()
	fmt.Println("paid:", report.Paid, "burned:", report.Burned, "fees:", report.Fees, "by", report.Batches, "transaction")
	return nil
}

// firstOf returns the first error that there is.
func firstOf(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// exampleNetwork starts a node within the process.
func exampleNetwork() (options []client.Option, stop func(), err error) {
	n, stop, err := startNetwork(func(format string, args ...any) { fmt.Printf(format+"\n", args...) })
	if err != nil {
		return nil, nil, err
	}
	return []client.Option{client.WithDialer(n.dial), client.WithInsecure()}, stop, nil
}
