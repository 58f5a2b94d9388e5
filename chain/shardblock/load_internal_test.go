package shardblock

import (
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/shard/link"
)

// TestSizeOfBlock: messages and what is booked make a block heavy, proofs and what is not
// booked do not.
func TestSizeOfBlock(t *testing.T) {
	t.Parallel()
	long := make([]byte, 4_096)
	messages := []link.Message{{Payload: long[:10]}, {Payload: long[:100]}}
	b := Block{
		Relays: []*Relay{
			{Kind: KindHead, News: News{Handovers: []Handover{{Record: Row{Value: long, Proof: long}}}, Heads: make([]cert.Certificate, 8)}},
			{Kind: KindEpoch, Epoch: &Epoch{Record: Row{Proof: long}, Assignment: Row{Value: long}, Committee: long}},
			{Kind: KindImport, Import: &Import{Anchors: &Row{Value: long, Proof: long}, Link: link.Import{Leaves: []link.Leaf{
				{Message: &messages[0]}, {Ack: &link.Ack{}}, {Message: &messages[1]},
			}}}},
			{Kind: KindRelist},
		},
		Txs: []service.BlockTx{{Tx: chain.Tx{Raw: long[:300]}}, {Tx: chain.Tx{Raw: long}}, {Tx: chain.Tx{Raw: long}}, {Tx: chain.Tx{Raw: long[:1_000]}}},
	}
	stale := service.EntryResult{Code: chain.CodeStale}
	receipts := []service.Receipt{
		{Entries: make([]service.EntryResult, 2)},
		{Entries: []service.EntryResult{stale, stale}},
		{Code: chain.CodeWrongService},
		{Entries: []service.EntryResult{stale, {}, {Code: chain.CodeWrongShard}, stale}},
	}
	if got, want := b.size(receipts), uint64(2*link.MessageOverhead+10+100+300+250); got != want {
		t.Errorf("a block of %d bytes, want %d", got, want)
	}
}
