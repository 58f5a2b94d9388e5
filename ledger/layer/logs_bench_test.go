package layer_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/lanelog"
	"github.com/tributary-network/tributary/ledger/layer"
)

const (
	// benchSegments is how many segments a round of BenchmarkLogs stores, and benchLogs of
	// how many logs at once.
	benchSegments = 512
	benchLogs     = 32
)

// benchParts returns full segments of some logs, and how long one core took to hash and to seal
// them, which is what a party does.
func benchParts(b *testing.B, round int) (parts [][]layer.Part, ids []lanelog.ID, took time.Duration) {
	b.Helper()
	e := logEntry(logOf("a", 0), 1)
	start := time.Now()
	for lane := range uint16(benchLogs) {
		id := lanelog.ID{Channel: ledger.HashOf("bench", binary.BigEndian.AppendUint64(nil, uint64(round))), Lane: lane}
		log := lanelog.New(logKey(), id)
		var all []layer.Part
		for len(all) < benchSegments/benchLogs {
			object, err := log.Append(e)
			if err != nil {
				b.Fatal(err)
			}
			if object != nil {
				all = append(all, layer.Part{Object: object})
			}
		}
		parts, ids = append(parts, all), append(ids, id)
	}
	return parts, ids, time.Since(start)
}

// BenchmarkLogs stores full segments of 32 logs, one a call, each call durable: in entries a second,
// beside badger's own rate for the same bytes in batches of as many, SHA-256's for the same bytes, and
// the rate of a party that writes the logs on one core. "whole" is to log, hash, seal and store, one after
// the other.
func BenchmarkLogs(b *testing.B) {
	l, err := layer.OpenLogs(badgerkv.Bulk(b.TempDir()), layer.LogOptions{Reserve: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	raw, err := badgerkv.Open(badgerkv.Bulk(b.TempDir()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _, _ = l.Close(), raw.Close() })
	var write, store, ingest, hash time.Duration
	var cpu time.Duration
	for round := range b.N {
		parts, ids, took := benchParts(b, round)
		write += took
		used := cpuTime(b)
		start := time.Now()
		var wg sync.WaitGroup
		for i := range ids {
			wg.Go(func() {
				for at := range parts[i] {
					if _, err := l.Append(ids[i], parts[i][at:at+1], nil); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		store += time.Since(start)
		cpu += cpuTime(b) - used
		ingest += timed(b, func() error { return ingestParts(raw, round, parts) })
		hash += timed(b, func() error {
			for _, all := range parts {
				for _, p := range all {
					sha256.Sum256(p.Object)
				}
			}
			return nil
		})
	}
	entries := float64(b.N) * benchSegments * segmentSize
	b.ReportMetric(entries/store.Seconds(), "entries/s")
	b.ReportMetric(entries/cpu.Seconds(), "entries/cpu_s")
	b.ReportMetric(entries/(write+store).Seconds(), "whole_entries/s")
	b.ReportMetric(entries/write.Seconds(), "written_entries/s")
	b.ReportMetric(entries/ingest.Seconds(), "badger_entries/s")
	b.ReportMetric(entries/hash.Seconds(), "sha256_entries/s")
	b.ReportMetric(store.Seconds()/ingest.Seconds(), "of_badger")
}

// ingestParts writes the same objects to a bare store, as many at once as the logs do.
func ingestParts(s *badgerkv.Store, round int, parts [][]layer.Part) error {
	for at := range parts[0] {
		batch := s.NewBatch()
		for i := range parts {
			if err := batch.Set(fmt.Appendf(nil, "%d/%d/%d", round, i, at), parts[i][at].Object); err != nil {
				return err
			}
		}
		if err := batch.Commit(true); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkLogPieces stores pieces of 16 entries of 64 logs, one a call: a voucher every 16 units.
func BenchmarkLogPieces(b *testing.B) {
	const logs, entries = 64, 16
	l, err := layer.OpenLogs(badgerkv.Bulk(b.TempDir()), layer.LogOptions{Reserve: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	scribes := make([]*scribe, logs)
	for i := range scribes {
		scribes[i] = newScribe(logOf("a", uint16(i)))
	}
	for range b.N {
		var wg sync.WaitGroup
		b.StopTimer()
		parts, claims := make([][]layer.Part, logs), make([]*layer.Claim, logs)
		for i, s := range scribes {
			parts[i], claims[i] = s.grow(b, entries), s.claim(b)
		}
		b.StartTimer()
		for i, s := range scribes {
			wg.Go(func() {
				if _, err := l.Append(s.id, parts[i], claims[i]); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
	b.ReportMetric(float64(b.N)*logs*entries/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(float64(b.N)*logs/b.Elapsed().Seconds(), "calls/s")
}
