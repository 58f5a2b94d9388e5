package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/node/telemetry"
	"github.com/tributary-network/tributary/shard"
)

const (
	// shardsTick is how often shards are looked at that are to be tried again, and at
	// what peers they have.
	shardsTick = time.Second
	// dutiesInterval is how often it is looked which shards are to be run, besides at the
	// beginning of each epoch: within one a committee may be drawn anew.
	dutiesInterval = 10 * time.Second
	// shardDataInterval is how often the files of the shards are measured.
	shardDataInterval = 30 * time.Second
	// shardDataRetry is after how long it is seen whether they take less.
	shardDataRetry = time.Hour
)

// errShardData says that a shard's files take more than they may.
var errShardData = errors.New("the shard's files take more than shards.max_data")

// shards runs the shards that the node's validator is drawn for, each for itself: one
// that fails is tried again, later and later, and one that is halted stays as it is,
// while the others and the main chain go on.
//
// Which ones follows from the state of the main chain alone, so a node that starts
// again, at whatever heights its chains are, finds its shards by itself.
type shards struct {
	node *Node
	log  *slog.Logger

	// Owned by run.
	ended  chan *shardRun
	looked time.Time           // at the duties
	epoch  uint64              // in which they were
	kept   map[shard.ID]uint32 // generations of which it is kept what they begin from

	parts   parts                                      // of the store, each with one owner at a time
	through func(id shard.ID, store kv.Store) kv.Store // how a shard sees the store
	past    *endedShards
	opening sync.Mutex // of the store

	mu    sync.Mutex
	store *badgerkv.Store // nil until the first shard needs it
	left  int             // shards without room
	// doomed are the shards whose data are being removed. They do not start.
	doomed map[shard.ID]bool
	runs   map[shard.ID]*shardRun
}

// shardRun is one shard of a node. Its fields are the owner's, the loop of shards, but
// for those that mu guards. mu is not held while a state is read, nor taken while one is.
type shardRun struct {
	id       shard.ID
	slot     int
	cancel   context.CancelFunc // nil unless it runs
	due      time.Time          // when to try again; of one that does not run
	failures int                // in a row
	measured time.Time
	peers    []string
	sought   time.Time // since when it waits for somebody who tells headers; zero unless it does
	stranded time.Time // since when nobody has the blocks it lacks; zero unless so

	anchored atomic.Uint64 // last height that main has anchored, as of its last block

	mu    sync.Mutex
	duty  duty
	gone  bool        // others make its blocks by now; of one that this node leaves
	place shard.Shard // zero until it is known
	chain *hosted     // nil unless it runs
	err   error       // why it does not run, or did not before; nil if nothing is wrong
	note  string      // what it does before it runs, "" if nothing takes time
	began bool        // it runs for long enough to have started
	data  uint64      // on disk, as of the last look
	// generation is that of the chain that runs, or ran last; chosen says that it runs or is
	// about to, over why it was stopped if the main chain has another one or it was given up.
	generation uint32
	chosen     bool
	over       error
}

func newShards(n *Node) *shards {
	s := &shards{
		node: n, log: n.module("shards"), ended: make(chan *shardRun), runs: map[shard.ID]*shardRun{}, kept: map[shard.ID]uint32{}, doomed: map[shard.ID]bool{},
	}
	s.through = func(_ shard.ID, store kv.Store) kv.Store { return store }
	s.past = newEndedShards(s.log, s.openEnded)
	s.parts.lent = s.past.giveBack
	return s
}

// run runs the shards until ctx ends. It stops them before it returns.
func (s *shards) run(ctx context.Context) error {
	if !s.node.cfg.Shards.Enabled {
		<-ctx.Done()
		return nil
	}
	var group sync.WaitGroup
	moved := make(chan struct{}, 1)
	for part, run := range map[string]func(context.Context) error{
		"follow the main chain": func(ctx context.Context) error { return s.follow(ctx, moved) },
		"run the shards":        func(ctx context.Context) error { return s.loop(ctx, moved) },
		"give states of shards": s.node.states.run,
		"tidy the shards":       s.tidy,
		"read ended shards":     s.past.run,
	} {
		group.Go(func() { lasting(ctx, s.log, part, run) })
	}
	group.Wait()
	if store := s.opened(); store != nil {
		if err := store.Close(); err != nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "close the store of the shards", slog.Any("err", err))
		}
	}
	return nil
}

