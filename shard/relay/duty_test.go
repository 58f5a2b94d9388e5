package relay_test

import (
	"testing"
	"time"

	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/relay"
)

func TestTurn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rank, first, n int
		want           uint64
	}{
		{0, 2, 4, 0},
		{1, 2, 4, 0},
		{2, 2, 4, link.RelayTimeout},
		{3, 2, 4, 2 * link.RelayTimeout},
		{relay.Nobody, 2, 4, 3 * link.RelayTimeout},
		{relay.Nobody, 2, 0, link.RelayTimeout},
		{relay.Nobody, 1, 1, link.RelayTimeout},
		{0, 1, 4, 0},
		{1, 1, 4, link.RelayTimeout},
	} {
		if got := relay.Turn(c.rank, c.first, c.n); got != c.want {
			t.Errorf("rank %d of %d, %d at first: after %d blocks, want %d", c.rank, c.n, c.first, got, c.want)
		}
	}
}

// TestPatience: blocks count, time counts where main stands still, and another thing
// begins anew.
func TestPatience(t *testing.T) {
	t.Parallel()
	var p relay.Patience
	now := time.Unix(1_000, 0)
	const block = time.Second
	steps := []struct {
		what, height uint64
		after        time.Duration
		want         uint64
	}{
		{1, 100, 0, 0},
		{1, 103, 0, 3},
		{1, 103, 14 * time.Second, 7},
		{2, 103, 14 * time.Second, 0},
		{2, 103, 18 * time.Second, 2},
		{2, 90, 18 * time.Second, 2}, // main was restored to an earlier height
	}
	for i, s := range steps {
		if got := p.Waited(s.what, s.height, now.Add(s.after), block); got != s.want {
			t.Errorf("step %d: %d blocks, want %d", i, got, s.want)
		}
	}
	if got := p.Left(10, now.Add(18*time.Second), block); got != 16*time.Second {
		t.Errorf("%s are left, want 16s", got)
	}
}

// TestHold: what was sent is sent again after some time that grows up to a bound, and at
// once when it had an effect.
func TestHold(t *testing.T) {
	t.Parallel()
	var h relay.Hold
	now := time.Unix(1_000, 0)
	if ok, _ := h.Free(5, false, now); !ok {
		t.Fatal("nothing was sent, and it has to wait")
	}
	var waits []time.Duration
	for range 14 {
		h.Sent(5, now, 0)
		if ok, _ := h.Free(5, false, now); ok {
			t.Fatal("it is sent twice")
		}
		from := now
		for {
			ok, wait := h.Free(5, false, now)
			if ok {
				break
			}
			if wait <= 0 {
				t.Fatal("it waits for no time")
			}
			now = now.Add(wait)
		}
		waits = append(waits, now.Sub(from))
	}
	for i := 2; i < len(waits); i++ {
		if waits[i] < waits[i-1] || waits[i] > relay.MaxBackoff {
			t.Errorf("waits %v", waits)
			break
		}
	}
	if waits[len(waits)-1] != relay.MaxBackoff {
		t.Errorf("the last wait is %s, want %s", waits[len(waits)-1], relay.MaxBackoff)
	}
	h.Sent(5, now, 1)
	if ok, _ := h.Free(6, true, now); !ok {
		t.Error("it had an effect, and the next has to wait")
	}
}

// TestDrip: what somebody brings a little of goes on waiting, after some time.
func TestDrip(t *testing.T) {
	t.Parallel()
	const block = time.Second
	start := time.Unix(1_000, 0)
	for name, c := range map[string]struct {
		height uint64
		after  time.Duration
		waited uint64
	}{
		"at once":                {100, 0, 0},
		"soon":                   {100 + relay.DripBlocks, 0, 0},
		"later":                  {100 + relay.DripBlocks + 9, 0, 9},
		"later, main standing":   {100, (relay.DripBlocks + 9) * 2 * block, 9},
		"soon, main standing":    {100, (relay.DripBlocks - 1) * 2 * block, 0},
		"later, and some blocks": {110, (relay.DripBlocks + 7) * 2 * block, 7},
	} {
		var p relay.Patience
		p.Waited(1, 90, start, block) // what was brought meanwhile
		if got := p.Dripped(2, c.height, start.Add(c.after), block, 100, start); got != c.waited {
			t.Errorf("%s: it has waited for %d blocks, want %d", name, got, c.waited)
		}
	}
}
