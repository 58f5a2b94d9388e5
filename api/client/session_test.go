package client_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// session is a payer and a payee with everything between them: vouchers in
// batches, the chain followed, the redeemer at work over a stream.
type session struct {
	t        *testing.T
	network  *network
	client   *client.Client
	payer    *pay.Payer
	payee    *pay.Payee
	redeemer *pay.Redeemer
	stop     func() // everything that runs
}

func newSession(t *testing.T, policy pay.RedeemPolicy) *session {
	t.Helper()
	s := &session{t: t, network: newNetwork(t)}
	s.client = s.network.client(t)
	alice, bob := identityOf(0), identityOf(1)
	stream := s.client.NewSettlementStream()
	var err error
	if s.payer, err = pay.OpenPayer(pay.PayerConfig{Domain: s.client.Domain(), Account: alice, Chain: s.client.Account(alice), Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	if s.payee, err = pay.OpenPayee(pay.PayeeConfig{
		Domain: s.client.Domain(), Account: bob, Chain: s.client.Account(bob).Over(stream), Dir: t.TempDir(), Redeem: policy,
	}); err != nil {
		t.Fatal(err)
	}
	s.redeemer = pay.NewRedeemer(s.payee, s.client.Params())
	ctx, cancel := context.WithCancel(t.Context())
	var tasks sync.WaitGroup
	task := func(run func() error) {
		tasks.Go(func() {
			if err := run(); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	task(func() error { return stream.Run(ctx) })
	task(func() error { return s.redeemer.Run(ctx) })
	task(func() error { return s.payer.Run(ctx) })
	task(func() error { return s.payee.Follow(s.client.Follow(ctx, client.Parties{Payee: bob.Address})) })
	task(func() error { return s.payer.Follow(s.client.Follow(ctx, client.Parties{Payer: alice.Address})) })
	var once sync.Once
	s.stop = func() {
		once.Do(func() {
			cancel()
			tasks.Wait()
			for _, err := range []error{s.payer.Close(), s.payee.Close()} {
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	t.Cleanup(s.stop)
	return s
}

func (s *session) open(count int, deposit ledger.Amount, life uint64) []*pay.PayerChannel {
	s.t.Helper()
	specs := make([]pay.OpenSpec, count)
	for i := range specs {
		specs[i] = pay.OpenSpec{
			Payee: identityOf(1).Address, Key: pay.VoucherKey([32]byte{9}, uint64(i)), Deposit: deposit,
			ExpiresAt: s.network.height() + life, Challenge: s.client.Params().DefaultChallenge,
		}
	}
	channels, err := s.payer.Open(within(s.t), specs)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range channels {
		if err := s.payee.Await(within(s.t), c.ID()); err != nil {
			s.t.Fatal(err)
		}
	}
	return channels
}

// pay sends one voucher.
func (s *session) pay(c *pay.PayerChannel, lane uint8, amount ledger.Amount) error {
	v, err := c.Pay(s.t.Context(), lane, amount, 1)
	if err != nil {
		return err
	}
	until(s.t, "the payee follows the chain", func() bool {
		err = s.payee.AcceptBatch(s.t.Context(), []pay.Offer{{Voucher: v, Price: amount}})[0].Err
		return !errors.Is(err, pay.StaleView.Err())
	})
	return err
}

func (s *session) closed(c *pay.PayerChannel) {
	s.t.Helper()
	until(s.t, "the close", func() bool { b, _ := s.payee.Balance(c.ID()); return b.Closed && c.Closed() })
}

// TestSessions plays every way a channel can end against the real rules, and
// counts the money afterwards.
func TestSessions(t *testing.T) {
	t.Parallel()
	s := newSession(t, pay.RedeemPolicy{Threshold: 20_000})
	ctx := within(t)
	params := s.client.Params()
	const deposit = 200_000
	channels := s.open(12, deposit, 2_000)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 600 { // none of them is too small to be worth its fee
		c := channels[rng.IntN(len(channels))]
		if err := s.pay(c, uint8(rng.IntN(3)), ledger.Amount(20+rng.IntN(1500))); err != nil {
			t.Fatal(err)
		}
	}

	// The payer closes, and the payee wins the challenge.
	challenged := channels[0]
	if err := challenged.RequestClose(ctx); err != nil {
		t.Fatal(err)
	}
	want := challenged.Signed()
	until(t, "the redemption of what the payer tried to keep", func() bool {
		info, err := s.client.Channel(ctx, challenged.ID())
		return err == nil && info.Redeemed == want
	})
	s.network.steps(int(params.DefaultChallenge) + 1)
	s.closed(challenged)

	// Both agree to close, and go on with a smaller channel.
	next := &pay.OpenSpec{
		Payee: identityOf(1).Address, Key: pay.VoucherKey([32]byte{9}, 100), Deposit: 50_000,
		ExpiresAt: s.network.height() + 2_000, Challenge: params.DefaultChallenge,
	}
	offer, err := channels[1].OfferClose(ctx, channels[1].Signed(), s.network.height()+50, next)
	if err != nil {
		t.Fatal(err)
	}
	agreed, err := s.payee.AcceptClose(ctx, offer, 0)
	if err != nil {
		t.Fatal(err)
	}
	rolled, err := channels[1].CoopClose(ctx, agreed, next)
	if err != nil {
		t.Fatal(err)
	}
	s.closed(channels[1])
	if err := s.payee.Await(ctx, rolled.ID()); err != nil {
		t.Fatal(err)
	}
	if err := s.pay(rolled, 0, 50_000); err != nil {
		t.Fatal(err)
	}

	// A deposit runs out, is topped up, and serves on.
	low := channels[2]
	rest := low.Available()
	if err := s.pay(low, 0, rest); err != nil {
		t.Fatal(err)
	}
	if err := s.pay(low, 0, 1); !errors.Is(err, pay.Underfunded.Err()) {
		t.Fatalf("paid beyond the deposit: %v", err)
	}
	if err := low.TopUp(ctx, deposit+5_000); err != nil {
		t.Fatal(err)
	}
	until(t, "the payee's news of the top-up", func() bool { b, _ := s.payee.Balance(low.ID()); return b.Deposit == deposit+5_000 })
	if err := s.pay(low, 0, 5_000); err != nil {
		t.Fatal(err)
	}

	// A hash lane.
	commitment, err := channels[3].CommitHash(ctx, 7, pay.HashTerms{UnitPrice: 100, Steps: 50})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.payee.AcceptCommitment(ctx, commitment); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		r, err := channels[3].Reveal(ctx, 7)
		if err == nil {
			_, err = s.payee.AcceptReveal(ctx, r, 100)
		}
		if err != nil {
			t.Fatal(err)
		}
	}

	// One expires: it is redeemed when its end comes near, and the chain closes it.
	expiring := channels[4]
	s.network.steps(int(expiring.Record().ExpiresAt-2*uint64(params.DefaultChallenge)-s.network.height()) + 1)
	until(t, "the refusal near the end", func() bool { return errors.Is(s.pay(expiring, 0, 50), pay.Expiring.Err()) })
	until(t, "the redemption before the end", func() bool {
		b, _ := s.payee.Balance(expiring.ID())
		return b.Unredeemed == 0
	})

	// The payee closes the others, at least those that have not expired with it.
	var ids []ledger.Hash
	for _, c := range append(channels[5:], low, rolled, channels[3]) {
		ids = append(ids, c.ID())
	}
	if err := s.redeemer.Close(ctx, ids...); err != nil {
		t.Fatal(err)
	}
	s.network.steps(2*int(params.DefaultChallenge) + 2)
	for _, c := range append(channels, rolled) {
		s.closed(c)
	}
	s.stop()
	s.count(append(channels, rolled), expiring)
}

// count compares every account with what the vouchers say.
func (s *session) count(channels []*pay.PayerChannel, expiring *pay.PayerChannel) {
	s.t.Helper()
	ctx := within(s.t)
	params := s.client.Params()
	rules := params.Rules()
	var signed, burned, accepted ledger.Amount
	for _, c := range channels {
		info, err := s.client.Channel(ctx, c.ID())
		if err != nil || info.State != client.ChannelClosed {
			s.t.Fatalf("channel %s is %s, %v", c.ID(), info.State, err)
		}
		want := c.Signed()
		if c == expiring { // what was refused near its end is signed and not accepted
			b, _ := s.payee.Balance(c.ID())
			want = b.Owed
		}
		if info.Redeemed != want {
			s.t.Errorf("channel %s paid out %d, its vouchers say %d", c.ID(), info.Redeemed, want)
		}
		signed += info.Redeemed
		burned += rules.Burn(info.Redeemed)
	}
	accepted = signed - burned
	fees := s.redeemer.Total().Fees
	got, err := s.client.Balance(ctx, identityOf(1).Address)
	if want := fortune + accepted - fees; err != nil || got != want {
		s.t.Errorf("the payee has %d, %v; the vouchers say %d", got, err, want)
	}
	block, err := s.client.Block(ctx, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	if t := block.Totals; t.Burned != burned || t.Escrow != 0 || t.Rent != 0 || t.Sum() != richMen*fortune {
		s.t.Errorf("totals %+v, %d were burned", t, burned)
	}
}

// TestPayerClosesWhileVouchersFly: payers sign on while they close. Whatever the
// payee accepted reaches it.
func TestPayerClosesWhileVouchersFly(t *testing.T) {
	t.Parallel()
	s := newSession(t, pay.RedeemPolicy{Threshold: 5_000})
	channels := s.open(8, 1_000_000, 2_000)
	var wg sync.WaitGroup
	for i, c := range channels {
		wg.Go(func() {
			for k := 0; ; k++ {
				if k == 20+10*i {
					go func() { // the payer's other half signs on meanwhile
						ref := channel.Ref{Index: c.Record().Index, ID: c.ID()}
						if _, err := s.client.Account(identityOf(0)).RequestClose(within(t), ref); err != nil {
							t.Error(err)
						}
					}()
				}
				err := s.pay(c, uint8(k%4), 50)
				switch {
				case errors.Is(err, pay.Closing.Err()):
					return
				case err != nil:
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for i, c := range channels {
		b, _ := s.payee.Balance(c.ID())
		until(t, "the redemption of everything accepted", func() bool {
			info, err := s.client.Channel(within(t), c.ID())
			return err == nil && info.Redeemed == b.Owed
		})
		if b.Owed == 0 {
			t.Errorf("channel %d accepted nothing", i)
		}
	}
}

// TestPayeeOfManyFees: the redeemer's own account of fees is what the chain took.
func TestPayeeOfManyFees(t *testing.T) {
	t.Parallel()
	s := newSession(t, pay.RedeemPolicy{MaxAge: -1})
	channels := s.open(30, 10_000, 2_000)
	for _, c := range channels {
		if err := s.pay(c, 0, 9_999); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.redeemer.Redeem(within(t)); err != nil {
		t.Fatal(err)
	}
	params := s.client.Params()
	total := s.redeemer.Total()
	if want := params.EntryFee * 30; total.Fees != want+params.TxFee*ledger.Amount(total.Batches) || total.Entries != 30 {
		t.Errorf("report %+v, want fees of %d and %d for each batch", total, want, params.TxFee)
	}
	block, err := s.client.Block(within(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	if opened := params.TxFee + 30*params.OpenFee; block.Totals.Fees != total.Fees+opened {
		t.Errorf("the chain took %d, the redeemer says %d and opening cost %d", block.Totals.Fees, total.Fees, opened)
	}
}
