package settlement_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

func payTo(a ledger.Address, amount uint64) *settlement.Transfer {
	return &settlement.Transfer{Payments: []settlement.Payment{{To: a, Amount: ledger.Amount(amount)}}}
}

func TestNonceWindow(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 2)
	send := func(nonce uint64) settlement.Receipt {
		t.Helper()
		b.nonces[0] = nonce
		return b.run(0, payTo(b.addrs[1], 1))
	}
	for _, row := range []struct {
		nonce uint64
		code  chain.Code
		floor uint64
	}{
		{256, chain.CodeNonceTooHigh, 0},
		{255, chain.CodeOK, 0},
		{255, chain.CodeNonceUsed, 0},
		{1, chain.CodeOK, 0},
		{0, chain.CodeOK, 2},
		{0, chain.CodeNonceUsed, 2},
		{1, chain.CodeNonceUsed, 2},
		{257, chain.CodeOK, 2},
		{258, chain.CodeNonceTooHigh, 2},
		{math.MaxUint64, chain.CodeNonceTooHigh, 2},
		{2, chain.CodeOK, 3},
		{258, chain.CodeOK, 3},
	} {
		r := send(row.nonce)
		a, _, _ := settlement.AccountByAddress(b.view, b.addrs[0])
		if r.Code != row.code || a.Nonce != row.floor {
			t.Fatalf("nonce %d: %s with floor %d, want %s and %d", row.nonce, r.Code, a.Nonce, row.code, row.floor)
		}
		if r.Code != chain.CodeOK && r.Fee != 0 {
			t.Errorf("nonce %d: a fee of %d for nothing", row.nonce, r.Fee)
		}
	}
	// Any order of a whole window ends with an empty one.
	b = newBench(t, smallParams(), 2)
	var txs []settlement.BlockTx
	for _, n := range rand.New(rand.NewPCG(1, 2)).Perm(chain.NonceWindow) {
		b.nonces[0] = uint64(n)
		txs = append(txs, b.checked(0, payTo(b.addrs[1], 1)))
	}
	for i, r := range b.block(txs...).Receipts {
		if r.Code != chain.CodeOK {
			t.Fatalf("nonce %d: %s", txs[i].Tx.Nonce, r.Code)
		}
	}
	if a, _, _ := settlement.AccountByAddress(b.view, b.addrs[0]); a.Nonce != 256 || a.Window != [4]uint64{} {
		t.Errorf("after a window in any order: %+v", a)
	}
	last := settlement.Account{Nonce: math.MaxUint64 - 2}
	if err := last.CheckNonce(math.MaxUint64 - 1); err != nil {
		t.Errorf("the last nonce but one: %v", err)
	}
	if err := last.CheckNonce(math.MaxUint64); !errors.Is(err, chain.CodeNonceTooHigh.Err()) {
		t.Errorf("a nonce after which there is none: %v", err)
	}
}

