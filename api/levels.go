package api

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/route"
)

const (
	// levelLife is how long the level that another node told is good for.
	levelLife = 2 * time.Second
	// levelWait is how long another node may take to tell it.
	levelWait = time.Second
	// maxLevels is how many levels are remembered, and maxLevelNames how many one call
	// names.
	maxLevels     = shard.MaxMapShards
	maxLevelNames = MaxPageSize
)

// levelCache remembers what other nodes said of shards that they run. It is safe for
// concurrent use.
type levelCache struct {
	mu    sync.Mutex
	known map[shard.ID]knownLevel
}

type knownLevel struct {
	level   route.Level
	backlog route.Backlog
	height  uint64
	at      time.Time
}

func newLevelCache() *levelCache { return &levelCache{known: make(map[shard.ID]knownLevel)} }

func (c *levelCache) get(id shard.ID, now time.Time) (knownLevel, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.known[id]
	return k, ok && now.Sub(k.at) < levelLife
}

func (c *levelCache) put(id shard.ID, k knownLevel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.known[id]; !ok && len(c.known) >= maxLevels {
		clear(c.known)
	}
	c.known[id] = k
}

// anchorRules returns the parameters by which anchors are due.
func (b *backend) anchorRules() *anchor.Params { return &b.Network.Params.Anchors }

// knownLevel returns how congested a shard is if that is known without asking anybody.
func (b *backend) knownLevel(id shard.ID) (route.Level, bool) {
	if s, ok := b.serving(id); ok {
		w, err := b.waitingFor(id)
		if err != nil {
			return 0, false
		}
		level, _, err := b.levelOf(s, w)
		return level, err == nil
	}
	k, ok := b.levels.get(id, b.Now())
	return k.level, ok
}

// shardBlock is how long a block of a shard takes, as far as that can be told.
func (b *backend) shardBlock() time.Duration {
	if ms := b.Network.Params.BlockInterval; ms > 0 {
		return time.Duration(ms) * time.Millisecond //nolint:gosec // a parameter of some seconds
	}
	return defaultShardBlock
}

// congestion returns how much waits in shards, in their order. What does not run here is
// asked of nodes that run it, unless the call was handed on, or else taken from the
// anchors that the main chain misses.
func (b *backend) congestion(ctx context.Context, list []shard.Shard) ([]*servicev1.Congestion, error) {
	var ask []shard.ID
	if !handedOn(ctx) {
		now := b.Now()
		for i := range list {
			if _, here := b.serving(list[i].ID); here {
				continue
			}
			if _, fresh := b.levels.get(list[i].ID, now); !fresh && len(ask) < maxLevelNames {
				ask = append(ask, list[i].ID)
			}
		}
		b.askLevels(ctx, ask)
	}
	out, wait := make([]*servicev1.Congestion, len(list)), make([]waiting, len(list))
	err := b.State.Read(func(v chain.View, height uint64) error {
		for i := range list {
			wait[i] = waitingIn(v, height, list[i].ID)
		}
		return nil
	})
	for i := range list {
		out[i] = b.congestionOf(&list[i], wait[i])
	}
	return out, err
}

// congestionOf returns what is known of the congestion of a shard for an anchor of which
// the main chain waits.
func (b *backend) congestionOf(sh *shard.Shard, w waiting) *servicev1.Congestion {
	out := &servicev1.Congestion{Shard: ShardName(sh.ID), Service: ServiceName(sh.Service), Zone: uint32(sh.Zone)}
	var level route.Level
	var backlog route.Backlog
	own := func() bool {
		s, ok := b.serving(sh.ID)
		if !ok {
			return false
		}
		var err error
		level, backlog, err = b.levelOf(s, w)
		out.Height, _ = s.Head()
		return err == nil
	}
	if own() {
		out.Source = servicev1.CongestionSource_CONGESTION_SOURCE_HERE
	} else if k, ok := b.levels.get(sh.ID, b.Now()); ok {
		level, backlog, out.Height = k.level, k.backlog, k.height
		// Its node may be cut off from the main chain.
		backlog.MissedAnchors = max(backlog.MissedAnchors, b.silent(w))
		full := route.DefaultCapacity()
		level = max(level, full.Level(route.Backlog{MissedAnchors: b.silent(w)}))
		out.Source = servicev1.CongestionSource_CONGESTION_SOURCE_PEER
	} else {
		if w.ok {
			backlog.MissedAnchors = b.anchorRules().Missed(w.at, w.from)
		}
		full := route.DefaultCapacity()
		level = full.Level(backlog)
		out.Source = servicev1.CongestionSource_CONGESTION_SOURCE_ANCHORS
	}
	out.LevelBps, out.Backlog = uint32(level), renderBacklog(&backlog)
	if blocks := route.RetryAfter(level); blocks > 0 {
		out.RetryAfter = durationpb.New(time.Duration(blocks) * b.shardBlock()) //nolint:gosec // at most route.MaxRetryAfter
	}
	return out
}

func renderBacklog(l *route.Backlog) *servicev1.Backlog {
	return &servicev1.Backlog{Inbox: l.Inbox, Outbox: l.Outbox, Bytes: l.Bytes, MissedAnchors: l.MissedAnchors}
}

// askLevels asks other nodes for the levels of shards that they run, and remembers them.
func (b *backend) askLevels(ctx context.Context, ids []shard.ID) {
	groups := b.groups(ids)
	if len(groups) == 0 {
		return
	}
	b.rates.charge(callerIP(ctx), forwardTokens*len(groups))
	ctx, cancel := context.WithTimeout(ctx, levelWait)
	defer cancel()
	var tasks sync.WaitGroup
	for _, g := range groups {
		tasks.Go(func() { b.askLevelsAt(ctx, &g) })
	}
	tasks.Wait()
}

func (b *backend) askLevelsAt(ctx context.Context, g *hostGroup) {
	req := &servicev1.ListCongestionRequest{}
	for _, id := range g.ids {
		req.Shards = append(req.Shards, ShardName(id))
	}
	resp := &servicev1.ListCongestionResponse{}
	if err := b.Peers.Call(ctx, g.endpoint, servicev1.RoutingService_ListCongestion_FullMethodName, req, resp); err != nil {
		return
	}
	now := b.Now()
	for _, c := range resp.GetShards() {
		id, err := parseShardName("shard", c.GetShard())
		if err != nil || !slices.Contains(g.ids, id) || c.GetSource() != servicev1.CongestionSource_CONGESTION_SOURCE_HERE || c.GetLevelBps() > uint32(route.Full) {
			continue
		}
		l := c.GetBacklog()
		b.levels.put(id, knownLevel{
			level: route.Level(c.GetLevelBps()), height: c.GetHeight(), at: now, //nolint:gosec // at most Full
			backlog: route.Backlog{Inbox: l.GetInbox(), Outbox: l.GetOutbox(), Bytes: l.GetBytes(), MissedAnchors: l.GetMissedAnchors()},
		})
	}
}
