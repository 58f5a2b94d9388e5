// Package config holds the operator's settings: what one node does with its
// machine. They never enter a hash; what all nodes of a chain must agree on is
// in the genesis.
//
// Settings live in config.toml in the home directory. The file that `tributary
// init` writes is template.toml with the operator's values filled in; it is also
// the one place where defaults and descriptions are kept. Four sources are laid
// over each other, later ones win:
//
//	the template  <  config.toml  <  TRIBUTARY_SECTION_KEY  <  --section.key
//
// Keys are strict in every source: an unknown one is an error that names the
// nearest known key. [Config.Effective] lists every value with its origin.
// [Config.Validate] reports all problems at once, each with the field, its
// value, what is wrong and what to do.
//
// A Config is a plain value without locks; nothing changes it after Load.
package config

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// FileName is the name of the settings file below the home directory.
const FileName = "config/config.toml"

// MaxFile is the size of the largest settings file, in bytes.
const MaxFile = 1 << 20

// FormatVersion is the version of the file's format that this code reads.
const FormatVersion = 1

// Config is the settings of one node. Field comments are in template.toml.
type Config struct {
	// Home is the directory that relative file names start from. It is not a
	// setting: the file lies in it.
	Home string `toml:"-"`
	// Version is the version of the file's format.
	Version int `toml:"version"`

	Node      Node      `toml:"node"`
	P2P       P2P       `toml:"p2p"`
	Consensus Consensus `toml:"consensus"`
	Signer    Signer    `toml:"signer"`
	Mempool   Mempool   `toml:"mempool"`
	GRPC      GRPC      `toml:"grpc"`
	HTTP      HTTP      `toml:"http"`
	TLS       TLS       `toml:"tls"`
	Store     Store     `toml:"store"`
	Shards    Shards    `toml:"shards"`
	Pruning   Pruning   `toml:"pruning"`
	Snapshots Snapshots `toml:"snapshots"`
	StateSync StateSync `toml:"state_sync"`
	Log       Log       `toml:"log"`

	origins map[string]string // by key; a key that is missing has its default
}

// Node says who this node is.
type Node struct {
	Moniker string `toml:"moniker"`
	Network string `toml:"network"`
}

// P2P says how validators reach each other.
type P2P struct {
	Listen          string   `toml:"listen"`
	ExternalAddress string   `toml:"external_address"`
	PersistentPeers []string `toml:"persistent_peers"`
	MaxInbound      int      `toml:"max_inbound"`
	SendRate        Size     `toml:"send_rate"` // bytes per second
	RecvRate        Size     `toml:"recv_rate"` // bytes per second
}

// Consensus holds the pace of the chain.
type Consensus struct {
	TimeoutCommit         Duration `toml:"timeout_commit"`
	TimeoutPropose        Duration `toml:"timeout_propose"`
	TimeoutVote           Duration `toml:"timeout_vote"`
	TimeoutDelta          Duration `toml:"timeout_delta"`
	DoubleSignCheckHeight int      `toml:"double_sign_check_height"`
}

// Signer says who holds the consensus key.
type Signer struct {
	Mode   string `toml:"mode"` // SignerFile or SignerRemote
	Listen string `toml:"listen"`
	Allow  string `toml:"allow"`
}

// Values of Signer.Mode.
const (
	SignerFile   = "file"
	SignerRemote = "remote"
)

// Mempool bounds what waits for a block.
type Mempool struct {
	MaxTxs      int      `toml:"max_txs"`
	MaxBytes    Size     `toml:"max_bytes"`
	BundleDelay Duration `toml:"bundle_delay"`
}

// GRPC holds the API's address and limits.
type GRPC struct {
	Listen              string   `toml:"listen"`
	Reflection          bool     `toml:"reflection"`
	MaxSend             Size     `toml:"max_send"`
	MaxStreams          int      `toml:"max_streams"`
	MaxInFlight         int      `toml:"max_in_flight"`
	MaxConnections      int      `toml:"max_connections"`
	MaxConnectionsPerIP int      `toml:"max_connections_per_ip"`
	RequestsPerSecond   int      `toml:"requests_per_second"`
	Burst               int      `toml:"burst"`
	MaxDeadline         Duration `toml:"max_deadline"`
	SharePercent        int      `toml:"share_percent"`
	StreamMemory        Size     `toml:"stream_memory"`
	StreamUpdates       int      `toml:"stream_updates"`
}

// HTTP holds the address of health and metrics.
type HTTP struct {
	Listen string `toml:"listen"`
}

// TLS names the files of this node's certificate.
type TLS struct {
	CertFile     string `toml:"cert_file"`
	KeyFile      string `toml:"key_file"`
	ClientCAFile string `toml:"client_ca_file"`
}

// Store bounds the store's memory and disk.
type Store struct {
	Memtable     Size `toml:"memtable"`
	PageCache    Size `toml:"page_cache"`
	GCPercent    int  `toml:"gc_percent"`
	KeepVersions int  `toml:"keep_versions"`
	DiskReserve  Size `toml:"disk_reserve"`
}

// Shards says whether and how the node runs the shards that its validator is drawn for.
type Shards struct {
	Enabled       bool     `toml:"enabled"`
	Listen        string   `toml:"listen"` // host
	ExternalHost  string   `toml:"external_host"`
	FirstPort     int      `toml:"first_port"`
	Max           int      `toml:"max"`
	BlockInterval Duration `toml:"block_interval"` // 0: that of the main chain
	Relay         bool     `toml:"relay"`
	Memtable      Size     `toml:"memtable"`
	PageCache     Size     `toml:"page_cache"` // of each
	MempoolTxs    int      `toml:"mempool_txs"`
	MempoolBytes  Size     `toml:"mempool_bytes"`
	MaxData       Size     `toml:"max_data"` // of each
	KeepEpochs    int      `toml:"keep_epochs"`
	CAFile        string   `toml:"ca_file"`
}

