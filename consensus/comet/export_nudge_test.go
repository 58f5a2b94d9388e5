package comet

import "time"

// Nudges says when peers are reminded of what waits.
type Nudges = nudges

// Due is nudges.due.
func (n *nudges) Due(now time.Time, waited time.Duration) bool { return n.due(now, waited) }

// Sent is nudges.sent.
func (n *nudges) Sent(now time.Time, size int) { n.sent(now, size) }
