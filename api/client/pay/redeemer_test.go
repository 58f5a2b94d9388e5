package pay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// shop is a payee with a redeemer and payers, on a fake chain with a virtual
// clock: time passes only while everybody waits.
type shop struct {
	t        *testing.T
	chain    *fakeChain
	payee    *pay.Payee
	redeemer *pay.Redeemer
	records  []pay.Channel
	channels []*pay.PayerChannel
	opened   time.Time
}

// newShop opens n channels and runs the redeemer until the test ends.
func newShop(t *testing.T, n int, policy pay.RedeemPolicy) *shop {
	t.Helper()
	s := &shop{t: t, chain: newFakeChain(), opened: time.Now()}
	s.chain.account = payeeID.Address
	payer := openPayer(t, pay.PayerConfig{Chain: s.chain})
	for i := range n {
		record, key := testChannel(uint64(i))
		s.records = append(s.records, record)
		s.channels = append(s.channels, track(t, payer, record, key))
	}
	s.chain.add(s.records...)
	s.payee = openPayee(t, pay.PayeeConfig{Chain: s.chain, Redeem: policy}, s.records...)
	s.redeemer = pay.NewRedeemer(s.payee, s.chain.fees)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.redeemer.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *shop) pay(n int, amount ledger.Amount) pay.Accepted {
	s.t.Helper()
	return mustAccept(s.t, s.payee, mustPay(s.t, s.channels[n], 0, amount))
}

// pass lets d pass. News of the chain keeps coming meanwhile.
func (s *shop) pass(d time.Duration) {
	for ; d > 0; d -= 10 * time.Second {
		<-time.After(min(d, 10*time.Second)) // of the bubble: virtual time
		synctest.Wait()
		s.payee.Apply(pay.Update{View: s.payee.View()})
	}
	synctest.Wait()
}

func (s *shop) redeemed(n int) ledger.Amount {
	if r, ok := s.chain.get(s.records[n].ID); ok {
		return r.Redeemed
	}
	return 0
}

func (s *shop) want(n int, amount ledger.Amount) {
	s.t.Helper()
	if got := s.redeemed(n); got != amount {
		s.t.Errorf("%s after the start %d is redeemed on channel %d, want %d", time.Since(s.opened), got, n, amount)
	}
}

const never = -1

func TestRedeemerTriggers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		policy pay.RedeemPolicy
		do     func(s *shop)
	}{
		{"threshold", pay.RedeemPolicy{Threshold: 1000, MaxAge: never}, func(s *shop) {
			if a := s.pay(0, 999); a.RedeemRecommended {
				s.t.Error("redeeming is recommended below the threshold")
			}
			s.pass(time.Hour)
			s.want(0, 0)
			if a := s.pay(0, 1); !a.RedeemRecommended {
				s.t.Error("redeeming is not recommended at the threshold")
			}
			s.pass(time.Second)
			s.want(0, 1000)
		}},
		{"age", pay.RedeemPolicy{MaxAge: time.Minute}, func(s *shop) {
			s.pay(0, 500)
			s.pass(58 * time.Second)
			s.want(0, 0)
			s.pay(0, 1) // the age is that of the oldest
			s.pass(5 * time.Second)
			s.want(0, 501)
			s.pay(0, 500) // and begins anew
			s.pass(50 * time.Second)
			s.want(0, 501)
		}},
		{"share of the deposit", pay.RedeemPolicy{MaxAge: never, DepositShare: 5000}, func(s *shop) {
			s.pay(0, testDeposit/2-1)
			s.pass(time.Hour)
			s.want(0, 0)
			s.pay(0, 1)
			s.pass(time.Second)
			s.want(0, testDeposit/2)
			s.pay(0, testDeposit/4) // half of what is left
			s.pass(time.Second)
			s.want(0, testDeposit*3/4)
		}},
		{"close requested", pay.RedeemPolicy{MaxAge: never}, func(s *shop) {
			s.pay(0, 500)
			s.payee.Apply(event(channel.EventCloseRequested, s.records[0], func(e *pay.Event) { e.Deadline = 30 }))
			synctest.Wait() // no time passes
			s.want(0, 500)
		}},
		{"expiring notice", pay.RedeemPolicy{MaxAge: never}, func(s *shop) {
			s.pay(0, 500)
			s.payee.Apply(event(pay.EventExpiring, s.records[0], nil))
			synctest.Wait()
			s.want(0, 500)
		}},
		{"clock near the expiry", pay.RedeemPolicy{MaxAge: never, Margin: 7}, func(s *shop) {
			s.pay(0, 500)
			s.payee.Apply(pay.Update{View: pay.View{Height: 1, Clock: testExpiry - 2*testChallenge - 7}})
			s.pass(2 * time.Second)
			s.want(0, 0)
			s.payee.Apply(pay.Update{View: pay.View{Height: 1, Clock: testExpiry - 2*testChallenge - 6}})
			s.pass(2 * time.Second)
			s.want(0, 500)
		}},
		{"closing since before the payee started", pay.RedeemPolicy{MaxAge: never}, func(s *shop) {
			s.pay(0, 500)
			r := s.records[0]
			r.CloseAt = 30
			list(s.payee, r)
			synctest.Wait()
			s.want(0, 500)
		}},
		{"budget", pay.RedeemPolicy{Threshold: 1}, func(s *shop) {
			fee := s.chain.fees.EntryFee // 10, a tenth of what an entry may pay at least, net of 2 % burn
			s.pay(0, 10*fee)
			s.pass(time.Hour)
			s.want(0, 0)
			s.pay(0, fee)
			s.pass(time.Hour)
			s.want(0, 11*fee)
		}},
		{"budget at the deadline", pay.RedeemPolicy{Threshold: 1}, func(s *shop) {
			fee := s.chain.fees.EntryFee
			s.pay(0, fee)   // costs what it pays, and 2 % is burned
			s.pay(1, fee+1) // pays for itself
			for _, r := range s.records {
				s.payee.Apply(event(channel.EventCloseRequested, r, func(e *pay.Event) { e.Deadline = 30 }))
			}
			s.pass(time.Hour)
			s.want(0, 0)
			s.want(1, fee+1)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { tt.do(newShop(t, 2, tt.policy)) })
		})
	}
}

