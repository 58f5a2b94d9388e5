package node_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/node"
)

// TestStoreFellBack takes the newest part of a node's store away, in three ways: it
// does not start, and says what to do.
func TestStoreFellBack(t *testing.T) {
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
	waitUntil(t, "a block", func() bool { return n.Height() > 0 })
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(o.Home.Data(), "settlement")
	refused := func(want error) {
		t.Helper()
		n, err := node.Open(t.Context(), o)
		if err == nil {
			t.Fatal(errors.Join(errors.New("it opened"), n.Close()))
		}
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "remove it and let the node fetch the chain") {
			t.Errorf("Open: %v, want %v and what to do", err, want)
		}
	}
	manifest := filepath.Join(store, "MANIFEST")
	if err := os.Truncate(manifest, 16); err != nil {
		t.Fatal(err)
	}
	refused(badgerkv.ErrRolledBack)
	if err := os.Remove(manifest); err != nil {
		t.Fatal(err)
	}
	refused(badgerkv.ErrRolledBack)
	if err := os.RemoveAll(store); err != nil {
		t.Fatal(err)
	}
	refused(node.ErrStoreBehind)
	if err := os.RemoveAll(o.Home.Data()); err != nil {
		t.Fatal(err)
	}
	if n, err = node.Open(t.Context(), o); err != nil {
		t.Fatalf("with no data at all: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}
