package service_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
)

func earnings(payee ledger.Address, epoch uint64, s service.Sums) service.Inbound {
	m := service.EarningsMessage{Payee: payee, Epoch: epoch, Sums: s}
	return service.Inbound{From: service.Place{Zone: 5}, To: service.HomeOf(payee), Kind: service.KindEarnings, Payload: m.Encode()}
}

// TestImportCodes: one sound message, each row breaks one thing.
func TestImportCodes(t *testing.T) {
	t.Parallel()
	s := newShard(t, smallParams(), service.Shard{Chain: 9, Service: testService, Zone: 0, First: 0, Last: 127})
	a := newAccount(5, keyIn("payer", 0, 0, 127), keyIn("payee", 0, 0, 127), 0, 0, 1_000)
	b := newAccount(6, keyIn("payer", 1, 0, 127), a.payee, 0, 0, 1_000)
	far := newAccount(7, keyIn("payer", 2, 128, 255), keyIn("payee", 2, 128, 255), 0, 0, 1_000)
	s.main(a.opened())
	with := func(m service.Inbound, spoil func(*service.Inbound)) service.Inbound {
		spoil(&m)
		return m
	}
	notice := func(a *account, spoil func(*channel.OpenedNotice)) service.Inbound {
		m := a.opened()
		n, err := channel.DecodeOpenedNotice(m.Payload)
		if err != nil {
			t.Fatal(err)
		}
		spoil(&n)
		m.Payload = n.Encode()
		return m
	}
	sums := service.Sums{Amount: 3, Units: 2, Work: 1}
	for _, row := range []struct {
		name string
		in   service.Inbound
		want chain.Code
	}{
		{"opened", b.opened(), chain.CodeOK},
		{"opened again", a.opened(), chain.CodeStale},
		{"opened as another", notice(a, func(n *channel.OpenedNotice) { n.ID[0] ^= 1 }), chain.CodeChannelMismatch},
		{"of another service", notice(b, func(n *channel.OpenedNotice) { n.Service++ }), chain.CodeWrongService},
		{"opened elsewhere", far.opened(), chain.CodeWrongShard},
		{"payer elsewhere", with(far.opened(), func(m *service.Inbound) { m.To = a.home() }), chain.CodeWrongShard},
		{"another zone", with(b.opened(), func(m *service.Inbound) { m.To.Zone++ }), chain.CodeWrongShard},
		{"cut off", with(b.opened(), func(m *service.Inbound) { m.Payload = m.Payload[1:] }), chain.CodeMalformed},
		{"opened by a shard", with(b.opened(), func(m *service.Inbound) { m.Main = false }), chain.CodeWrongSource},
		{"unknown kind", with(b.opened(), func(m *service.Inbound) { m.Kind = 99 }), chain.CodeUnknownKind},
		{"topped up", a.changed(2_000, 0), chain.CodeOK},
		{"extended", a.changed(0, 2_000), chain.CodeOK},
		{"changed to less", a.changed(999, 1_000), chain.CodeStale},
		{"unknown changed", b.changed(1, 1), chain.CodeChannelUnknown},
		{"changed elsewhere", with(far.changed(1, 1), func(m *service.Inbound) { m.To = a.home() }), chain.CodeWrongShard},
		{"closed", a.closed(), chain.CodeOK},
		{"unknown closed", b.closed(), chain.CodeChannelUnknown},
		{"redeemed", redeemed(a.home(), channel.LaneTotal{Index: 5, Lane: 2, Redeemed: 9}), chain.CodeOK},
		{"redeemed on what is not known", redeemed(b.home(), channel.LaneTotal{Index: 6, Redeemed: 9}), chain.CodeOK},
		{"redeemed elsewhere", with(redeemed(far.home(), channel.LaneTotal{Index: 7, Redeemed: 9}), func(m *service.Inbound) { m.To = a.home() }), chain.CodeWrongShard},
		{"earned", earnings(a.payeeAddress(), 0, sums), chain.CodeOK},
		{"earned in the next epoch", earnings(a.payeeAddress(), 1, sums), chain.CodeOK},
		{"earned in an epoch that has not begun", earnings(a.payeeAddress(), 2, sums), chain.CodeInvalidValue},
		{"earned after the epoch of main", with(earnings(a.payeeAddress(), 8, sums), func(m *service.Inbound) { m.MainEpoch = 7 }), chain.CodeOK},
		{"earned later than that", with(earnings(a.payeeAddress(), 9, sums), func(m *service.Inbound) { m.MainEpoch = 7 }), chain.CodeInvalidValue},
		{"all there is", earnings(a.payeeAddress(), 0, service.Sums{Amount: uint64(ledger.MaxAmount), Units: math.MaxUint64, Work: math.MaxUint64}), chain.CodeOK},
		{"more than there is", earnings(a.payeeAddress(), 0, service.Sums{Amount: uint64(ledger.MaxAmount) + 1}), chain.CodeAmountOverflow},
		{"earned elsewhere", earnings(far.payeeAddress(), 0, sums), chain.CodeWrongShard},
		{"payee elsewhere", with(earnings(far.payeeAddress(), 0, sums), func(m *service.Inbound) { m.To = a.home() }), chain.CodeWrongShard},
		{"earned on main", with(earnings(a.payeeAddress(), 0, sums), func(m *service.Inbound) { m.Main = true }), chain.CodeWrongSource},
		{"earnings cut off", with(earnings(a.payeeAddress(), 0, sums), func(m *service.Inbound) { m.Payload = m.Payload[1:] }), chain.CodeMalformed},
		{"came back, of no meaning", with(earnings(a.payeeAddress(), 0, sums), func(m *service.Inbound) { m.Fate, m.Payload = service.Bounced, nil }), chain.CodeOK},
	} {
		changes, res := s.try(service.Block{Inbox: []service.Inbound{row.in}})
		if got := res.Imports[0]; got.Code != row.want || got.Taken() != (row.want == chain.CodeOK || row.want == chain.CodeStale) {
			t.Errorf("%s: %s (%s), want %s", row.name, got.Code, got.Detail, row.want)
		}
		if row.want != chain.CodeOK && (len(changes) != 1 || changes[0].Key[0] != 'r') {
			t.Errorf("%s: refused, and %d keys changed", row.name, len(changes))
		}
	}
}

