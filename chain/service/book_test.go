package service_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
)

// one is a shard that has all of zone 0, and a channel there of 1,000 drops whose
// payee is of payeeZone.
func one(tb testing.TB, payeeZone uint8) (*shard, *account) {
	tb.Helper()
	s := newShard(tb, smallParams(), wholeZone(0))
	a := newAccount(5, keyOf("payer", 0), keyOf("payee", 0), 0, payeeZone, 1_000)
	s.main(a.opened())
	return s, a
}

func TestBookAtHome(t *testing.T) {
	t.Parallel()
	s, a := one(t, 0)
	res := s.block(service.Block{Txs: []service.BlockTx{booking(t, item{a, a.voucher(0, 100, 50)}, item{a, a.voucher(63, 10, 90)})}})
	r := res.Receipts[0]
	want := []service.EntryResult{
		{Bucket: a.home().Bucket, Index: 5, Seq: 1, Booked: service.Sums{Amount: 100, Units: 50, Work: 50}, Total: service.Sums{Amount: 100, Units: 50, Work: 50}},
		{Bucket: a.home().Bucket, Index: 5, Lane: 63, Seq: 1, Booked: service.Sums{Amount: 10, Units: 90, Work: 20}, Total: service.Sums{Amount: 110, Units: 140, Work: 70}},
	}
	if diff := cmp.Diff(want, r.Entries); diff != "" || r.Code != chain.CodeOK || r.Payee != a.payeeAddress() {
		t.Errorf("receipt %s: %s", r.Code, diff)
	}
	earned := service.EarningsOf(s.view, a.payeeAddress())
	if want := (service.Earnings{Total: r.Booked, Epochs: []service.Earned{{Epoch: 0, Sums: r.Booked}}}); !cmp.Equal(want, earned) {
		t.Errorf("earnings %+v, want %+v", earned, want)
	}
	if len(res.Messages) != 0 || len(res.Bookings) != 2 {
		t.Errorf("%d messages and %d bookings, want 0 and 2", len(res.Messages), len(res.Bookings))
	}
	c, _ := service.ChannelAt(s.view, a.home().Bucket, 5)
	if l := service.LaneOf(s.view, &c, 5, 63); l.Cumulative != 10 || l.Signature != a.voucher(63, 10, 90).Signature || l.Seq != 1 {
		t.Errorf("lane 63 has %+v", l)
	}
}

