package comet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/p2p/conn"
	gogotypes "github.com/cosmos/gogoproto/types"
)

const (
	presenceChannel  = byte(0x74)
	presenceVersion  = 3
	presenceHead     = 1 + 1 + 8 + 8 + 1 + 32 + 1 + 8 + 1 // bytes before the proof
	presenceMaxProof = 96
	presenceMaxSize  = presenceHead + presenceMaxProof + twinHead + presenceMaxProof
	presenceDomain   = "tributary/validator-node/v2"
	presenceKey      = "tributary.presence" // of the state kept with a peer
	presencePriority = 10
	presenceReactor  = "PRESENCE"

	flagCatchingUp = 1 << 0
	flagNotVoting  = 1 << 1

	// beatInterval is how often a node says that it is there, aliveFor how long
	// that counts, and silentFor how long a connection may be dumb before it is
	// dropped and dialled again: CometBFT's own limit is fixed at 105 s.
	beatInterval = time.Second
	aliveFor     = 4 * time.Second
	silentFor    = 20 * time.Second
)

// proofKind says what proves that a node is a validator's.
type proofKind byte

const (
	// proofNone is of a node that proves no validator.
	proofNone proofKind = 0
	// proofVoting is a signature by the consensus key itself, 64 bytes.
	proofVoting proofKind = 1
	// proofOther is a signature by a key that the application knows to be of the
	// validator: see Attester. It is for nodes whose consensus key a remote signer
	// holds, which signs votes only.
	proofOther proofKind = 2
)

// claim is which validator a node says to be of, and why it should be believed.
type claim struct {
	kind      proofKind
	validator [32]byte // consensus key; zero if there is none
	votes     bool     // may sign votes
	signed    int64    // unix milliseconds of the proof
	proof     string   // over chain id, node id, votes and signed, at most presenceMaxProof bytes
}

// beat is what a node tells its peers every second. One says, in big-endian bytes:
//
//	version 1 | flags 1 | height 8 | unix milliseconds 8 | proof kind 1 |
//	consensus key 32 | votes 1 | unix milliseconds of the proof 8 | proof length 1 |
//	proof | another node that proves the receiver's key, see twin, to the end
type beat struct {
	claim

	flags     byte
	height    uint64
	unixMilli int64
	twin      twin
}

func (b beat) encode() []byte {
	out := make([]byte, 0, presenceMaxSize)
	out = append(out, presenceVersion, b.flags)
	out = binary.BigEndian.AppendUint64(out, b.height)
	out = binary.BigEndian.AppendUint64(out, uint64(b.unixMilli))
	out = append(out, byte(b.kind))
	out = append(out, b.validator[:]...)
	out = append(out, voteByte(b.votes))
	out = binary.BigEndian.AppendUint64(out, uint64(b.signed))
	out = append(out, byte(len(b.proof)))
	return b.twin.encode(append(out, b.proof...))
}

func decodeBeat(data []byte) (beat, error) {
	if len(data) > 0 && data[0] != presenceVersion {
		return beat{}, fmt.Errorf("presence: version %d, want %d", data[0], presenceVersion)
	}
	if len(data) < presenceHead || len(data) > presenceMaxSize {
		return beat{}, fmt.Errorf("presence: %d bytes, want %d to %d", len(data), presenceHead, presenceMaxSize)
	}
	if data[1]&^(flagCatchingUp|flagNotVoting) != 0 {
		return beat{}, fmt.Errorf("presence: unknown flags %#02x", data[1])
	}
	b := beat{
		flags:     data[1],
		height:    binary.BigEndian.Uint64(data[2:]),
		unixMilli: int64(binary.BigEndian.Uint64(data[10:])),
	}
	b.kind = proofKind(data[18])
	copy(b.validator[:], data[19:])
	var err error
	if b.votes, err = voteBit(data[51]); err != nil {
		return beat{}, err
	}
	b.signed = int64(binary.BigEndian.Uint64(data[52:]))
	size, rest := int(data[60]), data[presenceHead:]
	if size > presenceMaxProof || size > len(rest) {
		return beat{}, fmt.Errorf("presence: a proof of %d bytes in %d, want at most %d", size, len(rest), presenceMaxProof)
	}
	b.proof = string(rest[:size])
	if b.twin, err = decodeTwin(rest[size:]); err != nil {
		return beat{}, err
	}
	return b, b.check()
}

// check refuses a claim that cannot be.
func (c claim) check() error {
	switch {
	case c.kind == proofNone && c != claim{}:
		return errors.New("presence: a validator without a kind of proof")
	case c.kind == proofVoting && len(c.proof) != cmted25519.SignatureSize:
		return fmt.Errorf("presence: a proof of %d bytes, want %d", len(c.proof), cmted25519.SignatureSize)
	case c.kind == proofOther && c.proof == "":
		return errors.New("presence: no proof")
	case c.kind > proofOther:
		return fmt.Errorf("presence: unknown kind of proof %d", c.kind)
	}
	return nil
}

