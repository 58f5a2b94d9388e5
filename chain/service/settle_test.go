package service_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// claims lists what settlements claim, in their order: payee, index, lane,
// cumulative.
func claims(settlements []service.Settlement) []string {
	var out []string
	for _, s := range settlements {
		for _, e := range s.Batch.Entries {
			out = append(out, fmt.Sprintf("%x %d/%d %d", s.Batch.Payee[:4], e.Index, e.Lane, uint64(e.Cumulative)))
		}
	}
	return out
}

// TestSettlements: what moved in an epoch is settled after it, in order, some lanes
// a block, each voucher once.
func TestSettlements(t *testing.T) {
	t.Parallel()
	s := newShard(t, smallParams(), wholeZone(0)) // six lanes a block, four a batch
	payees := []ledger.PrivateKey{keyOf("payee", 0), keyOf("payee", 1)}
	if b, a := payees[1].Address(0), payees[0].Address(0); b.Compare(a) < 0 {
		payees[0], payees[1] = payees[1], payees[0]
	}
	var accounts []*account
	for i := range 6 { // three channels for each payee, of payers in several buckets
		a := newAccount(uint64(i), keyOf("payer", i), payees[i%2], 0, 0, 1_000)
		accounts = append(accounts, a)
		s.main(a.opened())
	}
	var want []string
	for p := range 2 {
		for i := p; i < 6; i += 2 {
			a := accounts[i]
			s.block(service.Block{Txs: []service.BlockTx{booking(t, item{a, a.voucher(0, 10, 1)}, item{a, a.voucher(1, 20, 1)})}})
			payee := a.payeeAddress()
			want = append(want, fmt.Sprintf("%x %d/%d %d", payee[:4], i, 0, 11), fmt.Sprintf("%x %d/%d %d", payee[:4], i, 1, 20))
			s.block(service.Block{Txs: []service.BlockTx{booking(t, item{a, a.voucher(0, 11, 1)})}})
		}
	}
	if res := s.block(service.Block{}); len(res.Settlements) != 0 || service.Settling(s.view) {
		t.Fatal("settled within the epoch")
	}
	first := s.block(service.Block{
		Epoch: &service.EpochStart{Epoch: 3},
		Txs: []service.BlockTx{ // after the settlements of the block
			booking(t, item{accounts[5], accounts[5].voucher(0, 15, 1)}), booking(t, item{accounts[0], accounts[0].voucher(2, 5, 1)}),
		},
	})
	second := s.block(service.Block{})
	third := s.block(service.Block{})
	want[10] = want[10][:len(want[10])-2] + "15" // it moved on before its turn
	if diff := cmp.Diff(want, append(claims(first.Settlements), claims(second.Settlements)...)); diff != "" {
		t.Error(diff)
	}
	if len(first.Settlements) != 2 || len(first.Settlements[0].Batch.Entries) != 4 || len(second.Settlements) != 2 || len(third.Settlements) != 0 {
		t.Errorf("batches %d, %d, %d", len(first.Settlements), len(second.Settlements), len(third.Settlements))
	}
	if service.Settling(s.view) {
		t.Error("still settling")
	}
	if got := claims(service.Outstanding(s.view, service.Spot{}, 100, 100).List); !cmp.Equal(want, got) {
		t.Errorf("outstanding: %s", cmp.Diff(want, got))
	}
	if got := claims(outstandingOf(s.view, payees[1].Address(0))); !cmp.Equal(want[6:], got) {
		t.Errorf("outstanding of the second payee: %s", cmp.Diff(want[6:], got))
	}
	if got := claims(service.Outstanding(s.view, service.Spot{Payee: payees[1].Address(0)}, 2, 2).List); !cmp.Equal(want[6:8], got) {
		t.Errorf("the first two of the second payee: %s", cmp.Diff(want[6:8], got))
	}
	payee := accounts[0].payeeAddress()
	want = []string{fmt.Sprintf("%x 0/2 5", payee[:4])} // what moved since, and nothing twice
	if diff := cmp.Diff(want, claims(s.block(service.Block{Epoch: &service.EpochStart{Epoch: 4}}).Settlements)); diff != "" {
		t.Errorf("after the next epoch: %s", diff)
	}
}

