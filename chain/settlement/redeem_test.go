package settlement_test

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/zone"
)

// TestOrderDuplicationAndSplit is I7: a batch, and any order, repetition and
// grouping of the same claims, end with the same money everywhere.
func TestOrderDuplicationAndSplit(t *testing.T) {
	t.Parallel()
	base := newBench(t, smallParams(), 3)
	base.params.BurnBps = 333
	owner := keyOf("owner", 0).Address(0)
	taxed := feeService(owner, zone.Fees{ShareBps: 777}, zone.Fees{ShareBps: 1_234}, zone.Fees{})
	base.view.apply(registering(&taxed))
	refs := []channel.Ref{base.open(0, 1, 1_000)}
	for range 2 {
		refs = append(refs, base.open(0, 1, 1_000, func(p *channel.OpenParams) { p.Service = taxed.ID }))
	}
	rapid.Check(t, func(rt *rapid.T) {
		var claims []channel.Entry
		for range rapid.IntRange(1, 12).Draw(rt, "claims") {
			claims = append(claims, channel.Entry{
				Index: refs[rapid.IntRange(0, 2).Draw(rt, "channel")].Index,
				Lane:  rapid.SampledFrom(lanes()).Draw(rt, "lane"), Claim: channel.ClaimVoucher,
				Cumulative: ledger.Amount(rapid.IntRange(1, 700).Draw(rt, "cumulative")),
			})
		}
		// Of one lane the highest claim is the one that counts.
		best := slices.Clone(claims)
		slices.SortFunc(best, func(a, b channel.Entry) int {
			return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.Lane, b.Lane), cmp.Compare(b.Cumulative, a.Cumulative))
		})
		best = slices.CompactFunc(best, func(a, b channel.Entry) bool { return a.Index == b.Index && a.Lane == b.Lane })
		one := base.fork()
		one.block(one.checked(2, one.batch(1, best...)))

		other := base.fork()
		order := slices.Concat(claims, claims[:rapid.IntRange(0, len(claims)).Draw(rt, "repeats")])
		var txs []settlement.BlockTx
		for _, i := range rapid.Permutation(indexes(len(order))).Draw(rt, "order") {
			txs = append(txs, other.checked(2, other.batch(1, order[i])))
			if rapid.Bool().Draw(rt, "next block") {
				other.block(txs...)
				txs = nil
			}
		}
		other.block(txs...)
		if one.balance(0) != other.balance(0) || one.balance(1) != other.balance(1) {
			rt.Fatalf("payer %d and %d, payee %d and %d", one.balance(0), other.balance(0), one.balance(1), other.balance(1))
		}
		x, _, _ := settlement.AccountByAddress(one.view, owner)
		y, _, _ := settlement.AccountByAddress(other.view, owner)
		if x.Balance != y.Balance {
			rt.Fatalf("the owner has %d and %d", x.Balance, y.Balance)
		}
		a, b := settlement.ReadTotals(one.view), settlement.ReadTotals(other.view)
		if a.Burned != b.Burned || a.Escrow != b.Escrow {
			rt.Fatalf("totals %+v and %+v", a, b)
		}
		for _, ref := range refs {
			x, _ := settlement.ChannelAt(one.view, ref.Index)
			y, _ := settlement.ChannelAt(other.view, ref.Index)
			if x.Redeemed != y.Redeemed {
				rt.Fatalf("channel %d: %d and %d redeemed", ref.Index, x.Redeemed, y.Redeemed)
			}
		}
	})
}

func indexes(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// fork returns a copy that can go another way.
func (b *bench) fork() *bench {
	c := *b
	c.view, c.nonces = b.view.clone(), slices.Clone(b.nonces)
	return &c
}

// TestBurnSplit: a payment in a million parts burns what it burns in one.
func TestBurnSplit(t *testing.T) {
	t.Parallel()
	rules := channel.Rules{BurnBps: 200}
	var parts ledger.Amount
	for total := range ledger.Amount(1_000_000) {
		parts += rules.Burn(total+1) - rules.Burn(total)
	}
	if parts != 20_000 || rules.Burn(1_000_000) != parts {
		t.Errorf("a million payments of one drop burn %d, want 20000", uint64(parts))
	}

	b := newBench(t, smallParams(), 2)
	ref := b.open(0, 1, 2_000)
	var txs []settlement.BlockTx
	for i := range uint64(1_000) {
		txs = append(txs, b.checked(1, b.batch(1, b.voucher(ref, 0, i+1))))
		if len(txs) == 200 {
			b.block(txs...)
			txs = nil
		}
	}
	if burned := settlement.ReadTotals(b.view).Burned; burned != 20 {
		t.Errorf("1,000 redemptions of one drop burned %d, want 20", burned)
	}
}

// TestPartialThenTopUp: what the deposit could not pay stays claimable.
func TestPartialThenTopUp(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 3)
	ref := b.open(0, 1, 100)
	voucher := b.voucher(ref, 2, 250)
	for i, step := range []struct {
		total uint64 // topped up to; 0: not
		code  chain.Code
		paid  ledger.Amount
		units uint64
	}{
		{0, chain.CodePartial, 100, 0},
		{0, chain.CodeUnderfunded, 0, 0},
		{150, chain.CodePartial, 50, 0},
		{300, chain.CodeOK, 100, 25},
		{0, chain.CodeStale, 0, 25},
	} {
		if step.total != 0 {
			b.ok(0, &channel.TopUp{Channel: ref, NewTotal: ledger.Amount(step.total)})
		}
		e := b.ok(2, b.batch(1, voucher)).Entries[0]
		if e.Code != step.code || e.Paid+e.Burned != step.paid {
			t.Fatalf("step %d: %+v, want %s and %d drops", i, e, step.code, step.paid)
		}
		if l, _ := settlement.LaneAt(b.view, ref.Index, 2); l.Units != step.units {
			t.Errorf("step %d: %d units, want %d", i, l.Units, step.units)
		}
	}
}

