package settlement_test

import (
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// entriesOf lists whose signatures the transaction needs.
func entriesOf(t *testing.T, b *bench, tx *settlement.BlockTx) (entries []int, complete bool) {
	t.Helper()
	needs, complete, err := settlement.Claims(b.view, b.domain, &tx.Tx)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range needs {
		entries = append(entries, n.Entry)
	}
	return entries, complete
}

// TestClaimsNeededOnly: what is stale, gone, or another's costs no signature.
func TestClaimsNeededOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 3)
	one, gone, others := b.open(0, 1, 1_000), b.open(0, 1, 1_000), b.open(0, 2, 1_000)
	b.ok(1, b.batch(1, b.voucher(one, 0, 100), b.voucher(one, 3, 50)))
	lost := b.voucher(gone, 0, 10)
	b.ok(1, b.batch(1, channel.Entry{Index: gone.Index, Close: true}))
	stale := b.voucher(one, 3, 50)
	stale.Signature = ledger.Signature{}
	future := channel.Entry{Index: 3, Claim: channel.ClaimVoucher, Cumulative: 1}
	authorised := b.batch(1, b.voucher(one, 0, 101), closing(b.voucher(one, 3, 51)))
	authorised.Auth = &channel.Authority{PayeeKey: b.keys[1].Public(), ValidUntil: 1_000}
	for _, row := range []struct {
		name     string
		payload  encoder
		want     []int
		complete bool
	}{
		{"fresh", b.batch(1, b.voucher(one, 0, 101)), []int{channel.SignedTx, 0}, true},
		{"as much as was redeemed", b.batch(1, b.voucher(one, 0, 100), stale), []int{channel.SignedTx}, true},
		{"less, and more on another lane", b.batch(1, b.voucher(one, 0, 99), b.voucher(one, 3, 51)), []int{channel.SignedTx, 1}, true},
		{"gone", b.batch(1, lost), []int{channel.SignedTx}, true},
		{"of another payee", b.batch(1, b.voucher(others, 0, 10)), []int{channel.SignedTx}, true},
		{"to come", b.batch(1, b.voucher(one, 1, 1), future), []int{channel.SignedTx, 0}, false},
		{"a close", b.batch(1, channel.Entry{Index: one.Index, Close: true}), []int{channel.SignedTx}, true},
		{"authorised", authorised, []int{channel.SignedTx, 0, 1, channel.SignedAuthority}, true},
		{"agreed", b.coopClose(0, 1, one, 200, nil), []int{channel.SignedTx, channel.SignedPayer, channel.SignedPayee}, true},
		{"transfer", payTo(b.addrs[0], 1), []int{channel.SignedTx}, true},
	} {
		tx := b.checked(1, row.payload)
		b.nonces[1]--
		if got, complete := entriesOf(t, b, &tx); !slices.Equal(got, row.want) || complete != row.complete {
			t.Errorf("%s: signatures of %v, complete %v, want %v, %v", row.name, got, complete, row.want, row.complete)
		}
	}
	// In a block as well: the signature of a stale entry is not even looked at.
	verified := 0
	count := func(claims []ledger.Claim) []int {
		verified += len(claims)
		return verifySingly(claims)
	}
	block := settlement.Block{Height: b.height + 1, Txs: []settlement.BlockTx{b.signed(1, b.batch(1, stale))}}
	_, res, err := settlement.ApplyBlock(b.view, b.params, b.domain, block, count)
	if err != nil || verified != 1 || res.Receipts[0].Entries[0].Code != chain.CodeStale {
		t.Errorf("%d signatures verified, %+v, %v", verified, res.Receipts[0], err)
	}
}

// TestOneBadOfMany: of a large batch with one bad signature all the others pay,
// whether verified singly or in batches, and the claim names its entry.
func TestOneBadOfMany(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 2)
	const lanesEach, channels = 64, 8
	var entries []channel.Entry
	for range channels {
		ref := b.open(0, 1, 10_000)
		for lane := range uint8(lanesEach) {
			entries = append(entries, b.voucher(ref, lane, 5))
		}
	}
	const bad = 333
	entries[bad].Signature[40] ^= 8
	tx := b.signed(1, b.batch(1, entries...))
	for i, e := range b.block(tx).Receipts[0].Entries {
		if want := i == bad; (e.Code == chain.CodeBadSignature) != want || e.Applied() == want {
			t.Fatalf("entry %d: %+v", i, e)
		}
	}
	b.ok(1, b.batch(1, b.voucher(b.ref(bad/lanesEach), bad%lanesEach, 5)))
	res := b.block(b.checked(1, func() encoder {
		closeAll := b.batch(1)
		for i := range uint64(channels) {
			closeAll.Entries = append(closeAll.Entries, channel.Entry{Index: i, Close: true})
		}
		return closeAll
	}()))
	for _, e := range res.Events {
		if e.Kind != settlement.EventPayeeClosed || e.Redeemed != lanesEach*5 {
			t.Errorf("%+v", e)
		}
	}
	for key := range b.view.Range([]byte{'L'}) {
		t.Errorf("lane row %x outlives its channel", key)
	}
}

// TestExactAmounts: the last drop can be spent, and not one more.
func TestExactAmounts(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 2)
	ref := b.open(0, 1, 1_000)
	all := b.balance(0)
	next := func(deposit uint64) *channel.OpenParams {
		p := b.openParams(1, deposit)
		return &p
	}
	rent, fee := uint64(b.params.Rent), uint64(b.params.TxFee)
	for _, row := range []struct {
		name    string
		by      int
		payload func(extra uint64) encoder
	}{
		{"transfer", 0, func(extra uint64) encoder { return payTo(b.addrs[1], all-fee+extra) }},
		{"open", 0, func(extra uint64) encoder {
			return &channel.Open{Channels: []channel.OpenParams{*next(all - fee - uint64(b.params.OpenFee) - rent + extra)}}
		}},
		{"top-up", 0, func(extra uint64) encoder {
			return &channel.TopUp{Channel: ref, NewTotal: ledger.Amount(1_000 + all - fee + extra)}
		}},
		{"roll-over", 1, func(extra uint64) encoder { return b.coopClose(0, 1, ref, 400, next(all+600+extra)) }},
	} {
		for extra, want := range []chain.Code{chain.CodeOK, chain.CodeInsufficientBalance} {
			f := b.fork()
			r := f.run(row.by, row.payload(uint64(extra)))
			if r.Code != want || want == chain.CodeOK && f.balance(0) != 0 {
				t.Errorf("%s with %d too much: %s (%s), %d drops left", row.name, extra, r.Code, r.Detail, f.balance(0))
			}
		}
	}
	// A fee that cannot be paid leaves no trace.
	b.ok(0, payTo(b.addrs[1], all-fee-2))
	if r := b.run(0, payTo(b.addrs[1], 1)); r.Code != chain.CodeInsufficientBalance || r.Fee != 0 || b.balance(0) != 2 {
		t.Errorf("%s, fee %d, %d drops left", r.Code, r.Fee, b.balance(0))
	}
}
