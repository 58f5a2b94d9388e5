package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/node/carry"
	"github.com/tributary-network/tributary/node/telemetry"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/relay"
)

// relays carries what the chains of this node have for each other, and for those that
// other nodes run. Its methods are safe for concurrent use.
type relays struct {
	node  *Node
	log   *slog.Logger
	relay *relay.Relay
}

// openRelays makes the relays of a node whose main chain is open.
func (n *Node) openRelays(context.Context, Options) (err error) {
	if !n.cfg.Shards.Relay || !n.cfg.Shards.Enabled {
		return nil
	}
	r := &relays{node: n, log: n.module("relay")}
	r.relay, err = relay.New(relay.Config{
		Main:    carry.Main{Main: n.main.ledger, Bundles: n.main.chain.Txs},
		Remote:  api.NewRemote(n.peers),
		Network: n.genesis.NetworkID(),
		Self:    r.self,
		Key:     &n.relayer.key,
		Zone:    n.relayer.Address.Zone(),
		Eager:   true,
		Block:   time.Duration(n.genesis.Params.BlockInterval) * time.Millisecond,
		Now:     time.Now,
		Jitter:  rand.Float64,
		Log:     r.log,
	})
	if err != nil {
		return err
	}
	n.relays = r
	return n.metrics.NewRelay(r.sample)
}

// sample is what the metrics show of what was carried.
func (r *relays) sample() telemetry.RelaySample {
	c := r.relay.Counters()
	return telemetry.RelaySample{
		Heads: c.Heads, Epochs: c.Epochs, Imports: c.Imports, Relists: c.Relists, Anchors: c.Anchors, Settlements: c.Settlements,
		Leaves: c.Leaves, Bytes: c.Bytes, Refused: c.Refused, Failed: c.Failed, Late: c.Late, Conflicts: c.Conflicts, Nonsense: c.Nonsense, Paid: c.Paid,
	}
}

// self returns the consensus address of the node's validator, zero while a remote signer
// has not told its key.
func (r *relays) self() (address [committee.AddressSize]byte) {
	if key := r.node.signer.PubKey(); len(key) > 0 {
		sum := sha256.Sum256(key)
		copy(address[:], sum[:])
	}
	return address
}

// run carries until ctx ends.
func (r *relays) run(ctx context.Context) error {
	if r == nil {
		<-ctx.Done()
		return nil
	}
	var group sync.WaitGroup
	group.Go(func() {
		if err := contained(r.log, "carry", func() error { return r.relay.Run(ctx) }); err != nil && ctx.Err() == nil {
			// A state that cannot be read; the chains, of which it may be one, go on.
			r.log.LogAttrs(ctx, slog.LevelError, "nothing is carried between chains any more", slog.Any("err", err))
		}
	})
	group.Go(func() { r.watch(ctx, r.node.main) })
	group.Wait()
	return nil
}

// serve lets a shard that runs on this node be carried for, until the function that it
// returns is called, which waits until nothing looks at the chain any more.
func (r *relays) serve(ctx context.Context, id shard.ID, h *hosted) (over func()) {
	if r == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { r.watch(ctx, h) })
	r.relay.Host(id, carry.Shard{Shard: h.shard})
	return func() {
		r.relay.Drop(id)
		cancel()
		group.Wait()
	}
}

// watch wakes the relay by the blocks and certificates of a chain. That a chain has
// halted is told elsewhere.
func (r *relays) watch(ctx context.Context, h *hosted) {
	lasting(ctx, h.log, "wake the relay", func(ctx context.Context) error {
		err := carry.Watch(ctx, h.exec, r.relay.Wake)
		if errors.Is(err, carry.ErrPanic) {
			h.log.LogAttrs(ctx, slog.LevelError, "the relay is not woken", slog.String("chain", h.name), slog.Any("err", err))
			return err
		}
		if err != nil {
			r.log.LogAttrs(ctx, slog.LevelDebug, "a chain is not watched any more", slog.String("chain", h.name), slog.Any("err", err))
		}
		return nil
	})
}