// TestRepeatsChangeNothing: totals are stated, so a top-up or an extension that
// arrives twice is paid once.
func TestRepeatsChangeNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 3)
	ref := b.open(0, 1, 500)
	c, _ := settlement.ChannelAt(b.view, ref.Index)
	for _, row := range []struct {
		name    string
		by      int
		payload encoder
	}{
		{"top-up", 2, &channel.TopUp{Channel: ref, NewTotal: 800}},
		{"extend", 0, &channel.Extend{Channel: ref, NewExpiry: c.ExpiresAt + 3}},
	} {
		b.ok(row.by, row.payload)
		before, had := settlement.ReadTotals(b.view), b.balance(row.by)
		r := b.run(row.by, row.payload)
		after := settlement.ReadTotals(b.view)
		if r.Code != chain.CodeStale || after.Escrow != before.Escrow || had-b.balance(row.by) != uint64(b.params.TxFee) {
			t.Errorf("%s again: %s, escrow %d after %d, paid %d", row.name, r.Code, after.Escrow, before.Escrow, had-b.balance(row.by))
		}
	}
}

// TestHashLane: preimages pay step by step and nothing else does.
func TestHashLane(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 3)
	ref := b.open(0, 1, 100_000)
	const steps = 1_024
	links := channel.HashChain(ledger.HashOf("tip"), steps)
	claim := func(step uint16, change func(*channel.Entry)) channel.Entry {
		e := channel.Entry{
			Index: ref.Index, Lane: 5, Claim: channel.ClaimHash, Step: step, Preimage: links[min(step, steps)],
			Commit: channel.HashCommit{BaseCumulative: 1_000, BaseUnits: 7, Root: links[0], UnitPrice: 3, UnitSize: 16, Steps: steps, ChainNo: 2},
		}
		e.Signature = voucherKey().Sign(e.Signed(b.domain, ref.ID))
		if change != nil {
			change(&e)
		}
		return e
	}
	for _, row := range []struct {
		name  string
		entry channel.Entry
		tx    chain.Code
		code  chain.Code
		paid  ledger.Amount
	}{
		{"step 10", claim(10, nil), 0, chain.CodeOK, 1_030},
		{"the same again", claim(10, nil), 0, chain.CodeStale, 0},
		{"an older step", claim(9, nil), 0, chain.CodeStale, 0},
		{"a later step with the preimage of an earlier", claim(11, func(e *channel.Entry) { e.Preimage = links[10] }), 0, chain.CodeBadPreimage, 0},
		{"a preimage beyond the step", claim(11, func(e *channel.Entry) { e.Preimage = links[12] }), 0, chain.CodeBadPreimage, 0},
		{"a higher price", claim(11, func(e *channel.Entry) { e.Commit.UnitPrice = 4 }), 0, chain.CodeBadSignature, 0},
		{"a higher base", claim(11, func(e *channel.Entry) { e.Commit.BaseCumulative++ }), 0, chain.CodeBadSignature, 0},
		{"a chain of one's own", claim(11, func(e *channel.Entry) {
			own := channel.HashChain(ledger.HashOf("mine"), steps)
			e.Commit.Root, e.Preimage = own[0], own[11]
		}), 0, chain.CodeBadSignature, 0},
		{"another lane", claim(11, func(e *channel.Entry) { e.Lane = 6 }), 0, chain.CodeBadSignature, 0},
		{"step 0", claim(0, nil), chain.CodeInvalidValue, 0, 0},
		{"beyond the chain", claim(steps+1, nil), chain.CodeInvalidValue, 0, 0},
		{"a chain too long", claim(5, func(e *channel.Entry) { e.Commit.Steps = steps + 1 }), chain.CodeInvalidValue, 0, 0},
		{"a sum too large", claim(5, func(e *channel.Entry) { e.Commit.UnitPrice = 1 << 62 }), chain.CodeAmountOverflow, 0, 0},
		{"a base too large", claim(5, func(e *channel.Entry) { e.Commit.BaseCumulative = 1<<63 - 10 }), chain.CodeAmountOverflow, 0, 0},
		{"units too many", claim(5, func(e *channel.Entry) { e.Commit.BaseUnits = 1<<64 - 5 }), chain.CodeAmountOverflow, 0, 0},
		{"the last step", claim(steps, nil), 0, chain.CodeOK, 3 * (steps - 10)},
		{"a voucher on top", b.voucher(ref, 5, 5_000), 0, chain.CodeOK, 5_000 - 1_000 - 3*steps},
	} {
		r := b.block(b.signed(2, b.batch(1, row.entry))).Receipts[0]
		if r.Code != row.tx {
			t.Errorf("%s: %s (%s), want %s", row.name, r.Code, r.Detail, row.tx)
			continue
		}
		if row.tx != chain.CodeOK {
			b.nonces[2]--
			continue
		}
		if e := r.Entries[0]; e.Code != row.code || e.Paid+e.Burned != row.paid {
			t.Errorf("%s: %+v, want %s and %d drops", row.name, e, row.code, row.paid)
		}
		if row.entry.Claim != channel.ClaimHash {
			continue
		}
		if want := 3 + 1 + (ledger.Amount(row.entry.Step)+15)/16; r.Fee != want {
			t.Errorf("%s: the fee is %d, want %d", row.name, r.Fee, want)
		}
	}
}

