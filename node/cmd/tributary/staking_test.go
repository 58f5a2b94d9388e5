package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/beacon"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/testnet"
)

// TestCommandsStake walks through the life of a validator and its delegators with
// the commands that people use.
func TestCommandsStake(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	s := newShell(t)
	dir := filepath.Join(s.home, ".tributary", "testnet")
	n, err := testnet.Start(ctx, testnet.Options{Dir: dir, Validators: 2})
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
	validators := func(flags ...string) []validatorResult {
		return parse[[]validatorResult](t, s.ok(t, append([]string{"validator", "list", "-o", "json"}, flags...)...))
	}
	if list := validators(); len(list) != 2 || list[0].State != "active" || list[0].share() != "50.00 %" || list[0].UptimeSigned != list[0].UptimeWindow {
		t.Errorf("validators: %+v", list)
	}
	if got := s.ok(t, "stake", "params"); !strings.Contains(got, "most power of one now") || !strings.Contains(got, "50.00 %") {
		t.Errorf("stake params: %s", got)
	}
	if got := s.ok(t, "stake", "delegate", "validator1", "500", "--from", "alice"); !strings.Contains(got, "500 coins") || strings.Contains(got, "paid") {
		t.Errorf("stake delegate: %s", got)
	}
	s.ok(t, "stake", "redelegate", "validator1", "1", "100", "--from", "alice")
	if r := s.run(t, "", "stake", "undelegate", "0", "all", "--from", "alice"); r.code != exitOK || !strings.Contains(r.stderr, "epoch 30, at height 620") {
		t.Errorf("undelegate: %+v", r)
	}
	shown := parse[[]delegationResult](t, s.ok(t, "stake", "show", "alice", "-o", "json"))
	want := []delegationResult{{Validator: 1, Name: "validator2", State: "active", Stake: 100_000_000, Fresh: 100_000_000, FreshFrom: 1, Bound: 100_000_000}}
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Errorf("stake show (-want +got):\n%s", diff)
	}
	if got := s.ok(t, "stake", "unbonding", "alice"); !strings.Contains(got, "400") || !strings.Contains(got, "620") {
		t.Errorf("stake unbonding: %s", got)
	}

	newbie := filepath.Join(s.home, "newbie")
	s.ok(t, "init", "newbie", "--home", newbie, "--genesis", filepath.Join(dir, "genesis.json"))
	s.remoteSigner(t, newbie, dir)
	proof := parse[proofResult](t, s.ok(t, "validator", "proof", "--home", newbie, "--testnet", dir, "--operator", "bob", "-o", "json"))
	keys := []string{"--consensus-key", proof.PublicKey, "--bls-key", proof.BLSKey, "--bls-proof", proof.BLSProof}
	if r := s.run(t, "", append([]string{"validator", "register", "--from", "bob", "--name", "n", "--stake", "1000", "--dry-run"}, keys...)...); r.code != exitOK {
		t.Errorf("with a proof made elsewhere: %+v", r)
	}
	if r := s.run(t, "", append([]string{"validator", "register", "--from", "carol", "--name", "n", "--stake", "1000"}, keys...)...); r.code != exitUsage || !strings.Contains(r.stderr, "--bls-proof does not prove") {
		t.Errorf("with the proof of another operator: %+v", r)
	}
	s.ok(t, "validator", "register", "--home", newbie, "--testnet", dir, "--from", "bob", "--stake", "1000", "--commission", "7.5")
	v := parse[validatorResult](t, s.ok(t, "validator", "show", "newbie", "-o", "json"))
	if v.Number != 2 || v.State != "candidate" || v.Commission != 750 || v.Stake != 1_000_000_000 || v.Power != 0 || v.share() != "-" || v.uptime() != "-" {
		t.Errorf("validator show: %+v", v)
	}
	for _, who := range []string{"2", v.Operator, v.Address, "bob"} {
		if again := parse[validatorResult](t, s.ok(t, "validator", "show", who, "-o", "json")); again.Number != 2 {
			t.Errorf("validator show %s: %+v", who, again)
		}
	}
	s.ok(t, "validator", "edit", "--name", "validator1", "--endpoint", "10.0.0.1:1", "--from", "bob")
	if r := s.run(t, "", "validator", "show", "validator1"); r.code != exitUsage || !strings.Contains(r.stderr, "may be validator 0 or 2:") {
		t.Errorf("a name that two have: %+v", r)
	}

	for _, row := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"nobody", []string{"validator", "show", "nobody"}, exitNotFound, "there is no validator \"nobody\""},
		{"no number", []string{"validator", "show", "9"}, exitNotFound, "VALIDATOR_NOT_FOUND"},
		{"no operator", []string{"validator", "unjail", "--from", "carol"}, exitNotFound, "carol operates no validator"},
		{"not jailed", []string{"validator", "unjail", "--from", "bob"}, exitError, "NOT_JAILED"},
		{"another's", []string{"validator", "edit", "0", "--name", "x", "--from", "bob"}, exitError, "NOT_OPERATOR"},
		{"no change", []string{"validator", "edit", "--from", "bob"}, exitUsage, "change what?"},
		{"no name", []string{"validator", "edit", "--name", "", "--from", "bob"}, exitUsage, "--name: name \"\" is empty"},
		{"a bad name", []string{"validator", "edit", "--name", "a\nb", "--from", "bob"}, exitUsage, "--name: name \"a\\nb\" holds control characters"},
		{"a bad name of a new one", []string{"validator", "register", "--home", newbie, "--testnet", dir, "--name", "7", "--from", "carol", "--stake", "100"}, exitUsage, "--name: name \"7\" would be taken for a validator's number"},
		{"a bad endpoint", []string{"validator", "edit", "--endpoint", "10.0.0.1", "--from", "bob"}, exitUsage, "--endpoint: endpoint \"10.0.0.1\" is not host:port"},
		{"a bad endpoint of a new one", []string{"validator", "register", "--home", newbie, "--testnet", dir, "--endpoint", "a:0", "--from", "carol", "--stake", "100"}, exitUsage, "--endpoint: endpoint \"a:0\" is not host:port"},
		{"a jump", []string{"validator", "edit", "--commission", "9", "--from", "bob"}, exitError, "from 7.5 % to 9 %, by at most 1 % in an epoch"},
		{"promises more than it has", []string{"validator", "edit", "--min-self-stake", "1000.000001", "--from", "bob"}, exitUsage, "above what the operator stakes, 1000 coins"},
		{"promises less than before", []string{"validator", "edit", "--min-self-stake", "9", "--from", "bob"}, exitUsage, "below the 10 coins of before; it never falls"},
		{"promises all it has", []string{"validator", "edit", "--min-self-stake", "1000", "--from", "bob", "--dry-run"}, exitOK, "nothing was submitted"},
		{"its own stake below the least", []string{"stake", "undelegate", "2", "990.1", "--from", "bob", "--dry-run"}, exitOK, "leaves 9.9 coins of its operator's own with validator 2, less than the 10 coins"},
		{"all its own stake", []string{"stake", "redelegate", "2", "0", "all", "--from", "bob", "--dry-run"}, exitOK, "leaves 0 coins"},
		{"no stake", []string{"validator", "register", "--from", "carol"}, exitUsage, "--stake"},
		{"half the keys", []string{"validator", "register", "--from", "carol", "--stake", "100", "--bls-key", "00"}, exitUsage, "--bls-proof"},
		{"short keys", []string{"validator", "register", "--from", "carol", "--stake", "100", "--consensus-key", "00"}, exitUsage, "64 hexadecimal digits"},
		{"too little", []string{"validator", "register", "--from", "carol", "--stake", "1"}, exitUsage, "at least 10 coins"},
		{"no home", []string{"validator", "register", "--from", "carol", "--stake", "100"}, exitUsage, "--name"},
		{"no keys", []string{"validator", "register", "--from", "carol", "--stake", "100", "--name", "c"}, exitError, "--consensus-key, --bls-key and --bls-proof"},
		{"its keys again", []string{"validator", "register", "--home", newbie, "--testnet", dir, "--from", "carol", "--stake", "100"}, exitError, "KEY_USED"},
		{"above its maximum", []string{"validator", "register", "--from", "carol", "--stake", "100", "--commission", "30"}, exitUsage, "--max-commission"},
		{"too small a delegation", []string{"stake", "delegate", "0", "0.5", "--from", "alice"}, exitUsage, "at least 1 coin"},
		{"no amount", []string{"stake", "undelegate", "0", "0", "--from", "alice"}, exitUsage, "\"all\""},
		{"to itself", []string{"stake", "redelegate", "1", "validator2", "1", "--from", "alice"}, exitUsage, "one validator"},
		{"more than delegated", []string{"stake", "undelegate", "1", "101", "--from", "alice"}, exitError, "MORE_THAN_DELEGATED"},
		{"of nothing", []string{"stake", "undelegate", "1", "5", "--from", "carol"}, exitNotFound, "DELEGATION_NOT_FOUND"},
		{"bound", []string{"stake", "redelegate", "1", "0", "all", "--from", "alice"}, exitError, "REDELEGATING"},
		{"nothing earned", []string{"stake", "claim", "--from", "carol"}, exitError, "has earned nothing"},
		{"nothing earned there", []string{"stake", "claim", "2", "--from", "bob"}, exitError, "NOTHING_TO_CLAIM"},
		{"no such state", []string{"validator", "list", "--state", "x"}, exitUsage, "--state"},
		{"no epoch", []string{"committee", "show", "x"}, exitUsage, "not an epoch"},
		{"a later epoch", []string{"committee", "recompute", "99"}, exitNotFound, "COMMITTEE_NOT_FOUND"},
		{"no block", []string{"query", "certificate", "99999"}, exitNotFound, "BLOCK_NOT_FOUND"},
		{"no height", []string{"query", "certificate", "0"}, exitUsage, "not a height"},
		{"since without a file", []string{"query", "certificate", "latest", "--since", "0"}, exitUsage, "--out"},
		{"since later", []string{"query", "certificate", "latest", "--since", "9", "--out", filepath.Join(s.home, "none")}, exitUsage, "from 0 to"},
	} {
		if r := s.run(t, "", row.args...); r.code != row.code || !strings.Contains(r.stderr, row.want) {
			t.Errorf("%s: exit code %d, want %d; standard error, want %q in it:\n%s", row.name, r.code, row.code, row.want, r.stderr)
		}
	}

	watched := s.run(t, "", "validator", "watch", "--from-height", "1", "--timeout", "1s", "-o", "xml")
	if watched.code != exitUsage {
		t.Errorf("validator watch: %+v", watched)
	}
	s.watches(t, "waiting for what happens to validator 1 from height ", "validator", "watch", "1")
	s.watches(t, "waiting for what happens to any validator from height 99999 on", "validator", "watch", "--from-height", "99999")
	s.afterAnEpoch(t, dir)
	s.submitsEvidence(ctx, t, n)
}