// TestBookEntryCodes: one sound entry, each row breaks one thing; the state stays
// what it was but for the block's results.
func TestBookEntryCodes(t *testing.T) {
	t.Parallel()
	s, a := one(t, 1)
	booked := booking(t, item{a, a.voucher(0, 400, 40)}, item{a, a.voucher(1, 500, 40)})
	s.block(service.Block{Txs: []service.BlockTx{booked}, Epoch: &service.EpochStart{Epoch: 1, Sigma: 999}})
	other := newAccount(5, a.payer, keyOf("payee", 1), 0, 1, 0)
	unknown := newAccount(6, a.payer, a.payee, 0, 1, 1_000)
	elsewhere := newAccount(5, a.payer, a.payee, 3, 1, 1_000)
	forged := a.voucher(0, 401, 40)
	forged.Signature[3] ^= 1
	forMain := a.voucher(0, 401, 40)
	forMain.Signature = a.voucherKey.Sign(forMain.Signed(testDomain, a.id)) // of the wrong chain
	for _, row := range []struct {
		name  string
		items []item
		sigma uint64
		want  []chain.Code
	}{
		{"sound", []item{{a, a.voucher(0, 401, 40)}}, 0, []chain.Code{chain.CodeOK}},
		{"all the deposit", []item{{a, a.voucher(0, 500, 40)}}, 0, []chain.Code{chain.CodeOK}},
		{"a repeat", []item{{a, a.voucher(0, 400, 40)}}, 0, []chain.Code{chain.CodeStale}},
		{"less than before", []item{{a, a.voucher(0, 399, 40)}}, 0, []chain.Code{chain.CodeStale}},
		{"more than the deposit with the other lane", []item{{a, a.voucher(0, 501, 40)}}, 0, []chain.Code{chain.CodeAboveDeposit}},
		{"a third lane above the deposit", []item{{a, a.voucher(2, 101, 40)}}, 0, []chain.Code{chain.CodeAboveDeposit}},
		{"fewer units", []item{{a, a.voucher(0, 401, 39)}}, 0, []chain.Code{chain.CodeUnitsFell}},
		{"expired", []item{{a, a.voucher(0, 401, 40)}}, 1_000, []chain.Code{chain.CodeChannelExpired}},
		{"forged", []item{{a, forged}}, 0, []chain.Code{chain.CodeBadSignature}},
		{"signed for the service and not for the main chain", []item{{a, forMain}}, 0, []chain.Code{chain.CodeBadSignature}},
		{"another payee", []item{{other, a.voucher(0, 401, 40)}}, 0, []chain.Code{chain.CodeNotPayee}},
		{"unknown channel", []item{{unknown, unknown.voucher(0, 1, 1)}}, 0, []chain.Code{chain.CodeChannelUnknown}},
		{"another zone", []item{{elsewhere, a.voucher(0, 401, 40)}}, 0, []chain.Code{chain.CodeWrongShard}},
		{
			"one good of three, too little for them",
			[]item{{a, a.voucher(0, 402, 40)}, {a, a.voucher(1, 500, 40)}, {unknown, unknown.voucher(0, 1, 1)}},
			0,
			[]chain.Code{chain.CodeOK, chain.CodeStale, chain.CodeChannelUnknown},
		},
		{
			"one good of three",
			[]item{{a, a.voucher(0, 403, 40)}, {a, a.voucher(1, 500, 40)}, {unknown, unknown.voucher(0, 1, 1)}},
			0,
			[]chain.Code{chain.CodeOK, chain.CodeStale, chain.CodeChannelUnknown},
		},
	} {
		b := service.Block{Txs: []service.BlockTx{booking(t, row.items...)}}
		if row.sigma != 0 {
			b.Epoch = &service.EpochStart{Epoch: 2, Sigma: row.sigma}
		}
		changes, res := s.try(b)
		applied := false
		for i, e := range res.Receipts[0].Entries {
			if e.Code != row.want[i] {
				t.Errorf("%s: entry %d: %s, want %s", row.name, i, e.Code, row.want[i])
			}
			applied = applied || e.Applied()
		}
		if !applied && row.sigma == 0 && (len(changes) != 1 || changes[0].Key[0] != 'r') {
			t.Errorf("%s: refused, and %d keys changed", row.name, len(changes))
		}
		if applied != (len(res.Bookings) > 0) || applied != (len(res.Messages) > 0) {
			t.Errorf("%s: applied %t, %d bookings, %d messages", row.name, applied, len(res.Bookings), len(res.Messages))
		}
		_, _, err := service.Admit(s.view, s.params, testDomain, s.height+1, &b.Txs[0].Tx)
		want := row.want[0]
		if res.Receipts[0].Booked.Amount < s.params.LeastAdvance(len(row.items)) && applied {
			want = chain.CodeAdvanceTooSmall
			if rule := new(chain.RuleError); !errors.As(err, &rule) || !slices.Equal(rule.Positions, []int{1, 2}) {
				t.Errorf("%s: admission says %v, and names %v", row.name, err, rule.Positions)
			}
		}
		if code, _ := chain.CodeOf(err); row.sigma == 0 && want != chain.CodeBadSignature && code != want {
			t.Errorf("%s: admission says %s, want %s", row.name, code, want)
		}
	}
}

func TestMinAdvance(t *testing.T) {
	t.Parallel()
	s, a := one(t, 0)
	s.params.MinAdvance = 10
	for _, row := range []struct {
		cumulative ledger.Amount
		want       chain.Code
	}{{9, chain.CodeAdvanceTooSmall}, {10, chain.CodeOK}, {19, chain.CodeAdvanceTooSmall}, {20, chain.CodeOK}} {
		res := s.block(service.Block{Txs: []service.BlockTx{booking(t, item{a, a.voucher(0, row.cumulative, 1)})}})
		if got := res.Receipts[0].Entries[0].Code; got != row.want {
			t.Errorf("cumulative %d: %s, want %s", row.cumulative, got, row.want)
		}
	}
}

