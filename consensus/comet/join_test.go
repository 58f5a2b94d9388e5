package comet_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// joinNetwork runs four validators, of so many members, that make empty blocks and no
// snapshots.
func joinNetwork(t *testing.T, name string, members int) *network {
	t.Helper()
	nw := newNetwork(t, name, members)
	nw.genesis.Validators = nw.genesis.Validators[:4]
	nw.config = func(c *comet.Config) { c.EmptyBlocks = true }
	for _, m := range nw.members {
		m.app.snaps = &memSnapshots{every: 1 << 40}
	}
	for i := range 4 {
		nw.start(t, i)
	}
	for i := range 4 {
		nw.waitReady(t, i)
	}
	return nw
}

// snapshot makes the validators make a snapshot every few blocks.
func (n *network) snapshot(every uint64) {
	for _, m := range n.members[:4] {
		m.app.mu.Lock()
		m.app.snaps.every = every
		m.app.mu.Unlock()
	}
}

// searching is how a node joins that looks for a snapshot, but not for long.
func (n *network) searching() *comet.StateSync {
	return &comet.StateSync{
		Sources:       []comet.LightSource{source{m: n.members[0]}, source{m: n.members[2]}},
		DiscoveryTime: 200 * time.Millisecond, SearchTime: 2 * time.Second,
	}
}

// TestStateSyncFindsNothing joins a network that has made no snapshot yet, and then
// one whose snapshots are all false: the node fetches all blocks.
func TestStateSyncFindsNothing(t *testing.T) {
	t.Parallel()
	nw := joinNetwork(t, "join-nothing", 6)
	fallsBack := func(i int) {
		t.Helper()
		m := nw.members[i]
		plain := nw.config
		nw.config = func(c *comet.Config) { c.EmptyBlocks, c.StateSync = true, nw.searching() }
		nw.start(t, i)
		nw.config = plain
		if !comet.Searched(m.chain) { // the phase may be over before anybody looks
			t.Errorf("member %d does not look for a snapshot", i)
		}
		eventually(t, hangs, "fetching blocks instead, and saying so", func() bool {
			s := m.chain.Status().Sync
			return s.Phase == comet.SyncBlocks && strings.Contains(s.Note, "no snapshot was found")
		})
		eventually(t, hangs, "caught up", func() bool { return !m.chain.Status().CatchingUp })
		_, height := m.app.count()
		m.app.waitFor(t, hangs, func(_ int, h uint64) bool { return h > height+3 })
		if base := m.chain.Base(); base != 1 {
			t.Errorf("member %d has blocks from %d on", i, base)
		}
		if s := m.chain.Status().Sync; s.Note != "" && s.Phase == comet.SyncNone {
			t.Errorf("member %d still says %q", i, s.Note)
		}
	}
	fallsBack(4)

	for _, m := range nw.members[:4] {
		m.app.snaps.mu.Lock()
		m.app.snaps.forge = func(s *comet.Snapshot) { s.Metadata = s.Metadata[1:] }
		m.app.snaps.mu.Unlock()
	}
	nw.snapshot(10)
	for _, m := range nw.members[:4] {
		eventually(t, hangs, "a snapshot", func() bool { return len(m.app.Snapshots()) > 0 })
	}
	fallsBack(5)
	if nw.members[5].app.snaps.refused == 0 {
		t.Error("no false snapshot was looked at")
	}
	// It is a node like any other: it starts again from its blocks.
	nw.stop(t, 5)
	nw.restart(t, 5)
	_, height := nw.members[5].app.count()
	nw.members[5].app.waitFor(t, hangs, func(_ int, h uint64) bool { return h > height+3 })
}

