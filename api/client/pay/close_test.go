package pay_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// closing is a channel on which 300 of the deposit is owed.
type closing struct {
	chain  *fakeChain
	record pay.Channel
	payer  *pay.PayerChannel
	payee  *pay.Payee
}

func newClosing(t *testing.T) *closing {
	t.Helper()
	c := &closing{chain: newFakeChain()}
	var key ledger.PrivateKey
	c.record, key = testChannel(1)
	c.chain.add(c.record)
	c.payer = track(t, openPayer(t, pay.PayerConfig{Chain: c.chain}), c.record, key)
	c.payee = openPayee(t, pay.PayeeConfig{Chain: c.chain}, c.record)
	mustAccept(t, c.payee, mustPay(t, c.payer, 0, 300))
	return c
}

func TestCooperativeClose(t *testing.T) {
	t.Parallel()
	c := newClosing(t)
	next := &pay.OpenSpec{
		Payee: payeeID.Address, Key: testKey("next", 1), Deposit: 7000, ExpiresAt: testExpiry, Challenge: testChallenge,
	}
	offer, err := c.payer.OfferClose(t.Context(), 300, 99, next)
	if err != nil {
		t.Fatal(err)
	}
	// It travels in its encoding.
	offer, err = channel.DecodeCoopClose(offer.Encode())
	if err != nil {
		t.Fatal(err)
	}
	agreed, err := c.payee.AcceptClose(t.Context(), offer, 0)
	if err != nil {
		t.Fatal(err)
	}
	rolled, err := c.payer.CoopClose(t.Context(), agreed, next)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.chain.paid[payeeID.Address]; got != 300 || !c.payer.Closed() {
		t.Errorf("paid %d, closed %v", got, c.payer.Closed())
	}
	record, ok := c.chain.get(rolled.ID())
	if !ok || record.Index != rolled.Record().Index {
		t.Fatalf("the next channel is %+v, on the chain %+v", rolled.Record(), record)
	}
	c.payee.Apply(pay.Update{Channel: &record})
	mustAccept(t, c.payee, mustPay(t, rolled, 0, 7000))
}

func TestCloseOffersThatAreRefused(t *testing.T) {
	t.Parallel()
	other, _ := testChannel(2)
	tests := []struct {
		name   string
		final  ledger.Amount
		least  ledger.Amount
		change func(o *channel.CoopClose)
		want   pay.Reason
	}{
		{"less than is owed", 299, 0, nil, pay.BelowPrice},
		{"less than was agreed", 199, 200, nil, pay.BelowPrice},
		{"more than the deposit", testDeposit + 1, 0, nil, pay.Underfunded},
		{"changed after signing", 300, 0, func(o *channel.CoopClose) { o.Final++ }, pay.BadSignature},
		{"signed by another account", 300, 0, func(o *channel.CoopClose) {
			key := testKey("thief", 0)
			terms := o.Terms()
			o.PayerKey, o.PayerSig = key.Public(), key.Sign(terms.Signed(testDomain))
		}, pay.BadSignature},
		{"another channel", 300, 0, func(o *channel.CoopClose) { o.Channel.ID = other.ID }, pay.UnknownChannel},
		{"another row", 300, 0, func(o *channel.CoopClose) { o.Channel.Index++ }, pay.UnknownChannel},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newClosing(t)
			offer, err := c.payer.OfferClose(t.Context(), tt.final, 99, nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.change != nil {
				tt.change(&offer)
			}
			_, err = c.payee.AcceptClose(t.Context(), offer, tt.least)
			wantReason(t, err, tt.want)
		})
	}
	// A refund of bad service is agreed by naming less.
	c := newClosing(t)
	offer, err := c.payer.OfferClose(t.Context(), 200, 99, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.payee.AcceptClose(t.Context(), offer, 200); err != nil {
		t.Error(err)
	}
}

