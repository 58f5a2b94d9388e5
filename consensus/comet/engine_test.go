package comet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	cmtlog "github.com/cometbft/cometbft/libs/log"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tributary-network/tributary/consensus/comet"
)

func TestLogger(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	handler := slog.NewTextHandler(&out, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	var errs []string
	log := comet.NewLogger(handler, func(msg string, _ []any) { errs = append(errs, msg) })
	var formatted atomic.Int32
	lazy := cmtlog.NewLazySprintf("%v", stringer(func() string { formatted.Add(1); return "text" }))

	log.Debug("dropped", "v", lazy) // below the handler's level
	if formatted.Load() != 0 {
		t.Error("a line that is not written was formatted")
	}
	var nothing *nilStringer
	cs := log.With("module", "consensus")
	cs.Info("block", "height", int64(5), "hash", []byte{0xab}, "v", lazy, "err", errBoom, "nil", nothing, "odd")
	cs.Warn("slow", "d", time.Second)
	cs.Error("CONSENSUS FAILURE!!!", "err", "boom")
	log.With("module", "p2p").Error("Stopping peer for error", "err", "EOF")
	log.With("module", "mempool").Error("timed out")
	log.With("module", "evidence").Error("Evidence has not been added")
	log.Error("Not stopping State service -- has not been started yet")
	log.With("module", "consensus").With("round", int32(1)).Error("other", "state", strings.Repeat("x", 10_000))
	log.With("peer", "a", "module", "p2p").With("module", "mconn").Info("Receive", "msg", "vote", "time", 5, "level", 1, "peer", "b", "chain_id", "c")

	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	want := []string{
		`level=DEBUG msg=block engine_module=consensus height=5 hash=ab v=text err=boom nil=<nil>`,
		`level=WARN msg=slow engine_module=consensus d=1s`,
		`level=ERROR msg="CONSENSUS FAILURE!!!" engine_module=consensus err=boom`,
		`level=DEBUG msg="Stopping peer for error" engine_module=p2p err=EOF`,
		`level=WARN msg="timed out" engine_module=mempool`,
		`level=WARN msg="Evidence has not been added" engine_module=evidence`,
		`level=DEBUG msg="Not stopping State service -- has not been started yet"`,
		`level=ERROR msg=other engine_module=consensus round=1 state=` + strings.Repeat("x", 4096) + `...`,
		`level=DEBUG msg=Receive peer=b engine_module=mconn engine_msg=vote engine_time=5 engine_level=1 engine_chain_id=c`,
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("log lines (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"CONSENSUS FAILURE!!!", "Stopping peer for error", "timed out", "Evidence has not been added", "Not stopping State service -- has not been started yet", "other"}, errs); diff != "" {
		t.Errorf("errors seen (-want +got):\n%s", diff)
	}
}

// TestLoggerRepeats writes what CometBFT says of every vote that it cannot sign.
func TestLoggerRepeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		seen := 0
		log := comet.NewLogger(slog.NewTextHandler(&out, nil), func(string, []any) { seen++ })
		lines := func() int { return strings.Count(out.String(), "\n") }
		fail := func(height int, text string) {
			log.With("height", height).Error("failed signing vote", "err", fmt.Errorf(text, height))
		}
		for h := range 50 {
			fail(h, "sign state is behind the chain: this key voted at height %d; not signing")
		}
		if lines() != 1 {
			t.Errorf("%d lines of one failure:\n%s", lines(), out.String())
		}
		fail(50, "sign state could not be saved at height %d")
		if lines() != 2 {
			t.Errorf("another failure is not written:\n%s", out.String())
		}
		<-time.After(time.Minute) // of the bubble's clock
		fail(51, "sign state is behind the chain: this key voted at height %d; not signing")
		if lines() != 3 || !strings.Contains(out.String(), "height=51") || !strings.HasSuffix(out.String(), "repeated=49\n") {
			t.Errorf("after a minute:\n%s", out.String())
		}
		log.Error("CONSENSUS FAILURE!!!")
		log.Error("CONSENSUS FAILURE!!!")
		if lines() != 5 || seen != 54 {
			t.Errorf("%d lines, %d seen:\n%s", lines(), seen, out.String())
		}
	})
}