// follow tells of new blocks of the main chain.
func (s *shards) follow(ctx context.Context, moved chan<- struct{}) error {
	blocks := s.node.main.exec.Subscribe(0)
	for {
		_, err := blocks.Next(ctx)
		if _, gap := errors.AsType[*exec.GapError](err); err != nil && !gap {
			return nil // it halted or ends; the shards go on as they are
		}
		select {
		case moved <- struct{}{}:
		default:
		}
	}
}

func (s *shards) loop(ctx context.Context, moved <-chan struct{}) error {
	tick := time.NewTicker(shardsTick)
	defer tick.Stop()
	defer s.stopAll(ctx)
	for {
		s.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-moved:
		case r := <-s.ended:
			s.over(ctx, r)
		case <-tick.C:
			s.care(ctx)
		}
	}
}

// look brings what runs into line with what is to run.
func (s *shards) look(ctx context.Context) {
	main := s.node.main.sample.Load().chain
	first := s.looked.IsZero()
	epoch := s.node.genesis.Params.Staking.Epoch(main.Height + 1)
	switch {
	case !main.Running, main.Height == 0 && main.CatchingUp, main.CatchingUp && !first:
		// What is to run is known when this node is where its peers are. One that was
		// stopped goes on with what it had at once: its peers may wait for it.
	case first || epoch != s.epoch || time.Since(s.looked) >= dutiesInterval || s.gone():
		list, err := s.duties()
		if err != nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "look which shards are to be run", slog.Any("err", err))
			return
		}
		s.looked, s.epoch = time.Now(), epoch
		s.keepGeneses(ctx)
		s.take(ctx, list)
	}
	s.checkGenerations()
	now := time.Now()
	for _, r := range s.sorted() {
		if r.cancel == nil && !r.due.After(now) {
			s.start(ctx, r)
		}
	}
}

// take makes list what is to run: others are stopped.
func (s *shards) take(ctx context.Context, list []duty) {
	for _, r := range s.sorted() {
		if !slices.ContainsFunc(list, func(d duty) bool { return d.Shard == r.id }) {
			s.log.LogAttrs(ctx, slog.LevelInfo, "the node serves a shard no longer", slog.String("shard", shardName(r.id)))
			s.stop(ctx, r)
			s.mu.Lock()
			delete(s.runs, r.id)
			s.mu.Unlock()
		}
	}
	for _, d := range list {
		s.mu.Lock()
		r := s.runs[d.Shard]
		fresh := r == nil
		if fresh {
			r = &shardRun{id: d.Shard, slot: s.slot()}
			s.runs[d.Shard] = r
			s.log.LogAttrs(ctx, slog.LevelInfo, "the node is to serve a shard", slog.String("shard", shardName(d.Shard)),
				slog.Uint64("from_epoch", d.From), slog.Int("committee", d.Members))
		}
		s.mu.Unlock()
		r.mu.Lock()
		leaves := d.Leaving && (fresh || !r.duty.Leaving)
		r.duty, r.gone = d, false
		r.mu.Unlock()
		if leaves {
			s.log.LogAttrs(ctx, slog.LevelInfo, "others serve a shard by now; it runs here until it has gone over to them",
				slog.String("shard", shardName(d.Shard)), slog.Uint64("last_epoch", d.From))
		}
	}
}

// gone reports whether a shard that this node leaves has gone over to others.
func (s *shards) gone() bool {
	return slices.ContainsFunc(s.sorted(), func(r *shardRun) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.gone
	})
}

// slot returns the lowest that no shard has. mu is held.
func (s *shards) slot() int {
	for slot := 0; ; slot++ {
		taken := false
		for _, r := range s.runs {
			taken = taken || r.slot == slot
		}
		if !taken {
			return slot
		}
	}
}