// ShardsListen returns the host that the shards' chains listen on.
func (c Config) ShardsListen() string {
	if c.Shards.Listen != "" {
		return c.Shards.Listen
	}
	host, _, _ := net.SplitHostPort(c.P2P.Listen)
	return host
}

// ShardsHost returns the host that peers reach the shards' chains at, or "" if none is
// known: they listen on all addresses, and nothing says which one others see.
func (c Config) ShardsHost() string {
	if c.Shards.ExternalHost != "" {
		return c.Shards.ExternalHost
	}
	if host, _, err := net.SplitHostPort(c.P2P.ExternalAddress); err == nil {
		return host
	}
	host := c.ShardsListen()
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return ""
	}
	return host
}

// Pruning says how far back the node keeps what it does not need itself.
type Pruning struct {
	KeepBlocks   Blocks `toml:"keep_blocks"`
	KeepReceipts Blocks `toml:"keep_receipts"`
}

// Snapshots says how often the node makes one for nodes that join.
type Snapshots struct {
	Interval int `toml:"interval"` // blocks
}

// StateSync says whether a node without state joins from a snapshot, and whom it
// believes what the chain's state is.
type StateSync struct {
	Enabled     bool     `toml:"enabled"`
	Sources     []string `toml:"sources"`
	TrustHeight int      `toml:"trust_height"`
	TrustHash   string   `toml:"trust_hash"` // hexadecimal
	TrustPeriod Duration `toml:"trust_period"`
	// TrustIdle believes a single source that the chain made no blocks for longer than
	// the trust period.
	TrustIdle bool `toml:"trust_idle"`
	// SearchTime is how long a snapshot is looked for before all blocks are fetched; 0
	// means comet.DefaultSearchTime.
	SearchTime Duration `toml:"search_time"`
	CAFile     string   `toml:"ca_file"`
}

// Log says what is logged and how.
type Log struct {
	Level  string `toml:"level"`
	Format string `toml:"format"`
}

// Local reports whether the node belongs to a local network, which alone may
// have a faucet, server reflection without asking, and unencrypted test keys.
func (c Config) Local() bool { return LocalNetwork(c.Node.Network) }

// LocalNetwork reports whether name is that of a local network: "local", or
// anything that begins with "local-".
func LocalNetwork(name string) bool {
	return name == "local" || strings.HasPrefix(name, "local-")
}

// Path returns name as it is if it is absolute or empty, and below the home
// directory otherwise.
func (c Config) Path(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.Home, name)
}

// Duration is a time.Duration that reads and writes as text with a unit,
// "250ms". A bare number is refused: it does not say of what.
type Duration struct{ time.Duration }

// MarshalText returns d as time.Duration prints it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses what time.ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as \"250ms\" or \"10s\"", text)
	}
	d.Duration = v
	return nil
}

// Blocks is how many of the last blocks something is kept for. 0 means all of them,
// and is also written "all".
type Blocks uint64

// String returns the number, or "all".
func (b Blocks) String() string {
	if b == 0 {
		return allBlocks
	}
	return strconv.FormatUint(uint64(b), 10)
}

const allBlocks = "all"

// MarshalText returns what String does.
func (b Blocks) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText parses a whole number, in which underscores may part digits as in
// TOML, or "all".
func (b *Blocks) UnmarshalText(text []byte) error {
	if string(text) == allBlocks {
		*b = 0
		return nil
	}
	n, err := strconv.ParseUint(strings.ReplaceAll(string(text), "_", ""), 10, 63)
	if err != nil {
		return fmt.Errorf("%q is neither a number of blocks nor \"all\"", text)
	}
	*b = Blocks(n)
	return nil
}

// Size is a number of bytes that reads and writes as text, "64MiB". Decimal
// units (KB, MB, GB, TB) and binary ones (KiB, MiB, GiB, TiB) are known.
type Size uint64

// String returns s in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits() {
		if s != 0 && s%u.size == 0 {
			return strconv.FormatUint(uint64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatUint(uint64(s), 10)
}

// MarshalText returns what String does.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText parses a whole number of bytes or of a known unit.
func (s *Size) UnmarshalText(text []byte) error {
	digits, unit := strings.TrimSpace(string(text)), Size(1)
	for _, u := range sizeUnits() {
		if rest, ok := strings.CutSuffix(digits, u.name); ok {
			digits, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(digits, "B")), 10, 64)
	if err != nil || n > uint64(maxSize/unit) {
		return fmt.Errorf("%q is not a size such as \"64MiB\" or \"2GB\"", text)
	}
	*s = Size(n) * unit
	return nil
}

// maxSize keeps sizes within int64, which most of their users count in.
const maxSize = Size(1<<63 - 1)

type sizeUnit struct {
	name string
	size Size
}

// sizeUnits lists the units from large to small, binary before decimal.
func sizeUnits() []sizeUnit {
	return []sizeUnit{
		{"TiB", 1 << 40},
		{"TB", 1e12},
		{"GiB", 1 << 30},
		{"GB", 1e9},
		{"MiB", 1 << 20},
		{"MB", 1e6},
		{"KiB", 1 << 10},
		{"KB", 1e3},
	}
}
