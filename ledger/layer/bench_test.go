package layer_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/statetree"
)

// benchTable has the rows of the channel table.
func benchTable() chain.Table { return chain.Table{Prefix: 'C', RowSize: 272} }

const blockRows = 10_000

// BenchmarkBlock commits blocks that update 10,000 random rows, on disk with
// synced commits: the time of a block by phases, per row.
func BenchmarkBlock(b *testing.B) {
	for _, c := range []struct {
		name        string
		rows, keys  int
		cache       int64
		prune       bool
		consecutive bool // the block's rows lie together
	}{
		{name: "10k rows", rows: 10_000, prune: true},
		{name: "100k rows", rows: 100_000, prune: true},
		{name: "1M rows, all in memory", rows: 1_000_000, cache: 400 << 20, prune: true},
		{name: "1M rows, never pruned", rows: 1_000_000, cache: 400 << 20},
		{name: "1M rows, default cache", rows: 1_000_000, prune: true},
		{name: "1M rows, hashes only", rows: 1_000_000, cache: 68 << 20, prune: true},
		{name: "1M rows, a quarter of the pages", rows: 1_000_000, cache: 16 << 20, prune: true},
		{name: "1M rows, consecutive", rows: 1_000_000, cache: 400 << 20, prune: true, consecutive: true},
		{name: "100k rows among 300k keys", rows: 100_000, keys: 300_000, prune: true},
	} {
		b.Run(c.name, func(b *testing.B) {
			l := benchLayer(b, c.cache)
			fill(b, l, c.rows, c.keys)
			r := rand.New(rand.NewPCG(1, 2))
			runtime.GC()
			var read, prepare, commit, prune time.Duration
			cpu := cpuTime(b)
			b.ResetTimer()
			for range b.N {
				first := 0
				if c.consecutive {
					first = r.IntN(c.rows - blockRows + 1)
				}
				keys := benchKeys(r, c.rows, first, c.consecutive)
				var changes chain.Changes
				read += timed(b, func() error {
					return l.Read(func(v chain.View) error { changes = update(v, keys); return nil })
				})
				prepare += timed(b, func() error { _, err := l.Prepare(l.Height()+1, changes); return err })
				commit += timed(b, func() error { return l.Commit(nil) })
				if c.prune {
					prune += timed(b, func() error { _, err := l.Prune(1); return err })
				}
			}
			b.StopTimer()
			per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / blockRows / float64(b.N) }
			b.ReportMetric(per(read), "read_us/row")
			b.ReportMetric(per(prepare), "prepare_us/row")
			b.ReportMetric(per(commit), "commit_us/row")
			b.ReportMetric(per(prune), "prune_us/row")
			b.ReportMetric(per(read+prepare+commit+prune), "us/row")
			b.ReportMetric(per(cpuTime(b)-cpu), "cpu_us/row")
			memory(b)
			b.ReportMetric(float64(l.Stats().PageBytes)/1e6, "pages_MB")
		})
	}
}

