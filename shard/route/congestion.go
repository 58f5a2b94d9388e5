package route

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

const (
	// Full is the highest Level: 1.
	Full Level = ledger.BasisPoints
	// Threshold is the highest level at which new user transactions are admitted.
	Threshold = Full / 4
	// MaxRetryAfter is the longest wait, in blocks: what a shard takes to fall from
	// Full to Threshold if it works off 1/32 of what is above in each block.
	MaxRetryAfter = 32
)

// Errors of congestion.
var (
	// ErrCongested is what a CongestedError is.
	ErrCongested = errors.New("congested")
	// ErrBadCapacity means a capacity of nothing.
	ErrBadCapacity = errors.New("a capacity is at least 1")
	// ErrBadLevel means a level above Full.
	ErrBadLevel = errors.New("not a level of congestion")
)

// Level is how congested a shard is: 0 to Full, in basis points. Its encoding is
// two bytes, big-endian.
type Level uint16

// Validate returns ErrBadLevel for a level above Full.
func (l Level) Validate() error {
	if l > Full {
		return fmt.Errorf("level %d, at most %d: %w", uint16(l), Full, ErrBadLevel)
	}
	return nil
}

// String returns the level in percent, rounded up to a tenth: "25.0%".
func (l Level) String() string {
	tenths := (uint32(l) + 9) / 10
	return fmt.Sprintf("%d.%d%%", tenths/10, tenths%10)
}

// Backlog is what waits in a shard after a block.
type Backlog struct {
	// Inbox and Outbox are messages: anchored at their sources and not imported here,
	// as far as this chain knows, and sent from here and not acknowledged.
	Inbox, Outbox uint64
	// Bytes are those of both.
	Bytes uint64
	// MissedAnchors is how many anchors are due and not on the main chain.
	MissedAnchors uint64
}

// Capacity is the backlog at which a shard is full, each at least 1. It is a
// consensus parameter.
type Capacity Backlog

// DefaultCapacity is the capacity to start with. A quarter of it is one link full
// of messages, or four anchors missed.
func DefaultCapacity() Capacity {
	return Capacity{Inbox: 8_192, Outbox: 8_192, Bytes: 16 << 20, MissedAnchors: 16}
}

// Validate returns ErrBadCapacity with the first capacity of nothing.
func (c *Capacity) Validate() error {
	for _, r := range []struct {
		name  string
		value uint64
	}{{"inbox", c.Inbox}, {"outbox", c.Outbox}, {"bytes", c.Bytes}, {"missed_anchors", c.MissedAnchors}} {
		if r.value == 0 {
			return fmt.Errorf("%s is 0: %w", r.name, ErrBadCapacity)
		}
	}
	return nil
}

// Level returns how congested a shard with this backlog is: the highest share of
// a capacity that is used, rounded up, at most Full. So it is 0 only with
// nothing waiting.
func (c *Capacity) Level(b Backlog) Level {
	return max(share(b.Inbox, c.Inbox), share(b.Outbox, c.Outbox), share(b.Bytes, c.Bytes), share(b.MissedAnchors, c.MissedAnchors))
}

// share returns used/capacity, rounded up, at most Full.
func share(used, capacity uint64) Level {
	if used >= capacity {
		return Full
	}
	high, low := bits.Mul64(used, uint64(Full))
	q, rest := bits.Div64(high, low, capacity) // used < capacity: fits
	if rest > 0 {
		q++
	}
	return Level(q)
}

// Kind is what a transaction is to admission.
type Kind uint8

// The kinds. Whatever is none of them is admitted like User.
const (
	// User is a new transaction of a user.
	User Kind = 1
	// Receipt ends or confirms what has begun: imports, acknowledgements,
	// settlements, evidence.
	Receipt Kind = 2
	// Bounce brings a message back that was not executed.
	Bounce Kind = 3
)

// CongestedError says that a shard takes no new user transactions, and when to
// try again.
type CongestedError struct {
	Shard shard.ID
	Level Level
	// RetryAfter is in blocks of the shard, 1 to MaxRetryAfter.
	RetryAfter uint64
}

// Error names shard, level and wait.
func (e *CongestedError) Error() string {
	return fmt.Sprintf("shard %d is congested: level %s, new transactions are taken up to %s; try again in %d blocks",
		e.Shard, e.Level, Threshold, e.RetryAfter)
}

// Is reports whether target is ErrCongested.
func (e *CongestedError) Is(target error) bool { return target == ErrCongested }

// Admit returns a CongestedError if a transaction of a kind towards a shard is
// refused at the level of the shard: new user transactions above Threshold, and
// nothing else ever.
func Admit(k Kind, towards shard.ID, l Level) error {
	if k == Receipt || k == Bounce || l <= Threshold {
		return nil
	}
	return &CongestedError{Shard: towards, Level: l, RetryAfter: RetryAfter(l)}
}

// RetryAfter returns after how many blocks of the shard a client should try
// again: the more the higher the level, rounded up, 1 to MaxRetryAfter above
// Threshold, and 0 up to it.
func RetryAfter(l Level) uint64 {
	if l <= Threshold {
		return 0
	}
	const room = uint64(Full - Threshold)
	return (uint64(min(l, Full)-Threshold)*MaxRetryAfter + room - 1) / room
}
