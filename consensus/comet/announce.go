package comet

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/p2p/conn"
	gogotypes "github.com/cosmos/gogoproto/types"
)

const (
	// MaxAnnouncement bounds a record that nodes announce, in bytes.
	MaxAnnouncement = 2 << 10
	// MaxAnnouncementAge bounds how long one is kept, whatever it says.
	MaxAnnouncementAge = time.Hour
	// OwnerAnnouncements bounds the origins of one owner.
	OwnerAnnouncements = 4
	// StrangerAnnouncements bounds the origins without an owner.
	StrangerAnnouncements = 64
	// MaxAnnouncements bounds all origins that a node keeps records of.
	MaxAnnouncements = 2048

	// announceGap is the least time between two records of one origin that are passed
	// on; a newer one waits.
	announceGap = 5 * time.Second
	// announceBatch bounds what a peer is told at once, each announceTick.
	announceBatch = 8
	announceTick  = watchInterval

	// A peer's records are looked at as long as it has credit: for all of them, four
	// times what an honest one sends and room for a connection that hung, and for those
	// that are refused. Others are passed over; the origin renews them.
	announceCredit, announceCreditRate = 1024, 4 * announceBatch * float64(time.Second/announceTick)
	refusedCredit, refusedCreditRate   = 20, 1

	announceChannel  = byte(0x75)
	announcePriority = 2
	announceQueue    = 2 * announceBatch
	announceReactor  = "ANNOUNCE"
	announceKey      = "tributary.announce" // of the state kept with a peer
)

// ErrAnnouncementOld says that a record is not newer than the one of its origin that is
// known.
var ErrAnnouncementOld = errors.New("announcement is not newer than the one that is known")

// Announcements makes the nodes of a chain tell each other small records, each the
// newest of its origin, over as many hops as it takes. All nodes of the chain should
// have it or none.
type Announcements struct {
	// Judge says whose record it is, or returns an error if it must be neither kept
	// nor passed on: it is malformed, forged, too old, or what else. It is asked once
	// for a record of each peer that has one that is not known, at a rate that is
	// bounded for each peer, by several goroutines at a time. It must not keep the
	// record's bytes.
	Judge func(record []byte, now time.Time) (Announcement, error)
	// Kept, if set, is called with each record that is kept, this node's own too, and
	// must not call the chain or block.
	Kept func(record []byte)
}

// Announcement is what Judge says of a record.
type Announcement struct {
	// Origin is who made the record, and proved that by its signature.
	Origin [32]byte
	// Sequence tells the newer of two records of an origin: it is the higher one.
	Sequence uint64
	// Expires is when the record is forgotten.
	Expires time.Time
	// Owner is who stands for the origin, such as a validator; it must be proved, too.
	// Owners have room for OwnerAnnouncements origins each, of which a new one
	// replaces the one that expires first. Origins with none share the room for
	// strangers, in which the first ones stay until they expire.
	Owner [32]byte
}

// announcements is the reactor by which nodes tell each other records. It keeps a
// serial number with each, and with each peer that of the last one it was told, so that
// nothing is kept for each peer and record.
type announcements struct {
	p2p.BaseReactor

	rules Announcements
	now   func() time.Time

	mu     sync.Mutex
	serial uint64
	kept   map[[32]byte]*announced // by origin
}

// announced is a record that is kept.
type announced struct {
	Announcement

	record []byte
	serial uint64
	from   p2p.ID // who told of it; empty if this node made it
	since  time.Time
	next   *announced // a newer one that waits for announceGap to pass
}

func newAnnouncements(rules Announcements) *announcements {
	a := &announcements{rules: rules, now: time.Now, kept: make(map[[32]byte]*announced)}
	a.BaseReactor = *p2p.NewBaseReactor(announceReactor, a)
	return a
}

// hearer is what is kept with a connected peer.
type hearer struct {
	mu      sync.Mutex
	told    uint64 // serial of the last record that it was told
	credit  float64
	refused float64
	at      time.Time // of both
}

