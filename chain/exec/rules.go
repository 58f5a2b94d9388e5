package exec

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// Rules are one kind of chain to the Executor, which runs any: what a block does, which
// records and relays are worth a place in it, who signs it and what is kept of it to be
// looked up. Main runs those of chain/settlement, Shard those of chain/shardblock.
//
// Whatever the methods answer about blocks (State, Apply, Epoch, Committee, Weight) is
// consensus: it is determined by the arguments, and is the same on every node. The rest
// is advice to one node. All methods may be called concurrently, but Apply by one
// goroutine at a time. A view must not be kept beyond the call. A method that meets a
// state it cannot read panics, and the Executor contains that.
type Rules interface {
	Origin
	Records
	Admission
	Relays
	Execution
	Books
	Index
}

// Traits are what never changes about a chain.
type Traits struct {
	// Chain is the network and the id of the chain itself: what its committee signs.
	Chain chain.Domain
	// Records is where its records are signed for. It is Chain on the main chain, and
	// the domain of the service on a shard.
	Records chain.Domain
	// Identity tells this chain from all others with which a store could be mixed up.
	Identity ledger.Hash

	BlockBytes  int64 // most bytes of the bundles of a block, seals not counted
	BlockWeight int64 // most weight of the records of a block; see Records.Weight
	// ReservedBytes is how many of BlockBytes urgent records have before all others.
	ReservedBytes int64

	// Relays says that the chain takes relays.
	Relays bool
	// Strict says that Apply refuses blocks: with a relay that does not apply, in a wrong
	// order, or with records that a congested chain does not take. Such a block is not
	// voted for, and so executed before the vote. Otherwise every block applies.
	Strict bool
	// Staking are the parameters by which the chain elects its own committees and folds
	// the seals of its blocks into seeds, nil on a chain that does neither.
	Staking *staking.Params
}

// Origin is where a chain begins.
type Origin interface {
	// Traits returns what never changes. It is called once.
	Traits() Traits
	// Genesis returns the canonical encoding of the genesis, which consensus has as the
	// application's state.
	Genesis() []byte
	// State returns the state at height 0.
	State() (chain.Changes, error)
}

// Slot is what a record uses up when it executes: on the main chain a nonce of its
// signer. Of two records with one slot at most one has an effect, and a node holds only
// one of them at a time.
type Slot struct {
	Signer ledger.Address
	Nonce  uint64
}

// Records is what follows from the bytes of a record, and its signatures.
type Records interface {
	// Weight returns what executing tx makes a node write at most, in bytes. It depends
	// on the bytes of tx alone.
	Weight(tx *chain.Tx) int64
	// Slot returns what tx uses up.
	Slot(tx *chain.Tx) Slot
	// Payees returns whom tx, record i of a block that was executed, is to pay or paid,
	// each once: who finds it in the index besides its signer.
	Payees(tx *chain.Tx, b *Committed, i int) []ledger.Address
	// Claims lists the signatures that tx needs against the state in v, its own first.
	// complete is false if a later state may need more. The refusal is of what is wrong
	// whatever the state.
	Claims(v chain.View, tx *chain.Tx) (needs []channel.Need, complete bool, err error)
}

// Appraisal is what packing needs to know of a record.
type Appraisal struct {
	Urgent   bool
	Deadline uint64        // of an urgent record: the earlier ones go first
	Fee      ledger.Amount // what it is expected to pay
	// Class is the part of a block of a record that shards wait for: below link.ClassUser.
	// It is 0 for all others.
	Class link.Class
}

// Admitted is what a record would do in the next block.
type Admitted struct {
	Receipt Receipt
	// Spend is what it may take from its signer's Balance at most. All that wait of one
	// signer may take Balance together. Zero where records cost nothing.
	Spend, Balance ledger.Amount
	// Raises are those of the record where records cost nothing, and nil elsewhere.
	Raises *Raises
}

// Admission is whether a record is worth a place in the block at a height, by the state
// of the block before.
type Admission interface {
	Appraise(v chain.View, height uint64, tx *chain.Tx) Appraisal
	// Idle returns why tx would have no effect and pay nothing, or nil. It should cost a
	// look-up. fee is what Appraise expects of tx, and owed the fees of its signer's other
	// records that wait. That tx is expired is known already. raises are those of Admit.
	Idle(v chain.View, height uint64, tx *chain.Tx, fee, owed ledger.Amount) (raises *Raises, rule *chain.RuleError)
	// Admit runs tx with every signature taken as valid. The error is a *chain.RuleError,
	// or wraps one, that says why it would fail.
	Admit(v chain.View, height uint64, tx *chain.Tx) (Admitted, error)
	// TakesRecords returns why no record may be in the block at height, or nil: a congested
	// chain takes none. Idle and Admit refuse for the same reason.
	TakesRecords(v chain.View, height uint64) error
	// Spent reports whether s was used up, so that a record with it can have no effect any
	// more. It is false where slots are not used up.
	Spent(v chain.View, s Slot) bool
}