// TestFees: what each kind costs, that it is charged once, and that max_fee is
// exact.
func TestFees(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.TxFee, p.PaymentFee, p.OpenFee, p.EntryFee, p.StepFee, p.MinDeposit = 1_000, 7, 100, 10, 1, 1_000
	b := newBench(t, p, 3)
	ref := b.open(0, 1, 10_000)
	next := b.openParams(1, 1_000)
	hash := channel.Entry{
		Index: ref.Index, Lane: 2, Claim: channel.ClaimHash, Step: 17,
		Commit: channel.HashCommit{UnitPrice: 1, Steps: 20},
	}
	for _, row := range []struct {
		name    string
		by      int
		payload encoder
		fee     ledger.Amount
	}{
		{"transfer", 2, &settlement.Transfer{Payments: []settlement.Payment{{b.addrs[0], 1}, {b.addrs[1], 1}}}, 1_007},
		{"open three", 0, &channel.Open{Channels: []channel.OpenParams{b.openParams(1, 1_000), b.openParams(1, 1_000), b.openParams(1, 1_000)}}, 1_300},
		{"top-up", 2, &channel.TopUp{Channel: ref, NewTotal: 10_100}, 1_000},
		{"extend", 0, &channel.Extend{Channel: ref, NewExpiry: b.clock() + 55}, 1_000},
		{"settle", 2, b.batch(1, b.voucher(ref, 0, 5), b.voucher(ref, 1, 5)), 1_020},
		{"settle a hash lane", 2, b.batch(1, b.voucher(ref, 0, 6), hash), 1_022},
		{"request close", 0, &channel.RequestClose{Channel: ref}, 1_000},
		{"roll-over", 2, b.coopClose(0, 1, ref, 50, &next), 1_100},
	} {
		tx := b.checked(row.by, row.payload)
		if fee := settlement.Fee(p, &tx.Tx); fee != row.fee {
			t.Errorf("%s: the fee is %d, want %d", row.name, fee, row.fee)
		}
		tx.Tx.MaxFee = row.fee - 1
		if _, res := b.try(tx); res.Receipts[0].Code != chain.CodeFeeTooLow || res.Receipts[0].Fee != 0 {
			t.Errorf("%s: one drop short: %s, fee %d", row.name, res.Receipts[0].Code, res.Receipts[0].Fee)
		}
		tx.Tx.MaxFee = row.fee
		before := settlement.ReadTotals(b.view).Fees
		r := b.block(tx).Receipts[0]
		if after := settlement.ReadTotals(b.view).Fees; r.Code != chain.CodeOK || r.Fee != row.fee || after-before != row.fee {
			t.Errorf("%s: %s (%s), fee %d, collected %d, want %d", row.name, r.Code, r.Detail, r.Fee, after-before, row.fee)
		}
	}
	// What a rule refuses pays the least fee, whatever it would have cost.
	bad := &channel.Open{Channels: []channel.OpenParams{b.openParams(1, 1_000), b.openParams(1, 1)}}
	before := b.balance(0)
	if r := b.run(0, bad); r.Code != chain.CodeDepositTooSmall || r.Fee != p.TxFee || before-b.balance(0) != uint64(p.TxFee) {
		t.Errorf("a refused open: %s, fee %d", r.Code, r.Fee)
	}
}

// TestFeeOutOfProceeds: a payee without money settles all the same if the batch
// brings enough, and has no trace in the state if not.
func TestFeeOutOfProceeds(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		claim uint64
		mode  channel.Mode
		bad   bool
		code  chain.Code
		left  uint64
	}{
		{name: "enough", claim: 100, left: 98 - 4},
		{name: "exactly enough", claim: 4, left: 0},
		{name: "too little", claim: 3, code: chain.CodeInsufficientBalance},
		{name: "atomic", claim: 100, mode: channel.Atomic, left: 98 - 4},
		{name: "atomic and incomplete", claim: 5_000, mode: channel.Atomic, code: chain.CodeInsufficientBalance},
		{name: "a bad signature", claim: 100, bad: true, code: chain.CodeInsufficientBalance},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, smallParams(), 2)
			b.keys = append(b.keys, keyOf("poor", 0))
			b.addrs = append(b.addrs, b.keys[2].Address(0))
			b.nonces = append(b.nonces, 0)
			ref := b.open(0, 2, 1_000)
			entry := b.voucher(ref, 0, row.claim)
			if row.bad {
				entry.Signature[0] ^= 1
			}
			batch := b.batch(2, entry)
			batch.Mode = row.mode
			tx := b.signed(2, batch)
			changes, _ := b.try(tx)
			r := b.block(tx).Receipts[0]
			if r.Code != row.code || b.balance(2) != row.left {
				t.Fatalf("%s (%s), %d drops left, want %s and %d", r.Code, r.Detail, b.balance(2), row.code, row.left)
			}
			if row.code == chain.CodeOK {
				return
			}
			if r.Fee != 0 || r.Entries != nil || r.Paid != 0 {
				t.Errorf("the receipt of nothing is %+v", r)
			}
			if len(changes) != 1 || string(changes[0].Key) != string(settlement.ResultsKey()) {
				t.Errorf("%d changes, want the block's results only", len(changes))
			}
		})
	}
}

