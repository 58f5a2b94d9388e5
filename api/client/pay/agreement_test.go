package pay_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tributary-network/tributary/api/client/journal"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// signerFunc signs with a function.
type signerFunc func(ctx context.Context, message []byte) (ledger.Signature, error)

func (f signerFunc) Sign(ctx context.Context, message []byte) (ledger.Signature, error) {
	return f(ctx, message)
}

// bound is a payee with 300 owed to it, that can sign the channel's end away.
type bound struct {
	t      *testing.T
	cfg    pay.PayeeConfig
	record pay.Channel
	key    ledger.PrivateKey
	payer  *pay.PayerChannel
	payee  *pay.Payee
}

func newBound(t *testing.T, challenge uint32) *bound {
	t.Helper()
	b := &bound{t: t, cfg: pay.PayeeConfig{Dir: t.TempDir(), Journal: journal.Config{CompactAt: 1 << 10}}}
	b.record, b.key = testChannel(1)
	b.record.Challenge = challenge
	b.payer = track(t, openPayer(t, pay.PayerConfig{}), b.record, b.key)
	b.payee = openPayee(t, b.cfg, b.record)
	mustAccept(t, b.payee, mustPay(t, b.payer, 0, 300))
	return b
}

// agree accepts an offer to close at final.
func (b *bound) agree(final, least ledger.Amount, until uint64) error {
	b.t.Helper()
	offer, err := b.payer.OfferClose(b.t.Context(), final, until, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	_, err = b.payee.AcceptClose(b.t.Context(), offer, least)
	return err
}

// authorise lets anybody close the channel with what is owed now.
func (b *bound) authorise(until uint64) error {
	batch := channel.Batch{Payee: payeeID.Address, Entries: []channel.Entry{{Index: b.record.Index, Close: true}}}
	return b.payee.AuthoriseClose(b.t.Context(), &batch, until)
}

func (b *bound) restart() {
	b.t.Helper()
	if err := b.payee.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.payee = openPayee(b.t, b.cfg, b.record)
}

func (b *bound) pay() error {
	_, err := b.payee.Accept(b.t.Context(), mustPay(b.t, b.payer, 0, 1), 0)
	return err
}

// TestNothingIsAcceptedAboveASignedClose: who has signed that a channel may end
// accepts nothing on it until the signature is worth nothing any more, and knows
// so after any number of restarts.
func TestNothingIsAcceptedAboveASignedClose(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		sign func(b *bound) error
		last uint64 // height at which it still holds
	}{
		{"cooperative close", func(b *bound) error { return b.agree(300, 0, 60) }, 60},
		{"close below what is owed", func(b *bound) error { return b.agree(200, 200, 60) }, 60},
		{"two offers", func(b *bound) error { return errors.Join(b.agree(300, 0, 60), b.agree(300, 0, 50)) }, 60},
		{"authorised close", func(b *bound) error { return b.authorise(60) }, 60},
		{"an offer, then an authority", func(b *bound) error { return errors.Join(b.agree(300, 0, 50), b.authorise(70)) }, 70},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBound(t, testChallenge)
			wantNil(t, tt.sign(b))
			commitment, err := b.payer.CommitHash(t.Context(), 1, pay.HashTerms{UnitPrice: 1, Steps: 5})
			wantNil(t, err)
			for _, row := range []struct {
				view  pay.View
				holds bool
			}{
				{pay.View{Height: 10, Clock: 10}, true},
				{pay.View{Height: tt.last, Clock: 10}, true},
				{pay.View{Height: tt.last + 5, Clock: 10, Lag: 5}, true},
				{pay.View{Height: tt.last + 6, Clock: 10, Lag: 5}, false},
			} {
				b.restart()
				b.payee.Apply(pay.Update{View: row.view})
				if !row.holds {
					wantNil(t, b.payee.AcceptCommitment(t.Context(), commitment))
					wantNil(t, b.pay())
					continue
				}
				wantReason(t, b.pay(), pay.Closing)
				wantReason(t, b.payee.AcceptCommitment(t.Context(), commitment), pay.Closing)
				if r := b.payee.AcceptBatch(t.Context(), []pay.Offer{{Voucher: mustPay(t, b.payer, 3, 1)}})[0]; !errors.Is(r.Err, pay.Closing.Err()) {
					t.Errorf("in a batch: %v", r.Err)
				}
			}
		})
	}
}

