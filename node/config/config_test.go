package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/statetree"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/directory"
)

func values() cmp.Option { return cmpopts.IgnoreUnexported(config.Config{}) }

func TestDefaults(t *testing.T) {
	t.Parallel()
	c := config.Default()
	if err := c.Validate(); err != nil {
		t.Errorf("the defaults are not valid: %v", err)
	}
	if !c.Local() || !api.Loopback(c.GRPC.Listen) || !api.Loopback(c.HTTP.Listen) {
		t.Error("by default the network is local and clients connect over loopback")
	}
	if c.Consensus.TimeoutCommit.Duration != 200*time.Millisecond || c.Store.Memtable != 64<<20 {
		t.Errorf("template.toml did not reach the values: %+v", c)
	}
	// Encode walks the template and fields walks the struct: the same settings.
	if diff := cmp.Diff(templateText(t), string(c.Encode())); diff != "" {
		t.Errorf("a file with the defaults is not the template (-want +got):\n%s", diff)
	}
	for _, s := range c.Effective() {
		_, name, _ := strings.Cut(s.Key, ".")
		if !strings.Contains(templateText(t), "\n"+name+" = ") {
			t.Errorf("template.toml does not have %s", s.Key)
		}
		if s.Origin != config.OriginDefault {
			t.Errorf("origin of %s is %q", s.Key, s.Origin)
		}
	}
}

