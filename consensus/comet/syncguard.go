package comet

import (
	"errors"
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
	// goes through without waiting for a block any longer, and how long it is held
	// at least while blocks are applied, so that it costs them little time.
	syncPause = time.Second
	// syncSettle is how long CometBFT's requesters get to take in a removal
	// before the next block may be looked at. They need microseconds.
	syncSettle = 50 * time.Millisecond

	// heldBurst is how many events of a peer may come at once, and heldRate how
	// many in each second after that, before the peer is dropped. CometBFT asks one
	// for 20 blocks at a time, none of which it may have.
	heldBurst = 40
	heldRate  = 5
)

// errTakesBack says why a peer is dropped that takes back too much.
var errTakesBack = errors.New("block sync: it says too often that it does not have what it said to have")

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
//
// It holds only while block sync runs, and of each peer one claim, one departure
// and one answer for each of the few blocks that it was asked for: a peer that has
// more to take back is dropped.
type syncGuard struct {
	*blocksync.Reactor
	forward func(p2p.Envelope) // the reactor's Receive
	remove  func(p2p.Peer, any)
	drop    func(p2p.Peer, error)
	running func() bool // block sync has not handed over to consensus

	wait atomic.Bool // Start does nothing

	intake sync.RWMutex // held for reading while a block goes in, for writing while events do

	mu       sync.Mutex
	held     []heldEvent
	timer    *time.Timer // nil when nothing is held
	applied  time.Time   // when block sync was last in the application
	released time.Time   // when something was last carried out
	claims   map[p2p.ID]*bcproto.StatusResponse
	budgets  map[p2p.ID]heldBudget
	leaving  map[p2p.ID]chan struct{} // departures that are held; closed when carried out
}

// heldEvent is what waits for a safe moment.
type heldEvent struct {
	peer   p2p.ID
	kind   heldKind
	height int64 // of an answer
	carry  func()
}

type heldKind byte

const (
	heldAnswer    heldKind = iota // that the peer has no such block
	heldClaim                     // of less than before
	heldDeparture                 // of the peer
)

// heldBudget is how many events of a peer may still be held, at a moment.
type heldBudget struct {
	left float64
	at   time.Time
}

func newSyncGuard(r *blocksync.Reactor, running func() bool) *syncGuard {
	return &syncGuard{
		Reactor: r, forward: r.Receive, remove: r.RemovePeer, running: running,
		drop:   func(peer p2p.Peer, err error) { r.Switch.StopPeerForError(peer, err) },
		claims: map[p2p.ID]*bcproto.StatusResponse{}, budgets: map[p2p.ID]heldBudget{},
		leaving: map[p2p.ID]chan struct{}{},
	}
}

