package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/telemetry"
)

func levels(t *testing.T, text string) config.Levels {
	t.Helper()
	l, err := config.ParseLevels(text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLogLevels(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	root := slog.New(telemetry.NewHandler(&out, telemetry.FormatAuto, levels(t, "info,consensus=warn,api=debug")))
	ctx := context.Background()
	for name, log := range map[string]*slog.Logger{
		"main":      root,
		"consensus": root.With(slog.String("module", "consensus"), slog.String("chain_id", "x")),
		"api":       root.With(slog.String("module", "api")).WithGroup("call"),
		"":          root.WithGroup("g").With(slog.String("module", "api")),
		"api then consensus": root.With(slog.String("module", "api")).
			With(slog.String("module", "consensus")),
	} {
		for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn} {
			log.LogAttrs(ctx, level, "line", slog.String("from", name))
		}
	}
	got := map[string]int{}
	for line := range bytes.Lines(out.Bytes()) {
		var record struct {
			Time  time.Time
			Level string
			Msg   string
			From  string
		}
		if err := json.Unmarshal(line, &record); err != nil {
			t.Fatalf("not a terminal, so one JSON object a line; got %q: %v", line, err)
		}
		if record.Msg != "line" || record.Level == "" || record.Time.IsZero() {
			t.Errorf("incomplete line: %s", line)
		}
		got[record.From]++
	}
	want := map[string]int{"main": 2, "consensus": 1, "": 5, "api then consensus": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines by logger (-want +got):\n%s", diff)
	}
}

func TestLogText(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(telemetry.NewHandler(&out, telemetry.FormatText, levels(t, "warn")))
	log.LogAttrs(context.Background(), slog.LevelInfo, "hidden")
	log.LogAttrs(context.Background(), slog.LevelError, "seen", slog.Int("height", 7))
	if got := out.String(); strings.Contains(got, "hidden") || !strings.Contains(got, "level=ERROR msg=seen height=7") {
		t.Errorf("logged %q", got)
	}
}

// TestLogDurations has both formats say the unit.
func TestLogDurations(t *testing.T) {
	t.Parallel()
	for _, format := range []string{telemetry.FormatText, telemetry.FormatJSON} {
		var out bytes.Buffer
		log := slog.New(telemetry.NewHandler(&out, format, levels(t, "info"))).With(slog.Duration("age", time.Minute))
		log.Info("seen", slog.Duration("wait", 1500*time.Millisecond), slog.Any("any", 2*time.Second), slog.Group("in", slog.Duration("took", 3*time.Microsecond)))
		for _, want := range []string{"1m0s", "1.5s", "2s", "3µs"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: %q is not in %s", format, want, out.String())
			}
		}
	}
}