// TestRedeemerBatches: many channels become few batches, ascending, within the
// limits, and no more under way at once than allowed.
func TestRedeemerBatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		s := newShop(t, n, pay.RedeemPolicy{Threshold: 1000, MaxEntries: 300, InFlight: 2})
		s.chain.hold, s.chain.started = make(chan struct{}), make(chan struct{}, n)
		for i := range n {
			s.pay(i, 1000)
		}
		s.pass(time.Second)
		if got := len(s.chain.started); got != 2 {
			t.Errorf("%d batches are under way, want 2", got)
		}
		if total, _ := s.payee.Total(); total.UnderWay != 600*1000 || total.Unredeemed != n*1000 {
			t.Errorf("the payee says %+v", total)
		}
		close(s.chain.hold)
		s.pass(time.Second)
		sizes := make([]int, 0, 4)
		for _, b := range s.chain.batches {
			sizes = append(sizes, len(b))
		}
		slices.Sort(sizes) // two at a time, so they come in any order
		if diff := cmp.Diff([]int{100, 300, 300, 300}, sizes); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
		total := s.redeemer.Total()
		want := pay.Report{
			Batches: 4, Entries: n, Paid: n * 980, Burned: n * 20, Fees: 4*s.chain.fees.TxFee + n*s.chain.fees.EntryFee,
			Codes: map[chain.Code]int{chain.CodeOK: n},
		}
		if diff := cmp.Diff(want, total); diff != "" {
			t.Errorf("report (-want +got):\n%s", diff)
		}
		if b, _ := s.payee.Total(); b.Unredeemed != 0 || b.UnderWay != 0 || b.Redeemed != n*1000 {
			t.Errorf("the payee says %+v", b)
		}
	})
}

