package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/node/testnet"
)

// TestCommandsServe walks through the life of a service with the commands that people
// use.
func TestCommandsServe(t *testing.T) {
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
	list := parse[[]serviceResult](t, s.ok(t, "service", "list", "-o", "json"))
	if len(list) != 3 || list[0].Name != "content" || list[0].shards() != 4 || list[0].Validators != 2 || list[2].ID != testnet.Proxy || list[2].shards() != 2 {
		t.Errorf("service list: %+v", list)
	}
	shards := parse[[]shardResult](t, s.ok(t, "shard", "map", "-o", "json"))
	if len(shards) != 8 || len(shards[0].Members) != 2 || shards[0].Buckets != "00-7f" || shards[3].Zone != 1 {
		t.Errorf("shard map: %+v", shards)
	}
	if got := s.ok(t, "shard", "map", "storage", "--epoch", "next"); strings.Count(got, "00-ff") != 2 || !strings.Contains(got, "0,1") && !strings.Contains(got, "1,0") {
		t.Errorf("shard map storage: %s", got)
	}
	if got := s.ok(t, "shard", "show", "2"); !strings.Contains(got, "equal") || !strings.Contains(got, "50.00 %") {
		t.Errorf("shard show: %s", got)
	}

	spec, file := filepath.Join(s.home, "video.md"), filepath.Join(s.home, "video.json")
	if err := os.WriteFile(spec, []byte("videos"), 0o600); err != nil {
		t.Fatal(err)
	}
	register := []string{"service", "register", "video", "--id", "7", "--spec", spec, "--unit", "chunk:262144", "--zone", "1:eu-west", "--zone", "0:us-east", "--from", "alice"}
	if r := s.run(t, "", append(register, "--dry-run")...); r.code != exitOK || !strings.Contains(r.stdout, "4.00002") {
		t.Errorf("dry run: %+v", r)
	}
	s.ok(t, append(register, "--share", "2.5", "--min-stake", "5")...)
	v := parse[serviceResult](t, s.ok(t, "service", "show", "video", "-o", "json"))
	if v.ID != 7 || v.Version != 1 || v.ShareBps != 250 || v.MinStake != 5_000_000 || len(v.Zones) != 2 || v.Zones[1].Region != "eu-west" || v.Validators != 0 {
		t.Errorf("service show: %+v", v)
	}
	if r := s.run(t, "", "validator", "serve", "video", "--from", "validator2"); r.code != exitOK || !strings.Contains(r.stderr, "it counts for epoch") {
		t.Errorf("serve: %+v", r)
	}
	s.ok(t, "validator", "serve", "content", "--stop", "--from", "validator2")
	if v = parse[serviceResult](t, s.ok(t, "service", "show", "7", "-o", "json")); len(v.Servers) != 1 || v.Servers[0] != 1 {
		t.Errorf("served by %v", v.Servers)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(s.ok(t, "service", "show", "video", "--file"), `"us-east"`, `"us-west"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.ok(t, "service", "update", "--file", file, "--from", "alice")
	if v = parse[serviceResult](t, s.ok(t, "service", "show", "video", "-o", "json")); v.Version != 2 || v.Zones[0].Region != "us-west" {
		t.Errorf("after the update: %+v", v)
	}
	r := s.run(t, "", "shard", "split", "2", "--from", "validator1")
	refused := r.code == exitError && strings.Contains(r.stderr, "ask again after its first anchor")
	if at := parse[[]shardResult](t, s.ok(t, "shard", "map", "-o", "json"))[0].Anchored; !refused && (r.code != exitOK || at == 0) {
		t.Errorf("a split of a shard that is anchored to height %d: %+v", at, r)
	}
	with := func(flags ...string) []string {
		return append([]string{"service", "register", "a", "--id", "8", "--spec", spec, "--from", "alice"}, flags...)
	}
	for _, row := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no service", []string{"service", "show", "nothing"}, exitNotFound, "'tributary service list' shows"},
		{"no name", []string{"service", "register", "--from", "alice"}, exitUsage, "what is it called?"},
		{"no id", []string{"service", "register", "a", "--from", "alice"}, exitUsage, "--id"},
		{"no owner", []string{"service", "register", "a"}, exitUsage, "--from"},
		{"no unit", with(), exitUsage, "--unit"},
		{"no zone", with("--unit", "a:1"), exitUsage, "--zone"},
		{"a bad unit", with("--unit", "a", "--zone", "0:a"), exitUsage, "--unit is \"a\", want a name and a number"},
		{"a unit of nothing", with("--unit", "a:0", "--zone", "0:a"), exitUsage, "unit size is 0, want at least 1"},
		{"a bad zone", with("--unit", "a:1", "--zone", "256:a"), exitUsage, "--zone is \"256:a\""},
		{"a zone twice", with("--unit", "a:1", "--zone", "1:a", "--zone", "1:b"), exitUsage, "strictly ascending"},
		{"a bad proof", with("--unit", "a:1", "--zone", "0:a", "--proof", "luck"), exitUsage, "--proof is \"luck\", want one of"},
		{"a small committee", with("--unit", "a:1", "--zone", "0:a", "--committee-size", "3"), exitUsage, "committee_size is 3, want 4 to"},
		{"a name that is taken", append(with("--unit", "a:1", "--zone", "0:a")[:2], "video", "--id", "9", "--spec", spec, "--unit", "a:1", "--zone", "0:a", "--from", "alice"), exitError, "which ids and names are taken"},
		{"no file", []string{"service", "update", "--from", "alice"}, exitUsage, "--file"},
		{"somebody else's", []string{"service", "update", "--file", file, "--from", "bob"}, exitUsage, "version is 1, want 3"},
		{"an operator of nothing", []string{"validator", "serve", "video", "--from", "bob"}, exitError, "'tributary validator list' shows"},
		{"served already", []string{"validator", "serve", "storage", "--from", "validator1"}, exitError, "'tributary service show storage'"},
		{"serve nothing", []string{"validator", "serve", "nothing", "--from", "validator1"}, exitNotFound, "'tributary service list'"},
		{"no shard", []string{"shard", "show", "99"}, exitNotFound, "'tributary shard map' shows"},
		{"not a shard", []string{"shard", "show", "x"}, exitUsage, "is not the id of a shard"},
		{"a bad epoch", []string{"shard", "map", "--epoch", "soon"}, exitUsage, `invalid argument "soon" for "--epoch"`},
		{"an epoch to come", []string{"shard", "map", "--epoch", "99999"}, exitNotFound, "not drawn yet"},
		{"another's shard", []string{"shard", "split", "6", "--from", "bob"}, exitError, "NOT_OWNER"}, // which nobody splits
		{"a merge of the whole", []string{"shard", "merge", "6", "--from", "validator1"}, exitError, "RESHARD_REFUSED"},
	} {
		if r := s.run(t, "", row.args...); r.code != row.code || !strings.Contains(r.stderr, row.want) {
			t.Errorf("%s: code %d, want %d and %q: %s%s", row.name, r.code, row.code, row.want, r.stdout, r.stderr)
		}
	}
}
