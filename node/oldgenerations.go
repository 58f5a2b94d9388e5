package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/shard"
)

// What consensus of a generation has, blocks, votes and its log, is of use to a later one
// as long as that may have to be taken back, too: its blocks are executed again from there.
// Once the later one is anchored, and is shards.keep_epochs old, the state would be fetched
// in that unlikely case, and so it is removed. The sign states stay, they are small.

// outlived reports whether earlier generations of a shard with a row of the main chain are
// needed no more. It has begun with its redraw; Begins is the epoch of the first of them
// unless nothing was anchored before.
func outlived(row *anchor.State, epoch, keep uint64) bool {
	return row.Generation > 0 && row.Height() > row.Resumed && max(row.Begins, row.RedrawEpoch)+keep <= epoch
}

// dropGenerations removes what earlier generations of the shards that run have left. done
// are those of which nothing is left, by shard.
func (s *shards) dropGenerations(ctx context.Context, done map[shard.ID]uint32) error {
	n := s.node
	running := make(map[shard.ID]uint32)
	for _, r := range s.sorted() {
		r.mu.Lock()
		if r.chain != nil && r.generation > done[r.id] {
			running[r.id] = r.generation
		}
		r.mu.Unlock()
	}
	if len(running) == 0 {
		return nil
	}
	err := n.main.exec.Read(func(v chain.View, height uint64) error {
		epoch := n.genesis.Params.Staking.Epoch(height + 1)
		keep := min(uint64(n.cfg.Shards.KeepEpochs), n.genesis.Params.Staking.Kept()) //nolint:gosec // bounded by the settings
		for id, number := range running {
			if row, ok := anchor.Read(v, id); !ok || row.Generation != number || !outlived(&row, epoch, keep) {
				delete(running, id)
			}
		}
		return nil
	})
	store := s.opened()
	if err != nil || store == nil {
		return err
	}
	some := false
	for id, number := range running {
		removed, err := s.removeGenerations(ctx, store, id, number)
		if some = some || removed; err != nil {
			return err
		}
		done[id] = number
	}
	if !some {
		return nil
	}
	return store.Compact()
}

// removeGenerations removes what consensus of the generations of a shard before one has left,
// and reports whether there was something.
func (s *shards) removeGenerations(ctx context.Context, store *badgerkv.Store, id shard.ID, before uint32) (some bool, err error) {
	for number := range before {
		prefix := consensusPrefix(id, number)
		it := store.Iterate(prefix, kv.PrefixEnd(prefix), false)
		stored := it.Next()
		if err := it.Close(); err != nil {
			return some, fmt.Errorf("look for generation %d of shard %d: %w", number, id, err)
		}
		dir := filepath.Join(s.node.shardDir(id), consensusName(number))
		_, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) && !stored {
			continue
		}
		some = true
		err = store.RemovePrefix(prefix, func() bool { return ctx.Err() == nil })
		if err = errors.Join(err, ctx.Err(), os.RemoveAll(dir)); err != nil {
			return some, fmt.Errorf("remove generation %d of shard %d: %w", number, id, err)
		}
		s.log.LogAttrs(ctx, slog.LevelInfo, "removed what an earlier generation of a shard left",
			slog.String("shard", shardName(id)), slog.Uint64("generation", uint64(number)))
	}
	return some, nil
}
