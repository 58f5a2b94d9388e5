package e2e_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Whatever is wrong on the command line is named, with what would be right, and
// the exit code says what kind of thing it was.
func TestWrongInputIsNamed(t *testing.T) {
	t.Parallel()
	n := network(t)
	u := newUser(t)
	u.ok("init", "solo") // brings the named accounts' keys
	u.flags = []string{"--node", n.Nodes[0].GRPC}
	opened := u.ok("channel", "open", "--from", "alice", "--to", "bob", "--deposit", "10")
	id := regexp.MustCompile(`[0-9a-f]{64}`).FindString(opened)
	voucher := strings.TrimSpace(u.ok("channel", "voucher", id, "1", "--from", "alice"))
	forged := voucher[:len(voucher)-1] + "0" // another last digit, whatever it is
	if forged == voucher {
		forged = voucher[:len(voucher)-1] + "1"
	}
	none := strings.Repeat("0", 64)
	open := []string{"channel", "open", "--from", "alice", "--to", "bob"}

	for _, row := range []struct { //nolint:paralleltest // they would wait for turns while the network runs
		name  string
		code  int
		words []string
		args  []string
	}{
		{"no such command", exitUsage, []string{`"foo"`}, []string{"foo"}},
		{"nearly a command", exitUsage, []string{"did you mean status"}, []string{"statis"}},
		{"nearly a subcommand", exitUsage, []string{"did you mean open"}, []string{"channel", "opne"}},
		{"no subcommand", exitUsage, []string{"add", "list", "show"}, []string{"keys"}},
		{"no such flag", exitUsage, []string{"--colour"}, []string{"status", "--colour", "red"}},
		{"missing argument", exitUsage, []string{"channel show CHANNEL"}, []string{"channel", "show"}},
		{"argument too many", exitUsage, []string{"status"}, []string{"status", "please"}},
		{"output", exitUsage, []string{`"yaml"`, "table or json"}, []string{"status", "-o", "yaml"}},
		{"timeout", exitUsage, []string{"--timeout", "more than 0"}, []string{"status", "--timeout", "0s"}},
		{"timeout without unit", exitUsage, []string{"--timeout", "30"}, []string{"status", "--timeout", "30"}},
		{"wait", exitUsage, []string{"--wait", "final or checked"}, []string{"tx", "transfer", "bob", "1", "--from", "alice", "--wait", "forever"}},

		{"amount", exitUsage, []string{`"x"`, "12.5", "drops"}, []string{"tx", "transfer", "bob", "x", "--from", "alice"}},
		{"amount of nothing", exitError, []string{"payment 0"}, []string{"tx", "transfer", "bob", "0", "--from", "alice"}},
		{"too fine an amount", exitUsage, []string{`"0.0000001"`}, []string{"tx", "transfer", "bob", "0.0000001", "--from", "alice"}},
		{"too large an amount", exitUsage, []string{"99999999999999999999"}, append(open, "--deposit", "99999999999999999999")},
		{"more than there is", exitError, []string{"INSUFFICIENT_BALANCE", "balance"}, []string{"tx", "transfer", "bob", "5000000", "--from", "alice"}},
		{"address", exitUsage, []string{`"trib1qqq"`}, []string{"query", "account", "trib1qqq"}},
		{"address with a typing error", exitUsage, []string{"trib1"}, []string{"query", "account", "trib1qpk8sag056kxz8ph6d8tce6a846rq3pwwv2pnsj3"}},
		{"name of nobody", exitUsage, []string{`"zed"`, "trib1", "name of a key"}, []string{"query", "account", "zed"}},
		{"nobody signs", exitUsage, []string{"--from"}, []string{"tx", "transfer", "bob", "1"}},
		{"signs with no key", exitNotFound, []string{`"zed"`, "keys list"}, []string{"tx", "transfer", "bob", "1", "--from", "zed"}},

		{"no payee", exitUsage, []string{"--to"}, []string{"channel", "open", "--from", "alice", "--deposit", "1"}},
		{"no deposit", exitUsage, []string{"--deposit"}, open},
		{"small deposit", exitError, []string{"DEPOSIT_TOO_SMALL", "at least"}, append(open, "--deposit", "1drops")},
		{"challenge", exitError, []string{"CHALLENGE_OUT_OF_RANGE", "want"}, append(open, "--deposit", "1", "--challenge", "1")},
		{"many channels", exitUsage, []string{"--count", "1024"}, append(open, "--deposit", "1", "--count", "2000")},
		{"service", exitError, []string{"SERVICE", "77"}, append(open, "--deposit", "1", "--service", "77")},
		{"channel id", exitUsage, []string{`"abc"`, "64 hexadecimal"}, []string{"channel", "show", "abc"}},
		{"no such channel", exitNotFound, []string{"CHANNEL_NOT_FOUND"}, []string{"channel", "show", none}},
		{"whose channels", exitUsage, []string{"--payer", "--payee"}, []string{"channel", "list"}},
		{"state", exitUsage, []string{`"shut"`, "closing"}, []string{"channel", "list", "--payer", "alice", "--state", "shut"}},
		{"watch nothing", exitUsage, []string{"--payer"}, []string{"channel", "watch"}},
		{"lane", exitUsage, []string{"--lane", "63"}, []string{"channel", "voucher", id, "1", "--from", "alice", "--lane", "64"}},
		{"somebody else's channel", exitError, []string{"not one of this account"}, []string{"channel", "voucher", id, "1", "--from", "bob"}},

		{"no voucher", exitUsage, []string{"settle submit VOUCHER"}, []string{"settle", "submit", "--from", "bob"}},
		{"voucher not in hex", exitUsage, []string{"voucher 1", "hexadecimal"}, []string{"settle", "submit", "zz", "--from", "bob"}},
		{"short voucher", exitUsage, []string{"voucher 2"}, []string{"settle", "submit", voucher, voucher[:100], "--from", "bob"}},
		{"forged voucher", exitError, []string{"SIGNATURE"}, []string{"settle", "submit", forged, "--from", "bob"}},
		{"no such settlement", exitNotFound, []string{"NOT_FOUND"}, []string{"settle", "status", none}},
		{"no such transaction", exitNotFound, []string{"TRANSACTION_NOT_FOUND"}, []string{"tx", "show", none}},
		{"height", exitUsage, []string{`"zero"`, "height"}, []string{"query", "block", "zero"}},
		{"height to come", exitNotFound, []string{"BLOCK_NOT_FOUND", "the last one"}, []string{"query", "block", "99999"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			mine := *u
			mine.t = t
			mine.refused(row.code, row.words, row.args...)
		})
	}
}

