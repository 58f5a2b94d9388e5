package comet_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// A vote is refused for the size of its extension, and for nothing else, and not where
// the chain does not go on without it.
func TestVoteRefused(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "refused", 2)
	n.genesis.Validators[1].Power = 1 // the first makes blocks alone
	n.config = func(c *comet.Config) { c.TimeoutPropose = 7 * time.Second }
	n.start(t, 0)
	n.members[0].app.waitFor(t, hangs, func(_ int, height uint64) bool { return height > 0 })
	chain, other := n.members[0].chain, n.members[1].signer.Address()
	const height, longest = 100, comet.MaxPeerExtension
	for size, want := range map[int]bool{0: false, 1: false, comet.MaxExtension + 1: false, longest: false, longest + 1: true, 1 << 20: true} {
		if got := comet.VoteRefused(chain, height, other, size); got != want {
			t.Errorf("a vote with an extension of %d bytes refused: %v, want %v", size, got, want)
		}
	}
	if comet.VoteRefused(chain, height, n.members[0].signer.Address(), longest+1) {
		t.Error("the own vote is refused, by which CometBFT would halt")
	}
	// Names that nobody has are not remembered, and so do not count.
	for i := range 1_000 {
		if !comet.VoteRefused(chain, height+50, fmt.Appendf(nil, "%020d", i), longest+1) {
			t.Fatal("a vote under a name that nobody has is taken")
		}
	}
	if known, told := comet.Refusers(chain); known != 1 || told != 1 {
		t.Errorf("%d names are remembered and %d were logged, want 1 and 1", known, told)
	}
	later := time.Now().Add(time.Hour)
	for _, row := range []struct {
		name   string
		height int64
		at     time.Time
		waited time.Duration
		needed bool
		want   bool
	}{
		{"at once", height, time.Now(), time.Hour, true, false},
		{"on an idle chain", height, later, time.Second, true, false},
		{"at another height", height + 1, later, time.Hour, true, false},
		{"before two proposals may have failed", height, later, 13 * time.Second, true, false},
		{"where others are enough", height, later, 2 * time.Minute, false, false},
		{"later", height, later, 15 * time.Second, true, true},
		{"once more", height, later, time.Hour, true, false},
	} {
		if got := comet.RefusalDue(chain, row.height, row.at, row.waited, row.needed); got != row.want {
			t.Errorf("refused votes are taken %s: %v, want %v", row.name, got, row.want)
		}
	}
	if comet.VoteRefused(chain, height, other, 1<<20) {
		t.Error("refused where the chain needs it")
	}
	if !comet.VoteRefused(chain, height+1, other, longest+1) {
		t.Error("taken at the next height at once")
	}
	if !comet.RefusalDue(chain, height+1, later.Add(time.Hour), time.Hour, false) {
		t.Error("not taken after a long time either, where others seemed to be enough")
	}
	if total := chain.Status().RefusedVotes; total != 3 {
		t.Errorf("%d votes refused in all, want 3", total)
	}
}

// Votes that were refused are taken only where they may be missed.
func TestRefusedVotesThatAreNeeded(t *testing.T) {
	t.Parallel()
	var vals []comet.Validator
	var votes []comet.RefusedVote
	for i := range byte(5) {
		address := bytes.Repeat([]byte{i}, 20)
		vals = append(vals, comet.Validator{Address: address, Power: 10})
		votes = append(votes, comet.RefusedVote{Validator: address})
	}
	for _, row := range []struct {
		name      string
		connected int64
		network   uint64
		refused   []comet.RefusedVote
		want      bool
	}{
		{"one of five", 50, 9, votes[:1], false},
		{"two of five", 50, 9, votes[:2], true},
		{"one of four connected", 40, 9, votes[:1], true},
		{"the block is there", 50, 10, votes[:1], true},
		{"nobody known", 50, 9, []comet.RefusedVote{{Validator: []byte("nobody")}}, false},
		{"all", 50, 9, votes, true},
	} {
		s := comet.Status{Height: 9, NetworkHeight: row.network, ConnectedPower: row.connected, TotalPower: 50, Refused: row.refused}
		if got := comet.NeedsRefused(s, vals); got != row.want {
			t.Errorf("%s: needed %v, want %v", row.name, got, row.want)
		}
	}
}

// hostile makes the first bad members attach size bytes, more than any honest node
// does, and the others what they should. The chain must rest.
func (n *network) hostile(bad, size int) {
	for i, m := range n.members {
		m.app.mu.Lock()
		m.app.extend = func(b comet.Block) ([]byte, error) { return sealOf(b, m.signer.Address()), nil }
		if i < bad {
			m.app.extend = func(comet.Block) ([]byte, error) { return make([]byte, size), nil }
		}
		m.app.mu.Unlock()
		comet.AttachUpTo(m.chain, size)
	}
}