// TestNotices: what is known of a channel follows the notices, and a top-up makes
// room for what did not fit.
func TestNotices(t *testing.T) {
	t.Parallel()
	s, a := one(t, 0)
	too := func() chain.Code {
		return s.block(service.Block{Txs: []service.BlockTx{booking(t, item{a, a.voucher(0, 1_500, 1)})}}).Receipts[0].Entries[0].Code
	}
	if got := too(); got != chain.CodeAboveDeposit {
		t.Fatalf("above the deposit: %s", got)
	}
	s.main(a.changed(1_400, 900), a.changed(1_500, 0))
	if c, _ := service.ChannelAt(s.view, a.home().Bucket, a.index); c.Deposit != 1_500 || c.ExpiresAt != 1_000 {
		t.Errorf("deposit %d, expires at %d", c.Deposit, c.ExpiresAt)
	}
	if got := too(); got != chain.CodeOK {
		t.Fatalf("after the top-up: %s", got)
	}
	before := service.ReadTotals(s.view)
	s.main(a.closed())
	after := service.ReadTotals(s.view)
	if after.Booked != before.Booked || after.Channels != 0 || before.Booked.Amount != 1_500 {
		t.Errorf("totals %+v after the close, %+v before", after, before)
	}
	if got := too(); got != chain.CodeChannelUnknown {
		t.Errorf("after the close: %s", got)
	}
	for key := range s.view.Range([]byte{'B'}) {
		if key[2] != 'E' && key[2] != 'R' {
			t.Errorf("key %x remains", key)
		}
	}
}

// TestEarningsByEpoch: epochs are kept apart, the oldest are forgotten, and none
// from the future pushes them out.
func TestEarningsByEpoch(t *testing.T) {
	t.Parallel()
	s, a := one(t, 0)
	payee, drop := a.payeeAddress(), service.Sums{Amount: 1, Units: 1, Work: 1}
	for epoch := range uint64(10) {
		s.block(service.Block{
			Epoch: &service.EpochStart{Epoch: epoch},
			Inbox: []service.Inbound{earnings(payee, epoch, drop), late(earnings(payee, epoch+7, drop))},
		})
	}
	e := service.EarningsOf(s.view, payee)
	if len(e.Epochs) != service.KeptEpochs || e.Total != (service.Sums{Amount: 20, Units: 20, Work: 20}) {
		t.Fatalf("earnings %+v", e)
	}
	for epoch, want := range map[uint64]uint64{2: 0, 3: 2, 9: 2, 10: 1, 11: 0, 16: 0} {
		if got := e.In(epoch).Amount; got != want {
			t.Errorf("epoch %d: %d, want %d", epoch, got, want)
		}
	}
}

// late is a message that a shard takes before it knows of the epoch: main has begun it.
func late(m service.Inbound) service.Inbound {
	m.MainEpoch = 100
	return m
}

