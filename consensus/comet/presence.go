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
	presenceVersion  = 1
	presenceSize     = 1 + 1 + 8 + 8 + 32 + 64
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

// beat is what a node tells its peers every second.
type beat struct {
	flags     byte
	height    uint64
	unixMilli int64
	validator [32]byte // consensus key of the node
	proof     [64]byte // by that key over chain id and node id
}

func (b beat) encode() []byte {
	out := make([]byte, 0, presenceSize)
	out = append(out, presenceVersion, b.flags)
	out = binary.BigEndian.AppendUint64(out, b.height)
	out = binary.BigEndian.AppendUint64(out, uint64(b.unixMilli))
	out = append(out, b.validator[:]...)
	return append(out, b.proof[:]...)
}

func decodeBeat(data []byte) (beat, error) {
	if len(data) != presenceSize {
		return beat{}, fmt.Errorf("presence: %d bytes, want %d", len(data), presenceSize)
	}
	if data[0] != presenceVersion {
		return beat{}, fmt.Errorf("presence: version %d, want %d", data[0], presenceVersion)
	}
	if data[1]&^(flagCatchingUp|flagNotVoting) != 0 {
		return beat{}, fmt.Errorf("presence: unknown flags %#02x", data[1])
	}
	b := beat{
		flags:     data[1],
		height:    binary.BigEndian.Uint64(data[2:]),
		unixMilli: int64(binary.BigEndian.Uint64(data[10:])),
	}
	copy(b.validator[:], data[18:])
	copy(b.proof[:], data[50:])
	return b, nil
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
	chainID string
	own     beat // validator and proof
	now     func() time.Time
}

func newPresence(chainID string, node p2p.ID, signer *Signer) (*presence, error) {
	proof, err := signer.attest(presenceMessage(chainID, node))
	if err != nil {
		return nil, fmt.Errorf("sign presence: %w", err)
	}
	p := &presence{chainID: chainID, now: time.Now}
	copy(p.own.validator[:], signer.PubKey())
	copy(p.own.proof[:], proof)
	p.BaseReactor = *p2p.NewBaseReactor(presenceReactor, p)
	return p, nil
}

// GetChannels implements p2p.Reactor.
func (p *presence) GetChannels() []*conn.ChannelDescriptor {
	return []*conn.ChannelDescriptor{{
		ID:                  presenceChannel,
		Priority:            presencePriority,
		SendQueueCapacity:   2,
		RecvMessageCapacity: 2 * presenceSize,
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
		err = c.heard(p.now(), b, func() error { return p.verify(e.Src.ID(), b) })
	}
	if err != nil {
		p.Switch.StopPeerForError(e.Src, err)
	}
}

func (p *presence) verify(node p2p.ID, b beat) error {
	if !cmted25519.PubKey(b.validator[:]).VerifySignature(presenceMessage(p.chainID, node), b.proof[:]) {
		return errors.New("presence: bad proof of the validator key")
	}
	return nil
}

// send tells all peers.
func (p *presence) send(height int64, flags byte) {
	b := p.own
	b.flags = flags
	b.height = uint64(height)
	b.unixMilli = p.now().UnixMilli()
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
	heardN int
	skew   time.Duration // peer's clock minus ours, as far as known
}

// heard takes a beat. verify is called for the first one; later ones must name
// the same validator.
func (c *contact) heard(now time.Time, b beat, verify func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.heardN == 0 {
		if err := verify(); err != nil {
			return err
		}
	} else if b.validator != c.last.validator || b.proof != c.last.proof {
		return errors.New("presence: validator changed within a connection")
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
	validator []byte
	skew      time.Duration
}

func (c *contact) view(now time.Time) contactView {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := contactView{since: c.since, heard: c.heardN > 0, alive: now.Sub(c.active) <= aliveFor}
	if v.heard {
		v.voting = v.alive && c.last.flags == 0
		v.height, v.skew = c.last.height, c.skew
		v.validator = bytes.Clone(c.last.validator[:])
	}
	return v
}
