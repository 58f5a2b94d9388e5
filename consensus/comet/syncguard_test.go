package comet_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/p2p/mock"
	bcproto "github.com/cometbft/cometbft/proto/tendermint/blocksync"

	"github.com/tributary-network/tributary/consensus/comet"
)

// A node that fetches blocks survives that the peers it fetches them from leave
// all the time: CometBFT v0.40 alone ends the process within a few of them.
func TestPeersLeaveDuringBlockSync(t *testing.T) {
	t.Parallel()
	const blocks = 60
	n := newNetwork(t, "leaving", 4)
	n.config = func(c *comet.Config) { c.TimeoutCommit, c.EmptyBlocks = time.Millisecond, true }
	n.startAll(t)
	n.stop(t, 3)
	n.members[0].app.waitFor(t, time.Minute, func(_ int, height uint64) bool { return height >= blocks })
	n.members[3].store, n.members[3].app = newStore(t), newMemApp()
	applied := make(chan struct{})
	n.members[3].app.setOnBlock(func(b comet.Block) error {
		if b.Height%8 == 5 && b.Height < blocks {
			select {
			case applied <- struct{}{}:
			default:
			}
		}
		return nil
	})
	n.restart(t, 3)
	chain, app := n.members[3].chain, n.members[3].app
	drops, caught := 0, time.After(hangs)
	for {
		if _, height := app.count(); height >= blocks {
			break
		}
		select {
		case <-applied:
			comet.DropPeers(chain)
			drops++
		case <-time.After(100 * time.Millisecond): // it may be past the last drop
		case <-caught:
			t.Fatalf("not caught up; %d drops, status %+v", drops, chain.Status())
		}
	}
	if t.Logf("%d drops of all peers", drops); drops == 0 {
		t.Error("no peer left")
	}
}

// guarded is a guard, and what became of what it was given.
type guarded struct {
	comet.SyncGuard

	t       *testing.T
	syncing atomic.Bool
	mu      sync.Mutex
	seen    []string
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{t: t}
	g.syncing.Store(true)
	g.SyncGuard = comet.NewSyncGuard(func(e p2p.Envelope) {
		switch m := e.Message.(type) {
		case *bcproto.BlockResponse:
			g.add("block")
		case *bcproto.NoBlockResponse:
			g.add("no block")
		case *bcproto.StatusResponse:
			g.add("status")
		default:
			t.Errorf("message %T", m)
		}
	}, func(p2p.ID) { g.add("remove") }, func(p2p.ID) { g.add("drop") }, g.syncing.Load)
	return g
}

func (g *guarded) add(what string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen = append(g.seen, what)
}

func (g *guarded) from(peer p2p.Peer, messages ...p2p.Wrapper) {
	for _, m := range messages {
		g.Receive(p2p.Envelope{Src: peer, ChannelID: 0x40, Message: m})
	}
}

func (g *guarded) want(when string, events ...string) {
	g.t.Helper()
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.Equal(g.seen, events) {
		g.t.Errorf("%s: %q, want %q", when, g.seen, events)
	}
	g.seen = nil
}

func claim(base, height int64) p2p.Wrapper {
	return &bcproto.StatusResponse{Base: base, Height: height}
}

func noBlock(height int64) p2p.Wrapper { return &bcproto.NoBlockResponse{Height: height} }

// leave ends the peer's connection, as CometBFT does.
func (g *guarded) leave(peer *mock.Peer) {
	g.t.Helper()
	if err := peer.Stop(); err != nil {
		g.t.Error(err)
	}
	g.RemovePeer(peer)
}

// again is another connection to the same peer.
type again struct {
	*mock.Peer
	id p2p.ID
}

func (a again) ID() p2p.ID { return a.id }

// What may drop a block waits for a safe moment, in its order; the rest goes on.
func TestSyncGuard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		peer, other := mock.NewPeer(nil), mock.NewPeer(nil)
		g.from(peer, claim(1, 10), &bcproto.BlockResponse{}, claim(1, 11))
		g.want("what drops nothing", "status", "block", "status")

		g.from(peer, noBlock(3), claim(1, 9))
		g.leave(peer)
		g.from(other, &bcproto.BlockResponse{})
		g.want("before a safe moment", "block")
		back := again{mock.NewPeer(nil), peer.ID()}
		returned := make(chan struct{})
		go func() { g.InitPeer(back); close(returned) }()
		g.InitPeer(other) // nobody else waits for it
		synctest.Wait()
		select {
		case <-returned:
			t.Error("the peer is back before it is gone")
		default:
		}
		g.from(peer, claim(1, 5), noBlock(4))
		g.Release()
		<-returned
		g.want("at a safe moment", "no block", "status", "remove")

		// Nothing is applied: what is held goes through after a second.
		g.RemovePeer(back)
		<-time.After(900 * time.Millisecond)
		g.Applied()
		<-time.After(900 * time.Millisecond)
		g.want("a block was applied a moment ago")
		<-time.After(101 * time.Millisecond)
		g.want("a second later", "remove")
		<-time.After(time.Second) // while it is taken in a block would wait for a lock, where no time passes here
		g.from(other, &bcproto.BlockResponse{})
		g.want("the next block", "block")
		g.from(back, claim(1, 2))
		g.want("a peer that is new again", "status")
		g.from(back, claim(3, 2))
		g.want("a peer whose claim is absurd")
		g.Release()
		g.want("at a safe moment", "status")
	})
}