func TestAtomic(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 3)
	one, two := b.open(0, 1, 1_000), b.open(0, 1, 1_000)
	b.ok(1, b.batch(1, b.voucher(one, 1, 10)))
	gone := channel.Entry{Index: 99, Claim: channel.ClaimVoucher, Cumulative: 1}
	for _, row := range []struct {
		name    string
		entries []channel.Entry
		codes   []chain.Code // nil: all applied
	}{
		{
			"one too many",
			[]channel.Entry{b.voucher(one, 0, 100), b.voucher(one, 1, 10), closing(b.voucher(two, 0, 1_001))},
			[]chain.Code{chain.CodeBatchAborted, chain.CodeBatchAborted, chain.CodePartial},
		},
		{
			"one is gone",
			[]channel.Entry{b.voucher(one, 0, 100), gone},
			[]chain.Code{chain.CodeBatchAborted, chain.CodeChannelNotFound},
		},
		{"stale is as good as paid", []channel.Entry{b.voucher(one, 0, 100), b.voucher(one, 1, 10), closing(b.voucher(two, 0, 1_000))}, nil},
	} {
		batch := b.batch(1, row.entries...)
		batch.Mode = channel.Atomic
		before, escrow := b.balance(1), settlement.ReadTotals(b.view).Escrow
		tx := b.signed(1, batch)
		_, admitted := settlement.Admit(b.view, b.params, b.domain, b.height+1, &tx.Tx)
		res := b.block(tx)
		r := res.Receipts[0]
		if row.codes == nil {
			if r.Code != chain.CodeOK || len(res.Events) != 2 || admitted != nil {
				t.Errorf("%s: %s, %d events, Admit %v", row.name, r.Code, len(res.Events), admitted)
			}
			continue
		}
		if r.Code != chain.CodeBatchAborted || len(res.Events) != 0 || r.Paid+r.Burned != 0 ||
			before-b.balance(1) != uint64(r.Fee) || r.Fee != ledger.Amount(3+len(row.entries)) || settlement.ReadTotals(b.view).Escrow != escrow {
			t.Errorf("%s: %+v, %d events", row.name, r, len(res.Events))
		}
		for i, e := range r.Entries {
			if want := (settlement.EntryResult{Index: row.entries[i].Index, Lane: row.entries[i].Lane, Code: row.codes[i]}); e != want {
				t.Errorf("%s: entry %d is %+v, want %+v", row.name, i, e, want)
			}
		}
		var rule *chain.RuleError
		if !errors.As(admitted, &rule) || rule.Code != r.Code || !slices.Equal(rule.Positions, []int{len(row.codes) - 1}) {
			t.Errorf("%s: Admit says %+v", row.name, admitted)
		}
	}
}