// TestTransactionCodes: what refuses a whole transaction.
func TestTransactionCodes(t *testing.T) {
	t.Parallel()
	s, a := one(t, 1)
	s.height = 20
	good := func() *service.Usage { return usageOf(item{a, a.voucher(0, 10, 1)}, item{a, a.voucher(1, 10, 1)}) }
	sign := func(u *service.Usage, f chain.TxFields) []byte {
		f.Kind, f.Zone, f.Payload = chain.KindBookUsage, 1, u.Encode()
		return chain.SignTx(testDomain, a.payee, f)
	}
	spoiled := func(spoil func(*service.Usage)) []byte {
		u := good()
		spoil(u)
		return sign(u, chain.TxFields{})
	}
	stranger := keyOf("stranger", 0)
	withReceipt := func(spoil func(*service.PayeeReceipt)) []byte {
		bt := receipted(t, item{a, a.voucher(0, 10, 1)})
		u, err := service.DecodeUsage(bt.Tx.Payload)
		if err != nil {
			t.Fatal(err)
		}
		spoil(u.Receipt)
		return rawTx(&u, stranger, 9, 1)
	}
	badSig := sign(good(), chain.TxFields{})
	badSig[len(badSig)-5] ^= 1
	for _, row := range []struct {
		name string
		raw  []byte
		want chain.Code
	}{
		{"sound", sign(good(), chain.TxFields{}), chain.CodeOK},
		{"last height", sign(good(), chain.TxFields{ValidUntil: 21}), chain.CodeOK},
		{"too late", sign(good(), chain.TxFields{ValidUntil: 20}), chain.CodeExpired},
		{"a fee", sign(good(), chain.TxFields{MaxFee: 1}), chain.CodeInvalidValue},
		{"bad signature", badSig, chain.CodeBadSignature},
		{"another service", spoiled(func(u *service.Usage) { u.Service++ }), chain.CodeWrongService},
		{"a stranger without receipt", rawTx(good(), stranger, 9, 1), chain.CodeNotPayee},
		{"receipted", withReceipt(func(*service.PayeeReceipt) {}), chain.CodeOK},
		{"receipt of another time", withReceipt(func(r *service.PayeeReceipt) { r.ReceivedAt++ }), chain.CodeBadSignature},
		{"receipt forged", withReceipt(func(r *service.PayeeReceipt) { r.Signature[0] ^= 1 }), chain.CodeBadSignature},
		{"receipt by the stranger", withReceipt(func(r *service.PayeeReceipt) { r.PayeeKey = stranger.Public() }), chain.CodeNotPayee},
		{"atomic", spoiled(func(u *service.Usage) { u.Batch.Mode = channel.Atomic }), chain.CodeMalformed},
		{"closes", spoiled(func(u *service.Usage) { u.Batch.Entries[1].Close = true }), chain.CodeMalformed},
		{"two buckets of one channel", spoiled(func(u *service.Usage) { u.Buckets[1]++ }), chain.CodeMalformed},
		{"a bucket too few", spoiled(func(u *service.Usage) { u.Buckets = u.Buckets[:1] }), chain.CodeMalformed},
		{"a bucket too many", spoiled(func(u *service.Usage) { u.Buckets = append(u.Buckets, 0) }), chain.CodeMalformed},
		{"repeated entry", spoiled(func(u *service.Usage) { u.Batch.Entries[1].Lane = 0 }), chain.CodeBadOrder},
		{"hash lane", spoiled(func(u *service.Usage) {
			u.Batch.Entries[0].Claim, u.Batch.Entries[0].Step, u.Batch.Entries[0].Commit.Steps = channel.ClaimHash, 1, 1
		}), chain.CodeMalformed},
		{"another kind", chain.SignTx(testDomain, a.payee, chain.TxFields{Kind: chain.KindTransfer, Zone: 1, Payload: good().Encode()}), chain.CodeUnknownKind},
		{"for the main chain", chain.SignTx(mainDomain, a.payee, chain.TxFields{Kind: chain.KindBookUsage, Zone: 1, Payload: good().Encode()}), chain.CodeWrongChain},
	} {
		bt := blockTx(t, row.raw)
		changes, res := s.try(service.Block{Txs: []service.BlockTx{bt}})
		if got := res.Receipts[0].Code; got != row.want {
			t.Errorf("%s: %s (%s), want %s", row.name, got, res.Receipts[0].Detail, row.want)
		}
		if row.want != chain.CodeOK && (len(changes) != 1 || len(res.Bookings) != 0 || len(res.Receipts[0].Entries) != 0) {
			t.Errorf("%s: refused, and %d keys changed, %d bookings", row.name, len(changes), len(res.Bookings))
		}
	}
}

