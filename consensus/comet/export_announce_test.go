package comet

import (
	"errors"
	"time"

	"github.com/cometbft/cometbft/p2p"
	gogotypes "github.com/cosmos/gogoproto/types"
)

// AnnouncementTable is what a node keeps of announcements, without a network.
type AnnouncementTable struct {
	a *announcements
	h *hearer
}

// NewAnnouncementTable has rules and a clock, and one peer that tells it of records.
func NewAnnouncementTable(rules Announcements, now func() time.Time) *AnnouncementTable {
	a := newAnnouncements(rules)
	a.now = now
	return &AnnouncementTable{a, &hearer{credit: announceCredit, refused: refusedCredit, at: now()}}
}

// Heard does what Receive does, and returns why a record was not kept.
func (t *AnnouncementTable) Heard(record []byte) error {
	now := t.a.now()
	if !t.h.afford(now) {
		return errors.New("passed over")
	}
	if t.a.known(record) {
		return errors.New("known")
	}
	judged, err := t.a.judge(record, now)
	if err != nil {
		t.h.charge()
		return err
	}
	return t.a.keep(record, judged, "peer", now)
}

// Tick lets time pass for what waits or expires.
func (t *AnnouncementTable) Tick() {
	t.a.settle(t.a.now())
}

// List is what is kept.
func (t *AnnouncementTable) List() [][]byte { return t.a.list() }

// SendAnnouncement sends all peers of a chain what bears no look at all.
func SendAnnouncement(c *Chain, record []byte) {
	for _, peer := range c.engine.Switch().Peers().Copy() {
		peer.TrySend(p2p.Envelope{ChannelID: announceChannel, Message: &gogotypes.BytesValue{Value: record}})
	}
}