// A claim that takes back blocks waits, whether they are the first or the last ones.
func TestSyncGuardTakesBack(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		base, height int64
		waits        bool
	}{
		"the same":              {5, 10, false},
		"one more":              {5, 11, false},
		"pruned":                {6, 10, false},
		"a lower first block":   {4, 10, true},
		"a lower last block":    {5, 9, true},
		"both, the first lower": {4, 11, true},
		"both, the last lower":  {6, 9, true},
		"none":                  {11, 10, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newGuarded(t)
				peer := mock.NewPeer(nil)
				g.from(peer, claim(5, 10))
				g.want("the first claim", "status")
				g.from(peer, claim(row.base, row.height))
				if !row.waits {
					g.want("what takes nothing back", "status")
					return
				}
				g.want("what takes back")
				g.Release()
				g.want("at a safe moment", "status")
			})
		})
	}
}

// However much a peer takes back, little is held of it, and it is dropped.
func TestSyncGuardIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		peer, other := mock.NewPeer(nil), mock.NewPeer(nil)
		for range 10 {
			g.from(peer, noBlock(3))
		}
		g.from(other, claim(1, 20), claim(1, 10), claim(1, 9), noBlock(3))
		g.want("before a safe moment", "status")
		if held := g.Held(); held != 3 {
			t.Errorf("%d events are held, want one of each kind, height and peer", held)
		}
		g.Release()
		g.want("at a safe moment", "no block", "status", "no block")
		<-time.After(time.Minute)
		for height := range int64(41) {
			g.from(peer, noBlock(height))
		}
		g.want("more than a burst", "drop")
		if held := g.Held(); held != 40 {
			t.Errorf("%d events are held, want 40", held)
		}
		g.leave(peer)
		for range 1000 {
			g.from(peer, noBlock(7))
		}
		if held := g.Held(); held != 41 {
			t.Errorf("%d events are held of a peer that left, want 41", held)
		}
		g.Release()
		// The others are let be as long as they keep to a few per second.
		g.want("at a safe moment", append(slices.Repeat([]string{"no block"}, 40), "remove")...)
		for range 100 {
			<-time.After(time.Second / 5)
			g.from(other, noBlock(9))
		}
		g.Release()
		synctest.Wait()
		g.mu.Lock()
		defer g.mu.Unlock()
		if slices.Contains(g.seen, "drop") {
			t.Error("a peer is dropped that takes back five blocks per second")
		}
	})
}

// What a peer claimed goes with it at once, and does not come back by what it sent last.
func TestSyncGuardForgetsClaims(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		peer, other := mock.NewPeer(nil), mock.NewPeer(nil)
		g.from(peer, claim(2, 10))
		g.from(other, claim(5, 10))
		want := func(when string, of, ofOther int64) {
			t.Helper()
			if got, gotOther := g.Claim(peer), g.Claim(other); got != of || gotOther != ofOther {
				t.Errorf("%s: blocks from %d and %d on, want %d and %d", when, got, gotOther, of, ofOther)
			}
		}
		want("both are there", 2, 5)
		g.leave(peer)
		g.from(peer, claim(1, 10))
		want("one has left", 0, 5)
		g.Release()
	})
}

// When block sync is over nothing waits, nobody is dropped, and what was held goes.
func TestSyncGuardEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		peer := mock.NewPeer(nil)
		g.from(peer, noBlock(1))
		g.want("while block sync runs")
		g.Applied()
		<-time.After(500 * time.Millisecond)
		g.Applied()
		g.syncing.Store(false)
		<-time.After(501 * time.Millisecond)
		g.want("a second later", "no block")
		for height := range int64(1000) {
			g.from(peer, noBlock(height))
		}
		g.from(peer, claim(1, 5), claim(1, 4))
		g.want("after block sync", append(slices.Repeat([]string{"no block"}, 1000), "status", "status")...)
		g.leave(peer)
		g.InitPeer(again{mock.NewPeer(nil), peer.ID()})
		g.want("after block sync", "remove")
		if held := g.Held(); held != 0 {
			t.Errorf("%d events are held", held)
		}
	})
}
