package exec

import (
	"encoding/hex"
	"reflect"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// goldenShardBlock is what a block of a shard did, but for its receipts.
func goldenShardBlock() *Committed {
	r := &ShardResult{
		Height: 9, Epoch: 3, Level: 1_200, Ended: true, Codes: []chain.Code{chain.CodeOK, chain.CodeWrongShard},
		Bookings: []service.Booking{{ChannelID: ledger.Hash{1}, Lane: 2, Seq: 300, Units: 4, Cumulative: 5, UsageRoot: ledger.Hash{6}}},
		Imports: []link.Receipt{
			{Link: link.Link{Dst: link.Place{Service: 7, Zone: 1, Bucket: 2}}, Seq: 3, Result: link.Executed},
			{Link: link.Link{Src: link.Place{Service: 7}}, Seq: 4, OriginTx: ledger.Hash{8}, Result: link.Bounced, Code: chain.CodeWrongShard},
		},
		Totals: service.Totals{Booked: service.Sums{Amount: 5, Units: 4, Work: 3}, Channels: 1},
	}
	b := &Committed{Height: 9, Time: 1_000, Size: 500, Relays: 2, Outbox: 3, Receipts: make([]Receipt, 1), Body: r}
	b.ResultsRoot, b.OutboxRoot, b.UsageRoot = ledger.Hash{7}, ledger.Hash{9}, service.UsageRoot(r.Bookings)
	return b
}

// TestShardBooks pins how the index of a shard writes blocks and its rows, and reads them
// back.
func TestShardBooks(t *testing.T) {
	t.Parallel()
	s := &shardRules{}
	b := goldenShardBlock()
	raw := s.EncodeBlock(b)
	const want = "e807f403020301" + "03b00901" + "050403" +
		"000000" + "000000" + "000000" + "000000" + "000000" + "000000" + "01" +
		"0700000000000000000000000000000000000000000000000000000000000000" +
		"0900000000000000000000000000000000000000000000000000000000000000" +
		"01" + "0100000000000000000000000000000000000000000000000000000000000000" + "02ac020405" +
		"0600000000000000000000000000000000000000000000000000000000000000" +
		"02" + "000000000000000000070102" + "03000100" +
		"000000070000000000000000" + "04010800000000000000000000000000000000000000000000000000000000000000028c01" +
		"02008c01"
	if got := hex.EncodeToString(raw); got != want {
		t.Errorf("block\n%s, want\n%s", got, want)
	}
	back, receipts, err := s.DecodeBlock(9, raw)
	if err != nil || receipts != 1 {
		t.Fatalf("%d receipts: %v", receipts, err)
	}
	back.Receipts = b.Receipts
	if !reflect.DeepEqual(back, b) {
		t.Errorf("decoded %+v with %+v", back, back.Body)
	}
	for cut := range len(raw) {
		if _, _, err := s.DecodeBlock(9, raw[:cut]); err == nil {
			t.Errorf("%d of %d bytes are a block", cut, len(raw))
		}
	}
	r := bodyOf[*ShardResult](b.Body)
	r.opened, r.closed = []channelPlace{{ledger.Hash{1}, 200, 300}}, []ledger.Hash{{2}}
	rows := s.Entries(b, nil)
	const zeros = "00000000000000000000000000000000000000000000000000000000000000"
	for i, row := range [][2]string{
		{"6901" + zeros, "c8ac02"}, {"6902" + zeros, ""}, {"7601" + zeros + "02000000000000012c", "0900"},
	} {
		if key, value := hex.EncodeToString(rows[i].Key), hex.EncodeToString(rows[i].Value); key != row[0] || value != row[1] {
			t.Errorf("row %d is %s: %s, want %s: %s", i, key, value, row[0], row[1])
		}
	}
	if gone, err := s.Forget(b, nil); err != nil || len(gone) != 1 || gone[0].Value != nil || string(gone[0].Key) != string(rows[2].Key) {
		t.Errorf("forgotten %+v: %v", gone, err)
	}
}

func FuzzDecodeShardBlock(f *testing.F) {
	s := &shardRules{}
	f.Add(s.EncodeBlock(goldenShardBlock()))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, receipts, err := s.DecodeBlock(9, raw)
		if err != nil {
			return
		}
		b.Receipts = make([]Receipt, min(receipts, 1<<10))
		again, _, err := s.DecodeBlock(9, s.EncodeBlock(b))
		if err != nil {
			t.Fatalf("what was decoded cannot be decoded again: %v", err)
		}
		if again.Receipts = b.Receipts; !reflect.DeepEqual(again, b) {
			t.Errorf("%x is read in two ways", raw)
		}
	})
}