// guardSync puts a guard in the place of the node's block sync. It is an option
// of CometBFT's constructor.
func (a *adapter) guardSync(n *node.Node) {
	r, ok := n.Switch().Reactor(blockSyncReactor)
	if !ok {
		return
	}
	if inner, ok := r.(*blocksync.Reactor); ok {
		a.syncing = newSyncGuard(inner, n.ConsensusReactor().WaitSync)
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

// InitPeer waits until the peer's earlier connection is forgotten. Others do not
// wait for it.
func (g *syncGuard) InitPeer(peer p2p.Peer) p2p.Peer {
	g.mu.Lock()
	gone := g.leaving[peer.ID()]
	g.mu.Unlock()
	if gone != nil {
		<-gone
	}
	return g.Reactor.InitPeer(peer)
}

// RemovePeer forgets the peer at the next safe moment, and what it claimed at once.
func (g *syncGuard) RemovePeer(peer p2p.Peer, reason any) {
	id, gone := peer.ID(), make(chan struct{})
	g.mu.Lock()
	delete(g.claims, id)
	delete(g.budgets, id)
	g.leaving[id] = gone
	g.mu.Unlock()
	g.hold(heldEvent{peer: id, kind: heldDeparture, carry: func() {
		g.remove(peer, reason)
		g.mu.Lock()
		if g.leaving[id] == gone {
			delete(g.leaving, id)
		}
		g.mu.Unlock()
		close(gone)
	}})
}

// Receive hands a message on: at once, or at the next safe moment if it may
// drop a block.
func (g *syncGuard) Receive(e p2p.Envelope) {
	switch m := e.Message.(type) {
	case *bcproto.BlockResponse:
		g.intake.RLock()
		defer g.intake.RUnlock()
	case *bcproto.NoBlockResponse:
		g.delay(e, heldAnswer, m.Height)
		return
	case *bcproto.StatusResponse:
		gone, less := g.takesBack(e.Src, m)
		if gone {
			return
		}
		if less {
			g.delay(e, heldClaim, 0)
			return
		}
	}
	g.forward(e)
}

// delay holds a message, unless its peer has gone, or has to.
func (g *syncGuard) delay(e p2p.Envelope, kind heldKind, height int64) {
	switch within, gone := g.spend(e.Src); {
	case gone:
	case !within:
		g.drop(e.Src, errTakesBack)
	default:
		g.hold(heldEvent{peer: e.Src.ID(), kind: kind, height: height, carry: func() { g.forward(e) }})
	}
}

// spend reports whether one more event of the peer may be held, and whether it is
// gone: then what it said still counts no more. While block sync does not run
// nothing is held, nor counted.
func (g *syncGuard) spend(peer p2p.Peer) (within, gone bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !peer.IsRunning() {
		return false, true
	}
	if !g.running() {
		return true, false
	}
	now := time.Now()
	b, known := g.budgets[peer.ID()]
	if !known {
		b = heldBudget{left: heldBurst, at: now}
	}
	b = heldBudget{left: min(heldBurst, b.left+heldRate*now.Sub(b.at).Seconds()), at: now}
	if within = b.left >= 1; within {
		b.left--
	}
	g.budgets[peer.ID()] = b
	return within, false
}

// takesBack reports whether a peer has less than it said before, for which
// CometBFT drops it and its blocks, or is gone, so that nothing may be kept of it.
func (g *syncGuard) takesBack(peer p2p.Peer, m *bcproto.StatusResponse) (gone, less bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !peer.IsRunning() {
		return true, false
	}
	last := g.claims[peer.ID()]
	g.claims[peer.ID()] = m
	return false, m.Base > m.Height || last != nil && (m.Base < last.Base || m.Height < last.Height)
}

// claim returns the lowest and the highest block that a connected peer has, as far as
// it told; both are 0 if it has none or did not tell. Nothing verifies it.
func (g *syncGuard) claim(id p2p.ID) (base, height int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	last := g.claims[id]
	return last.GetBase(), last.GetHeight()
}

// hold keeps an event for the next safe moment, in the place of an earlier one that
// says the same. Without block sync every moment is safe.
func (g *syncGuard) hold(event heldEvent) {
	g.mu.Lock()
	if g.timer == nil && !g.running() {
		g.mu.Unlock()
		event.carry()
		return
	}
	defer g.mu.Unlock()
	for i := range g.held {
		if e := &g.held[i]; e.peer == event.peer && e.kind == event.kind && e.height == event.height && e.kind != heldDeparture {
			e.carry = event.carry
			return
		}
	}
	g.held = append(g.held, event)
	if g.timer == nil {
		g.timer = time.AfterFunc(syncPause, g.pause)
	}
}

// pause releases what is held unless a block was applied a moment ago: then
// another may be looked at just now, and will be applied soon.
func (g *syncGuard) pause() {
	g.intake.Lock()
	defer g.intake.Unlock()
	g.mu.Lock()
	wait := time.Duration(0)
	if g.running() {
		wait = syncPause - time.Since(g.applied)
	}
	if wait > 0 && g.timer != nil {
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
	held := g.held
	g.held, g.timer = nil, nil
	g.mu.Unlock()
	if len(held) == 0 {
		return
	}
	for _, event := range held {
		event.carry()
	}
	if g.running() {
		time.Sleep(syncSettle)
	}
	g.mu.Lock()
	g.released = time.Now()
	g.mu.Unlock()
}

// applying is called in the application's parts of each block. Nothing happens
// when it is not block sync that applies it.
func (g *syncGuard) applying() {
	if g == nil || !inBlockSync() {
		return
	}
	g.mu.Lock()
	g.applied = time.Now()
	due := g.timer != nil && g.applied.Sub(g.released) >= syncPause
	g.mu.Unlock()
	if due {
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