// watches starts a command that lasts, which must say what it waits for, and end
// well when it is interrupted.
func (s *shell) watches(t *testing.T, want string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = s.environ
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stderr).ReadString('\n')
	if err != nil || !strings.Contains(line, want) {
		t.Errorf("%v says %q (%v), want %q", args, line, err, want)
	}
	if err := errors.Join(cmd.Process.Signal(os.Interrupt), cmd.Wait()); err != nil {
		t.Errorf("%v, interrupted: %v", args, err)
	}
}

// remoteSigner tries to register the node in home, whose key file is there though
// a remote signer signs.
func (s *shell) remoteSigner(t *testing.T, home, dir string) {
	t.Helper()
	remote := *s
	remote.environ = append(slices.Clone(s.environ), "TRIBUTARY_SIGNER_MODE=remote", "TRIBUTARY_SIGNER_LISTEN=unix:///run/s")
	for _, row := range []struct {
		name   string
		signer *shell
		code   int
		want   string
		key    []string
	}{
		{"no key", &remote, exitUsage, "lies with a remote signer: name it with --consensus-key", nil},
		{"a key", &remote, exitOK, "nothing was submitted", []string{"--consensus-key", testConsensusKey}},
		{"settings that are none", &shell{home: s.home, environ: append(slices.Clone(s.environ), "TRIBUTARY_SIGNER_MODE=hsm")}, exitError, "where the consensus key lies is not known", nil},
	} {
		args := append([]string{"validator", "register", "--home", home, "--testnet", dir, "--name", "n", "--from", "bob", "--stake", "1000", "--dry-run"}, row.key...)
		if r := row.signer.run(t, "", args...); r.code != row.code || !strings.Contains(r.stderr, row.want) {
			t.Errorf("remote signer, %s: %+v", row.name, r)
		}
	}
}