// TestRedeemedPrunes: what the main chain paid is neither outstanding nor settled
// again, whoever redeemed it.
func TestRedeemedPrunes(t *testing.T) {
	t.Parallel()
	s, a := one(t, 0)
	book := func(cum ledger.Amount) {
		t.Helper()
		if res := s.block(service.Block{Txs: []service.BlockTx{booking(t, item{a, a.voucher(0, cum, 1)})}}); len(res.Bookings) != 1 {
			t.Fatalf("%d is not booked", cum)
		}
	}
	epoch := uint64(0)
	next := func() int {
		epoch++
		return len(claims(s.block(service.Block{Epoch: &service.EpochStart{Epoch: epoch}}).Settlements))
	}
	outstanding := func() int { return len(claims(outstandingOf(s.view, a.payeeAddress()))) }
	paid := func(amount ledger.Amount) {
		s.main(redeemed(a.home(), channel.LaneTotal{Index: a.index, Redeemed: amount}))
	}

	book(100)
	if next() != 1 || outstanding() != 1 {
		t.Fatal("not settled")
	}
	paid(99)
	if outstanding() != 1 {
		t.Error("paid in part, and not outstanding")
	}
	paid(100)
	if outstanding() != 0 || next() != 0 {
		t.Error("paid, and outstanding or settled again")
	}
	book(200)
	paid(200) // the payee redeemed by itself
	if next() != 0 || outstanding() != 0 {
		t.Error("redeemed before the end of the epoch, and settled")
	}
	paid(300)
	book(250) // usage that was paid before it was booked
	if next() != 0 {
		t.Error("paid before it was booked, and settled")
	}
	book(400)
	if next() != 1 {
		t.Error("moved beyond what was paid, and not settled")
	}
	s.main(a.closed())
	if outstanding() != 0 {
		t.Error("closed, and outstanding")
	}
}

// TestOldEpochs: an epoch that is not new changes nothing, and sigma never falls.
func TestOldEpochs(t *testing.T) {
	t.Parallel()
	s, _ := one(t, 0)
	s.block(service.Block{Epoch: &service.EpochStart{Epoch: 5, Sigma: 70}})
	s.block(service.Block{Epoch: &service.EpochStart{Epoch: 5, Sigma: 90}})
	s.block(service.Block{Epoch: &service.EpochStart{Epoch: 6, Sigma: 60}})
	if got, want := service.ReadEpoch(s.view), (service.Epoch{Number: 6, Sigma: 70}); got != want {
		t.Errorf("epoch %+v, want %+v", got, want)
	}
}

// mainChain is a main chain with two accounts: a payer and a relay.
type mainChain struct {
	t      *testing.T
	params settlement.Params
	view   *state
	height uint64
	nonces map[ledger.Address]uint64
}

func newMainChain(t *testing.T, payer, relay ledger.PrivateKey) *mainChain {
	t.Helper()
	p := settlement.LocalParams()
	p.Services = []uint32{testService}
	g := settlement.Genesis{Name: "test", Time: 1, Params: p, Accounts: []settlement.GenesisAccount{
		{Address: payer.Address(0), Balance: 1 << 40}, {Address: relay.Address(0), Balance: 1 << 40},
	}}
	changes, err := g.State()
	if err != nil {
		t.Fatal(err)
	}
	return &mainChain{t: t, params: p, view: newState(changes), nonces: make(map[ledger.Address]uint64)}
}

func (m *mainChain) do(key ledger.PrivateKey, kind chain.Kind, payload []byte) settlement.Receipt {
	m.t.Helper()
	from := key.Address(0)
	raw := chain.SignTx(mainDomain, key, chain.TxFields{Kind: kind, Nonce: m.nonces[from], MaxFee: 1 << 30, Payload: payload})
	m.nonces[from]++
	tx, err := chain.DecodeTx(mainDomain, raw)
	if err != nil {
		m.t.Fatal(err)
	}
	m.height++
	changes, res, err := settlement.ApplyBlock(m.view, m.params, mainDomain, settlement.Block{Height: m.height, Txs: []settlement.BlockTx{{Tx: tx}}}, verify)
	if err != nil {
		m.t.Fatal(err)
	}
	m.view.apply(changes)
	if res.Receipts[0].Code != chain.CodeOK {
		m.t.Fatalf("main chain: %s: %s", res.Receipts[0].Code, res.Receipts[0].Detail)
	}
	return res.Receipts[0]
}

