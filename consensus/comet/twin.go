package comet

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/cometbft/cometbft/p2p"
)

// A consensus key that two processes hold signs twice sooner or later. The chain tells
// of the other one only while blocks are made, so peers tell as well: who hears two
// nodes prove the same key names each to the other in its beats.

// ErrKeyInUse says that another process that runs proved to hold this node's consensus
// key. Signing beside it could sign twice.
var ErrKeyInUse = errors.New("another process signs with this key")

const (
	// settleFor is how long a node has peers before it signs, so that they can tell it
	// of another one with its key: two beats. Block sync takes longer as a rule.
	settleFor = 2 * beatInterval
	// proofRenew is how often a node proves anew which validator it is of, and
	// proofFresh how old such a proof may be by this node's clock if another node
	// tells of it: those of a node that has gone for good can be shown for as long.
	proofRenew = 15 * time.Second
	proofFresh = time.Minute
	// proofBurst is how many proofs of a peer are checked at once, and one more in each
	// second.
	proofBurst = 10

	twinID   = p2p.IDByteLength
	twinHead = twinID + 1 + 8 + 1 + 16 // bytes before the proof
)

// twin is another node that proves the key of the one who is told of it. One says, in
// big-endian bytes:
//
//	node id 20 | votes 1 | unix milliseconds of the proof 8 | proof kind 1 |
//	address 16, as IPv6 | proof, to the end
type twin struct {
	node    p2p.ID // empty: there is none
	claim   claim  // with the key of the one who is told
	address netip.Addr
}

func (t twin) encode(out []byte) []byte {
	if t.node == "" {
		return out
	}
	id, err := hex.DecodeString(string(t.node))
	if err != nil || len(id) != twinID {
		return out
	}
	out = append(out, id...)
	out = append(out, voteByte(t.claim.votes))
	out = binary.BigEndian.AppendUint64(out, uint64(t.claim.signed))
	out = append(out, byte(t.claim.kind))
	address := t.address.As16()
	out = append(out, address[:]...)
	return append(out, t.claim.proof...)
}

func decodeTwin(data []byte) (t twin, err error) {
	if len(data) == 0 {
		return t, nil
	}
	if len(data) < twinHead || len(data) > twinHead+presenceMaxProof {
		return t, fmt.Errorf("presence: another node in %d bytes, want %d to %d", len(data), twinHead, twinHead+presenceMaxProof)
	}
	t.node = p2p.ID(hex.EncodeToString(data[:twinID]))
	if t.claim.votes, err = voteBit(data[twinID]); err != nil {
		return t, err
	}
	t.claim.signed = int64(binary.BigEndian.Uint64(data[twinID+1:]))
	t.claim.kind = proofKind(data[twinID+9])
	t.address = netip.AddrFrom16([16]byte(data[twinID+10:]))
	t.claim.proof = string(data[twinHead:])
	if t.claim.kind == proofNone {
		return t, errors.New("presence: another node without a proof")
	}
	return t, t.claim.check()
}

func voteByte(votes bool) byte {
	if votes {
		return 1
	}
	return 0
}

func voteBit(b byte) (bool, error) {
	if b > 1 {
		return false, fmt.Errorf("presence: %d says whether it votes, want 0 or 1", b)
	}
	return b == 1, nil
}