// TestNobodyHasTheFirstBlock joins a network that dropped its first blocks and has no
// snapshot: the node says so, whether it looks for a snapshot or not, and takes the
// first snapshot that there is.
func TestNobodyHasTheFirstBlock(t *testing.T) {
	t.Parallel()
	nw := joinNetwork(t, "join-pruned", 6)
	for _, m := range nw.members[:4] {
		m.app.mu.Lock()
		m.app.retain = func(height uint64) uint64 { return min(height, 40) }
		m.app.mu.Unlock()
	}
	for _, m := range nw.members[:4] {
		eventually(t, hangs, "the first blocks are dropped", func() bool { return m.chain.Base() > 16 })
	}
	joiner := nw.members[4]
	says := func(phase comet.SyncPhase) {
		t.Helper()
		eventually(t, hangs, "nobody has the first block", func() bool {
			ok, reason := nw.healthy(4)
			s := joiner.chain.Status()
			return !ok && s.CatchingUp && s.Sync.Phase == phase && strings.Contains(reason, "no peer has block 1, the lowest that any has is")
		})
	}
	nw.start(t, 4)
	says(comet.SyncBlocks)
	// If it had looked for a snapshot before, it would say to do so again.
	comet.FellBack(joiner.chain)
	eventually(t, hangs, "what to do after looking for a snapshot in vain", func() bool {
		ok, reason := nw.healthy(4)
		return !ok && strings.Contains(reason, "start this one again to look for a snapshot once more")
	})
	nw.stop(t, 4)

	// A stranger that connects and says to have all blocks changes nothing.
	stranger := nw.members[5]
	dial := func(to ...*member) func(*comet.Config) {
		return func(c *comet.Config) {
			c.Peers, c.EmptyBlocks = nil, true
			for _, m := range to {
				c.Peers = append(c.Peers, m.nodeKey.ID()+"@"+m.addr)
			}
		}
	}
	nw.config = func(c *comet.Config) {
		dial(nw.members[:4]...)(c)
		c.StateSync = nw.searching()
	}
	nw.restart(t, 4)
	nw.config = dial(joiner)
	nw.start(t, 5)
	says(comet.SyncSnapshot)
	looks := 0
	eventually(t, hangs, "the stranger is heard", func() bool {
		comet.BoastBlocks(stranger.chain, 1, 1<<40)
		if comet.Claims(joiner.chain, 1<<40) > 0 { // until it answers the next question
			looks++
		}
		return looks > 200
	})
	says(comet.SyncSnapshot)
	nw.stop(t, 5)
	nw.snapshot(40)
	eventually(t, 2*hangs, "joining by the first snapshot", func() bool { return !joiner.chain.Status().CatchingUp })
	_, height := joiner.app.count()
	joiner.app.waitFor(t, hangs, func(_ int, h uint64) bool { return h > height+3 })
	if base := joiner.chain.Base(); base <= 40 {
		t.Errorf("it has blocks from %d on", base)
	}
}

// TestStopWhileSearching stops a node that finds neither peers nor snapshots.
func TestStopWhileSearching(t *testing.T) {
	t.Parallel()
	nw := joinNetwork(t, "join-stop", 5)
	joiner := nw.members[4]
	joiner.addr, joiner.passive = freeAddrs(t, 1)[0], true
	nw.config = func(c *comet.Config) { c.EmptyBlocks, c.StateSync = true, nw.searching() }
	nw.start(t, 4)
	eventually(t, hangs, "looking for a snapshot", func() bool { return joiner.chain.Status().Sync.Phase == comet.SyncSnapshot })
	nw.stop(t, 4)
}

// TestNobodyIsStrandedByHearsay has a stranger, and then one validator of five, claim
// blocks far above a network that never fetched any: its nodes go on as before.
func TestNobodyIsStrandedByHearsay(t *testing.T) {
	t.Parallel()
	const far = 1 << 40
	nw := newNetwork(t, "hearsay", 6)
	nw.genesis.Validators = nw.genesis.Validators[:5]
	stranger := nw.members[5]
	nw.config = func(c *comet.Config) { // the stranger dials them
		c.Peers = slices.DeleteFunc(c.Peers, func(p string) bool { return strings.HasPrefix(p, stranger.nodeKey.ID()) })
	}
	for i := range 6 {
		nw.start(t, i)
	}
	for i := range 6 {
		nw.waitReady(t, i)
	}
	for _, liar := range []int{5, 4} {
		others := nw.members[:liar]
		for i, m := range others {
			eventually(t, hangs, "the lie is heard", func() bool {
				comet.BoastBlocks(nw.members[liar].chain, far, far)
				comet.Boast(nw.members[liar].chain, far, time.Now())
				comet.CommittedAgo(m.chain, time.Hour) // nothing shields them
				if s := m.chain.Status(); s.CatchingUp {
					t.Fatalf("liar %d makes member %d say %q", liar, i, s.Sync.Note)
				}
				return comet.Claims(m.chain, far) == 6-liar && (liar == 5 || m.chain.Status().NetworkHeight == far)
			})
			if err := m.chain.Broadcast(tx(10*liar + i)); err != nil {
				t.Errorf("liar %d: member %d takes no transaction: %v", liar, i, err)
			}
		}
	}
}
