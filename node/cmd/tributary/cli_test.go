package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func TestHelp(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for _, args := range [][]string{
		{},
		{"init"},
		{"keys"},
		{"keys", "add"},
		{"signer"},
		{"signer", "start"},
		{"status"},
		{"health"},
		{"testnet"},
		{"testnet", "up"},
		{"channel"},
		{"channel", "open"},
		{"channel", "coop-close"},
		{"settle"},
		{"settle", "submit"},
		{"settle", "stream"},
		{"tx"},
		{"stake"},
		{"stake", "undelegate"},
		{"validator"},
		{"validator", "register"},
		{"validator", "proof"},
		{"committee", "recompute"},
		{"query"},
		{"query", "certificate"},
		{"verify", "certificate"},
		{"evidence", "submit"},
		{"shard"},
		{"shard", "map"},
		{"shard", "status"},
		{"shard", "trace"},
		{"shard", "events"},
		{"shard", "watch"},
		{"shard", "show"},
		{"shard", "split"},
		{"shard", "merge"},
		{"service"},
		{"service", "list"},
		{"service", "show"},
		{"service", "register"},
		{"service", "update"},
		{"validator", "serve"},
		{"relayer"},
		{"usage"},
		{"usage", "book"},
		{"usage", "show"},
		{"usage", "earnings"},
		{"route"},
		{"route", "locate"},
		{"route", "hint"},
		{"route", "load"},
		{"config"},
		{"version"},
	} {
		name := strings.Join(append([]string{"help"}, args...), "_")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden(t, name, s.ok(t, append(args, "--help")...))
		})
	}
}

