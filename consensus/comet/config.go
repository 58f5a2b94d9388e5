package comet

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	cfg "github.com/cometbft/cometbft/config"
)

// Defaults of [Config], chosen by measurement: bundles of at most 64 KB, seldom
// up to 1.1 MiB, in blocks of at most 4 MiB, four to a few dozen validators.
const (
	DefaultTimeoutCommit         = 200 * time.Millisecond
	DefaultTimeoutPropose        = 2 * time.Second
	DefaultTimeoutVote           = 500 * time.Millisecond
	DefaultTimeoutDelta          = 500 * time.Millisecond
	DefaultGossipSleep           = 10 * time.Millisecond
	DefaultBlockTimeTolerance    = 60 * time.Second
	DefaultRate                  = 100_000_000
	DefaultMaxInbound            = 40
	DefaultMempoolTxs            = 5_000
	DefaultMempoolBytes          = 64 << 20
	DefaultMaxTxBytes            = 1_310_720 // 1.25 MiB
	DefaultMempoolCache          = 20_000
	DefaultDoubleSignCheckHeight = 10
)

// Config is the operator's part of a chain: it never enters a hash. Validators
// of one chain should agree on the timeouts. The zero value of a field that has
// a default means that default.
type Config struct {
	// Dir holds the consensus write-ahead log and the address book of this
	// chain. It is created with mode 0700.
	Dir string

	// ListenAddr is the host:port peers connect to. Port 0 picks a free one
	// when the chain is made; see [Chain.ListenAddr].
	ListenAddr string
	// ExternalAddr is the host:port told to peers, if ListenAddr is not it.
	ExternalAddr string
	// Moniker is a name shown to peers.
	Moniker string
	// Peers are kept connected for as long as the chain runs: "nodeid@host:port".
	// Names are resolved at each attempt.
	Peers []string

	// TimeoutCommit is the least time between a block and the next.
	TimeoutCommit time.Duration
	// TimeoutPropose is how long a proposal may take in the first round;
	// TimeoutVote how long to wait for votes when they disagree. Both grow by
	// TimeoutDelta with each round.
	TimeoutPropose, TimeoutVote, TimeoutDelta time.Duration
	// EmptyBlocks makes blocks also when there is nothing to put in.
	EmptyBlocks bool
	// GossipSleep is the pause of an idle gossip routine.
	GossipSleep time.Duration
	// BlockTimeTolerance is how far ahead of this node's clock a block may be.
	BlockTimeTolerance time.Duration
	// DoubleSignCheckHeight is how many blocks back the first signature after a
	// start looks for votes of the same key that this node did not make.
	// CometBFT's own setting of that name stays off: it takes down every
	// validator that restarts within so many blocks. Negative: do not look.
	DoubleSignCheckHeight int

	// SendRate and RecvRate bound each connection, in bytes per second.
	SendRate, RecvRate int64
	// MaxInbound bounds accepted connections of nodes that are not to be kept connected:
	// not in Peers, or what [Chain.SetPeers] made of them. Negative: accept none.
	MaxInbound int

	// MempoolTxs and MempoolBytes bound the transactions waiting on this node;
	// MaxTxBytes bounds one. MempoolCache is how many seen ones are remembered.
	MempoolTxs   int
	MempoolBytes int64
	MaxTxBytes   int
	MempoolCache int
	// SkipRecheck leaves transactions in the mempool unchecked after a block.
	// Only for an application whose transactions stay valid.
	SkipRecheck bool

	// Announcements, if set, makes this node tell others small records, and pass on
	// theirs: see [Chain.Announce].
	Announcements *Announcements

	// StateSync, if set, lets a node without blocks join from a snapshot, which
	// its Application must be able to restore; see Snapshotter.
	StateSync *StateSync
	// HeaderSources are asked for the headers below a snapshot by a node that joined
	// by one and does not have them all yet, also if StateSync is nil by then. Nobody
	// of them has to be trusted. Empty means StateSync.Sources.
	HeaderSources []LightSource
}

// Defaults of a shard, where they differ: a node runs some of them, most of them idle
// most of the time.
const (
	DefaultShardGossipSleep  = 30 * time.Millisecond
	DefaultShardMempoolTxs   = 2_000
	DefaultShardMempoolBytes = 32 << 20
	DefaultShardMempoolCache = 4_000
)

// ForShard fills in the defaults of a shard. It costs an idle shard a third of what the
// others do, and a block some 50 ms: a message waits for GossipSleep at most at each of
// three hops.
func (c Config) ForShard() Config {
	def(&c.GossipSleep, DefaultShardGossipSleep)
	def(&c.MempoolTxs, DefaultShardMempoolTxs)
	def(&c.MempoolBytes, DefaultShardMempoolBytes)
	def(&c.MempoolCache, DefaultShardMempoolCache)
	return c
}

