package pay_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// stranger redeems voucher v on the n-th channel, and the payee does not hear of
// it.
func (s *shop) stranger(n int, v channel.Voucher) {
	s.t.Helper()
	v.ChannelID = s.records[n].ID
	key := testKey("voucher", uint64(n))
	e := channel.Entry{
		Index: s.records[n].Index, Lane: uint8(v.Lane), Claim: channel.ClaimVoucher, Cumulative: v.Cumulative,
		Signature: key.Sign(v.Signed(testDomain)),
	}
	b := channel.Batch{Payee: payeeID.Address, Entries: []channel.Entry{e}}
	if _, err := s.chain.Submit(s.t.Context(), chain.KindSettle, b.Encode()); err != nil {
		s.t.Fatal(err)
	}
}

// TestRefusalsAreHearsay: a node that refuses a batch for what it thinks of its
// channels is believed only as far as the channels bear it out. No claim is
// written off by a refusal.
func TestRefusalsAreHearsay(t *testing.T) {
	t.Parallel()
	refuseOnce := func(s *shop, code chain.Code, positions ...int) {
		times := 0
		s.chain.refuseWith(func(*channel.Batch) error {
			if times++; times > 1 {
				return nil
			}
			return &chain.RuleError{Code: code, Positions: positions}
		})
	}
	unredeemed := func(s *shop, n int) ledger.Amount {
		b, _ := s.payee.Balance(s.records[n].ID)
		return b.Unredeemed
	}
	for _, code := range []chain.Code{chain.CodeChannelNotFound, chain.CodeStale, chain.CodeUnderfunded} {
		for name, positions := range map[string][]int{"one entry": {0}, "both": {0, 1}, "unnamed": nil} {
			t.Run(code.String()+" of "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newShop(t, 2, pay.RedeemPolicy{Threshold: 1000})
					refuseOnce(s, code, positions...)
					s.pay(0, 1000)
					s.pay(1, 1000)
					s.pass(10 * time.Second)
					s.want(0, 1000)
					s.want(1, 1000)
				})
			})
		}
	}
	tests := []struct {
		name string
		do   func(s *shop)
	}{
		{"one is stale, one waits for a top-up", func(s *shop) {
			s.pay(0, 1000)
			s.pay(1, 1000)
			s.stranger(0, channel.Voucher{Cumulative: 1000})
			s.stranger(1, channel.Voucher{Lane: 5, Cumulative: testDeposit})
			s.pass(time.Hour)
			if a, b := unredeemed(s, 0), unredeemed(s, 1); a != 0 || b != 1000 {
				s.t.Errorf("unredeemed %d and %d, want 0 and 1000", a, b)
			}
			r, _ := s.chain.get(s.records[1].ID)
			r.Deposit += 5000
			s.chain.add(r)
			s.payee.Apply(event(channel.EventToppedUp, r, nil))
			s.pass(11 * time.Minute) // by its age
			s.want(1, testDeposit+1000)
		}},
		{"one is closed, one is stale", func(s *shop) {
			s.pay(0, 1000)
			s.pay(1, 1000)
			s.stranger(1, channel.Voucher{Cumulative: 1000})
			s.chain.close(s.records[0].ID)
			s.pass(time.Minute)
			gone, _ := s.payee.Balance(s.records[0].ID)
			open, _ := s.payee.Balance(s.records[1].ID)
			if !gone.Closed || open.Closed || open.Unredeemed != 0 {
				s.t.Errorf("the payee says %+v and %+v", gone, open)
			}
			s.pay(1, 1000)
			s.pass(time.Minute)
			s.want(1, 2000)
		}},
		{"more than a refusal names", func(s *shop) {
			for i := range s.records {
				s.pay(i, 1000)
				s.stranger(i, channel.Voucher{Cumulative: 1000})
			}
			s.pass(time.Minute)
			if b, _ := s.payee.Total(); b.Unredeemed != 0 {
				s.t.Errorf("the payee says %+v", b)
			}
			if got := s.redeemer.Total().Retries; got != 2 {
				s.t.Errorf("%d retries, want 2", got)
			}
		}},
		{"told to redeem while a node refuses", func(s *shop) {
			s.chain.refuseWith(func(*channel.Batch) error {
				return &chain.RuleError{Code: chain.CodeChannelNotFound, Positions: []int{0}}
			})
			s.pay(0, 999)
			if err := s.redeemer.Redeem(s.t.Context()); !errors.Is(err, chain.CodeChannelNotFound.Err()) {
				s.t.Errorf("got %v", err)
			}
			if b, _ := s.payee.Balance(s.records[0].ID); b.Closed || b.Unredeemed != 999 {
				s.t.Errorf("the payee says %+v", b)
			}
		}},
		{"told to close while a node refuses", func(s *shop) {
			s.chain.refuseWith(func(*channel.Batch) error {
				return &chain.RuleError{Code: chain.CodeChannelNotFound, Positions: []int{0}}
			})
			if err := s.redeemer.Close(s.t.Context(), s.records[0].ID); !errors.Is(err, chain.CodeChannelNotFound.Err()) {
				s.t.Errorf("got %v", err)
			}
			s.chain.refuseWith(nil)
			if err := s.redeemer.Close(s.t.Context(), s.records[0].ID); err != nil {
				s.t.Error(err)
			}
			if _, open := s.chain.get(s.records[0].ID); open {
				s.t.Error("the channel is open")
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { tt.do(newShop(t, 150, pay.RedeemPolicy{Threshold: 1000})) })
		})
	}
}