// GetChannels implements p2p.Reactor.
func (a *announcements) GetChannels() []*conn.ChannelDescriptor {
	return []*conn.ChannelDescriptor{{
		ID:                  announceChannel,
		Priority:            announcePriority,
		SendQueueCapacity:   announceQueue,
		RecvMessageCapacity: MaxAnnouncement + 16,
		MessageType:         &gogotypes.BytesValue{},
	}}
}

// InitPeer implements p2p.Reactor.
func (a *announcements) InitPeer(peer p2p.Peer) p2p.Peer {
	peer.Set(announceKey, &hearer{credit: announceCredit, refused: refusedCredit, at: a.now()})
	return peer
}

// Receive implements p2p.Reactor.
func (a *announcements) Receive(e p2p.Envelope) {
	h, ok := e.Src.Get(announceKey).(*hearer)
	msg, isBytes := e.Message.(*gogotypes.BytesValue)
	if !ok || !isBytes || len(msg.Value) > MaxAnnouncement {
		return
	}
	now := a.now()
	if !h.afford(now) || a.known(msg.Value) {
		return
	}
	judged, err := a.judge(msg.Value, now)
	if err != nil {
		h.charge()
		return
	}
	_ = a.keep(msg.Value, judged, e.Src.ID(), now) // there is nobody to tell
}

// afford reports whether another record of the peer is looked at.
func (h *hearer) afford(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	passed := max(now.Sub(h.at).Seconds(), 0)
	h.credit = min(announceCredit, h.credit+passed*announceCreditRate)
	h.refused = min(refusedCredit, h.refused+passed*refusedCreditRate)
	h.at = now
	if h.credit < 1 || h.refused < 1 {
		return false
	}
	h.credit--
	return true
}

// charge takes note of a record that was refused.
func (h *hearer) charge() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused--
}

// known reports whether a record is kept, or waits to be. To find it takes no look into
// it, since only Judge can read it; there are few.
func (a *announcements) known(record []byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range a.kept {
		if bytes.Equal(k.record, record) || k.next != nil && bytes.Equal(k.next.record, record) {
			return true
		}
	}
	return false
}

// judge asks the rules about a record, which may have come from anywhere.
func (a *announcements) judge(record []byte, now time.Time) (judged Announcement, err error) {
	if len(record) == 0 || len(record) > MaxAnnouncement {
		return judged, fmt.Errorf("announcement of %d bytes, want 1 to %d", len(record), MaxAnnouncement)
	}
	err = contain(func() error {
		var err error
		judged, err = a.rules.Judge(record, now)
		return err
	})
	if err == nil && !judged.Expires.After(now) {
		err = fmt.Errorf("announcement expired at %v", judged.Expires)
	}
	if limit := now.Add(MaxAnnouncementAge); judged.Expires.After(limit) {
		judged.Expires = limit
	}
	return judged, err
}

// keep takes a record that was judged.
func (a *announcements) keep(record []byte, judged Announcement, from p2p.ID, now time.Time) error {
	made := &announced{Announcement: judged, record: bytes.Clone(record), from: from, since: now}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch old := a.kept[judged.Origin]; {
	case old == nil:
		if err := a.makeRoom(judged.Owner, now); err != nil {
			return err
		}
	case judged.Sequence <= old.Sequence || old.next != nil && judged.Sequence <= old.next.Sequence:
		return fmt.Errorf("%w: sequence %d, it has %d", ErrAnnouncementOld, judged.Sequence, old.Sequence)
	case old.Expires.After(now) && now.Sub(old.since) < announceGap:
		old.next = made
		return nil
	case old.Owner != judged.Owner:
		delete(a.kept, judged.Origin)
		if err := a.makeRoom(judged.Owner, now); err != nil {
			return err
		}
	}
	a.put(made)
	return nil
}

// put makes a record the one of its origin, for peers to be told.
func (a *announcements) put(made *announced) {
	a.serial++
	made.serial, made.next = a.serial, nil
	a.kept[made.Origin] = made
	if a.rules.Kept != nil {
		_ = contain(func() error { a.rules.Kept(made.record); return nil })
	}
}

