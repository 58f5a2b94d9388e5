package config

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/statetree"
	"github.com/tributary-network/tributary/node/directory"
)

// FieldError is one problem of a setting. Validate joins them.
type FieldError struct {
	Key     string // section.name
	Value   string // as TOML
	Origin  string // see OriginDefault
	Problem string // what is wrong
	Remedy  string // what to do
}

// Error returns all five parts on one line.
func (e *FieldError) Error() string {
	return fmt.Sprintf("%s = %s (%s): %s; %s", e.Key, e.Value, e.Origin, e.Problem, e.Remedy)
}

// Validate checks every setting and how they fit together. The error joins a
// *FieldError for each problem, in the order of the file.
func (c Config) Validate() error {
	v := validator{config: c}
	if c.Version != FormatVersion {
		v.problems = append(v.problems, fmt.Errorf("version = %d: this program reads version %d; use the program that wrote the file, or `tributary init` and copy your values", c.Version, FormatVersion))
	}
	v.node()
	v.network()
	v.consensus()
	v.signer()
	v.listeners()
	v.store()
	v.shards()
	v.retention()
	v.stateSync()
	v.log()
	return errors.Join(v.problems...)
}

type validator struct {
	config   Config
	problems []error
}

func (v *validator) fail(key, problem, remedy string) {
	for _, s := range v.config.Effective() {
		if s.Key == key {
			v.problems = append(v.problems, &FieldError{s.Key, s.Value, s.Origin, problem, remedy})
			return
		}
	}
	panic("config: no setting " + key)
}

func (v *validator) between(key string, value, low, high int) {
	if value < low || value > high {
		v.fail(key, "out of range", fmt.Sprintf("choose %d to %d", low, high))
	}
}

func (v *validator) size(key string, value, low, high Size) {
	if value < low || value > high {
		v.fail(key, "out of range", fmt.Sprintf("choose %q to %q", low, high))
	}
}

func (v *validator) duration(key string, value Duration, low, high time.Duration) {
	if value.Duration < low || value.Duration > high {
		v.fail(key, "out of range", fmt.Sprintf("choose \"%v\" to \"%v\"", low, high))
	}
}

// address checks a host:port to listen on; an empty one is fine if off is.
func (v *validator) address(key, value string, off bool) {
	if value == "" && off {
		return
	}
	if err := checkAddress(value); err != nil {
		v.fail(key, err.Error(), `write host:port, such as "127.0.0.1:9090"`)
	}
}

func checkAddress(value string) error {
	_, port, err := net.SplitHostPort(value)
	if err != nil {
		return errors.New("not an address")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return errors.New("the port is not a number from 0 to 65535")
	}
	return nil
}

