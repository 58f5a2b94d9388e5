package testnet_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/testnet"
)

// lines counts log lines by message and node. It is safe for concurrent use.
type lines struct {
	mu    sync.Mutex
	count map[string]int
}

func (l *lines) of(node, message string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count[node+" "+message]
}

// handler is that of a node, which others make of it by With.
type linesHandler struct {
	lines *lines
	node  string
}

func (h linesHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}
func (h linesHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h linesHandler) WithGroup(string) slog.Handler      { return h }
func (h linesHandler) Handle(_ context.Context, r slog.Record) error { //nolint:gocritic // slog's
	h.lines.mu.Lock()
	defer h.lines.mu.Unlock()
	h.lines.count[h.node+" "+r.Message]++
	return nil
}

// loseShards removes what a node that does not run has of its shards.
func loseShards(t *testing.T, n *testnet.Network, i int) {
	t.Helper()
	data := filepath.Join(n.Nodes[i].Home, "data")
	if err := errors.Join(os.RemoveAll(filepath.Join(data, "service")), os.RemoveAll(filepath.Join(data, "shards"))); err != nil {
		t.Fatal(err)
	}
}

// TestShardsAreJoined: a node without the blocks of its shards joins each by a snapshot
// where there is one, also if it is stopped meanwhile, and signs with the others.
func TestShardsAreJoined(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	const stride = 10
	log := &lines{count: map[string]int{}}
	n := start(ctx, t, testnet.Options{
		Services:  content(),
		Params:    func(p *settlement.Params) { p.Staking.EpochBlocks, p.Anchors.LateBlocks = 10, 6 },
		Configure: func(_ int, c *config.Config) { c.Snapshots.Interval = stride },
		Handler:   func(i int) slog.Handler { return linesHandler{log, testnet.ValidatorName(i)} },
	})
	if err := n.WaitShards(ctx); err != nil {
		t.Fatal(err)
	}
	user, nonce := dial(t, n.Nodes[0].GRPC), uint64(0)
	// shards sends payments until something holds for a node's shards.
	shards := func(what string, i int, ok func(name string, height, anchored uint64) bool) {
		t.Helper()
		until(ctx, t, 4*time.Minute, what, func(ctx context.Context) bool {
			if err := user.transfer(ctx, n.Genesis.Domain(), nonce); err != nil {
				t.Fatal(err)
			}
			nonce++
			list := shardsOf(t, n, i)
			for _, c := range list {
				if !c.Ready || c.CatchingUp || !ok(c.Name, c.Height, c.Shard.Anchored) {
					return false
				}
			}
			return len(list) == n.Shards()
		})
	}
	shards("all shards have a snapshot that is anchored", 0, func(_ string, _, anchored uint64) bool { return anchored >= 2*stride+3 })
	const victim = 3
	name := testnet.ValidatorName(victim)
	if err := n.StopNode(ctx, victim); err != nil {
		t.Fatal(err)
	}
	loseShards(t, n, victim)
	for stop := range 2 { // the first start is cut short
		if err := n.StartNode(victim); err != nil {
			t.Fatal(err)
		}
		if stop == 0 {
			until(ctx, t, 2*time.Minute, "a shard is joined", func(context.Context) bool { return log.of(name, "state restored") > 0 })
			if err := n.StopNode(ctx, victim); err != nil {
				t.Fatal(err)
			}
		}
	}
	heights := map[string]uint64{}
	shards("the node serves all shards", victim, func(name string, height, anchored uint64) bool {
		heights[name] = height
		return height >= anchored
	})
	t.Logf("%d snapshots were restored for %d shards", log.of(name, "state restored"), n.Shards())
	if got := log.of(name, "state restored"); got < n.Shards()/2 {
		t.Errorf("%d snapshots were restored for %d shards", got, n.Shards())
	}
	// With another one away it takes all three.
	if err := n.StopNode(ctx, 2); err != nil {
		t.Fatal(err)
	}
	shards("shards go on with the node's votes", victim, func(name string, height, _ uint64) bool { return height > heights[name] })
}
