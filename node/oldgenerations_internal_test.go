package node

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/node/home"
	"github.com/tributary-network/tributary/shard"
)

// TestOutlived: earlier generations are needed until the present one is anchored, and old.
func TestOutlived(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		state anchor.State
		epoch uint64
		want  bool
	}{
		"the first generation":         {anchor.State{Last: cert.Checkpoint{Height: 9}}, 100, false},
		"not anchored":                 {anchor.State{Generation: 2, Resumed: 0, Begins: 7}, 100, false},
		"anchored, and not old":        {anchored(2, 3, 4, 7), 16, false},
		"anchored, and old":            {anchored(2, 3, 4, 7), 17, true},
		"of an old shard, and not old": {redrawn(anchored(2, 3, 4, 0), 7), 16, false},
		"of an old shard, and old":     {redrawn(anchored(2, 3, 4, 0), 7), 17, true},
		"old, and not anchored more":   {anchored(2, 3, 3, 7), 17, false},
	} {
		if got := outlived(&row.state, row.epoch, 10); got != row.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// redrawn is s whose last generation began in an epoch.
func redrawn(s anchor.State, epoch uint64) anchor.State {
	s.RedrawEpoch = epoch
	return s
}

// anchored is a shard whose generation goes on from a height since an epoch, and is anchored
// up to another one.
func anchored(generation uint32, resumed, height, begins uint64) anchor.State {
	s := anchor.State{Generation: generation, Resumed: resumed, Begins: begins}
	for range height {
		s.Tree.Push([]byte("checkpoint"))
	}
	return s
}

// TestEarlierGenerationsAreRemoved: what consensus of earlier generations left goes, from
// the store and the disk, and nothing else; what is interrupted is done the next time.
func TestEarlierGenerationsAreRemoved(t *testing.T) {
	t.Parallel()
	n := &Node{home: home.Dir(t.TempDir()), log: slog.New(slog.DiscardHandler)}
	n.shards = newShards(n)
	store, err := badgerkv.Open(badgerkv.Small(n.serviceDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	parts := make(map[string]kv.Store)
	for _, id := range []shard.ID{1, 10} {
		l, err := layer.New(kv.Prefixed(store, shardPrefix(id)), layer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for number := range uint32(3) {
			part := consensusStore(l, number)
			parts[shardName(id)+consensusName(number)] = part
			for i := range 50 {
				if err := put(part, string(rune('a'+i)), make([]byte, 2_000)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.MkdirAll(filepath.Join(n.shardDir(id), consensusName(number), "blocks"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := n.shards.removeGenerations(stopped, store, 1, 2); err == nil {
		t.Error("a removal that was stopped is told as done")
	}
	for i, want := range []bool{true, false} {
		if some, err := n.shards.removeGenerations(t.Context(), store, 1, 2); err != nil || some != want {
			t.Errorf("time %d: %v, %v", i, some, err)
		}
	}
	for name, part := range parts {
		gone := name == "s1consensus" || name == "s1consensus-g1"
		it := part.Iterate(nil, nil, false)
		if it.Next() == gone {
			t.Errorf("%s is in the store: %v", name, !gone)
		}
		if err := it.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, id := range []shard.ID{1, 10} {
		for number := range uint32(3) {
			_, err := os.Stat(filepath.Join(n.shardDir(id), consensusName(number)))
			if gone := id == 1 && number < 2; os.IsNotExist(err) != gone {
				t.Errorf("the directory of generation %d of shard %d: %v", number, id, err)
			}
		}
	}
}