func (v *validator) node() {
	moniker := v.config.Node.Moniker
	if n := utf8.RuneCountInString(moniker); n < 1 || n > 64 || strings.ContainsFunc(moniker, func(r rune) bool { return !unicode.IsPrint(r) }) {
		v.fail("node.moniker", "not a name of 1 to 64 printable characters", "choose another")
	}
	if !regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,28}$`).MatchString(v.config.Node.Network) {
		v.fail("node.network", "not a network name", "use the name in the genesis file: up to 29 lower-case letters, digits and hyphens")
	}
}

func (v *validator) network() {
	p := v.config.P2P
	v.address("p2p.listen", p.Listen, false)
	if p.ExternalAddress != "" {
		host, _, _ := net.SplitHostPort(p.ExternalAddress)
		ip := net.ParseIP(host)
		if checkAddress(p.ExternalAddress) != nil || host == "" || ip != nil && ip.IsUnspecified() {
			v.fail("p2p.external_address", "peers cannot connect to this", `write host:port as peers see it, or ""`)
		}
	}
	peer := regexp.MustCompile(`^[0-9a-f]{40}@`)
	for _, address := range p.PersistentPeers {
		id := peer.FindString(address)
		if id == "" || checkAddress(address[len(id):]) != nil {
			v.fail("p2p.persistent_peers", fmt.Sprintf("%q is not a peer", address), "write nodeid@host:port, the id in 40 hexadecimal digits as `tributary status` shows it")
		}
	}
	v.between("p2p.max_inbound", p.MaxInbound, 0, 1000)
	v.size("p2p.send_rate", p.SendRate, 64<<10, 10e9)
	v.size("p2p.recv_rate", p.RecvRate, 64<<10, 10e9)
}

func (v *validator) consensus() {
	c, m := v.config.Consensus, v.config.Mempool
	v.duration("consensus.timeout_commit", c.TimeoutCommit, time.Millisecond, time.Minute)
	v.duration("consensus.timeout_propose", c.TimeoutPropose, 10*time.Millisecond, time.Minute)
	v.duration("consensus.timeout_vote", c.TimeoutVote, 10*time.Millisecond, time.Minute)
	v.duration("consensus.timeout_delta", c.TimeoutDelta, time.Millisecond, time.Minute)
	v.between("consensus.double_sign_check_height", c.DoubleSignCheckHeight, 0, 1000)

	v.between("mempool.max_txs", m.MaxTxs, 16, 1_000_000)
	v.size("mempool.max_bytes", m.MaxBytes, 4<<20, 4<<30)
	v.duration("mempool.bundle_delay", m.BundleDelay, time.Millisecond, time.Second)
}

func (v *validator) signer() {
	s := v.config.Signer
	path, isUnix := strings.CutPrefix(s.Listen, "unix://")
	address, isTCP := strings.CutPrefix(s.Listen, "tcp://")
	switch {
	case s.Mode == SignerFile:
		if s.Listen != "" {
			v.fail("signer.listen", "the key is in a file, nobody is waited for", `write "", or set signer.mode to "remote"`)
		}
		if s.Allow != "" {
			v.fail("signer.allow", "the key is in a file, nobody is waited for", `write "", or set signer.mode to "remote"`)
		}
		return
	case s.Mode != SignerRemote:
		v.fail("signer.mode", "not a mode", `choose "file" or "remote"`)
		return
	case isUnix && !filepath.IsAbs(path), isTCP && checkAddress(address) != nil, !isUnix && !isTCP:
		v.fail("signer.listen", "the signer cannot connect to this", `write "unix:///path/to/socket", from the root, or "tcp://host:port"`)
	}
	switch known := regexp.MustCompile(`^[0-9a-f]{40}$`).MatchString(s.Allow); {
	case isUnix && s.Allow != "":
		v.fail("signer.allow", "a unix socket is guarded by its file mode", `write ""`)
	case isTCP && !known:
		v.fail("signer.allow", "not the identity of a connection key", "write the 40 hexadecimal digits that `tributary signer start` prints")
	}
}

func (v *validator) listeners() {
	g, t := v.config.GRPC, v.config.TLS
	v.listener("grpc.listen", g.Listen)
	v.size("grpc.max_send", g.MaxSend, 64<<10, 64<<20)
	v.between("grpc.max_streams", g.MaxStreams, 1, 10_000)
	v.between("grpc.max_in_flight", g.MaxInFlight, 1, 100_000)
	v.between("grpc.max_connections", g.MaxConnections, 1, 100_000)
	v.between("grpc.max_connections_per_ip", g.MaxConnectionsPerIP, 1, 100_000)
	v.between("grpc.requests_per_second", g.RequestsPerSecond, 1, 1_000_000)
	v.between("grpc.burst", g.Burst, 1, 1_000_000)
	v.duration("grpc.max_deadline", g.MaxDeadline, time.Second, time.Hour)
	v.between("grpc.share_percent", g.SharePercent, 1, 100)
	v.size("grpc.stream_memory", g.StreamMemory, 1<<20, 64<<30)
	v.between("grpc.stream_updates", g.StreamUpdates, 100, 10_000_000)
	v.listener("http.listen", v.config.HTTP.Listen)

	if (t.CertFile == "") != (t.KeyFile == "") {
		v.fail("tls.cert_file", "certificate and key come together", "set tls.cert_file and tls.key_file, or neither")
	}
	if t.ClientCAFile != "" && t.CertFile == "" {
		v.fail("tls.client_ca_file", "clients cannot show certificates without TLS", "set tls.cert_file and tls.key_file too")
	}
}

// listener checks an address that clients connect to: plaintext stays on
// loopback.
func (v *validator) listener(key, address string) {
	v.address(key, address, true)
	if address != "" && !api.Loopback(address) && v.config.TLS.CertFile == "" {
		v.fail(key, "plaintext off loopback", "set tls.cert_file and tls.key_file, or listen on 127.0.0.1")
	}
}

func (v *validator) store() {
	s := v.config.Store
	v.size("store.memtable", s.Memtable, 16<<20, badgerkv.MaxMemTableSize)
	v.size("store.page_cache", s.PageCache, 1<<20, 1<<40)
	v.between("store.gc_percent", s.GCPercent, 5, 1_000)
	v.between("store.keep_versions", s.KeepVersions, 2, statetree.MaxKeepVersions)
	v.size("store.disk_reserve", s.DiskReserve, 64<<20, 1<<50)
}

func (v *validator) shards() {
	s := v.config.Shards
	for _, host := range []struct{ key, value string }{{"shards.listen", s.Listen}, {"shards.external_host", s.ExternalHost}} {
		if host.value != "" && checkHost(host.value) != nil {
			v.fail(host.key, checkHost(host.value).Error(), `write an address or a name without a port, such as "192.0.2.7", or ""`)
		}
	}
	if ip := net.ParseIP(s.ExternalHost); ip != nil && ip.IsUnspecified() {
		v.fail("shards.external_host", "peers cannot connect to this", `write the host as peers see it, or ""`)
	}
	if s.Max < 1 || s.Max > directory.MaxChains {
		v.fail("shards.max", "a node can tell others of so many chains that it runs, and no more", fmt.Sprintf("choose 1 to %d", directory.MaxChains))
	}
	if s.FirstPort != 0 && (s.FirstPort < 1_024 || s.FirstPort+s.Max > 1<<16) {
		v.fail("shards.first_port", fmt.Sprintf("there are no %d ports of everybody's from here on", s.Max), fmt.Sprintf("choose 1024 to %d, or 0", 1<<16-max(1, s.Max)))
	}
	v.duration("shards.block_interval", s.BlockInterval, 0, time.Minute)
	v.size("shards.memtable", s.Memtable, 16<<20, badgerkv.MaxMemTableSize)
	v.size("shards.page_cache", s.PageCache, 1<<20, 1<<40)
	v.between("shards.mempool_txs", s.MempoolTxs, 16, 1_000_000)
	v.size("shards.mempool_bytes", s.MempoolBytes, 4<<20, 4<<30)
	v.size("shards.max_data", s.MaxData, 64<<20, 1<<50)
	v.between("shards.keep_epochs", s.KeepEpochs, 3, 100_000)
}

// checkHost: an IP address, or a name, without a port.
func checkHost(host string) error {
	if net.ParseIP(host) != nil {
		return nil
	}
	if !regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`).MatchString(host) {
		return errors.New("not a host")
	}
	return nil
}

