package testnet_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/testnet"
	"github.com/tributary-network/tributary/zone"
)

// firstShard is the id of the first shard of a network; main is 1.
const firstShard = 2

// oneShard is a service with one shard, which seats validators serve.
func oneShard(seats uint32) []zone.ServiceType {
	s := testnet.Services()[0]
	s.Shards, s.CommitteeSize, s.Zones = 1, seats, s.Zones[:1]
	return []zone.ServiceType{s}
}

// generationWorld is a network whose only shard loses its committee.
type generationWorld struct {
	t     *testing.T
	net   *testnet.Network
	user  peer
	nonce uint64
	told  *generationLog
}

// generationLog remembers which generations nodes went on with. It is safe for concurrent
// use.
type generationLog struct {
	mu   sync.Mutex
	seen []string
}

type generationHandler struct {
	slog.Handler

	log  *generationLog
	node int
}

func (h generationHandler) WithAttrs(a []slog.Attr) slog.Handler {
	return generationHandler{h.Handler.WithAttrs(a), h.log, h.node}
}

func (h generationHandler) Handle(ctx context.Context, r slog.Record) error { //nolint:gocritic // slog's
	if strings.Contains(r.Message, "generation") {
		line := fmt.Sprintf("node %d: %s", h.node, r.Message)
		r.Attrs(func(a slog.Attr) bool {
			line += " " + a.String()
			return true
		})
		h.log.mu.Lock()
		h.log.seen = append(h.log.seen, line)
		h.log.mu.Unlock()
	}
	return h.Handler.Handle(ctx, r)
}

func (l *generationLog) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.seen)
}

func newGenerationWorld(ctx context.Context, t *testing.T, o testnet.Options) *generationWorld {
	t.Helper()
	w := &generationWorld{t: t, told: &generationLog{}}
	o.Dir = t.TempDir()
	o.Handler = func(i int) slog.Handler {
		f, err := os.OpenFile(filepath.Join(o.Dir, fmt.Sprintf("node%d.log", i)), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if dir := os.Getenv("TRIBUTARY_TEST_LOGS"); dir != "" {
				raw, _ := os.ReadFile(f.Name())
				_ = os.WriteFile(filepath.Join(dir, filepath.Base(f.Name())), raw, 0o600)
			}
			_ = f.Close()
		})
		return generationHandler{slog.NewTextHandler(f, nil), w.told, i}
	}
	w.net = start(ctx, t, o)
	w.user = dial(t, w.net.Nodes[0].GRPC)
	return w
}

// until waits while the main chain goes on.
func (w *generationWorld) until(ctx context.Context, limit time.Duration, what string, yes func() bool) {
	w.t.Helper()
	took := until(ctx, w.t, limit, what, func(ctx context.Context) bool {
		_, _ = w.transfer(ctx)
		return yes()
	})
	w.t.Logf("%s: after %v", what, took.Round(time.Millisecond))
}