// TestRedeemerOutcomes: what the chain answers, and what becomes of the claims.
func TestRedeemerOutcomes(t *testing.T) {
	t.Parallel()
	policy := pay.RedeemPolicy{Threshold: 1000}
	tests := []struct {
		name string
		do   func(s *shop)
	}{
		{"a refused entry does not hold up the others", func(s *shop) {
			bad := s.records[1].Index
			s.chain.refuseWith(func(b *channel.Batch) error {
				for i := range b.Entries {
					if b.Entries[i].Index == bad {
						return &chain.RuleError{Code: chain.CodeBadSignature, Positions: []int{i}}
					}
				}
				return nil
			})
			for i := range 3 {
				s.pay(i, 1000)
			}
			s.pass(time.Second)
			s.want(0, 1000)
			s.want(1, 0)
			s.want(2, 1000)
			retries := s.redeemer.Total().Retries
			s.pass(time.Hour)
			if got := s.redeemer.Total().Retries; got != retries || got != 1 {
				s.t.Errorf("%d retries and then %d, want 1", retries, got)
			}
			s.chain.refuseWith(nil)
			s.pay(1, 1000) // a newer voucher is another claim
			s.pass(time.Second)
			s.want(1, 2000)
		}},
		{"failures are tried again, less and less often", func(s *shop) {
			tries := 0
			s.chain.refuseWith(func(*channel.Batch) error { tries++; return errLost })
			s.pay(0, 1000)
			s.pass(time.Minute)
			if tries < 7 || tries > 12 {
				s.t.Errorf("%d tries in a minute", tries)
			}
			s.chain.refuseWith(nil)
			s.pass(16 * time.Second)
			s.want(0, 1000)
		}},
		{"a batch without money for its fee waits", func(s *shop) {
			s.chain.refuseWith(func(*channel.Batch) error { return chain.CodeInsufficientBalance.Err() })
			s.pay(0, 1000)
			s.pass(time.Minute)
			s.chain.refuseWith(nil)
			s.pass(16 * time.Second)
			s.want(0, 1000)
		}},
		{"lost answers", func(s *shop) {
			s.chain.lose(1)
			s.pay(0, 1000)
			s.pay(1, 1000)
			s.pass(time.Minute)
			s.want(0, 1000)
			if b, _ := s.payee.Total(); b.Unredeemed != 0 || s.chain.paid[payeeID.Address] != 2*980 {
				s.t.Errorf("the payee says %+v and was paid %d", b, s.chain.paid[payeeID.Address])
			}
		}},
		{"newer vouchers go with the retry", func(s *shop) {
			s.chain.refuseWith(func(*channel.Batch) error { return errLost })
			s.pay(0, 1000)
			s.pass(time.Second)
			s.pay(0, 500)
			s.chain.refuseWith(nil)
			s.pass(time.Minute)
			s.want(0, 1500)
		}},
		{"closed meanwhile", func(s *shop) {
			s.chain.close(s.records[0].ID)
			s.pay(0, 1000)
			s.pay(1, 1000)
			s.pass(time.Minute)
			s.want(1, 1000)
			if b, _ := s.payee.Balance(s.records[0].ID); !b.Closed {
				s.t.Errorf("the payee says %+v of a closed channel", b)
			}
		}},
		{"redeemed by a stranger up to the end of the deposit", func(s *shop) {
			s.pay(0, 1000)
			r, _ := s.chain.get(s.records[0].ID)
			r.Redeemed, r.Lanes = testDeposit-100, []pay.LaneState{{Lane: 9, Redeemed: testDeposit - 100}}
			s.chain.add(r)
			s.pass(time.Minute)
			s.want(0, testDeposit) // partly paid
			if b, _ := s.payee.Balance(s.records[0].ID); b.Unredeemed != 900 {
				s.t.Errorf("the payee says %+v, want the claim to survive", b)
			}
			tries := len(s.chain.batches)
			s.pass(time.Hour)
			if got := len(s.chain.batches); got != tries {
				s.t.Errorf("%d more batches for nothing", got-tries)
			}
			r, _ = s.chain.get(s.records[0].ID)
			r.Deposit += 5000
			s.chain.add(r)
			s.payee.Apply(event(channel.EventToppedUp, r, nil))
			s.pass(time.Hour)
			s.want(0, testDeposit+900)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { tt.do(newShop(t, 3, policy)) })
		})
	}
}

// TestPayerClosesWhileVouchersFly: payers sign as fast as they can while the
// chain closes their channels. Whatever was accepted is redeemed.
func TestPayerClosesWhileVouchersFly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n, each = 20, 300
		s := newShop(t, n, pay.RedeemPolicy{Threshold: 5000, BudgetBps: ledger.BasisPoints})
		accepted := make([]ledger.Amount, n)
		var wg sync.WaitGroup
		for i, c := range s.channels {
			wg.Go(func() {
				for k := range each {
					v, err := c.Pay(t.Context(), uint8(k%3), 100, 1)
					if err != nil {
						t.Error(err)
						return
					}
					a, err := s.payee.Accept(t.Context(), v, 100)
					if errors.Is(err, pay.Closing.Err()) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					accepted[i] += a.Delta
					if k == 50+10*i {
						r := s.records[i]
						r.CloseAt = 100
						s.payee.Apply(event(channel.EventCloseRequested, r, func(e *pay.Event) { e.Deadline = 100 }))
					}
				}
			})
		}
		wg.Wait()
		s.pass(10 * time.Second)
		for i := range n {
			if accepted[i] == 0 || accepted[i] == each*100 {
				t.Errorf("channel %d accepted %d: it was not closed in the middle", i, accepted[i])
			}
			s.want(i, accepted[i])
		}
	})
}

