package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/shard"
)

// What a shard leaves on a node is its part of the store that all shards share, a
// directory, what it began from, and its sign state. The first two are removed when they
// are needed here no more (idle), and before that what earlier generations of it left. What it began from stays, for nodes that join it late;
// and the sign state, since the validator may be drawn for the shard again: both are small.
const (
	// tidyInterval is how often it is looked what can be removed.
	tidyInterval = time.Minute
	// removingView is the part of the shards' store that names those that are being
	// removed: a shard with half of its state would be a damaged one.
	removingView = "removing/"
)

// remove removes the data of a shard that does not run. What a crash or ctx interrupts is
// finished at the next start.
func (s *shards) remove(ctx context.Context, store *badgerkv.Store, id shard.ID) error {
	mark := kv.Prefixed(store, []byte(removingView))
	if err := put(mark, shardName(id), []byte{1}); err != nil {
		return fmt.Errorf("remove shard %d: %w", id, err)
	}
	if err := store.RemovePrefix(shardPrefix(id), func() bool { return ctx.Err() == nil }); err != nil {
		return fmt.Errorf("remove shard %d: %w", id, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(s.node.shardsDir(), shardName(id))); err != nil {
		return fmt.Errorf("remove shard %d: %w", id, err)
	}
	return put(mark, shardName(id), nil)
}

// put writes a value durably, or deletes it if it is nil.
func put(s kv.Store, key string, value []byte) error {
	b := s.NewBatch()
	defer b.Discard()
	if value == nil {
		return errors.Join(b.Delete([]byte(key)), b.Commit(true))
	}
	return errors.Join(b.Set([]byte(key), value), b.Commit(true))
}

// doom has the data of shards removed, once nobody uses them. They do not start before.
func (s *shards) doom(ids ...shard.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		s.doomed[id] = true
	}
}

// condemned returns the shards whose data are to be removed, ascending.
func (s *shards) condemned() []shard.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.doomed))
}

// occupy takes a shard's part of the store, until release is called. One that is to be
// removed may be half there and is refused with errPartTaken, like one that is in use: what
// an earlier run of the node left so is known once the store is open.
func (s *shards) occupy(id shard.ID) (store *badgerkv.Store, release func(), err error) {
	return s.occupyBy(id, s.parts.take)
}

// occupyBy is occupy with parts.borrow instead of parts.take, for who only reads.
func (s *shards) occupyBy(id shard.ID, take func(id shard.ID) (release func(), ok bool)) (store *badgerkv.Store, release func(), err error) {
	release, ok := take(id)
	if !ok {
		return nil, nil, errPartTaken
	}
	if store, err = s.openStore(); err == nil && slices.Contains(s.condemned(), id) {
		err = errPartTaken
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return store, release, nil
}

// unfinishedRemovals returns the shards that an earlier run of the node had begun to
// remove.
func unfinishedRemovals(store kv.Store) (ids []shard.ID, err error) {
	it := kv.Prefixed(store, []byte(removingView)).Iterate(nil, nil, false)
	for it.Next() {
		if id, ok := parseShardName(string(it.Key())); ok {
			ids = append(ids, id)
		}
	}
	return ids, it.Close()
}

// here returns the shards that have a directory, or a part of the store: the state of a
// shard that never ran here is fetched for its heirs. They are ascending.
func (s *shards) here() (ids []shard.ID, err error) {
	if _, err := os.Stat(s.node.serviceDir()); err == nil {
		store, err := s.openStore()
		if err != nil {
			return nil, err
		}
		if ids, err = storedParts(store); err != nil {
			return nil, err
		}
	}
	ids = append(ids, s.node.directories()...)
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// storedParts returns the shards that have something in the store that all share.
func storedParts(store kv.Store) (ids []shard.ID, err error) {
	all := []byte("s")
	for from := all; ; {
		it := store.Iterate(from, kv.PrefixEnd(all), false)
		if !it.Next() {
			return ids, it.Close()
		}
		key := bytes.Clone(it.Key())
		if err := it.Close(); err != nil {
			return nil, err
		}
		name, _, _ := bytes.Cut(key, []byte("/"))
		id, ok := parseShardName(string(name))
		if !ok {
			from = append(key, 0)
			continue
		}
		ids, from = append(ids, id), kv.PrefixEnd(shardPrefix(id))
	}
}

// directories returns the shards that have one.
func (n *Node) directories() (ids []shard.ID) {
	entries, err := os.ReadDir(n.shardsDir())
	if err != nil {
		return nil // there is none yet
	}
	for _, e := range entries {
		if id, ok := parseShardName(e.Name()); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// tidy removes the data of shards that are needed here no more, and those of doomed ones,
// and gives the space back, until ctx ends. A node in memory keeps what it needs no more: it
// is gone with the node.
func (s *shards) tidy(ctx context.Context) error {
	tick := time.NewTicker(shardsTick)
	defer tick.Stop()
	looked := time.Now()
	done := make(map[shard.ID]uint32)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !s.node.inMemory && time.Since(looked) >= tidyInterval && !s.node.main.sample.Load().chain.CatchingUp {
			looked = time.Now()
			s.findIdle(ctx)
			if err := s.dropGenerations(ctx, done); err != nil && ctx.Err() == nil {
				s.log.LogAttrs(ctx, slog.LevelWarn, "remove what earlier generations of shards left", slog.Any("err", err))
			}
		}
		if err := s.clear(ctx); err != nil && ctx.Err() == nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "remove the data of shards that the node serves no more", slog.Any("err", err))
		}
	}
}

// clear removes the data of doomed shards.
func (s *shards) clear(ctx context.Context) error {
	doomed := s.condemned()
	if len(doomed) == 0 {
		return nil
	}
	store, err := s.openStore()
	if err != nil {
		return err
	}
	removed := false
	for _, id := range doomed {
		release, ok := s.parts.take(id)
		if !ok {
			continue // it runs, or others take its state just now
		}
		err := contained(s.log, "remove a shard", func() error {
			defer release()
			return s.remove(ctx, store, id)
		})
		if err != nil {
			return err
		}
		s.mu.Lock()
		delete(s.doomed, id)
		s.mu.Unlock()
		removed = true
		s.log.LogAttrs(ctx, slog.LevelInfo, "removed the data of a shard", slog.String("shard", shardName(id)))
	}
	if !removed {
		return nil
	}
	return store.Compact()
}

// findIdle dooms the shards with data here that nobody needs.
func (s *shards) findIdle(ctx context.Context) {
	n := s.node
	key := n.signer.PubKey()
	if len(key) != ledger.PublicKeySize {
		return
	}
	row, registered, err := n.registration(n.genesis.Validators, ledger.PublicKey(key))
	if err != nil {
		return
	}
	if registered.IsZero() {
		row = math.MaxUint64 // nobody's
	}
	here, err := s.here()
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "look which shards have data here", slog.Any("err", err))
		return
	}
	var over []shard.ID
	ends := map[shard.ID]bool{}
	err = n.main.exec.Read(func(v chain.View, height uint64) error {
		epoch := n.genesis.Params.Staking.Epoch(height + 1)
		keep := min(uint64(n.cfg.Shards.KeepEpochs), n.genesis.Params.Staking.Kept()) //nolint:gosec // bounded by the settings
		for _, id := range here {
			if idle(v, id, row, epoch, keep) {
				a, _ := anchor.Read(v, id)
				over, ends[id] = append(over, id), a.Finished()
			}
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "look which shards are needed here no more", slog.Any("err", err))
	}
	for _, id := range over {
		if s.find(id) == nil && (!ends[id] || !n.wanted(id)) {
			s.doom(id)
		}
	}
}

