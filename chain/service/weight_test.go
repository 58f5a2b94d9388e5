package service_test

import (
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
)

// TestWeightBoundsWrites: what a transaction makes the state change weighs no more
// than its bytes said, and full blocks by weight are within a batch of the store.
func TestWeightBoundsWrites(t *testing.T) {
	t.Parallel()
	for _, zone := range []uint8{0, 1} {
		s := newShard(t, smallParams(), wholeZone(0))
		var all []item
		for i := range 4 {
			a := newAccount(uint64(i), keyOf("payer", i), keyOf("payee", 0), 0, zone, 1_000)
			s.main(a.opened())
			for lane := range uint8(3 * i) {
				all = append(all, item{a, a.voucher(lane*7, ledger.Amount(lane)+1, 1)})
			}
		}
		for n := 1; n <= len(all); n += 4 {
			tx := booking(t, all[:n]...)
			changes, _ := s.try(service.Block{Txs: []service.BlockTx{tx}})
			written := int64(0)
			for _, c := range changes {
				if c.Key[0] == 'B' {
					written += int64(max(96, len(c.Key)+len(c.Value)+15))
				}
			}
			if weight := service.Weight(&tx.Tx); written > weight || weight > 3*written+1_500 {
				t.Errorf("%d entries write %d bytes and weigh %d", n, written, weight)
			}
		}
	}
	p := service.DefaultParams()
	if most := p.MaxBlockWeight(); most != 15<<20 {
		t.Errorf("a block of 4 MiB may weigh %d", most)
	}
	other := chain.Tx{Kind: chain.KindTransfer, Payload: make([]byte, 100)}
	if w := service.Weight(&other); w <= 0 || w > 1_000 {
		t.Errorf("what cannot be decoded weighs %d", w)
	}
}

// TestWeightOfMessages: what a message writes and erases weighs no more than was said before,
// and none more than the smallest block may.
func TestWeightOfMessages(t *testing.T) {
	t.Parallel()
	s := newShard(t, smallParams(), wholeZone(0))
	a := newAccount(1, keyOf("payer", 1), keyOf("payee", 0), 0, 0, 1_000)
	all := channel.RedeemedNotice{Zone: 0, Bucket: a.home().Bucket}
	for lane := range uint8(channel.Lanes) {
		all.Lanes = append(all.Lanes, channel.LaneTotal{Index: 1, Lane: lane, Redeemed: 1})
	}
	check := func(name string, m service.Inbound, most int64) {
		t.Helper()
		run := service.Begin(s.view, s.params, testDomain, s.height+1)
		weight := run.Weight(&m)
		changes, _ := s.try(service.Block{Inbox: []service.Inbound{m}})
		written := int64(0)
		for _, c := range changes {
			if c.Key[0] == 'B' {
				written += int64(max(96, len(c.Key)+len(c.Value)+15))
			}
		}
		if written > weight || weight > most {
			t.Errorf("%s writes %d bytes and weighs %d, want at most %d", name, written, weight, most)
		}
		s.block(service.Block{Inbox: []service.Inbound{m}})
	}
	check("opened", a.opened(), 1_000)
	check("closed elsewhere", newAccount(2, a.payer, a.payee, 0, 0, 10).closed(), 200)
	check("changed", a.changed(2_000, 2_000), 1_000)
	var items []item
	for lane := range uint8(20) {
		items = append(items, item{a, a.voucher(lane, 3, 3)})
	}
	s.block(service.Block{Txs: []service.BlockTx{booking(t, items...)}})
	check("redeemed", service.Inbound{Main: true, To: a.home(), Kind: service.KindRedeemed, Payload: all.Encode()}, 30_000)
	check("closes", a.closes(60), 30_000)
	check("closed", a.closed(), 30_000)

	most := channel.RedeemedNotice{Zone: 0, Bucket: a.home().Bucket, Lanes: make([]channel.LaneTotal, channel.MaxRedeemedLanes)}
	for i := range most.Lanes {
		most.Lanes[i] = channel.LaneTotal{Index: uint64(i), Lane: 1, Redeemed: 1}
	}
	least := service.DefaultParams()
	least.MaxBlockBytes = chain.MaxBundleSize
	check("the longest", service.Inbound{Main: true, To: a.home(), Kind: service.KindRedeemed, Payload: most.Encode()}, least.MaxBlockWeight())
}
