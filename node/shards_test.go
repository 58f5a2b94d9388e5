package node_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/shard"
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
		if kept := n.Geneses(t.Context()); kept != 8 {
			t.Errorf("%d geneses are kept, want 8", kept)
		}
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

// shardIn returns a shard of the node, or nil.
func shardIn(n *node.Node, id shard.ID) *api.HostedShard {
	for _, s := range n.Hosting() {
		if s.ID == id {
			return &s
		}
	}
	return nil
}

// TestAShardThatFailsIsAlone: a shard that cannot start is told of and tried again, while
// the others run.
func TestAShardThatFailsIsAlone(t *testing.T) {
	t.Parallel()
	o := solo(t)
	dir := filepath.Join(o.Home.Data(), "shards")
	obstacle := filepath.Join(dir, "s3")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(obstacle, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	n, _ := running(t, o)
	waitUntil(t, "the others run", func() bool {
		ready := 0
		for _, s := range n.Hosting() {
			if s.Ready {
				ready++
			}
		}
		s := shardIn(n, 3)
		return ready == 7 && s != nil && s.State == api.HostedFailed
	})
	if s := shardIn(n, 3); s.Ready || !strings.Contains(s.Reason, "s3") {
		t.Errorf("the shard that fails: %+v", s)
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "it runs too", func() bool { return allReady(n, 8) })
}

// TestShardsLost: a store of the shards that lost blocks stops the shards that had them,
// and not the node.
func TestShardsLost(t *testing.T) {
	t.Parallel()
	o := solo(t)
	n, stop := running(t, o)
	waitUntil(t, "all shards have a block", func() bool {
		for _, s := range n.Hosting() {
			if s.Height == 0 {
				return false
			}
		}
		return allReady(n, 8)
	})
	stop()
	if err := os.RemoveAll(n.ServiceDir()); err != nil {
		t.Fatal(err)
	}
	n, stop = running(t, o)
	waitUntil(t, "they say so", func() bool {
		failed := 0
		for _, s := range n.Hosting() {
			if s.State == api.HostedFailed && strings.Contains(s.Reason, node.ErrStoreBehind.Error()) {
				failed++
			}
		}
		return failed == 8
	})
	if ok, reason := n.Ready(); !ok {
		t.Errorf("the node is not ready: %s", reason)
	}
	stop()
	if err := os.RemoveAll(n.ShardsDir()); err != nil { // as the error says
		t.Fatal(err)
	}
}

// TestNoRoomForShards: a node runs no more shards than it may, and says how many are left.
func TestNoRoomForShards(t *testing.T) {
	t.Parallel()
	o := solo(t)
	o.Config.Shards.Max = 2
	n, _ := running(t, o)
	waitUntil(t, "two shards are ready", func() bool { return allReady(n, 2) })
	if n.Left() != 6 {
		t.Errorf("%d shards are left, want 6", n.Left())
	}
}

// TestShardsOff: a node that is to run no shards runs none.
func TestShardsOff(t *testing.T) {
	t.Parallel()
	o := solo(t)
	o.Config.Shards.Enabled = false
	n, stop := running(t, o)
	waitUntil(t, "the node is ready", func() bool { ok, _ := n.Ready(); return ok })
	if list := n.Hosting(); len(list) != 0 {
		t.Errorf("it runs %+v", list)
	}
	stop()
	if _, err := os.Stat(n.ServiceDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the store of the shards: %v", err)
	}
}
