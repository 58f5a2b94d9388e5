package comet

import (
	"log/slog"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	cmtlog "github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/types"

	"github.com/tributary-network/tributary/ledger/kv"
)

// What tests reach of the inside.

// NewDatabase returns store as CometBFT sees it, and what cuts it off.
func NewDatabase(store kv.Store) (dbm.DB, func()) {
	g := newGate()
	return newDatabase(store, g), func() { g.closed = true }
}

// NewLogger returns the log adapter.
func NewLogger(h slog.Handler, onError func(string, []any)) cmtlog.Logger {
	return newLogger(h, onError)
}

// PrivValidator is the signer as CometBFT sees it.
func PrivValidator(s *Signer) types.PrivValidator { return votes{s} }

// TrimWAL runs the trimmer at each of heights, and before after each.
func TrimWAL(head string, heights []int64, before func(int64)) error {
	t := &trimmer{head: head}
	for _, h := range heights {
		before(h)
		if err := t.trim(h); err != nil {
			return err
		}
	}
	return nil
}

// Contact is what a node knows of a peer.
type Contact struct{ c contact }

// NewContact is a peer that connected at now.
func NewContact(now time.Time) *Contact { return &Contact{contact{since: now, active: now}} }

// Heard takes a heartbeat of the validator numbered id.
func (c *Contact) Heard(now, peerClock time.Time, id, flags byte) error {
	return c.c.heard(now, beat{flags: flags, unixMilli: peerClock.UnixMilli(), validator: [32]byte{id}}, func() error { return nil })
}

// Silent reports whether the peer would be dropped.
func (c *Contact) Silent(now time.Time, received int64) bool { return c.c.silent(now, received) }

// View returns whether the peer is alive, whether it votes, and its clock.
func (c *Contact) View(now time.Time) (alive, voting bool, skew time.Duration) {
	v := c.c.view(now)
	return v.alive, v.voting, v.skew
}

// RecodeBeat decodes a heartbeat and encodes it again.
func RecodeBeat(data []byte) ([]byte, error) {
	b, err := decodeBeat(data)
	if err != nil {
		return nil, err
	}
	return b.encode(), nil
}

// Limits of presence.
const (
	AliveFor     = aliveFor
	SilentFor    = silentFor
	PresenceSize = presenceSize
)
