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
	n, err := testnet.Start(ctx, testnet.Options{Dir: filepath.Join(s.home, ".tributary", "testnet"), Validators: 2})
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
	if stream.code != exitError || !strings.Contains(stream.stdout, "paid 1.96") || !strings.Contains(stream.stderr, "line 2") ||
		!strings.Contains(stream.stderr, "error: refused: 1 line\n") {
		t.Errorf("settle stream: %+v", stream)
	}
	stale := s.run(t, voucher(2, "1")+"\n", "settle", "stream", "--from", "bob")
	if stale.code != exitError || stale.stdout != "" || !strings.Contains(stale.stderr, "0 vouchers paid 0 by 0 batches") ||
		!strings.Contains(stale.stderr, "error: refused: 1 batch\n") || !strings.Contains(stale.stderr, "the entry of channel 2 would not apply") {
		t.Errorf("settle stream of a stale voucher: %+v", stale)
	}
	s.ok(t, "channel", "close", id(2), "--from", "alice")
	if got := s.ok(t, "channel", "list", "--payer", "alice"); !strings.Contains(got, "closing") || strings.Contains(got, id(0)) {
		t.Errorf("channel list:\n%s", got)
	}
	if got := s.ok(t, "channel", "list", "--payee", "bob", "--state", "closed"); strings.Count(got, "\n") != 3 {
		t.Errorf("channel list --state closed:\n%s", got)
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
	chain := parse[struct{ Totals struct{ Supply string } }](t, s.ok(t, "query", "chain", "-o", "json"))
	if want := "2005000000000000drops"; chain.Totals.Supply != want {
		t.Errorf("supply %s, want %s", chain.Totals.Supply, want)
	}
	s.ok(t, "query", "params")
	if got := s.ok(t, "testnet", "logs", "validator1", "-n", "1"); strings.Count(got, "\n") != 1 {
		t.Errorf("testnet logs: %q", got)
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
			begin := time.Now()
			up := parse[testnet.Running](t, s.ok(t, append([]string{"testnet", "up", "-d", "--base-port", "0", "--validators", "4", "-o", "json"}, flags...)...))
			took := time.Since(begin)
			t.Logf("ready after %v", took)
			if took > 15*time.Second {
				t.Errorf("ready after %v, want at most 15 s", took)
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
	if got := s.run(t, "", "status", "--node", n.Nodes[0].GRPC); got.code != exitUnavailable {
		t.Errorf("status without the authority: %+v", got)
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
