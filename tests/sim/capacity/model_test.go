package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden table")

// fixed are costs as some machine measured them.
func fixed() Costs {
	return Costs{
		BookVerify: 10, BookApply: 2, Send: 1.5, Import: 40, ImportLeaf: 2, Vote: 250, Assemble: 4_700, CertVerify: 1_650,
		Anchor: 1_600, AnchorHeight: 85, SettleVerify: 10, Settle: 1,
		BookBytes: 120, ImportBytes: 2_800, LeafBytes: 175, AnchorBytes: 313, AnchorHeightBytes: 165, SettleBytes: 116,
		AnchorWeight: 267_000, AnchorHeightWeight: 16 << 10, SettleWeight: 300,
	}
}

// TestTable: fixed costs give this table. `go test -update` writes it.
func TestTable(t *testing.T) {
	t.Parallel()
	costs := fixed()
	var out bytes.Buffer
	if err := report(&out, &costs, defaultNetwork(), sizes()); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join("testdata", "table.txt")
	if *update {
		if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("table differs (-want +got); if that is on purpose, run with -update:\n%s", diff)
	}
}

// TestFirstLimit: what is made dear becomes what limits the network.
func TestFirstLimit(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		shards int
		change func(c *Costs, n *Network)
		want   string
	}{
		{"slow signatures", 1, func(c *Costs, _ *Network) { c.BookVerify = 1_000 }, seatsCPU},
		{"thin lines", 1, func(_ *Costs, n *Network) { n.Bandwidth = 1e4 }, seatsBandwidth},
		{"small blocks", 1, func(_ *Costs, n *Network) { n.ShardBytes, n.Bandwidth = 1<<16, 1e9 }, shardBytes},
		{"narrow links", 4, func(_ *Costs, n *Network) { n.Unacked, n.PerPayee, n.Buckets = 1, 1, 1 }, linkRoom},
		{"slow settlements", 4, func(c *Costs, _ *Network) { c.Settle = 1e5 }, mainCPU},
		{"few validators", 16, func(_ *Costs, n *Network) { n.Validators = 100 }, seatsCPU},
		{"one seat for each", 16, func(_ *Costs, n *Network) { n.Validators = 1_000 }, shardBytes},
		{"heavy settlements", 4, func(c *Costs, _ *Network) { c.SettleWeight = 1e6 }, mainParts()[2]},
	} {
		c, n := fixed(), defaultNetwork()
		row.change(&c, &n)
		if _, first := n.most(&c, n.plan(&c, row.shards)); first.Part != row.want {
			t.Errorf("%s: first limit is %q, want %q", row.name, first.Part, row.want)
		}
	}
}

// TestPlan: anchors take no more than their share of main, and are as frequent as that
// allows.
func TestPlan(t *testing.T) {
	t.Parallel()
	c, n := fixed(), defaultNetwork()
	for _, shards := range sizes() {
		p := n.plan(&c, shards)
		if share, _ := n.anchors(&c, p).most(); share > n.AnchorsShare {
			t.Errorf("%d shards: anchors take %.2f of main by %+v", shards, share, p)
		}
	}
	if p := n.plan(&c, 1); p.Interval != n.MainInterval || p.Heights != 1 {
		t.Errorf("one shard: %+v", p)
	}
	if p := n.plan(&c, 1_024); p.Interval == n.MainInterval {
		t.Errorf("1,024 shards at the pace of main: %+v", p)
	}
	c.AnchorWeight = 1e12
	if p := n.plan(&c, 1); p.Interval != n.ShardIntervalMost || p.Heights != n.AnchorMost {
		t.Errorf("anchors that are too dear: %+v", p)
	}
}

// TestRunAgrees: a network that runs at nine tenths of its limit carries that, main does
// not fall behind, and messages take about what the plan says; above the limit it does
// not carry more.
func TestRunAgrees(t *testing.T) {
	t.Parallel()
	c, n := fixed(), defaultNetwork()
	for _, shards := range []int{1, 4, 64, 1_024} {
		p := n.plan(&c, shards)
		each, _ := n.most(&c, p)
		f := simulate(&n, &c, p, part*each)
		if want := part * each * float64(shards); f.Bookings < 0.97*want || f.Bookings > 1.03*want {
			t.Errorf("%d shards: %.0f bookings a second, the model says %.0f", shards, f.Bookings, want)
		}
		if f.Backlog > 2*n.MainInterval.Seconds() {
			t.Errorf("%d shards: main is %.1f s behind", shards, f.Backlog)
		}
		low, high := n.latency(p)/2, 2*n.latency(p)
		if got := f.P50.Seconds(); shards > 1 && (got < low || got > high || f.P95 < f.P50) {
			t.Errorf("%d shards: half the messages take up to %.1f s, want %.1f to %.1f", shards, got, low, high)
		}
		if again := simulate(&n, &c, p, part*each); again != f {
			t.Errorf("%d shards: two runs differ: %+v, %+v", shards, f, again)
		}
	}
	n.Bandwidth, n.ShardBytes, n.BlockBytes = 1e12, 1e12, 1e12 // so that processors are the limit
	p := Plan{Shards: 1, Interval: time.Second, Heights: 4}
	each, first := n.most(&c, p)
	if f := simulate(&n, &c, p, 3*each); first.Part != seatsCPU || f.Bookings > 1.05*each {
		t.Errorf("a shard that is asked for three times what it can do (%s) does %.2f of it", first.Part, f.Bookings/each)
	}
}

// TestValidators: all that is booked, in all seats, and main are within the processors and
// the lines of all validators together; and as many as are said to be enough carry about
// what ten times as many would.
func TestValidators(t *testing.T) {
	t.Parallel()
	c, n := fixed(), defaultNetwork()
	for _, shards := range sizes() {
		p := n.plan(&c, shards)
		each, _ := n.most(&c, p)
		main := n.settle(&c, each*float64(shards))
		booked := each * float64(shards) * n.Seats / n.Validators
		if used := booked*(c.BookVerify+c.BookApply+n.Book)/1e6 + main[0]*n.Cores*n.Busy; used > n.Cores*n.Busy {
			t.Errorf("%d shards: bookings and settlements take %.2f processors of each validator", shards, used)
		}
		if used := booked*c.BookBytes*n.Gossip + main[3]*n.Bandwidth; used > n.Bandwidth {
			t.Errorf("%d shards: bookings and settlements take %.0f bytes/s of each validator's line", shards, used)
		}
		few := n.enough(&c, shards)
		many := n
		many.Validators = 10 * n.Seats * float64(shards)
		with, _ := few.most(&c, few.plan(&c, shards))
		all, _ := many.most(&c, many.plan(&c, shards))
		if with < enough*all {
			t.Errorf("%d shards: %.0f validators carry %.2f of what %.0f do", shards, few.Validators, with/all, many.Validators)
		}
	}
}
