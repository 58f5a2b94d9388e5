package service_test

import (
	"testing"

	"github.com/tributary-network/tributary/chain"
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
