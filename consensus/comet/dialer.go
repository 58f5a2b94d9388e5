package comet

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cometbft/cometbft/p2p"
)

const (
	// dialFirst and dialLast bound the pause between two attempts to reach a
	// peer; it doubles from one to the other, and the attempts never end. CometBFT's own redialling
	// pauses for 5 to 8 s, later for hours, and gives up.
	dialFirst = 250 * time.Millisecond
	dialLast  = time.Second
	// dialYield is how long the node with the larger id leaves dialling to the
	// other, so that two nodes do not refuse each other's connections.
	dialYield = 1500 * time.Millisecond
	// dialPoll is how often a connected peer is looked at.
	dialPoll = 250 * time.Millisecond
)

// dialer keeps peers connected.
type dialer struct {
	own      p2p.ID
	switcher p2p.PeerManager
	wg       *sync.WaitGroup // counts the loops

	mu    sync.Mutex
	stop  context.CancelFunc // ends the current loops
	peers []string
}

// set replaces the peers. ctx ends the loops for good.
func (d *dialer) set(ctx context.Context, peers []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stop != nil {
		d.stop()
	}
	ctx, d.stop = context.WithCancel(ctx)
	d.peers = peers
	for _, peer := range peers {
		id, _, ok := cutPeer(peer)
		if !ok || id == d.own {
			continue
		}
		d.wg.Go(func() { d.keep(ctx, id, peer) })
	}
}

// count returns the number of peers to keep.
func (d *dialer) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.peers)
}

// keep dials peer whenever it is not connected.
func (d *dialer) keep(ctx context.Context, id p2p.ID, addr string) {
	var yield time.Duration
	if d.own > id {
		yield = dialYield
	}
	pause, missed := dialFirst, time.Duration(0)
	for {
		wait := dialPoll
		switch {
		case d.connected(id):
			pause, missed = dialFirst, 0
		case missed < yield:
			missed += dialPoll
		default:
			d.dial(addr)
			wait = pause + rand.N(pause/4)
			pause = min(2*pause, dialLast)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (d *dialer) connected(id p2p.ID) bool {
	return d.switcher.Peers().Has(id)
}

// dial tries once. Names are resolved each time, since a peer may come back
// with another address. CometBFT logs why an attempt failed.
func (d *dialer) dial(addr string) {
	netAddr, err := p2p.NewNetAddressString(addr)
	if err != nil {
		return
	}
	_ = d.switcher.DialPeerWithAddress(netAddr)
}