func (n *network) patience(d time.Duration) {
	for _, m := range n.members {
		comet.RefusalPatience(m.chain, d)
	}
}

// TestExtensionsThatAreTooLong lets validators send votes with extensions of any size,
// whatever their software would not do. Below a third of the power they are silent as
// far as the others are concerned; from a third on no block is made without their
// votes, until these are taken: by then the chain goes on, whether they stop or not.
func TestExtensionsThatAreTooLong(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "longext", 4)
	n.startAll(t)
	everybody := []int{0, 1, 2, 3}
	sent := 0
	settle := func(at int) {
		t.Helper()
		n.settle(t, at, sent, everybody...)
		sent++
	}

	// As long as they are taken at once, it does not matter how many there are.
	for bad := range 5 {
		n.rest(t)
		n.hostile(bad, comet.MaxPeerExtension)
		quick(t, 3*time.Second, fmt.Sprintf("a block with the longest that are taken from %d of 4", bad), func() { settle(sent % 4) })
	}

	// Less than a third: the others do without, and store none.
	n.patience(time.Hour)
	n.rest(t)
	n.hostile(1, 1_000_000)
	first := n.members[1].chain.LatestHeight() + 1
	eventually(t, hangs, "all others refused a vote", func() bool {
		settle(sent % 4)
		for _, m := range n.members[1:] {
			if m.chain.Status().RefusedVotes == 0 {
				return false
			}
		}
		return true
	})
	n.rest(t)
	for i, m := range n.members[1:] {
		for h := first; h <= m.chain.LatestHeight(); h++ {
			if largest := comet.LargestExtension(m.chain, h); largest > comet.MaxPeerExtension || largest < 0 {
				t.Errorf("member %d stores an extension of %d bytes with block %d", i+1, largest, h)
			}
		}
	}

	// A third and more.
	for bad := 2; bad <= 4; bad++ {
		n.patience(time.Hour)
		n.rest(t)
		n.hostile(bad, comet.MaxPeerExtension+bad)
		height := n.members[3].chain.LatestHeight()
		n.broadcast(t, 3, tx(sent))
		for i := bad; i < 4; i++ {
			m := n.members[i]
			eventually(t, hangs, "the votes are refused, and who sent them is named", func() bool {
				s := m.chain.Status()
				for _, v := range s.Refused {
					if v.Bytes != comet.MaxPeerExtension+bad || v.Height != height+1 {
						t.Errorf("refused is %+v, at height %d", v, height)
					}
				}
				_, reason := s.Health(time.Now().Add(time.Minute), comet.HealthLimits{ClockSkew: time.Hour})
				named := 0
				for _, b := range n.members[:bad] {
					if strings.Contains(reason, hex.EncodeToString(b.signer.Address())) {
						named++
					}
				}
				return len(s.Refused) == bad && named == bad
			})
			if got := m.chain.LatestHeight(); got != height {
				t.Errorf("member %d made block %d without two thirds", i, got)
			}
		}
		if bad == 4 {
			for i, m := range n.members {
				eventually(t, hangs, "the votes of all others are refused", func() bool { return len(m.chain.Status().Refused) == 3 })
				if got := m.chain.LatestHeight(); got != height {
					t.Errorf("member %d made block %d by its own vote", i, got)
				}
			}
		}
		n.patience(50 * time.Millisecond)
		waitTxs := func() {
			for _, m := range n.members {
				m.app.waitFor(t, hangs, func(txs int, _ uint64) bool { return txs > sent })
			}
			sent++
		}
		waitTxs() // they go on, and so does the chain
		n.hostile(0, comet.MaxExtension)
		waitReady := func() {
			for i := range n.members {
				n.waitReady(t, i)
			}
		}
		waitReady()
		settle(0)
		n.rest(t)
	}
	// Everything is as before, and their long ones show as none.
	last := n.rest(t)
	n.wantExtensions(t, 3, last)
	for i, m := range n.members {
		if s := m.chain.Status(); s.Halt != nil || len(s.Refused) != 0 {
			t.Errorf("member %d: halted by %v, refused %v", i, s.Halt, s.Refused)
		}
		for h := first; h <= last; h++ {
			_, extensions, err := m.chain.Extensions(h)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range extensions {
				if len(e.Data) > comet.MaxPeerExtension {
					t.Errorf("member %d hands out an extension of %d bytes of block %d", i, len(e.Data), h)
				}
			}
		}
	}
}
