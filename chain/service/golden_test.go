package service_test

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
)

var update = flag.Bool("update", false, "rewrite the golden vectors")

func goldenSums(n uint64) service.Sums { return service.Sums{Amount: n, Units: n << 20, Work: n << 40} }

func goldenLane() service.Lane {
	return service.Lane{
		Cumulative: 500, Units: 60, UsageRoot: ledger.HashOf("usage"), Signature: ledger.Signature{1, 2, 3}, Work: 50, Seq: 7,
		Settled: 400, Redeemed: 300, Moved: 12,
	}
}

func goldenChannel() service.Channel {
	return service.Channel{
		ID: ledger.HashOf("channel"), Payer: keyOf("payer", 0).Address(3), Payee: keyOf("payee", 0).Address(4),
		VoucherKey: keyOf("voucher", 0).Public(), Deposit: 1_000, ExpiresAt: 1 << 33, Booked: goldenSums(9),
		Lanes: 1<<63 | 1, Lane0: goldenLane(),
	}
}

func goldenUsage() service.Usage {
	a := newAccount(300, keyOf("payer", 0), keyOf("payee", 0), 3, 4, 1_000)
	plain := a.voucher(0, 10, 2)
	plain.UsageRoot = ledger.Hash{}
	plain.Signature = a.voucherKey.Sign(plain.Signed(mainDomain, a.id))
	u := usageOf(item{a, plain}, item{a, a.voucher(63, 1<<40, 9)})
	u.Receipt = &service.PayeeReceipt{PayeeKey: a.payee.Public(), ReceivedAt: 1_700_000_000_000}
	r, err := u.Receipted(u.Receipt.ReceivedAt)
	if err != nil {
		panic(err)
	}
	u.Receipt.Signature = a.payee.Sign(r.Signed(testDomain))
	return *u
}

func goldenGenesis() service.Genesis {
	parent := func(id ledger.ChainID, first, last uint8) service.Parent {
		return service.Parent{
			Shard:  service.Shard{Chain: id, Service: testService, Zone: 3, First: first, Last: last},
			Height: 1 << 20, StateRoot: ledger.HashOf("state", []byte{byte(id)}),
		}
	}
	return service.Genesis{
		Network: testNetwork, Shard: service.Shard{Chain: 44, Service: testService, Zone: 3, First: 64, Last: 191},
		Epoch: 17, Sigma: 9_000, Params: service.DefaultParams(), Parents: []service.Parent{parent(41, 0, 127), parent(42, 128, 255)},
	}
}

func goldenReceipt() service.Receipt {
	return service.Receipt{
		Hash: ledger.HashOf("tx"), Kind: chain.KindBookUsage, Code: chain.CodeOK, Signer: keyOf("stranger", 0).Address(1), Nonce: 1 << 40,
		Payee: keyOf("payee", 0).Address(4), Booked: goldenSums(5), ResultsRoot: ledger.HashOf("root"),
		Entries: []service.EntryResult{
			{Bucket: 200, Index: 1 << 33, Lane: 63, Seq: 4, Booked: goldenSums(5), Total: goldenSums(8)},
			{Bucket: 201, Index: 1 << 34, Code: chain.CodeWrongShard},
		},
	}
}

func goldenProof() service.BookingProof {
	b := make([]service.Booking, 5)
	for i := range b {
		b[i] = service.Booking{ChannelID: ledger.HashOf("channel"), Lane: uint8(i), Seq: 1 << 40, Units: 2, Cumulative: 3, UsageRoot: ledger.HashOf("usage")}
	}
	p, err := service.ProveBooking(b, 2)
	if err != nil {
		panic(err)
	}
	return p
}

func goldenTotals() service.Totals {
	return service.Totals{
		Booked: goldenSums(1), Received: goldenSums(2), Returned: goldenSums(3), Earned: goldenSums(4), Sent: goldenSums(5),
		Waiting: goldenSums(6), Stuck: goldenSums(7), Channels: 8,
	}
}

func goldenEarnings() service.Earnings {
	return service.Earnings{Total: goldenSums(9), Epochs: []service.Earned{{Epoch: 4, Sums: goldenSums(1)}, {Epoch: 1 << 40, Sums: goldenSums(2)}}}
}

