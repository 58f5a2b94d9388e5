package comet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/cometbft/cometbft/p2p"
)

const (
	// dialFirst and dialLast bound the pause between two attempts to reach a
	// peer; it doubles from one to the other, and the attempts never end.
	// CometBFT's own redialling pauses for 5 to 8 s, later for hours, and gives up.
	dialFirst = 250 * time.Millisecond
	dialLast  = time.Second
	// dialYield is how long the node with the larger id leaves dialling to the
	// other, so that two nodes do not refuse each other's connections.
	dialYield = 1500 * time.Millisecond
	// dialPoll is how often a connected peer is looked at.
	dialPoll = 250 * time.Millisecond
	// dialNotice is how often a peer that cannot be one is complained about.
	dialNotice = time.Minute
)

// dialer keeps peers connected.
type dialer struct {
	own      p2p.ID
	switcher p2p.PeerManager
	logger   *slog.Logger
	wg       *sync.WaitGroup // counts the loops

	mu    sync.Mutex
	ended bool                          // no loop begins any more
	loops map[string]context.CancelFunc // by peer; ends the loop that keeps it
	peers []string
	wrong map[p2p.ID]error // why a peer that answers cannot be one, as of the last attempt
}

// set replaces the peers. Those that stay are not disturbed. ctx ends the loops for
// good.
func (d *dialer) set(ctx context.Context, peers []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return
	}
	d.peers = slices.Clone(peers)
	if d.wrong == nil {
		d.loops, d.wrong = make(map[string]context.CancelFunc), make(map[p2p.ID]error)
	}
	for peer, stop := range d.loops {
		if !slices.Contains(peers, peer) {
			stop()
			delete(d.loops, peer)
			id, _, _ := cutPeer(peer)
			delete(d.wrong, id)
		}
	}
	for _, peer := range peers {
		id, _, ok := cutPeer(peer)
		if !ok || id == d.own || d.loops[peer] != nil {
			continue
		}
		loop, stop := context.WithCancel(ctx)
		d.loops[peer] = stop
		d.wg.Go(func() { d.keep(loop, id, peer) })
	}
}

// end lets no loop begin any more. The context of set ends those that run.
func (d *dialer) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	for _, stop := range d.loops {
		stop()
	}
}

// count returns the number of peers to keep.
func (d *dialer) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.peers)
}

// wants reports whether a node is one of those to keep, whoever dialled the other.
func (d *dialer) wants(id p2p.ID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.peers, func(peer string) bool {
		wanted, _, ok := cutPeer(peer)
		return ok && wanted == id
	})
}

// keep dials peer whenever it is not connected.
func (d *dialer) keep(ctx context.Context, id p2p.ID, addr string) {
	var yield time.Duration
	if d.own > id {
		yield = dialYield
	}
	pause, missed, noticed := dialFirst, time.Duration(0), time.Time{}
	for ctx.Err() == nil {
		wait := dialPoll
		switch {
		case d.connected(id):
			pause, missed = dialFirst, 0
			d.note(ctx, id, nil)
		case missed < yield:
			missed += dialPoll
		default:
			err := d.dial(addr)
			if d.note(ctx, id, err) && time.Since(noticed) >= dialNotice {
				noticed = time.Now()
				d.logger.WarnContext(ctx, "a peer cannot be connected", slog.String("peer", addr), slog.Any("err", err))
			}
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
// with another address.
func (d *dialer) dial(addr string) error {
	netAddr, err := p2p.NewNetAddressString(addr)
	if err != nil {
		return err
	}
	return d.switcher.DialPeerWithAddress(netAddr)
}

// note keeps why an attempt failed if the peer was there, and whoever waits for it
// waits in vain: it is another node, or one of another network. It reports whether
// that is so. A loop that was ended, by ctx, leaves nothing.
func (d *dialer) note(ctx context.Context, id p2p.ID, err error) bool {
	var rejected p2p.ErrRejected
	wrong := errors.As(err, &rejected) && (rejected.IsIncompatible() || rejected.IsAuthFailure() || rejected.IsNodeInfoInvalid())
	d.mu.Lock()
	defer d.mu.Unlock()
	if wrong && ctx.Err() == nil {
		d.wrong[id] = err
	} else {
		delete(d.wrong, id)
	}
	return wrong
}

// problem says why one of the peers cannot be connected, "" if nothing is known to
// be wrong.
func (d *dialer) problem() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(d.wrong)) {
		return fmt.Sprintf("peer %s: %v", id, d.wrong[id])
	}
	return ""
}