// leastKept is the least number of blocks to keep: peers that are a little behind,
// and clients that ask a little later, still find what they need.
const leastKept = 100

func (v *validator) retention() {
	p := v.config.Pruning
	for _, f := range []struct {
		key   string
		value Blocks
	}{{"pruning.keep_blocks", p.KeepBlocks}, {"pruning.keep_receipts", p.KeepReceipts}} {
		if f.value != 0 && f.value < leastKept {
			v.fail(f.key, "too few", fmt.Sprintf("choose %d or more, or \"all\"", leastKept))
		}
	}
	v.between("snapshots.interval", v.config.Snapshots.Interval, 1, 1_000_000_000)
}

func (v *validator) stateSync() {
	s := v.config.StateSync
	for i, source := range s.Sources {
		host, _, _ := net.SplitHostPort(source)
		switch {
		case checkAddress(source) != nil || host == "":
			v.fail("state_sync.sources", fmt.Sprintf("%q is not an address", source), "write host:port of each node's gRPC API")
		case slices.Contains(s.Sources[:i], source):
			v.fail("state_sync.sources", fmt.Sprintf("%q is there twice", source), "name different nodes: one agrees with itself")
		}
	}
	hash := regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
	switch {
	case s.TrustHeight < 0:
		v.fail("state_sync.trust_height", "not a height", "write that of the header you trust, or 0")
	case (s.TrustHeight == 0) != (s.TrustHash == ""):
		v.fail("state_sync.trust_height", "height and hash come together", "set state_sync.trust_height and state_sync.trust_hash, or neither")
	case s.TrustHash != "" && !hash.MatchString(s.TrustHash):
		v.fail("state_sync.trust_hash", "not the hash of a header", "write its 64 hexadecimal digits")
	}
	if d := s.TrustPeriod.Duration; d != 0 && d < time.Minute {
		v.fail("state_sync.trust_period", "too short to join in", "write at least \"1m\", or \"0s\" for what the genesis asks for")
	}
	if d := s.SearchTime.Duration; d != 0 && (d < 5*time.Second || d > 24*time.Hour) {
		v.fail("state_sync.search_time", "not a time to look for a snapshot", "write \"5s\" to \"24h\", or \"0s\" for half a minute")
	}
	least := 2
	if s.TrustHeight != 0 {
		least = 1
	}
	if s.Enabled && len(s.Sources) < least {
		v.fail("state_sync.sources", "too few", "name two nodes or more, or one with state_sync.trust_height and state_sync.trust_hash")
	}
}

func (v *validator) log() {
	if _, err := ParseLevels(v.config.Log.Level); err != nil {
		v.fail("log.level", err.Error(), `write "info", or "info,consensus=warn"`)
	}
	switch v.config.Log.Format {
	case "auto", "text", "json":
	default:
		v.fail("log.format", "not a format", `choose "auto", "text" or "json"`)
	}
}
