package layer_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger/layer"
)

// BenchmarkSnapshot commits blocks of 2,000 rows, five a second, of 200,000 rows and
// 50,000 keys, with and without a snapshot being made beside them, and restores the
// last one.
func BenchmarkSnapshot(b *testing.B) {
	const rows, keys, blocks = 200_000, 50_000, 50
	l := benchLayer(b, 0)
	fill(b, l, rows, keys)
	s, err := layer.OpenSnapshots(b.TempDir(), 0)
	if err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	live := func() []time.Duration {
		var took []time.Duration
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for range blocks {
			<-tick.C
			picked := benchKeys(r, rows, 0, false)[:2_000]
			slices.Sort(picked)
			start := time.Now()
			var changes chain.Changes
			if err := l.Read(func(v chain.View) error { changes = update(v, picked); return nil }); err != nil {
				b.Fatal(err)
			}
			if _, err := l.Prepare(l.Height()+1, changes); err != nil {
				b.Fatal(err)
			}
			if err := l.Commit(nil); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(start))
			if _, err := l.Prune(1); err != nil {
				b.Fatal(err)
			}
		}
		slices.Sort(took)
		return took
	}
	report := func(name string, took []time.Duration) {
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1e3, name+"_p50_ms")
		b.ReportMetric(float64(took[len(took)-1].Microseconds())/1e3, name+"_max_ms")
	}
	for b.Loop() {
		report("alone", live())
		done := make(chan layer.Manifest, 1)
		state, err := l.OpenSnapshot()
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		go func() {
			m, err := s.Make(b.Context(), state)
			if err != nil {
				b.Error(err)
			}
			_ = state.Close()
			b.ReportMetric(time.Since(start).Seconds(), "make_s")
			done <- m
		}()
		report("beside", live())
		m := <-done
		b.ReportMetric(float64(m.Bytes)/1e6, "MB")
		restored := benchLayer(b, 0)
		start = time.Now()
		restore, err := restored.Restore(m)
		if err != nil {
			b.Fatal(err)
		}
		for i := range m.Chunks {
			chunk, err := s.Chunk(m.State.Height, uint32(i))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := restore.Add(uint32(i), chunk); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(time.Since(start).Seconds(), "restore_s")
	}
}
