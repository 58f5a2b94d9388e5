package pay_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// creditor is a payee to whom one channel owes 100, on a clock of its own.
type creditor struct {
	t      *testing.T
	clock  *testClock
	chain  *fakeChain
	cfg    pay.PayeeConfig
	record pay.Channel
	payer  *pay.PayerChannel
	payee  *pay.Payee
}

func newCreditor(t *testing.T) *creditor {
	t.Helper()
	c := &creditor{t: t, clock: &testClock{now: time.Unix(1_700_000_000, 0)}, chain: newFakeChain()}
	var key ledger.PrivateKey
	c.record, key = testChannel(1)
	c.record.Height = 10
	c.chain.add(c.record)
	c.cfg = pay.PayeeConfig{Dir: t.TempDir(), Clock: c.clock.read, Chain: c.chain}
	c.payee = openPayee(t, c.cfg, c.record)
	c.payer = track(t, openPayer(t, pay.PayerConfig{}), c.record, key)
	mustAccept(t, c.payee, mustPay(t, c.payer, 0, 100))
	return c
}

// listed tells of a list by a node with the view.
func (c *creditor) listed(v pay.View, records ...pay.Channel) {
	c.payee.Apply(pay.Update{Listing: pay.ListingBegins})
	for i := range records {
		c.payee.Apply(pay.Update{Channel: &records[i]})
	}
	c.payee.Apply(pay.Update{Listing: pay.ListingEnds, View: v})
}

func (c *creditor) restart() {
	c.t.Helper()
	if err := c.payee.Close(); err != nil {
		c.t.Fatal(err)
	}
	p, err := pay.OpenPayee(pay.PayeeConfig{Domain: testDomain, Account: payeeID, Dir: c.cfg.Dir, Clock: c.clock.read, Chain: c.chain})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = p.Close() })
	c.payee = p
}

// owed returns what the payee says that is owed and not redeemed, and whether it
// says anything.
func (c *creditor) owed() (ledger.Amount, bool) {
	b, ok := c.payee.Balance(c.record.ID)
	return b.Unredeemed, ok
}

func (c *creditor) accepts() error {
	_, err := c.payee.Accept(c.t.Context(), mustPay(c.t, c.payer, 0, 1), 0)
	return err
}

func (c *creditor) later() { c.clock.now = c.clock.now.Add(pay.Retain + time.Minute) }

// TestNoListTakesAClaim: lists of nodes that are behind or wrong, and nodes that
// do not know a channel, stop what is accepted on it. What it owes is kept however
// long that lasts, and the truth brings all of it back.
func TestNoListTakesAClaim(t *testing.T) {
	t.Parallel()
	past := pay.View{Height: 5_000, Clock: testExpiry + 1}
	tests := []struct {
		name string
		do   func(c *creditor)
	}{
		{"below what is known", func(c *creditor) { c.listed(pay.View{Height: 9, Clock: 9}) }},
		{"far below what is known", func(c *creditor) { c.listed(pay.View{Height: 1, Clock: 1, Lag: 1000}) }},
		{"behind what the node knows", func(c *creditor) { c.listed(pay.View{Height: 11, Clock: 11, Lag: pay.MaxLag + 1}) }},
		{"of no height", func(c *creditor) { c.listed(pay.View{}) }},
		{"up to date", func(c *creditor) { c.listed(pay.View{Height: 11, Clock: 11}) }},
		{"at the expiry", func(c *creditor) { c.listed(pay.View{Height: 11, Clock: testExpiry}) }},
		{"past the expiry, of a node that is behind", func(c *creditor) {
			c.listed(pay.View{Height: 9, Clock: testExpiry + 1})
		}},
		{"past the expiry, of a node that lags", func(c *creditor) {
			v := past
			v.Lag = pay.MaxLag + 1
			c.listed(v)
		}},
		{"past the expiry before it was extended", func(c *creditor) {
			c.payee.Apply(event(channel.EventExtended, c.record, func(e *pay.Event) { e.Deadline = testExpiry + 500 }))
			if c.payer.Signed() == 100 { // the first time: it notes the expiry
				wantNil(c.t, c.accepts())
			}
			c.restart()
			c.listed(past)
		}},
		{"after a restart", func(c *creditor) {
			c.restart()
			c.listed(pay.View{Height: 1, Clock: 1})
		}},
		{"a node that does not know the channel", func(c *creditor) {
			c.chain.behind = true
			wantReason(c.t, c.payee.Refresh(c.t.Context(), c.record.ID), pay.UnknownChannel)
			c.chain.behind = false
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newCreditor(t)
			before, _ := c.owed()
			for range 3 {
				tt.do(c)
				before = max(before, c.best())
				if c.accepts() == nil {
					t.Fatal("a payment is accepted on a channel that may be closed")
				}
				c.later()
			}
			c.restart()
			c.later()
			// The truth.
			c.record.Height = 6_000
			c.listed(pay.View{Height: 6_000, Clock: 20}, c.record)
			if got, ok := c.owed(); !ok || got != before {
				t.Fatalf("the payee says that %d are owed, %v; it was %d", got, ok, before)
			}
			if err := c.accepts(); err != nil {
				t.Errorf("after the truth: %v", err)
			}
		})
	}
}

