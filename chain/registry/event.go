package registry

import "github.com/tributary-network/tributary/shard"

// EventKind says what happened.
type EventKind uint8

// The kinds of events, with the fields they set beside Kind and TxIndex.
const (
	EventRegistered EventKind = 1 // Service, Version
	EventUpdated    EventKind = 2 // Service, Version
	EventServes     EventKind = 3 // Service, Validator, Epoch (the first whose draw it may be in)
	EventServesNot  EventKind = 4 // Service, Validator, Epoch (the first whose draw it is not in)
	EventAsked      EventKind = 5 // Service, Zone, Change, Shards (one): its owner wants it to split or to merge
	// EventAnnounced: Service, Zone, Change, Shards (that are replaced), Epoch (from which
	// the change holds).
	EventAnnounced EventKind = 6
	// EventHolds: the same when the change is made, with Heirs. It comes in the last block
	// of the epoch before.
	EventHolds EventKind = 7
	// EventForgotten: Service, Zone, Change, Shards (one): what was asked for did not
	// come to be announced.
	EventForgotten EventKind = 8
	EventRedrawn   EventKind = 9 // Service, Zone, Shards (one), Epoch (of the committee that is another one now)
)

// String returns the kind's name: "registered".
func (k EventKind) String() string {
	names := [...]string{
		"unknown", "registered", "updated", "serves", "serves-not", "asked", "announced", "holds", "forgotten", "redrawn",
	}
	if int(k) >= len(names) {
		k = 0
	}
	return names[k]
}

// Event is one thing that happened to a service or its shards. What a kind does not
// name is zero.
type Event struct {
	Kind      EventKind
	TxIndex   int // position in the block; -1 for what the chain does by itself
	Service   uint32
	Version   uint32 // of the service
	Zone      byte
	Validator uint64 // row
	Change    shard.Kind
	// Shards are those that it is about, or that a change replaces; Heirs those that a
	// change makes.
	Shards, Heirs []shard.ID
	Epoch         uint64
}

func (c *Context) note(e Event) { c.events = append(c.events, e) }

// Noted returns the events since it was asked last. Those of a transaction have the
// TxIndex 0, which the caller sets.
func (c *Context) Noted() []Event {
	list := c.events
	c.events = nil
	return list
}
