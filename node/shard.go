package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/statetree"
	"github.com/tributary-network/tributary/shard"
)

// Bounds of what one shard keeps in memory, where a node may run many.
const (
	shardRemembered     = 1 << 17 // records
	shardKeys           = 1 << 12
	shardPendingBytes   = 8 << 20
	shardPendingRecords = 1 << 14
	shardRecentBlocks   = 256
	shardRecentItems    = 20_000
	shardNodeCache      = 100_000
	shardRegistryCache  = 8 << 20
	shardMaxInbound     = 40
)

// Misbehaviour of a shard's validators is punished on the main chain, by the checkpoints
// that they sign, and a shard's own rules take no evidence. So what consensus says of it
// is kept briefly, and whoever joins a shard need not fetch the headers of weeks first.
const (
	shardEvidenceBlocks = 1_000
	shardEvidenceAge    = 10 * time.Minute
)

// shardName is the name of a shard's chain, in checks, metrics, the log and files.
func shardName(id shard.ID) string { return "s" + strconv.FormatUint(uint64(id), 10) }

// shardsDir is where each shard has a directory for what does not lie in the store
// that all share.
func (n *Node) shardsDir() string { return filepath.Join(n.home.Data(), "shards") }

// serviceDir is the directory of the store that all shards share.
func (n *Node) serviceDir() string { return filepath.Join(n.home.Data(), "service") }

// cometGenesis returns what consensus on a shard starts from: all of it follows from
// the genesis of the main chain and g.
func (n *Node) cometGenesis(g *shardblock.Genesis, gen *generation) comet.Genesis {
	main := n.genesis.Comet()
	out := comet.Genesis{
		Time:              main.Time,
		BlockMaxBytes:     g.Service.Params.MaxBlockBytes + comet.BlockOverhead(committee.MaxSeats),
		EvidenceMaxBlocks: shardEvidenceBlocks,
		EvidenceMaxAge:    shardEvidenceAge,
		AppState:          g.Encode(),
		Validators:        validatorsOf(&g.Committee),
	}
	gen.begin(&out, main.ChainID)
	return out
}

func validatorsOf(c *committee.Committee) (list []comet.GenesisValidator) {
	for i := range c.Members {
		m := &c.Members[i]
		list = append(list, comet.GenesisValidator{
			PubKey: m.ConsensusKey[:],
			Power:  int64(m.Power), //nolint:gosec // below 2^53
		})
	}
	return list
}

