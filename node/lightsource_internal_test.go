package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/node/config"
)

func TestStateSyncOfTheSettings(t *testing.T) {
	t.Parallel()
	n := &Node{cfg: config.Default()}
	n.genesis.Params = settlement.LocalParams()
	n.cfg.Home = t.TempDir()
	if s, err := n.stateSync(); s != nil || err != nil || len(n.sources) != 0 {
		t.Errorf("switched off: %v, %v", s, err)
	}
	n.cfg.StateSync = config.StateSync{
		Enabled: true, Sources: []string{"a:1", "b:2"}, TrustHeight: 7, TrustHash: strings.Repeat("aB", 32),
		SearchTime: config.Duration{Duration: 7 * time.Second},
	}
	s, err := n.stateSync()
	if err != nil || len(s.Sources) != 2 || s.Sources[1].String() != "b:2" || s.TrustHeight != 7 || len(s.TrustHash) != 32 || s.TrustHash[0] != 0xab || s.TrustPeriod < time.Hour || s.SearchTime != 7*time.Second {
		t.Errorf("%+v, %v", s, err)
	}
	if err := n.Close(); err != nil { // never asked, never connected
		t.Error(err)
	}
	n.cfg.StateSync.TrustIdle, n.sources = true, nil
	if s, err := n.stateSync(); err != nil || !s.TrustIdle {
		t.Errorf("%+v, %v", s, err)
	}
	// Switched off, they are still there for what a join left missing.
	n.cfg.StateSync.Enabled, n.sources = false, nil
	if s, err := n.stateSync(); s != nil || err != nil || len(n.sources) != 2 {
		t.Errorf("%+v, %v, %d sources", s, err, len(n.sources))
	}
	n.cfg.StateSync.CAFile = "ca.pem"
	for _, text := range []string{"", "no certificate"} {
		if _, err := n.stateSync(); err == nil || !strings.Contains(err.Error(), "state_sync.ca_file") {
			t.Errorf("a file of %q: %v", text, err)
		}
		if err := os.WriteFile(filepath.Join(n.cfg.Home, "ca.pem"), []byte("no certificate"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTrustPeriod takes what is no longer than a fault can be punished.
func TestTrustPeriod(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, test := range []struct {
		set, punished, want time.Duration
	}{
		{0, 21 * day, 14 * day},
		{0, time.Minute, time.Hour},
		{3 * day, 21 * day, 3 * day},
		{21 * day, 21 * day, 21 * day},
		{21*day + 1, 21 * day, 0},
		{time.Hour, time.Minute, time.Hour},
		{2 * time.Hour, time.Minute, 0},
	} {
		got, err := trustPeriod(test.set, test.punished)
		if got != test.want || (err == nil) != (test.want != 0) || err != nil && !strings.Contains(err.Error(), "state_sync.trust_period") {
			t.Errorf("set to %v, faults punished for %v: %v, %v, want %v", test.set, test.punished, got, err, test.want)
		}
	}
}

func TestKeptBlocks(t *testing.T) {
	t.Parallel()
	if kept(0) != exec.KeepAll || kept(100) != 100 {
		t.Errorf("%d, %d", kept(0), kept(100))
	}
}