// sorted returns the shards, ascending.
func (s *shards) sorted() []*shardRun {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.runs), func(a, b *shardRun) int { return cmp.Compare(a.id, b.id) })
}

// start opens a shard and lets it run, beside all else: it may have to fetch a state
// first. What goes wrong is kept, and tried again.
func (s *shards) start(ctx context.Context, r *shardRun) {
	ctx, r.cancel = context.WithCancel(ctx)
	go func() {
		r.left(contained(s.log, shardName(r.id), func() error { return s.host(ctx, r) }))
		s.ended <- r
	}()
}

// host opens a shard and runs it until ctx ends, or something fails.
func (s *shards) host(ctx context.Context, r *shardRun) error {
	if err := r.locate(s.node); err != nil {
		return err
	}
	if err := s.node.checkShardDisk(r.id); err != nil {
		return err
	}
	store, release, err := s.occupy(r.id)
	if err != nil {
		return err
	}
	defer release()
	h, err := s.node.openShard(ctx, r, s.through(r.id, store))
	if err != nil {
		return err
	}
	if h.counts, err = s.node.metrics.NewShard(h.chain.ID(), func() telemetry.ShardSample { return s.sample(r, h) }); err != nil {
		return errors.Join(err, h.close())
	}
	r.mu.Lock()
	r.chain, r.note = h, ""
	r.mu.Unlock()
	over := s.node.relays.serve(ctx, r.id, h)
	defer over()
	return h.run(ctx, func() { s.began(ctx, r, h) })
}

// opened returns the store that the shards share, or nil if none has needed it yet.
func (s *shards) opened() *badgerkv.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store
}

