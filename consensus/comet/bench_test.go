package comet_test

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// BenchmarkBundles carries bundles of 64 KB, 256 records of 250 bytes, through
// four validators on badger with an application that does nothing: what the
// engine itself costs. One operation is one bundle.
func BenchmarkBundles(b *testing.B) {
	const recordsPerBundle, bundleSize, inFlight = 256, 64_000, 128
	n := newNetwork(b, "bench", 4)
	n.config = func(c *comet.Config) {
		c.TimeoutCommit, c.TimeoutPropose, c.TimeoutVote, c.TimeoutDelta = 0, 0, 0, 0 // the defaults
	}
	for _, m := range n.members {
		m.store = openBadger(b, filepath.Join(m.dir, "store"))
		m.app.light = true
	}
	n.startAll(b)
	app := n.members[0].app
	_, first := app.count()
	begin, cpu := time.Now(), processCPU(b)
	b.ResetTimer()
	for sent := 0; sent < b.N; {
		bundle := make([]byte, bundleSize)
		binary.BigEndian.PutUint64(bundle, uint64(sent)+1)
		err := n.members[sent%4].chain.Broadcast(bundle)
		switch {
		case err == nil:
			sent++
			app.waitFor(b, 30*time.Second, func(txs int, _ uint64) bool { return sent-txs < inFlight })
		case errors.Is(err, comet.ErrMempoolFull):
			_, h := app.count()
			app.waitFor(b, 30*time.Second, func(_ int, height uint64) bool { return height > h })
		default:
			b.Fatal(err)
		}
	}
	for _, m := range n.members {
		m.app.waitFor(b, 30*time.Second, func(txs int, _ uint64) bool { return txs == b.N })
	}
	b.StopTimer()
	_, last := app.count()
	elapsed, records := time.Since(begin), float64(b.N*recordsPerBundle)
	b.ReportMetric(records/elapsed.Seconds(), "records/s")
	b.ReportMetric(float64((processCPU(b)-cpu).Microseconds())/records, "us/record")
	b.ReportMetric(float64(last-first)/elapsed.Seconds(), "blocks/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkBackfill fetches the headers below a snapshot from a source in memory, with
// the votes of a full committee, into badger: what a node that joins pays, but for the
// network and the source.
func BenchmarkBackfill(b *testing.B) {
	const blocks, validators = 4_000, 100
	for b.Loop() {
		b.StopTimer()
		n := newNetwork(b, "bench", 1)
		m := n.members[0]
		store := openBadger(b, filepath.Join(m.dir, "store"))
		c, err := comet.New(comet.Config{Dir: filepath.Join(m.dir, "chain"), ListenAddr: m.addr}, n.genesis, m.signer, m.nodeKey, store, m.app,
			testLogger("0"), nil)
		if err != nil {
			b.Fatal(err)
		}
		chain, err := comet.NewLongChain(c, blocks, validators)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		begin, cpu := time.Now(), processCPU(b)
		if err := comet.Fill(b.Context(), c, chain); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(blocks/time.Since(begin).Seconds(), "headers/s")
		b.ReportMetric(float64((processCPU(b)-cpu).Microseconds())/blocks, "us/header")
		b.StopTimer()
		size, err := store.Size()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(size.Total)/blocks, "stored-bytes/header")
		b.ReportMetric(float64(chain.Bytes), "sent-bytes/header")
		theirs, ours := comet.TurnCost(validators, 50_000)
		b.ReportMetric(float64(theirs.Microseconds()), "us/validators-turned-50000")
		b.ReportMetric(float64(ours.Microseconds()), "us/validators-remembered")
		b.StartTimer()
	}
}

// processCPU is the time this process has spent on all cores.
func processCPU(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
