package comet

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	ssproto "github.com/cometbft/cometbft/proto/tendermint/statesync"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/statesync"
	"github.com/cometbft/cometbft/types"
)

const (
	stateSyncReactor = "STATESYNC"
	// maxStrikes is how many snapshots a peer may offer that lead to nothing: an
	// honest peer's may lack a header yet, or be dropped while it is fetched.
	maxStrikes = 3
	// maxOffers is how many snapshots a peer may offer in all.
	maxOffers = 64
)

// offers stands before CometBFT's reactor for snapshots and remembers who offered
// what. CometBFT rejects a snapshot that leads to nothing, and takes the next of the
// same peer: without end, if the peer makes them up. It also takes chunks from
// anybody. Here a peer that offered a false snapshot, or too many that came to
// nothing, is heard no more.
type offers struct {
	*statesync.Reactor

	mu       sync.Mutex
	peers    map[p2p.ID]*offerer
	current  offerKey              // the snapshot that is being taken
	taken    ssproto.ChunkResponse // of it, without index and chunk
	chunks   uint32                // of it
	heard    p2p.Peer              // the last that offered a snapshot; nil before
	taking   bool
	complete bool
	ending   bool   // nothing is taken any more
	collect  func() // lets offers come in; nil if nobody looks for them
}

// offerKey is the hash of a snapshot's fields, and its height.
type offerKey struct {
	height uint64
	sum    [32]byte
}

// offerer is a peer that offered snapshots.
type offerer struct {
	offered map[offerKey]bool
	strikes int
	banned  bool
}

func newOffers() *offers { return &offers{peers: make(map[p2p.ID]*offerer)} }

// install puts o before the reactor of a node.
func (o *offers) install(n *node.Node) {
	reactor, _ := n.Switch().Reactor(stateSyncReactor)
	inner, ok := reactor.(*statesync.Reactor)
	if !ok {
		return
	}
	n.Switch().RemoveReactor(stateSyncReactor, inner)
	o.Reactor = inner
	n.Switch().AddReactor(stateSyncReactor, o)
}

// SetSwitch implements p2p.Reactor.
func (o *offers) SetSwitch(s p2p.Switcher) { o.Reactor.SetSwitch(askingSwitch{s, o}) }

// askingSwitch is the switch as CometBFT's reactor for snapshots sees it. The reactor
// asks all peers and then takes what is there; time to answer is given in between.
type askingSwitch struct {
	p2p.Switcher
	offers *offers
}

// BroadcastAsync implements p2p.Switcher. The reactor calls it to ask for snapshots
// only.
func (s askingSwitch) BroadcastAsync(e p2p.Envelope) {
	s.Switcher.BroadcastAsync(e)
	s.offers.mu.Lock()
	collect := s.offers.collect
	s.offers.mu.Unlock()
	if collect != nil {
		collect()
	}
}

// round asks all peers for snapshots, for states.cfg.DiscoveryTime, and restores the
// best that can be. The error is CometBFT's if there is none.
func (o *offers) round(ctx context.Context, states *trustedStates) (sm.State, *types.Commit, error) {
	look := func(collect func()) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.collect = collect
	}
	look(func() {
		timer := time.NewTimer(states.cfg.DiscoveryTime)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	})
	defer look(nil)
	return o.Sync(states, 0)
}

// count returns how many peers offered a snapshot, and how many of them are not
// believed any more.
func (o *offers) count() (offering, refused int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.peers {
		offering++
		if p.banned {
			refused++
		}
	}
	return offering, refused
}

// Receive implements p2p.Reactor.
func (o *offers) Receive(e p2p.Envelope) {
	switch msg := e.Message.(type) {
	case *ssproto.SnapshotsResponse:
		if !o.looking() || !o.offer(e.Src.ID(), keyOf(msg.Height, msg.Format, msg.Chunks, msg.Hash, msg.Metadata)) {
			return
		}
		o.mu.Lock()
		o.heard = e.Src
		o.mu.Unlock()
	case *ssproto.ChunkResponse:
		if !o.mayGive(e.Src.ID()) {
			return
		}
	}
	o.Reactor.Receive(e)
}