// TestReplayMatrix signs each kind of message for each of five domains, channels,
// lanes and types, and presents all of them for one: only its own is accepted.
func TestReplayMatrix(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 3)
	ref := b.open(0, 1, 10_000)
	other := b.open(0, 1, 10_000)
	domains := []chain.Domain{b.domain, {Network: ledger.HashOf("other"), Chain: 1}, {Network: b.domain.Network, Chain: 2}, {Network: ledger.HashOf("other"), Chain: 2}, {}}
	message := func(typ chain.MessageType, d chain.Domain, id ledger.Hash, lane uint16) []byte {
		switch typ {
		case chain.TypeHashCommit:
			c := channel.HashCommit{ChannelID: id, Lane: lane, BaseCumulative: 500, Steps: 1}
			return c.Signed(d)
		case chain.TypeCoopClose:
			c := channel.CoopCloseTerms{ChannelID: id, Final: 500, ValidUntil: 1_000}
			return c.Signed(d)
		case chain.TypeBatchCloseAuth:
			c := channel.CloseAuth{EntriesRoot: id, ValidUntil: 1_000}
			return c.Signed(d)
		case chain.TypeTx:
			return chain.UnsignedTx(d, voucherKey().Public(), chain.TxFields{Payload: id[:]})
		default:
			v := channel.Voucher{ChannelID: id, Lane: lane, Cumulative: 500}
			return v.Signed(d)
		}
	}
	types := []chain.MessageType{chain.TypeVoucher, chain.TypeHashCommit, chain.TypeCoopClose, chain.TypeBatchCloseAuth, chain.TypeTx}
	tried := 0
	for _, typ := range types {
		for d, domain := range domains {
			for _, id := range []ledger.Hash{ref.ID, other.ID, {}} {
				for lane := range uint16(5) {
					e := channel.Entry{Index: ref.Index, Lane: 3, Claim: channel.ClaimVoucher, Cumulative: 500}
					e.Signature = voucherKey().Sign(message(typ, domain, id, lane))
					want := chain.CodeBadSignature
					if typ == chain.TypeVoucher && d == 0 && id == ref.ID && lane == 3 {
						want = chain.CodeOK
					}
					_, res := b.try(b.signed(1, b.batch(1, e)))
					b.nonces[1]--
					if got := res.Receipts[0].Entries[0].Code; got != want {
						t.Errorf("type %d, domain %d, channel %s, lane %d: %s, want %s", typ, d, id, lane, got, want)
					}
					tried++
				}
			}
		}
	}
	if tried != 5*5*3*5 {
		t.Errorf("%d combinations", tried)
	}
	for d, domain := range domains { // whole transactions, agreements and authorities
		raw := chain.SignTx(domain, b.keys[0], chain.TxFields{Kind: chain.KindTransfer, Zone: b.addrs[0].Zone(), Nonce: b.nonces[0], MaxFee: 100, Payload: payTo(b.addrs[1], 1).Encode()})
		want := []chain.Code{chain.CodeOK, chain.CodeWrongNetwork, chain.CodeWrongChain, chain.CodeWrongNetwork, chain.CodeWrongNetwork}[d]
		_, res := b.try(b.decode(raw))
		if got := res.Receipts[0].Code; got != want {
			t.Errorf("a transfer for domain %d: %s, want %s", d, got, want)
		}
		there := *b
		there.domain = domain
		_, res = b.try(b.signed(2, there.coopClose(0, 1, ref, 500, nil)))
		if got := res.Receipts[0].Code; (got == chain.CodeOK) != (d == 0) || d != 0 && got != chain.CodeBadSignature {
			t.Errorf("an agreement for domain %d: %s", d, got)
		}
		b.nonces[2]--
	}
}

