package channel

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// Bank moves money between accounts, which are known by their rows, and
// channels. The block rules implement it. No amount passed to it exceeds what
// the protocol has checked to be there, so its methods cannot fail.
type Bank interface {
	// Row returns the row of the account of a, which is made if there is none.
	Row(a ledger.Address) uint64
	// Balance returns what the account at row has.
	Balance(row uint64) ledger.Amount
	// Lock moves deposit and rent from the account at row into a channel.
	Lock(row uint64, deposit, rent ledger.Amount)
	// Pay moves net from channels to the account at row, and burns burned.
	Pay(row uint64, net, burned ledger.Amount)
	// Earn moves fee from channels to the account of the owner of a service, which is made
	// if there is none.
	Earn(service uint32, fee ledger.Amount)
	// Refund moves deposit and rent from a channel back to the account at row.
	Refund(row uint64, deposit, rent ledger.Amount)
}

// Party is an account: its address and its row.
type Party struct {
	Address ledger.Address
	Row     uint64
}

// Context is where and when transitions happen. Its methods are the transitions
// T1 to T8: each either refuses with a RuleError and changes nothing, or does
// all it says to State and Bank and returns what happened.
type Context struct {
	State  *chain.Overlay
	Bank   Bank
	Domain chain.Domain
	Rules  *Rules
	Height uint64 // of the block
	Clock  uint64 // sigma of the block
}

// find returns the row of the channel that ref names.
func (c *Context) find(ref *Ref) (row, error) {
	r := rowAt(c.State, ref.Index)
	switch {
	case r == nil:
		return nil, chain.Refuse(chain.CodeChannelNotFound, "no open channel %d", ref.Index)
	case r.id() != ref.ID:
		return nil, chain.Refuse(chain.CodeChannelMismatch, "channel %d has id %s, not %s", ref.Index, r.id(), ref.ID)
	}
	return r, nil
}

// live refuses what only an open channel before its expiry may do.
func (c *Context) live(index uint64, r row) error {
	switch {
	case r.closing():
		return chain.Refuse(chain.CodeChannelClosing, "channel %d closes at %d", index, r.deadline())
	case c.Clock >= r.uint64(offExpiresAt):
		return chain.Refuse(chain.CodeChannelExpired, "channel %d expired at %d", index, r.uint64(offExpiresAt))
	}
	return nil
}

// patch returns a copy of r that may be written to.
func (r row) patch() row { return append(make(row, 0, RowSize), r...) }