// TestRollover: a cooperative close opens the next channel in the same step.
func TestRollover(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 3)
	ref := b.open(0, 1, 900_000) // more than the payer has left
	b.ok(1, b.batch(1, b.voucher(ref, 0, 1_000), b.voucher(ref, 9, 500)))
	next := b.openParams(1, 950_000)
	stranger := b.openParams(2, 950_000)
	dear := b.openParams(1, initialBalance)
	short := b.openParams(1, 950_000)
	short.ExpiresAt = b.clock() + 2
	for _, row := range []struct {
		name  string
		next  *channel.OpenParams
		final uint64
		code  chain.Code
	}{
		{"to another payee", &stranger, 2_000, chain.CodeInvalidValue},
		{"beyond the payer's means", &dear, 2_000, chain.CodeInsufficientBalance},
		{"too short", &short, 2_000, chain.CodeExpiryOutOfRange},
		{"below what was redeemed", &next, 1_499, chain.CodeFinalOutOfRange},
		{"above the deposit", &next, 900_001, chain.CodeFinalOutOfRange},
	} {
		was := settlement.ReadTotals(b.view)
		r := b.run(2, b.coopClose(0, 1, ref, row.final, row.next))
		if is := settlement.ReadTotals(b.view); r.Code != row.code || is.Escrow != was.Escrow || r.Opened != 0 {
			t.Errorf("%s: %s, want %s; escrow %d after %d", row.name, r.Code, row.code, is.Escrow, was.Escrow)
		}
	}
	res := b.block(b.signed(2, b.coopClose(0, 1, ref, 2_000, &next)))
	r := res.Receipts[0]
	if r.Code != chain.CodeOK || r.Paid+r.Burned != 500 || r.Opened != 1 || r.FirstChannel != ref.Index+1 || r.Fee != 5 {
		t.Fatalf("the roll-over is %+v: %s", r, r.Detail)
	}
	if len(res.Events) != 2 || res.Events[0].Kind != settlement.EventCoopClosed || res.Events[1].Kind != settlement.EventOpened {
		t.Errorf("events %+v", res.Events)
	}
	c, ok := settlement.ChannelAt(b.view, r.FirstChannel)
	if !ok || c.ID != channel.RolloverID(ref.ID, &next) || c.Redeemed != 0 || c.Deposit != 950_000 || c.LanesUsed != 0 {
		t.Errorf("the next channel is %+v", c)
	}
	if _, ok := settlement.ChannelAt(b.view, ref.Index); ok {
		t.Error("the old channel is still there")
	}
	old := b.voucher(channel.Ref{Index: c.OpenHeight, ID: ref.ID}, 0, 5_000)
	old.Index = r.FirstChannel
	if e := b.block(b.signed(1, b.batch(1, old))).Receipts[0].Entries[0]; e.Code != chain.CodeBadSignature {
		t.Errorf("a voucher of the old channel on the new one: %s", e.Code)
	}
	again := b.coopClose(0, 1, ref, 2_000, &next)
	if r := b.run(2, again); r.Code != chain.CodeChannelNotFound {
		t.Errorf("the same agreement again: %s", r.Code)
	}
}