func TestAuthoriseClose(t *testing.T) {
	t.Parallel()
	c := newClosing(t)
	b := channel.Batch{Payee: payeeID.Address, Mode: channel.Atomic, Entries: []channel.Entry{{Index: 1, Close: true}, {Index: 2, Close: true}}}
	if err := c.payee.AuthoriseClose(t.Context(), &b, 50); err != nil {
		t.Fatal(err)
	}
	b, err := channel.DecodeBatch(b.Encode())
	if err != nil {
		t.Fatal(err)
	}
	root, count, err := channel.ClosingRoot(b.Entries)
	if err != nil {
		t.Fatal(err)
	}
	auth := channel.CloseAuth{Payee: b.Payee, Mode: b.Mode, EntriesRoot: root, Count: count, ValidUntil: b.Auth.ValidUntil}
	if count != 2 || !ledger.Verify(b.Auth.PayeeKey, auth.Signed(testDomain), b.Auth.Signature) {
		t.Error("the authority does not cover both closes")
	}
}

func TestPipe(t *testing.T) {
	t.Parallel()
	c := newClosing(t)
	pipe := pay.NewPipe(4)
	done := make(chan error, 1)
	go func() { done <- c.payee.Serve(t.Context(), pipe) }()
	for i := range 10 {
		a, err := c.payer.PayOver(t.Context(), pipe, 1, 5, 1)
		if err != nil || a.Delta != 5 || a.Unredeemed != 300+ledger.Amount(i+1)*5 {
			t.Fatalf("payment %d: %+v, %v", i, a, err)
		}
	}
	c.payee.Apply(event(channel.EventCloseRequested, c.record, func(e *pay.Event) { e.Deadline = 30 }))
	_, err := c.payer.PayOver(t.Context(), pipe, 1, 5, 1)
	wantReason(t, err, pay.Closing)
	pipe.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := c.payer.PayOver(t.Context(), pipe, 1, 5, 1); !errors.Is(err, pay.ErrPipeClosed) {
		t.Errorf("got %v, want %v", err, pay.ErrPipeClosed)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.payee.Serve(ctx, pay.NewPipe(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	record, key := testChannel(1)
	boom := errors.New("the node is gone")
	updates := func(yield func(pay.Update, error) bool) {
		for _, u := range []pay.Update{
			{Listing: pay.ListingBegins},
			{Channel: &record},
			{Listing: pay.ListingEnds, View: pay.View{Height: 30, Clock: 20}},
			event(channel.EventToppedUp, record, func(e *pay.Event) { e.Deposit = testDeposit + 5 }),
		} {
			if !yield(u, nil) {
				return
			}
		}
		yield(pay.Update{}, boom)
	}
	payee := openPayee(t, pay.PayeeConfig{})
	payer := openPayer(t, pay.PayerConfig{})
	c := track(t, payer, record, key)
	awaited := make(chan error, 1)
	go func() { awaited <- payee.Await(t.Context(), record.ID) }()
	if err := payee.Follow(updates); !errors.Is(err, boom) {
		t.Errorf("payee: %v, want %v", err, boom)
	}
	if err := payer.Follow(updates); !errors.Is(err, boom) {
		t.Errorf("payer: %v, want %v", err, boom)
	}
	if err := <-awaited; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := payee.Await(ctx, ledger.Hash{1}); !errors.Is(err, context.Canceled) {
		t.Errorf("await of a channel that never comes: %v, want %v", err, context.Canceled)
	}
	mustAccept(t, payee, mustPay(t, c, 0, testDeposit+5))
	total, n := payee.Total()
	if n != 1 || total.Deposit != testDeposit+5 || payee.View() != (pay.View{Height: 30, Clock: 20}) {
		t.Errorf("%d channels, %+v, %+v", n, total, payee.View())
	}
}

func TestClaimOwesWhatItSays(t *testing.T) {
	t.Parallel()
	c := pay.Claim{Commitment: &pay.Commitment{HashCommit: channel.HashCommit{BaseCumulative: ledger.MaxAmount, UnitPrice: 1, Steps: 1}}, Reveal: pay.Reveal{Step: 1}}
	if got := c.Owed(); got != 0 {
		t.Errorf("a claim beyond the range owes %d", got)
	}
}
