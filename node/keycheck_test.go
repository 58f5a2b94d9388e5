package node_test

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/node/genesis"
	"github.com/tributary-network/tributary/node/home"
)

// TestForeignBLSKey gives a validator the BLS key of another: it is told at once
// by the log, /readyz and a metric, which file is wrong.
func TestForeignBLSKey(t *testing.T) {
	t.Parallel()
	o, other := solo(t), solo(t)
	blsKey := func(dir home.Dir) string { return filepath.Join(dir.Config(), "validator", "bls_key.json") }
	data, err := os.ReadFile(blsKey(other.Home))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(blsKey(o.Home), data, 0o600); err != nil {
		t.Fatal(err)
	}
	out := &buffer{}
	o.Log = slog.New(slog.NewTextHandler(out, nil))
	n, err := node.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	address := n.Listeners()[2].Address
	waitUntil(t, "/readyz tells why", func() bool {
		code, body := get(t, "http://"+address+"/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, blsKey(o.Home)) && strings.Contains(body, "validator 0 is registered with")
	})
	if _, body := get(t, "http://"+address+"/metrics"); !strings.Contains(body, "tributary_validator_key_mismatch{chain_id=\""+n.Genesis().ChainID()+"\"} 1") {
		t.Error("the metric does not tell")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if got := strings.Count(out.String(), "is not the one its validator is registered with"); got != 1 {
		t.Errorf("the log says so %d times:\n%s", got, out.String())
	}
}

// TestRegistration finds a registration in the genesis, and one that only the state
// has.
func TestRegistration(t *testing.T) {
	t.Parallel()
	o := solo(t)
	out := &buffer{}
	o.Log = slog.New(slog.NewTextHandler(out, nil))
	n, err := node.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	waitUntil(t, "the node is ready", func() bool { return strings.Contains(out.String(), "chain is ready") })
	id, err := node.LoadIdentity(o.Home)
	if err != nil {
		t.Fatal(err)
	}
	validators := n.Genesis().Validators
	for name, known := range map[string][]genesis.Validator{"genesis": validators, "state": nil} {
		if row, key, err := n.Registration(known, id.PublicKey); err != nil || row != 0 || key != id.BLSKey {
			t.Errorf("by the %s: validator %d with %s, %v", name, row, key, err)
		}
		if _, key, err := n.Registration(known, make([]byte, 32)); err != nil || !key.IsZero() {
			t.Errorf("a stranger by the %s: %s, %v", name, key, err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if strings.Contains(out.String(), "level=ERROR") {
		t.Errorf("the right key:\n%s", out.String())
	}
}
