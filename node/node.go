package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/statetree"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/directory"
	"github.com/tributary-network/tributary/node/genesis"
	"github.com/tributary-network/tributary/node/home"
	"github.com/tributary-network/tributary/node/telemetry"
)

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
	// inMemory: see Options.
	inMemory bool

	lock    *home.Lock
	genesis genesis.Document
	secure  *tls.Config // nil for plaintext
	metrics *telemetry.Registry
	store   *badgerkv.Store // of the main chain
	main    *hosted
	shards  *shards
	states  *states
	relays  *relays // nil if they are switched off

	directory *directory.Directory
	peers     *api.Peers
	doors     *doors
	secret    *bls.SecretKey
	heads     *exec.Heads // that all chains share
	nodeKey   *comet.NodeKey
	signer    *comet.Signer
	relayer   Relayer
	sources   []*lightSource // asked by a node that joins, or lacks what is below its snapshot
	grpc      net.Listener   // nil if off
	api       *api.Server
	http      *telemetry.Server // nil if off

	mismatch atomic.Pointer[keyMismatch] // nil while no such thing is known
}

// Open takes what the node needs: the lock of its home directory, keys, stores
// and addresses. What is wrong with them shows here. Nothing runs before Run,
// which must be called, or Close.
func Open(ctx context.Context, o Options) (*Node, error) {
	o.Build.Version = cmp.Or(o.Build.Version, "devel")
	n := &Node{home: o.Home, cfg: o.Config, log: o.Log, version: o.Build.Version, started: time.Now(), inMemory: o.InMemory}
	n.main = newHosted(mainName, n.log)
	n.main.flaw = n.keyFlaw
	n.shards, n.states = newShards(n), newStates(n)
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
	if err := os.MkdirAll(n.home.Data(), 0o700); err != nil { // whoever wants to fetch the chain again may have removed it
		return fmt.Errorf("make the data directory: %w", err)
	}
	if err := checkDisk(n.home.Data(), uint64(n.cfg.Store.DiskReserve)); err != nil {
		return err
	}
	if n.genesis, err = LoadGenesis(n.home); err != nil {
		return err
	}
	n.heads = exec.NewHeads(n.genesis.NetworkID())
	if n.genesis.Name != n.cfg.Node.Network {
		return fmt.Errorf("node.network is %q, but %s is of network %q", n.cfg.Node.Network, n.home.Genesis(), n.genesis.Name)
	}
	if n.secure, err = loadTLS(n.cfg); err != nil {
		return err
	}
	if n.metrics, err = telemetry.NewRegistry(o.Build); err != nil {
		return err
	}
	for _, step := range []func(context.Context, Options) error{n.probe, n.openKeys, n.openChain, n.openPeers, n.openRelays, n.openAPI, n.openHTTP} {
		if err := step(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// probe fails early if others would find out late that an address is taken.
func (n *Node) probe(ctx context.Context, _ Options) error {
	return probePeers(ctx, n.cfg.P2P.Listen)
}

// openKeys loads the node's keys. If a remote signer holds the consensus key, it
// is waited for when the chain starts, while health and the API answer already.
func (n *Node) openKeys(ctx context.Context, _ Options) error {
	var err error
	if n.secret, err = loadBLSKey(n.home); err != nil {
		return err
	}
	if n.nodeKey, err = comet.LoadNodeKey(n.home.Config()); err != nil {
		return err
	}
	if n.relayer, err = relayerOf(n.home); err != nil {
		return err
	}
	if n.cfg.Signer.Mode == config.SignerRemote {
		n.signer, err = comet.ListenSigner(ctx, comet.RemoteSignerConfig{
			Dir: signerDir(n.home), Listen: n.cfg.Signer.Listen, Allow: n.cfg.Signer.Allow, ChainID: n.genesis.ChainID(),
		}, n.nodeKey, n.module("signer").With(slog.String("chain_id", n.genesis.ChainID()), slog.String("node_id", n.nodeKey.ID())))
		if err != nil {
			return fmt.Errorf("signer.listen = %q: %w", n.cfg.Signer.Listen, err)
		}
		return nil
	}
	if n.signer, err = comet.LoadSigner(signerDir(n.home)); err != nil {
		return keyMoved(err, n.home)
	}
	return nil
}

// openChain opens the store, and joins the rules to consensus over it.
func (n *Node) openChain(_ context.Context, o Options) error {
	var err error
	store := badgerkv.Main(filepath.Join(n.home.Data(), "settlement"))
	if o.InMemory {
		store = badgerkv.Memory()
	}
	n.main.disk = store.Dir
	store.MemTableSize = int64(n.cfg.Store.Memtable) //nolint:gosec // bounded by the settings
	store.MinFree = 0                                // checked already
	store.Logger = n.module("store")
	if n.store, err = badgerkv.Open(store); err != nil {
		if errors.Is(err, badgerkv.ErrLocked) || errors.Is(err, badgerkv.ErrNoSpace) {
			return err
		}
		return fmt.Errorf("%w; %s", err, lostStore(n.home))
	}
	m := n.main
	m.layer, err = layer.New(n.store, layer.Options{State: statetree.Options{
		Tables:         settlement.Tables(),
		PageCacheBytes: int64(n.cfg.Store.PageCache), //nolint:gosec // bounded by the settings
		KeepVersions:   n.cfg.Store.KeepVersions,
	}})
	if err != nil {
		return err
	}
	rules := n.execConfig(m)
	if rules.Snapshots, err = n.openSnapshots(o); err != nil {
		return err
	}
	m.ledger, err = exec.OpenMain(rules, m.layer, n.genesis.Settlement(), m.module("exec"))
	if err != nil {
		return err
	}
	m.exec = m.ledger.Executor
	if !o.InMemory {
		if err := m.keepHeightIn(filepath.Join(n.home.Data(), heightFileName), lostStore(n.home)); err != nil {
			return err
		}
	}
	if err := n.openDirectory(); err != nil {
		return err
	}
	consensus := n.consensusConfig()
	consensus.Announcements = n.announcements()
	if consensus.StateSync, err = n.stateSync(); err != nil {
		return err
	}
	for _, s := range n.sources {
		consensus.HeaderSources = append(consensus.HeaderSources, s)
	}
	m.chain, err = comet.New(consensus, n.genesis.Comet(), n.signer, n.nodeKey, m.layer.Consensus(),
		application{m.exec, m.ledger}, m.module("consensus"), n.metrics)
	if err != nil {
		return err
	}
	return n.registerMetrics()
}

// execConfig translates the settings for the rules of a chain.
func (n *Node) execConfig(h *hosted) exec.Config {
	return exec.Config{
		Network:      n.genesis.NetworkID(),
		Now:          time.Now,
		Synced:       h.synced,
		BLS:          n.secret,
		Extensions:   h.extensions,
		CommitRound:  h.commitRound,
		Ask:          h.ask,
		Heads:        n.heads,
		KeepBlocks:   kept(n.cfg.Pruning.KeepBlocks),
		KeepReceipts: kept(n.cfg.Pruning.KeepReceipts),
		BundleDelay:  n.cfg.Mempool.BundleDelay.Duration,
		MempoolTxs:   n.cfg.Mempool.MaxTxs,
		MempoolBytes: int64(n.cfg.Mempool.MaxBytes), //nolint:gosec // bounded by the settings

		SnapshotStride: uint64(n.cfg.Snapshots.Interval), //nolint:gosec // bounded by the settings
	}
}

// kept translates how many blocks to keep for the Executor.
func kept(b config.Blocks) uint64 {
	if b == 0 {
		return exec.KeepAll
	}
	return uint64(b)
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
		DoubleSignCheckHeight: orNone(c.Consensus.DoubleSignCheckHeight),
		SendRate:              int64(c.P2P.SendRate), //nolint:gosec // bounded by the settings
		RecvRate:              int64(c.P2P.RecvRate), //nolint:gosec // bounded by the settings
		MaxInbound:            orNone(c.P2P.MaxInbound),
		MempoolTxs:            c.Mempool.MaxTxs,
		MempoolBytes:          int64(c.Mempool.MaxBytes), //nolint:gosec // bounded by the settings
	}
}

// orNone returns a setting of which 0 means none, as comet wants it, where 0
// means the default.
func orNone(v int) int {
	if v == 0 {
		return -1
	}
	return v
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
			Name: n.genesis.Name, Domain: n.main.exec.Domain(), Genesis: n.genesis.Time, Params: n.genesis.Params, Local: local,
		},
		Pool: n.main.ledger, State: n.main.ledger, Index: n.main.ledger, Prover: n.main.layer, Agreement: n.main.ledger, Node: backend{n},
		Hosting: n.shards, Shards: hostedShards{n.shards}, States: n.states, Main: n.main.ledger, Peers: n.peers,
		Faucet:         faucet,
		TLS:            n.secure,
		Reflection:     g.Reflection || local,
		Limits:         apiLimits(&g),
		HealthInterval: sampleInterval,

		Metrics: n.metrics,
		Now:     time.Now,
		Log:     n.module("api"),
	}
	n.api, err = api.New(c)
	return err
}