// TestCorruption: one thing wrong with a transaction gives its code, the same
// from Claims or Admit as from a block that contains it all the same, and no
// effect where the transaction itself is at fault.
func TestCorruption(t *testing.T) {
	t.Parallel()
	base := newBench(t, smallParams(), 3)
	ref := base.open(0, 1, 1_000)
	good := func(b *bench) *channel.Batch { return b.batch(1, b.voucher(ref, 0, 10), b.voucher(ref, 1, 10)) }
	entries := func(f func(e []channel.Entry)) func(*bench) chain.TxFields {
		return func(b *bench) chain.TxFields {
			batch := good(b)
			f(batch.Entries)
			return b.fields(1, batch)
		}
	}
	fields := func(f func(*chain.TxFields)) func(*bench) chain.TxFields {
		return func(b *bench) chain.TxFields {
			x := b.fields(0, payTo(b.addrs[1], 1))
			f(&x)
			return x
		}
	}
	payload := func(kind chain.Kind, payload []byte) func(*bench) chain.TxFields {
		return fields(func(x *chain.TxFields) { x.Kind, x.Payload = kind, payload })
	}
	cut := func(kind chain.Kind, by int, p encoder) (string, func(*bench) chain.TxFields, chain.Code) {
		return fmt.Sprint(kind, " cut short"), func(b *bench) chain.TxFields {
			x := b.fields(by, p)
			x.Payload = x.Payload[:len(x.Payload)-1]
			return x
		}, chain.CodeMalformed
	}
	type row struct {
		name string
		make func(*bench) chain.TxFields
		code chain.Code
	}
	next := base.openParams(1, 500)
	zeroKey := base.openParams(1, 500)
	zeroKey.VoucherKey = ledger.PublicKey{}
	rows := []row{
		{"kind 0", payload(0, nil), chain.CodeUnknownKind},
		{"kind 8", payload(8, []byte{1}), chain.CodeUnknownKind},
		{"no payments", payload(chain.KindTransfer, []byte{0, 0}), chain.CodeTooLarge},
		{"too many payments", payload(chain.KindTransfer, []byte{0xff, 0xff}), chain.CodeTooLarge},
		{"payment of nothing", payload(chain.KindTransfer, payTo(base.addrs[1], 0).Encode()), chain.CodeInvalidValue},
		{"payment to nobody", payload(chain.KindTransfer, payTo(ledger.Address{}, 1).Encode()), chain.CodeInvalidValue},
		{"payment beyond all amounts", payload(chain.KindTransfer, payTo(base.addrs[1], 1<<63).Encode()), chain.CodeAmountOverflow},
		{"no channels", payload(chain.KindOpenChannels, []byte{0, 0}), chain.CodeTooLarge},
		{"too many channels", payload(chain.KindOpenChannels, []byte{4, 1}), chain.CodeTooLarge},
		{"voucher key of small order", func(b *bench) chain.TxFields {
			return b.fields(0, &channel.Open{Channels: []channel.OpenParams{next, zeroKey}})
		}, chain.CodeBadKey},
		{"roll-over key of small order", func(b *bench) chain.TxFields { return b.fields(2, b.coopClose(0, 1, ref, 10, &zeroKey)) }, chain.CodeBadKey},
		{"batch of nothing", func(b *bench) chain.TxFields { return b.fields(1, b.batch(1)) }, chain.CodeTooLarge},
		{"unknown mode", func(b *bench) chain.TxFields {
			x := good(b)
			x.Mode = 2
			return b.fields(1, x)
		}, chain.CodeMalformed},
		{"unordered", entries(slices.Reverse[[]channel.Entry]), chain.CodeBadOrder},
		{"repeated", entries(func(e []channel.Entry) { e[1] = e[0] }), chain.CodeBadOrder},
		{"closed too early", entries(func(e []channel.Entry) { e[0].Close = true }), chain.CodeBadOrder},
		{"lane 64", entries(func(e []channel.Entry) { e[1].Lane = 64 }), chain.CodeLaneLimit},
		{"claim beyond all amounts", entries(func(e []channel.Entry) { e[1].Cumulative = 1 << 63 }), chain.CodeAmountOverflow},
		{"no claim and no close", entries(func(e []channel.Entry) { e[1] = channel.Entry{Index: e[1].Index, Lane: 1} }), chain.CodeMalformed},
		{"authority for nothing", func(b *bench) chain.TxFields {
			x := good(b)
			x.Auth = &channel.Authority{}
			return b.fields(1, x)
		}, chain.CodeMalformed},
		{"expired", fields(func(x *chain.TxFields) { x.ValidUntil = 1 }), chain.CodeExpired},
		{"nonce too high", fields(func(x *chain.TxFields) { x.Nonce += 256 }), chain.CodeNonceTooHigh},
		{"nonce used", fields(func(x *chain.TxFields) { x.Nonce-- }), chain.CodeNonceUsed},
		{"fee too low", fields(func(x *chain.TxFields) { x.MaxFee = 2 }), chain.CodeFeeTooLow},
		{"unknown account", fields(func(x *chain.TxFields) { x.Zone = 99 }), chain.CodeAccountNotFound},
	}
	add := func(name string, f func(*bench) chain.TxFields, code chain.Code) {
		rows = append(rows, row{name, f, code})
	}
	add(cut(chain.KindTransfer, 0, payTo(base.addrs[1], 1)))
	add(cut(chain.KindOpenChannels, 0, &channel.Open{Channels: []channel.OpenParams{next}}))
	add(cut(chain.KindTopUp, 0, &channel.TopUp{Channel: ref}))
	add(cut(chain.KindExtend, 0, &channel.Extend{Channel: ref}))
	add(cut(chain.KindSettle, 1, good(base)))
	add(cut(chain.KindRequestClose, 0, &channel.RequestClose{Channel: ref}))
	add(cut(chain.KindCoopClose, 0, base.coopClose(0, 1, ref, 1, &next)))
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := base.fork()
			f := row.make(b)
			tx := b.decode(chain.SignTx(b.domain, b.keys[b.by], f))
			before := b.view.digest()
			_, _, claims := settlement.Claims(b.view, b.domain, &tx.Tx)
			_, admit := settlement.Admit(b.view, b.params, b.domain, b.height+1, &tx.Tx)
			changes, res := b.try(tx)
			r := res.Receipts[0]
			if r.Code != row.code || r.Fee != 0 {
				t.Fatalf("%s (%s) with a fee of %d, want %s and none", r.Code, r.Detail, r.Fee, row.code)
			}
			first := claims
			if first == nil {
				first = admit
			}
			if code, _ := chain.CodeOf(first); code != row.code {
				t.Errorf("Claims says %v and Admit %v, the block %s", claims, admit, row.code)
			}
			if len(changes) != 1 || string(changes[0].Key) != string(settlement.ResultsKey()) || b.view.digest() != before {
				t.Errorf("%d changes", len(changes))
			}
		})
	}
}

