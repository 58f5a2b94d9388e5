package chain_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain"
)

// A range of an overlay is that of a sorted map, however many writes of whatever
// kind there were since the last one, whether anybody asked in between, and
// however deep overlays lie on each other.
func TestOverlayRangesAmongWrites(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0)) //nolint:gosec // reproducible
		base := model{}
		for range rapid.IntRange(0, 300).Draw(rt, "base") {
			base[randomKey(rng)] = []byte("base")
		}
		want := model{}
		maps.Copy(want, base)
		below := chain.NewOverlay(base)
		top := chain.NewOverlay(below)
		for step := range rapid.IntRange(1, 12).Draw(rt, "steps") {
			deleted := rapid.IntRange(0, 10).Draw(rt, "tenths deleted")
			for i := range rapid.SampledFrom([]int{0, 1, 3, 100, 3000}).Draw(rt, "writes") {
				k := randomKey(rng)
				if rng.IntN(10) < deleted {
					top.Delete([]byte(k))
					delete(want, k)
				} else {
					top.Set([]byte(k), fmt.Appendf(nil, "%d %d", step, i))
					want[k] = fmt.Appendf(nil, "%d %d", step, i)
				}
			}
			for range rapid.IntRange(0, 3).Draw(rt, "looks") {
				k := randomKey(rng)
				prefix := k[:rng.IntN(len(k)+1)]
				if diff := cmp.Diff(collect(want, prefix), collect(top, prefix)); diff != "" {
					rt.Fatalf("step %d: Range(%q) (-want +got):\n%s", step, prefix, diff)
				}
			}
			if rapid.Bool().Draw(rt, "merge") {
				below.Merge(top)
				top = chain.NewOverlay(below)
			}
		}
		below.Merge(top)
		if diff := cmp.Diff(collect(want, ""), collect(below, "")); diff != "" {
			rt.Fatalf("Range of all (-want +got):\n%s", diff)
		}
	})
}

// randomKey is one of some thousand keys, many of which begin alike; some are
// all of how others begin, and 0xff has no next prefix.
func randomKey(rng *rand.Rand) string {
	alphabet := []byte{0, 1, 'a', 'b', 0xfe, 0xff}
	k := make([]byte, 1+rng.IntN(5))
	for i := range k {
		k[i] = alphabet[rng.IntN(len(alphabet))]
	}
	return string(k)
}

// A sequence that is broken off, or read while another is, is still right.
func TestOverlayRangesWithinRanges(t *testing.T) {
	t.Parallel()
	o := chain.NewOverlay(model{})
	const n = 2000
	for i := range uint64(n) {
		o.Set(numberKey(i*7919%n), []byte{1})
	}
	at := uint64(0)
	for outer := range o.Range([]byte{'k'}) {
		if string(outer) != string(numberKey(at)) {
			t.Fatalf("key %d is %x", at, outer)
		}
		inner := 0
		for k := range o.Range(outer[:8]) { // 256 of them, or what is left
			if inner++; string(k[:8]) != string(outer[:8]) {
				t.Fatalf("%x in the range of %x", k, outer[:8])
			}
			if at%2 == 0 {
				break
			}
		}
		if want := min(256, n-int(at)/256*256); at%2 == 1 && inner != want {
			t.Fatalf("%d keys begin with %x, want %d", inner, outer[:8], want)
		}
		at++
	}
	if at != n {
		t.Errorf("%d keys, want %d", at, n)
	}
}

func numberKey(i uint64) []byte { return binary.BigEndian.AppendUint64([]byte{'k'}, i) }

// BenchmarkOverlay is what writes and ranges of ten keys cost beside 200,000
// pending writes.
func BenchmarkOverlay(b *testing.B) {
	const pending = 200_000
	filled := func() *chain.Overlay {
		o := chain.NewOverlay(model{})
		for i := range uint64(pending) {
			o.Set(numberKey(i*2*7919%(2*pending)), []byte{1})
		}
		return o
	}
	prefix := []byte{'k', 1}
	ten := func(o *chain.Overlay) {
		for i := range byte(10) {
			o.Set([]byte{'k', 1, i}, []byte{1})
		}
	}
	b.Run("set", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			filled()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*pending), "ns/write")
	})
	b.Run("first range", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			o := filled()
			ten(o)
			b.StartTimer()
			for range o.Range(prefix) {
			}
		}
	})
	b.Run("range", func(b *testing.B) {
		o := filled()
		ten(o)
		for b.Loop() {
			for range o.Range(prefix) {
			}
		}
	})
	b.Run("write and range", func(b *testing.B) {
		o := filled()
		ten(o)
		for i := uint64(1); b.Loop(); i += 2 {
			o.Set(numberKey(i*7919%(4*pending)), []byte{1})
			for range o.Range(prefix) {
			}
		}
	})
}
