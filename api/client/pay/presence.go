package pay

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// presence is what a payee thinks of a channel's existence. It decides whether
// payments are accepted on it; whether its claims may be forgotten is another
// question, see payeeChannel.forgettable.
type presence uint8

const (
	present presence = iota
	// doubted: a list that is behind does not name it, or a node does not know it.
	// It may well be open. Nothing is accepted until somebody has seen it.
	doubted
	// unlisted: an up-to-date list does not name it. It is closed unless that node
	// is wrong, so its claims are kept, and it is asked for.
	unlisted
	// ended: its close was seen in the chain's history. An id closes once.
	ended
)

// ClosedError says that a channel existed and was closed in the block at Height.
// It is a refusal of chain.CodeChannelNotFound, too.
type ClosedError struct {
	ID     ledger.Hash
	Height uint64
}

// Error names the channel and the height.
func (e *ClosedError) Error() string {
	return fmt.Sprintf("channel %s was closed at height %d", e.ID, e.Height)
}

// Unwrap returns a bare refusal of chain.CodeChannelNotFound.
func (e *ClosedError) Unwrap() error { return chain.CodeChannelNotFound.Err() }

// leave records that the channel is thought to be gone at now, by a list of the
// height at or, if that is 0, by something that has no height.
func (c *payeeChannel) leave(to presence, now int64, at uint64) {
	if to > c.presence {
		c.presence = to
		c.awaySince = now
	}
	c.awayAt = max(c.awayAt, at)
	if to == ended {
		c.since = 0
	}
}

// seen records that a record of the channel has come, of the state at a height
// that is 0 if it is not known. Nothing brings back what has ended, and no record
// what a newer list left out.
func (c *payeeChannel) seen(height uint64) {
	if c.presence == ended || height != 0 && height < c.awayAt {
		return
	}
	c.presence, c.awaySince, c.awayAt = present, 0, 0
}

// forgettable reports whether the channel has been gone for longer than Retain
// and nothing can be lost with it: its close was seen, or nothing is owed.
func (c *payeeChannel) forgettable(now int64) bool {
	return c.presence != present && now-c.awaySince > int64(Retain) &&
		(c.presence == ended || c.unredeemed() == 0)
}

// questionable reports whether money is owed on a channel that may be gone.
func (c *payeeChannel) questionable() bool {
	return (c.presence == doubted || c.presence == unlisted) && c.unredeemed() > 0
}

// current reports whether a list of the view v is as new as anything known, so
// that what it does not name is closed, if the node is right.
func (v *View) current(known *View) bool {
	return v.Height != 0 && v.Height >= known.Height && v.Lag <= MaxLag
}

// reached returns the height up to which the view tells everything.
func (v *View) reached() uint64 { return v.Height - min(v.Lag, v.Height) }

// agreement is what a payee has signed about the end of a channel.
type agreement struct {
	final ledger.Amount // it gets in all; MaxAmount if it gets whatever it claims
	until uint64        // block height up to which it can be executed; 0: nothing was signed
}

// holds reports whether the agreement can still be executed, by all that v tells.
func (a agreement) holds(v *View) bool { return a.until != 0 && v.reached() <= a.until }

// with returns what a payee is bound by that has signed both.
func (a agreement) with(b agreement) agreement {
	return agreement{final: min(a.final, b.final), until: max(a.until, b.until)}
}
