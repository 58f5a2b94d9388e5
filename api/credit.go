package api

import (
	"sync"
	"time"

	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

// credit is what the client of a stream may send, and what it is owed. It is
// safe for concurrent use.
type credit struct {
	mu         sync.Mutex
	entries    int64 // the client has
	bytes      int64
	oweEntries int64 // to be granted with the next window
	oweBytes   int64
	retryAfter time.Duration // the server was busy since the last window; 0 if not
	starved    bool          // the client was told that it has to wait
	faults     int           // malformed items, less those accepted
}

// maxFaults is how many more of a stream's items may be malformed than are
// accepted. A client that errs more often is better looked after than answered.
const maxFaults = 100

// fault counts an item that is wrong whatever the state, and returns why the
// stream must end, or nil.
func (c *credit) fault() *problem {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.faults++; c.faults <= maxFaults {
		return nil
	}
	return exhausted(ReasonTooManyErrors, retrySoon, "%d more items than were accepted cannot be carried out as they are; correct them and open another stream", maxFaults)
}

// accepted counts an item that was accepted.
func (c *credit) accepted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = max(0, c.faults-1)
}

// spend takes the cost of j off what the client has.
func (c *credit) spend(j *job) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries -= j.entries
	c.bytes -= j.bytes
	if c.entries < 0 || c.bytes < 0 {
		return exhausted(ReasonCreditExceeded, 0, "an item of %d entries and %d bytes exceeds the stream's credit by %d entries and %d bytes; wait for a window",
			j.entries, j.bytes, max(0, -c.entries), max(0, -c.bytes))
	}
	return nil
}

// settle gives the cost of j back, to be granted anew.
func (c *credit) settle(j *job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.oweEntries += j.entries
	c.oweBytes += j.bytes
}

// busy notes that the server has no room for after.
func (c *credit) busy(after time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retryAfter = max(c.retryAfter, after)
}

// window returns the next window message, or nil if there is nothing to say.
// With hold nothing is granted.
func (c *credit) window(hold bool) *settlementv1.StreamSettlementsResponse_Window {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !hold && (c.oweEntries > 0 || c.oweBytes > 0) {
		w := &settlementv1.StreamSettlementsResponse_Window{Entries: uint32(c.oweEntries), Bytes: uint64(c.oweBytes)}
		c.entries += c.oweEntries
		c.bytes += c.oweBytes
		c.oweEntries, c.oweBytes, c.retryAfter, c.starved = 0, 0, 0, false
		return w
	}
	after := c.retryAfter
	if after == 0 {
		if !hold || c.starved || c.entries > 0 && c.bytes > 0 {
			return nil
		}
		after, c.starved = retrySoon, true
	}
	c.retryAfter = 0
	return &settlementv1.StreamSettlementsResponse_Window{RetryAfterMs: uint32(after / time.Millisecond)}
}