// TestAgreementsAreShort: the payee signs nothing that would hold it up for long.
func TestAgreementsAreShort(t *testing.T) {
	t.Parallel()
	const height = 10 // see list
	for _, row := range []struct {
		name      string
		challenge uint32
		until     uint64
		want      pay.Reason
	}{
		{"some blocks", 1, height + pay.CloseBlocks, 0},
		{"a block more", 1, height + pay.CloseBlocks + 1, pay.TooLong},
		{"windows", 200, height + 200*pay.CloseWindows, 0},
		{"a block more than that", 200, height + 200*pay.CloseWindows + 1, pay.TooLong},
		{"for ever", 200, 1 << 63, pay.TooLong},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for name, sign := range map[string]func(b *bound) error{
				"offer":     func(b *bound) error { return b.agree(300, 0, row.until) },
				"authority": func(b *bound) error { return b.authorise(row.until) },
			} {
				b := newBound(t, row.challenge)
				if got, _ := pay.ReasonOf(sign(b)); got != row.want {
					t.Errorf("%s: got %v, want %v", name, got, row.want)
				}
				if err := b.pay(); (err == nil) != (row.want != 0) {
					t.Errorf("%s: a payment afterwards: %v", name, err)
				}
			}
		})
	}
}

// TestSigningACloseRacesPayments: by the time of the signature no payment gets in,
// and without one nobody is bound.
func TestSigningACloseRacesPayments(t *testing.T) {
	t.Parallel()
	b := newBound(t, testChallenge)
	wantNil(t, b.payee.Close())
	identity, fail := payeeID, true
	identity.Signer = signerFunc(func(ctx context.Context, message []byte) (ledger.Signature, error) {
		wantReason(t, b.pay(), pay.Closing)
		if fail {
			return ledger.Signature{}, errLost
		}
		return payeeID.Signer.Sign(ctx, message)
	})
	var err error
	b.payee, err = pay.OpenPayee(pay.PayeeConfig{Domain: testDomain, Account: identity, Dir: b.cfg.Dir})
	wantNil(t, err)
	t.Cleanup(func() { _ = b.payee.Close() })
	list(b.payee, b.record)
	for name, sign := range map[string]func() error{
		"offer":     func() error { return b.agree(300, 200, 60) },
		"authority": func() error { return b.authorise(60) },
	} {
		if err := sign(); !errors.Is(err, errLost) {
			t.Errorf("%s: %v, want %v", name, err, errLost)
		}
		if err := b.pay(); err != nil {
			t.Errorf("%s: a payment after no signature: %v", name, err)
		}
	}
	fail = false
	wantNil(t, b.agree(b.payer.Signed(), 0, 60))
	wantReason(t, b.pay(), pay.Closing)
}

// TestRedeemerKeepsAgreements: what goes beyond an agreement is left alone while it
// holds, unless the payer does not keep it either.
func TestRedeemerKeepsAgreements(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		final ledger.Amount
		do    func(s *shop)
		want  ledger.Amount
	}{
		{"all that is owed", 500, nil, 500},
		{"one lane of two", 499, nil, 300},
		{"less than any", 199, nil, 0},
		{"told to", 200, func(s *shop) { wantNil(s.t, s.redeemer.Redeem(s.t.Context())) }, 500},
		{"close requested", 200, func(s *shop) {
			s.payee.Apply(event(channel.EventCloseRequested, s.records[0], func(e *pay.Event) { e.Deadline = 30 }))
		}, 500},
		{"expiry near", 200, func(s *shop) {
			s.payee.Apply(pay.Update{View: pay.View{Height: 11, Clock: testExpiry - testChallenge}})
		}, 500},
		{"lapsed", 199, func(s *shop) { s.payee.Apply(pay.Update{View: pay.View{Height: 61, Clock: 11}}) }, 500},
		{"not quite lapsed", 199, func(s *shop) { s.payee.Apply(pay.Update{View: pay.View{Height: 60, Clock: 11}}) }, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t, 1, pay.RedeemPolicy{MaxAge: time.Minute})
				s.pay(0, 300)
				mustAccept(t, s.payee, mustPay(t, s.channels[0], 1, 200))
				offer, err := s.channels[0].OfferClose(t.Context(), tt.final, 60, nil)
				wantNil(t, err)
				_, err = s.payee.AcceptClose(t.Context(), offer, tt.final)
				wantNil(t, err)
				if tt.do != nil {
					tt.do(s)
				}
				s.pass(5 * time.Minute)
				s.want(0, tt.want)
			})
		})
	}
}
