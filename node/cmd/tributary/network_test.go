package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/node/testnet"
)

// parse reads JSON that the program printed.
func parse[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// TestCommandsUseANetwork walks through the life of channels with the commands
// that people use.
func TestCommandsUseANetwork(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	s := newShell(t)
	n, err := testnet.Start(ctx, testnet.Options{Dir: filepath.Join(s.home, ".tributary", "testnet"), Validators: 2, NoServices: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Stop(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	if _, err := n.Announce(); err != nil {
		t.Fatal(err)
	}

	status := parse[statusResult](t, s.ok(t, "status", "-o", "json"))
	if status.Network != "local" || status.Version != "devel" || len(status.Chains) != 1 || status.Chains[0].State != "ready" || !status.Chains[0].Validator {
		t.Errorf("status: %+v", status)
	}
	if got := s.ok(t, "testnet", "status"); strings.Count(got, "ready") != 2 {
		t.Errorf("testnet status:\n%s", got)
	}
	if got := s.ok(t, "health", "--ready", "--address", n.Nodes[0].HTTP); !strings.Contains(got, "ready") {
		t.Errorf("health: %q", got)
	}

	for _, args := range [][]string{{"health"}, {"health", "--ready"}, {"health", "--ready", "--node", n.Nodes[1].GRPC}} {
		if got := s.ok(t, args...); !strings.Contains(got, "ok") && !strings.Contains(got, "chain/main: ready") {
			t.Errorf("%s: %q", strings.Join(args, " "), got)
		}
	}

	account := func(name string) string {
		return parse[struct{ Balance string }](t, s.ok(t, "query", "account", name, "-o", "json")).Balance
	}
	if got := s.ok(t, "testnet", "faucet", "alice", "50"); !strings.Contains(got, "1000050") {
		t.Errorf("testnet faucet: %s", got)
	}
	plain := s.run(t, "", "status", "--node", n.Nodes[0].GRPC, "--ca", otherAuthority(t))
	if plain.code != exitUnavailable || !strings.Contains(plain.stderr, "speaks no TLS") {
		t.Errorf("status with an authority and no TLS: %+v", plain)
	}
	if got := s.run(t, "", "testnet", "faucet", "alice", "2000000"); got.code != exitUsage || !strings.Contains(got.stderr, "at most 1000000") {
		t.Errorf("testnet faucet of more than it gives: %+v", got)
	}
	s.ok(t, "tx", "transfer", "bob", "12.5", "--from", "alice")
	if got, want := account("bob"), "1000012500000drops"; got != want {
		t.Errorf("bob has %s, want %s", got, want)
	}

	opened := parse[struct{ Channels []struct{ ID string } }](t,
		s.ok(t, "channel", "open", "--from", "alice", "--to", "bob", "--deposit", "10", "--count", "3", "-o", "json"))
	if len(opened.Channels) != 3 {
		t.Fatalf("opened %+v", opened)
	}
	id := func(i int) string { return opened.Channels[i].ID }
	voucher := func(i int, total string, flags ...string) string {
		return strings.TrimSpace(s.ok(t, append([]string{"channel", "voucher", id(i), total, "--from", "alice"}, flags...)...))
	}

	// Anybody redeems; a repeat is stale; a dry run changes nothing.
	first := voucher(0, "4", "--units", "2")
	if got := s.run(t, "", "settle", "estimate", first, "--from", "carol"); got.code != exitOK || !strings.Contains(got.stdout, "simulated") {
		t.Errorf("settle estimate: %+v", got)
	}
	settled := parse[txResult](t, s.ok(t, "settle", "submit", first, "--from", "carol", "-o", "json"))
	if settled.Stage != "final" || settled.Code != "OK" || len(settled.Entries) != 1 || settled.Entries[0].Code != "OK" {
		t.Errorf("settle submit: %+v", settled)
	}
	if got := s.run(t, "", "settle", "submit", first, "--from", "carol"); got.code != exitError || !strings.Contains(got.stderr, "NO_OP_STALE") {
		t.Errorf("settle submit again: %+v", got)
	}
	if again := parse[txResult](t, s.ok(t, "settle", "status", settled.Hash.String(), "-o", "json")); !cmp.Equal(again, settled) {
		t.Errorf("settle status (-submit +status):\n%s", cmp.Diff(settled, again))
	}

	s.ok(t, "channel", "top-up", id(1), "20", "--from", "carol")
	s.ok(t, "channel", "extend", id(1), "--by", "50", "--from", "alice")
	s.ok(t, "settle", "submit", voucher(1, "15"), voucher(1, "1", "--lane", "7"), "--from", "bob", "--close", "--atomic")
	shown := parse[channelResult](t, s.ok(t, "channel", "show", id(1), "-o", "json"))
	if shown.State != "closed" || shown.Redeemed != 16_000_000 || shown.Closed == nil || shown.Closed.How != "payee-closed" {
		t.Errorf("channel show: %+v", shown)
	}

	offer := strings.TrimSpace(s.ok(t, "channel", "coop-close", id(0), "--final", "5", "--from", "alice", "--offer"))
	if got := s.run(t, "", "channel", "coop-close", id(0), "--accept", offer, "--final", "6", "--from", "bob"); got.code != exitError {
		t.Errorf("coop-close on other terms: %+v", got)
	}
	s.ok(t, "channel", "coop-close", id(0), "--accept", offer, "--from", "bob")

	stream := s.run(t, voucher(2, "1")+"\nrubbish\n"+voucher(2, "2")+"\n", "settle", "stream", "--from", "bob")
	if stream.code != exitError || !strings.Contains(stream.stdout, "paid 1.96 coins, fee 0.00003 coins\n") || !strings.Contains(stream.stderr, "line 2") ||
		!strings.Contains(stream.stderr, "error: refused: 1 line\n") {
		t.Errorf("settle stream: %+v", stream)
	}
	stale := s.run(t, voucher(2, "1")+"\n", "settle", "stream", "--from", "bob")
	if stale.code != exitError || stale.stdout != "" || !strings.Contains(stale.stderr, "0 vouchers paid 0 coins by 0 batches") ||
		!strings.Contains(stale.stderr, "error: refused: 1 batch\n") || !strings.Contains(stale.stderr, "the entry of channel 2 would not apply") {
		t.Errorf("settle stream of a stale voucher: %+v", stale)
	}
	s.ok(t, "channel", "close", id(2), "--from", "alice")
	if got := s.ok(t, "channel", "list", "--payer", "alice"); !strings.Contains(got, "closing") || strings.Contains(got, id(0)) {
		t.Errorf("channel list:\n%s", got)
	}
	if got := s.ok(t, "channel", "list", "--payee", "bob", "--state", "closed"); strings.Count(got, "\n") != 3 || strings.Count(got, "  -\n") != 2 {
		t.Errorf("channel list --state closed, want two without a deadline:\n%s", got)
	}
	if got := s.ok(t, "settle", "list", "--payee", "bob"); strings.Count(got, "\n") != 4 {
		t.Errorf("settle list:\n%s", got)
	}
	list := parse[[]txResult](t, s.ok(t, "tx", "list", "alice", "--limit", "2", "-o", "json"))
	if len(list) != 2 || list[0].Kind != "request-close" {
		t.Errorf("tx list: %+v", list)
	}
	s.ok(t, "tx", "wait", list[0].Hash.String())
	s.ok(t, "tx", "show", list[1].Hash.String())
	block := s.ok(t, "query", "block", strconv.FormatUint(list[0].Height, 10))
	if !strings.Contains(block, list[0].Hash.String()) {
		t.Errorf("query block:\n%s", block)
	}
	for _, args := range [][]string{{"query", "block", "latest"}, {"committee", "show", "latest"}} {
		s.ok(t, args...)
	}
	chain := parse[struct{ Totals struct{ Supply string } }](t, s.ok(t, "query", "chain", "-o", "json"))
	// Two faucets of a thousand million, five accounts, two operators and two
	// relayers of a million,
	// two stakes of a hundred thousand, and a coin for each epoch.
	const least, most = 2_009_200_000_000_000, 2_009_200_100_000_000
	if got := supplyOf(t, chain.Totals.Supply); got < least || got > most {
		t.Errorf("supply %s, want %d to %d", chain.Totals.Supply, least, most)
	}
	s.ok(t, "query", "params")
	if got := s.ok(t, "testnet", "logs", "validator1", "-n", "1"); strings.Count(got, "\n") != 1 {
		t.Errorf("testnet logs: %q", got)
	}

	if got := s.ok(t, "query", "account", "bob"); !strings.Contains(got, " coins\n") {
		t.Errorf("query account: %q", got)
	}
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"tx", "transfer", "bob", "5000000", "--from", "erin"}, exitError, "payments of 5000000 coins, balance is 999999.99998 coins\n"},
		{[]string{"channel", "open", "--from", "dave", "--to", "bob", "--deposit", "1drops"}, exitError, "deposit of 0.000001 coins, at least 0.001 coins\n"},
		{[]string{"channel", "voucher", id(2), "100", "--from", "alice"}, exitError, "deposit is 10 coins; top it up before you sign for 100 coins"},
		{[]string{"channel", "open", "--from", "alice", "--to", "bob", "--deposit", "1", "--lifetime", "18446744073709551615"}, exitUsage, "--lifetime"},
		{[]string{"channel", "extend", id(2), "--from", "alice", "--by", "18446744073709551615"}, exitUsage, "--by"},
		{[]string{"channel", "top-up", id(2), "5", "--from", "carol"}, exitError, "the channel's deposit is 10 coins already: name the new total"},
		{[]string{"channel", "coop-close", id(2), "--final", "11", "--from", "alice", "--offer"}, exitError, "cannot get 11 coins in all: the channel's deposit is 10 coins"},
		{[]string{"channel", "coop-close", id(1), "--final", "1", "--from", "alice", "--offer"}, exitError, "is closed: payee-closed"},
		{[]string{"channel", "top-up", id(1), "50", "--from", "carol"}, exitError, "is closed: payee-closed"},
		{[]string{"channel", "extend", id(1), "--by", "5", "--from", "alice"}, exitError, "is closed: payee-closed"},
		{[]string{"channel", "close", id(1), "--from", "alice"}, exitError, "is closed: payee-closed"},
		{[]string{"channel", "voucher", id(1), "1", "--from", "alice"}, exitError, "is closed: payee-closed"},
		{[]string{"channel", "watch", "--payer", "alice", "--token", "rubbish"}, exitUsage, "resume_token"},
		{[]string{"testnet", "faucet", "alice", "0"}, exitUsage, "the amount is 0"},
		{[]string{"query", "params", "--timeout", "1us"}, exitUnavailable, "error: gave up on " + n.Nodes[0].GRPC + " after 1µs; --timeout gives it longer\n"},
		{[]string{"status", "--timeout", "1us"}, exitUnavailable, "after 1µs"},
	} {
		if got := s.run(t, "", test.args...); got.code != test.code || !strings.Contains(got.stderr, test.want) {
			t.Errorf("tributary %s: %+v, want %q", strings.Join(test.args, " "), got, test.want)
		}
	}
	for _, where := range [][]string{nil, {"--testnet", n.Dir}, {"--home", n.Dir}} {
		keys := parse[[]keyResult](t, s.ok(t, append([]string{"keys", "list", "-o", "json"}, where...)...))
		if len(keys) != 5+len(n.Nodes) || keys[0].Name != "alice" || !keys[0].Testnet || keys[0].Address != testnet.Address("alice").String() {
			t.Errorf("keys list %s: %+v", where, keys)
		}
		s.ok(t, append([]string{"keys", "show", "bob"}, where...)...)
		s.ok(t, append([]string{"tx", "transfer", "erin", "1", "--from", "carol"}, where...)...)
	}

	nothing := strings.Repeat("0", 64)
	if got := s.run(t, "", "channel", "show", nothing); !strings.Contains(got.stderr, "there is no channel "+nothing) {
		t.Errorf("channel show: %+v", got)
	}
	if got := s.run(t, "", "channel", "open", "--from", "alice", "--to", "alice", "--deposit", "1"); got.code != exitError ||
		strings.Count(got.stderr, "SELF_PAYMENT") != 1 {
		t.Errorf("channel open to oneself: %+v", got)
	}
	for _, args := range [][]string{
		{"channel", "show", nothing},
		{"tx", "show", nothing},
		{"settle", "status", nothing},
		{"query", "account", "trib1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqvljh5u4"},
		{"query", "block", "1000000"},
		{"tx", "transfer", "bob", "1", "--from", "nobody"},
	} {
		if got := s.run(t, "", args...); got.code != exitNotFound && got.code != exitUsage {
			t.Errorf("tributary %s: exit code %d, want %d\n%s", strings.Join(args, " "), got.code, exitNotFound, got.stderr)
		}
	}
}

// TestUpAndDown starts networks in the background, in one process and in
// several, and checks that nothing is left of them.
func TestUpAndDown(t *testing.T) {
	t.Parallel()
	for _, flags := range [][]string{nil, {"--processes"}} {
		t.Run("flags"+strings.Join(flags, ""), func(t *testing.T) {
			t.Parallel()
			s := newShell(t)
			var up testnet.Running
			for try := 1; ; try++ { // load only makes it slower, so one time is enough
				begin := time.Now()
				up = parse[testnet.Running](t, s.ok(t, append([]string{"testnet", "up", "-d", "--base-port", "0", "--validators", "4", "-o", "json"}, flags...)...))
				took := time.Since(begin)
				t.Logf("ready after %v", took)
				if took <= 15*time.Second {
					break
				}
				if try == 3 {
					t.Errorf("ready after %v, want at most 15 s", took)
					break
				}
				s.ok(t, "testnet", "down")
			}
			if got := s.run(t, "", "testnet", "up", "-d"); got.code != exitError || !strings.Contains(got.stderr, "testnet down") {
				t.Errorf("testnet up again: %+v", got)
			}
			s.ok(t, "tx", "transfer", "bob", "1", "--from", "alice")
			if got := s.ok(t, "status"); !strings.Contains(got, "version devel,") {
				t.Errorf("status: %s", got)
			}
			if got := s.run(t, "", "testnet", "down"); got.code != exitOK || !strings.Contains(got.stderr, "the network is stopped; removed ") {
				t.Errorf("testnet down: %+v", got)
			}
			if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", up.PID)); err == nil && !strings.Contains(string(stat), ") Z ") {
				t.Errorf("process %d is left: %s", up.PID, stat)
			}
			for _, n := range up.Nodes {
				for _, address := range []string{n.P2P, n.GRPC, n.HTTP} {
					if l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address); err != nil {
						t.Errorf("port is left: %v", err)
					} else if err := l.Close(); err != nil {
						t.Error(err)
					}
				}
			}
			if _, err := os.Lstat(filepath.Join(s.home, ".tributary")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("files are left: %v", err)
			}
			// There is nothing to do, which is fine.
			if got := s.run(t, "", "testnet", "down"); got.code != exitOK || got.stderr != "no network was running\n" {
				t.Errorf("testnet down again: %+v", got)
			}
		})
	}
}