func registry(t *testing.T) (*telemetry.Registry, *telemetry.Chain) {
	t.Helper()
	r, err := telemetry.NewRegistry(telemetry.Build{Version: "v1", Commit: "c", Go: "go", Comet: "v0.40.0"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.NewChain("local", func() telemetry.ChainSample {
		return telemetry.ChainSample{
			Height: 7, NetworkHeight: 9, HeightAge: 1500 * time.Millisecond, Halted: true, ClockSkew: -2 * time.Second, KeyMismatch: true, HeadersMissing: 8,
			MempoolTxs: 3, MempoolBytes: 4, OpenChannels: 5, RefusedVotes: 6,
			Books:        telemetry.Books{Accounts: 30, Escrow: 30, Rent: 9, Burned: 6, Fees: 4, Staked: 17, Rewards: 3, Supply: 100},
			Certificates: telemetry.Certificates{Height: 5, Made: 4, Missing: 1, ExtensionsMissing: 3, ExtensionsWrong: 2},
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.NewNode(func() telemetry.NodeSample {
		return telemetry.NodeSample{DiskFree: 10, DiskReserve: 2, StoreSize: 7, StoreLSM: 3, StoreVlog: 2, Blocks: 5, ShardsStore: 6, Shards: telemetry.ShardStates{Running: 1, Halted: 2, Waiting: 3, Failed: 4, Left: 5}}
	}); err != nil {
		t.Fatal(err)
	}
	return r, c
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	r, c := registry(t)
	c.Committed(0, time.Millisecond) // the first block has no interval
	c.Committed(time.Second, 20*time.Millisecond)
	c.Entries("APPLIED", 1000)
	c.Entries("APPLIED", 24)
	c.Entries("NO_OP_STALE", 1)
	c.Checked(true)
	c.HashMismatch()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "tributary_")
			if name == f.GetName() {
				continue // of the process or the Go runtime
			}
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			switch name {
			case "build_info", "disk_free_bytes", "disk_reserve_bytes", "store_size_bytes", "store_lsm_bytes", "store_vlog_bytes", "block_files_bytes",
				"shards_store_size_bytes", "shards":
			default:
				if labels["chain_id"] != "local" {
					t.Errorf("%s has no label chain_id", name)
				}
			}
			for _, l := range []string{"code", "result", "location", "state", "comet_version"} {
				if labels[l] != "" {
					name += "/" + labels[l]
				}
			}
			switch {
			case m.GetGauge() != nil:
				got[name] = m.GetGauge().GetValue()
			case m.GetCounter() != nil:
				got[name] = m.GetCounter().GetValue()
			default:
				got[name] = float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	want := map[string]float64{
		"build_info/v0.40.0":                     1,
		"chain_height":                           7,
		"chain_sync_target_height":               9,
		"chain_height_age_seconds":               1.5,
		"chain_round":                            0,
		"chain_ready":                            0,
		"chain_halted":                           1,
		"chain_catching_up":                      0,
		"chain_peers":                            0,
		"chain_evidence_headers_missing":         8,
		"chain_block_interval_seconds":           1,
		"chain_app_hash_mismatch_total":          1,
		"validator_key_mismatch":                 1,
		"clock_skew_seconds":                     -2,
		"mempool_txs":                            3,
		"mempool_bytes":                          4,
		"mempool_records":                        0,
		"channel_open":                           5,
		"channel_locked_value":                   30,
		"channel_entries_total/APPLIED":          1024,
		"channel_entries_total/NO_OP_STALE":      1,
		"ledger_supply_drops/accounts":           30,
		"ledger_supply_drops/staked":             17,
		"ledger_supply_drops/rewards":            3,
		"certificate_height":                     5,
		"certificate_lag_blocks":                 2,
		"certificate_made_total":                 4,
		"certificate_missing_total":              1,
		"vote_extensions_missing_total":          3,
		"vote_extensions_wrong_total":            2,
		"vote_extensions_refused_total":          6,
		"ledger_supply_drops/channels":           30,
		"ledger_supply_drops/rent":               9,
		"ledger_supply_drops/burned":             6,
		"ledger_supply_drops/fees":               4,
		"ledger_conservation_delta":              -1,
		"ledger_invariant_checks_total/ok":       1,
		"ledger_invariant_checks_total/violated": 0,
		"store_commit_seconds":                   2,
		"store_size_bytes":                       7,
		"store_lsm_bytes":                        3,
		"store_vlog_bytes":                       2,
		"block_files_bytes":                      5,
		"disk_free_bytes":                        10,
		"disk_reserve_bytes":                     2,
		"shards_store_size_bytes":                6,
		"shards/running":                         1,
		"shards/halted":                          2,
		"shards/waiting":                         3,
		"shards/failed":                          4,
		"shards/left":                            5,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func TestMetricNames(t *testing.T) {
	t.Parallel()
	r, c := registry(t)
	c.Committed(time.Second, time.Second)
	c.Entries("APPLIED", 1)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestManyChains is what CometBFT's own metrics cannot do.
func TestManyChains(t *testing.T) {
	t.Parallel()
	r, _ := registry(t)
	for i := range 3 {
		if _, err := r.NewChain(fmt.Sprint("chain-", i), func() telemetry.ChainSample { return telemetry.ChainSample{} }); err != nil {
			t.Fatal(err)
		}
	}
	if got := labels(t, r, "tributary_chain_height"); len(got) != 4 {
		t.Errorf("heights of %v, want 4 chains", got)
	}
	if _, err := r.NewChain("local", func() telemetry.ChainSample { return telemetry.ChainSample{} }); err == nil {
		t.Error("a second chain of the same name was taken")
	}
	// What others register for a chain carries the label too.
	calls := prometheus.NewCounter(prometheus.CounterOpts{Name: "tributary_calls_total", Help: "Calls."})
	if err := r.Chain("local").Register(calls); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"chain_id=local"}, labels(t, r, "tributary_calls_total")); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
}

// labels lists the labels of the metrics called name.
func labels(t *testing.T, g prometheus.Gatherer, name string) []string {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name {
					list = append(list, l.GetName()+"="+l.GetValue())
				}
			}
		}
	}
	return list
}