// Trial tries relays one after the other. It is used by one goroutine at a time.
type Trial interface {
	// Try applies payload after all that it applied before, to a state of its own, and
	// returns nil; or the refusal, which is a *chain.RuleError or wraps one, and then has
	// changed nothing.
	Try(payload []byte) error
}

// Relays are what anybody carries to the chain without signing it (bundle 0xB4): what
// other chains have certified. Payloads must not be modified, and may be kept by a Trial.
type Relays interface {
	// Trial begins a trial of relays for the block at height. v is the state of the block
	// before, and outlives the trial. What was tried is tried again for each block that
	// it waits, and once more by Apply, so signatures that hold should be remembered.
	Trial(v chain.View, height uint64) Trial
	// PlanRelays chooses which of relays, in the order in which they came, are in the block
	// at height, which has room for so many bytes, users of which records that wait would
	// take; each relay takes bundleOverhead+1 bytes beside its payload. It returns their indices in the order of the block. All of them
	// apply in this order, with or without records after them.
	PlanRelays(v chain.View, height uint64, relays [][]byte, users, room int64) []int
}

// BlockRecord is one record of a block.
type BlockRecord struct {
	Tx chain.Tx
	// Refused is why the record could not be decoded, or nil. Tx.Raw and Tx.Hash are set
	// all the same.
	Refused *chain.RuleError
	// Checked says that all signatures that the record needs hold. It saves work and has
	// no influence on the outcome.
	Checked bool
}

// RulesBlock is an agreed block as Rules see it.
type RulesBlock struct {
	Height   uint64
	Proposer staking.Address
	// Relays are the payloads of the relay bundles, in the order of the block. Bundles of
	// other kinds that lie between them make no difference. Records are those of all
	// bundles. MixedOrder says that a relay came after a record.
	Relays     [][]byte
	Records    []BlockRecord
	MixedOrder bool
	// Tick says that validators asked for the block although nobody sent a record.
	Tick bool

	// Of a chain with Traits.Staking.
	Seals    [][]byte // of all blocks of the epoch, if this is its last one
	Votes    []staking.Vote
	Evidence []staking.Evidence
}

// Receipt is the outcome of a record, as far as it is the same on all chains. It does
// not change.
type Receipt struct {
	Hash   ledger.Hash // of the record
	Code   chain.Code
	Signer ledger.Address
	Slot   Slot // of a record that could be decoded
	// Consumed says that the record had whatever effect it will ever have. Passing says
	// that it had none for a reason that may pass, so that a later block may execute the
	// same bytes. A receipt with neither is the last word too, unless another block has a
	// better one.
	Consumed, Passing bool
	Entries           int // of a batch or booking, for counting
	// Body is the receipt of the rules: *settlement.Receipt on the main chain,
	// *service.Receipt on a shard. It is shared, and not to be modified.
	Body any
}

// Result is what a block did, besides changing the state.
type Result struct {
	Receipts []Receipt // one for each record, in order
	// ResultsRoot, OutboxRoot and UsageRoot enter the block's checkpoint. They are zero
	// where there is nothing.
	ResultsRoot, OutboxRoot, UsageRoot ledger.Hash
	// Outbox is what the block tells other chains, nil or empty if nothing.
	Outbox *link.Outbox
	// Updates tell consensus about the next committee; they take effect two blocks later.
	Updates []staking.Update
	// Generation is that of the block's checkpoint, 0 on the main chain.
	Generation uint32
	// Raised is what the records raised, in their order, and what a total rises by at
	// least, where records cost nothing.
	Raised Raises
	// Items are what the block needs of memory beside its receipts and their entries, in
	// things of some 100 bytes: events, messages.
	Items int
	// Body is the result of the rules.
	Body any
}

// Term names a committee: of one generation and epoch there is one.
type Term struct {
	Generation uint32 // of a shard; 0 on the main chain
	Epoch      uint64
}