func keyOf(height uint64, format, chunks uint32, hash, metadata []byte) offerKey {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%d/%d/%d/%d/", height, format, chunks, len(hash))
	_, _ = h.Write(hash)
	_, _ = h.Write(metadata)
	return offerKey{height: height, sum: [32]byte(h.Sum(nil))}
}

// looking reports whether offers are of use.
func (o *offers) looking() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.collect != nil
}

// offer notes that a peer offers a snapshot and reports whether to look at it.
func (o *offers) offer(id p2p.ID, key offerKey) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.peers[id]
	if p == nil {
		p = &offerer{offered: make(map[offerKey]bool)}
		o.peers[id] = p
	}
	if p.banned || !p.offered[key] && len(p.offered) >= maxOffers {
		return false
	}
	p.offered[key] = true
	return true
}

// mayGive reports whether a peer's chunks are those of the snapshot that is being
// taken.
func (o *offers) mayGive(id p2p.ID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.peers[id]
	return p != nil && !p.banned && o.taking && p.offered[o.current]
}

// begin notes that the snapshot is tried, and that the one before it led to
// nothing, and reports whether there is anybody to get it from.
func (o *offers) begin(s *abci.Snapshot) bool {
	if o == nil {
		return true
	}
	key := keyOf(s.Height, s.Format, s.Chunks, s.Hash, s.Metadata)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taken, o.chunks = ssproto.ChunkResponse{Height: s.Height, Format: s.Format}, s.Chunks
	if o.taking && !o.complete {
		o.strike(func(p *offerer) bool { return p.offered[o.current] })
	}
	o.current, o.taking, o.complete = key, true, false
	for _, p := range o.peers {
		if p.offered[key] && !p.banned {
			return true
		}
	}
	return false
}

// stop ends a round that waits for a chunk, for which CometBFT gives two minutes and
// nothing to end it with: each chunk that is missing comes, and the application takes
// none any more.
func (o *offers) stop() {
	o.mu.Lock()
	o.ending = true
	chunks, message, from := o.chunks, o.taken, o.heard
	waits := o.taking && !o.complete && from != nil
	o.mu.Unlock()
	for i := uint32(0); waits && i < chunks; i++ {
		chunk := message
		chunk.Index, chunk.Chunk = i, []byte{0}
		o.Reactor.Receive(p2p.Envelope{ChannelID: statesync.ChunkChannel, Src: from, Message: &chunk})
	}
}

// ends reports whether nothing is taken any more.
func (o *offers) ends() bool {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ending
}

// end notes that the snapshot is taken.
func (o *offers) end() {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.complete = true
}

func (o *offers) strike(guilty func(*offerer) bool) {
	for _, p := range o.peers {
		if guilty(p) {
			p.strikes++
			p.banned = p.banned || p.strikes >= maxStrikes
		}
	}
}

// unknown notes that nothing is known of the chain at a height.
func (o *offers) unknown(height uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.strike(func(p *offerer) bool { return p.offers(height) })
}

// any reports whether somebody who may be believed offers a snapshot of a height.
func (o *offers) any(height uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.peers {
		if !p.banned && p.offers(height) {
			return true
		}
	}
	return false
}

func (p *offerer) offers(height uint64) bool {
	for key := range p.offered {
		if key.height == height {
			return true
		}
	}
	return false
}

// refuse bans everybody who offered the snapshot that is being taken, which is
// false, and returns them.
func (o *offers) refuse() (liars []string) {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.complete = true
	for id, p := range o.peers {
		if p.offered[o.current] {
			p.banned = true
			liars = append(liars, string(id))
		}
	}
	return liars
}

// ban ends what a peer has to say.
func (o *offers) ban(id string) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if p := o.peers[p2p.ID(id)]; p != nil {
		p.banned = true
	}
}
