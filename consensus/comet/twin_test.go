package comet_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// copyOf adds a member with the keys and the sign state of another, but a node key of
// its own, that dials the members in peers.
func (n *network) copyOf(t *testing.T, i int, peers ...int) int {
	t.Helper()
	from, dir := filepath.Join(n.members[i].dir, "config"), t.TempDir()
	config := filepath.Join(dir, "config")
	if err := os.MkdirAll(config, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"priv_validator_key.json", "priv_validator_state.json"} {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(config, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	nodeKey, err := comet.GenerateNodeKey(config)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := comet.LoadSigner(config)
	if err != nil {
		t.Fatal(err)
	}
	n.config = func(c *comet.Config) {
		c.Peers = nil
		for _, j := range peers {
			c.Peers = append(c.Peers, n.members[j].nodeKey.ID()+"@"+n.members[j].addr)
		}
	}
	n.members = append(n.members, &member{
		dir: dir, signer: signer, nodeKey: nodeKey, store: newStore(t), app: newMemApp(), addr: freeAddrs(t, 1)[0],
	})
	return len(n.members) - 1
}

// A chain that is idle tells nobody that a key votes elsewhere; peers do. The copy does
// not sign, whether it meets the original or only others do, the original goes on, and
// when it has gone the copy may take its place.
func TestCopyOfAnIdleValidatorDoesNotSign(t *testing.T) {
	t.Parallel()
	for name, peers := range map[string][]int{"told by others": {0, 1, 2}, "told by itself": {0, 1, 2, 3}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork(t, "copied", 4)
			var evidence atomic.Int64
			for _, m := range n.members {
				m.app.setOnBlock(func(b comet.Block) error { evidence.Add(int64(len(b.Evidence))); return nil })
			}
			n.startAll(t)
			n.settle(t, 0, 0, 0, 1, 2, 3)
			n.rest(t)
			original := n.members[3]
			i := n.copyOf(t, 3, peers...)
			n.start(t, i)
			eventually(t, hangs, "the copy refuses to sign", func() bool {
				return errors.Is(n.members[i].chain.Status().Signer, comet.ErrKeyInUse)
			})
			err := n.members[i].chain.Status().Signer
			if !strings.Contains(err.Error(), original.nodeKey.ID()) || !strings.Contains(err.Error(), "127.") {
				t.Errorf("it does not say who signs: %v", err)
			}
			eventually(t, hangs, "the copy has caught up", func() bool { return !n.members[i].chain.Status().CatchingUp })
			if ok, reason := n.healthy(i); ok || !strings.Contains(reason, original.nodeKey.ID()) {
				t.Errorf("the copy is healthy %t: %s", ok, reason)
			}
			before := n.members[i].signer.Height()
			for sent := 1; sent <= 5; sent++ {
				n.settle(t, sent%3, sent, 0, 1, 2, 3, i)
				if err := original.chain.Status().Signer; err != nil {
					t.Fatalf("the original does not sign: %v", err)
				}
			}
			if after := n.members[i].signer.Height(); after != before {
				t.Errorf("the copy signed up to height %d, from %d on", after, before)
			}
			if at := original.signer.Height(); at <= before {
				t.Errorf("the original signed up to height %d only, from %d on", at, before)
			}
			if count := evidence.Load(); count != 0 {
				t.Errorf("%d proofs of equivocation", count)
			}
			n.stop(t, 3)
			eventually(t, hangs, "the copy is told of nobody any more", func() bool {
				return !errors.Is(n.members[i].chain.Status().Signer, comet.ErrKeyInUse)
			})
		})
	}
}