// told takes what a peer says of another node with this node's key. It counts if that
// proves the key, and did so lately: no key, no say. An error is one of a peer that
// has too many proofs checked, which afford tells.
func (p *presence) told(now time.Time, t twin, afford func() error) error {
	if t.node == "" || t.node == p.node || p.key == [32]byte{} {
		return nil
	}
	age := now.Sub(time.UnixMilli(t.claim.signed))
	if age > proofFresh || age < -proofFresh {
		return nil
	}
	t.claim.validator = p.key
	p.mu.Lock()
	known := t.node == p.twin.node && t.claim == p.twin.claim
	p.mu.Unlock()
	if !known {
		if err := afford(); err != nil {
			return err
		}
		if says, err := p.verify(t.node, t.claim); err != nil || says != proven {
			return nil // who tells may have been told so
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.twin.node != t.node && p.twin.claim.votes && !t.claim.votes && now.Sub(p.toldAt) <= aliveFor {
		return nil // who votes matters more
	}
	p.twin, p.toldAt = t, now
	return nil
}

// other returns the live node that proves this node's key, if there is one: one that
// votes rather than one that does not.
func (p *presence) other(now time.Time) (t twin, found bool) {
	p.mu.Lock()
	if p.twin.node != "" && now.Sub(p.toldAt) <= aliveFor {
		t, found = p.twin, true
	}
	p.mu.Unlock()
	if p.key == [32]byte{} {
		return t, found
	}
	if direct := p.twinOf(now, p.node, p.key); direct.node != "" && (!found || direct.claim.votes) {
		return direct, true
	}
	return t, found
}

// twinOf returns a live peer beside node that has proved key, one that votes if there
// is any.
func (p *presence) twinOf(now time.Time, node p2p.ID, key [32]byte) (t twin) {
	p.Switch.Peers().ForEach(func(peer p2p.Peer) {
		c, ok := peer.Get(presenceKey).(*contact)
		if !ok || peer.ID() == node || t.node != "" && t.claim.votes {
			return
		}
		if claim, alive := c.proved(now); alive && claim.validator == key {
			address, _ := netip.AddrFromSlice(peer.RemoteIP())
			t = twin{node: peer.ID(), claim: claim, address: address}
		}
	})
	return t
}

// proved returns the claim of a live peer that has proved it.
func (c *contact) proved(now time.Time) (claim, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last.claim, c.heardN > 0 && c.says == proven && now.Sub(c.active) <= aliveFor
}

// twinGuard keeps a node from signing beside another one with its key. One that has
// just started signs nothing while there is any; one that signs goes on beside one that
// does not, so that the copy stops and not the original; if both sign, both stop. It is
// safe for concurrent use.
type twinGuard struct {
	off     bool          // it only tells
	decided chan struct{} // closed when it is first known whether to sign, or at the end
	decide  func()        // closes it; may be called more than once

	mu      sync.Mutex
	settled bool      // may sign
	since   time.Time // when there were first peers and no other node, zero if not now
	seen    p2p.ID    // the other node that was told of
	err     error
}

func newTwinGuard(off bool) *twinGuard {
	g := &twinGuard{off: off, decided: make(chan struct{})}
	g.decide = sync.OnceFunc(func() { close(g.decided) })
	if off {
		g.settle()
	}
	return g
}

// settle lets the node sign.
func (g *twinGuard) settle() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settled = true
	g.decide()
}

// look takes what is seen at now, and reports whether the other node is a new one.
func (g *twinGuard) look(now time.Time, peers int, t twin, found bool) (news bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if news = found && t.node != g.seen; news {
		g.seen = t.node
	}
	switch {
	case g.off:
	case found && (t.claim.votes || !g.settled):
		g.settled, g.since = false, time.Time{}
		g.err = fmt.Errorf("%w: node id %s, address %s; stop one of the two for good: equivocation costs stake", ErrKeyInUse, t.node, t.address.Unmap())
		g.decide()
	case g.settled:
	case peers == 0:
		g.since = time.Time{}
	case g.since.IsZero():
		g.since = now
	case now.Sub(g.since) >= settleFor:
		g.settled, g.err = true, nil
		g.decide()
	}
	return news
}

// status returns whether the node may sign, and why not if another one is there.
func (g *twinGuard) status() (settled bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.settled, g.err
}

// await waits until it is known whether to sign, and returns an error if not.
func (g *twinGuard) await() error {
	if g == nil {
		return nil
	}
	<-g.decided
	switch settled, err := g.status(); {
	case settled:
		return nil
	case err != nil:
		return err
	}
	return ErrNotRunning
}

// armTwinGuard lets a node sign at once whose peers could not tell it anything in time:
// one that makes blocks without them.
func (c *Chain) armTwinGuard() {
	if !c.engine.ConsensusReactor().WaitSync() {
		c.twins.settle()
		return
	}
	vals, err := c.loadValidators(c.engine.BlockStore().Height() + 1)
	if err != nil {
		return
	}
	s := Status{}
	for _, v := range vals {
		s.TotalPower += v.Power
		if bytes.Equal(v.Address, c.signer.Address()) {
			s.ConnectedPower = v.Power
		}
	}
	if s.quorum() {
		c.twins.settle()
	}
}

// watchTwins looks for another node with this node's key.
func (c *Chain) watchTwins(ctx context.Context, now time.Time) {
	t, found := c.presence.other(now)
	if c.twins.look(now, c.engine.Switch().Peers().Size(), t, found) {
		c.logger.ErrorContext(ctx, "another node proves this node's consensus key",
			slog.String("node_id", string(t.node)), slog.String("address", t.address.Unmap().String()), slog.Bool("votes", t.claim.votes))
	}
	_, err := c.twins.status()
	c.signer.twin(err)
}
