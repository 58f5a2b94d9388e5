package settlement_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// TestMassCloseInOneBlock: the payers of 200,000 channels ask to close them all
// in one block, and somebody fills the blocks after it with what pays more. Every
// voucher is paid by its deadline all the same, to the drop, because the clock
// waits; if it did not, most would be late and some lost.
//
// Of one channel in forty every signature is real and verified; those of the
// others count as checked.
func TestMassCloseInOneBlock(t *testing.T) { //nolint:paralleltest // it takes half a gigabyte
	const challenge = 6 // redeeming everything takes three times as many blocks
	m := newMass(t, challenge)
	m.open(challenge)
	m.requestAllInOneBlock()
	waiting := m.fork()
	waiting.redeemAllAtOnce()
	waiting.wantNothingLost()
	waiting.end()

	m.params.MaxStretch = 1 // the clock never stands still
	m.redeemAllAtOnce()
	if t.Logf("with a clock that never stands still: %d vouchers late, %d lost", m.late, m.lost); m.late == 0 || m.lost == 0 {
		t.Error("the blocks have room enough without the clock")
	}
	m.audit()
}

// TestMassCloseBlockByBlock is the same as nodes do it, see requestAndRedeem.
func TestMassCloseBlockByBlock(t *testing.T) { //nolint:paralleltest // like the one above
	const challenge = 12
	opened := newMass(t, challenge)
	opened.open(challenge)
	m := opened.fork()
	m.requestAndRedeem()
	m.wantNothingLost()
	m.end()

	m = opened
	m.params.MaxStretch = 1
	m.requestAndRedeem()
	if t.Logf("with a clock that never stands still: %d vouchers late, %d lost", m.late, m.lost); m.late == 0 {
		t.Error("the blocks have room enough without the clock")
	}
}

// requestAllInOneBlock hands all requests to the rules in one block. They bound
// no block; a node would refuse this one for its weight.
func (m *mass) requestAllInOneBlock() {
	m.t.Helper()
	start := time.Now()
	txs := make([]settlement.BlockTx, massChannels)
	var weight int64
	for i := range txs {
		txs[i] = m.requestClose(i)
		weight += settlement.Weight(&txs[i].Tx)
	}
	if limit := m.params.MaxBlockWeight(); weight <= limit {
		m.t.Errorf("the requests have a weight of %d, a block of %d", weight, limit)
	}
	made := time.Since(start)
	m.run(txs)
	m.t.Logf("%d requests made in %v, applied in %v: %d times the weight of a block", len(txs),
		made.Round(time.Millisecond), (time.Since(start) - made).Round(time.Millisecond), weight/m.params.MaxBlockWeight())
	if len(m.requested) != 1 || len(m.requested[0].channels) != massChannels {
		m.t.Fatalf("%d blocks closed channels", len(m.requested))
	}
	m.audit()
}

func (m *mass) clock() uint64 { return settlement.Clock(m.view, m.height+1) }

// redeemable returns those of channels whose payees are there.
func redeemable(channels []int) []int {
	return slices.DeleteFunc(slices.Clone(channels), func(i int) bool { return payeeOf(i) == massAbsent })
}

// redeemAllAtOnce lets every payee send its batches in the block after the
// requests, and runs until they are all executed.
func (m *mass) redeemAllAtOnce() {
	m.t.Helper()
	began, height, sigma := time.Now(), m.height, m.clock()
	for _, tx := range m.redemptions(redeemable(m.requested[0].channels)) {
		b := m.bundle(tx)
		if !b.urgent || b.deadline != m.requested[0].deadline {
			m.t.Fatalf("a batch is urgent: %v, by %d", b.urgent, b.deadline)
		}
		m.pool = append(m.pool, b)
	}
	sent := len(m.pool)
	for m.flooded = true; len(m.pool) > 0; {
		m.run(m.pick())
	}
	m.flooded = false
	m.t.Logf("stretch %d: %d batches, %d entries that pay in %d blocks, %d steps of the clock, %v; %d signatures verified",
		m.params.MaxStretch, sent, m.paying, m.height-height, m.clock()-sigma, time.Since(began).Round(time.Millisecond), m.verified)
	if blocks := m.height - height; blocks <= m.requested[0].deadline-sigma+1 {
		m.t.Errorf("%d blocks were enough, the window of %d proves nothing", blocks, m.requested[0].deadline-sigma)
	}
}

// requestAndRedeem does as nodes do: no block exceeds bytes or weight, and no
// payer has more requests under way than its nonce window allows. The payees are
// slow: they redeem one sigma before the deadlines, while requests still come in,
// and whenever they do the blocks are flooded.
func (m *mass) requestAndRedeem() {
	m.t.Helper()
	const margin = 1
	began, height, sigma := time.Now(), m.height, m.clock()
	next, redeemed, both := make([]int, massPayers), 0, 0
	for m.requestNext(next) > 0 || len(m.pool) > 0 || redeemed < len(m.requested) {
		for ; redeemed < len(m.requested) && m.requested[redeemed].deadline <= m.clock()+margin; redeemed++ {
			for _, tx := range m.redemptions(redeemable(m.requested[redeemed].channels)) {
				m.pool = append(m.pool, m.bundle(tx))
			}
		}
		urgent := 0
		for _, b := range m.pool {
			if b.urgent {
				urgent++
			}
		}
		if urgent > 0 && urgent < len(m.pool) {
			both++
		}
		m.flooded = urgent > 0
		m.run(m.pick())
	}
	blocks, steps := m.height-height, m.clock()-sigma
	m.t.Logf("stretch %d: %d blocks with requests, %d until everything was redeemed, %d steps of the clock, %v; %d signatures verified",
		m.params.MaxStretch, len(m.requested), blocks, steps, time.Since(began).Round(time.Millisecond), m.verified)
	if both == 0 {
		m.t.Error("no redemption had to compete with requests")
	}
	m.audit()
}