func TestCloseByPayee(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, 3, pay.RedeemPolicy{MaxAge: never})
		s.pay(0, 700)
		mustAccept(t, s.payee, mustPay(t, s.channels[0], 5, 300))
		var ids []ledger.Hash
		for _, r := range s.records[:2] {
			ids = append(ids, r.ID)
		}
		if err := s.redeemer.Close(t.Context(), ids...); err != nil {
			t.Fatal(err)
		}
		if got := s.chain.paid[payeeID.Address]; got != 980 {
			t.Errorf("paid %d, want 980", got)
		}
		for i, r := range s.records {
			_, open := s.chain.get(r.ID)
			b, _ := s.payee.Balance(r.ID)
			if open == (i < 2) || b.Closed != (i < 2) {
				t.Errorf("channel %d: on the chain %v, the payee says %+v", i, open, b)
			}
		}
		if len(s.chain.batches) != 1 {
			t.Errorf("%d batches, want 1", len(s.chain.batches))
		}
	})
}

// TestClosesFitABlock: a close weighs as much as 64 redemptions, and a block must
// have room for a batch of them.
func TestClosesFitABlock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 1_000
		s := newShop(t, n, pay.RedeemPolicy{MaxAge: never})
		params := settlement.LocalParams()
		params.MaxBlockBytes = chain.MaxBundleSize // the least there is
		s.chain.refuseWith(func(b *channel.Batch) error {
			if w, most := settlement.Weight(&chain.Tx{Kind: chain.KindSettle, Payload: b.Encode()}), params.MaxBlockWeight(); w > most {
				t.Errorf("a batch of %d entries has a weight of %d, at most %d", len(b.Entries), w, most)
			}
			return nil
		})
		var ids []ledger.Hash
		for _, r := range s.records {
			ids = append(ids, r.ID)
		}
		if err := s.redeemer.Close(t.Context(), ids...); err != nil {
			t.Fatal(err)
		}
		for i := range s.records {
			if _, open := s.chain.get(ids[i]); open {
				t.Fatalf("channel %d is open", i)
			}
		}
	})
}

// TestLargestBatchFitsATransaction fills batches with the largest entries.
func TestLargestBatchFitsATransaction(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, 0, pay.RedeemPolicy{MaxAge: never})
		payer := openPayer(t, pay.PayerConfig{})
		const n = 160
		for i := range n {
			record, key := testChannel(1<<62 + uint64(i)) // an index of nine bytes
			s.chain.add(record)
			s.payee.Apply(pay.Update{Channel: &record})
			c := track(t, payer, record, key)
			for lane := range uint8(channel.Lanes) {
				v, err := c.Sign(t.Context(), channel.Voucher{Lane: uint16(lane), Cumulative: 1000, UsageRoot: ledger.Hash{1}})
				if err != nil {
					t.Fatal(err)
				}
				mustAcceptUnchecked(t, s.payee, v)
			}
		}
		largest := 0
		s.chain.refuseWith(func(b *channel.Batch) error {
			largest = max(largest, len(b.Encode())+chain.TxOverhead)
			return nil
		})
		if err := s.redeemer.Redeem(t.Context()); err != nil {
			t.Fatal(err)
		}
		if largest > chain.MaxTxSize || largest < chain.MaxTxSize-64*130 {
			t.Errorf("the largest transaction has %d bytes, at most %d are allowed", largest, chain.MaxTxSize)
		}
		if total := s.redeemer.Total(); total.Entries != n*channel.Lanes || total.Batches != 2 {
			t.Errorf("report %+v", total)
		}
	})
}

// mustAcceptUnchecked accepts in a batch, where signatures cost half.
func mustAcceptUnchecked(t *testing.T, p *pay.Payee, v pay.Voucher) {
	t.Helper()
	if r := p.AcceptBatch(t.Context(), []pay.Offer{{Voucher: v}})[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
}

func ExampleReason() {
	err := fmt.Errorf("pay for block 7: %w", &pay.RefusalError{Reason: pay.Underfunded, Detail: "10 drops, the deposit has 3 left"})
	fmt.Println(errors.Is(err, pay.Underfunded.Err()), err)
	// Output: true pay for block 7: UNDERFUNDED: 10 drops, the deposit has 3 left
}