func wantNil(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// best returns what the best claim of lane 0 is for.
func (c *creditor) best() ledger.Amount {
	best, _ := c.payee.Best(c.record.ID, 0)
	return best.Owed()
}

// TestClosedChannelsAreForgotten: what has certainly ended, or owes nothing, does
// not stay for ever.
func TestClosedChannelsAreForgotten(t *testing.T) {
	t.Parallel()
	empty := func(c *creditor) { c.listed(pay.View{Height: 20, Clock: 20}) }
	tests := []struct {
		name string
		do   func(c *creditor)
	}{
		{"its close was seen", func(c *creditor) {
			c.payee.Apply(event(channel.EventFinalised, c.record, nil))
		}},
		{"its close was seen before it was listed again", func(c *creditor) {
			c.restart()
			c.payee.Apply(event(channel.EventCoopClosed, c.record, nil))
			empty(c)
		}},
		{"the chain says so", func(c *creditor) {
			c.chain.close(c.record.ID)
			wantReason(c.t, c.payee.Refresh(c.t.Context(), c.record.ID), pay.UnknownChannel)
		}},
		{"not listed after its expiry", func(c *creditor) { c.listed(pay.View{Height: 2_000, Clock: testExpiry + 1}) }},
		{"not listed after its expiry and a restart", func(c *creditor) {
			c.restart()
			c.listed(pay.View{Height: 2_000, Clock: testExpiry + 1})
		}},
		{"nothing is owed", func(c *creditor) {
			r := c.record
			r.Redeemed, r.Lanes = 100, []pay.LaneState{{Redeemed: 100}}
			c.payee.Apply(pay.Update{Channel: &r})
			empty(c)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newCreditor(t)
			tt.do(c)
			if b, ok := c.payee.Balance(c.record.ID); !ok || !b.Closed {
				t.Fatalf("the payee says %+v, %v", b, ok)
			}
			old := c.record
			old.Height = 9
			c.payee.Apply(pay.Update{Channel: &old}) // of a node that is behind
			wantReason(t, c.accepts(), pay.UnknownChannel)
			empty(c)
			if _, ok := c.owed(); !ok {
				t.Error("forgotten at once")
			}
			c.later()
			empty(c)
			if got, ok := c.owed(); ok {
				t.Errorf("the payee still says that %d are owed", got)
			}
		})
	}
}

// TestANodeThatIsBehindIsNoNews: a view below what is known makes the payee as
// careful as the lag it shows.
func TestANodeThatIsBehindIsNoNews(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		view pay.View
		want pay.Reason
	}{
		{"just close enough", pay.View{Height: 100 - pay.MaxLag, Clock: 1}, 0},
		{"too far behind", pay.View{Height: 100 - pay.MaxLag - 1, Clock: 1}, pay.StaleView},
		{"both", pay.View{Height: 95, Clock: 1, Lag: 6}, pay.StaleView},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := newCreditor(t)
			c.payee.Apply(pay.Update{View: pay.View{Height: 100, Clock: 100}})
			c.payee.Apply(pay.Update{View: row.view})
			if got, _ := pay.ReasonOf(c.accepts()); got != row.want {
				t.Errorf("got %v, want %v", got, row.want)
			}
			if v := c.payee.View(); v.Height != 100 || v.Clock != 100 {
				t.Errorf("the view is %+v", v)
			}
		})
	}
}

// TestRedeemerAsksForMissingChannels: channels that a list left out are read from
// the chain until it is clear whether they exist, and then redeemed.
func TestRedeemerAsksForMissingChannels(t *testing.T) {
	t.Parallel()
	behind := func(s *shop, is bool) {
		s.chain.mu.Lock()
		defer s.chain.mu.Unlock()
		s.chain.behind = is
	}
	tests := []struct {
		name string
		do   func(s *shop)
	}{
		{"it exists", func(s *shop) {
			behind(s, true)
			list(s.payee, s.records[1])
			s.pass(time.Hour)
			s.want(0, 0)
			behind(s, false)
			s.pass(time.Minute + 2*time.Second)
			s.want(0, 500)
			s.pay(0, 1)
		}},
		{"it is closing", func(s *shop) {
			s.payee.Apply(pay.Update{Listing: pay.ListingBegins})
			s.payee.Apply(pay.Update{Listing: pay.ListingEnds})
			r, _ := s.chain.get(s.records[0].ID)
			r.CloseAt = 30
			s.chain.add(r)
			s.pass(2 * time.Second)
			s.want(0, 500)
		}},
		{"it is closed", func(s *shop) {
			s.chain.close(s.records[0].ID)
			list(s.payee, s.records[1])
			s.pass(2 * time.Second)
			reads := s.chain.reads
			s.pass(pay.Retain + time.Minute)
			if _, ok := s.payee.Balance(s.records[0].ID); ok || s.chain.reads != reads {
				s.t.Errorf("known %v, read %d and then %d times", ok, reads, s.chain.reads)
			}
		}},
		{"when told to redeem", func(s *shop) {
			list(s.payee)
			for _, id := range []ledger.Hash{s.records[0].ID, s.records[1].ID} {
				if err := s.redeemer.Redeem(s.t.Context(), id); err != nil {
					s.t.Error(err)
				}
			}
			s.want(0, 500)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t, 2, pay.RedeemPolicy{Threshold: 1000, MaxAge: time.Minute})
				s.pay(0, 500)
				tt.do(s)
			})
		})
	}
}