// TestNobodyStopsEarnings: whatever a payer signs or a committee that lies says, what is
// booked later is counted, and the epochs after it are as they are.
func TestNobodyStopsEarnings(t *testing.T) {
	t.Parallel()
	most := service.Sums{Amount: uint64(ledger.MaxAmount), Units: math.MaxUint64, Work: math.MaxUint64}
	for _, row := range []struct {
		name string
		by   func(s *shard, a *account)
		full service.Sums // of the epoch, after another booking in it
	}{
		{"a voucher for all units", func(s *shard, a *account) {
			s.block(service.Block{Txs: []service.BlockTx{booking(t, item{a, a.voucher(1, 100, math.MaxUint64)})}})
		}, service.Sums{Amount: 200, Units: math.MaxUint64, Work: 260}},
		{"a message of all there is", func(s *shard, a *account) {
			s.block(service.Block{Inbox: []service.Inbound{earnings(a.payeeAddress(), 0, most)}})
		}, most},
		{"many messages of all there is", func(s *shard, a *account) {
			for range 5 {
				s.block(service.Block{Inbox: []service.Inbound{earnings(a.payeeAddress(), 0, most)}})
			}
		}, most},
	} {
		s, a := one(t, 0)
		row.by(s, a)
		before := service.EarningsOf(s.view, a.payeeAddress()).Total
		booked := s.block(service.Block{Txs: []service.BlockTx{booking(t, item{a, a.voucher(0, 100, 60)})}}).Receipts[0].Booked
		e := service.EarningsOf(s.view, a.payeeAddress())
		if e.Total.Minus(before) != booked || booked.Amount != 100 || e.In(0) != row.full {
			t.Errorf("%s: then %+v is booked, and the total grows by %+v; the epoch has %+v, want %+v",
				row.name, booked, e.Total.Minus(before), e.In(0), row.full)
		}
		res := s.block(service.Block{Epoch: &service.EpochStart{Epoch: 1, Sigma: 1}, Inbox: []service.Inbound{earnings(a.payeeAddress(), 1, booked)}})
		e = service.EarningsOf(s.view, a.payeeAddress())
		if res.Imports[0].Code != chain.CodeOK || e.Total.Minus(before) != booked.Plus(booked) || e.In(1) != booked || res.Totals.Stuck != (service.Sums{}) {
			t.Errorf("%s: a message later is %s, the next epoch has %+v, want %+v; stuck are %+v", row.name, res.Imports[0].Code, e.In(1), booked, res.Totals.Stuck)
		}
	}
}

// TestUnitsDoNotStopNetting: what one payer signs keeps nobody else's drops from going to
// the payee, and is netted modulo 2^64.
func TestUnitsDoNotStopNetting(t *testing.T) {
	t.Parallel()
	s, a := one(t, 1)
	res := s.block(service.Block{Txs: []service.BlockTx{
		booking(t, item{a, a.voucher(0, 100, math.MaxUint64)}, item{a, a.voucher(1, 100, 50)}),
	}})
	m, err := service.DecodeEarningsMessage(res.Messages[0].Payload)
	if err != nil || m.Sums != res.Receipts[0].Booked || m.Amount != 200 || m.Units != 49 || res.Totals.Stuck != (service.Sums{}) {
		t.Errorf("%+v is sent, %+v is stuck: %v", m.Sums, res.Totals.Stuck, err)
	}
}

// TestReturned: an expired message is sent again, a bounced one is stuck, and both
// are counted.
func TestReturned(t *testing.T) {
	t.Parallel()
	s, a := one(t, 1)
	res := s.block(service.Block{Txs: []service.BlockTx{booking(t, item{a, a.voucher(0, 100, 50)})}})
	if len(res.Messages) != 1 || res.Messages[0].To != service.HomeOf(a.payeeAddress()) || res.Messages[0].From != (service.Place{}) {
		t.Fatalf("messages %+v", res.Messages)
	}
	back := func(m service.Message, fate service.Fate) service.Inbound {
		return service.Inbound{From: m.To, To: m.From, Kind: m.Kind, Payload: m.Payload, Fate: fate}
	}
	expired := s.block(service.Block{Inbox: []service.Inbound{back(res.Messages[0], service.Expired)}})
	if diff := cmp.Diff(res.Messages, expired.Messages); diff != "" {
		t.Errorf("expired, and sent again: %s", diff)
	}
	if f := service.InFlight(expired.Totals); f != res.Receipts[0].Booked {
		t.Errorf("in flight %+v", f)
	}
	bounced := s.block(service.Block{Inbox: []service.Inbound{back(res.Messages[0], service.Bounced)}})
	if len(bounced.Messages) != 0 || bounced.Totals.Stuck != res.Receipts[0].Booked || service.InFlight(bounced.Totals) != (service.Sums{}) {
		t.Errorf("bounced: %d messages, totals %+v", len(bounced.Messages), bounced.Totals)
	}
}

