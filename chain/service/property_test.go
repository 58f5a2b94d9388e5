package service_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
)

// rowsOf returns what belongs to accounts in a shard, and its totals.
func rowsOf(s *shard) map[string]string {
	m := map[string]string{"totals": fmt.Sprintf("%x", s.view.Get(service.TotalsKey()))}
	for k, v := range s.view.Range([]byte{'B'}) {
		m[fmt.Sprintf("%x", k)] = fmt.Sprintf("%x", v)
	}
	return m
}

// TestSplitsAndOrders: a set of vouchers leaves the same state in one transaction or
// in many, in one block or in many, whatever the order of channels, and when all of
// it is repeated.
func TestSplitsAndOrders(t *testing.T) {
	t.Parallel()
	const channels = 5
	payee := keyOf("payee", 0)
	rapid.Check(t, func(r *rapid.T) {
		zone := uint8(rapid.IntRange(0, 1).Draw(r, "payee's zone"))
		accounts := make([]*account, channels)
		items := make([][]item, channels) // by channel, in the order of lanes
		var all []item
		for i := range accounts {
			a := newAccount(uint64(i), keyOf("payer", i), payee, 0, zone, 100)
			accounts[i] = a
			for lane := range uint8(4) {
				if !rapid.Bool().Draw(r, "lane") {
					continue
				}
				x := item{a, channel.Entry{
					Index: a.index, Lane: lane, Claim: channel.ClaimVoucher,
					Cumulative: ledger.Amount(rapid.IntRange(0, 60).Draw(r, "cumulative")), // some exceed the deposit together
					Units:      rapid.Uint64Range(0, 300).Draw(r, "units"),
				}}
				items[i], all = append(items[i], x), append(all, x)
			}
		}
		if all == nil {
			return
		}
		start := func() *shard {
			s := newShard(t, smallParams(), wholeZone(0))
			for _, a := range accounts {
				s.main(a.opened())
			}
			return s
		}
		book := func(s *shard, txs ...[]item) {
			var b service.Block
			for _, tx := range txs {
				if len(tx) == 0 {
					continue
				}
				bt := booking(t, tx...)
				bt.Checked = true
				b.Txs = append(b.Txs, bt)
			}
			s.block(b)
		}
		one, many, blocks := start(), start(), start()
		book(one, all)
		order := rapid.Permutation([]int{0, 1, 2, 3, 4}).Draw(r, "order")
		var txs [][]item
		for _, i := range order {
			cut := rapid.IntRange(0, len(items[i])).Draw(r, "cut")
			txs = append(txs, items[i][:cut], items[i][cut:])
		}
		book(many, txs...)
		for _, tx := range txs {
			book(blocks, tx)
		}
		want := rowsOf(one)
		if diff := cmp.Diff(want, rowsOf(many)); diff != "" {
			r.Fatalf("in many transactions: %s", diff)
		}
		if diff := cmp.Diff(want, rowsOf(blocks)); diff != "" {
			r.Fatalf("in many blocks: %s", diff)
		}
		book(one, txs...)
		book(one, all)
		if diff := cmp.Diff(want, rowsOf(one)); diff != "" {
			r.Fatalf("repeated: %s", diff)
		}
	})
}