// otherAuthority makes the files of another network and returns that of its
// certificate authority.
func otherAuthority(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "other")
	l, err := testnet.Files(testnet.Options{Dir: dir, Validators: 1})
	if err != nil {
		t.Fatal(err)
	}
	return l.CA
}

// TestCommandsUseTLS asks nodes that have certificates, as in containers.
func TestCommandsUseTLS(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	s := newShell(t)
	dir := filepath.Join(s.home, "net")
	n, err := testnet.Start(ctx, testnet.Options{Dir: dir, Validators: 1, TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Stop(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	if _, err := n.Announce(); err != nil {
		t.Fatal(err)
	}
	if got := s.ok(t, "health", "--ready", "--home", n.Nodes[0].Home); !strings.Contains(got, "ready") {
		t.Errorf("health: %q", got)
	}
	for _, args := range [][]string{
		{"testnet", "status", "--dir", dir},
		{"testnet", "faucet", "alice", "1", "--dir", dir},
		{"status", "--testnet", dir},
		{"status", "--node", n.Nodes[0].GRPC, "--ca", n.CA},
		{"tx", "transfer", "bob", "1", "--from", "alice", "--testnet", dir},
	} {
		s.ok(t, args...)
	}
	// The home of a node has its certificate, which does for its own address.
	s.ok(t, "status", "--home", n.Nodes[0].Home)
	s.ok(t, "query", "params", "--home", n.Nodes[0].Home, "--node", n.Nodes[0].GRPC)
	other := otherAuthority(t)
	for _, test := range []struct {
		name, want string
		args       []string
	}{
		{"no authority", "speaks TLS, and its certificate is not known here: name the authority that signed it with --ca", []string{"status", "--node", n.Nodes[0].GRPC}},
		{"no authority for a question", "speaks TLS", []string{"tx", "list", testnet.Address("bob").String(), "--node", n.Nodes[0].GRPC}},
		{"no authority for health", "speaks TLS", []string{"health", "--node", n.Nodes[0].GRPC}},
		{"another authority", "is not trusted: name the authority", []string{"status", "--node", n.Nodes[0].GRPC, "--ca", other}},
	} {
		if got := s.run(t, "", test.args...); got.code != exitUnavailable || !strings.Contains(got.stderr, test.want) {
			t.Errorf("%s: %+v, want %q", test.name, got, test.want)
		}
	}
	if err := n.StopNode(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if got := s.run(t, "", "health", "--home", n.Nodes[0].Home); got.code != exitUnavailable {
		t.Errorf("health of a node that is stopped: %+v", got)
	}
	got := s.run(t, "", "testnet", "status", "--dir", dir)
	if got.code != exitUnavailable || !strings.Contains(got.stdout, "down") || !strings.Contains(got.stderr, "1 of 1 node down: validator1") {
		t.Errorf("testnet status with a node that is stopped: %+v", got)
	}
	if got := s.run(t, "", "health", "--testnet", dir); got.code != exitUnavailable {
		t.Errorf("health of a network whose node is stopped: %+v", got)
	}
}

// TestUpOnANetworkThatIsThere gives flags that differ from what is there.
func TestUpOnANetworkThatIsThere(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	dir := filepath.Join(s.home, "net")
	if _, err := testnet.Files(testnet.Options{Dir: dir, Validators: 2}); err != nil {
		t.Fatal(err)
	}
	for want, flags := range map[string][]string{
		"--validators is 3, but the network in " + dir + " has 2;":           {"--validators", "3"},
		`--network is "local-b", but the network in ` + dir + ` is "local";`: {"--network", "local-b", "--validators", "2"},
	} {
		got := s.run(t, "", append([]string{"testnet", "up", "-d", "--dir", dir}, flags...)...)
		if got.code != exitUsage || !strings.Contains(got.stderr, want) || !strings.Contains(got.stderr, "testnet down --purge") {
			t.Errorf("testnet up %s: %+v, want %q", flags, got, want)
		}
	}
}

// supplyOf reads an amount in drops.
func supplyOf(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSuffix(text, "drops"))
	if err != nil {
		t.Errorf("supply %q: %v", text, err)
	}
	return n
}