// testConsensusKey is a key that nobody has registered.
const testConsensusKey = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"

// afterAnEpoch makes blocks until the next epoch, and follows the committees there.
func (s *shell) afterAnEpoch(t *testing.T, dir string) {
	t.Helper()
	type stands struct {
		Epoch uint64 `json:"epoch"`
		End   uint64 `json:"epoch_end_height"`
	}
	began := parse[stands](t, s.ok(t, "stake", "params", "-o", "json"))
	for deadline := time.Now().Add(testTimeout); parse[stands](t, s.ok(t, "stake", "params", "-o", "json")).Epoch < max(began.Epoch+1, beacon.Lag); {
		if time.Now().After(deadline) {
			t.Fatal("the epoch does not end")
		}
		s.ok(t, "tx", "transfer", "carol", "1", "--from", "alice")
	}
	shown := parse[[]delegationResult](t, s.ok(t, "stake", "show", "alice", "-o", "json"))
	if len(shown) != 1 || shown[0].Earning != shown[0].Stake || shown[0].Fresh != 0 || shown[0].Stake == 0 {
		t.Errorf("stake show after its first election: %+v", shown)
	}
	if got := s.ok(t, "stake", "claim", "--from", "alice"); !strings.Contains(got, "OK") {
		t.Errorf("stake claim: %s", got)
	}
	if got := parse[[]validatorResult](t, s.ok(t, "validator", "list", "--state", "active", "-o", "json")); len(got) != 3 {
		t.Errorf("active: %+v", got)
	}
	epoch := strconv.FormatUint(began.Epoch, 10)
	for _, args := range [][]string{{"committee", "recompute"}, {"committee", "recompute", epoch}} {
		got := parse[recomputation](t, s.ok(t, append(args, "-o", "json")...))
		if !got.Equal || got.Members < 2 || got.Epoch > 0 && got.Certified == 0 {
			t.Errorf("%v: %+v", args, got)
		}
		if derived := got.SeedSource == seedOfSeals && got.Seals == got.Blocks && got.Blocks == 20; derived != (got.Epoch >= beacon.Lag) || !derived && got.SeedSource != seedOfGenesis {
			t.Errorf("%v: its seed: %+v", args, got)
		}
	}
	com := parse[committeeResult](t, s.ok(t, "committee", "show", epoch, "-o", "json"))
	file := filepath.Join(s.home, "block.cert")
	result := parse[certificateResult](t, s.ok(t, "query", "certificate", "latest", "--since", epoch, "--out", file, "-o", "json"))
	if result.Handovers == 0 || result.Power*3 <= result.TotalPower*2 {
		t.Errorf("query certificate: %+v", result)
	}
	if r := s.run(t, "", "query", "certificate", "latest", "--out", file); r.code != exitUsage || !strings.Contains(r.stderr, "is there already") {
		t.Errorf("written over: %+v", r)
	}
	genesis := filepath.Join(dir, "genesis.json")
	for proved, trust := range map[int][]string{
		3: {"--committee-hash", com.Hash.String()}, 4: {"--genesis", genesis}, // which also says how long epochs are
	} {
		if began.Epoch != 0 && trust[0] == "--genesis" {
			continue
		}
		v := parse[verified](t, s.ok(t, append([]string{"verify", "certificate", file, "-o", "json"}, trust...)...))
		if v.Height != result.Height || v.StateRoot != result.StateRoot || v.Handovers != result.Handovers || v.Begin != com.Hash ||
			len(v.Proved) != proved || len(v.NotProved) < 3 {
			t.Errorf("verified by %s: %+v", trust[0], v)
		}
	}
	other := strings.Repeat("1", 64)
	for _, row := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"another committee", []string{file, "--committee-hash", other}, exitError, "OTHER_COMMITTEE"},
		{"another network", []string{file, "--committee-hash", com.Hash.String(), "--network-id", other}, exitError, "WRONG_NETWORK"},
		{"no trust", []string{file}, exitUsage, "whom do you trust?"},
		{"two trusts", []string{file, "--genesis", genesis, "--committee-hash", other}, exitUsage, "whom do you trust?"},
		{"a network of a genesis", []string{file, "--genesis", genesis, "--network-id", other}, exitUsage, "--network-id"},
		{"a hash that is none", []string{file, "--committee-hash", "x"}, exitUsage, "--committee-hash"},
		{"no file", []string{file + "x", "--genesis", genesis}, exitNotFound, "there is no file"},
		{"no genesis", []string{file, "--genesis", "none.json"}, exitError, "none.json"},
		{"another file", []string{genesis, "--committee-hash", other}, exitError, "NOT_A_CERTIFICATE_FILE"},
	} {
		if r := s.run(t, "", append([]string{"verify", "certificate"}, row.args...)...); r.code != row.code || !strings.Contains(r.stderr, row.want) || r.stdout != "" {
			t.Errorf("%s: exit code %d, want %d; standard error, want %q in it:\n%s", row.name, r.code, row.code, row.want, r.stderr)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(data); at += len(data)/9 + 1 {
		bad := bytes.Clone(data)
		bad[at] ^= 1
		path := file + strconv.Itoa(at)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := s.run(t, "", "verify", "certificate", path, "--committee-hash", com.Hash.String()); r.code != exitError || !strings.Contains(r.stderr, "is refused (") {
			t.Errorf("byte %d changed: %+v", at, r)
		}
	}
}

// What a validator says of itself is checked before it is sent.
func TestProfilesAreChecked(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"validator1": "", "Bäcker & Söhne": "", "7up": "", "trib": "", strings.Repeat("x", 64): "",
		"": "is empty", strings.Repeat("x", 65): "65 bytes, at most 64", "\xff": "not UTF-8", "a\x1bb": "control characters", "a\u202eb": "control characters",
		"a\u200bb": "control characters", "42": "number", strings.Repeat("9", 30): "number", "trib1me": "an address", " a": "a space at an end", "a  b": "two in a row", "a\u00a0b": "cannot be seen", strings.Repeat("ab", 20): "consensus address",
	} {
		if err := checkName(name); (err == nil) != (want == "") || err != nil && (!strings.HasPrefix(err.Error(), "--name") || !strings.Contains(err.Error(), want)) {
			t.Errorf("name %q: %v, want %q", name, err, want)
		}
	}
	for endpoint, want := range map[string]string{
		"10.0.0.1:1": "", "node.example:65535": "", "[::1]:9090": "",
		"10.0.0.1": "host:port", ":1": "host:port", "a:0": "host:port", "a:65536": "host:port", "a:http": "host:port", "a:": "host:port", "::1:9": "host:port", "": "host:port",
		"https://a:1": "host:port", "a/b:1": "host:port", "a b:1": "host:port", "ä:1": "host:port", "a:+1": "host:port", "[x]:1": "host:port", "[::1:1": "host:port", strings.Repeat("a", 127) + ":1": "129 bytes, at most 128",
	} {
		if err := checkEndpoints([]string{endpoint}); (err == nil) != (want == "") || err != nil && (!strings.HasPrefix(err.Error(), "--endpoint") || !strings.Contains(err.Error(), want)) {
			t.Errorf("endpoint %q: %v, want %q", endpoint, err, want)
		}
	}
	if err := checkEndpoints(slices.Repeat([]string{"a:1"}, 5)); err == nil || !strings.Contains(err.Error(), "5 times, at most 4") {
		t.Errorf("five endpoints: %v", err)
	}
}