// presenceMessage is what a validator signs to say which node is its own.
func presenceMessage(chainID string, node p2p.ID, votes bool, signed int64) []byte {
	msg := []byte(presenceDomain)
	msg = append(msg, byte(len(chainID)))
	msg = append(msg, chainID...)
	msg = append(msg, voteByte(votes))
	msg = binary.BigEndian.AppendUint64(msg, uint64(signed))
	return append(msg, node...)
}

// presence is a reactor by which nodes know which of the validators they can
// reach, also when there is nothing to agree on, how far clocks differ, and whether
// another node has the same key.
type presence struct {
	p2p.BaseReactor
	chainID  string
	node     p2p.ID
	key      [32]byte // this node's consensus key
	signer   *Signer
	attester Attester // of the application
	now      func() time.Time

	mu     sync.Mutex
	own    claim
	height int64 // of the last beat
	flags  byte  // of the last beat
	twin   twin  // that a peer told of last
	toldAt time.Time
}

func newPresence(chainID string, node p2p.ID, signer *Signer, attester Attester) (*presence, error) {
	p := &presence{chainID: chainID, node: node, signer: signer, attester: attester, now: time.Now, flags: flagNotVoting}
	copy(p.key[:], signer.PubKey())
	own, err := p.prove(p.now(), false)
	if err != nil {
		return nil, err
	}
	p.own = own
	p.BaseReactor = *p2p.NewBaseReactor(presenceReactor, p)
	return p, nil
}

// prove claims this node's key anew; the claim is empty if it cannot be proved.
func (p *presence) prove(now time.Time, votes bool) (claim, error) {
	c := claim{votes: votes, signed: now.UnixMilli(), validator: p.key}
	msg := presenceMessage(p.chainID, p.node, c.votes, c.signed)
	if p.signer.remote == nil {
		proof, err := p.signer.attest(msg)
		if err != nil {
			return claim{}, fmt.Errorf("sign presence: %w", err)
		}
		c.kind, c.proof = proofVoting, string(proof)
	} else if proof := p.attester.Attest(msg); len(proof) > 0 && len(proof) <= presenceMaxProof {
		c.kind, c.proof = proofOther, string(proof)
	} else {
		return claim{}, nil
	}
	return c, nil
}

// GetChannels implements p2p.Reactor.
func (p *presence) GetChannels() []*conn.ChannelDescriptor {
	return []*conn.ChannelDescriptor{{
		ID:                  presenceChannel,
		Priority:            presencePriority,
		SendQueueCapacity:   2,
		RecvMessageCapacity: 2 * presenceMaxSize,
		MessageType:         &gogotypes.BytesValue{},
	}}
}

// InitPeer implements p2p.Reactor.
func (p *presence) InitPeer(peer p2p.Peer) p2p.Peer {
	now := p.now()
	peer.Set(presenceKey, &contact{since: now, active: now, proofs: proofBurst, proofsAt: now})
	return peer
}

// AddPeer implements p2p.Reactor: the peer need not wait for the next beat.
func (p *presence) AddPeer(peer p2p.Peer) {
	p.mu.Lock()
	b := beat{claim: p.own, flags: p.flags, height: uint64(p.height), unixMilli: p.now().UnixMilli()}
	p.mu.Unlock()
	p.tell(peer, b)
}

// Receive implements p2p.Reactor. A peer that sends rubbish is dropped.
func (p *presence) Receive(e p2p.Envelope) {
	c, ok := e.Src.Get(presenceKey).(*contact)
	msg, isBytes := e.Message.(*gogotypes.BytesValue)
	if !ok || !isBytes {
		return
	}
	b, err := decodeBeat(msg.Value)
	if err == nil {
		err = c.heard(p.now(), b, func() (verdict, error) { return p.verify(e.Src.ID(), b.claim) })
	}
	if err == nil {
		err = p.told(p.now(), b.twin, func() error { return c.afford(p.now()) })
	}
	if err != nil {
		p.Switch.StopPeerForError(e.Src, err)
	}
}

// verdict is what is known of a claim.
type verdict byte

const (
	open    verdict = iota // it cannot be judged yet
	proven                 // the node is the validator's
	refuted                // it proves nothing
)

// verify judges a claim. An error is one of who lies about the consensus key. A
// wrong proof of another key is none: it can be a validator's that uses another
// key than it registered, and its votes are needed all the same.
func (p *presence) verify(node p2p.ID, c claim) (verdict, error) {
	msg := presenceMessage(p.chainID, node, c.votes, c.signed)
	switch c.kind {
	case proofVoting:
		if !cmted25519.PubKey(c.validator[:]).VerifySignature(msg, []byte(c.proof)) {
			return refuted, errors.New("presence: bad proof of the validator key")
		}
		return proven, nil
	case proofOther:
		switch known, ok := p.attester.Attested(c.validator[:], msg, []byte(c.proof)); {
		case !known:
			return open, nil
		case ok:
			return proven, nil
		}
	case proofNone:
	}
	return refuted, nil
}