// requestNext puts the requests that each payer may send now into the pool and
// returns how many requests are not executed yet. next is how many each payer
// has sent.
func (m *mass) requestNext(next []int) (waiting int) {
	m.t.Helper()
	for payer := range next {
		a, _, _ := settlement.AccountByAddress(m.view, m.addrs[payer])
		underWay := int(m.nonces[payer] - a.Nonce)
		var txs []settlement.BlockTx
		for ; next[payer] < massEach && underWay < chain.NonceWindow; underWay++ {
			txs = append(txs, m.requestClose(payer*massEach+next[payer]))
			next[payer]++
		}
		if len(txs) > 0 {
			m.pool = append(m.pool, m.bundle(txs...))
		}
		waiting += underWay + massEach - next[payer]
	}
	return waiting
}

// wantNothingLost checks that every voucher of the payees who were there was paid
// in full by its deadline.
func (m *mass) wantNothingLost() {
	m.t.Helper()
	if m.late != 0 || m.lost != 0 {
		m.t.Errorf("%d vouchers were paid late, %d were lost", m.late, m.lost)
	}
	if least := 2 * massChannels / massPayees; m.verified < least {
		m.t.Errorf("%d signatures were verified, want %d at least", m.verified, least)
	}
	for i := range m.chans {
		want := m.owed(i)
		if payeeOf(i) == massAbsent {
			want = 0
		}
		if c := &m.chans[i]; c.paid != want || c.burned != burnOf(want) {
			m.t.Fatalf("channel %d paid %d and burned %d of that, want %d and %d", i, c.paid, c.burned, want, burnOf(want))
		}
	}
}

// end lets the chain close what is left, and the payee who was absent claim what
// it can meanwhile. Then every account has what the vouchers say.
func (m *mass) end() {
	m.t.Helper()
	began, height := time.Now(), m.height
	left, last := settlement.OpenChannels(m.view), m.requested[len(m.requested)-1].deadline
	for m.clock() <= last {
		m.run(nil)
	}
	const afterwards = 50 // blocks
	for range afterwards {
		if res := m.run(nil); res.Finalised != channel.FinaliseLimit {
			m.t.Fatalf("block %d finalises %d channels, want %d", m.height, res.Finalised, channel.FinaliseLimit)
		}
	}
	m.claimLate()
	for settlement.OpenChannels(m.view) > 0 {
		m.run(nil)
	}
	m.t.Logf("%d channels finalised in %d blocks, %v", left, m.height-height, time.Since(began).Round(time.Millisecond))
	m.audit()
	for _, table := range []chain.Table{channel.Channels(), channel.LaneRows()} {
		for key := range m.view.Range([]byte{table.Prefix}) {
			m.t.Fatalf("row %x is left", key)
		}
	}
	m.balances()
}

// claimLate settles the vouchers of the payee who missed all deadlines: what was
// finalised is gone, and what waits for it still pays.
func (m *mass) claimLate() {
	m.t.Helper()
	b, open := &channel.Batch{Payee: m.addrs[massAbsent]}, 0
	for i := range m.chans {
		if payeeOf(i) != massAbsent {
			continue
		}
		b.Entries = append(b.Entries, m.claimsOf(i)...)
		if !m.chans[i].closed {
			open++
		}
	}
	late, lost := m.late, m.lost
	m.run([]settlement.BlockTx{m.tx(massAbsent, b, false)})
	if late, lost = m.late-late, m.lost-lost; late != open || lost != len(b.Entries)-open || late == 0 || lost == 0 {
		m.t.Errorf("after the deadlines %d vouchers were paid and %d refused, want %d and %d", late, lost, open, len(b.Entries)-open)
	}
}

// balances checks every account against the vouchers alone: what they say is
// paid, once, less what is burned of each channel's total, and the payers have
// the rest and their rents back.
func (m *mass) balances() {
	m.t.Helper()
	want := make([]ledger.Amount, massAccounts)
	for i := range want {
		want[i] = massBalance - m.fees[i]
	}
	var burned ledger.Amount
	for i := range m.chans {
		owed := m.owed(i)
		if payeeOf(i) == massAbsent { // paid what was not finalised yet
			owed = m.chans[i].paid
		}
		want[payerOf(i)] -= owed
		want[payeeOf(i)] += owed - burnOf(owed)
		burned += burnOf(owed)
	}
	for i, addr := range m.addrs[:massFlood] {
		if a, _, _ := settlement.AccountByAddress(m.view, addr); a.Balance != want[i] {
			m.t.Errorf("account %d has %d drops, want %d", i, a.Balance, want[i])
		}
	}
	if totals := settlement.ReadTotals(m.view); totals.Burned != burned || totals.Escrow != 0 || totals.Rent != 0 {
		m.t.Errorf("at the end %+v, want %d burned", totals, burned)
	}
}