func templateText(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("template.toml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestParse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		input string
		want  string // of the error; "" = none
	}{
		{"empty", "", ""},
		{"one value", "[grpc]\nlisten = \"127.0.0.1:1\"\n", ""},
		{"unknown key", "[grpc]\nlisen = \"x\"\n", "c.toml:2: grpc.lisen is no setting; did you mean grpc.listen?"},
		{"unknown section", "[gprc]\nlisten = \"x\"\n", "c.toml:1: gprc is no setting; did you mean grpc?"},
		{"nothing near", "[grpc]\nquite_another_thing = 1\n", "c.toml:2: grpc.quite_another_thing is no setting"},
		{"two unknown", "[log]\nlevell = \"info\"\n[node]\nmonicker = \"a\"\n", "c.toml:4: node.monicker is no setting; did you mean node.moniker?"},
		{"wrong case", "[Grpc]\nListen = \"127.0.0.1:1\"\n", "did you mean grpc.listen?"},
		{"bad bool", "[grpc]\nreflection = \"yes\"\n", "c.toml:2: grpc.reflection: "},
		{"bad number", "[p2p]\nmax_inbound = \"many\"\n", "c.toml:2: p2p.max_inbound: "},
		{"duration without unit", "[consensus]\ntimeout_commit = 5\n", `c.toml: consensus.timeout_commit: "5" is not a duration`},
		{"duration without unit as text", "[consensus]\ntimeout_commit = \"5\"\n", `"5" is not a duration`},
		{"size with a wrong unit", "[store]\nmemtable = \"64 megs\"\n", `"64 megs" is not a size`},
		{"size beyond int64", "[store]\nmemtable = \"9000000TiB\"\n", "is not a size"},
		{"negative size", "[store]\nmemtable = -1\n", "c.toml:2: store.memtable: "},
		{"key twice", "[log]\nlevel = \"info\"\nlevel = \"warn\"\n", "c.toml:3: "},
		{"not TOML", "node: {moniker: a}\n", "c.toml:1: "},
		{"section as value", "node = 1\n", "c.toml:1: node: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Parse("c.toml", []byte(tt.input))
			switch {
			case err == nil && tt.want != "":
				t.Errorf("no error, want %q", tt.want)
			case err != nil && (tt.want == "" || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %q, want %q", err, tt.want)
			}
		})
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text  string
		want  config.Size
		print string
	}{
		{"0", 0, "0"},
		{"1000", 1000, "1KB"},
		{"1023", 1023, "1023"},
		{"1024", 1024, "1KiB"},
		{"12 B", 12, "12"},
		{"64MiB", 64 << 20, "64MiB"},
		{"100 MB", 100e6, "100MB"},
		{"2TiB", 2 << 40, "2TiB"},
		{"9223372036854775807", 1<<63 - 1, "9223372036854775807"},
	}
	for _, tt := range tests {
		var s config.Size
		if err := s.UnmarshalText([]byte(tt.text)); err != nil || s != tt.want || s.String() != tt.print {
			t.Errorf("%q: %d, prints %q, %v; want %d, %q", tt.text, uint64(s), s, err, uint64(tt.want), tt.print)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5GiB", "1 mib", "0x10", "9223372036854775808", "1MiBMiB"} {
		var s config.Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q gives %d, want an error", text, uint64(s))
		}
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	writeFile(t, home, "version = 1\n[node]\nmoniker = \"file\"\n[log]\nlevel = \"warn\"\nformat = \"json\"\n[p2p]\nmax_inbound = 7\n")
	environ := []string{"PATH=/bin", "TRIBUTARY_HOME=elsewhere", "TRIBUTARY_NODE_MONIKER=env", "TRIBUTARY_LOG_LEVEL=error"}
	flags := pflag.NewFlagSet("start", pflag.ContinueOnError)
	config.AddFlags(flags)
	if err := flags.Parse([]string{"--node.moniker=flag", "--grpc.reflection", "--p2p.persistent_peers", ""}); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(home, environ, flags)
	if err != nil {
		t.Fatal(err)
	}
	if c.Home != home {
		t.Errorf("home is %q, want %q", c.Home, home)
	}
	got := map[string]config.Setting{}
	for _, s := range c.Effective() {
		got[s.Key] = s
	}
	for _, want := range []config.Setting{
		{Key: "node.moniker", Value: `"flag"`, Origin: "flag --node.moniker"},
		{Key: "log.level", Value: `"error"`, Origin: "env TRIBUTARY_LOG_LEVEL"},
		{Key: "log.format", Value: `"json"`, Origin: "file"},
		{Key: "p2p.max_inbound", Value: "7", Origin: "file"},
		{Key: "p2p.persistent_peers", Value: "[]", Origin: "flag --p2p.persistent_peers"},
		{Key: "grpc.reflection", Value: "true", Origin: "flag --grpc.reflection"},
		{Key: "grpc.listen", Value: `"127.0.0.1:9090"`, Origin: "default"},
	} {
		if diff := cmp.Diff(want, got[want.Key]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want.Key, diff)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		environ []string
		file    string
		want    []string
	}{
		{"misspelt variable", []string{"TRIBUTARY_GRPC_LISEN=x"}, "version = 1", []string{"TRIBUTARY_GRPC_LISEN is no setting; did you mean TRIBUTARY_GRPC_LISTEN?"}},
		{"bad value in a variable", []string{"TRIBUTARY_GRPC_MAX_STREAMS=x"}, "version = 1", []string{"TRIBUTARY_GRPC_MAX_STREAMS: \"x\" is not a whole number"}},
		{"bad bool in a variable", []string{"TRIBUTARY_GRPC_REFLECTION=maybe"}, "version = 1", []string{"\"maybe\" is not true or false"}},
		{"invalid value names its origin", []string{"TRIBUTARY_GRPC_LISTEN=0.0.0.0:9090"}, "version = 1", []string{`grpc.listen = "0.0.0.0:9090" (env TRIBUTARY_GRPC_LISTEN): plaintext off loopback; set tls.cert_file`}},
		{"newer file", nil, "version = 2", []string{"version = 2: this program reads version 1"}},
		{"all problems at once", nil, "version = 1\n[node]\nmoniker = \"\"\n[log]\nformat = \"xml\"\n", []string{"node.moniker", "log.format"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			home := t.TempDir()
			writeFile(t, home, tt.file)
			_, err := config.Load(home, tt.environ, nil)
			if err == nil {
				t.Fatal("loaded")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
	if _, err := config.Load(t.TempDir(), nil, nil); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "tributary init") {
		t.Errorf("without a file: %v", err)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	peer := strings.Repeat("0a", 20) + "@validator1:26656"
	tests := []struct {
		name   string
		change func(*config.Config)
		key    string // "" = valid
	}{
		{"peer", func(c *config.Config) { c.P2P.PersistentPeers = []string{peer} }, ""},
		{"peer without id", func(c *config.Config) { c.P2P.PersistentPeers = []string{"validator1:26656"} }, "p2p.persistent_peers"},
		{"peer without port", func(c *config.Config) {
			c.P2P.PersistentPeers = []string{peer, strings.Repeat("0a", 20) + "@validator1"}
		}, "p2p.persistent_peers"},
		{"moniker with a newline", func(c *config.Config) { c.Node.Moniker = "a\nb" }, "node.moniker"},
		{"network with a space", func(c *config.Config) { c.Node.Network = "my net" }, "node.network"},
		{"no p2p address", func(c *config.Config) { c.P2P.Listen = "" }, "p2p.listen"},
		{"external wildcard", func(c *config.Config) { c.P2P.ExternalAddress = "0.0.0.0:26656" }, "p2p.external_address"},
		{"external name", func(c *config.Config) { c.P2P.ExternalAddress = "node.example.org:26656" }, ""},
		{"gRPC off", func(c *config.Config) { c.GRPC.Listen = "" }, ""},
		{"gRPC without port", func(c *config.Config) { c.GRPC.Listen = "127.0.0.1" }, "grpc.listen"},
		{"gRPC port too high", func(c *config.Config) { c.GRPC.Listen = "127.0.0.1:65536" }, "grpc.listen"},
		{"gRPC on every address", func(c *config.Config) { c.GRPC.Listen = ":9090" }, "grpc.listen"},
		{"gRPC on IPv6 loopback", func(c *config.Config) { c.GRPC.Listen = "[::1]:9090" }, ""},
		{"gRPC on a name", func(c *config.Config) { c.GRPC.Listen = "db.internal:9090" }, "grpc.listen"},
		{"HTTP on every address", func(c *config.Config) { c.HTTP.Listen = "0.0.0.0:8080" }, "http.listen"},
		{"both with TLS", func(c *config.Config) {
			c.GRPC.Listen, c.HTTP.Listen = ":9090", ":8080"
			c.TLS = config.TLS{CertFile: "a.crt", KeyFile: "a.key", ClientCAFile: "ca.crt"}
		}, ""},
		{"certificate without key", func(c *config.Config) { c.TLS.CertFile = "a.crt" }, "tls.cert_file"},
		{"client CA without certificate", func(c *config.Config) { c.TLS.ClientCAFile = "ca.crt" }, "tls.client_ca_file"},
		{"no share", func(c *config.Config) { c.GRPC.SharePercent = 0 }, "grpc.share_percent"},
		{"more than all", func(c *config.Config) { c.GRPC.SharePercent = 101 }, "grpc.share_percent"},
		{"everything for everyone", func(c *config.Config) { c.GRPC.SharePercent = 100 }, ""},
		{"no memory for streams", func(c *config.Config) { c.GRPC.StreamMemory = 1<<20 - 1 }, "grpc.stream_memory"},
		{"no updates", func(c *config.Config) { c.GRPC.StreamUpdates = 99 }, "grpc.stream_updates"},
		{"no commit pause", func(c *config.Config) { c.Consensus.TimeoutCommit.Duration = 0 }, "consensus.timeout_commit"},
		{"mempool without room", func(c *config.Config) { c.Mempool.MaxTxs = exec.MinMempoolTxs - 1 }, "mempool.max_txs"},
		{"smallest mempool", func(c *config.Config) {
			c.Mempool.MaxTxs, c.Mempool.MaxBytes = exec.MinMempoolTxs, exec.MinMempoolBytes
		}, ""},
		{"mempool of too few bytes", func(c *config.Config) { c.Mempool.MaxBytes = exec.MinMempoolBytes - 1 }, "mempool.max_bytes"},
		{"signer of another mode", func(c *config.Config) { c.Signer.Mode = "hsm" }, "signer.mode"},
		{"file and address", func(c *config.Config) { c.Signer.Listen = "unix:///run/s" }, "signer.listen"},
		{"file and identity", func(c *config.Config) { c.Signer.Allow = strings.Repeat("a", 40) }, "signer.allow"},
		{"nowhere to wait", func(c *config.Config) { c.Signer.Mode = "remote" }, "signer.listen"},
		{"relative socket", func(c *config.Config) { c.Signer = config.Signer{Mode: "remote", Listen: "unix://s"} }, "signer.listen"},
		{"address without scheme", func(c *config.Config) {
			c.Signer = config.Signer{Mode: "remote", Listen: "127.0.0.1:1", Allow: strings.Repeat("a", 40)}
		}, "signer.listen"},
		{"address without port", func(c *config.Config) {
			c.Signer = config.Signer{Mode: "remote", Listen: "tcp://127.0.0.1", Allow: strings.Repeat("a", 40)}
		}, "signer.listen"},
		{"socket and identity", func(c *config.Config) {
			c.Signer = config.Signer{Mode: "remote", Listen: "unix:///run/s", Allow: strings.Repeat("a", 40)}
		}, "signer.allow"},
		{"anybody signs", func(c *config.Config) { c.Signer = config.Signer{Mode: "remote", Listen: "tcp://127.0.0.1:1"} }, "signer.allow"},
		{"short identity", func(c *config.Config) {
			c.Signer = config.Signer{Mode: "remote", Listen: "tcp://127.0.0.1:1", Allow: "abc"}
		}, "signer.allow"},
		{"slow bundles", func(c *config.Config) { c.Mempool.BundleDelay.Duration = 2 * time.Second }, "mempool.bundle_delay"},
		{"tiny memtable", func(c *config.Config) { c.Store.Memtable = 1 << 20 }, "store.memtable"},
		{"largest memtable", func(c *config.Config) { c.Store.Memtable = badgerkv.MaxMemTableSize }, ""},
		{"memtable that no store takes", func(c *config.Config) { c.Store.Memtable = badgerkv.MaxMemTableSize + 1 }, "store.memtable"},
		{"most versions", func(c *config.Config) { c.Store.KeepVersions = statetree.MaxKeepVersions }, ""},
		{"versions that no tree keeps", func(c *config.Config) { c.Store.KeepVersions = statetree.MaxKeepVersions + 1 }, "store.keep_versions"},
		{"shards elsewhere", func(c *config.Config) {
			c.Shards.Listen, c.Shards.ExternalHost, c.Shards.FirstPort, c.Shards.Max = "::", "node.example.org", 65_472, 64
		}, ""},
		{"shards listen with a port", func(c *config.Config) { c.Shards.Listen = "127.0.0.1:0" }, "shards.listen"},
		{"shards are reached anywhere", func(c *config.Config) { c.Shards.ExternalHost = "0.0.0.0" }, "shards.external_host"},
		{"ports beyond the last", func(c *config.Config) { c.Shards.FirstPort, c.Shards.Max = 65_473, 64 }, "shards.first_port"},
		{"ports of the system", func(c *config.Config) { c.Shards.FirstPort = 80 }, "shards.first_port"},
		{"no shards at all", func(c *config.Config) { c.Shards.Max = 0 }, "shards.max"},
		{"as many shards as can be told of", func(c *config.Config) { c.Shards.Max = directory.MaxChains }, ""},
		{"more shards than can be told of", func(c *config.Config) { c.Shards.Max = directory.MaxChains + 1 }, "shards.max"},
		{"tiny memtable of shards", func(c *config.Config) { c.Shards.Memtable = 1 << 20 }, "shards.memtable"},
		{"shards that stand still", func(c *config.Config) { c.Shards.BlockInterval.Duration = time.Hour }, "shards.block_interval"},
		{"no pages of shards", func(c *config.Config) { c.Shards.PageCache = 0 }, "shards.page_cache"},
		{"mempool of shards without room", func(c *config.Config) { c.Shards.MempoolTxs = exec.MinMempoolTxs - 1 }, "shards.mempool_txs"},
		{"mempool of shards without bytes", func(c *config.Config) { c.Shards.MempoolBytes = exec.MinMempoolBytes - 1 }, "shards.mempool_bytes"},
		{"shards without data", func(c *config.Config) { c.Shards.MaxData = 0 }, "shards.max_data"},
		{"shards forgotten at once", func(c *config.Config) { c.Shards.KeepEpochs = 2 }, "shards.keep_epochs"},
		{"no collecting", func(c *config.Config) { c.Store.GCPercent = 0 }, "store.gc_percent"},
		{"everything kept", func(c *config.Config) { c.Pruning = config.Pruning{} }, ""},
		{"few blocks", func(c *config.Config) { c.Pruning.KeepBlocks = 100 }, ""},
		{"too few blocks", func(c *config.Config) { c.Pruning.KeepBlocks = 99 }, "pruning.keep_blocks"},
		{"too few receipts", func(c *config.Config) { c.Pruning.KeepReceipts = 1 }, "pruning.keep_receipts"},
		{"no interval", func(c *config.Config) { c.Snapshots.Interval = 0 }, "snapshots.interval"},
		{"two sources", func(c *config.Config) { c.StateSync = stateSync("a:1", "b:1") }, ""},
		{"one source", func(c *config.Config) { c.StateSync = stateSync("a:1") }, "state_sync.sources"},
		{"one source, switched off", func(c *config.Config) { c.StateSync.Sources = []string{"a:1"} }, ""},
		{"no source", func(c *config.Config) { c.StateSync.Enabled = true }, "state_sync.sources"},
		{"one source and a header", func(c *config.Config) {
			c.StateSync = stateSync("a:1")
			c.StateSync.TrustHeight, c.StateSync.TrustHash = 7, strings.Repeat("aB", 32)
		}, ""},
		{"a source twice", func(c *config.Config) { c.StateSync = stateSync("a:1", "a:1") }, "state_sync.sources"},
		{"a source without port", func(c *config.Config) { c.StateSync = stateSync("a", "b:1") }, "state_sync.sources"},
		{"a source without host", func(c *config.Config) { c.StateSync = stateSync(":1", "b:1") }, "state_sync.sources"},
		{"a trust period of a second", func(c *config.Config) { c.StateSync.TrustPeriod.Duration = time.Second }, "state_sync.trust_period"},
		{"a negative trust period", func(c *config.Config) { c.StateSync.TrustPeriod.Duration = -time.Hour }, "state_sync.trust_period"},
		{"a search of a second", func(c *config.Config) { c.StateSync.SearchTime.Duration = time.Second }, "state_sync.search_time"},
		{"a search without end", func(c *config.Config) { c.StateSync.SearchTime.Duration = 48 * time.Hour }, "state_sync.search_time"},
		{"the usual search", func(c *config.Config) { c.StateSync.SearchTime.Duration = 0 }, ""},
		{"height without hash", func(c *config.Config) { c.StateSync.TrustHeight = 7 }, "state_sync.trust_height"},
		{"hash without height", func(c *config.Config) { c.StateSync.TrustHash = strings.Repeat("aB", 32) }, "state_sync.trust_height"},
		{"short hash", func(c *config.Config) {
			c.StateSync.TrustHeight, c.StateSync.TrustHash = 7, "ab"
		}, "state_sync.trust_hash"},
		{"negative height", func(c *config.Config) {
			c.StateSync.TrustHeight, c.StateSync.TrustHash = -7, strings.Repeat("aB", 32)
		}, "state_sync.trust_height"},
		{"level of a module", func(c *config.Config) { c.Log.Level = "warn, api=debug" }, ""},
		{"unknown level", func(c *config.Config) { c.Log.Level = "chatty" }, "log.level"},
		{"two base levels", func(c *config.Config) { c.Log.Level = "info,warn" }, "log.level"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := config.Default()
			tt.change(&c)
			err := c.Validate()
			var field *config.FieldError
			switch {
			case tt.key == "" && err != nil:
				t.Errorf("not valid: %v", err)
			case tt.key != "" && (!errors.As(err, &field) || field.Key != tt.key):
				t.Errorf("error %v, want one of %s", err, tt.key)
			case tt.key != "" && (field.Problem == "" || field.Remedy == "" || field.Value == ""):
				t.Errorf("error lacks a part: %#v", field)
			}
		})
	}
}

func stateSync(sources ...string) config.StateSync {
	return config.StateSync{Enabled: true, Sources: sources}
}

func TestBlocks(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]config.Blocks{"0": 0, `"all"`: 0, "100": 100, `"100"`: 100, "100_000": 100_000, "9223372036854775807": 1<<63 - 1} {
		c, err := config.Parse("c.toml", []byte("[pruning]\nkeep_blocks = "+text+"\n"))
		if err != nil || c.Pruning.KeepBlocks != want {
			t.Errorf("%s: %d, %v; want %d", text, c.Pruning.KeepBlocks, err, want)
		}
	}
	for _, text := range []string{"", "-1", "1.5", "ALL", "many", "9223372036854775808"} {
		var b config.Blocks
		if err := b.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), `"all"`) {
			t.Errorf("%q gives %d, %v", text, uint64(b), err)
		}
	}
	d := config.Default()
	if p := d.Pruning; p.KeepBlocks != exec.DefaultKeepBlocks || p.KeepReceipts != exec.DefaultKeepReceipts || d.Snapshots.Interval != exec.DefaultSnapshotStride {
		t.Errorf("the template says %+v, %+v", p, d.Snapshots)
	}
}

func TestEncodeRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := config.Default()
		c.Node.Moniker = rapid.String().Draw(t, "moniker")
		c.P2P.PersistentPeers = rapid.SliceOf(rapid.String()).Draw(t, "peers")
		c.P2P.SendRate = config.Size(rapid.Uint64Range(0, 1<<63-1).Draw(t, "rate"))
		c.Consensus.TimeoutCommit.Duration = time.Duration(rapid.Int64().Draw(t, "pause"))
		c.GRPC.Reflection = rapid.Bool().Draw(t, "reflection")
		c.P2P.MaxInbound = rapid.Int().Draw(t, "inbound")
		c.Pruning.KeepBlocks = config.Blocks(rapid.Uint64Range(0, 1<<63-1).Draw(t, "blocks"))
		got, err := config.Parse("c.toml", c.Encode())
		if err != nil {
			t.Fatalf("parse what was encoded: %v", err)
		}
		if diff := cmp.Diff(c, got, values(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("changed on the way (-want +got):\n%s", diff)
		}
	})
}

