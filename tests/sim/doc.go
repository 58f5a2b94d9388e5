// Package sim runs the sharded network under a virtual clock and a virtual
// network: a main chain and a few shards, each with the rules that nodes run, in
// one goroutine and from one seed. What a seed did once it does again, so every
// failure is reproduced by its seed:
//
//	SEED=17 go test -run TestSimulation ./tests/sim
//	SEEDS=100000 go test -run TestSimulation ./tests/sim
//
// # What is real
//
// The blocks of main are applied by chain/settlement, those of shards by
// chain/shardblock, which is what nodes run, and chain/anchor anchors the heights of
// shards on main; shard.Map says who owns which bucket; what crosses goes through
// shard/link with outbox trees, range proofs, acknowledgements, bounces, expiry and listing
// again; shard/link orders blocks and shard/route refuses users of a congested shard.
// Shards follow main by hand-overs, heads and rows that its state proves, and have another
// committee in each epoch. Channels are opened, topped up, extended, redeemed and closed
// on main, whose notices make them known in their home shards; vouchers are booked
// there, netted, sent to the payees' homes, and settled by batches that relays
// carry to main. Blocks, transactions, imports, checkpoints and certificates cross
// the virtual network in their encodings and are decoded where they arrive.
//
// # What is a model
//
//   - Signatures. A signature is a hash of the key and the message, which no one in
//     the simulation makes for a key that is not theirs; so there are no curves and no
//     pairings in it, and it says nothing about consensus/bls or about Ed25519.
//     Certificates are those of consensus/cert with bitmaps and the quorum of
//     consensus/committee; only the check of the sum is modelled.
//   - Agreement. A chain decides a block when members with a quorum of its power are
//     up and willing; rounds, votes and proposers that compete are the business of
//     CometBFT and its tests.
//   - State roots are those of small trees: one row for the history of all changes, so that
//     equal roots mean equal histories, and on main the rows that shards have proved. The
//     proofs are those of ledger/stateproof.
//   - Who elects committees, draws them for shards and splits or merges shards is not
//     here: the map stays as it is, and so do the members, who only stand in another order
//     in each epoch. There are no fees of anchors.
//
// # Who misbehaves
//
// The network delays, reorders, drops and repeats; parts of it are cut off for a
// while. Nodes crash before a block is committed and after, and go on with what
// was committed. A shard stands still for a while. Leaves of outboxes are lost, so that
// their messages have to be listed again. Payers overspend, payees book and settle
// stale and repeated vouchers, and vouchers with false signatures, some in the wrong
// shard. Relays change what they carry. Members of committees sign what is false: with
// less than two thirds of a shard's power that certifies nothing; in some seeds they
// have as much or more, and then they anchor what they like. Even so main pays nobody a
// drop that a payer did not sign, and no link of honest shards is touched.
//
// # What is checked
//
// After each block: value on main is conserved; usage over the shards too; every
// message that is taken is the next one of its link, is what its source sent, and
// moves through the phases of shard/link; vouchers that are booked rise, stay within
// deposits and are ones that the payer signed; what is redeemed never falls and is
// within what was signed. At the end, once the network is well: every message has
// ended, every payee has what was booked for it and all of it is redeemed, and all
// chains, replayed from their genesis and the bytes of their blocks, have the same
// roots.
package sim