// TestCommandsAreDescribed walks the whole tree: every command says what it is
// for, and no two flags of one have the same name.
func TestCommandsAreDescribed(t *testing.T) {
	t.Parallel()
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: short description %q", cmd.CommandPath(), cmd.Short)
		}
		if !cmd.HasSubCommands() && cmd.RunE == nil {
			t.Errorf("%s does nothing", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk((&cli{}).root())
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	const nobody = "127.0.0.1:1"
	hash := strings.Repeat("0", 64)
	for _, test := range []struct {
		name string
		args []string
		code int
		want string // in the error
	}{
		{"unknown command", []string{"statu"}, exitUsage, "did you mean stake or start or status?"},
		{"unknown subcommand", []string{"keys", "lst"}, exitUsage, "did you mean list?"},
		{"missing subcommand", []string{"channel"}, exitUsage, "which subcommand?"},
		{"unknown flag", []string{"status", "--wacht"}, exitUsage, "--wacht"},
		{"too few arguments", []string{"tx", "transfer", "bob"}, exitUsage, "usage: tributary tx transfer TO AMOUNT"},
		{"too many arguments", []string{"init", "a", "b"}, exitUsage, "usage: tributary init MONIKER"},
		{"bad output", []string{"version", "-o", "xml"}, exitUsage, "table or json"},
		{"no id of a shard", []string{"shard", "show", "x", "--node", "127.0.0.1:1"}, exitUsage, "a number from 2; 'tributary shard map' shows"},
		{"the main chain for a shard", []string{"shard", "status", "1", "--node", "127.0.0.1:1"}, exitUsage, "a number from 2"},
		{"no shard to split", []string{"shard", "split", "0", "--node", "127.0.0.1:1"}, exitUsage, "a number from 2"},
		{"no shard to watch", []string{"shard", "events", "-1", "--node", "127.0.0.1:1"}, exitUsage, "-1"},
		{"no epoch", []string{"shard", "map", "--epoch", "never", "--node", "127.0.0.1:1"}, exitUsage, "present, next or a number"},
		{"no hash", []string{"shard", "trace", "nothing", "--node", "127.0.0.1:1"}, exitUsage, "nothing"},
		{"no channel", []string{"usage", "show", "abc", "--node", "127.0.0.1:1"}, exitUsage, "abc"},
		{"bad timeout", []string{"version", "--timeout", "0s"}, exitUsage, "--timeout"},
		{"bad network", []string{"init", "a", "--network", "Main"}, exitUsage, "node.network"},
		{"no home", []string{"start"}, exitError, "tributary init"},
		{"signer for no chain", []string{"signer", "start", "--node", "unix:///s"}, exitUsage, "--chain-id"},
		{"signer for no node", []string{"signer", "start", "--chain-id", "c"}, exitUsage, "--node"},
		{"signer for a bare address", []string{"signer", "start", "--chain-id", "c", "--node", nobody}, exitUsage, "tcp://nodeid@host:port"},
		{"signer that logs nothing", []string{"signer", "start", "--chain-id", "c", "--node", "unix:///s", "--log-level", "quiet"}, exitUsage, "quiet"},
		{"signer with an odd log", []string{"signer", "start", "--chain-id", "c", "--node", "unix:///s", "--log-format", "xml"}, exitUsage, "auto, text or json"},
		{"signer without a home", []string{"signer", "start", "--chain-id", "c", "--node", "unix:///s"}, exitError, "signer init"},
		{"no settings", []string{"config", "show"}, exitError, "tributary init"},
		{"no effective settings", []string{"config", "show", "--effective"}, exitError, "tributary init"},
		{"no settings to ask for health by", []string{"health"}, exitError, "tributary init"},
		{"no key", []string{"keys", "show", "nobody"}, exitNotFound, "nobody"},
		{"no genesis", []string{"init", "a", "--genesis", "none.json"}, exitError, "none.json"},
		{"no node", []string{"status", "--node", nobody}, exitUnavailable, "tributary testnet up"},
		{"no node to transfer", []string{"tx", "transfer", "bob", "1", "--node", nobody}, exitUnavailable, "--node"},
		{"no node to show", []string{"tx", "show", hash, "--node", nobody}, exitUnavailable, "no node answers at " + nobody},
		{"no health", []string{"health", "--address", nobody}, exitUnavailable, "does not answer"},
		{"no node to ask for health", []string{"health", "--node", nobody}, exitUnavailable, "no node answers at " + nobody},
		{"health of two", []string{"health", "--node", nobody, "--address", nobody}, exitUsage, "exclude"},
		{"no test network", []string{"testnet", "status"}, exitUnavailable, "no test network runs in " + filepath.Join(s.home, ".tributary", "testnet") + "; 'tributary testnet up' starts one"},
		{"no such test network", []string{"keys", "list", "--testnet", "nowhere"}, exitNotFound, "there is no test network in nowhere"},
		{"no such shell", []string{"completion", "foo"}, exitUsage, "bash, fish, powershell, zsh"},
		{"no shell", []string{"completion"}, exitUsage, "bash, fish, powershell, zsh"},
		{"help on nothing", []string{"help", "foo"}, exitUsage, `no help for "foo"`},
		{"node without a port", []string{"status", "--node", "host"}, exitUsage, `--node is "host", want host:port`},
		{"node with a port that is none", []string{"query", "params", "--node", "host:65536"}, exitUsage, "host:port"},
		{"node without a host", []string{"health", "--node", ":9090"}, exitUsage, "host:port"},
		{"node that is a URL", []string{"tx", "list", "a", "--node", "http://host:1"}, exitUsage, "host:port"},
		{"health of no address", []string{"health", "--address", "host"}, exitUsage, "--address"},
		{"no validators", []string{"testnet", "up", "--validators", "0"}, exitUsage, "1 to 32"},
		{"too many validators", []string{"testnet", "up", "-d", "--validators", "33"}, exitUsage, "1 to 32"},
		{"bad base port", []string{"testnet", "up", "--base-port", "-1"}, exitUsage, "base port"},
		{"network without a name", []string{"testnet", "up", "--network", ""}, exitUsage, "local"},
		{"files of no validators", []string{"testnet", "files", "--validators", "-1"}, exitUsage, "1 to 32"},
		{"bad tail", []string{"testnet", "logs", "-n", "-1"}, exitUsage, "--tail"},
		{"bad limit", []string{"tx", "list", "a", "--limit", "-1"}, exitUsage, "--limit"},
		{"bad name of a key", []string{"keys", "add", "a b"}, exitUsage, "not a name"},
		{"no test network's faucet", []string{"testnet", "faucet", "alice"}, exitUnavailable, "no test network runs"},
		{"no test network's logs", []string{"testnet", "logs"}, exitNotFound, "tributary testnet up"},
		{"ephemeral processes", []string{"testnet", "up", "--ephemeral", "--processes"}, exitUsage, "exclude"},
		{"ephemeral kept", []string{"testnet", "up", "--ephemeral", "--keep"}, exitUsage, "exclude"},
		{"public test network", []string{"testnet", "up", "--network", "main"}, exitUsage, "local"},
		{"no passphrase", []string{"keys", "add", "a"}, exitError, "--passphrase-file"},
		{"bad words", []string{"keys", "add", "a", "--recover"}, exitError, "24"},
		{"plain key", []string{"keys", "add", "a", "--plain"}, exitError, "local networks only"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := s.run(t, "", test.args...)
			if r.code != test.code || !strings.Contains(r.stderr, test.want) {
				t.Errorf("exit code %d, want %d; standard error, want %q in it:\n%s", r.code, test.code, test.want, r.stderr)
			}
			if r.stdout != "" {
				t.Errorf("standard output of a failure: %q", r.stdout)
			}
			if strings.Contains(r.stderr, "\x1b") {
				t.Errorf("colours off a terminal: %q", r.stderr)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	if got := s.ok(t, "version"); got != "tributary devel\n" {
		t.Errorf("version: %q", got)
	}
	var b build
	if err := json.Unmarshal([]byte(s.ok(t, "version", "--long", "-o", "json")), &b); err != nil {
		t.Fatal(err)
	}
	// Test binaries know no versions of modules.
	if b.Version != "devel" || !strings.HasPrefix(b.Go, "go1.") || b.Platform == "" {
		t.Errorf("version --long: %+v", b)
	}
	long := s.ok(t, "version", "--long")
	for _, path := range shownModules() {
		if !strings.Contains(long, path) {
			t.Errorf("version --long does not tell of %s:\n%s", path, long)
		}
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for _, kind := range []string{"bash", "zsh", "fish"} {
		if got := s.ok(t, "completion", kind); !strings.Contains(got, "tributary") {
			t.Errorf("completion %s: %q", kind, got)
		}
	}
}

func TestInitMakesALocalNode(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	var r initResult
	if err := json.Unmarshal([]byte(s.ok(t, "init", "first", "-o", "json")), &r); err != nil {
		t.Fatal(err)
	}
	if r.Moniker != "first" || r.Network != "local" || len(r.NodeID) != 40 || len(r.PublicKey) != 64 || len(r.NetworkID) != 64 {
		t.Errorf("init: %+v", r)
	}
	if got := s.ok(t, "config", "show"); !strings.Contains(got, "\nlisten = \"127.0.0.1:26656\"\n") {
		t.Errorf("a local node does not listen for its peers on loopback:\n%s", got)
	}
	if got := s.run(t, "", "init", "first"); got.code != exitError || !strings.Contains(got.stderr, "is there already") {
		t.Errorf("init again: %+v", got)
	}
	if got := s.ok(t, "config", "validate"); !strings.Contains(got, r.NetworkID) {
		t.Errorf("config validate: %q", got)
	}
	for path, mode := range map[string]os.FileMode{
		"": 0o700, "config": 0o700, "keys": 0o700, "data": 0o700, "config/config.toml": 0o600, "config/node_key.json": 0o600,
		"config/validator/priv_validator_key.json": 0o600, "config/validator/priv_validator_state.json": 0o600,
	} {
		info, err := os.Stat(filepath.Join(s.home, ".tributary", path))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v, want mode %v", path, info, err, mode)
		}
	}
	shown := s.ok(t, "query", "validators")
	if !strings.Contains(shown, r.PublicKey) || !strings.Contains(shown, r.NodeID) {
		t.Errorf("query validators: %s", shown)
	}
	if keys := s.ok(t, "keys", "list"); !strings.Contains(keys, "alice") || !strings.Contains(keys, "faucet") {
		t.Errorf("keys list: %s", keys)
	}

	// A second node of the network, and one that is told the wrong name.
	genesis := filepath.Join(r.Home, "config", "genesis.json")
	var second initResult
	if err := json.Unmarshal([]byte(s.ok(t, "init", "second", "--home", filepath.Join(s.home, "second"), "--genesis", genesis, "-o", "json")), &second); err != nil {
		t.Fatal(err)
	}
	if second.NetworkID != r.NetworkID || second.NodeID == r.NodeID {
		t.Errorf("the second node: %+v, the first: %+v", second, r)
	}
	third := s.run(t, "", "init", "third", "--home", filepath.Join(s.home, "third"), "--genesis", genesis, "--network", "local-other")
	if third.code != exitUsage || !strings.Contains(third.stderr, "--network") {
		t.Errorf("init with the wrong name: %+v", third)
	}

	// A node of a public network waits for its genesis.
	public := s.run(t, "", "init", "fourth", "--home", filepath.Join(s.home, "fourth"), "--network", "tributary-1")
	if public.code != exitOK || !strings.Contains(public.stderr, "genesis") {
		t.Errorf("init of a public node: %+v", public)
	}
	if got := s.ok(t, "config", "show", "--home", filepath.Join(s.home, "fourth")); !strings.Contains(got, "\nlisten = \"0.0.0.0:26656\"\n") {
		t.Errorf("a public node does not listen for its peers:\n%s", got)
	}
	if got := s.run(t, "", "start", "--home", filepath.Join(s.home, "fourth")); got.code != exitError || !strings.Contains(got.stderr, "copy the genesis of the network there") {
		t.Errorf("start without a genesis: %+v", got)
	}
}

// TestReadingMakesNothing checks that questions about keys make no directory.
func TestReadingMakesNothing(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.ok(t, "keys", "list")
	if got := s.run(t, "", "keys", "show", "nobody"); got.code != exitNotFound {
		t.Errorf("keys show: %+v", got)
	}
	if _, err := os.Lstat(filepath.Join(s.home, ".tributary")); !os.IsNotExist(err) {
		t.Errorf("the home directory was made: %v", err)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.environ = append(s.environ, "TRIBUTARY_PASSPHRASE=correct horse")
	var made keyResult
	if err := json.Unmarshal([]byte(s.ok(t, "keys", "add", "cold", "--show-words", "-o", "json")), &made); err != nil {
		t.Fatal(err)
	}
	if len(strings.Fields(made.Words)) != 24 || !made.Encrypted || !strings.HasPrefix(made.Address, "trib1") {
		t.Fatalf("keys add: %+v", made)
	}
	if got := s.ok(t, "keys", "show", "cold", "--address"); got != made.Address+"\n" {
		t.Errorf("keys show --address: %q", got)
	}
	restored := s.run(t, made.Words+"\n", "keys", "add", "again", "--recover")
	if restored.code != exitOK || !strings.Contains(restored.stdout, made.Address) {
		t.Errorf("keys add --recover: %+v", restored)
	}
	exported := s.ok(t, "keys", "export", "cold")
	if !strings.HasPrefix(exported, "-----BEGIN AGE ENCRYPTED FILE-----") {
		t.Errorf("keys export: %q", exported)
	}
	imported := s.run(t, exported, "keys", "import", "copy", "-")
	if imported.code != exitOK || !strings.Contains(imported.stdout, made.Address) {
		t.Errorf("keys import: %+v", imported)
	}
	newPassphrase := filepath.Join(s.home, "new")
	if err := os.WriteFile(newPassphrase, []byte("another horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := s.run(t, "", "keys", "rotate-passphrase", "copy"); got.code == exitOK || !strings.Contains(got.stderr, "give --new-passphrase-file") {
		t.Errorf("a new passphrase that nobody gave: %+v", got)
	}
	s.ok(t, "keys", "rotate-passphrase", "copy", "--new-passphrase-file", newPassphrase)
	if got := s.run(t, "", "keys", "show", "copy", "--words"); got.code != exitError || !strings.Contains(got.stderr, "wrong passphrase") {
		t.Errorf("the old passphrase: %+v", got)
	}
	if got := s.ok(t, "keys", "show", "copy", "--words", "--passphrase-file", newPassphrase); !strings.Contains(got, made.Words) {
		t.Errorf("keys show --words: %q", got)
	}
	if got := s.run(t, "", "keys", "delete", "copy"); got.code != exitUsage || !strings.Contains(got.stderr, made.Address) {
		t.Errorf("keys delete without confirmation: %+v", got)
	}
	s.ok(t, "keys", "delete", "copy", "--confirm", made.Address)
	if got := s.ok(t, "keys", "list"); strings.Contains(got, "copy") || !strings.Contains(got, "cold") {
		t.Errorf("keys list: %q", got)
	}
}

func TestConfigTellsWhereValuesComeFrom(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.ok(t, "init", "me")
	s.environ = append(s.environ, "TRIBUTARY_GRPC_LISTEN=127.0.0.1:1234")
	var list []struct{ Key, Value, Origin string }
	if err := json.Unmarshal([]byte(s.ok(t, "config", "show", "--effective", "-o", "json", "--log.level", "debug")), &list); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, l := range list {
		got[l.Key] = l.Value + " from " + l.Origin
	}
	want := map[string]string{
		"grpc.listen":  `"127.0.0.1:1234" from env TRIBUTARY_GRPC_LISTEN`,
		"log.level":    `"debug" from flag --log.level`,
		"node.moniker": `"me" from file`,
	}
	for key := range want {
		if diff := cmp.Diff(want[key], got[key]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
	peer := strings.Repeat("0123456789", 4) + "@127.0.0.1:26656"
	shown := s.ok(t, "config", "show", "--effective", "--p2p.persistent_peers", strings.Join([]string{peer, peer, peer}, ","))
	if strings.Count(shown, peer) != 3 || strings.Count(shown, "flag --p2p.persistent_peers") != 1 {
		t.Errorf("three peers:\n%s", shown)
	}
	for line := range strings.Lines(shown) {
		if len(line) > 140 {
			t.Errorf("a line of %d columns: %s", len(line), line)
		}
	}
	if file := s.ok(t, "config", "show"); !strings.Contains(file, `moniker = "me"`) {
		t.Errorf("config show: %s", file)
	}
}
