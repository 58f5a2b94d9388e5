package comet_test

import (
	"os"
	"runtime"
	"syscall"
	"testing"
)

// TestStartsAndStops: a chain that is started and stopped again and again, as a node does
// with its shards, leaves nothing behind; what it left would show in TestMain, too.
func TestStartsAndStops(t *testing.T) { //nolint:paralleltest // it counts goroutines
	n := newNetwork(t, "restarts", 1)
	n.start(t, 0)
	n.waitReady(t, 0)
	n.stop(t, 0)
	before := runtime.NumGoroutine()
	const rounds = 20
	for i := range rounds {
		n.restart(t, 0)
		n.broadcast(t, 0, tx(i))
		n.members[0].app.waitFor(t, hangs, func(txs int, _ uint64) bool { return txs == i+1 })
		n.stop(t, 0)
	}
	eventually(t, hangs, "goroutines end", func() bool { return runtime.NumGoroutine() < before+rounds })
	// Nobody waits for it any more, with a channel that is closed.
	n.restart(t, 0)
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	n.broadcast(t, 0, tx(rounds))
	n.members[0].app.waitFor(t, hangs, func(txs int, _ uint64) bool { return txs == rounds+1 })
}
