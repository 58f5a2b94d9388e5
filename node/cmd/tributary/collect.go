package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

const (
	// leastGarbage may gather before it is collected, however little memory is in use, in
	// bytes. A node with shards has much to do with little in memory: 30 percent of
	// 50 MB are collected twenty times a second under load, at a fifth of the processor.
	leastGarbage = 64 << 20
	// mostPercent bounds what is set while next to nothing is in use.
	mostPercent = 1_000
)

// collector sets after each collection how much garbage may gather until the next one:
// percent of the memory in use, or leastGarbage. Its methods are safe for concurrent use.
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
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	debug.SetGCPercent(percentFor(c.percent, sample[0].Value.Uint64()))
}

// percentFor returns the percentage to set with so many bytes in use.
func percentFor(percent int, live uint64) int {
	return max(percent, int(min(mostPercent, leastGarbage*100/max(1, live))))
}