// openStore returns the store that the shards share, and opens it for the first of them.
func (s *shards) openStore() (*badgerkv.Store, error) {
	s.opening.Lock()
	defer s.opening.Unlock()
	if store := s.opened(); store != nil {
		return store, nil
	}
	n := s.node
	o := badgerkv.Main(n.serviceDir())
	if n.inMemory {
		o = badgerkv.Memory()
	} else if err := os.MkdirAll(n.shardsDir(), 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the shards: %w", err)
	}
	o.MemTableSize = int64(n.cfg.Shards.Memtable) //nolint:gosec // bounded by the settings
	o.MinFree = 0                                 // watched by the node
	o.Logger = n.module("store")
	store, err := badgerkv.Open(o)
	if err != nil {
		return nil, fmt.Errorf("open the store of the shards: %w; %s", err, n.lostShards())
	}
	removing, err := unfinishedRemovals(store)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	s.doom(removing...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store = store
	return store, nil
}

// measure says what the shards take on disk.
func (s *shards) measure(out *telemetry.NodeSample) {
	if store := s.opened(); store != nil {
		// What cannot be measured stays 0; the node does not depend on it.
		if size, err := store.Size(); err == nil {
			out.ShardsStore = size.Total
		}
	}
	for _, r := range s.sorted() {
		if h := r.look(); h != nil {
			out.Blocks += h.chain.BlockBytes()
		}
	}
}

// locate learns which accounts the shard is the home of.
func (r *shardRun) locate(n *Node) error {
	r.mu.Lock()
	known := r.place.ID != 0
	r.mu.Unlock()
	if known {
		return nil
	}
	var row anchor.State
	err := n.main.exec.Read(func(v chain.View, _ uint64) (err error) {
		var ok bool
		if row, ok = anchor.Read(v, r.id); !ok {
			err = fmt.Errorf("shard %d: %w", r.id, shardblock.ErrNotFounded)
		}
		return err
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.place = shard.Shard{ID: r.id, Service: row.Service, Zone: row.Zone, Buckets: row.Buckets, Since: row.Since}
	return nil
}

// began notes that a shard has joined its network.
func (s *shards) began(ctx context.Context, r *shardRun, h *hosted) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.began, r.err = true, nil
	s.log.LogAttrs(ctx, slog.LevelInfo, "shard started", slog.String("shard", h.name), slog.String("chain_id", h.chain.ID()),
		slog.String("address", h.chain.ListenAddr()), slog.Int("service", int(r.place.Service)), slog.Int("zone", int(r.place.Zone)))
}

// over notes that a shard has ended, and by itself unless it was stopped.
func (s *shards) over(ctx context.Context, r *shardRun) {
	r.cancel()
	r.cancel, r.peers = nil, nil
	r.mu.Lock()
	began, err := r.began, r.err
	r.began = false
	r.mu.Unlock()
	if began {
		r.failures = 0
	}
	if ctx.Err() == nil {
		s.failed(ctx, r, cmp.Or(err, errors.New("it ended")))
	}
}

// failed has a shard tried again, later with each failure. A shard that is not founded
// yet is only waited for.
func (s *shards) failed(ctx context.Context, r *shardRun, err error) {
	switch {
	case errors.Is(err, shardblock.ErrNotFounded), errors.Is(err, errPartTaken), errors.Is(err, errNobodyTells):
		r.due = time.Now().Add(shardRetryFirst)
	case errors.Is(err, errStranded):
		r.sought, r.due = time.Time{}, time.Now().Add(shardRetryFirst)
		s.doom(r.id)
		s.log.LogAttrs(ctx, slog.LevelWarn, "a shard is fetched anew", slog.String("shard", shardName(r.id)), slog.Any("err", err))
	case errors.Is(err, errAnotherGeneration):
		r.due = time.Now()
		s.log.LogAttrs(ctx, slog.LevelWarn, "a chain of a shard is over", slog.String("shard", shardName(r.id)), slog.Any("err", err))
	case errors.Is(err, errShardDisk):
		r.due = time.Now().Add(shardRetryMost)
		s.log.LogAttrs(ctx, slog.LevelError, "a shard is stopped on this node", slog.String("shard", shardName(r.id)), slog.Any("err", err))
	case errors.Is(err, errShardData):
		r.due = time.Now().Add(shardDataRetry)
		s.log.LogAttrs(ctx, slog.LevelError, "a shard is stopped on this node", slog.String("shard", shardName(r.id)), slog.Any("err", err))
	default:
		r.failures++
		r.due = time.Now().Add(shardRetry(r.failures))
		s.log.LogAttrs(ctx, slog.LevelError, "a shard does not run on this node; it is tried again",
			slog.String("shard", shardName(r.id)), slog.Any("err", err), slog.Duration("after", shardRetry(r.failures)))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// stop stops a shard and waits for it.
func (s *shards) stop(ctx context.Context, r *shardRun) {
	if r.cancel != nil {
		r.cancel()
	}
	for r.cancel != nil {
		if e := <-s.ended; e != r {
			s.over(ctx, e)
		} else {
			r.cancel = nil
		}
	}
}

// stopAll stops all shards, side by side, and waits for them.
func (s *shards) stopAll(ctx context.Context) {
	all := s.sorted()
	for _, r := range all {
		if r.cancel != nil {
			r.cancel()
		}
	}
	for _, r := range all {
		s.stop(ctx, r)
	}
}

// care looks after the shards that run: their peers, and what they take.
func (s *shards) care(ctx context.Context) {
	for _, r := range s.sorted() {
		r.mu.Lock()
		h, began := r.chain, r.began
		r.mu.Unlock()
		if h == nil || r.cancel == nil || !began {
			continue
		}
		s.introduce(ctx, r, h)
		s.checkDisk(r)
		s.checkData(r, h)
		s.checkStranded(r, h)
	}
}

// introduce lets a shard know its peers.
func (s *shards) introduce(ctx context.Context, r *shardRun, h *hosted) {
	peers := s.node.shardPeers(r.id)
	if slices.Equal(peers, r.peers) {
		return
	}
	if err := h.chain.SetPeers(peers); err != nil {
		s.log.LogAttrs(ctx, slog.LevelDebug, "introduce peers to a shard", slog.String("shard", h.name), slog.Any("err", err))
		return
	}
	r.peers = peers
}
