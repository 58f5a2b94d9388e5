package pay_test

import (
	"context"
	"testing"

	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// hashLane is a payer and a payee with a commitment on lane 2, on top of a
// voucher for 100.
type hashLane struct {
	record     pay.Channel
	key        ledger.PrivateKey
	payer      *pay.PayerChannel
	cfg        pay.PayeeConfig
	payee      *pay.Payee
	commitment pay.Commitment
}

// restart closes the payee and opens it again.
func (h *hashLane) restart(t *testing.T) {
	t.Helper()
	if err := h.payee.Close(); err != nil {
		t.Fatal(err)
	}
	h.payee = openPayee(t, h.cfg, h.record)
}

func newHashLane(t *testing.T, steps uint16) *hashLane {
	t.Helper()
	h := &hashLane{}
	h.record, h.key = testChannel(1)
	h.payer = track(t, openPayer(t, pay.PayerConfig{}), h.record, h.key)
	h.cfg = pay.PayeeConfig{Dir: t.TempDir()}
	h.payee = openPayee(t, h.cfg, h.record)
	mustAccept(t, h.payee, mustPay(t, h.payer, 2, 100))
	var err error
	h.commitment, err = h.payer.CommitHash(t.Context(), 2, pay.HashTerms{UnitPrice: 3, UnitSize: 16 << 10, Steps: steps})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *hashLane) reveal(t *testing.T) pay.Reveal {
	t.Helper()
	r, err := h.payer.Reveal(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestHashLane(t *testing.T) {
	t.Parallel()
	h := newHashLane(t, 10)
	if err := h.payee.AcceptCommitment(t.Context(), h.commitment); err != nil {
		t.Fatal(err)
	}
	var last pay.Reveal
	for range 4 {
		last = h.reveal(t)
		a, err := h.payee.AcceptReveal(t.Context(), last, 3)
		if err != nil || a.Delta != 3 {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	h.reveal(t) // lost on the way
	a, err := h.payee.AcceptReveal(t.Context(), h.reveal(t), 3)
	if err != nil || a.Delta != 6 {
		t.Fatalf("the reveal after a lost one pays %+v, %v; want both", a, err)
	}
	_, err = h.payee.AcceptReveal(t.Context(), last, 0)
	if r := refusal(t, err, pay.OutOfDate); r.Owed != 118 || !r.Best.Verify(testDomain, h.key.Public()) {
		t.Errorf("an old reveal is answered with %+v", r)
	}

	// What the payee has is what the chain accepts.
	f := newFakeChain()
	f.add(h.record)
	best, ok := h.payee.Best(h.record.ID, 2)
	if !ok || best.Owed() != 118 || best.Units() != 1+6 || !best.Verify(testDomain, h.key.Public()) {
		t.Fatalf("best claim %+v", best)
	}

	// A voucher ends the chain; the next commitment builds on it.
	v := mustPay(t, h.payer, 2, 10)
	if v.Cumulative != 128 {
		t.Errorf("the voucher after the hash lane is for %d, want 128", v.Cumulative)
	}
	mustAccept(t, h.payee, v)
	if _, err := h.payer.Reveal(t.Context(), 2); err == nil {
		t.Error("the payer still reveals after a voucher")
	}
	next, err := h.payer.CommitHash(t.Context(), 2, pay.HashTerms{UnitPrice: 1, Steps: 2})
	if err != nil || next.BaseCumulative != 128 || next.ChainNo == h.commitment.ChainNo {
		t.Errorf("next commitment %+v, %v", next, err)
	}
}

func TestHashLaneIsUsedUp(t *testing.T) {
	t.Parallel()
	h := newHashLane(t, 2)
	h.reveal(t)
	h.reveal(t)
	_, err := h.payer.Reveal(t.Context(), 2)
	wantReason(t, err, pay.BadLane)
}

func TestHashLaneRefusals(t *testing.T) {
	t.Parallel()
	sign := func(h *hashLane, change func(c *pay.Commitment)) error {
		c := h.commitment
		change(&c)
		c.Signature = h.key.Sign(c.Signed(testDomain))
		return h.payee.AcceptCommitment(context.Background(), c)
	}
	reveal := func(h *hashLane, change func(r *pay.Reveal)) error {
		if err := h.payee.AcceptCommitment(context.Background(), h.commitment); err != nil {
			return err
		}
		r, err := h.payer.Reveal(context.Background(), 2)
		if err != nil {
			return err
		}
		change(&r)
		_, err = h.payee.AcceptReveal(context.Background(), r, 3)
		return err
	}
	tests := []struct {
		name string
		do   func(h *hashLane) error
		want pay.Reason
	}{
		{"base below what is owed", func(h *hashLane) error {
			return sign(h, func(c *pay.Commitment) { c.BaseCumulative = 99 })
		}, pay.OutOfDate},
		{"commitment changed", func(h *hashLane) error {
			h.commitment.UnitPrice++
			return h.payee.AcceptCommitment(context.Background(), h.commitment)
		}, pay.BadSignature},
		{"commitment overflows", func(h *hashLane) error {
			return sign(h, func(c *pay.Commitment) { c.UnitPrice = ledger.MaxAmount })
		}, pay.InvalidAmount},
		{"commitment without steps", func(h *hashLane) error {
			return sign(h, func(c *pay.Commitment) { c.Steps = 0 })
		}, pay.InvalidAmount},
		{"commitment on another channel", func(h *hashLane) error {
			return sign(h, func(c *pay.Commitment) { c.ChannelID[0]++ })
		}, pay.UnknownChannel},
		{"preimage of another step", func(h *hashLane) error {
			return reveal(h, func(r *pay.Reveal) { r.Step = 2 })
		}, pay.BadPreimage},
		{"preimage changed", func(h *hashLane) error {
			return reveal(h, func(r *pay.Reveal) { r.Preimage[0]++ })
		}, pay.BadPreimage},
		{"step beyond the chain", func(h *hashLane) error {
			return reveal(h, func(r *pay.Reveal) { r.Step = 11 })
		}, pay.BadLane},
		{"step 0", func(h *hashLane) error {
			return reveal(h, func(r *pay.Reveal) { r.Step, r.Preimage = 0, h.commitment.Root })
		}, pay.BadLane},
		{"another chain", func(h *hashLane) error {
			return reveal(h, func(r *pay.Reveal) { r.ChainNo++ })
		}, pay.BadLane},
		{"a lane without commitment", func(h *hashLane) error {
			return reveal(h, func(r *pay.Reveal) { r.Lane = 1 })
		}, pay.BadLane},
		{"above the deposit", func(h *hashLane) error {
			err := sign(h, func(c *pay.Commitment) {
				c.UnitPrice, c.Root = testDeposit, channel.HashStep(ledger.Hash{1})
			})
			if err != nil {
				return err
			}
			_, err = h.payee.AcceptReveal(context.Background(), pay.Reveal{ChannelID: h.record.ID, Lane: 2, Step: 1, Preimage: ledger.Hash{1}}, 0)
			return err
		}, pay.Underfunded},
		{"closing", func(h *hashLane) error {
			return reveal(h, func(*pay.Reveal) {
				h.payee.Apply(event(channel.EventCloseRequested, h.record, func(e *pay.Event) { e.Deadline = 50 }))
			})
		}, pay.Closing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHashLane(t, 10)
			wantReason(t, tt.do(h), tt.want)
			if b, _ := h.payee.Balance(h.record.ID); b.Owed != 100 {
				t.Errorf("refused, and yet %d is owed", b.Owed)
			}
		})
	}
}

// TestClaimVerifyBindsEverything changes every part of a hash claim.
func TestClaimVerifyBindsEverything(t *testing.T) {
	t.Parallel()
	h := newHashLane(t, 10)
	if err := h.payee.AcceptCommitment(t.Context(), h.commitment); err != nil {
		t.Fatal(err)
	}
	if _, err := h.payee.AcceptReveal(t.Context(), h.reveal(t), 0); err != nil {
		t.Fatal(err)
	}
	changes := map[string]func(c *pay.Claim){
		"channel":   func(c *pay.Claim) { c.Reveal.ChannelID[0]++ },
		"lane":      func(c *pay.Claim) { c.Reveal.Lane++ },
		"chain":     func(c *pay.Claim) { c.Reveal.ChainNo++ },
		"step":      func(c *pay.Claim) { c.Reveal.Step++ },
		"step 0":    func(c *pay.Claim) { c.Reveal.Step, c.Reveal.Preimage = 0, c.Commitment.Root },
		"preimage":  func(c *pay.Claim) { c.Reveal.Preimage[0]++ },
		"price":     func(c *pay.Claim) { c.Commitment.UnitPrice++ },
		"signature": func(c *pay.Claim) { c.Commitment.Signature[0]++ },
	}
	for name, change := range changes {
		best, _ := h.payee.Best(h.record.ID, 2)
		if !best.Verify(testDomain, h.key.Public()) {
			t.Fatal("the unchanged claim does not verify")
		}
		change(&best)
		if best.Verify(testDomain, h.key.Public()) {
			t.Errorf("the claim verifies with another %s", name)
		}
	}
}

// TestHashClaimsAreRedeemed: hash lanes and vouchers go into one batch, and steps
// cost their fee.
func TestHashClaimsAreRedeemed(t *testing.T) {
	t.Parallel()
	record, key := testChannel(1)
	f := newFakeChain()
	f.add(record)
	c := track(t, openPayer(t, pay.PayerConfig{}), record, key)
	payee := openPayee(t, pay.PayeeConfig{Chain: f}, record)
	mustAccept(t, payee, mustPay(t, c, 0, 500))
	commitment, err := c.CommitHash(t.Context(), 1, pay.HashTerms{UnitPrice: 10, Steps: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if err := payee.AcceptCommitment(t.Context(), commitment); err != nil {
		t.Fatal(err)
	}
	for range 40 {
		r, err := c.Reveal(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := payee.AcceptReveal(t.Context(), r, 10); err != nil {
			t.Fatal(err)
		}
	}
	if err := pay.NewRedeemer(payee, testFees()).Redeem(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, _ := f.get(record.ID); got.Redeemed != 900 || len(f.batches) != 1 {
		t.Errorf("redeemed %d in %d batches, want 900 in one", got.Redeemed, len(f.batches))
	}
}