// Execution is what a block does, and who signs it.
type Execution interface {
	// Apply applies b to the state of the block before, in v. verify returns the indices of
	// the claims that do not hold, ascending. An error of Strict rules that is or wraps a
	// *chain.RuleError means that the block is invalid; any other, that the chain must
	// halt.
	Apply(v chain.View, b *RulesBlock, verify func([]ledger.Claim) []int) (chain.Changes, *Result, error)
	// Term names the committee that votes on the block at height, and is ok=false if the
	// chain has none. v is the state of the block before or, for a height that is not above
	// it, of any later one: the state remembers the first heights of the last epochs at
	// least.
	Term(v chain.View, height uint64) (t Term, ok bool)
	// Committee returns the committee that votes on the block at height: the next one, that
	// after it, and those before as far as the state remembers their committees.
	Committee(v chain.View, height uint64) (committee.Committee, bool)
	// Proved returns the keys, each once, of rows that other chains want to be told of by a
	// proof after the block at height: see Executor.Certified. v is the state before it, and
	// changes are what it changed.
	Proved(v chain.View, height uint64, changes chain.Changes) [][]byte
	// NeedsTick reports whether the chain has to go on to the block at height although
	// nobody sends anything. wake is Config.WakeWindow, 0 if it is not set.
	NeedsTick(v chain.View, height, wake uint64) bool
	// Audit recounts the state, and returns what does not add up.
	Audit(v chain.View) error
}

// Committed is a committed block and what it did, as far as it is the same on all
// chains. It does not change.
type Committed struct {
	Height uint64
	Time   int64 // Unix milliseconds, from the header
	Size   int64 // bytes of the bundles
	Relays int   // relay bundles
	// Outbox is how many leaves the outbox has: Executor.Outbox returns them.
	Outbox                             int
	Receipts                           []Receipt
	ResultsRoot, OutboxRoot, UsageRoot ledger.Hash
	Updates                            int // how many validators join, leave or have another power
	// Body is what Result.Body was, or what DecodeBlock made of it.
	Body any

	items  int          // see Result.Items
	outbox *link.Outbox // nil if it was read back, or empty
}

// bodyOf returns the body of a Receipt, Result or Committed, which the same rules made.
// That it is another is a mistake of ours, and nothing can go on after it.
func bodyOf[T any](body any) T {
	b, ok := body.(T)
	if !ok {
		panic(fmt.Sprintf("rules were handed a body of type %T, and made none but %T", body, b))
	}
	return b
}

// Books are how blocks and receipts are written to the index and read back. Nothing of
// it is consensus. Rows of the index are removed with their block.
type Books interface {
	// EncodeBlock returns what is kept of b beside its receipts. It includes Height's
	// fellows: Time, Size, Relays, Outbox, the roots, and the number of receipts.
	EncodeBlock(b *Committed) []byte
	// DecodeBlock reads what EncodeBlock wrote. Receipts of the result are nil; their
	// number comes beside it.
	DecodeBlock(height uint64, raw []byte) (b *Committed, receipts uint32, err error)
	// Complete fills in what DecodeBlock had to leave out of b, which has its receipts.
	Complete(b *Committed) error
	EncodeReceipt(r *Receipt) []byte
	DecodeReceipt(raw []byte) (Receipt, error)
	// ResultsKey is the state key of the results of the last block that had any, and
	// ResultsHeight the height in its value.
	ResultsKey() []byte
	ResultsHeight(value []byte) (uint64, error)
	// ResultLeaves returns the leaves of b's results root: one for each receipt first.
	ResultLeaves(b *Committed) [][]byte
}

// Index is what rules look up beside blocks, receipts and records. The first byte of a
// key says whose it is: see the table in index.go.
type Index interface {
	// Entries returns the rows of a finalized block. txs are its records, one for each
	// receipt.
	Entries(b *Committed, txs []*chain.Tx) chain.Changes
	// Forget returns the rows to be removed with the block at b's height, of which
	// DecodeBlock made b. removed has the keys that this step of pruning removes
	// already, and takes those that may come up again.
	Forget(b *Committed, removed map[string]bool) (chain.Changes, error)
	// Reindex hands rows for a state without the blocks that led to it to add, in as many
	// portions as it likes.
	Reindex(v chain.View, height uint64, add func(chain.Changes) error) error
	// SnapshotAt reports whether the state at height is one that all nodes with this
	// stride make a snapshot of, and CheckSnapshot returns why a chain cannot go on from a
	// snapshot of that height, or nil.
	SnapshotAt(height, stride uint64) bool
	CheckSnapshot(height uint64) error
}
