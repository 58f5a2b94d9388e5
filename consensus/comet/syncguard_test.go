package comet_test

import (
	"slices"
	"sync"
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

// What may drop a block waits for a safe moment, in its order; the rest goes on.
func TestSyncGuard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var seen []string
		add := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, what)
		}
		want := func(when string, events ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(seen, events) {
				t.Errorf("%s: %q, want %q", when, seen, events)
			}
			seen = nil
		}
		g := comet.NewSyncGuard(func(e p2p.Envelope) {
			switch m := e.Message.(type) {
			case *bcproto.BlockResponse:
				add("block")
			case *bcproto.NoBlockResponse:
				add("no block")
			case *bcproto.StatusResponse:
				add("status")
			default:
				t.Errorf("message %T", m)
			}
		}, func(p2p.ID) { add("remove") })
		peer := mock.NewPeer(nil)
		receive := func(m p2p.Wrapper) { g.Receive(p2p.Envelope{Src: peer, ChannelID: 0x40, Message: m}) }

		receive(&bcproto.StatusResponse{Base: 1, Height: 10})
		receive(&bcproto.BlockResponse{})
		receive(&bcproto.StatusResponse{Base: 1, Height: 11})
		want("what drops nothing", "status", "block", "status")

		receive(&bcproto.NoBlockResponse{Height: 3})
		receive(&bcproto.StatusResponse{Base: 1, Height: 9})
		g.RemovePeer(peer)
		receive(&bcproto.BlockResponse{})
		want("before a safe moment", "block")
		again := make(chan struct{})
		go func() { g.InitPeer(peer); close(again) }()
		synctest.Wait()
		select {
		case <-again:
			t.Error("the peer is back before it is gone")
		default:
		}
		g.Release()
		<-again
		want("at a safe moment", "no block", "status", "remove")

		// Nothing is applied: what is held goes through after a second.
		g.RemovePeer(peer)
		<-time.After(900 * time.Millisecond)
		g.Applied()
		<-time.After(900 * time.Millisecond)
		want("a block was applied a moment ago")
		<-time.After(101 * time.Millisecond)
		want("a second later", "remove")
		<-time.After(time.Second) // while it is taken in a block would wait for a lock, where no time passes here
		receive(&bcproto.BlockResponse{})
		want("the next block", "block")
		receive(&bcproto.StatusResponse{Base: 1, Height: 2})
		want("a peer that is new again", "status")
		receive(&bcproto.StatusResponse{Base: 3, Height: 2})
		want("a peer whose claim is absurd")
		g.Release()
		want("at a safe moment", "status")
	})
}
