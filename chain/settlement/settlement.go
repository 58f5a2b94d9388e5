// Package settlement is the rules of the main chain: accounts, transfers and
// fees, the dispatch of the transactions of channels, staking and the registry of services,
// what happens at the beginning and the end of a block, and the conservation of value.
//
// ApplyBlock is the whole of it: a function from a view of the state, the
// parameters and a block to the changes and the receipts. It has no clock, disk,
// network or goroutine, so every validator, the simulator and every replay get
// the same bytes. Signatures are verified by a function that the caller passes
// in, because verifying in batches wants entropy and processors; its answers are
// determined by its arguments all the same.
//
// Money is in exactly one of seven places, and their sum is the supply, that of
// the genesis and what was minted since, at every block: balances of accounts,
// deposits of channels not yet paid out, rents held for channel records, stake,
// rewards not yet claimed, burned, and fees collected.
//
// # Shards
//
// Certified heights of shards are anchored by records (chain/anchor), which also take
// evidence of two versions of one height; a shard that misses its anchors gets another
// committee at the end of a block. What happens to a channel is told to its home, the
// shard of the service that it names (chain/channel's notices, shard/link); what shards
// acknowledge or send back comes by records too. Their payloads:
//
//	anchor            anchor.Anchors
//	anchor-conflict   anchor.Conflict
//	import            Delivery
//	relist, reack     link.Link
//
// The fee of what was due or brings something on goes back to who sent it, as the Paid of
// its receipt. Of messages to the main chain it takes reports of loads (shard.KindReport);
// all others, and reports that it refuses, are passed over. None go back: who made up a
// shard's messages would never acknowledge that, and the state would keep them for ever.
//
// It is row 2 of the dependency order.
package settlement

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// Verifier returns the indexes of the claims that do not hold, ascending.
type Verifier func(claims []ledger.Claim) []int

// Block is what the validators agreed on.
type Block struct {
	Height uint64
	Txs    []BlockTx
	// Proposer is the consensus address of the block's proposer.
	Proposer staking.Address
	// Seals are those of all blocks of the epoch, one for each, this one's the last,
	// if the block is the last of its epoch and there is staking; otherwise nil. A
	// seal is the proposer's BLS signature over the epoch and the height, which the
	// caller has verified, or of no bytes for a block without a valid one.
	Seals [][]byte
	// Votes are those for the block before, in the order of consensus.
	Votes []staking.Vote
	// Tick says that validators asked for the block although nobody sent a record. The
	// rules look at that only where the chain has to go on; see NeedsTick.
	Tick bool
	// Evidence is what consensus has verified and agreed on in this block.
	Evidence []staking.Evidence
	// Proved says which runs of anchors, by their hashes, were verified before (Pairings),
	// and Keys remembers decoded keys. Both save work, have no influence on the outcome,
	// and may be nil.
	Proved func(run ledger.Hash) bool
	Keys   Keys
}

// BlockTx is one record of a block.
type BlockTx struct {
	Tx chain.Tx
	// Refused is why the record could not be decoded, or nil. Tx.Raw and
	// Tx.Hash are set all the same.
	Refused *chain.RuleError
	// Checked says that Claims, against this or an earlier state, was complete
	// and refused nothing, and that every Need holds. It is a fact about the
	// bytes, not an opinion: keys and ids of channels never change, and what was
	// redeemed does not fall. It saves work and has no influence on the outcome.
	Checked bool
}

// EntryResult is the outcome of one entry of a batch.
type EntryResult = channel.EntryResult

// Event is one thing that happened to one channel.
type Event = channel.Event

// EventKind says what happened to a channel.
type EventKind = channel.EventKind

// The kinds of events.
const (
	EventOpened         = channel.EventOpened
	EventToppedUp       = channel.EventToppedUp
	EventRedeemed       = channel.EventRedeemed
	EventCloseRequested = channel.EventCloseRequested
	EventFinalised      = channel.EventFinalised
	EventCoopClosed     = channel.EventCoopClosed
	EventPayeeClosed    = channel.EventPayeeClosed
	EventExtended       = channel.EventExtended
)

// Income is what the owner of a service got of what one transaction settled.
type Income struct {
	TxIndex int // position in the block
	Service uint32
	Owner   ledger.Address
	Amount  ledger.Amount // not 0
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
	// Income is what owners of services got, by transaction, then service.
	Income []Income
	// Staking is what happened to validators, delegations and epochs: first what
	// the evidence did, then the transactions, then the votes and the end of the
	// block.
	Staking []staking.Event
	// Registry is what happened to services and shards: first what transactions did, then
	// the end of the block.
	Registry []RegistryEvent
	// Shards is what happened to shards, in order.
	Shards []ShardEvent
	// Outbox is what the block tells shards. Its root is that of the checkpoint.
	Outbox *link.Outbox
	// Updates tell consensus about the next committee: who joins, leaves or has
	// another power, ascending by key. They take effect two blocks later.
	Updates []staking.Update
	// Election is that of the next committee, if the block held it, and Candidates
	// all who could be elected, ascending by row.
	Election   *committee.Record
	Candidates []committee.Candidate
}
