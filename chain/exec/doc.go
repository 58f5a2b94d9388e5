// Package exec runs the rules of a chain for consensus, for clients and for tests: it
// is what stands between agreed bytes and the state.
//
// An Executor runs any chain, and knows of its kind what Rules say: what a block does,
// who signs it, what is worth a place in it, what is kept of it. Main is the main chain
// (chain/settlement) and Shard a shard of a service (chain/shardblock); both are an
// Executor with look-ups of their own.
//
// A record (one signed transaction) enters by Submit, is checked against the
// head and against what is pending, travels in a bundle with others, is checked
// by every validator once, waits in the pool, is proposed, agreed on, applied
// and made durable:
//
//	Submit -> bundle -> Check (pool) -> Propose -> Accept -> Finalize -> Commit
//
// No node verifies a signature twice. A record whose signatures hold is
// remembered by a keyed hash of its bytes, signature included; whoever meets it
// again skips it. What is verified is verified in Ed25519 batches of up to
// 1,024, those of concurrent Submits together.
//
// Finalize is deterministic: the same blocks give the same application hashes
// on every node, whatever GOMAXPROCS, caches and operator settings. A panic of
// the rules or of the store becomes an error at the block boundary, and the
// chain halts.
//
// An accepted block is executed while the validators vote on it. Finalize takes
// that result if it is the block they agree on, and executes theirs otherwise;
// nothing shows before. What fails in a block halts the chain only if the block is
// agreed on.
//
// A chain of a service also takes relays, which nobody signs: what other chains have
// certified, with its proof. They wait in a lane of their own in the order in which they
// came, are planned by the rules, and come first in a block. A block with one that does
// not apply is not voted for, so such a block is executed before the vote.
//
// What a block tells other chains is its outbox, kept in the index as long as receipts.
// Rows of the state that others want to be told of are proved when they change, and the
// proof is kept with the certificate of that block: see proved.go.
//
// On a chain with staking a block begins with the seal of its proposer. All seals of
// an epoch make the seed it leaves; they are in the index until its last block, whose
// rules fold them (sealrecord.go), because an empty block must not change the
// state. Each vote carries its validator's signature of the checkpoint of the state
// after the block, which is why a node waits for the execution of a block before it
// votes for it. Beside the commits, signatures that hold are put together to
// certificates. A wrong or missing one costs a certificate at most: see certifier. Where
// too few hold, nodes ask each other, and members sign what they committed: see gather.go
// and latesign.go.
//
// Commit makes one atomic, synced write: the state, height and application
// hash, and with them the index that answers what became of a transaction. The
// index is not part of consensus.
//
// Executor's methods are those that consensus/comet asks of an application,
// over this package's own types; the node joins the two. All goroutines belong
// to Run.
package exec