// openShard opens the chain of a shard, over its part of the store that all shards
// share.
func (n *Node) openShard(ctx context.Context, r *shardRun, store kv.Store) (*hosted, error) {
	name := shardName(r.id)
	h := newHosted(name, n.log.With(slog.String("shard", name)))
	if !n.inMemory {
		h.disk = n.serviceDir()
	}
	if err := contained(h.log, "open the shard", func() error { return n.openShardParts(ctx, h, r, store) }); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

func (n *Node) openShardParts(ctx context.Context, h *hosted, r *shardRun, store kv.Store) error {
	id := r.id
	gen, g, err := n.readyGeneration(ctx, r, store)
	if err != nil {
		return err
	}
	dir := n.shardDir(id)
	if h.layer, err = layer.New(kv.Prefixed(store, shardPrefix(id)), n.shardLayer()); err != nil {
		return err
	}
	how, err := n.shardSync(id, consensusStore(h.layer, gen.number), r.patient(time.Now()))
	if err != nil {
		return err
	}
	if gen.height > 0 && h.layer.Height() == gen.height {
		state, err := h.layer.OpenSnapshot() // those who never had it may ask for it
		if err != nil {
			return err
		}
		n.states.offer(id, state)
	}
	switch empty := h.layer.Empty(); {
	case empty && gen.height > 0 && how == nil:
		return fmt.Errorf("%w: state %s of shard %d", errStateElsewhere, gen.root, id)
	case empty && gen.height > 0:
		how.Only = true // its first block is not to be had with what came before it
	case empty:
		a, err := n.openAncestors(ctx, r, &g)
		switch {
		case errors.Is(err, errStateElsewhere) && how != nil:
			how.Only = true // a snapshot needs no parents
		case err != nil:
			return err
		default:
			h.ancestors = a
		}
	}
	rules, err := n.shardExecConfig(h, r, dir)
	if err != nil {
		return err
	}
	if h.shard, err = exec.OpenGenerations(rules, h.layer, g, gen.resumes, h.module("exec"), h.ancestors.views()...); err != nil {
		return err
	}
	h.exec = h.shard.Executor
	if !n.inMemory {
		if err := h.keepHeightIn(filepath.Join(dir, shardHeightFile), n.lostShards()); err != nil {
			return err
		}
	}
	start := n.cometGenesis(&g, &gen)
	signer, err := n.signer.ForChain(start.ChainID)
	if err != nil {
		return err
	}
	consensus := n.shardConsensus(dir, r.slot, gen.number)
	consensus.StateSync = how
	h.chain, err = comet.New(consensus, start, signer, n.nodeKey, consensusStore(h.layer, gen.number),
		application{h.exec, n.main.ledger}, h.module("consensus"), n.metrics)
	return err
}

// readyGeneration returns the present generation of a shard and the genesis that the shard
// began from, with what is needed to go on with it in the store and in its directory.
func (n *Node) readyGeneration(ctx context.Context, r *shardRun, store kv.Store) (gen generation, g shardblock.Genesis, err error) {
	if gen, err = n.generationOf(r.id); err != nil {
		return gen, g, err
	}
	r.choose(gen.number)
	if g, err = n.shardGenesis(ctx, r.id); err != nil {
		return gen, g, err
	}
	if g.Generation != gen.origin {
		return gen, g, fmt.Errorf("shard %d: %w: it began with generation %d, its genesis is of %d", r.id, shardblock.ErrNotFounded, gen.origin, g.Generation)
	}
	if err := os.MkdirAll(n.shardDir(r.id), 0o700); err != nil {
		return gen, g, fmt.Errorf("make the directory of a shard: %w", err)
	}
	t := n.newTakeBack(&gen, &g, store)
	t.run, t.tell = r, r.tell
	if err := t.prepare(ctx); err != nil {
		return gen, g, err
	}
	r.anchored.Store(gen.anchored)
	return gen, g, nil
}

// shardPrefix is what the keys of a shard begin with in the store that all share.
func shardPrefix(id shard.ID) []byte { return []byte(shardName(id) + "/") }

// shardLayer returns how the state of a shard is kept.
func (n *Node) shardLayer() layer.Options {
	return layer.Options{State: statetree.Options{
		PageCacheBytes:     int64(n.cfg.Shards.PageCache), //nolint:gosec // bounded by the settings
		RegistryCacheBytes: shardRegistryCache,
		NodeCache:          shardNodeCache,
		KeepVersions:       n.cfg.Store.KeepVersions,
	}}
}

// shardHeightFile remembers beside the store how high a shard was.
const shardHeightFile = "height"

// lostShards says what can be done about a store of the shards that is not what it was.
func (n *Node) lostShards() string {
	return fmt.Sprintf("stop the node and restore the whole of %s from one backup, or remove %s and %s, and let it fetch its shards from their peers",
		n.home.Data(), n.serviceDir(), n.shardsDir())
}

// shardExecConfig returns how a shard's rules run: as those of main, with less of
// everything.
func (n *Node) shardExecConfig(h *hosted, r *shardRun, dir string) (exec.Config, error) {
	c := n.execConfig(h)
	c.Remembered, c.Keys = shardRemembered, shardKeys
	c.PendingBytes, c.PendingRecords = shardPendingBytes, shardPendingRecords
	c.RecentBlocks, c.RecentItems = shardRecentBlocks, shardRecentItems
	c.MempoolTxs, c.MempoolBytes = n.cfg.Shards.MempoolTxs, int64(n.cfg.Shards.MempoolBytes) //nolint:gosec // bounded by the settings
	c.Anchored = r.anchored.Load
	if n.inMemory {
		return c, nil
	}
	var err error
	c.Snapshots, err = layer.OpenHeldSnapshots(filepath.Join(dir, "snapshots"), r.anchored.Load())
	return c, err
}

// shardConsensus returns how a shard's agreement runs: at the pace of main, or more slowly.
func (n *Node) shardConsensus(dir string, slot int, generation uint32) comet.Config {
	c := n.consensusConfig()
	c.Dir = filepath.Join(dir, consensusName(generation))
	port := 0
	if n.cfg.Shards.FirstPort != 0 {
		port = n.cfg.Shards.FirstPort + slot
	}
	c.ListenAddr = net.JoinHostPort(n.cfg.ShardsListen(), strconv.Itoa(port))
	c.ExternalAddr, c.Peers = "", nil
	c.MaxInbound = shardMaxInbound
	c.TimeoutCommit = max(c.TimeoutCommit, n.cfg.Shards.BlockInterval.Duration)
	c.MempoolTxs, c.MempoolBytes = n.cfg.Shards.MempoolTxs, int64(n.cfg.Shards.MempoolBytes) //nolint:gosec // bounded by the settings
	return c.ForShard()
}

// run runs a chain that was opened, beside others, until ctx ends, and then stops and
// closes it. Whatever else ends it is returned, and stops it too.
func (h *hosted) run(ctx context.Context, begun func()) error {
	stages := newStages(ctx, h.log)
	stages.add("upkeep", h.upkeep)
	stages.add("consensus", func(ctx context.Context) error { return h.runConsensus(ctx, begun) })
	stages.add("bundler", h.runRules)
	stages.begin()
	<-stages.over()
	h.stopping.Store(true)
	h.look()
	return errors.Join(stages.end(), h.close())
}

// shardRetry is how long after its failures a shard is tried again: longer with each.
func shardRetry(failures int) time.Duration {
	return min(shardRetryFirst<<min(max(failures, 1)-1, 16), shardRetryMost)
}

const (
	shardRetryFirst = time.Second
	shardRetryMost  = time.Minute
)
