package pay_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// testClock is a clock that stands still until it is moved.
type testClock struct{ now time.Time }

func (c *testClock) read() time.Time { return c.now }

// acceptCase is one voucher before a payee, and what each row of the table
// changes about it. Unchanged, it is accepted.
type acceptCase struct {
	record  pay.Channel
	view    pay.View
	age     time.Duration
	price   ledger.Amount
	voucher channel.Voucher
	domain  chain.Domain
	key     ledger.PrivateKey
	tamper  func(v *pay.Voucher)
	after   []pay.Update // news after the list
	known   bool
}

// TestAccept breaks one thing in each row and wants one reason, from Accept and
// from AcceptBatch alike.
func TestAccept(t *testing.T) {
	t.Parallel()
	closing := func(c *acceptCase) {
		c.after = append(c.after, event(channel.EventCloseRequested, c.record, func(e *pay.Event) { e.Deadline = 100 }))
	}
	tests := []struct {
		name   string
		change func(c *acceptCase)
		want   pay.Reason // 0: accepted
	}{
		{"good", func(c *acceptCase) {}, 0},
		{"unknown channel", func(c *acceptCase) { c.known = false }, pay.UnknownChannel},
		{"closed by the chain", func(c *acceptCase) {
			c.after = append(c.after, event(channel.EventFinalised, c.record, nil))
		}, pay.UnknownChannel},
		{"not in the next list", func(c *acceptCase) {
			c.after = append(c.after, pay.Update{Listing: pay.ListingBegins}, pay.Update{Listing: pay.ListingEnds})
		}, pay.UnknownChannel},
		{"another payee's channel", func(c *acceptCase) { c.record.Payee = payerID.Address }, pay.UnknownChannel},
		{"no such lane", func(c *acceptCase) { c.voucher.Lane = channel.Lanes }, pay.BadLane},
		{"last lane", func(c *acceptCase) { c.voucher.Lane = channel.Lanes - 1 }, 0},
		{"closing by its record", func(c *acceptCase) { c.record.CloseAt = 100 }, pay.Closing},
		{"closing by an event", closing, pay.Closing},
		{"closing, then an old record", func(c *acceptCase) {
			closing(c)
			c.after = append(c.after, pay.Update{Channel: &c.record})
		}, pay.Closing},
		{"last clock before the margin", func(c *acceptCase) { c.view.Clock = testExpiry - 2*testChallenge }, 0},
		{"within the margin", func(c *acceptCase) { c.view.Clock = testExpiry - 2*testChallenge + 1 }, pay.Expiring},
		{"long expired", func(c *acceptCase) { c.view.Clock = 10 * testExpiry }, pay.Expiring},
		{"extended in time", func(c *acceptCase) {
			c.view.Clock = testExpiry
			c.after = append(c.after, event(channel.EventExtended, c.record, func(e *pay.Event) { e.Deadline = 2 * testExpiry }))
		}, 0},
		{"view just fresh", func(c *acceptCase) { c.age = pay.MaxViewAge }, 0},
		{"view too old", func(c *acceptCase) { c.age = pay.MaxViewAge + 1 }, pay.StaleView},
		{"node just close enough", func(c *acceptCase) { c.view.Lag = pay.MaxLag }, 0},
		{"node too far behind", func(c *acceptCase) { c.view.Lag = pay.MaxLag + 1 }, pay.StaleView},
		{"equal to what is owed", func(c *acceptCase) { c.owe(40) }, pay.OutOfDate},
		{"below what is owed", func(c *acceptCase) { c.owe(41) }, pay.OutOfDate},
		{"above what is owed", func(c *acceptCase) { c.owe(39); c.price = 1 }, 0},
		{"nothing at all", func(c *acceptCase) { c.voucher.Cumulative = 0 }, pay.OutOfDate},
		{"exactly the price", func(c *acceptCase) { c.price = 40 }, 0},
		{"below the price", func(c *acceptCase) { c.price = 41 }, pay.BelowPrice},
		{"exactly the deposit", func(c *acceptCase) { c.voucher.Cumulative = testDeposit }, 0},
		{"above the deposit", func(c *acceptCase) { c.voucher.Cumulative = testDeposit + 1 }, pay.Underfunded},
		{"above the deposit with other lanes", func(c *acceptCase) {
			c.record.Redeemed, c.record.Lanes = 1, []pay.LaneState{{Lane: 9, Redeemed: 1}}
			c.voucher.Cumulative = testDeposit
		}, pay.Underfunded},
		{"topped up", func(c *acceptCase) {
			c.voucher.Cumulative = testDeposit + 1
			c.after = append(c.after, event(channel.EventToppedUp, c.record, func(e *pay.Event) { e.Deposit = testDeposit + 1 }))
		}, 0},
		{"out of range", func(c *acceptCase) { c.voucher.Cumulative = ledger.MaxAmount + 1 }, pay.InvalidAmount},
		{"another key", func(c *acceptCase) { c.key = testKey("thief", 0) }, pay.BadSignature},
		{"another network", func(c *acceptCase) { c.domain.Network[0] ^= 1 }, pay.BadSignature},
		{"another chain", func(c *acceptCase) { c.domain.Chain++ }, pay.BadSignature},
		{"signed for another channel", func(c *acceptCase) {
			id := c.record.ID
			c.voucher.ChannelID[0] ^= 1
			c.tamper = func(v *pay.Voucher) { v.ChannelID = id }
		}, pay.BadSignature},
		{"signed for another lane", func(c *acceptCase) { c.tamper = func(v *pay.Voucher) { v.Lane++ } }, pay.BadSignature},
		{"amount changed", func(c *acceptCase) { c.tamper = func(v *pay.Voucher) { v.Cumulative++ } }, pay.BadSignature},
		{"units changed", func(c *acceptCase) { c.tamper = func(v *pay.Voucher) { v.Units++ } }, pay.BadSignature},
		{"usage root changed", func(c *acceptCase) { c.tamper = func(v *pay.Voucher) { v.UsageRoot[0]++ } }, pay.BadSignature},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, batch := range []bool{false, true} {
				c := newAcceptCase()
				tt.change(&c)
				c.check(t, batch, tt.want)
			}
		})
	}
}

