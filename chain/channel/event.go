package channel

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// EventKind says what happened to a channel.
type EventKind uint8

// The kinds of events.
const (
	EventOpened         EventKind = 1
	EventToppedUp       EventKind = 2
	EventRedeemed       EventKind = 3
	EventCloseRequested EventKind = 4
	EventFinalised      EventKind = 5 // by the chain, at the deadline
	EventCoopClosed     EventKind = 6
	EventPayeeClosed    EventKind = 7
	EventExtended       EventKind = 8
)

// String returns the kind's name: "opened".
func (k EventKind) String() string {
	switch k {
	case EventOpened:
		return "opened"
	case EventToppedUp:
		return "topped-up"
	case EventRedeemed:
		return "redeemed"
	case EventCloseRequested:
		return "close-requested"
	case EventFinalised:
		return "finalised"
	case EventCoopClosed:
		return "coop-closed"
	case EventPayeeClosed:
		return "payee-closed"
	case EventExtended:
		return "extended"
	default:
		return "unknown"
	}
}

// Closed reports whether the channel ended with the event.
func (k EventKind) Closed() bool {
	return k == EventFinalised || k == EventCoopClosed || k == EventPayeeClosed
}

// Event is one thing that happened to one channel. Amounts are the channel's
// totals after it; for closed channels, its final ones.
type Event struct {
	Kind       EventKind
	Index      uint64 // row of the channel
	ID         ledger.Hash
	Payer      ledger.Address
	Payee      ledger.Address
	Service    uint32
	TxIndex    int // position in the block; -1 for what the chain does by itself
	Deposit    ledger.Amount
	Redeemed   ledger.Amount
	Refunded   ledger.Amount // to the payer, rent included
	Deadline   uint64        // sigma; 0 once closed
	FeesNumber uint32        // number of the channel's fees, see FeesAt; 0 if it has none
}

// EntryResult is the outcome of one entry of a batch.
type EntryResult struct {
	Index uint64 // row of the channel
	Lane  uint8
	// Code is OK, PARTIAL_UNDERFUNDED, NO_OP_STALE, UNDERFUNDED,
	// CHANNEL_NOT_FOUND, NOT_PAYEE, BAD_SIGNATURE, BAD_PREIMAGE, or
	// BATCH_ABORTED for an entry that was sound when another one made its atomic
	// batch fail.
	Code     chain.Code
	Closed   bool          // the channel was closed by this entry
	Paid     ledger.Amount // to the payee, net of burn and fees
	Burned   ledger.Amount // the network's part and the fees of the payer's zone
	OwnerFee ledger.Amount // to the owner of the service
	Redeemed ledger.Amount // the channel's total after the entry; 0 if it was not found
}

// Applied reports whether the entry changed anything.
func (r *EntryResult) Applied() bool { return r.Closed || r.Moved() != 0 }

// Moved returns what the channel paid out by the entry: to the payee, burned and to the
// owner of the service.
func (r *EntryResult) Moved() ledger.Amount { return r.Paid + r.Burned + r.OwnerFee }
