package main

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tributary-network/tributary/node/testnet"
)

// TestCommandsBook books usage with the commands that people use, on a network whose
// shards run, and follows it until the shards have settled it.
func TestCommandsBook(t *testing.T) {
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
	s.ok(t, "channel", "open", "--from", "alice", "--to", "bob", "--deposit", "10", "--service", "1")
	id := parse[[]channelResult](t, s.ok(t, "channel", "list", "--payee", "bob", "-o", "json"))[0].ID.String()
	voucher := strings.TrimSpace(s.ok(t, "channel", "voucher", id, "4", "--units", "40", "--from", "alice"))
	until := func(what string, done func() bool) {
		t.Helper()
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for !done() {
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatalf("never: %s", what)
			}
		}
	}
	until("the channel's home is told", func() bool { return s.run(t, "", "usage", "show", id).code == exitOK })
	if r := s.run(t, "", "usage", "book", voucher, "--from", "alice"); r.code != exitUsage || !strings.Contains(r.stderr, "a payee books its own") {
		t.Errorf("by the payer: %+v", r)
	}
	dry := parse[[]bookingResult](t, s.ok(t, "usage", "book", voucher, "--from", "bob", "--dry-run", "-o", "json"))
	if len(dry) != 1 || dry[0].Stage != "simulated" || dry[0].Applied != 1 {
		t.Errorf("dry run: %+v", dry)
	}
	made := parse[[]bookingResult](t, s.ok(t, "usage", "book", voucher, "--from", "bob", "-o", "json", "--timeout", "2m"))
	if len(made) != 1 || made[0].Stage != "final" || made[0].Applied != 1 || made[0].Booked.Units != 40 {
		t.Fatalf("booked: %+v", made)
	}
	if got := s.ok(t, "usage", "book", voucher, "--from", "bob"); !strings.Contains(got, "booked already") {
		t.Errorf("twice: %s", got)
	}
	u := parse[usageResult](t, s.ok(t, "usage", "show", id, "-o", "json"))
	if len(u.Lanes) != 1 || u.Lanes[0].Booked != 4_000_000 || u.Lanes[0].Vouchers != 1 || u.Shard != made[0].Shard {
		t.Errorf("usage: %+v", u)
	}
	until("bob's home counts it", func() bool {
		return parse[earnedResult](t, s.ok(t, "usage", "earnings", "bob", "--service", "content", "-o", "json")).Total.Amount == 4_000_000
	})
	if got := s.ok(t, "usage", "earnings", "bob", "--service", "content"); !strings.Contains(got, "####") {
		t.Errorf("earnings: %s", got)
	}
	trace := parse[traceResult](t, s.ok(t, "shard", "trace", made[0].Hash.String(), "-o", "json"))
	if trace.State != "anchored" || trace.Kind != "book-usage" || trace.Height != made[0].Height {
		t.Errorf("trace: %+v", trace)
	}
	if len(trace.Steps) != 2 || trace.Steps[1].Chain != "main" || trace.Steps[1].Height == 0 || trace.Steps[1].Time == nil || len(trace.Vouchers) != 1 {
		t.Errorf("trace: %+v", trace)
	}
	if got := s.ok(t, "shard", "trace", made[0].Hash.String()); !strings.Contains(got, "EVIDENCE") || !strings.Contains(got, "own") {
		t.Errorf("trace: %s", got)
	}
	at := parse[[]locationResult](t, s.ok(t, "route", "locate", "alice", "--service", "content", "-o", "json"))
	if len(at) != 1 || at[0].Shard != made[0].Shard || !at[0].Hosted {
		t.Errorf("alice lives in %+v", at)
	}
	if hint := parse[hintResult](t, s.ok(t, "route", "hint", "content", "--from", "alice", "-o", "json")); hint.Home.Shard == 0 || hint.Provider.Shard == 0 {
		t.Errorf("hint: %+v", hint)
	}
	if load := s.ok(t, "route", "load", "content"); strings.Count(load, "here") != 4 {
		t.Errorf("load: %s", load)
	}
	status := parse[shardStatusResult](t, s.ok(t, "shard", "status", strconv.FormatUint(uint64(at[0].Shard), 10), "-o", "json"))
	if status.BlockHeight == 0 || status.Booked.Units != 40 || !status.Validator || status.Halted {
		t.Errorf("status: %+v", status)
	}
	until("the shards settle it", func() bool {
		u = parse[usageResult](t, s.ok(t, "usage", "show", id, "-o", "json"))
		return u.Lanes[0].Redeemed == 4_000_000
	})
	trace = parse[traceResult](t, s.ok(t, "shard", "trace", made[0].Hash.String(), "-o", "json"))
	if v := trace.Vouchers; len(v) != 1 || v[0].State != "paid" || v[0].Cumulative != 4_000_000 || v[0].Settlement == nil || v[0].Height == 0 || v[0].Evidence != "own" {
		t.Errorf("paid: %+v", trace)
	} else if got := s.ok(t, "settle", "status", v[0].Settlement.String()); !strings.Contains(got, "final") {
		t.Errorf("the settlement: %s", got)
	}
	for _, row := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no shard", []string{"shard", "status", "99"}, exitNotFound, "'tributary shard map' shows"},
		{"events of no shard", []string{"shard", "events", "99"}, exitNotFound, "there is no shard 99"},
		{"no transaction", []string{"shard", "trace", strings.Repeat("0", 64)}, exitNotFound, "--shard names the shard"},
		{"no service", []string{"usage", "earnings", "bob"}, exitUsage, "name it with --service"},
		{"no voucher", []string{"usage", "book", "zz", "--from", "bob"}, exitUsage, "voucher 1"},
		{"a bad stage", []string{"usage", "book", voucher, "--from", "bob", "--wait", "soon"}, exitUsage, "--wait is \"soon\""},
		{"a bad zone", []string{"route", "hint", "content", "--from", "alice", "--zone", "300"}, exitUsage, "zones are 0 to 255"},
	} {
		if r := s.run(t, "", row.args...); r.code != row.code || !strings.Contains(r.stderr, row.want) {
			t.Errorf("%s: code %d, want %d and %q: %s%s", row.name, r.code, row.code, row.want, r.stdout, r.stderr)
		}
	}
}
