package service_test

import (
	"bytes"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
)

// canonical checks that decode accepts nothing but what encode writes.
func canonical[T any](f *testing.F, seed []byte, decode func([]byte) (T, error), encode func(*T) []byte) {
	f.Helper()
	f.Add(seed)
	f.Add(seed[:len(seed)-1])
	f.Add(append(bytes.Clone(seed), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decode(b)
		if err != nil {
			return
		}
		if again := encode(&v); !bytes.Equal(again, b) {
			t.Errorf("%x decodes, and encodes as %x", b, again)
		}
	})
}

func FuzzDecodeChannel(f *testing.F) {
	seed := goldenChannel()
	canonical(f, seed.Encode(), service.DecodeChannel, (*service.Channel).Encode)
}

func FuzzDecodeLane(f *testing.F) {
	seed := goldenLane()
	canonical(f, seed.Encode(), service.DecodeLane, (*service.Lane).Encode)
}

func FuzzDecodeEarnings(f *testing.F) {
	seed := goldenEarnings()
	canonical(f, seed.Encode(), service.DecodeEarnings, (*service.Earnings).Encode)
}

func FuzzDecodeRest(f *testing.F) {
	seed := service.Rest{Ended: goldenSums(1), Stuck: goldenSums(2)}
	canonical(f, seed.Encode(), service.DecodeRest, (*service.Rest).Encode)
}

func FuzzDecodeEpoch(f *testing.F) {
	seed := service.Epoch{Number: 3, Sigma: 4, Settling: true}
	canonical(f, seed.Encode(), service.DecodeEpoch, (*service.Epoch).Encode)
}

func FuzzDecodeTotals(f *testing.F) {
	seed := goldenTotals()
	canonical(f, seed.Encode(), service.DecodeTotals, (*service.Totals).Encode)
}

func FuzzDecodeUsage(f *testing.F) {
	seed := goldenUsage()
	f.Add(seed.Encode())
	seed.Receipt = nil
	canonical(f, seed.Encode(), service.DecodeUsage, (*service.Usage).Encode)
}

func FuzzDecodeGenesis(f *testing.F) {
	seed := goldenGenesis()
	canonical(f, seed.Encode(), service.DecodeGenesis, (*service.Genesis).Encode)
}

func FuzzDecodeParams(f *testing.F) {
	seed := service.DefaultParams()
	canonical(f, seed.Encode(), service.DecodeParams, (*service.Params).Encode)
}

func FuzzDecodeShard(f *testing.F) {
	seed := goldenGenesis().Shard
	canonical(f, seed.Encode(), service.DecodeShard, (*service.Shard).Encode)
}

func FuzzDecodeReceipt(f *testing.F) {
	seed := goldenReceipt()
	canonical(f, seed.Encode(), service.DecodeReceipt, (*service.Receipt).Encode)
}

func FuzzDecodeResults(f *testing.F) {
	seed := service.Results{Height: 1, Receipts: 2, Imports: 3, Bookings: 4}
	canonical(f, seed.Encode(), service.DecodeResults, (*service.Results).Encode)
}

func FuzzDecodeEarningsMessage(f *testing.F) {
	seed := service.EarningsMessage{Payee: keyOf("payee", 0).Address(4), Epoch: 3, Sums: goldenSums(2)}
	canonical(f, seed.Encode(), service.DecodeEarningsMessage, (*service.EarningsMessage).Encode)
}

func FuzzDecodeBookingProof(f *testing.F) {
	seed := goldenProof()
	canonical(f, seed.Encode(), service.DecodeBookingProof, (*service.BookingProof).Encode)
}

// FuzzBlock: whatever bytes a block and a message have, it is applied, and what it
// counts is conserved.
func FuzzBlock(f *testing.F) {
	u, a := goldenUsage(), newAccount(300, keyOf("payer", 0), keyOf("payee", 0), 3, 4, 1_000)
	f.Add(u.Encode(), uint8(service.KindOpened), a.opened().Payload, true)
	f.Add(u.Encode(), uint8(service.KindEarnings), []byte{1}, false)
	base := newShard(f, smallParams(), wholeZone(3))
	base.main(a.opened())
	payee, home := a.payeeAddress(), a.home()
	f.Fuzz(func(t *testing.T, payload []byte, kind uint8, message []byte, fromMain bool) {
		s := &shard{t: t, params: base.params, place: base.place, height: base.height, view: base.view.clone()}
		tx := chain.Tx{Raw: []byte("raw"), Kind: chain.KindBookUsage, Payload: payload, Signer: payee}
		in := service.Inbound{Main: fromMain, To: home, Kind: service.MessageKind(kind), Payload: message}
		s.block(service.Block{Txs: []service.BlockTx{{Tx: tx, Checked: true}}, Inbox: []service.Inbound{in}})
	})
}