func TestPercent(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]uint32{
		"0": 0, "5": 500, "7.5": 750, "0.01": 1, "100": 10_000, "99.99": 9_999, "12.50": 1_250, "5%": 500, " 5 % ": 500, "100.0": 10_000,
	} {
		var p percentFlag
		if err := p.Set(text); err != nil || p.bps != want || !p.given {
			t.Errorf("%q is %d, want %d: %v", text, p.bps, want, err)
		}
	}
	for _, text := range []string{"", "-1", "100.01", "101", "1.234", "5.", ".5", "x", "1e2", "99999999999999999999", "5%%", "1.-1", "+5"} {
		var p percentFlag
		if err := p.Set(text); err == nil {
			t.Errorf("%q is taken for %d", text, p.bps)
		}
	}
	for bps, want := range map[uint64]string{0: "0", 500: "5", 750: "7.5", 1: "0.01", 10_000: "100", 1_010: "10.1"} {
		if got := percent(bps); got != want {
			t.Errorf("%d is %q, want %q", bps, got, want)
		}
	}
}

// Only who is to sign has missed something that counts, and uptime is of the blocks on
// which it was to vote.
func TestMissedBlocksAreOfWhoSigns(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		result         validatorResult
		missed, uptime string
	}{
		"active":      {validatorResult{State: "active", Power: 5, Window: 100, Missed: 2, UptimeSigned: 99, UptimeBlocks: 100}, "2", "99/100"},
		"new":         {validatorResult{State: "active", Power: 5, Window: 100, UptimeSigned: 10, UptimeBlocks: 10, UptimeWindow: 100}, "0", "10/10"},
		"jailed":      {validatorResult{State: "jailed", Power: 5, Window: 100, UptimeBlocks: 80}, "-", "0/80"},
		"tombstoned":  {validatorResult{State: "tombstoned", Power: 5, Window: 100}, "-", "-"},
		"candidate":   {validatorResult{State: "candidate", Window: 100}, "-", "-"},
		"understaked": {validatorResult{State: "understaked", Power: 5, Window: 100, Missed: 100}, "100", "-"},
	} {
		if missed, uptime := row.result.missed(), row.result.uptime(); missed != row.missed || uptime != row.uptime {
			t.Errorf("%s: missed %q, uptime %q, want %q, %q", name, missed, uptime, row.missed, row.uptime)
		}
	}
}