func newAcceptCase() acceptCase {
	record, key := testChannel(1)
	return acceptCase{
		record: record, view: pay.View{Height: 10, Clock: 10}, known: true, domain: testDomain, key: key,
		voucher: channel.Voucher{ChannelID: record.ID, Lane: 3, Cumulative: 40, Units: 4, UsageRoot: ledger.Hash{9}},
	}
}

// owe makes the chain have paid out amount on the voucher's lane.
func (c *acceptCase) owe(amount ledger.Amount) {
	c.record.Redeemed, c.record.Lanes = amount, []pay.LaneState{{Lane: 3, Redeemed: amount}}
}

func (c *acceptCase) check(t *testing.T, batch bool, want pay.Reason) {
	t.Helper()
	clock := &testClock{now: time.Unix(1_000_000, 0)}
	p := openPayee(t, pay.PayeeConfig{Clock: clock.read})
	if c.known {
		list(p, c.record)
	}
	for _, u := range c.after {
		p.Apply(u)
	}
	p.Apply(pay.Update{View: c.view})
	clock.now = clock.now.Add(c.age)
	v := pay.Voucher{Voucher: c.voucher, Signature: c.key.Sign(c.voucher.Signed(c.domain))}
	if c.tamper != nil {
		c.tamper(&v)
	}
	before, _ := p.Balance(c.record.ID)
	var a pay.Accepted
	var err error
	if batch {
		r := p.AcceptBatch(t.Context(), []pay.Offer{{Voucher: v, Price: c.price}})[0]
		a, err = r.Accepted, r.Err
	} else {
		a, err = p.Accept(t.Context(), v, c.price)
	}
	after, _ := p.Balance(c.record.ID)
	if want != 0 {
		wantReason(t, err, want)
		if before.Owed != after.Owed || a != (pay.Accepted{}) {
			t.Errorf("refused, and yet it changed: %+v, then %+v, and said %+v", before, after, a)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if delta := after.Owed - before.Owed; a.Delta != delta || a.Unredeemed != after.Unredeemed || delta == 0 {
		t.Errorf("said %+v, the balance was %+v and is %+v", a, before, after)
	}
	best, ok := p.Best(c.record.ID, uint8(v.Lane))
	if diff := cmp.Diff(v, best.Voucher); !ok || diff != "" {
		t.Errorf("best claim (-want +got):\n%s", diff)
	}
}

func TestNothingIsAcceptedBeforeTheFirstList(t *testing.T) {
	t.Parallel()
	p, err := pay.OpenPayee(pay.PayeeConfig{Domain: testDomain, Account: payeeID})
	if err != nil {
		t.Fatal(err)
	}
	record, key := testChannel(1)
	p.Apply(pay.Update{Channel: &record, View: pay.View{Height: 1, Clock: 1}})
	v := mustPay(t, track(t, openPayer(t, pay.PayerConfig{}), record, key), 0, 1)
	_, err = p.Accept(t.Context(), v, 0)
	wantReason(t, err, pay.StaleView)
}

func TestAcceptBatchJudgesEachByItself(t *testing.T) {
	t.Parallel()
	record, key := testChannel(1)
	c := track(t, openPayer(t, pay.PayerConfig{}), record, key)
	p := openPayee(t, pay.PayeeConfig{Dir: t.TempDir(), Durable: true}, record)
	var offers []pay.Offer
	var want []pay.Reason
	for i := range 40 {
		o := pay.Offer{Voucher: mustPay(t, c, uint8(i%2), 10), Price: 10}
		reason := pay.Reason(0)
		switch i % 10 {
		case 3:
			o.Voucher.Signature[5] ^= 1
			reason = pay.BadSignature
		case 7:
			o.Voucher.Lane = 99
			reason = pay.BadLane
		case 9:
			o.Price = 1000
			reason = pay.BelowPrice
		}
		offers, want = append(offers, o), append(want, reason)
	}
	// The same again is old.
	offers, want = append(offers, offers[0]), append(want, pay.OutOfDate)
	for i, r := range p.AcceptBatch(t.Context(), offers) {
		got, _ := pay.ReasonOf(r.Err)
		if got != want[i] {
			t.Errorf("offer %d: %v, want %v", i, r.Err, want[i])
		}
	}
	if b, _ := p.Balance(record.ID); b.Owed != 200+180 {
		t.Errorf("owed %d, want 200 by offer 38 on lane 0 and 180 by offer 35 on lane 1", b.Owed)
	}
}

// TestAcceptedNeverExceedsTheDeposit plays payers that sign whatever they like on
// many lanes, deposits that grow, and claims redeemed by strangers. Whenever a
// payment is accepted, the deposit covers the claims and the pay-outs of all
// lanes together, and what is owed never falls.
func TestAcceptedNeverExceedsTheDeposit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newAcceptWorld(t)
		var owed ledger.Amount
		rt.Repeat(map[string]func(*rapid.T){
			"voucher":                w.offer,
			"top up":                 w.topUp,
			"redeem":                 w.redeem,
			"redeemed by a stranger": w.stranger,
			"": func(rt *rapid.T) {
				b, _ := w.payee.Balance(w.record.ID)
				if b.Owed < owed {
					rt.Fatalf("owed %d, and now %d", owed, b.Owed)
				}
				owed = b.Owed
			},
		})
	})
}