func TestGoldenEncodings(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	put := func(name string, b []byte) { got[name] = hex.EncodeToString(b) }
	c, l, u, g, r, p := goldenChannel(), goldenLane(), goldenUsage(), goldenGenesis(), goldenReceipt(), goldenProof()
	put("channel", c.Encode())
	put("lane", l.Encode())
	put("usage", u.Encode())
	u.Receipt = nil
	put("usage without receipt", u.Encode())
	received, err := u.Receipted(5)
	if err != nil {
		t.Fatal(err)
	}
	put("signed receipt", received.Signed(testDomain))
	put("genesis", g.Encode())
	hash := g.Hash()
	put("genesis hash", hash[:])
	put("params", g.Params.Encode())
	put("shard", g.Shard.Encode())
	put("receipt", r.Encode())
	put("receipt leaf", r.Leaf())
	put("entry leaf", service.EntryLeaves(r.Entries)[1])
	put("import leaf", service.ResultLeaves(nil, []service.ImportResult{{Code: chain.CodeWrongSource}})[0])
	put("booking leaf", p.Booking.Leaf())
	put("booking proof", p.Encode())
	e, rest, epoch, totals := goldenEarnings(), service.Rest{Ended: goldenSums(1), Stuck: goldenSums(2)}, service.Epoch{Number: 3, Sigma: 4, Settling: true}, goldenTotals()
	put("earnings", e.Encode())
	put("rest", rest.Encode())
	put("epoch", epoch.Encode())
	put("totals", totals.Encode())
	m := service.EarningsMessage{Payee: c.Payee, Epoch: 3, Sums: goldenSums(2)}
	put("earnings message", m.Encode())
	results := service.Results{Height: 7, Root: ledger.HashOf("root"), UsageRoot: ledger.HashOf("usage"), Receipts: 3, Imports: 2, Bookings: 1}
	put("results", results.Encode())
	for name, key := range map[string][]byte{
		"results key": service.ResultsKey(), "totals key": service.TotalsKey(), "params key": service.ParamsKey(),
		"epoch key": service.EpochKey(), "shard key": service.ShardKey(), "bucket key": service.BucketKey(200),
		"channel key": service.ChannelKey(200, 258), "earnings key": service.EarningsKey(c.Payee),
	} {
		put(name, key)
	}
	golden(t, "testdata/encodings.json", got)
}

// TestGoldenState: what a short history makes of the state, and its roots.
func TestGoldenState(t *testing.T) {
	t.Parallel()
	s := newShard(t, smallParams(), wholeZone(0))
	home := newAccount(1, keyOf("payer", 0), keyOf("payee", 0), 0, 0, 1_000)
	away := newAccount(2, keyOf("payer", 1), keyOf("payee", 1), 0, 1, 1_000)
	s.main(home.opened(), away.opened())
	got := map[string]string{}
	put := func(name string, h ledger.Hash) { got[name] = h.String() }
	res := s.block(service.Block{
		Txs:  []service.BlockTx{booking(t, item{home, home.voucher(0, 7, 9)}, item{home, home.voucher(5, 70, 9)}), receipted(t, item{away, away.voucher(0, 8, 1)})},
		Send: func(service.Message) bool { return false },
	})
	put("results root", res.ResultsRoot)
	put("usage root", res.UsageRoot)
	res = s.block(service.Block{Epoch: &service.EpochStart{Epoch: 1, Sigma: 5}})
	got["message"] = hex.EncodeToString(res.Messages[0].Payload)
	for i, x := range res.Settlements {
		got["settlement "+string(rune('0'+i))] = hex.EncodeToString(x.Batch.Encode())
	}
	s.main(redeemed(home.home(), channel.LaneTotal{Index: 1, Redeemed: 7}))
	s.block(service.Block{Txs: []service.BlockTx{booking(t, item{home, home.voucher(0, 10, 9)})}})
	for k, v := range s.view.Range(nil) {
		got["state "+hex.EncodeToString(k)] = hex.EncodeToString(v)
	}
	golden(t, "testdata/state.json", got)
}

func golden(t *testing.T, path string, got map[string]string) {
	t.Helper()
	if *update {
		text, err := json.MarshalIndent(got, "", "  ")
		if err == nil {
			err = os.WriteFile(path, append(text, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: the bytes of the protocol changed: %s", path, diff)
	}
}
