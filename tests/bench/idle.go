package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/node/testnet"
)

const (
	// idleShards is how many shards a local network has beside its main chain.
	idleShards = 8
	idleSettle = 10 * time.Second // without a block on any chain
	idleStart  = 3 * time.Minute  // until all shards run, and that
	idleWindow = 20 * time.Second

	// An idle local network may take 15 % of two cores and 2 GiB.
	idleCPULimit    = 30.0
	idleMemoryLimit = 2048.0

	idleEngineFigure  = "idle: consensus of 4 validators on 9 chains"
	idleNetworkFigure = "idle: local network of 4 processes"
)

// idleCost measures what it costs that nothing happens.
func (b *bench) idleCost(ctx context.Context) error {
	b.report.step("what idle chains cost")
	if err := b.idleEngine(ctx); err != nil {
		return err
	}
	return b.idleNetwork(ctx)
}

// idleNetwork measures a local network as it is by default, once all validators run all
// its shards and all chains rest.
func (b *bench) idleNetwork(ctx context.Context) (err error) {
	dir := filepath.Join(b.dir, "idle-network")
	net, err := testnet.StartProcesses(ctx, b.binary, testnet.Options{Dir: dir, Name: "local-idle"})
	if err != nil {
		return fmt.Errorf("start network: %w", err)
	}
	defer func() {
		err = errors.Join(err, net.Stop(context.WithoutCancel(ctx)), os.RemoveAll(dir))
	}()
	before, err := rest(ctx, net)
	if err != nil {
		return err
	}
	from, err := measure(net)
	if err != nil {
		return err
	}
	if err := pause(ctx, idleWindow); err != nil {
		return err
	}
	to, err := measure(net)
	if err != nil {
		return err
	}
	after, err := chainHeights(ctx, net)
	if err != nil {
		return err
	}
	if !slices.Equal(before, after) {
		return fmt.Errorf("the idle network went from %v to %v", before, after)
	}
	var memory uint64
	for i := range net.Nodes {
		r, err := residentOf(net.PID(i))
		if err != nil {
			return err
		}
		memory += r.now
	}
	b.report.idle(idleNetworkFigure, (to.cpu-from.cpu).Seconds()/to.at.Sub(from.at).Seconds(), memory)
	return nil
}

// rest waits until all shards run everywhere and no chain has made a block for idleSettle,
// and returns the heights of all.
func rest(ctx context.Context, net *testnet.Network) (heights []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, idleStart)
	defer cancel()
	if err := net.WaitShards(ctx); err != nil {
		return nil, fmt.Errorf("wait for shards: %w", err)
	}
	for since := time.Now(); time.Since(since) < idleSettle; {
		if err := pause(ctx, time.Second); err != nil {
			return nil, fmt.Errorf("the network does not come to rest: %v: %w", heights, err)
		}
		now, err := chainHeights(ctx, net)
		if err != nil {
			return nil, err
		}
		if !slices.Equal(heights, now) {
			heights, since = now, time.Now()
		}
	}
	return heights, nil
}

// chainHeights returns the height of every chain of every node, as NODE/CHAIN:HEIGHT.
func chainHeights(ctx context.Context, net *testnet.Network) (list []string, err error) {
	for _, n := range net.Nodes {
		c, err := client.Dial(ctx, n.GRPC, client.WithInsecure())
		if err != nil {
			return nil, fmt.Errorf("dial %s: %w", n.GRPC, err)
		}
		s, err := c.Status(ctx)
		if err = errors.Join(err, c.Close()); err != nil {
			return nil, err
		}
		if len(s.Chains) != 1+idleShards {
			return nil, fmt.Errorf("%s runs %d chains, want %d", n.Name, len(s.Chains), 1+idleShards)
		}
		for i := range s.Chains {
			list = append(list, fmt.Sprintf("%s/%s:%d", n.Name, s.Chains[i].Name, s.Chains[i].Height))
		}
	}
	return list, nil
}

// idle adds what a network took of a core, and of memory in bytes.
func (r *report) idle(name string, cores float64, memory uint64) {
	r.add(name+", cpu", 100*cores, "% of a core")
	r.limit(name+", cpu", idleCPULimit)
	r.add(name+", memory", float64(memory)/(1<<20), "MiB")
	r.limit(name+", memory", idleMemoryLimit)
}