type acceptWorld struct {
	record   pay.Channel
	key      ledger.PrivateKey
	chain    *fakeChain
	payee    *pay.Payee
	redeemer *pay.Redeemer
}

func newAcceptWorld(t *testing.T) *acceptWorld {
	t.Helper()
	w := &acceptWorld{chain: newFakeChain()}
	w.record, w.key = testChannel(1)
	w.record.Deposit = 500
	w.chain.add(w.record)
	w.chain.account = payeeID.Address
	w.payee = openPayee(t, pay.PayeeConfig{Chain: w.chain}, w.record)
	w.redeemer = pay.NewRedeemer(w.payee, testFees())
	return w
}

// draw returns a voucher the payer should not always have signed.
func (w *acceptWorld) draw(rt *rapid.T) pay.Voucher {
	v := channel.Voucher{
		ChannelID: w.record.ID, Lane: rapid.Uint16Range(0, 4).Draw(rt, "lane"),
		Cumulative: ledger.Amount(rapid.Uint64Range(1, 700).Draw(rt, "cumulative")),
	}
	return pay.Voucher{Voucher: v, Signature: w.key.Sign(v.Signed(testDomain))}
}

func (w *acceptWorld) offer(rt *rapid.T) {
	v := w.draw(rt)
	before, _ := w.payee.Balance(w.record.ID)
	results := w.payee.AcceptBatch(context.Background(), []pay.Offer{{Voucher: v}, {Voucher: v}})
	if results[0].Err != nil {
		return
	}
	if results[1].Err == nil {
		rt.Fatal("accepted the same voucher twice")
	}
	after, _ := w.payee.Balance(w.record.ID)
	if after.Owed < before.Owed+results[0].Delta {
		rt.Fatalf("owed %d, accepted %d more, and now it is %d", before.Owed, results[0].Delta, after.Owed)
	}
	onChain, _ := w.chain.get(w.record.ID)
	var sum ledger.Amount
	for lane := range uint8(5) {
		best, _ := w.payee.Best(w.record.ID, lane)
		sum += max(best.Owed(), laneOf(&onChain, lane).Redeemed)
	}
	if sum > onChain.Deposit {
		rt.Fatalf("accepted %d more: claims and pay-outs come to %d, the deposit is %d", results[0].Delta, sum, onChain.Deposit)
	}
}

func (w *acceptWorld) topUp(*rapid.T) {
	c, _ := w.chain.get(w.record.ID)
	c.Deposit += 50
	w.chain.add(c)
	w.payee.Apply(event(channel.EventToppedUp, c, nil))
}

func (w *acceptWorld) redeem(rt *rapid.T) {
	if err := w.redeemer.Redeem(context.Background()); err != nil {
		rt.Fatal(err)
	}
}

// stranger redeems a voucher that the payee may never have seen. The payee hears
// of the total; it must find out about the lanes before it accepts again.
func (w *acceptWorld) stranger(rt *rapid.T) {
	v := w.draw(rt)
	b := channel.Batch{Payee: payeeID.Address, Entries: []channel.Entry{{
		Index: w.record.Index, Lane: uint8(v.Lane), Claim: channel.ClaimVoucher, Cumulative: v.Cumulative, Signature: v.Signature,
	}}}
	if _, err := w.chain.Submit(context.Background(), chain.KindSettle, b.Encode()); err != nil {
		return // stale or underfunded
	}
	c, _ := w.chain.get(w.record.ID)
	w.payee.Apply(event(channel.EventRedeemed, c, nil))
}
