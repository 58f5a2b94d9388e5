package link_test

import (
	"testing"

	"github.com/tributary-network/tributary/shard/link"
)

// TestPhases is the whole matrix: what is not listed cannot happen.
func TestPhases(t *testing.T) {
	t.Parallel()
	type pair struct {
		p link.Phase
		e link.Event
	}
	want := map[pair]link.Phase{
		{link.PhasePending, link.EventCommit}:    link.PhaseCommitted,
		{link.PhaseCommitted, link.EventCommit}:  link.PhaseCommitted,
		{link.PhaseCommitted, link.EventAnchor}:  link.PhaseAnchored,
		{link.PhaseAnchored, link.EventCommit}:   link.PhaseAnchored,
		{link.PhaseAnchored, link.EventAnchor}:   link.PhaseAnchored,
		{link.PhaseAnchored, link.EventDeliver}:  link.PhaseDelivered,
		{link.PhaseDelivered, link.EventCommit}:  link.PhaseDelivered,
		{link.PhaseDelivered, link.EventAnchor}:  link.PhaseDelivered,
		{link.PhaseDelivered, link.EventExecute}: link.PhaseExecuted,
		{link.PhaseDelivered, link.EventBounce}:  link.PhaseBounced,
		{link.PhaseDelivered, link.EventExpire}:  link.PhaseExpired,
		{link.PhaseExecuted, link.EventCommit}:   link.PhaseExecuted,
		{link.PhaseExecuted, link.EventAnchor}:   link.PhaseExecuted,
		{link.PhaseExecuted, link.EventAck}:      link.PhaseAcked,
		{link.PhaseAcked, link.EventAck}:         link.PhaseAcked,
		{link.PhaseAcked, link.EventAnchor}:      link.PhaseAcked,
	}
	for _, p := range []link.Phase{link.PhaseBounced, link.PhaseExpired} {
		for _, e := range []link.Event{link.EventCommit, link.EventAnchor, link.EventAck, link.EventReturn} {
			want[pair{p, e}] = p
		}
	}
	for p := range link.Phase(10) {
		for e := range link.Event(10) {
			got, ok := p.Next(e)
			next, listed := want[pair{p, e}]
			if ok != listed || ok && got != next {
				t.Errorf("%v after event %d: %v, %v; want %v, %v", p, e, got, ok, next, listed)
			}
			if ok && p.Final() && !got.Final() {
				t.Errorf("%v is final and becomes %v", p, got)
			}
		}
		if known := p >= 1 && p <= 8; (p.String() == "unknown") == known {
			t.Errorf("phase %d is called %s", p, p)
		}
	}
}