// TestRefusedRecord: what could not be decoded has a receipt and nothing else.
func TestRefusedRecord(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 2)
	raw := chain.SignTx(b.domain, b.keys[0], b.fields(0, payTo(b.addrs[1], 1)))
	raw[0] ^= 1
	changes, res := b.try(b.decode(raw))
	want := settlement.Receipt{Hash: chain.TxHash(raw), Code: chain.CodeMalformed}
	res.Receipts[0].Detail = ""
	if fmt.Sprint(res.Receipts[0]) != fmt.Sprint(want) || len(changes) != 1 {
		t.Errorf("receipt %+v with %d changes", res.Receipts[0], len(changes))
	}
}

// TestOpenAndRedeemInOneBlock: signatures of channels that the block opens are
// verified too.
func TestOpenAndRedeemInOneBlock(t *testing.T) {
	t.Parallel()
	for _, bad := range []bool{false, true} {
		b := newBench(t, smallParams(), 2)
		p := b.openParams(1, 1_000)
		id := channel.ID(b.domain, b.addrs[0], 0, 0, &p)
		open := b.signed(0, &channel.Open{Channels: []channel.OpenParams{p}})
		e := b.voucher(channel.Ref{Index: 0, ID: id}, 0, 100)
		want := chain.CodeOK
		if bad {
			e.Signature[1] ^= 1
			want = chain.CodeBadSignature
		}
		redeem := b.signed(1, b.batch(1, e))
		if _, complete, err := settlement.Claims(b.view, b.domain, &redeem.Tx); complete || err != nil {
			t.Errorf("Claims on a channel to come: complete %v, %v", complete, err)
		}
		res := b.block(open, redeem)
		if got := res.Receipts[1].Entries[0].Code; got != want {
			t.Errorf("bad=%v: %s, want %s", bad, got, want)
		}
	}
}