// makeRoom forgets what another origin of owner needs to give way to it, or returns an
// error if nothing does.
func (a *announcements) makeRoom(owner [32]byte, now time.Time) error {
	var first *announced
	number := 0
	for origin, k := range a.kept {
		if !k.Expires.After(now) {
			delete(a.kept, origin)
			continue
		}
		if k.Owner == owner {
			number++
			if first == nil || k.Expires.Before(first.Expires) ||
				k.Expires.Equal(first.Expires) && bytes.Compare(k.Origin[:], first.Origin[:]) < 0 {
				first = k
			}
		}
	}
	switch {
	case owner == [32]byte{} && number >= StrangerAnnouncements:
		return fmt.Errorf("no room for announcements of strangers: there are %d", number)
	case owner != [32]byte{} && number >= OwnerAnnouncements:
		delete(a.kept, first.Origin)
	case len(a.kept) >= MaxAnnouncements:
		return fmt.Errorf("no room for announcements: there are %d", len(a.kept))
	}
	return nil
}

// tick tells peers what they were not told.
func (a *announcements) tick() {
	serial := a.settle(a.now())
	for _, peer := range a.Switch.Peers().Copy() {
		h, ok := peer.Get(announceKey).(*hearer)
		if info, knows := peer.NodeInfo().(p2p.DefaultNodeInfo); ok && knows && info.HasChannel(announceChannel) {
			a.tell(peer, h, serial)
		}
	}
}

// settle forgets what expired and lets newer records in that waited. It returns the
// last serial number.
func (a *announcements) settle(now time.Time) (serial uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for origin, k := range a.kept {
		switch next := k.next; {
		case next != nil && next.Expires.After(now) && now.Sub(k.since) >= announceGap:
			next.since = now
			a.put(next)
		case !k.Expires.After(now):
			delete(a.kept, origin)
		}
	}
	return a.serial
}

// tell tells a peer some of what it was not told, in the order in which it was kept.
func (a *announcements) tell(peer p2p.Peer, h *hearer, serial uint64) {
	h.mu.Lock()
	told := h.told
	h.mu.Unlock()
	if told >= serial {
		return
	}
	var due []*announced
	a.mu.Lock()
	for _, k := range a.kept {
		if k.serial > told {
			due = append(due, k)
		}
	}
	a.mu.Unlock()
	slices.SortFunc(due, func(x, y *announced) int { return cmp.Compare(x.serial, y.serial) })
	if len(due) <= announceBatch {
		told = serial
	} else {
		due = due[:announceBatch]
		told = due[announceBatch-1].serial
	}
	for _, k := range due {
		if k.from == peer.ID() {
			continue
		}
		if !peer.TrySend(p2p.Envelope{ChannelID: announceChannel, Message: &gogotypes.BytesValue{Value: k.record}}) {
			told = k.serial - 1
			break
		}
	}
	h.mu.Lock()
	h.told = told
	h.mu.Unlock()
}

// list returns the records that are kept and not expired, by origin.
func (a *announcements) list() [][]byte {
	now := a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	var records [][]byte
	for _, origin := range slices.SortedFunc(maps.Keys(a.kept), func(x, y [32]byte) int { return bytes.Compare(x[:], y[:]) }) {
		if k := a.kept[origin]; k.Expires.After(now) {
			records = append(records, bytes.Clone(k.record))
		}
	}
	return records
}

// Announce tells all nodes of the chain a record, 1 to MaxAnnouncement bytes, in place
// of an older one of the same origin. They forget it when it expires, so it must be
// renewed. Of records that follow each other within five seconds the last one gets
// around. It errs if Judge refuses it, with [ErrAnnouncementOld] if the known one is as
// new, and with [ErrNotRunning].
func (c *Chain) Announce(record []byte) error {
	if _, running := c.running(); !running || c.announced == nil {
		return fmt.Errorf("announce: %w", ErrNotRunning)
	}
	now := c.announced.now()
	judged, err := c.announced.judge(record, now)
	if err == nil {
		err = c.announced.keep(record, judged, "", now)
	}
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	return nil
}

// Announcements returns the newest record of each origin that is known and has not
// expired, in the order of the origins, this node's own among them. It is empty if
// Config.Announcements is not set.
func (c *Chain) Announcements() [][]byte {
	if _, running := c.running(); !running || c.announced == nil {
		return nil
	}
	return c.announced.list()
}