// idleEngine measures consensus alone, of four validators on a main chain and eight
// shards in this process.
func (b *bench) idleEngine(ctx context.Context) (err error) {
	dir := filepath.Join(b.dir, "idle")
	var nets []*engineNet
	var stores []*badgerkv.Store
	defer func() {
		for _, n := range nets {
			n.stop()
		}
		for _, s := range stores {
			err = errors.Join(err, s.Close())
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	var members []idleMember
	for i := range validators {
		m, err := newIdleMember(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			return err
		}
		members, stores = append(members, m), append(stores, m.store)
	}
	for id := range uint32(1 + idleShards) {
		n, err := startIdle(ctx, id, members)
		nets = append(nets, n)
		if err != nil {
			return err
		}
	}
	for _, n := range nets {
		if err := n.ready(ctx); err != nil {
			return err
		}
	}
	if err := pause(ctx, idleSettle); err != nil {
		return err
	}
	before := engineHeights(nets)
	begin, cpu := time.Now(), selfCPU()
	if err := b.profiled(func() error { return pause(ctx, idleWindow) }); err != nil {
		return err
	}
	used := (selfCPU() - cpu).Seconds() / time.Since(begin).Seconds()
	if after := engineHeights(nets); !slices.Equal(before, after) {
		return fmt.Errorf("the idle chains went from heights %v to %v", before, after)
	}
	debug.FreeOSMemory()
	memory, err := residentOf(os.Getpid())
	if err != nil {
		return err
	}
	b.report.idle(idleEngineFigure, used, memory.now)
	b.report.add(idleEngineFigure+", goroutines", float64(runtime.NumGoroutine()), "")
	return nil
}

// engineHeights returns the heights of all chains of all members.
func engineHeights(nets []*engineNet) (list []uint64) {
	for _, n := range nets {
		for _, c := range n.chains {
			list = append(list, c.LatestHeight())
		}
	}
	return list
}

// profiled writes a CPU profile of do if one is asked for.
func (b *bench) profiled(do func() error) error {
	if b.profile == "" {
		return do()
	}
	f, err := os.Create(b.profile)
	if err != nil {
		return fmt.Errorf("make profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(fmt.Errorf("begin profile: %w", err), f.Close())
	}
	err = do()
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// idleMember is a validator of all chains: one key, one store.
type idleMember struct {
	dir    string
	signer *comet.Signer
	key    *comet.NodeKey
	store  *badgerkv.Store
}

func newIdleMember(dir string) (m idleMember, err error) {
	m.dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return m, fmt.Errorf("make home: %w", err)
	}
	if m.signer, err = comet.GenerateSigner(dir); err != nil {
		return m, err
	}
	if m.key, err = comet.GenerateNodeKey(dir); err != nil {
		return m, err
	}
	m.store, err = badgerkv.Open(badgerkv.Main(filepath.Join(dir, "db")))
	return m, err
}

// startIdle starts a chain of all members: the main chain if id is 0, and else a shard.
func startIdle(ctx context.Context, id uint32, members []idleMember) (*engineNet, error) {
	const name = "idle"
	n := &engineNet{}
	genesis := comet.Genesis{ChainID: name, Time: time.Now()}
	if id > 0 {
		genesis.ChainID = comet.ShardChainID(name, id)
	}
	for _, m := range members {
		genesis.Validators = append(genesis.Validators, comet.GenesisValidator{PubKey: m.signer.PubKey(), Power: 1})
	}
	logger := slog.New(slog.DiscardHandler)
	for _, m := range members {
		signer, config := m.signer, comet.Config{ListenAddr: "127.0.0.1:0"}
		if id > 0 {
			var err error
			if signer, err = m.signer.ForChain(genesis.ChainID); err != nil {
				return n, err
			}
			config = config.ForShard()
		}
		config.Dir = filepath.Join(m.dir, genesis.ChainID)
		app := &idle{changed: make(chan struct{}, 1)}
		c, err := comet.New(config, genesis, signer, m.key, kv.Prefixed(m.store, []byte(genesis.ChainID+"/")), app, logger, nil)
		if err != nil {
			return n, err
		}
		n.apps, n.chains = append(n.apps, app), append(n.chains, c)
	}
	return n, n.connect(ctx)
}
