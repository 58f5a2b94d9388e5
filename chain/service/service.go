// Package service is the rules of a shard of a service chain: which channels have
// their home here, what usage of them is booked, what providers earn, and which
// settlements go to the main chain at the end of an epoch.
//
// A shard holds no money. A channel's deposit lies on the main chain, which tells
// the channel's home (the shard with the payer's zone and bucket) of it by notices,
// see chain/channel. A payee books vouchers there, the same that the main chain
// redeems, as often as it likes: each booking is checked, counted, and proved by
// the usage root of its block. What a block adds for a payee of another shard
// crosses over as one message. At the end of an epoch the shard emits, for each
// payee, a settlement batch of the best vouchers of all lanes that moved; anybody
// can send it to the main chain, which verifies the payers' signatures itself. So
// a shard can delay and omit, and never mint; a payee can always redeem directly.
//
// ApplyBlock is the whole of it, as in chain/settlement: a function from a view,
// parameters and a block to changes, receipts, messages and settlements. It never
// refuses a block.
//
// # What runs it must know
//
// Domains. Vouchers are signed for the main chain. Transactions and payees'
// receipts are signed for Domain(network, service), which all shards of a service
// share, so that they outlive splits and merges and so that a wrong shard can say
// which one is right. Ids of the shards' own chains are below FirstServiceDomain.
//
// Fees and nonces. There is no money here, so MaxFee must be 0. A booking is
// idempotent, so the nonce counts for nothing but the transaction's name. What
// keeps usage from being spam is the admission of whoever runs this and
// Params.MinAdvance: an entry is booked only if its voucher is worth that much more than
// the last one of its lane. An entry that is not booked does nothing and counts in no load, but
// takes room in its block, so Admit refuses a transaction that does not bring as much for
// each of its entries, and whoever keeps transactions counts what vouchers bring once only:
// see chain/exec.
//
// A block applies in this order: the start of an epoch (Block.Epoch, once the
// record of the epoch is proved against the main chain), settlements, inbound
// messages, transactions, netting. While Settling reports true the shard needs
// blocks, empty or not.
//
// Messages. Block.Send is asked for each message once, in order; Result.Messages are
// those it took. Their source is the first bucket of the shard, so that a shard uses
// one link for each bucket it sends to. What a link has no room for waits in the
// state and is netted with what comes later, so a destination that stands still
// costs one row for each payee, of which a block reads a bounded number and all get
// their turn. Earnings count for the epoch in which they leave for the payee's home, not
// for that of the booking: what was earned in an epoch that is over changes by what is
// under way, and not by what a place that stood still keeps back. An inbound message whose ImportResult is not Taken
// is to be bounced with its code. A message of this shard's own that comes back
// enters Block.Inbox with its Fate: an expired one is sent again, one that was
// bounced is counted as stuck, which only a committee that breaks the rules can
// bring about. What it says is what this shard sent, once: shard/link sees to that.
//
// Other shards' committees are not believed what cannot be: earnings of an epoch that no
// shard can have begun (Inbound.MainEpoch), or of more drops than there are. They are
// refused, and bounce. So a committee that lies can make the earnings of payees wrong for as
// much as it says, and not push out the epochs that are kept. Nor can it, or a payer who
// signs any number of units, keep later earnings from being counted: totals are counters
// modulo 2^64, so what is added to them is right whatever was said before, and an epoch of a
// payee that is full leaves the next one as it is. Money is settled on the main chain and
// never by them.
//
// Notices. For each channel that names a service, the main chain sends to the home
// place of its payer an OpenedNotice when it is opened, a ChangedNotice after a top-up,
// an extension or the payer's request to close, a ClosedNotice however it ends, and what Acknowledgement
// says. What is redeemed and closed in one block may come in any order. Sigma comes
// with the epoch only, so a channel counts as expired here somewhat late and never
// early.
//
// What ends. A channel that its payer closes does not wait for the end of the epoch: the
// block that takes the notice settles all that was booked on it, and each later booking
// is settled in its own block, until the deadline. So it is with a channel that expires
// within Params.Ahead of the beginning of the epoch (three epochs of the main chain, see
// chain/shardblock). A payee that has gone away is therefore paid what was booked and
// anchored before the main chain executed the request, if, within the challenge, the
// notice is carried here, this shard makes a block, and somebody carries the settlement
// back; and what was booked by the end of an epoch, if it is carried within the two epochs
// before the channel expires. Nothing pays what is worth less than the fee of its
// settlement, what no relayer has coins for, or what lies in a shard that stands still for
// as long as the challenge: then the payee, or its tower, has to redeem the vouchers itself.
//
// Acknowledgement. The main chain sends a channel.RedeemedNotice to each home
// bucket of which it redeemed in a block, whoever submitted; until then a
// settlement is outstanding, and Outstanding makes it again from the state, with
// the best vouchers of that moment.
//
// Conservation. For amounts, units and work alike, booked + received + returned =
// earned + sent + waiting + stuck, at every block or ErrNotConserved halts the chain. Over
// all shards of a service, sent less received and returned is what lies in their
// outboxes; see InFlight.
//
// It is row 2 of the dependency order: pure functions of values.
package service

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// Verifier returns the indexes of the claims that do not hold, ascending.
type Verifier func(claims []ledger.Claim) []int

// Block is what the committee agreed on.
type Block struct {
	Height uint64
	// Epoch is the start of an epoch that this block learns of, proved against the
	// main chain by the caller; nil in most blocks.
	Epoch *EpochStart
	Inbox []Inbound
	Txs   []BlockTx
	// Send puts a message into the outbox, and reports false if its link has no room.
	// It depends on nothing but the chain. Nil takes everything.
	Send func(Message) bool
}

// EpochStart is what the record of an epoch tells the rules.
type EpochStart struct {
	Epoch uint64
	Sigma uint64 // settlement clock of the main chain when the record was made
}

// BlockTx is one record of a block.
type BlockTx struct {
	Tx chain.Tx
	// Refused is why the record could not be decoded, or nil. Tx.Raw and
	// Tx.Hash are set all the same.
	Refused *chain.RuleError
	// Checked says that Claims, against this or an earlier state of this shard, was
	// complete and refused nothing, and that every Need holds. It saves work and
	// has no influence on the outcome.
	Checked bool
}

// Result is what a block did, besides changing the state.
type Result struct {
	Height      uint64
	Epoch       uint64
	Receipts    []Receipt      // one for each transaction, in order
	Imports     []ImportResult // one for each inbound message, in order
	ResultsRoot ledger.Hash    // over receipts and imports; zero if there are none
	Bookings    []Booking      // in order: the leaves of UsageRoot
	UsageRoot   ledger.Hash    // zero if nothing was booked
	Messages    []Message      // sent, in order
	Settlements []Settlement   // ascending by epoch, payee and channel
	Totals      Totals
}

// Settlement is a batch that the main chain takes from anybody, as the payload of
// a chain.KindSettle. It closes nothing and needs no authority.
type Settlement struct {
	Epoch uint64 // in which its lanes moved
	Batch channel.Batch
}
