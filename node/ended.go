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
	"time"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

const (
	// maxEndedOpen is how many shards that have ended are open at a time.
	maxEndedOpen = 4
	// endedIdle is after how long without a call one is closed, and endedTick how often
	// that is looked at.
	endedIdle = 30 * time.Second
	endedTick = 5 * time.Second
	// endedRest is for how long one is not opened again that had to be given back, so that
	// who waits for it gets it.
	endedRest = 5 * time.Second
	// endedRemembered and endedNodeCache bound what one needs in memory.
	endedRemembered = 1
	endedNodeCache  = 1_000
)

// errEndedBusy says that what a shard did cannot be read at the moment.
var errEndedBusy = fmt.Errorf("%w: it has ended, and its data are in use or too many others are read", exec.ErrNotRunning)

// endedShards reads what shards did that have ended, from what this node keeps of them:
// their state and their index, without consensus. A shard is opened by the first call and
// closed when there are none for a while, or when somebody else needs its part of the
// store. It is safe for concurrent use.
type endedShards struct {
	log  *slog.Logger
	from func(id shard.ID) (*endedShard, error) // opens one

	mu      sync.Mutex
	serving bool // between the beginning and the end of run
	open    map[shard.ID]*endedShard
	rest    map[shard.ID]time.Time // until when they are not opened
	lacking map[shard.ID]time.Time // likewise, since they are not here as a whole
}

// endedShard is one that is open. Its fields are guarded by endedShards.
type endedShard struct {
	id      shard.ID
	layer   *layer.Settlement
	exec    *exec.Shard
	release func() // gives its part of the store back
	users   int    // calls under way
	used    time.Time
	leaving chan struct{} // closed by the last call, if it is to be closed; nil otherwise
}

func newEndedShards(log *slog.Logger, from func(id shard.ID) (*endedShard, error)) *endedShards {
	return &endedShards{log: log, from: from, open: map[shard.ID]*endedShard{}, rest: map[shard.ID]time.Time{}, lacking: map[shard.ID]time.Time{}}
}

// run lets shards be read until ctx ends, and closes them.
func (e *endedShards) run(ctx context.Context) error {
	e.begin()
	defer e.stop()
	tick := time.NewTicker(endedTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			e.closeIdle(time.Now())
		}
	}
}

func (e *endedShards) begin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.serving = true
}

// stop closes all, after the calls under way, and opens none any more.
func (e *endedShards) stop() {
	e.mu.Lock()
	e.serving = false
	ids := slices.Collect(maps.Keys(e.open))
	e.mu.Unlock()
	for _, id := range ids {
		e.giveBack(id)
	}
}

// closeIdle closes those that were not used lately.
func (e *endedShards) closeIdle(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.open {
		if r.users == 0 && now.Sub(r.used) >= endedIdle {
			e.close(r)
		}
	}
	over := func(_ shard.ID, until time.Time) bool { return now.After(until) }
	maps.DeleteFunc(e.rest, over)
	maps.DeleteFunc(e.lacking, over)
}

// close closes a shard that nobody uses. mu is held.
func (e *endedShards) close(r *endedShard) {
	delete(e.open, r.id)
	if err := r.layer.Close(); err != nil {
		e.log.Warn("close a shard that has ended", slog.String("shard", shardName(r.id)), slog.Any("err", err))
	}
	r.release()
}

// giveBack closes a shard for who needs its part of the store, after the calls under way,
// which are short.
func (e *endedShards) giveBack(id shard.ID) {
	e.mu.Lock()
	r := e.open[id]
	if r == nil {
		e.mu.Unlock()
		return
	}
	e.rest[id] = time.Now().Add(endedRest)
	delete(e.open, id)
	if r.users == 0 {
		e.close(r)
		e.mu.Unlock()
		return
	}
	leaving := make(chan struct{})
	r.leaving = leaving
	e.mu.Unlock()
	<-leaving
}

// acquire returns a shard for one call, which ends with done.
func (e *endedShards) acquire(id shard.ID) (*endedShard, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.open[id]
	if r == nil {
		now := time.Now()
		switch {
		case now.Before(e.lacking[id]):
			return nil, fmt.Errorf("shard %d: %w", id, exec.ErrUnknown)
		case !e.serving || now.Before(e.rest[id]) || !e.room():
			return nil, errEndedBusy
		}
		var err error
		if r, err = e.from(id); err != nil {
			if errors.Is(err, exec.ErrUnknown) {
				e.lacking[id] = now.Add(endedRest)
			}
			return nil, err
		}
		e.open[id] = r
	}
	r.users++
	return r, nil
}

