package comet

import (
	"time"

	"github.com/cometbft/cometbft/blocksync"
	"github.com/cometbft/cometbft/p2p"
)

// SyncGuard is what stands before CometBFT's block sync, before nothing here.
type SyncGuard struct{ g *syncGuard }

// NewSyncGuard hands messages to forward, leaving peers to remove and those that have to
// leave to drop, while block sync is running or not.
func NewSyncGuard(forward func(p2p.Envelope), remove, drop func(p2p.ID), running func() bool) SyncGuard {
	g := newSyncGuard(&blocksync.Reactor{}, running)
	g.forward, g.remove = forward, func(p p2p.Peer, _ any) { remove(p.ID()) }
	g.drop = func(p p2p.Peer, _ error) { drop(p.ID()) }
	return SyncGuard{g}
}

func (s SyncGuard) Receive(e p2p.Envelope)   { s.g.Receive(e) }
func (s SyncGuard) RemovePeer(peer p2p.Peer) { s.g.RemovePeer(peer, nil) }
func (s SyncGuard) InitPeer(peer p2p.Peer)   { s.g.InitPeer(peer) }
func (s SyncGuard) Applied() {
	s.g.mu.Lock()
	s.g.applied = time.Now()
	s.g.mu.Unlock()
}
func (s SyncGuard) Release() { s.g.release() }

// Held returns how many events wait.
func (s SyncGuard) Held() int {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	return len(s.g.held)
}

// Claim returns the lowest block that a connected peer told to have, 0 if none.
func (s SyncGuard) Claim(peer p2p.Peer) int64 {
	base, _ := s.g.claim(peer.ID())
	return base
}