// TestMainTakesSettlements: a stranger relays a shard's batch, and the payee has
// exactly what was booked, less the burn.
func TestMainTakesSettlements(t *testing.T) {
	t.Parallel()
	payer, payee, relay, hot := keyOf("payer", 0), keyOf("payee", 0), keyOf("relay", 0), keyOf("voucher", 0)
	m := newMainChain(t, payer, relay)
	open := channel.Open{}
	for range 3 {
		open.Channels = append(open.Channels, channel.OpenParams{
			Payee: payee.Address(4), VoucherKey: hot.Public(), Deposit: 5_000, ExpiresAt: 500, Challenge: 20, Service: testService,
		})
	}
	m.do(payer, chain.KindOpenChannels, open.Encode())
	s := newShard(t, service.DefaultParams(), wholeZone(0))
	var accounts []*account
	for i := range uint64(3) {
		c, ok := channel.At(m.view, i)
		if !ok {
			t.Fatal("not opened")
		}
		a := newAccount(i, payer, payee, 0, 4, c.Deposit)
		a.id, a.voucherKey = c.ID, hot
		n := c.Opened(i)
		s.main(service.Inbound{Main: true, To: a.home(), Kind: service.KindOpened, Payload: n.Encode()})
		accounts = append(accounts, a)
	}
	var items []item
	for i, a := range accounts {
		items = append(items, item{a, a.voucher(0, ledger.Amount(1_000*(i+1)), 5)}, item{a, a.voucher(7, 77, 5)})
	}
	s.block(service.Block{Txs: []service.BlockTx{receipted(t, items...)}})
	res := s.block(service.Block{Epoch: &service.EpochStart{Epoch: 1}})
	if len(res.Settlements) != 1 {
		t.Fatalf("%d settlements", len(res.Settlements))
	}
	batch := res.Settlements[0].Batch
	r := m.do(relay, chain.KindSettle, batch.Encode())
	const total = 1_000 + 2_000 + 3_000 + 3*77
	account, _, _ := settlement.AccountByAddress(m.view, payee.Address(4))
	if r.Paid+r.Burned != total || account.Balance != r.Paid || res.Totals.Booked.Amount != total {
		t.Errorf("paid %d, burned %d, balance %d, booked %d, want %d", r.Paid, r.Burned, account.Balance, res.Totals.Booked.Amount, total)
	}
	if again := m.do(relay, chain.KindSettle, batch.Encode()); again.Paid != 0 {
		t.Errorf("paid again: %d", again.Paid)
	}
	var lanes []channel.LaneTotal
	for _, e := range batch.Entries {
		l, _ := channel.LaneAt(m.view, e.Index, e.Lane)
		lanes = append(lanes, channel.LaneTotal{Index: e.Index, Lane: e.Lane, Redeemed: l.Redeemed})
	}
	s.main(redeemed(accounts[0].home(), lanes...))
	if left := service.Outstanding(s.view, service.Spot{}, 10, 10).List; len(left) != 0 {
		t.Errorf("outstanding after the main chain paid: %v", claims(left))
	}
}

// TestLargestBatchFits: MaxBatchEntries entries of the longest form are one
// transaction of the main chain.
func TestLargestBatchFits(t *testing.T) {
	t.Parallel()
	b := channel.Batch{Entries: make([]channel.Entry, service.MaxBatchEntries)}
	for i := range b.Entries {
		b.Entries[i] = channel.Entry{Index: 1<<63 + uint64(i), Claim: channel.ClaimVoucher, UsageRoot: ledger.Hash{1}, Cumulative: 1}
	}
	payload := b.Encode()
	if _, err := channel.DecodeBatch(payload); err != nil || len(payload)+chain.TxOverhead > chain.MaxTxSize {
		t.Errorf("%d bytes and %d around it, at most %d; %v", len(payload), chain.TxOverhead, chain.MaxTxSize, err)
	}
}

// outstandingOf returns the settlements that are owed to one payee.
func outstandingOf(v chain.View, payee ledger.Address) []service.Settlement {
	const all = 1_000
	list := service.Outstanding(v, service.Spot{Payee: payee}, all, all).List
	return slices.DeleteFunc(list, func(s service.Settlement) bool { return s.Batch.Payee != payee })
}
