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
	presenceVersion  = 2
	presenceHead     = 1 + 1 + 8 + 8 + 1 + 32 // bytes before the proof
	presenceMaxProof = 96
	presenceMaxSize  = presenceHead + presenceMaxProof
	presenceDomain   = "tributary/validator-node/v1"
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
	proof     string   // over chain id and node id, at most presenceMaxProof bytes
}

// beat is what a node tells its peers every second. One says, in big-endian bytes:
//
//	version 1 | flags 1 | height 8 | unix milliseconds 8 | proof kind 1 |
//	consensus key 32 | proof, to the end
type beat struct {
	claim

	flags     byte
	height    uint64
	unixMilli int64
}

func (b beat) encode() []byte {
	out := make([]byte, 0, presenceMaxSize)
	out = append(out, presenceVersion, b.flags)
	out = binary.BigEndian.AppendUint64(out, b.height)
	out = binary.BigEndian.AppendUint64(out, uint64(b.unixMilli))
	out = append(out, byte(b.kind))
	out = append(out, b.validator[:]...)
	return append(out, b.proof...)
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
	b.proof = string(data[presenceHead:])
	return b, b.check()
}

// check refuses a claim that cannot be.
func (c claim) check() error {
	switch {
	case c.kind == proofNone && (c.validator != [32]byte{} || c.proof != ""):
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
func presenceMessage(chainID string, node p2p.ID) []byte {
	msg := []byte(presenceDomain)
	msg = append(msg, byte(len(chainID)))
	msg = append(msg, chainID...)
	return append(msg, node...)
}

// presence is a reactor by which nodes know which of the validators they can
// reach, also when there is nothing to agree on, and how far clocks differ.
type presence struct {
	p2p.BaseReactor
	chainID  string
	own      claim
	attester Attester // of the application
	now      func() time.Time
}

func newPresence(chainID string, node p2p.ID, signer *Signer, attester Attester) (*presence, error) {
	p := &presence{chainID: chainID, attester: attester, now: time.Now}
	msg := presenceMessage(chainID, node)
	if signer.remote == nil {
		proof, err := signer.attest(msg)
		if err != nil {
			return nil, fmt.Errorf("sign presence: %w", err)
		}
		p.own = claim{kind: proofVoting, proof: string(proof)}
	} else if proof := attester.Attest(msg); len(proof) > 0 && len(proof) <= presenceMaxProof {
		p.own = claim{kind: proofOther, proof: string(proof)}
	}
	if p.own.kind != proofNone {
		copy(p.own.validator[:], signer.PubKey())
	}
	p.BaseReactor = *p2p.NewBaseReactor(presenceReactor, p)
	return p, nil
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
	peer.Set(presenceKey, &contact{since: now, active: now})
	return peer
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
	msg := presenceMessage(p.chainID, node)
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

// send tells all peers.
func (p *presence) send(height int64, flags byte) {
	b := beat{claim: p.own, flags: flags, height: uint64(height), unixMilli: p.now().UnixMilli()}
	msg := &gogotypes.BytesValue{Value: b.encode()}
	p.Switch.Peers().ForEach(func(peer p2p.Peer) {
		peer.TrySend(p2p.Envelope{ChannelID: presenceChannel, Message: msg})
	})
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
}

// heard takes a beat. verify is called until it has judged the claim, which must
// be the same in all beats.
func (c *contact) heard(now time.Time, b beat, verify func() (verdict, error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.heardN > 0 && b.claim != c.last.claim {
		return errors.New("presence: validator changed within a connection")
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