func TestWrite(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.Home = filepath.Join(t.TempDir(), "home")
	c.Node.Moniker = "first"
	for _, moniker := range []string{"first", "second"} {
		c.Node.Moniker = moniker
		if err := config.Write(c); err != nil {
			t.Fatal(err)
		}
		got, err := config.Load(c.Home, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, got, values(), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("read back (-want +got):\n%s", diff)
		}
	}
	for name, want := range map[string]fs.FileMode{config.FileName: 0o600, "config": fs.ModeDir | 0o700, ".": fs.ModeDir | 0o700} {
		info, err := os.Stat(filepath.Join(c.Home, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("mode of %s is %v, want %v", name, info.Mode(), want)
		}
	}
	left, err := os.ReadDir(filepath.Join(c.Home, "config"))
	if err != nil || len(left) != 1 {
		t.Errorf("files left beside the settings: %v, %v", left, err)
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	flags := pflag.NewFlagSet("start", pflag.ContinueOnError)
	config.AddFlags(flags)
	usage := flags.FlagUsages()
	for _, want := range []string{
		"--grpc.listen string ", `(default "127.0.0.1:9090")`, "--consensus.timeout_commit duration", "--store.page_cache size", "--p2p.persistent_peers list",
		"Most bytes sent per second and connection (default 100MB)",
	} {
		if !strings.Contains(usage, want) {
			t.Errorf("usage does not show %q:\n%s", want, usage)
		}
	}
	if strings.Contains(usage, "`") || !strings.Contains(usage, "--signer.mode string ") {
		t.Errorf("usage takes words in backticks for names of values:\n%s", usage)
	}
	for _, wrong := range []string{"--grpc.max_streams=x", "--consensus.timeout_commit=5", "--grpc.lisen=x"} {
		if err := flags.Parse([]string{wrong}); err == nil {
			t.Errorf("%s was taken", wrong)
		}
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Usage == "" {
			t.Errorf("--%s says nothing", f.Name)
		}
	})
}

func TestPath(t *testing.T) {
	t.Parallel()
	c := config.Config{Home: "/var/lib/tributary"}
	for name, want := range map[string]string{"": "", "/etc/a.crt": "/etc/a.crt", "config/a.crt": "/var/lib/tributary/config/a.crt"} {
		if got := c.Path(name); got != want {
			t.Errorf("Path(%q) = %q, want %q", name, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(string(config.Default().Encode()))
	f.Add("[grpc]\nlisten = '127.0.0.1:1'\n")
	f.Add("[consensus]\ntimeout_commit = 5\n")
	f.Add("grpc.max_send = 0x10\n[p2p]\npersistent_peers = [[1]]\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := config.Parse("c.toml", []byte(text))
		if err != nil {
			return
		}
		_ = c.Validate()
		again, err := config.Parse("c.toml", c.Encode())
		if err != nil {
			t.Fatalf("parse what was encoded: %v", err)
		}
		again.Version = c.Version
		if diff := cmp.Diff(c, again, values(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("changed on the way (-want +got):\n%s", diff)
		}
	})
}

func writeFile(t *testing.T, home, text string) {
	t.Helper()
	file := filepath.Join(home, config.FileName)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
