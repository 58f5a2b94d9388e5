package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/statetree"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/genesis"
	"github.com/tributary-network/tributary/node/home"
	"github.com/tributary-network/tributary/node/telemetry"
)

// poolShare is how much of the mempool the pool of checked bundles may fill, in
// per cent.
const poolShare = 90

// Options says which node to run.
type Options struct {
	Home   home.Dir
	Config config.Config // valid; see config.Load
	Log    *slog.Logger
	Build  telemetry.Build // a version that is not known is "devel"
	// InMemory keeps the store in memory. What it held is lost at the end, and
	// the validator's sign state, which stays, then refuses to sign again.
	InMemory bool
}

// Node is one node. Make it with Open and run it with Run, once.
type Node struct {
	home    home.Dir
	cfg     config.Config
	log     *slog.Logger
	version string
	started time.Time

	lock    *home.Lock
	genesis genesis.Document
	secure  *tls.Config // nil for plaintext
	metrics *telemetry.Registry
	counts  *telemetry.Chain
	store   *badgerkv.Store
	layer   *layer.Settlement
	exec    *exec.Executor
	nodeKey *comet.NodeKey
	chain   *comet.Chain
	grpc    net.Listener // nil if off
	api     *api.Server
	http    *telemetry.Server // nil if off

	sample   atomic.Pointer[sample] // never nil
	stopping atomic.Bool
}

