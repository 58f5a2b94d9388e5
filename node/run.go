package node

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
)

const (
	// consensusStop is how long consensus may take to stop. A block that is
	// being executed is finished first.
	consensusStop = 15 * time.Second
	// garbageInterval is how often the store's value log is looked at.
	garbageInterval = 10 * time.Minute
	// garbageShare is how much of a file of the value log must be garbage for it
	// to be rewritten.
	garbageShare = 0.5
	// releaseInterval is how often the tables of the store are taken out of
	// memory; the system keeps them in its page cache.
	releaseInterval = 5 * time.Second
)

// Run runs the node until ctx ends, and then stops it in good order and returns
// nil. Whatever else ends it is returned; then the order is the same:
//
//  1. health says NOT_SERVING, streams end, calls get five seconds to finish
//  2. nothing is carried between chains any more
//  3. the shards stop, side by side, each as the main chain does
//  4. the bundler stops: what was checked but is in no block is forgotten,
//     as its stage CHECKED says
//  5. consensus stops, after the block under way
//  6. health and metrics stop
//  7. the store closes, and the home directory is unlocked
func (n *Node) Run(ctx context.Context) error {
	stages := newStages(ctx, n.log)
	stages.add("http", n.runHTTP)
	stages.add("upkeep", n.upkeep)
	stages.add("consensus", n.runConsensus)
	stages.add("bundler", n.main.runRules)
	stages.add("shards", n.shards.run)
	stages.add("relay", n.relays.run)
	stages.add("api", n.runAPI)

	n.announce(ctx, purposeGRPC, purposeHTTP)
	stages.begin()
	<-stages.over()
	n.main.stopping.Store(true)
	n.main.look()
	n.log.LogAttrs(ctx, slog.LevelInfo, "stopping")
	err := errors.Join(stages.end(), n.Close())
	n.log.LogAttrs(ctx, slog.LevelInfo, "stopped")
	return err
}

func (n *Node) runAPI(ctx context.Context) error {
	if n.api == nil {
		<-ctx.Done()
		return nil
	}
	return n.api.Serve(ctx, n.grpc)
}

// runConsensus runs the main chain's agreement.
func (n *Node) runConsensus(ctx context.Context) error {
	return n.main.runConsensus(ctx, func() {
		n.announce(ctx, purposeP2P)
		n.log.LogAttrs(ctx, slog.LevelInfo, "chain started", slog.String("chain_id", n.main.chain.ID()),
			slog.String("network_id", n.genesis.NetworkID().String()), slog.String("node_id", n.nodeKey.ID()))
	})
}

func (n *Node) runHTTP(ctx context.Context) error {
	if n.http == nil {
		<-ctx.Done()
		return nil
	}
	return n.http.Run(ctx)
}

// upkeep looks after the node while it runs.
func (n *Node) upkeep(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.main.upkeep(ctx) })
	group.Go(func() error { return n.watchKeys(ctx) })
	group.Go(func() error { return n.announceChains(ctx) })
	group.Go(func() error { return n.guardDisk(ctx) })
	group.Go(func() error { return n.collectGarbage(ctx) })
	group.Go(func() error { return n.releaseMemory(ctx) })
	group.Go(func() error { return n.fetchHandovers(ctx) })
	return group.Wait()
}

// stores returns the stores that are open.
func (n *Node) stores() []*badgerkv.Store {
	if store := n.shards.opened(); store != nil {
		return []*badgerkv.Store{n.store, store}
	}
	return []*badgerkv.Store{n.store}
}

// collectGarbage gives disk space back that old blocks and rows left.
func (n *Node) collectGarbage(ctx context.Context) error {
	tick := time.NewTicker(garbageInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, store := range n.stores() {
			for more := true; more && ctx.Err() == nil; {
				var err error
				if more, err = store.CollectGarbage(garbageShare); err != nil && !errors.Is(err, kv.ErrClosed) {
					n.log.LogAttrs(ctx, slog.LevelWarn, "collect garbage of the store", slog.Any("err", err))
				}
			}
		}
	}
}

// releaseMemory keeps the stores' tables from piling up in the memory of the
// process.
func (n *Node) releaseMemory(ctx context.Context) error {
	tick := time.NewTicker(releaseInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, store := range n.stores() {
			if _, err := store.ReleaseMapped(); err != nil && !errors.Is(err, kv.ErrClosed) {
				n.log.LogAttrs(ctx, slog.LevelWarn, "release the store's memory", slog.Any("err", err))
			}
		}
	}
}