// idle reports whether a shard goes on without the validator with a row, which has served
// it: that is drawn neither for the last keep epochs nor the next, and others have
// anchored the shard since then; or it is anchored to its end for as long.
func idle(v chain.View, id shard.ID, row, epoch, keep uint64) bool {
	a, founded := anchor.Read(v, id)
	if !founded || epoch <= keep {
		return false
	}
	for e := epoch - keep; e <= epoch+1; e++ {
		drawn, _ := registry.ReadShort(v, e, id)
		for _, seat := range drawn.Seats {
			if seat.Validator == row {
				return false
			}
		}
	}
	if a.Until == 0 || a.Until > epoch {
		return a.Last.Epoch > epoch-keep
	}
	return a.Finished() && a.Until+keep <= epoch
}

// checkData stops a shard that takes more than it may.
func (s *shards) checkData(r *shardRun, h *hosted) {
	if time.Since(r.measured) < shardDataInterval {
		return
	}
	r.measured = time.Now()
	size := s.dataOf(r.id, h)
	r.mu.Lock()
	r.data = size
	r.mu.Unlock()
	if most := uint64(s.node.cfg.Shards.MaxData); size > most {
		r.giveUp(fmt.Errorf("%w: %d MiB of %d; raise it or keep fewer blocks ([pruning]), and start the node again, "+
			"or leave it: it is tried every %v", errShardData, size>>20, most>>20, shardDataRetry))
	}
}

// dataOf returns what a shard that runs takes on disk: its blocks, its snapshots and its
// tables of the store that all shards share.
func (s *shards) dataOf(id shard.ID, h *hosted) (size uint64) {
	size = h.chain.BlockBytes()
	if store := s.opened(); store != nil {
		if tables, err := store.SizeOf(shardPrefix(id)); err == nil {
			size += tables
		}
	}
	// What cannot be measured stays 0; the node watches the disk as a whole.
	_ = filepath.WalkDir(filepath.Join(s.node.shardsDir(), shardName(id), "snapshots"), func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if info, err := e.Info(); err == nil {
			size += uint64(info.Size()) //nolint:gosec // not negative
		}
		return nil
	})
	return size
}

// checkStranded has a shard fetched anew that lacks blocks which nobody has, while the
// main chain knows of later ones.
func (s *shards) checkStranded(r *shardRun, h *hosted) {
	head, _ := h.exec.Head()
	if !h.chain.Stranded() || s.node.anchored(r.id)[r.id] <= head {
		r.stranded = time.Time{}
		return
	}
	if r.stranded.IsZero() {
		r.stranded = time.Now()
	}
	if time.Since(r.stranded) >= strandedFor {
		r.stranded = time.Time{}
		r.giveUp(fmt.Errorf("%w: it has height %d; its data here are removed and it is joined by a snapshot", errStranded, head))
	}
}