// Open takes what the node needs: the lock of its home directory, keys, stores
// and addresses. What is wrong with them shows here. Nothing runs before Run,
// which must be called, or Close.
func Open(ctx context.Context, o Options) (*Node, error) {
	o.Build.Version = cmp.Or(o.Build.Version, "devel")
	n := &Node{home: o.Home, cfg: o.Config, log: o.Log, version: o.Build.Version, started: time.Now()}
	n.sample.Store(&sample{reason: "the node is starting"})
	if err := n.open(ctx, o); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Node) open(ctx context.Context, o Options) error {
	if err := n.home.Check(); err != nil {
		return err
	}
	var err error
	if n.lock, err = n.home.Lock(); err != nil {
		return err
	}
	if err := checkDisk(n.home.Data(), uint64(n.cfg.Store.DiskReserve)); err != nil {
		return err
	}
	if n.genesis, err = genesis.Load(n.home.Genesis()); err != nil {
		return err
	}
	if n.genesis.Name != n.cfg.Node.Network {
		return fmt.Errorf("node.network is %q, but %s is of network %q", n.cfg.Node.Network, n.home.Genesis(), n.genesis.Name)
	}
	if n.secure, err = loadTLS(n.cfg); err != nil {
		return err
	}
	if n.metrics, err = telemetry.NewRegistry(o.Build); err != nil {
		return err
	}
	for _, step := range []func(context.Context, Options) error{n.openChain, n.openAPI, n.openHTTP} {
		if err := step(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// openChain opens the store, and joins the rules to consensus over it.
func (n *Node) openChain(_ context.Context, o Options) error {
	nodeKey, signer, err := loadKeys(n.home)
	if err != nil {
		return err
	}
	n.nodeKey = nodeKey
	store := badgerkv.Main(filepath.Join(n.home.Data(), "settlement"))
	if o.InMemory {
		store = badgerkv.Memory()
	}
	store.MemTableSize = int64(n.cfg.Store.Memtable) //nolint:gosec // bounded by the settings
	store.MinFree = 0                                // checked already
	store.Logger = n.module("store")
	if n.store, err = badgerkv.Open(store); err != nil {
		return err
	}
	n.layer, err = layer.New(n.store, layer.Options{State: statetree.Options{
		Tables:         settlement.Tables(),
		PageCacheBytes: int64(n.cfg.Store.PageCache), //nolint:gosec // bounded by the settings
		KeepVersions:   n.cfg.Store.KeepVersions,
	}})
	if err != nil {
		return err
	}
	n.exec, err = exec.Open(exec.Config{
		Network:     n.genesis.NetworkID(),
		Now:         time.Now,
		Synced:      func() bool { return !n.sample.Load().chain.CatchingUp },
		BundleDelay: n.cfg.Mempool.BundleDelay.Duration,
		// What is checked must fit into the mempool, which knows no reserve.
		PoolBundles: max(1, n.cfg.Mempool.MaxTxs*poolShare/100),
		PoolBytes:   int64(n.cfg.Mempool.MaxBytes) * poolShare / 100, //nolint:gosec // bounded by the settings
	}, n.layer, n.genesis.Settlement(), n.module("exec"))
	if err != nil {
		return err
	}
	n.chain, err = comet.New(n.consensusConfig(), n.genesis.Comet(), signer, nodeKey, n.layer.Consensus(),
		application{n.exec}, n.module("consensus"), n.metrics)
	if err != nil {
		return err
	}
	return n.registerMetrics()
}

// consensusConfig translates the settings for consensus.
func (n *Node) consensusConfig() comet.Config {
	c := n.cfg
	interval := time.Duration(n.genesis.Params.BlockInterval) * time.Millisecond
	return comet.Config{
		Dir:                   filepath.Join(n.home.Data(), "consensus"),
		ListenAddr:            c.P2P.Listen,
		ExternalAddr:          c.P2P.ExternalAddress,
		Moniker:               c.Node.Moniker,
		Peers:                 c.P2P.PersistentPeers,
		TimeoutCommit:         max(c.Consensus.TimeoutCommit.Duration, interval),
		TimeoutPropose:        c.Consensus.TimeoutPropose.Duration,
		TimeoutVote:           c.Consensus.TimeoutVote.Duration,
		TimeoutDelta:          c.Consensus.TimeoutDelta.Duration,
		DoubleSignCheckHeight: c.Consensus.DoubleSignCheckHeight,
		SendRate:              int64(c.P2P.SendRate), //nolint:gosec // bounded by the settings
		RecvRate:              int64(c.P2P.RecvRate), //nolint:gosec // bounded by the settings
		MaxInbound:            c.P2P.MaxInbound,
		MempoolTxs:            c.Mempool.MaxTxs,
		MempoolBytes:          int64(c.Mempool.MaxBytes), //nolint:gosec // bounded by the settings
	}
}

// openAPI opens the address of the API and makes its server.
func (n *Node) openAPI(ctx context.Context, _ Options) error {
	g := n.cfg.GRPC
	if g.Listen == "" {
		return nil
	}
	l, err := listen(ctx, g.Listen, n.secure)
	if err != nil {
		return err
	}
	n.grpc = l
	local := n.cfg.Local()
	faucet, err := loadFaucet(n.home, local)
	if err != nil {
		return err
	}
	c := api.Config{
		Network: api.Network{
			Name: n.genesis.Name, Domain: n.exec.Domain(), Genesis: n.genesis.Time, Params: n.genesis.Params, Local: local,
		},
		Pool: n.exec, State: n.exec, Index: n.exec, Prover: n.layer, Node: backend{n},
		Faucet:     faucet,
		TLS:        n.secure,
		Reflection: g.Reflection || local,
		Limits: api.Limits{
			MaxRecvBytes:      int(g.MaxRecv), //nolint:gosec // bounded by the settings
			MaxSendBytes:      int(g.MaxSend), //nolint:gosec // bounded by the settings
			StreamsPerConn:    uint32(g.MaxStreams),
			InFlight:          g.MaxInFlight,
			Conns:             g.MaxConnections,
			ConnsPerIP:        g.MaxConnectionsPerIP,
			RequestsPerSecond: float64(g.RequestsPerSecond),
			Burst:             g.Burst,
			MaxDeadline:       g.MaxDeadline.Duration,
		},
		HealthInterval: sampleInterval,

		Metrics: n.metrics,
		Now:     time.Now,
		Log:     n.module("api"),
	}
	n.api, err = api.New(c)
	return err
}

// openHTTP opens the address for health and metrics.
func (n *Node) openHTTP(ctx context.Context, _ Options) error {
	if n.cfg.HTTP.Listen == "" {
		return nil
	}
	var err error
	n.http, err = telemetry.Listen(ctx, telemetry.Options{
		Listen: n.cfg.HTTP.Listen, TLS: n.secure, Ready: n.checks, Gatherer: n.metrics, Log: n.module("http"),
	})
	return err
}

// module returns the logger of a part of the node.
func (n *Node) module(name string) *slog.Logger {
	return n.log.With(slog.String(telemetry.ModuleKey, name))
}

// Genesis returns the genesis of the node's network.
func (n *Node) Genesis() genesis.Document { return n.genesis }

// Close gives back what Open took, if Run was not called.
func (n *Node) Close() error {
	var errs []error
	if n.grpc != nil {
		if err := n.grpc.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if n.http != nil {
		if err := n.http.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if n.layer != nil {
		errs = append(errs, n.layer.Close())
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	if n.lock != nil {
		errs = append(errs, n.lock.Release())
	}
	return errors.Join(errs...)
}