// send tells all peers, and each of them of another node with its key.
func (p *presence) send(height int64, flags byte) {
	now := p.now()
	p.mu.Lock()
	own := p.own
	p.mu.Unlock()
	if votes := flags == 0; own.kind != proofNone && (votes != own.votes || now.Sub(time.UnixMilli(own.signed)).Abs() >= proofRenew) {
		// Without a new proof the last one serves.
		if renewed, err := p.prove(now, votes); err == nil && renewed.kind == own.kind {
			own = renewed
		}
	}
	p.mu.Lock()
	p.own, p.height, p.flags = own, height, flags
	p.mu.Unlock()
	for _, peer := range p.Switch.Peers().Copy() {
		b := beat{claim: own, flags: flags, height: uint64(height), unixMilli: now.UnixMilli()}
		if c, ok := peer.Get(presenceKey).(*contact); ok {
			if has, alive := c.proved(now); alive && has.validator != p.key { // with this node's own key it is a twin itself
				b.twin = p.twinOf(now, peer.ID(), has.validator)
			}
		}
		p.tell(peer, b)
	}
}

func (p *presence) tell(peer p2p.Peer, b beat) {
	peer.TrySend(p2p.Envelope{ChannelID: presenceChannel, Message: &gogotypes.BytesValue{Value: b.encode()}})
}

// look notes which peers sent anything since the last look and drops those that
// have been silent for too long.
func (p *presence) look() {
	now := p.now()
	for _, peer := range p.Switch.Peers().Copy() {
		if c, ok := peer.Get(presenceKey).(*contact); ok && c.silent(now, peer.Status().RecvMonitor.Bytes) {
			p.Switch.StopPeerForError(peer, fmt.Errorf("nothing heard for %v", silentFor))
		}
	}
}

// contact is what is known of a connected peer. It is safe for concurrent use.
type contact struct {
	mu     sync.Mutex
	since  time.Time // connected
	active time.Time // last byte or beat
	bytes  int64     // received at the last look
	last   beat
	says   verdict // on the claim of its beats
	heardN int
	skew   time.Duration // peer's clock minus ours, as far as known

	proofs   float64 // how many more of it are checked, at proofsAt
	proofsAt time.Time
}

// heard takes a beat. verify is called until it has judged the claim, and again when
// that is renewed; the validator must be the same in all beats.
func (c *contact) heard(now time.Time, b beat, verify func() (verdict, error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.heardN > 0 && (b.kind != c.last.kind || b.validator != c.last.validator) {
		return errors.New("presence: validator changed within a connection")
	}
	if c.heardN > 0 && b.claim != c.last.claim {
		if err := c.spend(now); err != nil {
			return err
		}
		c.says = open
	}
	if c.says == open {
		var err error
		if c.says, err = verify(); err != nil {
			return err
		}
	}
	// A beat can only be late, so the largest difference is the truest. It
	// fades slowly to follow a clock that is being corrected.
	skew := time.UnixMilli(b.unixMilli).Sub(now)
	if c.heardN == 0 || skew > c.skew {
		c.skew = skew
	} else {
		c.skew += (skew - c.skew) / 8
	}
	c.last, c.active = b, now
	c.heardN++
	return nil
}

// afford is spend of a contact that is not locked.
func (c *contact) afford(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spend(now)
}

// spend counts a proof that is to be checked, and returns an error if there are too
// many.
func (c *contact) spend(now time.Time) error {
	c.proofs = min(proofBurst, c.proofs+now.Sub(c.proofsAt).Seconds())
	if c.proofsAt = now; c.proofs < 1 {
		return errors.New("presence: proofs of a validator key change too often")
	}
	c.proofs--
	return nil
}

// silent reports whether the peer should be dropped.
func (c *contact) silent(now time.Time, bytesReceived int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if bytesReceived != c.bytes {
		c.bytes, c.active = bytesReceived, now
	}
	return now.Sub(c.active) > silentFor
}

// contactView is a copy of a contact.
type contactView struct {
	since     time.Time
	heard     bool
	alive     bool
	voting    bool // caught up, neither halted nor refusing to sign
	height    uint64
	validator []byte // consensus key; nil if none is proven
	skew      time.Duration
}

func (c *contact) view(now time.Time) contactView {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := contactView{since: c.since, heard: c.heardN > 0, alive: now.Sub(c.active) <= aliveFor}
	if v.heard {
		v.voting = v.alive && c.last.flags == 0
		v.height, v.skew = c.last.height, c.skew
		if c.says == proven {
			v.validator = bytes.Clone(c.last.validator[:])
		}
	}
	return v
}
