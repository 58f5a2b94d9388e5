package settlement_test

import (
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// TestDustTopUpsComeFirst: anybody may top up, so a stranger's dust may come
// before whatever the parties send. It stops none of it and costs them nothing.
func TestDustTopUpsComeFirst(t *testing.T) {
	t.Parallel()
	const stranger = 2
	base := newBench(t, smallParams(), 3)
	ref := base.open(0, 1, 1_000)
	for _, row := range []struct {
		name string
		by   int
		next func(b *bench) encoder
		code chain.Code
		cost uint64 // to the payer, beyond fees
	}{
		{"the payer's top-up pays the rest", 0, func(*bench) encoder { return &channel.TopUp{Channel: ref, NewTotal: 1_500} }, chain.CodeOK, 499},
		{"the payer's top-up to the same is nothing", 0, func(*bench) encoder { return &channel.TopUp{Channel: ref, NewTotal: 1_001} }, chain.CodeStale, 0},
		{"extend", 0, func(b *bench) encoder { return &channel.Extend{Channel: ref, NewExpiry: b.clock() + 58} }, chain.CodeOK, 0},
		{"request close", 0, func(*bench) encoder { return &channel.RequestClose{Channel: ref} }, chain.CodeOK, 0},
		{"redeem", 1, func(b *bench) encoder { return b.batch(1, b.voucher(ref, 0, 1_000)) }, chain.CodeOK, 0},
		{"close by the payee", 1, func(b *bench) encoder { return b.batch(1, closing(b.voucher(ref, 0, 1_000))) }, chain.CodeOK, 0},
		{"agreement signed before", 1, func(b *bench) encoder { return b.coopClose(0, 1, ref, 1_000, nil) }, chain.CodeOK, 0},
	} {
		b := base.fork()
		next := b.signed(row.by, row.next(b)) // signed before the dust is known of
		dust := b.signed(stranger, &channel.TopUp{Channel: ref, NewTotal: 1_001})
		had := b.balance(0)
		res := b.block(dust, next)
		if first, r := &res.Receipts[0], &res.Receipts[1]; first.Code != chain.CodeOK || r.Code != row.code {
			t.Errorf("%s: the dust %s, then %s (%s), want %s", row.name, first.Code, r.Code, r.Detail, row.code)
			continue
		}
		cost := had - b.balance(0)
		if row.by == 0 {
			cost -= uint64(res.Receipts[1].Fee)
		} else if _, open := settlement.ChannelAt(b.view, ref.Index); !open {
			cost += 1 + uint64(b.params.Rent) // which the payer gets, and the stranger's drop
		}
		if cost != row.cost {
			t.Errorf("%s: it costs the payer %d, want %d", row.name, int64(cost), row.cost)
		}
	}
}

// TestDustDoesNotUseUpAClaim: a claim that exceeds the deposit is redeemed, over
// and over, after a drop of top-up each time. Each redemption pays the drop, none
// uses up the claim, and in the end payee and burn have what one would give.
func TestDustDoesNotUseUpAClaim(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.BurnBps, p.MaxLifetime = 333, 500
	b := newBench(t, p, 3)
	ref := b.open(0, 1, 100, func(o *channel.OpenParams) { o.ExpiresAt = b.clock() + 400 })
	voucher := b.voucher(ref, 2, 250)
	paid, burned := ledger.Amount(0), ledger.Amount(0)
	for total := ledger.Amount(100); total <= 250; total++ {
		var txs []settlement.BlockTx
		if total > 100 {
			txs = append(txs, b.checked(2, &channel.TopUp{Channel: ref, NewTotal: total}))
		}
		res := b.block(append(txs, b.checked(2, b.batch(1, voucher)))...)
		e := res.Receipts[len(res.Receipts)-1].Entries[0]
		paid, burned = paid+e.Paid, burned+e.Burned
		want := chain.CodePartial
		if total == 250 {
			want = chain.CodeOK
		}
		if e.Code != want || paid+burned != total || e.Redeemed != total {
			t.Fatalf("deposit %d: %+v, %d in all", total, e, paid+burned)
		}
		units := uint64(0)
		if total == 250 {
			units = voucher.Units
		}
		if l, _ := settlement.LaneAt(b.view, ref.Index, 2); l.Redeemed != total || l.Units != units {
			t.Fatalf("deposit %d: the lane is %+v, want %d units", total, l, units)
		}
	}
	if burned != 8 { // 250 * 333 / 10,000, rounded down
		t.Errorf("%d burned, want 8", burned)
	}
}