type stringer func() string

func (s stringer) String() string { return s() }

type nilStringer struct{ s string }

func (n *nilStringer) String() string { return n.s }

// gauge returns the value of a metric with all the given labels.
func gauge(t *testing.T, g prometheus.Gatherer, name, chainID string) (value float64, found bool) {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["chain_id"] == "" {
				t.Errorf("metric %s has no chain_id", f.GetName())
			}
			if labels["peer_id"] != "" {
				t.Errorf("metric %s has a label for each peer", f.GetName())
			}
			if f.GetName() == name && labels["chain_id"] == chainID {
				return m.GetGauge().GetValue(), true
			}
		}
	}
	return 0, false
}

// Two chains in a process, with one registry for both and one for each, and a
// second run of a chain with the registry of the first.
func TestMetricsOfSeveralChains(t *testing.T) {
	t.Parallel()
	shared := prometheus.NewRegistry()
	a, b := newNetwork(t, "chain-a", 1), newNetwork(t, "chain-b", 1)
	a.registry, b.registry = shared, shared
	a.startAll(t)
	b.startAll(t)
	c := newNetwork(t, "chain-c", 1)
	c.startAll(t)
	for i := range 3 {
		a.broadcast(t, 0, tx(i))
		a.members[0].app.waitFor(t, 5*time.Second, func(txs int, _ uint64) bool { return txs > i })
	}
	const height = "cometbft_consensus_latest_block_height"
	eventually(t, 5*time.Second, "heights in the metrics", func() bool {
		va, _ := gauge(t, shared, height, "chain-a")
		vb, okB := gauge(t, shared, height, "chain-b")
		return va >= 4 && okB && vb >= 1 && vb < va
	})
	if _, found := gauge(t, shared, height, "chain-c"); found {
		t.Error("a chain with a registry of its own shows in another")
	}
	if _, found := gauge(t, c.members[0].metrics, height, "chain-c"); !found {
		t.Error("a registry of its own stays empty")
	}
	a.stop(t, 0)
	if _, found := gauge(t, shared, height, "chain-a"); found {
		t.Error("the last figures of a chain that was stopped")
	}
	a.restart(t, 0)
	a.waitReady(t, 0)
	a.broadcast(t, 0, tx(3))
	eventually(t, 5*time.Second, "metrics after a restart", func() bool {
		v, found := gauge(t, shared, height, "chain-a")
		return found && v >= 5
	})
}

