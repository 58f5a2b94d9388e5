package pay_test

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tributary-network/tributary/api/client/journal"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

func TestPayerRefuses(t *testing.T) {
	t.Parallel()
	record, key := testChannel(1)
	tests := []struct {
		name   string
		record func(r *pay.Channel)
		pay    func(ctx context.Context, c *pay.PayerChannel) error
		want   pay.Reason
	}{
		{"above the deposit", nil, payment(0, testDeposit+1, 1), pay.Underfunded},
		{"above the deposit over lanes", nil, func(ctx context.Context, c *pay.PayerChannel) error {
			return errors.Join(payment(1, testDeposit-9, 1)(ctx, c), payment(2, 10, 1)(ctx, c))
		}, pay.Underfunded},
		{"above what was redeemed already", func(r *pay.Channel) {
			r.Redeemed, r.Lanes = 100, []pay.LaneState{{Lane: 5, Redeemed: 100}}
		}, payment(0, testDeposit-99, 1), pay.Underfunded},
		{"nothing", nil, payment(0, 0, 1), pay.InvalidAmount},
		{"too much for an amount", nil, payment(0, ledger.MaxAmount+1, 1), pay.InvalidAmount},
		{"too many units", nil, func(ctx context.Context, c *pay.PayerChannel) error {
			return errors.Join(payment(0, 1, 1)(ctx, c), payment(0, 1, math.MaxUint64)(ctx, c))
		}, pay.InvalidAmount},
		{"no such lane", nil, payment(channel.Lanes, 1, 1), pay.BadLane},
		{"closing", func(r *pay.Channel) { r.CloseAt = 50 }, payment(0, 1, 1), pay.Closing},
		{"closed", nil, func(ctx context.Context, c *pay.PayerChannel) error {
			return errors.Join(c.Refresh(ctx), payment(0, 1, 1)(ctx, c))
		}, pay.UnknownChannel},
		{"absolute total not above", nil, func(ctx context.Context, c *pay.PayerChannel) error {
			_, err := c.Sign(ctx, channel.Voucher{Cumulative: 5})
			_, again := c.Sign(ctx, channel.Voucher{Cumulative: 4})
			return errors.Join(err, again)
		}, pay.OutOfDate},
		{"reveal without commitment", nil, func(ctx context.Context, c *pay.PayerChannel) error {
			_, err := c.Reveal(ctx, 0)
			return err
		}, pay.BadLane},
		{"hash lane above the deposit", nil, func(ctx context.Context, c *pay.PayerChannel) error {
			_, err := c.CommitHash(ctx, 0, pay.HashTerms{UnitPrice: testDeposit, Steps: 2})
			return err
		}, pay.Underfunded},
		{"hash lane too long", nil, func(ctx context.Context, c *pay.PayerChannel) error {
			_, err := c.CommitHash(ctx, 0, pay.HashTerms{UnitPrice: 1, Steps: channel.MaxHashSteps + 1})
			return err
		}, pay.InvalidAmount},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := record
			if tt.record != nil {
				tt.record(&r)
			}
			c := track(t, openPayer(t, pay.PayerConfig{Chain: newFakeChain()}), r, key)
			wantReason(t, tt.pay(t.Context(), c), tt.want)
		})
	}
}

// Only a close that a node tells of ends a channel: one that does not know the
// channel may be behind.
func TestPayerRefresh(t *testing.T) {
	t.Parallel()
	record, key := testChannel(1)
	f := newFakeChain()
	f.add(record)
	c := track(t, openPayer(t, pay.PayerConfig{Chain: f}), record, key)
	f.behind = true
	wantReason(t, c.Refresh(t.Context()), pay.UnknownChannel)
	if c.Closed() {
		t.Error("a channel that a node does not know is closed")
	}
	if err := payment(0, 5, 1)(t.Context(), c); err != nil {
		t.Errorf("payment after a node did not know the channel: %v", err)
	}
	f.behind = false
	if err := c.Refresh(t.Context()); err != nil {
		t.Errorf("Refresh by a node that knows it: %v", err)
	}
	f.close(record.ID)
	wantReason(t, c.Refresh(t.Context()), pay.UnknownChannel)
	if !c.Closed() {
		t.Error("a channel that was closed is not")
	}
	wantReason(t, payment(0, 5, 1)(t.Context(), c), pay.UnknownChannel)
}

func payment(lane uint8, amount ledger.Amount, units uint64) func(context.Context, *pay.PayerChannel) error {
	return func(ctx context.Context, c *pay.PayerChannel) error {
		_, err := c.Pay(ctx, lane, amount, units)
		return err
	}
}