// transfer makes a transfer, and returns the height of its block. One that the node does not
// take now, as it was started a moment ago or lags, is none: it is made by the next call.
func (w *generationWorld) transfer(ctx context.Context) (height uint64, ok bool) {
	w.t.Helper()
	height, err := w.user.transferAt(ctx, w.net.Genesis.Domain(), w.nonce)
	if status.Code(err) == codes.Unavailable {
		return 0, false
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.nonce++
	return height, true
}

// shard returns how the shard does on a node, nil if that does not run it.
func (w *generationWorld) shard(i int) *client.ChainStatus {
	list := shardsOf(w.t, w.net, i)
	if len(list) == 0 {
		return nil
	}
	return &list[0]
}

// members returns the nodes that are in the committee, as they say, and how high the shard
// is anchored.
func (w *generationWorld) members() (nodes []int, anchored uint64) {
	for i := range w.net.Nodes {
		if s := w.shard(i); s != nil {
			anchored = max(anchored, s.Shard.Anchored)
			if s.Validator {
				nodes = append(nodes, i)
			}
		}
	}
	return nodes, anchored
}

// lead makes a node run shards, or none, from its next start on, and starts it again.
func (w *generationWorld) lead(ctx context.Context, i int, on bool) {
	w.t.Helper()
	if err := w.net.StopNode(ctx, i); err != nil {
		w.t.Fatal(err)
	}
	c, err := config.Load(w.net.Nodes[i].Home, nil, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	c.Shards.Enabled = on
	if err := errors.Join(config.Write(c), w.net.StartNode(i)); err != nil {
		w.t.Fatal(err)
	}
	w.until(ctx, time.Minute, fmt.Sprintf("node %d runs again, shards %t", i, on), func() bool {
		conn, err := client.Dial(ctx, w.net.Nodes[i].GRPC)
		if err != nil {
			return false
		}
		defer func() { _ = conn.Close() }()
		s, err := conn.Status(ctx)
		return err == nil && len(s.Chains) > 0 && s.Chains[0].Ready
	})
}

// height returns how high the main chain is.
func (w *generationWorld) height(ctx context.Context) (at uint64) {
	w.t.Helper()
	until(ctx, w.t, time.Minute, "a transfer is taken", func(ctx context.Context) (ok bool) {
		at, ok = w.transfer(ctx)
		return ok
	})
	return at
}

// TestShardStandsStillForLong: a shard whose committee is away for longer than main takes
// its anchors goes on when it is back, with all that was anchored.
func TestShardStandsStillForLong(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	w := newGenerationWorld(ctx, t, testnet.Options{
		Services: oneShard(32),
		Params: func(p *settlement.Params) {
			p.Staking.EpochBlocks = 10
			p.Anchors.LateBlocks, p.Anchors.StalledBlocks, p.Anchors.MaxLag = 6, 60, 5
		},
	})
	if err := w.net.WaitShards(ctx); err != nil {
		t.Fatal(err)
	}
	var before uint64
	w.until(ctx, 2*time.Minute, "the shard is anchored", func() bool {
		_, before = w.members()
		return before >= 5
	})
	for _, i := range []int{2, 3} {
		w.lead(ctx, i, false)
	}
	from := w.height(ctx)
	w.until(ctx, 4*time.Minute, "its epochs are over", func() bool { return w.height(ctx) > from+70 })
	_, stood := w.members()
	for _, i := range []int{2, 3} {
		w.lead(ctx, i, true)
	}
	w.until(ctx, 4*time.Minute, "the shard goes on", func() bool {
		nodes, anchored := w.members()
		return len(nodes) == 4 && anchored > stood+3
	})
	lines := w.told.lines()
	for _, line := range lines {
		t.Log(line)
	}
	if len(lines) == 0 {
		t.Error("it is the same generation")
	}
}

// TestShardGetsAnotherCommittee: two of the four members of a shard's committee leave it for
// good, and not the main chain. Others are drawn, until there are enough who serve (with six
// candidates five draws of six have three of the other four); those that never had the shard's state get it from
// those that have it, and the shard goes on where it was anchored.
func TestShardGetsAnotherCommittee(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	defer cancel()
	w := newGenerationWorld(ctx, t, testnet.Options{
		Services: oneShard(4), Validators: 6,
		Params: func(p *settlement.Params) {
			p.Staking.EpochBlocks = 40
			p.Anchors.LateBlocks, p.Anchors.StalledBlocks, p.Anchors.MaxLag = 12, 60, 10
		},
	})
	var members []int
	var stood uint64
	w.until(ctx, 2*time.Minute, "the shard is anchored", func() bool {
		members, stood = w.members()
		return stood >= 5 && len(members) >= 4
	})
	for _, i := range members[:2] {
		w.lead(ctx, i, false)
	}
	_, stood = w.members()
	node, err := client.Dial(ctx, w.net.Nodes[members[2]].GRPC)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = node.Close() }()
	redraws := 0
	w.until(ctx, 6*time.Minute, "the shard goes on", func() bool {
		if d, err := node.Shard(ctx, firstShard, nil); err == nil && d.Redraw != nil {
			redraws++
			if err := d.Check(); err != nil {
				t.Errorf("in epoch %d: %v", d.Epoch, err)
			}
		}
		nodes, anchored := w.members()
		return len(nodes) > 0 && anchored > stood+4
	})
	if redraws == 0 {
		t.Error("no node tells by which lots the shard was drawn anew")
	}
	lines := w.told.lines()
	for _, line := range lines {
		t.Log(line)
	}
	if len(lines) == 0 {
		t.Error("it is the same generation")
	}
}