// BenchmarkView reads single rows and keys, and ranges.
func BenchmarkView(b *testing.B) {
	const rows = 100_000
	for _, c := range []struct {
		name  string
		cache int64
	}{{"rows in memory", 0}, {"rows in the store", 7 << 20}} {
		l := benchLayer(b, c.cache)
		fill(b, l, rows, 100_000)
		r := rand.New(rand.NewPCG(1, 2))
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			_ = l.Read(func(v chain.View) error {
				for b.Loop() {
					v.Get(benchTable().Key(uint64(r.IntN(rows))))
				}
				return nil
			})
		})
		if c.cache != 0 {
			continue
		}
		b.Run("keys", func(b *testing.B) {
			b.ReportAllocs()
			_ = l.Read(func(v chain.View) error {
				for b.Loop() {
					v.Get(benchKey(r.IntN(100_000)))
				}
				return nil
			})
		})
		b.Run("range of 100k rows", func(b *testing.B) {
			b.ReportAllocs()
			_ = l.Read(func(v chain.View) error {
				for b.Loop() {
					for range v.Range([]byte{'C'}) {
					}
				}
				return nil
			})
		})
		b.Run("prove a row", func(b *testing.B) {
			for b.Loop() {
				if _, err := l.Prove(benchTable().Key(uint64(r.IntN(rows)))); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("verify a row", func(b *testing.B) {
			st, err := l.Prove(benchTable().Key(77))
			if err != nil {
				b.Fatal(err)
			}
			enc, _ := st.Proof.Encode()
			b.ReportMetric(float64(len(enc)), "bytes")
			schema := l.Schema()
			for b.Loop() {
				if err := schema.VerifyStatement(st); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkInsert makes rows with a registry key each, as new accounts are, among
// keys that are there already.
func BenchmarkInsert(b *testing.B) {
	for _, keys := range []int{10_000, 100_000, 300_000} {
		b.Run(fmt.Sprintf("among %d keys", keys), func(b *testing.B) {
			l := benchLayer(b, 0)
			fill(b, l, 10_000, keys)
			next := keys
			var commit, prune time.Duration
			b.ResetTimer()
			for range b.N {
				set := map[string][]byte{}
				for range 1_000 {
					set[string(benchKey(next))] = make([]byte, 8)
					set[string(benchTable().Key(uint64(next)))] = make([]byte, 272)
					next++
				}
				commit += timed(b, func() error { commitSet(b, l, set); return nil })
				prune += timed(b, func() error { _, err := l.Prune(1); return err })
			}
			b.ReportMetric(float64(commit.Microseconds())/1e3/float64(b.N), "commit_us/key")
			b.ReportMetric(float64(prune.Microseconds())/1e3/float64(b.N), "prune_us/key")
		})
	}
}

func benchLayer(b *testing.B, cache int64) *layer.Settlement {
	b.Helper()
	o := badgerkv.Main(b.TempDir())
	l, err := layer.Open(o, layer.Options{State: statetree.Options{
		Tables: []chain.Table{benchTable()}, PageCacheBytes: cache, KeepVersions: 2,
	}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := l.Close(); err != nil {
			b.Error(err)
		}
	})
	return l
}

// fill makes the state: blocks of 20,000 rows or keys.
func fill(b *testing.B, l *layer.Settlement, rows, keys int) {
	b.Helper()
	const step = 20_000
	for from := 0; from < rows; from += step {
		set := map[string][]byte{}
		for i := from; i < min(from+step, rows); i++ {
			set[string(benchTable().Key(uint64(i)))] = make([]byte, 272)
		}
		commitSet(b, l, set)
	}
	for from := 0; from < keys; from += step {
		set := map[string][]byte{}
		for i := from; i < min(from+step, keys); i++ {
			set[string(benchKey(i))] = make([]byte, 8)
		}
		commitSet(b, l, set)
	}
	for more := true; more; {
		var err error
		if more, err = l.Prune(10); err != nil {
			b.Fatal(err)
		}
	}
}

// benchKey spreads like a hash.
func benchKey(i int) []byte {
	r := rand.New(rand.NewPCG(uint64(i), 3))
	k := []byte{'k'}
	for range 3 {
		k = binary.BigEndian.AppendUint64(k, r.Uint64())
	}
	return k
}

func commitSet(b *testing.B, l *layer.Settlement, set map[string][]byte) {
	b.Helper()
	changes := make(chain.Changes, 0, len(set))
	for k, v := range set {
		changes = append(changes, chain.Change{Key: []byte(k), Value: v})
	}
	slices.SortFunc(changes, func(x, y chain.Change) int { return strings.Compare(string(x.Key), string(y.Key)) })
	height := l.Height() + 1
	if _, err := l.Prepare(height, changes); err != nil {
		b.Fatal(err)
	}
	if err := l.Commit(nil); err != nil {
		b.Fatal(err)
	}
}

func benchKeys(r *rand.Rand, rows, first int, consecutive bool) []uint64 {
	if consecutive {
		out := make([]uint64, blockRows)
		for i := range out {
			out[i] = uint64(first + i)
		}
		return out
	}
	seen := make(map[uint64]bool, blockRows)
	for len(seen) < blockRows {
		seen[uint64(r.IntN(rows))] = true
	}
	out := make([]uint64, 0, blockRows)
	for i := range seen {
		out = append(out, i)
	}
	slices.Sort(out)
	return out
}

// update reads each row and changes eight bytes of it.
func update(v chain.View, keys []uint64) chain.Changes {
	out := make(chain.Changes, 0, len(keys))
	for _, i := range keys {
		k := benchTable().Key(i)
		row := slices.Clone(v.Get(k))
		binary.BigEndian.PutUint64(row, binary.BigEndian.Uint64(row)+1)
		out = append(out, chain.Change{Key: k, Value: row})
	}
	return out
}

func timed(b *testing.B, f func() error) time.Duration {
	b.Helper()
	start := time.Now()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// memory reports the live heap and the resident set.
func memory(b *testing.B) {
	b.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/1e6, "heap_MB")
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(status)) {
		var kb string
		if _, err := fmt.Sscanf(line, "RssAnon: %s kB", &kb); err == nil {
			if n, err := strconv.Atoi(kb); err == nil {
				b.ReportMetric(float64(n)/1e3, "anon_MB")
			}
		}
	}
}
