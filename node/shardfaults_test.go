package node_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/node/telemetry"
	"github.com/tributary-network/tributary/shard"
)

// TestFaultsOfAShardStayInIt: whatever happens to one shard, the others and the main chain
// go on; the status, /readyz and the metrics name it and why; and it comes back as it says.
func TestFaultsOfAShardStayInIt(t *testing.T) {
	t.Parallel()
	const id = shard.ID(3)
	dir := func(n *node.Node) string { return filepath.Join(n.ShardsDir(), "s3") }
	for _, row := range []struct {
		name   string
		before func(n *node.Node) error // on the disk of the stopped node
		during func(n *node.Node) error
		want   telemetry.ShardStates
		reason string // why it does not run; empty if it does, without anybody's help
		// repair is what the operator does on the disk before the next start.
		repair func(n *node.Node) error
	}{
		{
			name: "the rules halt", during: func(n *node.Node) error {
				if n.BreakShard(id) == nil {
					return errors.New("the rules take any block")
				}
				return nil
			},
			want: telemetry.ShardStates{Running: 7, Halted: 1}, reason: "the next is",
		},
		{
			name: "consensus halts", during: func(n *node.Node) error { n.HaltShard(id, errors.New("wrong app hash")); return nil },
			want: telemetry.ShardStates{Running: 7, Halted: 1}, reason: "wrong app hash",
		},
		{
			name: "its directory is lost", before: func(n *node.Node) error { return os.RemoveAll(dir(n)) },
			want: telemetry.ShardStates{Running: 8},
		},
		{
			name:   "its directory cannot be made",
			before: func(n *node.Node) error { return errors.Join(os.RemoveAll(dir(n)), os.WriteFile(dir(n), nil, 0o600)) },
			want:   telemetry.ShardStates{Running: 7, Failed: 1}, reason: "s3",
			repair: func(n *node.Node) error { return os.Remove(dir(n)) },
		},
		{
			name: "it cannot write blocks",
			before: func(n *node.Node) error {
				blocks := filepath.Join(dir(n), "consensus", "blocks")
				return errors.Join(os.RemoveAll(blocks), os.WriteFile(blocks, nil, 0o600))
			},
			want: telemetry.ShardStates{Running: 7, Failed: 1}, reason: "blocks",
			repair: func(n *node.Node) error {
				return os.Remove(filepath.Join(dir(n), "consensus", "blocks"))
			},
		},
		{
			name: "its height file is damaged",
			before: func(n *node.Node) error {
				return os.WriteFile(filepath.Join(dir(n), "height"), []byte("rubbish"), 0o600)
			},
			want: telemetry.ShardStates{Running: 8},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			o := solo(t)
			n, stop := running(t, o)
			waitUntil(t, "all shards are ready", func() bool { return allReady(n, 8) })
			if row.before != nil {
				stop()
				if err := row.before(n); err != nil {
					t.Fatal(err)
				}
				n, stop = running(t, o)
			} else if err := row.during(n); err != nil {
				t.Fatal(err)
			}
			waitUntil(t, "the shard is as told", func() bool { return n.ShardStates() == row.want })
			checkFault(t, n, id, row.reason)
			stop()
			if row.repair != nil {
				if err := row.repair(n); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
			}
			n, _ = running(t, o)
			waitUntil(t, "all shards are ready again", func() bool { return allReady(n, 8) })
		})
	}
}

// checkFault looks how a node tells of the one shard that fails, which is none if reason is
// empty.
func checkFault(t *testing.T, n *node.Node, id shard.ID, reason string) {
	t.Helper()
	waitUntil(t, "all but the shard are ready", func() bool {
		for _, s := range n.Hosting() {
			if s.Ready != (s.ID != id || reason == "") {
				return false
			}
		}
		ok, _ := n.Ready()
		return ok
	})
	s := shardIn(n, id)
	if !strings.Contains(s.Reason, reason) || reason != "" && !s.Chain.Halted && s.State != api.HostedFailed {
		t.Errorf("the status of the shard: %+v, want %q", s, reason)
	}
	for _, c := range n.Checks() {
		if bad := c.Name == "chain/s3" && reason != ""; c.Ready == bad || bad && (!c.Aside || !strings.Contains(c.Detail, reason)) {
			t.Errorf("/readyz: %+v", c)
		}
	}
}

// TestShardDataIsBounded: a shard that takes more than it may stops, and says how to go on;
// the others do not.
func TestShardDataIsBounded(t *testing.T) {
	t.Parallel()
	o := solo(t)
	o.Config.Shards.MaxData = 1 << 20
	ballast := filepath.Join(o.Home.Data(), "shards", "s3", "snapshots", "ballast")
	if err := errors.Join(os.MkdirAll(filepath.Dir(ballast), 0o700), os.WriteFile(ballast, make([]byte, 2<<20), 0o600)); err != nil {
		t.Fatal(err)
	}
	n, stop := running(t, o)
	waitUntil(t, "the shard is stopped", func() bool { return n.ShardStates() == telemetry.ShardStates{Running: 7, Failed: 1} })
	checkFault(t, n, 3, "raise it or keep fewer blocks ([pruning]), and start the node again")
	if s := shardIn(n, 3); s.Data < 2<<20 {
		t.Errorf("the shard takes %d bytes", s.Data)
	}
	stop()
	o.Config.Shards.MaxData = 1 << 30
	n, _ = running(t, o)
	waitUntil(t, "all shards are ready", func() bool { return allReady(n, 8) })
}