// Only a fresh proof by this node's own key is believed, whoever tells of it.
func TestTwinsAreProved(t *testing.T) {
	t.Parallel()
	own, err := comet.GenerateSigner(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := comet.GenerateSigner(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const other, third, self = "00000000000000000000000000000000000000bb", "00000000000000000000000000000000000000cc", "00000000000000000000000000000000000000aa"
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, row := range map[string]struct {
		signer      *comet.Signer
		id, meant   string
		signed      time.Time
		votes, says bool
		want        bool
	}{
		"right":                      {own, other, other, now, true, true, true},
		"one that does not vote":     {own, other, other, now, false, false, true},
		"a minute old":               {own, other, other, now.Add(-time.Minute), true, true, true},
		"a minute early":             {own, other, other, now.Add(time.Minute), true, true, true},
		"too old":                    {own, other, other, now.Add(-time.Minute - time.Millisecond), true, true, false},
		"too early":                  {own, other, other, now.Add(time.Minute + time.Millisecond), true, true, false},
		"of another key":             {stranger, other, other, now, true, true, false},
		"of another node":            {own, third, other, now, true, true, false},
		"said to vote, but does not": {own, other, other, now, false, true, false},
		"this node":                  {own, self, self, now, true, true, false},
	} {
		have, err := comet.TwinTold(own, row.signer, row.id, row.meant, now, row.signed, row.votes, row.says)
		if err != nil || have != row.want {
			t.Errorf("%s: believed %t, %v", name, have, err)
		}
	}
}

// Who starts waits for what peers tell; who signs stops only beside one that votes.
func TestTwinGuard(t *testing.T) {
	t.Parallel()
	type look struct {
		at     time.Duration
		peers  int
		id     string
		votes  bool
		signs  bool
		inUse  bool
		toTell bool
	}
	const s = comet.SettleFor
	for name, looks := range map[string][]look{
		"alone":                {{0, 0, "", false, false, false, false}, {time.Hour, 0, "", false, false, false, false}},
		"with peers":           {{0, 1, "", false, false, false, false}, {s - 1, 1, "", false, false, false, false}, {s, 1, "", false, true, false, false}},
		"with peers that left": {{0, 1, "", false, false, false, false}, {1, 0, "", false, false, false, false}, {2, 1, "", false, false, false, false}, {s, 1, "", false, false, false, false}, {s + 2, 1, "", false, true, false, false}},
		"a start beside one that votes": {
			{0, 1, "", false, false, false, false},
			{s, 1, "b", true, false, true, true},
			{2 * s, 1, "b", true, false, true, false},
			{3 * s, 1, "", false, false, true, false},
			{4*s - 1, 1, "", false, false, true, false},
			{4 * s, 1, "", false, true, false, false},
		},
		"a start beside one that does not": {{0, 1, "b", false, false, true, true}, {s, 1, "b", false, false, true, false}},
		"signing beside one that does not": {{0, 1, "", false, false, false, false}, {s, 1, "", false, true, false, false}, {s + 1, 1, "b", false, true, false, true}, {s + 2, 1, "c", false, true, false, true}},
		"signing beside one that votes": {
			{0, 1, "", false, false, false, false},
			{s, 1, "", false, true, false, false},
			{s + 1, 1, "b", true, false, true, true},
			{s + 2, 1, "b", false, false, true, false}, // it stopped as well: neither goes on
		},
	} {
		g, off := comet.NewTwinGuard(false), comet.NewTwinGuard(true)
		begin := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
		for i, l := range looks {
			if news := g.Look(begin.Add(l.at), l.peers, l.id, l.votes); news != l.toTell {
				t.Errorf("%s, look %d: something to tell %t", name, i, news)
			}
			if signs, err := g.Status(); signs != l.signs || errors.Is(err, comet.ErrKeyInUse) != l.inUse {
				t.Errorf("%s, look %d: signs %t, %v", name, i, signs, err)
			}
			off.Look(begin.Add(l.at), l.peers, l.id, l.votes)
			if signs, err := off.Status(); !signs || err != nil {
				t.Errorf("%s, look %d: one that only tells signs %t, %v", name, i, signs, err)
			}
		}
		last := looks[len(looks)-1]
		g.End()
		if err := g.Await(); (err == nil) != last.signs || errors.Is(err, comet.ErrKeyInUse) != last.inUse {
			t.Errorf("%s: a signature waits for %v", name, err)
		}
	}
}

// Proofs cost time to check, so a peer has few checked.
func TestProofsAreNotCheckedWithoutEnd(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	c := comet.NewContact(now)
	for i := range 11 { // the first is of the connection
		if err := c.Proof(now); err != nil {
			t.Fatalf("proof %d: %v", i, err)
		}
	}
	if err := c.Proof(now); err == nil {
		t.Error("any number of proofs is checked at once")
	}
	for i := range 100 {
		now = now.Add(time.Second)
		if err := c.Proof(now); err != nil {
			t.Fatalf("one in a second, %d: %v", i, err)
		}
	}
}
