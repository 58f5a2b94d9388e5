package settlement_test

import (
	"bytes"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/zone"
)

// newTaxed returns a chain of three accounts with a service that burns nothing by itself, and
// its owner, who has no account.
func newTaxed(t *testing.T) (*bench, zone.ServiceType) {
	t.Helper()
	b := newBench(t, smallParams(), 3)
	b.params.BurnBps = 0
	s := feeService(keyOf("owner", 0).Address(0), zone.Fees{ShareBps: 1_000}, zone.Fees{ShareBps: 2_000}, zone.Fees{})
	b.view.apply(registering(&s))
	return b, s
}

func (b *bench) openFor(payer int, service uint32, deposit uint64) channel.Ref {
	return b.open(payer, 2, deposit, func(p *channel.OpenParams) { p.Service = service })
}

func (b *bench) wealth(a ledger.Address) ledger.Amount {
	account, _, _ := settlement.AccountByAddress(b.view, a)
	return account.Balance
}

// TestFeesAtTheOpening: what is taken of a channel is what was registered when it was opened.
// Who owns the service when it is settled gets it, with or without an account.
func TestFeesAtTheOpening(t *testing.T) {
	t.Parallel()
	b, s := newTaxed(t)
	first := s.Owner
	here, there := b.openFor(0, s.ID, 10_000), b.openFor(1, s.ID, 10_000)
	plain := b.openFor(0, 7, 10_000)
	s.Version, s.Fees.ShareBps, s.Zones[0].Policy.Fees.ShareBps = 2, 5_000, 5_000
	b.view.apply(registering(&s))
	dear := b.openFor(0, s.ID, 10_000)

	r := b.ok(1, b.batch(2, b.voucher(here, 0, 1_000), b.voucher(there, 0, 1_000), b.voucher(plain, 0, 1_000), b.voucher(dear, 0, 1_000)))
	want := []channel.Payout{
		{Burned: 200, OwnerFee: 80, Paid: 720}, {OwnerFee: 100, Paid: 900}, {Paid: 1_000}, {Burned: 500, OwnerFee: 250, Paid: 250},
	}
	for i, e := range r.Entries {
		if got := (channel.Payout{Paid: e.Paid, Burned: e.Burned, OwnerFee: e.OwnerFee}); got != want[i] || e.Redeemed != 1_000 {
			t.Errorf("entry %d: %+v, want %+v", i, e, want[i])
		}
	}
	if r.Paid != 2_870 || r.Burned != 700 || r.OwnerFee != 430 || b.wealth(first) != 430 {
		t.Errorf("receipt %+v, and the owner has %d", r, b.wealth(first))
	}

	// A top-up changes nothing, and the income goes with the service.
	s.Version, s.Owner = 3, keyOf("buyer", 0).Address(1)
	b.view.apply(registering(&s))
	b.ok(0, &channel.TopUp{Channel: here, NewTotal: 20_000})
	r = b.ok(1, b.batch(2, b.voucher(here, 0, 2_000)))
	if r.OwnerFee != 80 || b.wealth(first) != 430 || b.wealth(s.Owner) != 80 {
		t.Errorf("receipt %+v, the owners have %d and %d", r, b.wealth(first), b.wealth(s.Owner))
	}

	// A cooperative close pays on the same terms, and what it rolls over to has those of now.
	next := b.openParams(2, 10_000)
	next.Service = s.ID
	res := b.block(b.signed(1, b.coopClose(0, 2, here, 3_000, &next)))
	r = res.Receipts[0]
	if r.Paid != 720 || r.Burned != 200 || r.OwnerFee != 80 || b.wealth(s.Owner) != 160 {
		t.Errorf("receipt %+v, the owner has %d", r, b.wealth(s.Owner))
	}
	if len(res.Income) != 1 || res.Income[0] != (settlement.Income{Service: s.ID, Owner: s.Owner, Amount: 80}) {
		t.Errorf("income %+v", res.Income)
	}
	r = b.ok(1, b.batch(2, b.voucher(b.ref(r.FirstChannel), 0, 1_000)))
	if r.Paid != 250 || r.OwnerFee != 250 {
		t.Errorf("receipt %+v", r)
	}
	if _, err := settlement.Audit(b.view); err != nil {
		t.Error(err)
	}
}

// TestManyEntriesOneCredit: a batch of 1,000 entries is one credit to the owner and one
// change of its account.
func TestManyEntriesOneCredit(t *testing.T) {
	t.Parallel()
	b, s := newTaxed(t)
	s.Fees.Entry = 1
	b.view.apply(registering(&s))
	batch := b.batch(2)
	for range 16 {
		ref := b.openFor(0, s.ID, 10_000)
		for lane := range uint8(channel.Lanes) {
			batch.Entries = append(batch.Entries, channel.Entry{Index: ref.Index, Lane: lane, Claim: channel.ClaimVoucher, Cumulative: 100})
		}
	}
	b.height++
	changes, res, err := settlement.ApplyBlock(b.view, b.params, b.domain, settlement.Block{Height: b.height, Txs: []settlement.BlockTx{b.checked(1, batch)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := ledger.Amount(len(batch.Entries)) // each of 100 drops: 20 are burned, 8 and 1 are for the owner
	if r := &res.Receipts[0]; r.Burned != 20*n || r.OwnerFee != 9*n || r.Paid != 71*n {
		t.Errorf("receipt: paid %d, burned %d, to the owner %d", r.Paid, r.Burned, r.OwnerFee)
	}
	if len(res.Income) != 1 || res.Income[0].Amount != 9*n {
		t.Errorf("income %+v", res.Income)
	}
	rows := 0
	for _, c := range changes {
		if a, err := settlement.DecodeAccount(c.Value); err == nil && bytes.Equal(a.Address[:], s.Owner[:]) {
			rows++
		}
	}
	if rows != 1 {
		t.Errorf("%d changes of the owner's account", rows)
	}
}

// TestNobodyEatsUpEarnings: whoever has old vouchers may submit them one by one, and were the
// owner the payer, it would get back what it pays by fees of entries.
func TestNobodyEatsUpEarnings(t *testing.T) {
	t.Parallel()
	b, s := newTaxed(t)
	s.Owner, s.Fees = b.addrs[0], zone.Fees{Entry: zone.MaxEntryFee}
	s.Zones[0].Policy.Fees = zone.Fees{Entry: zone.MaxEntryFee}
	b.view.apply(registering(&s))
	ref, was := b.openFor(0, s.ID, 10_000), b.balance(2)
	for i := range uint64(40) {
		b.ok(0, b.batch(2, b.voucher(ref, 0, 250*(i+1))))
	}
	if got := b.balance(2) - was; got != 9_840 {
		t.Errorf("of 10,000 drops the payee got %d", got)
	}
}

// TestAbortedBatchEarnsNothing: an atomic batch that fails leaves no income.
func TestAbortedBatchEarnsNothing(t *testing.T) {
	t.Parallel()
	b, s := newTaxed(t)
	good, poor := b.openFor(0, s.ID, 10_000), b.openFor(0, s.ID, 100)
	batch := b.batch(2, b.voucher(good, 0, 1_000), b.voucher(poor, 0, 1_000))
	batch.Mode = channel.Atomic
	res := b.block(b.signed(1, batch))
	if r := &res.Receipts[0]; r.Code != chain.CodeBatchAborted || r.OwnerFee != 0 || len(res.Income) != 0 || b.wealth(s.Owner) != 0 {
		t.Errorf("receipt %+v, income %+v", r, res.Income)
	}
}
