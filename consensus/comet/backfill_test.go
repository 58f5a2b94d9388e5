package comet_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// TestStateSyncEvidence has a node that joined by a snapshot take blocks with
// evidence about heights on both sides of it, from the first moment on.
func TestStateSyncEvidence(t *testing.T) {
	t.Parallel()
	nw, joiner := stateSyncNetwork(t, "statesync-evidence")
	seen := watchEvidence(joiner)
	nw.join(t, &comet.StateSync{Sources: []comet.LightSource{source{m: nw.members[0]}, source{m: nw.members[2]}}})
	base := joiner.chain.Base()
	if base < 2 {
		t.Fatalf("blocks from %d on, so it was no snapshot", base)
	}
	if _, _, err := joiner.chain.LightBlock(1); err != nil {
		t.Errorf("it takes part without the first header: %v", err)
	}
	if s := joiner.chain.Status(); s.Headers != (comet.HeaderStatus{}) {
		t.Errorf("all is there, but the status has %v", s.Headers)
	}
	joiner.app.waitFor(t, 20*time.Second, func(_ int, h uint64) bool { return h > base+1 })
	heights := []uint64{2, base - 2, base - 1, base, base + 1}
	for _, h := range heights {
		if err := comet.AddDuplicateVote(nw.members[1].chain, nw.members[3].signer, h); err != nil {
			t.Fatalf("evidence about height %d: %v", h, err)
		}
	}
	eventually(t, 60*time.Second, "evidence", func() bool { return seen(heights...) })
	_, height := joiner.app.count()
	joiner.app.waitFor(t, 60*time.Second, func(_ int, h uint64) bool { return h > height+3 })
	// The joiner itself can judge it, and tell light clients.
	for h := uint64(3); h < base; h++ {
		if err := comet.AddDuplicateVote(joiner.chain, nw.members[3].signer, h); err != nil {
			t.Fatalf("evidence about height %d: %v", h, err)
		}
	}
}

// watchEvidence returns what reports whether m has executed blocks with evidence about
// all of some heights.
func watchEvidence(m *member) (seen func(heights ...uint64) bool) {
	var mu sync.Mutex
	got := make(map[uint64]bool)
	m.app.setOnBlock(func(b comet.Block) error {
		mu.Lock()
		defer mu.Unlock()
		for _, ev := range b.Evidence {
			got[ev.Height] = true
		}
		return nil
	})
	return func(heights ...uint64) bool {
		mu.Lock()
		defer mu.Unlock()
		for _, h := range heights {
			if !got[h] {
				return false
			}
		}
		return true
	}
}

// shortSource is a node without the headers below a height. It remembers which it was
// asked for.
type shortSource struct {
	source
	from uint64

	mu    sync.Mutex
	asked map[uint64]int
}

func (s *shortSource) LightBlock(ctx context.Context, height uint64) (header, validators []byte, err error) {
	s.mu.Lock()
	if s.asked == nil {
		s.asked = make(map[uint64]int)
	}
	s.asked[height]++
	s.mu.Unlock()
	if height > 0 && height < s.from {
		return nil, nil, comet.ErrNotFound
	}
	return s.source.LightBlock(ctx, height)
}

// TestStateSyncWithoutHeaders joins where nobody has the headers below a height. The
// node says what it lacks, and halts when the others agree on a block with evidence
// about one of those; a start that has somebody to ask mends that, also if state sync
// is switched off by then, and asks for nothing twice.
func TestStateSyncWithoutHeaders(t *testing.T) {
	t.Parallel()
	const from = 20
	nw, joiner := stateSyncNetwork(t, "statesync-short")
	seen := watchEvidence(joiner)
	nw.join(t, &comet.StateSync{Sources: []comet.LightSource{
		&shortSource{source: source{m: nw.members[0]}, from: from}, &shortSource{source: source{m: nw.members[2]}, from: from},
	}})
	s := joiner.chain.Status()
	if s.Headers.Missing() != from-1 || s.Headers.Want < 39 || !strings.Contains(s.Headers.Problem, "state_sync.sources") {
		t.Errorf("status: %+v", s.Headers)
	}
	s.PendingSince, s.Signer, s.ConnectedPower = time.Time{}, nil, s.TotalPower
	if ok, reason := s.Health(time.Now(), comet.HealthLimits{}); ok || !strings.Contains(reason, "would halt this node") {
		t.Errorf("health: %v, %q", ok, reason)
	}
	const fault = 5
	if err := comet.AddDuplicateVote(nw.members[1].chain, nw.members[3].signer, fault); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "the halt", func() bool { return joiner.chain.Status().Halt != nil })
	if h := joiner.chain.Status().Halt; !strings.Contains(h.Error(), "don't have header") {
		t.Fatalf("halt: %v", h)
	}
	nw.stop(t, 4)

	// Nobody to ask: it starts all the same, halts again, and says what to do.
	nw.config = func(c *comet.Config) { c.EmptyBlocks = true }
	nw.restart(t, 4)
	if p := joiner.chain.Status().Headers.Problem; !strings.Contains(p, "nobody to ask") || !strings.Contains(p, "state_sync.sources") {
		eventually(t, 60*time.Second, "what to do", func() bool {
			return strings.Contains(joiner.chain.Status().Headers.Problem, "state_sync.sources")
		})
	}
	nw.stop(t, 4)

	helper := &shortSource{source: source{m: nw.members[3]}}
	liar := source{nw.members[2], func(header []byte) []byte { h := bytes.Clone(header); h[len(h)/2] ^= 1; return h }}
	nw.config = func(c *comet.Config) {
		c.EmptyBlocks, c.HeaderSources = true, []comet.LightSource{liar, absent{errBoom}, helper}
	}
	nw.restart(t, 4)
	eventually(t, 60*time.Second, "the block with the evidence", func() bool { return seen(fault) })
	if s := joiner.chain.Status(); s.Headers != (comet.HeaderStatus{}) || s.Halt != nil {
		t.Errorf("status: %+v, %v", s.Headers, s.Halt)
	}
	helper.mu.Lock()
	defer helper.mu.Unlock()
	for h := range helper.asked {
		if h >= from {
			t.Errorf("asked again for header %d", h)
		}
	}
	for h := uint64(1); h < joiner.chain.Base(); h++ { // votes included, byte by byte
		header, _, err := joiner.chain.LightBlock(h)
		theirs, _, errTheirs := nw.members[0].chain.LightBlock(h)
		if err != nil || errTheirs != nil || !bytes.Equal(header, theirs) {
			t.Fatalf("header %d differs: %v, %v", h, err, errTheirs)
		}
	}
}

// TestLinks changes one thing of a block that a source gives: whatever the header above
// it does not name is not taken.
func TestLinks(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "links", 1)
	m := n.members[0]
	c, err := comet.New(comet.Config{Dir: t.TempDir(), ListenAddr: m.addr}, n.genesis, m.signer, m.nodeKey, m.store, m.app, testLogger("0"), nil)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := comet.NewLongChain(c, 5, 4)
	if err != nil {
		t.Fatal(err)
	}
	for change, problem := range comet.LinkProblems(c, chain) {
		if (problem == nil) != (change == "none") {
			t.Errorf("%s: %v", change, problem)
		}
	}
	if err := comet.Fill(t.Context(), c, chain); err != nil {
		t.Error(err)
	}
}