// TestCloseAuthority: the payee's authority closes exactly what it was given for,
// with every claim on the channels it closes.
func TestCloseAuthority(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 3)
	refs := []channel.Ref{b.open(0, 1, 1_000), b.open(0, 1, 1_000), b.open(0, 1, 1_000)}
	full := func() *channel.Batch {
		return b.batch(1,
			b.voucher(refs[0], 0, 100), closing(b.voucher(refs[0], 7, 200)),
			b.voucher(refs[1], 0, 300),
			channel.Entry{Index: refs[2].Index, Close: true})
	}
	authorise := func(batch *channel.Batch, key ledger.PrivateKey, until uint64) *channel.Batch {
		batch.Auth = &channel.Authority{PayeeKey: key.Public(), ValidUntil: until}
		auth, err := batch.CloseAuth()
		if err != nil {
			t.Fatal(err)
		}
		batch.Auth.Signature = key.Sign(auth.Signed(b.domain))
		return batch
	}
	until := b.height + 50
	for _, row := range []struct {
		name   string
		change func(*channel.Batch) *channel.Batch
		code   chain.Code
	}{
		{"without authority", func(x *channel.Batch) *channel.Batch { x.Auth = nil; return x }, chain.CodeNotPayee},
		{"by a stranger", func(x *channel.Batch) *channel.Batch { return authorise(x, b.keys[2], until) }, chain.CodeNotPayee},
		{"expired", func(x *channel.Batch) *channel.Batch { return authorise(x, b.keys[1], b.height) }, chain.CodeExpired},
		{"valid longer than signed", func(x *channel.Batch) *channel.Batch { x.Auth.ValidUntil++; return x }, chain.CodeBadSignature},
		{"a lane of a closing channel left out", func(x *channel.Batch) *channel.Batch { x.Entries = x.Entries[1:]; return x }, chain.CodeBadSignature},
		{"an older voucher of a closing channel", func(x *channel.Batch) *channel.Batch {
			x.Entries[0] = b.voucher(refs[0], 0, 99)
			return x
		}, chain.CodeBadSignature},
		{"one channel more", func(x *channel.Batch) *channel.Batch { x.Entries[2].Close = true; return x }, chain.CodeBadSignature},
		{"one channel less", func(x *channel.Batch) *channel.Batch { x.Entries = x.Entries[:3]; return x }, chain.CodeBadSignature},
		{"all or nothing", func(x *channel.Batch) *channel.Batch { x.Mode = channel.Atomic; return x }, chain.CodeBadSignature},
		{"a claim without close left out", func(x *channel.Batch) *channel.Batch {
			x.Entries = slices.Delete(x.Entries, 2, 3)
			return x
		}, chain.CodeOK},
	} {
		f := b.fork()
		batch := row.change(authorise(full(), b.keys[1], until))
		res := f.block(f.signed(2, batch))
		if r := res.Receipts[0]; r.Code != row.code {
			t.Errorf("%s: %s (%s), want %s", row.name, r.Code, r.Detail, row.code)
		}
		if fee := b.params.TxFee + b.params.EntryFee*ledger.Amount(len(batch.Entries)); res.Receipts[0].Fee != fee {
			t.Errorf("%s: the fee is %d, want that of all entries, %d", row.name, res.Receipts[0].Fee, fee)
		}
		if _, open := settlement.ChannelAt(f.view, refs[0].Index); open != (row.code != chain.CodeOK) {
			t.Errorf("%s: the channel is open: %v", row.name, open)
		}
	}
}

// TestBadEntryKeepsItsChannelOpen: a claim that does not verify could still be
// repaired, so its channel is not closed; the rest of the batch applies.
func TestBadEntryKeepsItsChannelOpen(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 2)
	one, two := b.open(0, 1, 1_000), b.open(0, 1, 1_000)
	bad := b.voucher(one, 0, 100)
	bad.Signature[3] ^= 1
	r := b.block(b.signed(1, b.batch(1,
		bad, b.voucher(one, 1, 50), channel.Entry{Index: one.Index, Lane: 2, Close: true},
		closing(b.voucher(two, 0, 70))))).Receipts[0]
	want := []chain.Code{chain.CodeBadSignature, chain.CodeOK, chain.CodeBadSignature, chain.CodeOK}
	for i, e := range r.Entries {
		if e.Code != want[i] || e.Closed != (i == 3) {
			t.Errorf("entry %d: %+v, want %s", i, e, want[i])
		}
	}
	if c, ok := settlement.ChannelAt(b.view, one.Index); !ok || c.Redeemed != 50 {
		t.Errorf("channel %d: %v %+v", one.Index, ok, c)
	}
	if r.Fee != 3+4 {
		t.Errorf("the fee is %d, want that of all entries", r.Fee)
	}
}
