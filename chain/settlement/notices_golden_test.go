package settlement_test

import (
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/zone"
)

// TestGoldenNotices fixes what blocks do with channels of a service with fees, and what they
// tell their homes, byte for byte and in their order: as long as there is room, while a link
// is full, and once it is not.
func TestGoldenNotices(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	s := serviceOf(5, 1, "content", 0, 1)
	s.Fees, s.Zones[0].Policy.Fees = zone.Fees{ShareBps: 250, Entry: 1}, zone.Fees{ShareBps: 1_000}
	b.view.apply(registering(&s))
	home := link.Link{Dst: link.Place{Service: 1, Zone: b.addrs[0].Zone(), Bucket: b.addrs[0].Bucket()}}
	full := func(is bool) { // as if so many more were under way
		out := link.OutboundAt(b.view, home)
		if is {
			out.Bytes += link.MaxUnackedBytes
		} else {
			out.Bytes -= link.MaxUnackedBytes
		}
		b.view.apply(chain.Changes{{Key: link.OutboundKey(home), Value: out.Encode()}})
	}
	next := b.serviceOpen(1, 1, 600).Channels[0]
	blocks := []func() []settlement.BlockTx{
		func() []settlement.BlockTx {
			return []settlement.BlockTx{b.signed(0, b.serviceOpen(1, 4, 10_000)), b.signed(1, b.serviceOpen(0, 1, 500))}
		},
		func() []settlement.BlockTx {
			return []settlement.BlockTx{
				b.signed(4, &channel.TopUp{Channel: b.ref(0), NewTotal: 20_000}),
				b.signed(1, b.batch(1, b.voucher(b.ref(0), 0, 1_000), b.voucher(b.ref(0), 3, 500), b.voucher(b.ref(1), 0, 70))),
				b.signed(0, &channel.RequestClose{Channel: b.ref(2)}),
			}
		},
		func() []settlement.BlockTx {
			full(true)
			return []settlement.BlockTx{
				b.signed(0, b.serviceOpen(1, 1)),
				b.signed(1, b.batch(1, b.voucher(b.ref(0), 1, 2_000), closing(b.voucher(b.ref(1), 0, 90)))),
				b.signed(0, &channel.Extend{Channel: b.ref(0), NewExpiry: b.clock() + 57}),
			}
		},
		func() []settlement.BlockTx {
			return []settlement.BlockTx{b.signed(2, b.coopClose(0, 1, b.ref(3), 200, &next))}
		},
		func() []settlement.BlockTx { full(false); return nil },
	}
	got := map[string]string{}
	for i, txs := range blocks {
		block := txs()
		changes, res := b.try(block...)
		b.block(block...)
		name := fmt.Sprintf("block %d ", i+1)
		got[name+"outcome"] = digestOf(changes, &res).String()
		got[name+"state"] = b.view.digest().String()
		got[name+"outbox"] = res.Outbox.Root().String()
		for j, r := range res.Receipts {
			got[fmt.Sprintf("%sreceipt %d", name, j)] = fmt.Sprintf("%s, %d to the owner, %d burned", r.Code, r.OwnerFee, r.Burned)
		}
		for j, m := range notices(&res) {
			got[fmt.Sprintf("%snotice %d", name, j)] = hex.EncodeToString(m.Encode())
		}
		for j := range changes {
			if c := &changes[j]; c.Key[0] == 't' || c.Key[0] == 'u' || c.Key[0] == '$' { // waits, for whom, and fees
				got[name+"row "+hex.EncodeToString(c.Key)] = hex.EncodeToString(c.Value)
			}
		}
	}
	golden(t, "notices.json", got)
	if waits := settlement.Waiting(b.view, home.Dst); waits != 0 {
		t.Errorf("%d channels wait at the end", waits)
	}
}