// apiLimits translates the settings for the API.
func apiLimits(g *config.GRPC) api.Limits {
	return api.Limits{
		MaxSendBytes:      int(g.MaxSend), //nolint:gosec // bounded by the settings
		StreamsPerConn:    uint32(g.MaxStreams),
		InFlight:          g.MaxInFlight,
		Conns:             g.MaxConnections,
		ConnsPerIP:        g.MaxConnectionsPerIP,
		RequestsPerSecond: float64(g.RequestsPerSecond),
		Burst:             g.Burst,
		MaxDeadline:       g.MaxDeadline.Duration,
		SharePercent:      g.SharePercent,
		StreamMemory:      int64(g.StreamMemory), //nolint:gosec // bounded by the settings
		StreamUpdates:     g.StreamUpdates,
	}
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
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return cannotListen("http.listen", n.cfg.HTTP.Listen, err)
	}
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
	if n.peers != nil {
		errs = append(errs, n.peers.Close())
	}
	for _, s := range n.sources {
		errs = append(errs, s.close())
	}
	if n.signer != nil {
		errs = append(errs, n.signer.Close())
	}
	if n.main != nil {
		errs = append(errs, n.main.close())
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	if n.lock != nil {
		errs = append(errs, n.lock.Release())
	}
	return errors.Join(errs...)
}