func TestSameTotalsGiveTheSameVoucher(t *testing.T) {
	t.Parallel()
	record, key := testChannel(1)
	c := track(t, openPayer(t, pay.PayerConfig{}), record, key)
	want := channel.Voucher{Lane: 3, Cumulative: 50, Units: 2}
	first, err := c.Sign(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Sign(t.Context(), want)
	if err != nil || again != first {
		t.Errorf("signed %+v the second time, %v; want %+v", again, err, first)
	}
	if got := c.Signed(); got != 50 {
		t.Errorf("signed %d in all, want 50", got)
	}
}

func TestLanesPayTogether(t *testing.T) {
	t.Parallel()
	record, key := testChannel(1)
	p := openPayer(t, pay.PayerConfig{})
	c := track(t, p, record, key)
	payee := openPayee(t, pay.PayeeConfig{}, record)
	const each = 200
	var wg sync.WaitGroup
	for lane := range uint8(8) {
		wg.Go(func() {
			for range each {
				v, err := c.PayUnits(t.Context(), lane, 5, 2)
				if err == nil {
					_, err = payee.Accept(t.Context(), v, 10)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := c.Signed(); got != 8*each*10 {
		t.Errorf("signed %d, want %d", got, 8*each*10)
	}
	if owed, units := c.Owed(7); owed != each*10 || units != each*2 {
		t.Errorf("lane 7 owes %d for %d units, want %d for %d", owed, units, each*10, each*2)
	}
	if b, _ := payee.Balance(record.ID); b.Owed != 8*each*10 {
		t.Errorf("the payee has %d, want %d", b.Owed, 8*each*10)
	}
}

func TestTrackChecksTheRecord(t *testing.T) {
	t.Parallel()
	record, key := testChannel(1)
	p := openPayer(t, pay.PayerConfig{})
	if _, err := p.Track(record, testKey("other", 1)); err == nil {
		t.Error("tracked a channel with another key")
	}
	record.Redeemed = 5
	if _, err := p.Track(record, key); err == nil {
		t.Error("tracked a channel whose lanes are not known: the payer could sign below what was redeemed")
	}
}

// TestPayerRestart: a durable payer that starts again goes on where it was. One
// that lost its disk, or got an old backup back, is told by the payee.
func TestPayerRestart(t *testing.T) {
	t.Parallel()
	record, key := testChannel(1)
	payee := openPayee(t, pay.PayeeConfig{}, record)
	dir := t.TempDir()
	open := func(dir string) (*pay.Payer, *pay.PayerChannel) {
		p := openPayer(t, pay.PayerConfig{Dir: dir, Durable: dir != "", Chain: newFakeChain()})
		return p, track(t, p, record, key)
	}

	p, c := open(dir)
	for range 10 {
		mustAccept(t, payee, mustPay(t, c, 2, 7))
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}

	p, c = open(dir)
	if owed, units := c.Owed(2); owed != 70 || units != 10 {
		t.Fatalf("after a restart lane 2 owes %d for %d units, want 70 for 10", owed, units)
	}
	if got := c.Signed(); got != 70 {
		t.Errorf("after a restart %d is signed, want 70", got)
	}
	mustAccept(t, payee, mustPay(t, c, 2, 7))
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}

	_, c = open("") // the disk is gone
	_, err := payee.Accept(t.Context(), mustPay(t, c, 2, 7), 7)
	answer := refusal(t, err, pay.OutOfDate)
	if answer.Owed != 77 || answer.Best == nil {
		t.Fatalf("the payee answers %+v, want 77 and its claim", answer)
	}
	if err := c.CatchUp(t.Context(), 2, &answer); err != nil {
		t.Fatal(err)
	}
	if a := mustAccept(t, payee, mustPay(t, c, 2, 7)); a.Delta != 7 {
		t.Errorf("after catching up a payment of 7 pays %d", a.Delta)
	}
}

// TestCatchUpBelievesOnlyItself: a payee cannot make a payer owe more than the
// payer signed.
func TestCatchUpBelievesOnlyItself(t *testing.T) {
	t.Parallel()
	record, key := testChannel(1)
	other, _ := testChannel(2)
	sign := func(key ledger.PrivateKey, v channel.Voucher) *pay.Claim {
		return &pay.Claim{Voucher: pay.Voucher{Voucher: v, Signature: key.Sign(v.Signed(testDomain))}}
	}
	raised := sign(key, channel.Voucher{ChannelID: record.ID, Lane: 1, Cumulative: 5})
	raised.Voucher.Cumulative = 500
	tests := []struct {
		name string
		best *pay.Claim
	}{
		{"amount changed", raised},
		{"another key", sign(testKey("thief", 0), channel.Voucher{ChannelID: record.ID, Lane: 1, Cumulative: 500})},
		{"another channel", sign(key, channel.Voucher{ChannelID: other.ID, Lane: 1, Cumulative: 500})},
		{"another lane", sign(key, channel.Voucher{ChannelID: record.ID, Lane: 2, Cumulative: 500})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := track(t, openPayer(t, pay.PayerConfig{}), record, key)
			err := c.CatchUp(t.Context(), 1, &pay.RefusalError{Reason: pay.OutOfDate, Owed: 500, Best: tt.best})
			wantReason(t, err, pay.BadSignature)
			if got := c.Signed(); got != 0 {
				t.Errorf("the payer now owes %d", got)
			}
		})
	}
}

// TestPayerReadsItsFloorFromTheChain: a payer without memory does not sign below
// what the chain has paid out.
func TestPayerReadsItsFloorFromTheChain(t *testing.T) {
	t.Parallel()
	record, key := testChannel(1)
	f := newFakeChain()
	f.add(record)
	p := openPayer(t, pay.PayerConfig{Chain: f})
	c := track(t, p, record, key)
	redeemed := record
	redeemed.Redeemed, redeemed.Lanes = 300, []pay.LaneState{{Lane: 4, Redeemed: 300, Units: 3}}
	f.add(redeemed)
	p.Apply(event(channel.EventRedeemed, redeemed, nil)) // which names only the total
	v := mustPay(t, c, 4, 10)
	if v.Cumulative != 310 || v.Units != 4 {
		t.Errorf("signed %d for %d units, want 310 for 4", v.Cumulative, v.Units)
	}
}

func TestPayerTopsUpByPolicy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeChain()
		record, key := testChannel(1)
		f.add(record)
		p := openPayer(t, pay.PayerConfig{Chain: f, TopUp: pay.TopUpPolicy{Below: 100, By: 1000, Limit: testDeposit + 1500}})
		c := track(t, p, record, key)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		steps := []struct {
			amount ledger.Amount
			want   ledger.Amount // deposit afterwards
		}{
			{testDeposit - 100, testDeposit}, // 100 left: enough
			{1, testDeposit + 1000},          // 99 left
			{1000, testDeposit + 1500},       // up to the limit
			{500, testDeposit + 1500},        // no further
		}
		for i, s := range steps {
			mustPay(t, c, 0, s.amount)
			synctest.Wait()
			if r := c.Record(); r.Deposit != s.want {
				t.Errorf("after step %d the deposit is %d, want %d", i, r.Deposit, s.want)
			}
			if r, _ := f.get(record.ID); r.Deposit != s.want {
				t.Errorf("after step %d the chain has a deposit of %d, want %d", i, r.Deposit, s.want)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestOpenExtendTopUpAndClose(t *testing.T) {
	t.Parallel()
	f := newFakeChain()
	p := openPayer(t, pay.PayerConfig{Chain: f})
	specs := make([]pay.OpenSpec, 3)
	for i := range specs {
		specs[i] = pay.OpenSpec{
			Payee: payeeID.Address, Key: pay.VoucherKey([32]byte{7}, uint64(i)), Deposit: 5000, ExpiresAt: testExpiry, Challenge: testChallenge,
		}
	}
	channels, err := p.Open(t.Context(), specs)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range channels {
		r, ok := f.get(c.ID())
		if !ok || r.Index != uint64(i) || r.VoucherKey != specs[i].Key.Public() || c.Record().Index != r.Index {
			t.Errorf("channel %d is %+v on the chain, %+v here", i, r, c.Record())
		}
	}
	c := channels[1]
	if err := c.TopUp(t.Context(), 6000); err != nil {
		t.Fatal(err)
	}
	if err := c.Extend(t.Context(), 2*testExpiry); err != nil {
		t.Fatal(err)
	}
	if r, _ := f.get(c.ID()); r.Deposit != 6000 || r.ExpiresAt != 2*testExpiry || c.Available() != 6000 {
		t.Errorf("on the chain: %+v, available %d", r, c.Available())
	}
	if err := c.RequestClose(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantReason(t, payment(0, 1, 1)(t.Context(), c), pay.Closing)
	if err := c.RequestClose(t.Context()); err == nil {
		t.Error("the chain's refusal of a second request is not reported")
	}
	if _, err := p.Open(t.Context(), []pay.OpenSpec{{}}); err == nil {
		t.Error("opened a channel without a voucher key")
	}
}

// TestPayerJournalIsDurable: what a durable payer has signed is on disk when Pay
// returns, without waiting for the interval.
func TestPayerJournalIsDurable(t *testing.T) {
	t.Parallel()
	record, key := testChannel(1)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		from := time.Now()
		p := openPayer(t, pay.PayerConfig{Dir: dir, Durable: true, Journal: journal.Config{Interval: time.Hour}})
		c := track(t, p, record, key)
		for range 5 {
			mustPay(t, c, 0, 1)
		}
		if waited := time.Since(from); waited != 0 {
			t.Errorf("paying waited %s", waited)
		}
	})
}

func TestPayerForgetsClosedChannels(t *testing.T) {
	t.Parallel()
	record, key := testChannel(1)
	p := openPayer(t, pay.PayerConfig{})
	c := track(t, p, record, key)
	p.Apply(event(channel.EventFinalised, record, nil))
	if !c.Closed() {
		t.Error("the channel is not closed after its last event")
	}
	p.Forget(record.ID)
	if _, ok := p.Channel(record.ID); ok {
		t.Error("the channel is still tracked")
	}
}