// A node that nobody runs, or that is not a node.
func TestNoNode(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	u.refused(exitUnavailable, []string{address, "testnet up"}, "status", "--node", address, "--timeout", "5s")
	u.refused(exitUnavailable, []string{"does not answer", address}, "health", "--address", address)
	u.refused(exitError, []string{"config.toml", "tributary init", "--home"}, "health")

	mute, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mute.Close() }) // nothing was accepted
	begin := time.Now()
	u.refused(exitUnavailable, nil, "status", "--node", mute.Addr().String(), "--timeout", "1s")
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("--timeout 1s took %v", took)
	}
	u.refused(exitUnavailable, nil, "health", "--address", mute.Addr().String(), "--timeout", "1s")
}

// A node refuses to start from a home that is not safe or not right, before it
// opens a port, and says what to do.
func TestStartRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		code    int
		words   []string
		prepare func(u *user)
		flags   []string
	}{
		{
			name: "no home", code: exitError, words: []string{"tributary init", "--home"},
			prepare: func(u *user) { u.must(os.RemoveAll(u.home())) },
		},
		{
			name: "consensus key for all to read", code: exitError, words: []string{"priv_validator_key.json", "0644", "chmod 600"},
			prepare: func(u *user) { u.mode("config/validator/priv_validator_key.json", 0o644) },
		},
		{
			name: "node key for the group", code: exitError, words: []string{"node_key.json", "0640", "chmod 600"},
			prepare: func(u *user) { u.mode("config/node_key.json", 0o640) },
		},
		{
			name: "sign state for all to read", code: exitError, words: []string{"priv_validator_state.json", "chmod 600"},
			prepare: func(u *user) { u.mode("config/validator/priv_validator_state.json", 0o604) },
		},
		{
			name: "settings directory for all", code: exitError, words: []string{"config", "0755", "chmod 700"},
			prepare: func(u *user) { u.mode("config", 0o755) },
		},
		{
			name: "account keys for all", code: exitError, words: []string{"keys", "0755", "chmod 700"},
			prepare: func(u *user) { u.mode("keys", 0o755) },
		},
		{
			name: "home that others write to", code: exitError, words: []string{"0777", "chmod 700"},
			prepare: func(u *user) { u.mode("", 0o777) },
		},
		{
			name: "consensus key behind a link", code: exitError, words: []string{"priv_validator_key.json", "regular file"},
			prepare: func(u *user) {
				path := filepath.Join(u.home(), "config/validator/priv_validator_key.json")
				u.must(os.Rename(path, path+".there"))
				u.must(os.Symlink(path+".there", path))
			},
		},
		{
			name: "no sign state", code: exitError, words: []string{"priv_validator_state.json"},
			prepare: func(u *user) {
				u.must(os.Remove(filepath.Join(u.home(), "config/validator/priv_validator_state.json")))
			},
		},
		{
			name: "unknown setting", code: exitError, words: []string{"config.toml:", "grpc.lisen", "did you mean grpc.listen"},
			prepare: func(u *user) { u.edit(`listen = "127.0.0.1:9090"`, `lisen = "127.0.0.1:9090"`) },
		},
		{
			name: "unknown section", code: exitError, words: []string{"mempol", "did you mean mempool"},
			prepare: func(u *user) { u.edit("[mempool]", "[mempol]") },
		},
		{
			name: "unknown variable", code: exitError, words: []string{"TRIBUTARY_GRPC_LISTN", "did you mean TRIBUTARY_GRPC_LISTEN"},
			prepare: func(u *user) { u.extra = append(u.extra, "TRIBUTARY_GRPC_LISTN=127.0.0.1:1") },
		},
		{
			name: "setting of a wrong type", code: exitError, words: []string{"consensus.timeout_commit", "duration"},
			prepare: func(u *user) { u.edit(`timeout_commit = "200ms"`, `timeout_commit = "soon"`) },
		},
		{name: "plaintext gRPC for all", code: exitError, words: []string{"grpc.listen", "plaintext", "tls.cert_file", "127.0.0.1"}, flags: []string{"--grpc.listen", "0.0.0.0:9090"}},
		{name: "plaintext metrics for all", code: exitError, words: []string{"http.listen", "plaintext", "tls.cert_file"}, flags: []string{"--http.listen", ":8080"}},
		{name: "no certificate there", code: exitError, words: []string{"tls.key_file", "none.pem"}, flags: []string{"--tls.cert_file", "none.pem", "--tls.key_file", "none.pem"}},
		{name: "too little disk", code: exitError, words: []string{"store.disk_reserve", "MiB", "free some"}, flags: []string{"--store.disk_reserve", "1000TiB"}},
		{name: "a reserve of next to nothing", code: exitError, words: []string{"store.disk_reserve", "64MiB"}, flags: []string{"--store.disk_reserve", "1KB"}},
		{
			name: "no genesis", code: exitError, words: []string{"genesis.json"},
			prepare: func(u *user) { u.must(os.Remove(filepath.Join(u.home(), "config/genesis.json"))) },
		},
		{
			name: "genesis of another kind", code: exitError, words: []string{"genesis.json", "line 1"},
			prepare: func(u *user) {
				u.must(os.WriteFile(filepath.Join(u.home(), "config/genesis.json"), []byte("hello"), 0o600))
			},
		},
		{
			name: "genesis of another network", code: exitError, words: []string{"node.network", `"local-b"`, `"local"`},
			prepare: func(u *user) { u.edit(`network = "local"`, `network = "local-b"`) },
		},
		{name: "an argument", code: exitUsage, words: []string{`"now"`}, flags: []string{"now"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			u := newUser(t)
			u.ok("init", "solo")
			if row.prepare != nil {
				row.prepare(u)
			}
			u.refused(row.code, row.words, append([]string{"start", "--p2p.listen", "127.0.0.1:0"}, row.flags...)...)
		})
	}
}

