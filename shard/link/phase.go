package link

// Phase is how far a message is.
type Phase uint8

// The phases of a message.
const (
	PhasePending   Phase = 1 // its transaction is not in a block yet
	PhaseCommitted Phase = 2 // it is in the outbox of a block
	PhaseAnchored  Phase = 3 // main anchored a checkpoint of a block that lists it
	PhaseDelivered Phase = 4 // an import with it is in a block, which is not executed yet
	PhaseExecuted  Phase = 5 // its destination did what it says
	PhaseAcked     Phase = 6 // its source knows that. Final
	PhaseBounced   Phase = 7 // its handler refused it; it goes or went back. Final
	PhaseExpired   Phase = 8 // it came too late; it goes or went back. Final
)

// String returns the phase's name: "pending".
func (p Phase) String() string {
	names := [...]string{
		PhasePending: "pending", PhaseCommitted: "committed", PhaseAnchored: "anchored", PhaseDelivered: "delivered",
		PhaseExecuted: "executed", PhaseAcked: "acked", PhaseBounced: "bounced", PhaseExpired: "expired",
	}
	if p == 0 || int(p) >= len(names) {
		return "unknown"
	}
	return names[p]
}

// Final reports whether nothing follows.
func (p Phase) Final() bool { return p >= PhaseAcked && p <= PhaseExpired }

// Event is what moves a message on.
type Event uint8

// The events of a message.
const (
	EventCommit  Event = 1 // the block that sends it
	EventAnchor  Event = 2 // main anchors a checkpoint that lists it
	EventDeliver Event = 3 // a block has an import with it
	EventExecute Event = 4
	EventBounce  Event = 5
	EventExpire  Event = 6
	EventAck     Event = 7 // the source learns that it was received
	EventReturn  Event = 8 // the source takes its bounce back
)

// Next returns the phase after an event, and ok=false if the event cannot happen
// in phase p. An event may come again: a message is listed and anchored as often
// as it takes. An acknowledgement or the return of a bounce says nothing new of
// what ended badly.
func (p Phase) Next(e Event) (next Phase, ok bool) {
	listed := e == EventCommit || e == EventAnchor
	switch p {
	case PhasePending:
		return PhaseCommitted, e == EventCommit
	case PhaseCommitted:
		return pick(e, EventAnchor, PhaseAnchored, EventCommit, p)
	case PhaseAnchored:
		if listed {
			return p, true
		}
		return PhaseDelivered, e == EventDeliver
	case PhaseDelivered:
		if listed || e == EventExecute {
			return pick(e, EventExecute, PhaseExecuted, e, p)
		}
		return pick(e, EventBounce, PhaseBounced, EventExpire, PhaseExpired)
	case PhaseExecuted:
		if listed {
			return p, true
		}
		return PhaseAcked, e == EventAck
	case PhaseAcked:
		return p, e == EventAck || e == EventAnchor
	case PhaseBounced, PhaseExpired:
		return p, listed || e == EventAck || e == EventReturn
	default:
		return p, false
	}
}

func pick(e, first Event, then Phase, second Event, otherwise Phase) (Phase, bool) {
	if e == first {
		return then, true
	}
	return otherwise, e == second
}