// What others chose must not drive a terminal.
func TestNamesOfOthersArePlain(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"validator": "validator", "Bäcker & Söhne": "Bäcker & Söhne", "\x1b[2J": "\ufffd[2J", "a\u202eb": "a\ufffdb", "a\nb": "a\ufffdb",
	} {
		if got := plain(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestStakingEventsAreLines(t *testing.T) {
	t.Parallel()
	who := ledger.NewAddress(0, ledger.PublicKey{1})
	for _, row := range []struct {
		event staking.Event
		want  string
	}{
		{staking.Event{Kind: staking.EventDelegated, Validator: 3, Delegator: who, Amount: 5_000_000, TxIndex: 1}, "delegated        validator 3, " + who.String() + ", 5 coins"},
		{staking.Event{Kind: staking.EventRedelegated, Validator: 3, To: 4, Delegator: who, Amount: 1_000_000, Reward: 10, Epoch: 9}, "redelegated      validator 3, to validator 4, " + who.String() + ", 1 coin, rewards 0.00001 coins, epoch 9"},
		{staking.Event{Kind: staking.EventSlashed, Validator: 0, Amount: 7, Fault: staking.FaultDowntime, Height: 40, TxIndex: -1}, "slashed          validator 0, 0.000007 coins, downtime at height 40"},
		{staking.Event{Kind: staking.EventEvidenceIgnored, Validator: 1, Fault: staking.FaultDuplicateVote, Height: 2, Code: chain.CodeEvidenceKnown, TxIndex: -1}, "evidence-ignored validator 1, duplicate-vote at height 2, EVIDENCE_KNOWN"},
		{staking.Event{Kind: staking.EventElected, Validator: 2, Power: 8, Epoch: 0, TxIndex: -1}, "elected          validator 2, power 8, epoch 0"},
		{staking.Event{Kind: staking.EventEpochEnded, Epoch: 6, Amount: 1_000_000, Reward: 2_000_000, TxIndex: -1}, "epoch-ended      1 coin, rewards 2 coins, epoch 6"},
	} {
		r := newStakingEventResult(&row.event, 12)
		var out bytes.Buffer
		if err := r.line(&out); err != nil || out.String() != "      12  "+row.want+"\n" {
			t.Errorf("%v: %q, want %q: %v", row.event.Kind, out.String(), row.want, err)
		}
	}
	for want, event := range map[string]staking.Event{
		`{"event":"unjailed","height":12,"validator":3}`:                               {Kind: staking.EventUnjailed, Validator: 3, TxIndex: -1},
		`{"event":"delegated","height":12,"validator":3,"amount":"5drops"}`:            {Kind: staking.EventDelegated, Validator: 3, Amount: 5, TxIndex: -1},
		`{"event":"claimed","height":12,"tx_index":0,"validator":0,"reward":"1drops"}`: {Kind: staking.EventClaimed, Reward: 1},
	} {
		if got, err := json.Marshal(newStakingEventResult(&event, 12)); err != nil || string(got) != want {
			t.Errorf("%v in JSON: %s, want %s: %v", event.Kind, got, want, err)
		}
	}
	gap := stakingEventResult{Event: "gap", Height: 3, To: 9}
	var out bytes.Buffer
	if err := gap.line(&out); err != nil || !strings.Contains(out.String(), "3 to 9") {
		t.Errorf("gap: %q, %v", out.String(), err)
	}
}

// Every reason for which a certificate file is refused has a name of its own.
func TestRefusalsAreNamed(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, err := range []error{
		client.ErrCertificateFile, client.ErrOtherCommittee, client.ErrNotElected, client.ErrProof, cert.ErrWrongNetwork, cert.ErrWrongChain, cert.ErrWrongGeneration,
		cert.ErrWrongEpoch, cert.ErrWrongCommittee, cert.ErrWrongKeys, cert.ErrBitmap, cert.ErrStranger, cert.ErrTooLittlePower,
		cert.ErrBadSignature, committee.ErrBadCommittee, errors.New("key"),
	} {
		name := refusal(fmt.Errorf("hand-over: %w", err))
		if name == "" || seen[name] {
			t.Errorf("%v is refused as %q", err, name)
		}
		seen[name] = true
	}
}

// A committee that its candidates do not elect is told from one that they do.
func TestElectionsAreCompared(t *testing.T) {
	t.Parallel()
	candidates := []committee.Candidate{{Validator: 0, Stake: 1 << 30, SelfStake: 1 << 30}, {Validator: 1, ConsensusKey: [32]byte{1}, Stake: 1 << 31, SelfStake: 1 << 31}}
	record := committee.Hold(3, committee.Rules{Seats: 5, PowerCapBps: ledger.BasisPoints}, ledger.Hash{1}, candidates)
	for name, row := range map[string]struct {
		change func(*committee.Record, []committee.Candidate)
		want   string
	}{
		"as it was":        {func(*committee.Record, []committee.Candidate) {}, ""},
		"another power":    {func(r *committee.Record, _ []committee.Candidate) { r.Committee.Members[1].Power++ }, "member 1 is validator"},
		"one left out":     {func(r *committee.Record, _ []committee.Candidate) { r.Committee.Members = r.Committee.Members[:1] }, "1 members, elected are 2"},
		"other candidates": {func(_ *committee.Record, c []committee.Candidate) { c[0].Stake--; c[0].SelfStake-- }, "candidates"},
	} {
		r := record
		r.Committee.Members = append([]committee.Member{}, record.Committee.Members...)
		list := append([]committee.Candidate{}, candidates...)
		row.change(&r, list)
		err := r.Check(list)
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
	}
	unproved := &client.CommitteeInfo{Record: record}
	if _, err := compareElection(3, unproved, &client.Election{Record: record, Candidates: candidates}); !errors.Is(err, client.ErrProof) {
		t.Errorf("without a proof: %v", err)
	}
	kept := recomputation{Equal: true}
	if kept.compareMembers(record.Committee.Members, record.Committee.Members); !kept.Equal {
		t.Errorf("the members that stay: %s", kept.Difference)
	}
	if kept.compareMembers(record.Committee.Members[:1], record.Committee.Members); kept.Equal {
		t.Error("a member is missing of those that stay, and nothing is said")
	}
}

// Who misses hand-overs is told what to do, and from which epoch on.
func TestGapsHaveARemedy(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		err  error
		want string
	}{
		{&client.Error{Reason: "PRUNED", Metadata: map[string]string{"kept_from_epoch": "7"}}, "--since, from 6 on"},
		{&client.Error{Reason: "NO_HANDOVER"}, "begin there with --since"},
	} {
		err := gapRemedy(fmt.Errorf("%w: %w", client.ErrHandoverGap, row.err))
		if !errors.Is(err, client.ErrHandoverGap) || !strings.HasSuffix(err.Error(), row.want) || !strings.Contains(err.Error(), "--node") {
			t.Errorf("%v, want %q", err, row.want)
		}
	}
}