func (u *user) must(err error) {
	u.t.Helper()
	if err != nil {
		u.t.Fatal(err)
	}
}

// mode changes the mode of a file of the home directory.
func (u *user) mode(name string, mode os.FileMode) {
	u.t.Helper()
	u.must(os.Chmod(filepath.Join(u.home(), name), mode))
}

// edit changes the settings file.
func (u *user) edit(from, to string) {
	u.t.Helper()
	path := filepath.Join(u.home(), "config", "config.toml")
	data, err := os.ReadFile(path)
	u.must(err)
	if !strings.Contains(string(data), from) {
		u.t.Fatalf("the settings have no %q", from)
	}
	u.must(os.WriteFile(path, []byte(strings.Replace(string(data), from, to, 1)), 0o600))
}

// soloPorts lets a node pick its ports, away from those of others.
func soloPorts() []string {
	return []string{"--p2p.listen", "127.0.0.1:0", "--grpc.listen", "127.0.0.1:0", "--http.listen", "127.0.0.1:0"}
}

// Two processes never work in one home directory; nor do two nodes on one port.
func TestSecondNodeRefused(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	u.ok("init", "solo")
	start := append([]string{"start"}, soloPorts()...)
	first := u.background(start...)
	await(t, 30*time.Second, "the node is ready", func(context.Context) bool { return strings.Contains(first.output(), "chain is ready") })
	u.refused(exitError, []string{"in use", u.home(), "process " + pid(first), "--home"}, start...)

	port := regexp.MustCompile(`for":"grpc","address":"(127\.0\.0\.1:\d+)"`).FindStringSubmatch(first.output())
	if port == nil {
		t.Fatalf("the log does not tell the address: %s", first.output())
	}
	other := newUser(t)
	other.ok("init", "other")
	other.refused(exitError, []string{port[1], "in use", "grpc.listen"}, append(start, "--grpc.listen", port[1])...)
	other.refused(exitError, []string{port[1], "in use"}, append(start, "--http.listen", port[1])...)
	other.refused(exitError, []string{port[1], "in use"}, append(start, "--p2p.listen", port[1])...)

	if text := u.ok("status", "--node", port[1]); !strings.Contains(text, "ready") {
		t.Errorf("the first node says %q", text)
	}
	if code := first.end(t, syscall.SIGTERM, 15*time.Second); code != exitOK {
		t.Errorf("SIGTERM ends it with %d: %s", code, first.output())
	}
	if open := strings.Count(first.output(), `"msg":"listening"`); open != 3 {
		t.Errorf("%d addresses are announced, want 3", open)
	}
	// What is left of the lock does not keep the next one out.
	again := u.background(start...)
	await(t, 30*time.Second, "the node is ready again", func(context.Context) bool { return strings.Contains(again.output(), "chain is ready") })
	again.end(t, syscall.SIGTERM, 15*time.Second)
}

func pid(b *background) string { return strconv.Itoa(b.cmd.Process.Pid) }