// TestOwns: both ends of the range belong to a shard.
func TestOwns(t *testing.T) {
	t.Parallel()
	s := service.Shard{Zone: 3, First: 64, Last: 127}
	for _, row := range []struct {
		place service.Place
		want  bool
	}{
		{service.Place{Zone: 3, Bucket: 63}, false},
		{service.Place{Zone: 3, Bucket: 64}, true},
		{service.Place{Zone: 3, Bucket: 127}, true},
		{service.Place{Zone: 3, Bucket: 128}, false},
		{service.Place{Zone: 2, Bucket: 100}, false},
	} {
		if got := s.Owns(row.place); got != row.want {
			t.Errorf("%s: %t, want %t", row.place, got, row.want)
		}
	}
}

// TestLinkWithoutRoom: a link that refuses a message is not asked again in the
// block, others are, and what waits goes with what comes later.
func TestLinkWithoutRoom(t *testing.T) {
	t.Parallel()
	s := newShard(t, smallParams(), wholeZone(0))
	var accounts []*account
	var txs []service.BlockTx
	for i := range 3 { // the first two payees share a bucket
		bucket := uint8(40)
		if i == 2 {
			bucket = 50
		}
		var payee ledger.PrivateKey
		for n := 10_000 * (i + 1); ; n++ {
			if payee = keyOf("payee", n); payee.Address(1).Bucket() == bucket {
				break
			}
		}
		a := newAccount(uint64(i), keyOf("payer", i), payee, 0, 1, 1_000)
		s.main(a.opened())
		accounts = append(accounts, a)
		txs = append(txs, booking(t, item{a, a.voucher(0, 10, 1)}))
	}
	asked := 0
	res := s.block(service.Block{Txs: txs, Send: func(m service.Message) bool {
		asked++
		return m.To.Bucket == 50
	}})
	if asked != 2 || len(res.Messages) != 1 || res.Totals.Waiting.Amount != 20 {
		t.Errorf("asked %d times, %d messages, waiting %+v", asked, len(res.Messages), res.Totals.Waiting)
	}
	a := accounts[0]
	res = s.block(service.Block{Txs: []service.BlockTx{booking(t, item{a, a.voucher(0, 17, 1)})}})
	if len(res.Messages) != 2 || res.Totals.Waiting != (service.Sums{}) || res.Totals.Sent.Amount != 37 {
		t.Errorf("%d messages, totals %+v", len(res.Messages), res.Totals)
	}
	for _, m := range res.Messages {
		e, err := service.DecodeEarningsMessage(m.Payload)
		if want := map[ledger.Address]uint64{a.payeeAddress(): 17, accounts[1].payeeAddress(): 10}[e.Payee]; err != nil || e.Amount != want {
			t.Errorf("payee %s: %d, want %d, %v", e.Payee, e.Amount, want, err)
		}
	}
}

// TestNetting: one message for each payee and block, in order, whatever the number
// of channels and transactions.
func TestNetting(t *testing.T) {
	t.Parallel()
	s := newShard(t, smallParams(), wholeZone(0))
	var accounts []*account
	var in []service.Inbound
	for i := range 6 {
		a := newAccount(uint64(i), keyOf("payer", i), keyOf("payee", i%3), 0, uint8(i%3), 1_000)
		accounts, in = append(accounts, a), append(in, a.opened())
	}
	s.main(in...)
	var txs []service.BlockTx
	for _, a := range accounts {
		txs = append(txs, booking(t, item{a, a.voucher(0, 10, 1)}), booking(t, item{a, a.voucher(1, 5, 1)}))
	}
	res := s.block(service.Block{Txs: txs})
	if len(res.Messages) != 2 {
		t.Fatalf("%d messages, want 2: payees 1 and 2 live elsewhere", len(res.Messages))
	}
	for i, m := range res.Messages {
		e, err := service.DecodeEarningsMessage(m.Payload)
		if err != nil || e.Sums != (service.Sums{Amount: 30, Units: 4, Work: 4}) || m.Recipient != e.Payee || m.To != service.HomeOf(e.Payee) {
			t.Errorf("message %d: %+v, %v", i, e, err)
		}
		if i > 0 && res.Messages[i-1].Recipient.Compare(m.Recipient) >= 0 {
			t.Error("messages are not in the order of payees")
		}
	}
	if e := service.EarningsOf(s.view, accounts[0].payeeAddress()); e.Total != (service.Sums{Amount: 30, Units: 4, Work: 4}) {
		t.Errorf("at home %+v", e)
	}
}
