package comet

import "time"

// Application is what a chain does with agreed bytes.
//
// InitChain, Propose, Accept, Extend, Finalize and Commit are called by one
// goroutine at a time. Head is called before any of them, when a chain is made.
// Check may run concurrently with all but Commit, and is itself called by one
// goroutine at a time.
//
// A panic in any other method, and an error of InitChain, Finalize or Commit,
// halts the chain (see [HaltError]). A panic in Check only refuses that
// transaction; a panic or an error in Extend only leaves the vote without an
// extension.
// Byte slices passed in must not be modified or kept beyond what the method
// says; CometBFT shares them.
type Application interface {
	// Head returns the height and application hash of the last durable commit,
	// or 0 and any hash before the first. It may lag the block store (the
	// missing blocks are finalized again) but must never be ahead of it.
	Head() (height uint64, appHash []byte)

	// InitChain starts from genesis and returns the hash of the initial state.
	// It must be deterministic, and idempotent until the first Commit: a node
	// that stops before it gets InitChain again. It ends the restore of a snapshot
	// that was begun and not completed.
	InitChain(appState []byte) (appHash []byte, err error)

	// Check decides whether tx may enter the mempool (recheck: may stay after a
	// block). On an error it is refused and not gossiped; the error's
	// Code() uint32, if it has that method and is not 0, is reported to the
	// sender, and else 65,536.
	Check(tx []byte, recheck bool) error

	// Propose picks the transactions of a block at height. mempool holds what
	// this node has, oldest first, at most about maxBytes of it. The result may
	// contain other transactions, but its encoded size must not exceed
	// maxBytes: each transaction costs its length and at most 6 bytes more.
	Propose(height uint64, maxBytes int64, mempool [][]byte) [][]byte

	// Accept says whether a proposed block is one this node votes for. It must
	// answer alike on every honest node. The bytes of b may be kept until the
	// Commit of that height: whether this block is agreed on or another, Finalize
	// is called with it.
	Accept(b Block) error

	// Extend returns what goes with this node's vote for b, at most MaxExtension
	// bytes; nil for nothing. b need not have come to Accept, nor been accepted.
	// The vote leaves whatever happens here. Nobody asks an application about the
	// extensions of others before their votes count: to refuse one would be to
	// refuse the vote, and what is wrong with it can be found out later. Only what
	// is longer than MaxPeerExtension is refused, for a while, which no honest node
	// sends.
	Extend(b Block) ([]byte, error)

	// Finalize applies an agreed block without making it durable. It must be
	// deterministic; the AppHash must not change in a block that has nothing to
	// do, or the chain never becomes idle.
	Finalize(b Block) (Outcome, error)

	// Commit makes the last finalized block durable before it returns. Blocks
	// below retainHeight may be pruned; 0 keeps all.
	Commit() (retainHeight uint64, err error)
}

// Attester is an Application that knows validators by a key besides the one they
// vote with. A validator whose consensus key a remote signer holds proves by it to
// its peers that it is there: such a signer signs votes only. An application that
// is none still works with remote signers, but the power of such validators does
// not count as connected at their peers.
type Attester interface {
	// Attest signs a message that is neither a vote nor anything else that this key
	// signs, with at most 96 bytes. nil means that this node has no such key.
	Attest(msg []byte) (proof []byte)

	// Attested reports whether proof is what Attest returns to the validator with
	// this consensus key, 32 bytes. known is false if there is no such validator as
	// far as this node knows; it is asked again then. It is called concurrently with
	// everything else.
	Attested(consensusKey, msg, proof []byte) (known, ok bool)
}

// Answerer is an Application that nodes ask each other about, beside the blocks: see
// [Chain.Ask]. Its methods are called by one goroutine at a time, concurrently with
// everything else. Nodes whose Application is none are not asked. Byte slices passed in
// must not be kept.
type Answerer interface {
	// Answer returns what this node says to a peer that asks, at most MaxAnswer bytes; nil
	// for nothing. question is at most MaxQuestion bytes from anybody. It is called at a
	// rate that is bounded for each peer.
	Answer(question []byte) []byte

	// Answered takes what a peer said that was asked, at most MaxAnswer bytes. An error
	// means that it is none that an honest node gives: for a while that peer is not asked,
	// nor heard. An answer that comes too late, or says nothing new, is no error.
	Answered(answer []byte) error
}

// MaxExtension bounds the extension that a node attaches to its vote, in bytes. A
// longer one is left out. See MaxPeerExtension for those of others.
const MaxExtension = 1 << 10

// Block is a proposed or agreed block.
type Block struct {
	Height   uint64
	Time     time.Time // median of the validators' clocks; strictly increasing
	Proposer []byte    // consensus address of the proposer, 20 bytes
	Txs      [][]byte
	Hash     []byte // block header hash, 32 bytes
	// Round is that of the vote that Extend is about, 0 elsewhere.
	Round uint32

	// LastVotes says who took part in agreeing on the block before, as the
	// proposer of this one saw it, in CometBFT's order of that block's validators.
	// Empty in the first block.
	LastVotes []LastVote
	// Evidence is proofs of misbehaviour that were checked by consensus: the
	// validator had a vote at that height, and the proof is not too old.
	Evidence []Misbehavior
}

// LastVote is a validator's part in the commit of the block before.
type LastVote struct {
	Validator []byte // consensus address, 20 bytes
	Power     int64
	Signed    bool // its precommit is in the commit, for the block or for none
}

// MisbehaviorKind says what a validator did.
type MisbehaviorKind uint8

// The kinds of misbehaviour.
const (
	// DuplicateVote is two votes for different blocks in one step.
	DuplicateVote MisbehaviorKind = 1
	// LightClientAttack is a signature under a header that is not the chain's.
	LightClientAttack MisbehaviorKind = 2
)

// Misbehavior is a proven offence of one validator.
type Misbehavior struct {
	Kind       MisbehaviorKind
	Validator  []byte    // consensus address, 20 bytes
	Power      int64     // that it had at Height
	Height     uint64    // of the offence
	Time       time.Time // of the block at Height
	TotalPower int64     // of all validators at Height
}

// Outcome is what a block did.
type Outcome struct {
	AppHash []byte     // committed to by the header of the next block
	Results []TxResult // one for each transaction, in order
	// Updates changes the validators from the block two above this one on: that
	// block is the first on which they vote. Each key may appear once.
	Updates []ValidatorUpdate
}

// ValidatorUpdate gives a validator voting power.
type ValidatorUpdate struct {
	PubKey []byte // Ed25519, 32 bytes
	Power  int64  // 0 removes it
}

// TxResult is the receipt of one transaction. Its fields are hashed into the
// next header, so they must be deterministic.
type TxResult struct {
	Code uint32 // 0 is success; others may be submitted again
	Data []byte
}
