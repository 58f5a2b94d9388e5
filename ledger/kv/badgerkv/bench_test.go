package badgerkv_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
)

// BenchmarkCommit commits batches of rows of 272 bytes at random places among a
// million.
func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct {
		name  string
		batch int
		sync  bool
		small bool
	}{
		{"10k rows, synced", 10_000, true, false},
		{"10k rows, not synced", 10_000, false, false},
		{"10 rows, synced", 10, true, false},
		{"10 rows, not synced", 10, false, false},
		{"1k rows, synced, small", 1_000, true, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			o := badgerkv.Main(b.TempDir())
			if c.small {
				o = badgerkv.Small(b.TempDir())
			}
			s, err := badgerkv.Open(o)
			if err != nil {
				b.Fatal(err)
			}
			r := rand.New(rand.NewPCG(1, 1))
			value := make([]byte, 272)
			for b.Loop() {
				batch := s.NewBatch()
				for range c.batch {
					key := binary.BigEndian.AppendUint64([]byte("s/dC"), r.Uint64N(1_000_000))
					if err := batch.Set(key, value); err != nil {
						b.Fatal(err)
					}
				}
				if err := batch.Commit(c.sync); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*c.batch), "us/row")
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
