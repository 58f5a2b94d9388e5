package comet

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cometbft/cometbft/blocksync"
	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	bcproto "github.com/cometbft/cometbft/proto/tendermint/blocksync"
)

const (
	blockSyncReactor = "BLOCKSYNC"

	// syncPause is how long block sync applies nothing before what is held back
	// goes through without waiting for a block any longer.
	syncPause = time.Second
	// syncSettle is how long CometBFT's requesters get to take in a removal
	// before the next block may be looked at. They need microseconds.
	syncSettle = 50 * time.Millisecond
)

// syncGuard stands before CometBFT's block sync and keeps it from ending the
// process. Block sync looks at the block it will apply next, verifies its votes
// and only then takes it from the pool, where CometBFT v0.40 assumes that it
// still is (blocksync/pool.go, PopRequest); but it is dropped when its sender
// disconnects, says that it does not have it after all, or takes back its
// height. So a peer that leaves at the wrong moment, or means harm, would crash
// every node that syncs from it.
//
// The guard holds such events back, in their order, until block sync is in the
// application, which is never between the look and the taking. While nothing is
// applied they go through after a pause, with no new block let in meanwhile. The
// one cause left is CometBFT's own time limit, on a block that arrived at least
// 15 s before it is applied.
type syncGuard struct {
	*blocksync.Reactor
	forward func(p2p.Envelope) // the reactor's Receive
	remove  func(p2p.Peer, any)

	wait atomic.Bool // Start does nothing

	intake sync.RWMutex // held for reading while a block goes in, for writing while events do

	mu      sync.Mutex
	held    []func()
	empty   chan struct{} // nil when nothing is held, closed when that is carried out
	timer   *time.Timer   // set with empty
	applied time.Time     // when block sync was last in the application
	claims  map[p2p.ID]*bcproto.StatusResponse
}

func newSyncGuard(r *blocksync.Reactor) *syncGuard {
	return &syncGuard{Reactor: r, forward: r.Receive, remove: r.RemovePeer, claims: map[p2p.ID]*bcproto.StatusResponse{}}
}

// guardSync puts a guard in the place of the node's block sync. It is an option
// of CometBFT's constructor.
func (a *adapter) guardSync(n *node.Node) {
	r, ok := n.Switch().Reactor(blockSyncReactor)
	if !ok {
		return
	}
	if inner, ok := r.(*blocksync.Reactor); ok {
		a.syncing = newSyncGuard(inner)
		node.CustomReactors(map[string]p2p.Reactor{blockSyncReactor: a.syncing})(n)
	}
}

// Start starts block sync, unless that is to wait. Until then it only answers peers, as
// while a snapshot is looked for.
func (g *syncGuard) Start() error {
	if g.wait.Load() {
		return nil
	}
	return g.Reactor.Start()
}

// InitPeer waits until the peer's earlier connection is forgotten.
func (g *syncGuard) InitPeer(peer p2p.Peer) p2p.Peer {
	g.mu.Lock()
	empty := g.empty
	g.mu.Unlock()
	if empty != nil {
		<-empty
	}
	return g.Reactor.InitPeer(peer)
}

// RemovePeer forgets the peer at the next safe moment.
func (g *syncGuard) RemovePeer(peer p2p.Peer, reason any) {
	g.hold(func() {
		g.remove(peer, reason)
		g.mu.Lock()
		delete(g.claims, peer.ID())
		g.mu.Unlock()
	})
}

// Receive hands a message on: at once, or at the next safe moment if it may
// drop a block.
func (g *syncGuard) Receive(e p2p.Envelope) {
	switch m := e.Message.(type) {
	case *bcproto.BlockResponse:
		g.intake.RLock()
		defer g.intake.RUnlock()
	case *bcproto.NoBlockResponse:
		g.hold(func() { g.forward(e) })
		return
	case *bcproto.StatusResponse:
		if g.takesBack(e.Src.ID(), m) {
			g.hold(func() { g.forward(e) })
			return
		}
	}
	g.forward(e)
}

// takesBack reports whether a peer has less than it said before, for which
// CometBFT drops it and its blocks.
func (g *syncGuard) takesBack(id p2p.ID, m *bcproto.StatusResponse) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	last := g.claims[id]
	g.claims[id] = m
	return m.Base > m.Height || last != nil && (m.Base < last.Base || m.Height < last.Height)
}

// lowest returns the lowest block that a connected peer has, as far as they told;
// known is false if none has any.
func (g *syncGuard) lowest() (height int64, known bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, claim := range g.claims {
		if claim.Height > 0 && (!known || claim.Base < height) {
			height, known = claim.Base, true
		}
	}
	return height, known
}

func (g *syncGuard) hold(event func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = append(g.held, event)
	if g.empty != nil {
		return
	}
	g.empty = make(chan struct{})
	g.timer = time.AfterFunc(syncPause, g.pause)
}

// pause releases what is held unless a block was applied a moment ago: then
// another may be looked at just now, and will be applied soon.
func (g *syncGuard) pause() {
	g.intake.Lock()
	defer g.intake.Unlock()
	g.mu.Lock()
	wait := syncPause - time.Since(g.applied)
	if wait > 0 && g.empty != nil {
		g.timer.Reset(wait)
	}
	g.mu.Unlock()
	if wait <= 0 {
		g.release()
	}
}

// release carries out what is held and lets CometBFT take it in.
func (g *syncGuard) release() {
	g.mu.Lock()
	held, empty := g.held, g.empty
	g.held, g.empty = nil, nil
	g.mu.Unlock()
	if empty == nil {
		return
	}
	for _, event := range held {
		event()
	}
	time.Sleep(syncSettle)
	close(empty)
}

// applying is called in the application's parts of each block. Nothing happens
// when it is not block sync that applies it.
func (g *syncGuard) applying() {
	if g == nil || !inBlockSync() {
		return
	}
	g.mu.Lock()
	g.applied = time.Now()
	waiting := g.empty != nil
	g.mu.Unlock()
	if waiting {
		g.release()
	}
}

// inBlockSync reports whether the caller runs in CometBFT's block sync.
func inBlockSync() bool {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, "blocksync.(*Reactor).poolRoutine") {
			return true
		}
		if !more {
			return false
		}
	}
}
