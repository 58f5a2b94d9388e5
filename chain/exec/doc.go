// Package exec runs the rules of the main chain for consensus, for clients and
// for tests: it is what stands between agreed bytes and the state.
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
// Commit makes one atomic, synced write: the state, height and application
// hash, and with them the index that answers what became of a transaction. The
// index is not part of consensus.
//
// Executor's methods are those that consensus/comet asks of an application,
// over this package's own types; the node joins the two. All goroutines belong
// to Run.
package exec
