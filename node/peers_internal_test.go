package node

import (
	"log/slog"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
)

// TestAShardThatHasNotBegunCatchesUp: what has no state yet, or does not run, is behind.
func TestAShardThatHasNotBegunCatchesUp(t *testing.T) {
	t.Parallel()
	l, err := layer.New(memkv.New(), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := newHosted("s5", slog.New(slog.DiscardHandler))
	h.layer = l
	want := func(what string, behind, halted bool) {
		t.Helper()
		if got := h.serves(); got.CatchingUp != behind || got.Halted != halted {
			t.Errorf("%s: catches up %v, halted %v", what, got.CatchingUp, got.Halted)
		}
	}
	sampled := func(s comet.Status) { h.sample.Store(&sample{chain: s}) }
	want("before it runs", true, false)
	sampled(comet.Status{Running: true})
	want("without a state", true, false)
	if _, err := l.Init(chain.Changes{{Key: []byte("a"), Value: []byte("b")}}); err != nil {
		t.Fatal(err)
	}
	want("with a state", false, false)
	sampled(comet.Status{Running: true, CatchingUp: true})
	want("behind its peers", true, false)
	sampled(comet.Status{Running: true, Halt: &comet.HaltError{}})
	want("halted", false, true)
	sampled(comet.Status{})
	want("stopped", true, false)
}
