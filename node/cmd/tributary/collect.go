package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

const (
	// leastGarbage may gather before it is collected, however little memory is in use, in
	// bytes.
	leastGarbage = 64 << 20
	// lookedGarbage is how many bytes may gather for each byte that a collection looks at.
	lookedGarbage = 2
	// mostPercent bounds what is set while next to nothing is in use.
	mostPercent = 1_000
)

// collector sets after each collection how much garbage may gather until the next one:
// percent of the memory in use, but leastGarbage at least, and lookedGarbage for what a
// collection has to look at, which bounds what it costs to allocate a byte. Pages of rows,
// most of the memory of a large main chain, are not looked at: percent counts there. The
// nodes of the trees of shards are all pointers: at 30 percent a node with many channels on
// its shards takes a third of its processor time for collecting.
// Its methods are safe for concurrent use.
type collector struct {
	percent int
	stopped atomic.Bool
}

// collectAt sets how garbage is collected from now on, until stop is called.
func collectAt(percent int) (stop func()) {
	c := &collector{percent: percent}
	c.tune()
	c.arm()
	return func() { c.stopped.Store(true) }
}

// cycle is what a collection finds to be garbage. It is large enough to be on its own.
type cycle struct{ _ [64]byte }

// arm has tune called after the next collection.
func (c *collector) arm() {
	runtime.AddCleanup(new(cycle), func(c *collector) {
		if !c.stopped.Load() {
			c.tune()
			c.arm()
		}
	}, c)
}

func (c *collector) tune() {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/heap:bytes"}}
	metrics.Read(sample)
	debug.SetGCPercent(percentFor(c.percent, sample[0].Value.Uint64(), sample[1].Value.Uint64()))
}

// percentFor returns the percentage to set with so many bytes in use, of which a
// collection looks at so many.
func percentFor(percent int, live, looked uint64) int {
	live = max(1, live)
	garbage := max(leastGarbage, lookedGarbage*min(looked, live))
	return max(percent, int(min(mostPercent, garbage*100/live)))
}