// room makes room for one more, and returns false if all are in use. mu is held.
func (e *endedShards) room() bool {
	if len(e.open) < maxEndedOpen {
		return true
	}
	var oldest *endedShard
	for _, r := range e.open {
		if r.users == 0 && (oldest == nil || r.used.Before(oldest.used)) {
			oldest = r
		}
	}
	if oldest == nil {
		return false
	}
	e.close(oldest)
	return true
}

// done ends a call.
func (e *endedShards) done(r *endedShard) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r.users--
	r.used = time.Now()
	if r.users == 0 && r.leaving != nil {
		e.close(r)
		close(r.leaving)
	}
}

// use calls f with a shard.
func (e *endedShards) use(id shard.ID, f func(s *exec.Shard) error) error {
	r, err := e.acquire(id)
	if err != nil {
		return err
	}
	defer e.done(r)
	return f(r.exec)
}

// openEnded opens a shard that is anchored to its end and does not run, if all of it is
// here. The error wraps exec.ErrUnknown if not.
func (s *shards) openEnded(id shard.ID) (r *endedShard, err error) {
	n := s.node
	missing := fmt.Errorf("shard %d: %w", id, exec.ErrUnknown)
	row, keeps := s.keeps(id)
	if !keeps {
		return nil, missing
	}
	gen, err := n.generationOf(id)
	if err != nil {
		return nil, err
	}
	g, kept, err := n.keptGenesis(id)
	if err != nil || !kept {
		return nil, errors.Join(err, missing)
	}
	store, release, err := s.occupyBy(id, s.parts.borrow)
	if errors.Is(err, errPartTaken) {
		return nil, errEndedBusy
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if r == nil { // if it panicked, too
			release()
		}
	}()
	part := kv.Prefixed(store, shardPrefix(id))
	if number, err := prepared(part); err != nil || number != gen.number {
		return nil, errors.Join(err, missing)
	}
	how := n.shardLayer()
	how.State.PageCacheBytes, how.State.NodeCache = min(how.State.PageCacheBytes, endedPageCache), endedNodeCache
	l, err := layer.New(part, how)
	if err != nil {
		return nil, err
	}
	defer func() {
		if r == nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if l.Height() < row.End || !indexed(l) {
		return nil, missing
	}
	x, err := exec.OpenGenerations(n.endedConfig(), l, g, gen.resumes, n.logOf(id))
	if err != nil {
		return nil, err
	}
	return &endedShard{id: id, layer: l, exec: x, release: release, used: time.Now()}, nil
}

// keeps reports whether there is anything here of a shard that has ended, and returns what
// the main chain says of it.
func (s *shards) keeps(id shard.ID) (row anchor.State, ok bool) {
	row, ended := s.node.endedRow(id)
	if !ended || slices.Contains(s.condemned(), id) {
		return row, false
	}
	_, err := os.Stat(s.node.shardDir(id))
	return row, err == nil
}

// endedPageCache is the most that the state of one that is open keeps of its pages.
const endedPageCache = 1 << 20

// endedConfig returns how the rules of a shard run that is only read.
func (n *Node) endedConfig() exec.Config {
	return exec.Config{
		Network: n.genesis.NetworkID(), Heads: n.heads, Workers: 1, Remembered: endedRemembered, Keys: endedRemembered,
		RecentBlocks: endedRemembered, RecentItems: endedRemembered, KeepBlocks: kept(n.cfg.Pruning.KeepBlocks), KeepReceipts: kept(n.cfg.Pruning.KeepReceipts),
	}
}

// indexed reports whether a layer has an index: a state that was fetched has none.
func indexed(l *layer.Settlement) bool {
	it := l.Index().Iterate(nil, nil, false)
	found := it.Next()
	return it.Close() == nil && found
}

// endedRow returns what the main chain says of a shard that is anchored to its end.
func (n *Node) endedRow(id shard.ID) (row anchor.State, ended bool) {
	_ = n.main.exec.Read(func(v chain.View, _ uint64) error { // a store that is closed has none
		row, ended = anchor.Read(v, id)
		ended = ended && row.Finished()
		return nil
	})
	return row, ended
}

// keepers returns who may have what a shard did that has ended: those who made its last
// block. It is nobody's while it has not ended, and when the main chain has forgotten them.
func (n *Node) keepers(id ledger.ChainID) (keys []ledger.PublicKey) {
	_ = n.main.exec.Read(func(v chain.View, _ uint64) error { // likewise
		row, ok := anchor.Read(v, id)
		if !ok || !row.Finished() {
			return nil
		}
		a, _ := registry.ReadAssignment(v, row.Last.Epoch, id)
		for i := range a.Committee.Members {
			keys = append(keys, a.Committee.Members[i].ConsensusKey)
		}
		return nil
	})
	return keys
}

// Ended implements api.Shards.
func (s hostedShards) Ended(id shard.ID) (api.ShardRecords, bool) {
	past := s.shards.past
	row, keeps := s.shards.keeps(id)
	if !keeps || s.shards.find(id) != nil {
		return nil, false
	}
	switch r, err := past.acquire(id); {
	case err == nil:
		past.done(r)
	case errors.Is(err, exec.ErrNotRunning): // which each call says
	case errors.Is(err, exec.ErrUnknown):
		return nil, false
	default:
		s.shards.log.Warn("open a shard that has ended", slog.String("shard", shardName(id)), slog.Any("err", err))
		return nil, false
	}
	return endedRecords{past, id, row.End, row.Last.StateRoot}, true
}

// Kept implements api.Shards.
func (s hostedShards) Kept(limit int) (ids []shard.ID) {
	ends := map[shard.ID]uint64{}
	for _, id := range s.shards.node.directories() {
		if row, keeps := s.shards.keeps(id); keeps && s.shards.find(id) == nil {
			ids, ends[id] = append(ids, id), row.Until
		}
	}
	slices.SortStableFunc(ids, func(a, b shard.ID) int { return cmp.Compare(ends[b], ends[a]) })
	return ids[:min(limit, len(ids))]
}

// endedRecords are what a shard did that has ended. It opens the shard whenever it is not
// open.
type endedRecords struct {
	past   *endedShards
	id     shard.ID
	height uint64      // of its last block, as it is anchored
	root   ledger.Hash // of the state after it
}

// Head implements api.ShardState. It is known while the shard cannot be read, too.
func (e endedRecords) Head() (height uint64, appHash []byte) { return e.height, e.root[:] }

// Read implements api.ShardState.
func (e endedRecords) Read(f func(v chain.View, height uint64) error) error {
	return e.past.use(e.id, func(s *exec.Shard) error { return s.Read(f) })
}

// Status implements api.ShardRecords.
func (e endedRecords) Status(hash ledger.Hash) (out exec.ShardStatus, err error) {
	err = e.past.use(e.id, func(s *exec.Shard) (err error) {
		out, err = s.Status(hash)
		return err
	})
	return out, err
}

// Block implements api.ShardRecords.
func (e endedRecords) Block(height uint64) (out *exec.ShardBlock, err error) {
	err = e.past.use(e.id, func(s *exec.Shard) (err error) {
		out, err = s.Block(height)
		return err
	})
	return out, err
}

// Outbox implements api.ShardRecords.
func (e endedRecords) Outbox(height uint64) (out *link.Outbox, err error) {
	err = e.past.use(e.id, func(s *exec.Shard) (err error) {
		out, err = s.Outbox(height)
		return err
	})
	return out, err
}

// Took implements api.ShardRecords.
func (e endedRecords) Took(l link.Link, seq uint64) (height uint64, ok bool, err error) {
	err = e.past.use(e.id, func(s *exec.Shard) (err error) {
		height, ok, err = s.Took(l, seq)
		return err
	})
	return height, ok, err
}

// Certificate implements api.ShardRecords.
func (e endedRecords) Certificate(height uint64) (out cert.Certificate, err error) {
	err = e.past.use(e.id, func(s *exec.Shard) (err error) {
		out, err = s.Certificate(height)
		return err
	})
	return out, err
}

// LatestCertificate implements api.ShardRecords.
func (e endedRecords) LatestCertificate() (out cert.Certificate, err error) {
	err = e.past.use(e.id, func(s *exec.Shard) (err error) {
		out, err = s.LatestCertificate()
		return err
	})
	return out, err
}
