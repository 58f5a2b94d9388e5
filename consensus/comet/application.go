package comet

import "time"

// Application is what a chain does with agreed bytes.
//
// InitChain, Propose, Accept, Finalize and Commit are called by one goroutine
// at a time. Head is called before any of them, when a chain is made. Check may
// run concurrently with all but Commit, and is itself called by one goroutine
// at a time.
//
// A panic in any method, and an error of InitChain, Finalize or Commit, halts
// the chain (see [Halt]); a panic in Check only refuses that transaction.
// Byte slices passed in must not be modified or kept beyond what the method
// says; CometBFT shares them.
type Application interface {
	// Head returns the height and application hash of the last durable commit,
	// or 0 and any hash before the first. It may lag the block store (the
	// missing blocks are finalized again) but must never be ahead of it.
	Head() (height uint64, appHash []byte)

	// InitChain starts from genesis and returns the hash of the initial state.
	// It must be deterministic, and idempotent until the first Commit: a node
	// that stops before it gets InitChain again.
	InitChain(appState []byte) (appHash []byte, err error)

	// Check decides whether tx may enter the mempool (recheck: may stay after a
	// block). On an error it is refused and not gossiped; the error's
	// Code() uint32, if it has that method, is reported to the sender.
	Check(tx []byte, recheck bool) error

	// Propose picks the transactions of a block at height. mempool holds what
	// this node has, oldest first, at most about maxBytes of it. The result may
	// contain other transactions, but its encoded size must not exceed
	// maxBytes: each transaction costs its length and at most 6 bytes more.
	Propose(height uint64, maxBytes int64, mempool [][]byte) [][]byte

	// Accept says whether a proposed block is one this node votes for. It must
	// answer alike on every honest node.
	Accept(height uint64, txs [][]byte) error

	// Finalize applies an agreed block without making it durable. It must be
	// deterministic; the AppHash must not change in a block without
	// transactions, or the chain never becomes idle.
	Finalize(b Block) (Outcome, error)

	// Commit makes the last finalized block durable before it returns. Blocks
	// below retainHeight may be pruned; 0 keeps all.
	Commit() (retainHeight uint64, err error)
}

// Block is an agreed block.
type Block struct {
	Height   uint64
	Time     time.Time // median of the validators' clocks; strictly increasing
	Proposer []byte    // consensus address of the proposer, 20 bytes
	Txs      [][]byte
	Hash     []byte // block header hash, 32 bytes
}

// Outcome is what a block did.
type Outcome struct {
	AppHash []byte     // committed to by the header of the next block
	Results []TxResult // one for each transaction, in order
}

// TxResult is the receipt of one transaction. Its fields are hashed into the
// next header, so they must be deterministic.
type TxResult struct {
	Code uint32 // 0 is success; others may be submitted again
	Data []byte
}
