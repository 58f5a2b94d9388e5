package api_test

import (
	"testing"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
)

// BenchmarkRefusedBatch is what a batch of 9,000 entries costs that is refused
// for its last entry: decoding, encoding and checking its form, without any
// signature.
func BenchmarkRefusedBatch(b *testing.B) {
	w := newWorld(b)
	batch := &channel.Batch{Payee: w.payee.addr}
	for i := range 9_000 {
		batch.Entries = append(batch.Entries, channel.Entry{Index: uint64(i), Claim: channel.ClaimVoucher, Cumulative: 1})
	}
	batch.Entries[8_999].Index = 8_998
	fields := batchRequest(fieldsOf(w, batch))
	bytes := signed(w.tx(w.payee, chain.KindSettle, batch.Encode()))
	b.Run("fields", func(b *testing.B) {
		for b.Loop() {
			if _, err := w.settlements().SubmitSettlement(b.Context(), fields); err == nil {
				b.Fatal("accepted")
			}
		}
	})
	b.Run("bytes", func(b *testing.B) {
		for b.Loop() {
			if _, err := w.settlements().SubmitSettlement(b.Context(), bytes); err == nil {
				b.Fatal("accepted")
			}
		}
	})
}

// BenchmarkCall is what a call costs that does nothing but read the head.
func BenchmarkCall(b *testing.B) {
	w := newWorld(b, func(c *api.Config) { c.Limits.RequestsPerSecond = 1e9 })
	for b.Loop() {
		if _, err := w.nodes().GetNetwork(b.Context(), &nodev1.GetNetworkRequest{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStream is what an item of a hundred entries costs from its arrival
// to its finality on an in-memory chain, signatures included.
func BenchmarkStream(b *testing.B) {
	w := newWorld(b)
	const entries = 100
	l := w.openLot(1_000, 1_000_000, w.later())
	st := w.openStream(hello(newID()))
	seq, done := uint64(0), uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		const window = 10
		for range window {
			from := int(seq) * entries % 1_000
			st.item(seq, l.settle(from, from+entries, 1))
			seq++
		}
		for range st.collect(done, window) {
			done++
		}
		st.ack(done)
	}
	b.ReportMetric(float64(seq*entries)/b.Elapsed().Seconds(), "entries/s")
}
