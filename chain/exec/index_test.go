package exec_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

func TestReceiptsSurviveTheIndex(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.Map(rapid.Uint64Range(0, uint64(ledger.MaxAmount)), func(n uint64) ledger.Amount { return ledger.Amount(n) })
		r := settlement.Receipt{
			Hash: ledger.HashOf("test", []byte{rapid.Byte().Draw(t, "hash")}),
			Kind: chain.Kind(rapid.IntRange(1, 7).Draw(t, "kind")), Code: chain.Code(rapid.Uint16().Draw(t, "code")),
			Signer: ledger.Address{rapid.Byte().Draw(t, "signer")}, Nonce: rapid.Uint64().Draw(t, "nonce"),
			Fee: amount.Draw(t, "fee"), Paid: amount.Draw(t, "paid"), Burned: amount.Draw(t, "burned"),
			FirstChannel: rapid.Uint64().Draw(t, "first"), Opened: rapid.Uint32().Draw(t, "opened"),
		}
		if r.Kind == chain.KindSettle {
			r.ResultsRoot = ledger.HashOf("root", nil)
		}
		index := uint64(0)
		for range rapid.IntRange(0, 20).Draw(t, "entries") {
			index += rapid.Uint64Range(0, 1<<40).Draw(t, "step")
			r.Entries = append(r.Entries, settlement.EntryResult{
				Index: index, Lane: rapid.Byte().Draw(t, "lane"), Code: chain.Code(rapid.Uint16().Draw(t, "entry code")),
				Closed: rapid.Bool().Draw(t, "closed"),
				Paid:   amount.Draw(t, "entry paid"), Burned: amount.Draw(t, "entry burned"), Redeemed: amount.Draw(t, "redeemed"),
			})
		}
		got, err := exec.DecodeReceipt(exec.EncodeReceipt(&r))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, got); diff != "" {
			t.Errorf("decoded (-want +got):\n%s", diff)
		}
	})
}

func FuzzIndex(f *testing.F) {
	f.Add(exec.EncodeReceipt(&settlement.Receipt{Kind: chain.KindSettle, Entries: []settlement.EntryResult{{Index: 3, Paid: 9}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		exec.DecodeIndex(b)
		if r, err := exec.DecodeReceipt(b); err == nil && !bytes.Equal(exec.EncodeReceipt(&r), b) {
			t.Errorf("%x is not the only encoding of %+v", b, r)
		}
	})
}