// withDefaults fills in the defaults.
func (c Config) withDefaults() Config {
	def(&c.TimeoutCommit, DefaultTimeoutCommit)
	def(&c.TimeoutPropose, DefaultTimeoutPropose)
	def(&c.TimeoutVote, DefaultTimeoutVote)
	def(&c.TimeoutDelta, DefaultTimeoutDelta)
	def(&c.GossipSleep, DefaultGossipSleep)
	def(&c.BlockTimeTolerance, DefaultBlockTimeTolerance)
	def(&c.DoubleSignCheckHeight, DefaultDoubleSignCheckHeight)
	def(&c.SendRate, DefaultRate)
	def(&c.RecvRate, DefaultRate)
	def(&c.MaxInbound, DefaultMaxInbound)
	def(&c.MempoolTxs, DefaultMempoolTxs)
	def(&c.MempoolBytes, DefaultMempoolBytes)
	def(&c.MaxTxBytes, DefaultMaxTxBytes)
	def(&c.MempoolCache, DefaultMempoolCache)
	def(&c.Moniker, "tributary")
	return c
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Validate checks c after its defaults are filled in. New calls it.
func (c Config) Validate() error {
	c = c.withDefaults()
	if c.Dir == "" {
		return errors.New("consensus config: no directory")
	}
	if err := checkHostPort(c.ListenAddr); err != nil {
		return fmt.Errorf("consensus config: listen address: %w", err)
	}
	if c.ExternalAddr != "" {
		if err := checkHostPort(c.ExternalAddr); err != nil {
			return fmt.Errorf("consensus config: external address: %w", err)
		}
	}
	for _, p := range c.Peers {
		if err := checkPeer(p); err != nil {
			return fmt.Errorf("consensus config: %w", err)
		}
	}
	for _, t := range []struct {
		name string
		d    time.Duration
	}{
		{"timeout_commit", c.TimeoutCommit},
		{"timeout_propose", c.TimeoutPropose},
		{"timeout_vote", c.TimeoutVote},
		{"timeout_delta", c.TimeoutDelta},
		{"gossip_sleep", c.GossipSleep},
		{"block_time_tolerance", c.BlockTimeTolerance},
	} {
		if t.d < 0 || t.d > time.Hour {
			return fmt.Errorf("consensus config: %s is %v, want 0 to 1h", t.name, t.d)
		}
	}
	if c.MaxTxBytes < 0 || int64(c.MaxTxBytes) > c.MempoolBytes {
		return fmt.Errorf("consensus config: max_tx_bytes %d exceeds mempool_bytes %d", c.MaxTxBytes, c.MempoolBytes)
	}
	if c.Announcements != nil && c.Announcements.Judge == nil {
		return errors.New("consensus config: announcements without a judge")
	}
	if c.StateSync != nil {
		if err := c.StateSync.validate(); err != nil {
			return fmt.Errorf("consensus config: %w", err)
		}
	}
	return c.engine().ValidateBasic()
}

func checkHostPort(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is not host:port: %w", s, err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q: port is not 0 to 65535", s)
	}
	return nil
}

// engine translates c, whose defaults are filled in, for CometBFT.
func (c Config) engine() *cfg.Config {
	k := cfg.DefaultConfig().SetRoot(c.Dir)
	k.Moniker = c.Moniker

	k.RPC.ListenAddress = ""
	k.RPC.PprofListenAddress = ""
	k.Instrumentation.Prometheus = false // we register the metrics ourselves
	k.TxIndex.Indexer = "null"
	k.Storage.DiscardABCIResponses = true

	k.P2P.ListenAddress = "tcp://" + c.ListenAddr
	k.P2P.ExternalAddress = c.ExternalAddr
	k.P2P.AddrBook = "addrbook.json"
	k.P2P.AddrBookStrict = false
	k.P2P.AllowDuplicateIP = true
	k.P2P.PexReactor = false
	k.P2P.PersistentPeers = "" // we dial, see dialer
	k.P2P.UnconditionalPeerIDs = peerIDs(c.Peers)
	k.P2P.MaxNumInboundPeers = max(c.MaxInbound, 0) + inboundRoom // see inbound
	k.FilterPeers = true
	k.P2P.SendRate, k.P2P.RecvRate = c.SendRate, c.RecvRate
	k.P2P.MaxPacketMsgPayloadSize = packetPayload

	k.Mempool.Type = cfg.MempoolTypeFlood
	k.Mempool.Recheck = !c.SkipRecheck
	k.Mempool.Size = c.MempoolTxs
	k.Mempool.MaxTxsBytes = c.MempoolBytes
	k.Mempool.MaxTxBytes = c.MaxTxBytes
	k.Mempool.CacheSize = c.MempoolCache

	k.Consensus.WalPath = filepath.Join("wal", "wal")
	k.Consensus.TimeoutCommit = c.TimeoutCommit
	k.Consensus.TimeoutPropose = c.TimeoutPropose
	k.Consensus.TimeoutProposeDelta = c.TimeoutDelta
	k.Consensus.TimeoutPrevote, k.Consensus.TimeoutPrecommit = c.TimeoutVote, c.TimeoutVote
	k.Consensus.TimeoutPrevoteDelta, k.Consensus.TimeoutPrecommitDelta = c.TimeoutDelta, c.TimeoutDelta
	k.Consensus.CreateEmptyBlocks = c.EmptyBlocks
	k.Consensus.PeerGossipSleepDuration = c.GossipSleep
	k.Consensus.BlockTimeTolerance = c.BlockTimeTolerance
	k.Consensus.DoubleSignCheckHeight = 0 // the signer checks, see signer.go
	return k
}

// packetPayload is the size CometBFT cuts messages into. The default of 1 KiB
// costs one AEAD frame and one length prefix for each; frames carry 1 KiB
// whatever this is.
const packetPayload = 16 << 10

func checkPeer(s string) error {
	_, hostPort, ok := cutPeer(s)
	if !ok {
		return fmt.Errorf("peer %q is not nodeid@host:port", s)
	}
	if err := checkHostPort(hostPort); err != nil {
		return fmt.Errorf("peer %q: %w", s, err)
	}
	return nil
}
