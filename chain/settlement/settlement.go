// Package settlement is the rules of the main chain: accounts, transfers and
// fees, the dispatch of channel transactions, what happens at the end of a block,
// and the conservation of value.
//
// ApplyBlock is the whole of it: a function from a view of the state, the
// parameters and a block to the changes and the receipts. It has no clock, disk,
// network or goroutine, so every validator, the simulator and every replay get
// the same bytes. Signatures are verified by a function that the caller passes
// in, because verifying in batches wants entropy and processors; its answers are
// determined by its arguments all the same.
//
// Money is in exactly one of five places, and their sum is the supply of the
// genesis at every block: balances of accounts, deposits of channels not yet
// paid out, rents held for channel records, burned, and fees collected.
//
// It is row 2 of the dependency order.
package settlement

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// Verifier returns the indexes of the claims that do not hold, ascending.
type Verifier func(claims []ledger.Claim) []int

// Block is what the validators agreed on.
type Block struct {
	Height uint64
	Time   int64 // Unix milliseconds, from the header
	Size   int64 // bytes of all bundles
	Txs    []BlockTx
}

// BlockTx is one record of a block.
type BlockTx struct {
	Tx chain.Tx
	// Refused is why the record could not be decoded, or nil. Tx.Raw and
	// Tx.Hash are set all the same.
	Refused *chain.RuleError
	// Checked says that every signature that the record needs was verified
	// already. It is a fact about the bytes, not an opinion: keys and channel
	// ids never change once they exist.
	Checked bool
}

// Receipt is the outcome of one transaction. Everything in it but Hash is
// determined by the rules and enters the block's results root.
type Receipt struct {
	Hash    ledger.Hash
	Kind    chain.Kind
	Code    chain.Code
	Signer  ledger.Address
	Nonce   uint64
	Fee     ledger.Amount // charged to the signer; 0 if the nonce was not consumed
	Paid    ledger.Amount // moved to payees or recipients, net of burn
	Burned  ledger.Amount
	Entries []EntryResult // of a batch, one for each entry, in order
	// ResultsRoot is the RFC 6962 root over the entries' encodings; zero unless
	// a batch.
	ResultsRoot ledger.Hash
	// FirstChannel is the row of the first channel opened; the others follow.
	// Valid for an open, and for a cooperative close with roll-over.
	FirstChannel uint64
	Opened       uint32 // number of channels opened
	Detail       string // for people; never hashed
}

// EntryResult is the outcome of one entry of a batch.
type EntryResult struct {
	Index    uint64 // row of the channel
	Lane     uint8
	Code     chain.Code    // OK, PARTIAL_UNDERFUNDED, NO_OP_STALE, UNDERFUNDED, CHANNEL_NOT_FOUND, BAD_SIGNATURE, BAD_PREIMAGE, NOT_PAYEE
	Paid     ledger.Amount // to the payee, net of burn
	Burned   ledger.Amount
	Redeemed ledger.Amount // the channel's total after the entry
	Closed   bool
}

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

// Event is one thing that happened to one channel. Amounts are the channel's
// totals after it; for closed channels, its final ones.
type Event struct {
	Kind     EventKind
	Index    uint64 // row of the channel
	ID       ledger.Hash
	Payer    ledger.Address
	Payee    ledger.Address
	TxIndex  int // position in the block; -1 for what the chain does by itself
	Deposit  ledger.Amount
	Redeemed ledger.Amount
	Refunded ledger.Amount // to the payer, rent included
	Deadline uint64        // sigma; 0 once closed
}

// Totals is where the money is.
type Totals struct {
	Accounts ledger.Amount
	Escrow   ledger.Amount // deposits less what was paid out
	Rent     ledger.Amount
	Burned   ledger.Amount
	Fees     ledger.Amount // collected, not yet distributed
}

// Result is what a block did, besides changing the state.
type Result struct {
	Height      uint64
	Clock       uint64 // sigma of the block
	Receipts    []Receipt
	Events      []Event
	ResultsRoot ledger.Hash // over the receipts and finalisations
	Totals      Totals
	Finalised   int // channels closed by their deadline
}
