package node_test

import (
	"context"
	"testing"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/node"
)

// running runs a node until the test ends or stop is called.
func running(t *testing.T, o node.Options) (n *node.Node, stop func()) {
	t.Helper()
	n, err := node.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return n, stop
}

// allReady reports whether a node runs so many shards, and all of them are ready.
func allReady(n *node.Node, count int) bool {
	list := n.Hosting()
	for i := range list {
		if list[i].State != api.HostedRunning || !list[i].Ready {
			return false
		}
	}
	return len(list) == count
}

// TestShardsOfAValidator: the only validator of a network runs all its shards, and runs
// them again after a stop.
func TestShardsOfAValidator(t *testing.T) {
	t.Parallel()
	o := solo(t)
	for range 2 {
		n, stop := running(t, o)
		waitUntil(t, "all shards are ready", func() bool { return allReady(n, 8) })
		for _, s := range n.Hosting() {
			if !s.Known || s.Members != 1 || s.From > 1 || !s.Chain.Validator || s.Address == "" {
				t.Errorf("shard %+v", s)
			}
		}
		stop()
		if list := n.Hosting(); len(list) != 8 || list[0].State == api.HostedRunning {
			t.Errorf("after the end: %+v", list)
		}
	}
}