// TestReceiptCoversEntries: a receipt for some entries does not agree to others.
func TestReceiptCoversEntries(t *testing.T) {
	t.Parallel()
	s, a := one(t, 0)
	bt := receipted(t, item{a, a.voucher(0, 10, 1)})
	u, err := service.DecodeUsage(bt.Tx.Payload)
	if err != nil {
		t.Fatal(err)
	}
	u.Batch.Entries[0] = a.voucher(0, 11, 1)
	_, res := s.try(service.Block{Txs: []service.BlockTx{bt, blockTx(t, rawTx(&u, keyOf("stranger", 0), 9, 2))}})
	if a, b := res.Receipts[0].Code, res.Receipts[1].Code; a != chain.CodeOK || b != chain.CodeBadSignature {
		t.Errorf("receipt %s, with other entries %s", a, b)
	}
}

func TestWrongShardNamesTheHome(t *testing.T) {
	t.Parallel()
	s := newShard(t, smallParams(), service.Shard{Chain: 9, Service: testService, Zone: 2, First: 0, Last: 99})
	a := newAccount(1, keyIn("payer", 0, 100, 255), keyOf("payee", 0), 2, 0, 10)
	bt := booking(t, item{a, a.voucher(0, 1, 1)})
	_, _, err := service.Admit(s.view, s.params, testDomain, 1, &bt.Tx)
	home, ok := service.HomeIn(err)
	if !errors.Is(err, chain.CodeWrongShard.Err()) || !ok || home != a.home() {
		t.Errorf("%v names %v, want %v", err, home, a.home())
	}
}

// TestCheckedChangesNothing: a block gives the same with signatures verified in it
// and before it, and Claims names those it needs.
func TestCheckedChangesNothing(t *testing.T) {
	t.Parallel()
	s, a := one(t, 1)
	unknown := newAccount(6, a.payer, a.payee, 0, 1, 1_000)
	first := receipted(t, item{a, a.voucher(0, 10, 1)}, item{a, a.voucher(3, 10, 1)})
	needs, complete, err := service.Claims(s.view, testDomain, &first.Tx)
	if err != nil || !complete || len(needs) != 4 || needs[1].Entry != service.SignedReceipt {
		t.Fatalf("%d needs, complete %t, %v", len(needs), complete, err)
	}
	for _, n := range needs {
		if !ledger.Verify(n.Claim.Key, n.Claim.Message, n.Claim.Signature) {
			t.Errorf("need %d does not hold", n.Entry)
		}
	}
	second := booking(t, item{unknown, unknown.voucher(0, 1, 1)})
	if _, complete, _ := service.Claims(s.view, testDomain, &second.Tx); complete {
		t.Error("complete, with an unknown channel")
	}
	plain, res := s.try(service.Block{Txs: []service.BlockTx{first}})
	first.Checked = true
	checked, again := s.try(service.Block{Txs: []service.BlockTx{first}})
	if diff := cmp.Diff(plain, checked); diff != "" || res.ResultsRoot != again.ResultsRoot {
		t.Errorf("checked gives something else: %s", diff)
	}
	s.view.apply(plain)
	if needs, complete, _ := service.Claims(s.view, testDomain, &first.Tx); len(needs) != 2 || !complete {
		t.Errorf("stale entries need %d signatures, complete %t", len(needs)-2, complete)
	}
}