func TestTrimWAL(t *testing.T) {
	t.Parallel()
	head := filepath.Join(t.TempDir(), "wal")
	list := func() []string {
		names, err := filepath.Glob(head + "*")
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range names {
			names[i] = filepath.Base(n)
		}
		return names
	}
	write := func(name string) {
		if err := os.WriteFile(head+name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	write(".000.CORRUPTED")
	next := map[int64][]string{
		1: {".000", ".001", ".002"},
		2: {".003", ".004"},
		3: {},
		4: {".005"},
		5: {},
		6: {},
		9: {".1000"},
	}
	want := map[int64][]string{
		1: {"wal", "wal.000", "wal.000.CORRUPTED", "wal.001", "wal.002"},
		2: {"wal", "wal.000", "wal.000.CORRUPTED", "wal.001", "wal.002", "wal.003", "wal.004"},
		3: {"wal", "wal.000.CORRUPTED", "wal.003", "wal.004"}, // full before height 1 was done
		4: {"wal", "wal.000.CORRUPTED", "wal.004", "wal.005"}, // the newest two stay
		5: {"wal", "wal.000.CORRUPTED", "wal.004", "wal.005"},
		6: {"wal", "wal.000.CORRUPTED", "wal.004", "wal.005"},
		9: {"wal", "wal.000.CORRUPTED", "wal.005", "wal.1000"},
	}
	last := int64(0)
	check := func() {
		if diff := cmp.Diff(want[last], list()); last > 0 && diff != "" {
			t.Errorf("after height %d (-want +got):\n%s", last, diff)
		}
	}
	err := comet.TrimWAL(head, []int64{1, 2, 3, 4, 5, 6, 9}, func(height int64) {
		check()
		last = height
		for _, name := range next[height] {
			write(name)
		}
	})
	check()
	if err != nil {
		t.Error(err)
	}
}

// On badger: the store is closed right after Stop, opened again, and the blocks
// are there; an application that lost its state gets them all.
func TestBadger(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "badger", 4)
	dirs := make([]string, len(n.members))
	for i, m := range n.members {
		dirs[i] = filepath.Join(m.dir, "store")
		m.store = openBadger(t, dirs[i])
	}
	n.startAll(t)
	big := append([]byte{1}, make([]byte, 1<<20)...)
	n.broadcast(t, 2, big)
	for i, m := range n.members {
		m.app.waitFor(t, 10*time.Second, func(txs int, _ uint64) bool { return txs == 1 })
		n.broadcast(t, i, tx(i))
	}
	for _, m := range n.members {
		m.app.waitFor(t, 10*time.Second, func(txs int, _ uint64) bool { return txs == 5 })
	}
	before := n.members[0].chain.LatestHeight()
	for i, m := range n.members {
		n.stop(t, i)
		if err := m.store.Close(); err != nil {
			t.Fatal(err)
		}
		m.store = openBadger(t, dirs[i])
	}
	n.members[1].app = newMemApp()
	for i := range n.members {
		n.restart(t, i)
	}
	n.members[1].app.waitFor(t, 10*time.Second, func(txs int, _ uint64) bool { return txs == 5 })
	for i := range n.members {
		n.waitReady(t, i)
	}
	if h := n.members[1].chain.LatestHeight(); h < before {
		t.Errorf("height %d after the restart, %d before", h, before)
	}
	commit, err := n.members[1].chain.Commit(2)
	if err != nil || len(commit.Signatures) != 4 || commit.Height != 2 {
		t.Errorf("Commit(2) = %+v, %v", commit, err)
	}
	vals, err := n.members[1].chain.Validators(2)
	if err != nil || len(vals) != 4 || vals[0].Power != 10 {
		t.Errorf("Validators(2) = %+v, %v", vals, err)
	}
	if peers := n.members[1].chain.Peers(); len(peers) != 3 || peers[0].ID == "" || !peers[0].Alive {
		t.Errorf("Peers = %+v", peers)
	}
	n.broadcast(t, 0, tx(9))
	n.members[1].app.waitFor(t, 10*time.Second, func(txs int, _ uint64) bool { return txs == 6 })
}

// A store that fails stops the chain, not the process.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "disk", 1)
	n.startAll(t)
	if err := n.members[0].store.Close(); err != nil { // every access fails from now on
		t.Fatal(err)
	}
	n.broadcast(t, 0, tx(1))
	eventually(t, 5*time.Second, "halted", func() bool { return n.members[0].chain.Status().Halt != nil })
	t.Log(n.members[0].chain.Status().Halt)
	if _, err := n.members[0].chain.Block(1); err == nil || errors.Is(err, comet.ErrNotFound) {
		t.Errorf("Block from a closed store = %v", err)
	}
}

func TestPortZero(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "port", 1)
	n.config = func(c *comet.Config) { c.ListenAddr = "127.0.0.1:0" }
	n.startAll(t)
	chain := n.members[0].chain
	if addr := chain.ListenAddr(); !strings.HasPrefix(addr, "127.0.0.1:") || strings.HasSuffix(addr, ":0") {
		t.Errorf("ListenAddr = %q", addr)
	}
	if p := chain.PeerAddr(); p != n.members[0].nodeKey.ID()+"@"+chain.ListenAddr() {
		t.Errorf("PeerAddr = %q", p)
	}
	// A signer serves one chain at a time.
	if err := n.tryStart(t, 0); err == nil {
		t.Error("a second chain started with the same signer")
	}
	// A start that is given up leaves nothing behind.
	m := newNetwork(t, "future", 1)
	m.genesis.Time = time.Now().Add(time.Hour)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	m.ctx = ctx
	if err := m.tryStart(t, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("start before the genesis time = %v", err)
	}
	m.ctx = context.Background()
	m.genesis.Time = time.Now()
	m.members[0].store = newStore(t)
	m.startAll(t)
}
