// Package sim runs the sharded network under a virtual clock and a virtual
// network: a main chain and a few shards, each with the rules that nodes run, in
// one goroutine and from one seed. What a seed did once it does again, so every
// failure is reproduced by its seed:
//
//	SEED=17 go test -run TestSimulation ./tests/sim
//	SEEDS=100000 go test -run TestSimulation ./tests/sim
//
// # How long
//
// A run makes 200 blocks in trouble, and as many more as it takes to come to rest once the
// network is well. In nine runs of ten they are the blocks of all chains together: few of
// each, so that many networks are tried at little cost. One run in ten is long: its 200
// blocks are those of main, which is twenty epochs, and shards make about as many each. Only
// there do links rest for link.RelistBlocks blocks, and loads fill a window of shard.Window
// blocks, while the network is in trouble. BLOCKS=2000 makes runs of either kind longer.
// TestSimulation fails if all 1,000 seeds together do one of the things in Counts less than
// ten times.
//
// # How many shards
//
// Networks of those seeds begin with four shards at most. TestManyShards runs two that
// begin with 64 and with 256, each with a payer, a payee and a relay of its own, for as
// many blocks as 40 of main take: some 17,000 messages, 5,000 of them from shard to shard,
// between 3,000 pairs of shards, under the same rules, the same troubles (but short-lived
// messages, narrow links and crowded shards) and the same checks, and each shard must have
// had messages to others and from others. More take longer, 1,024 two minutes of processor
// time, and any seed and length may be had:
//
//	SHARDS=1024 SEED=7 BLOCKS=40 go test -run 'TestManyShards$' ./tests/sim
//
// # What is real
//
// The blocks of main are applied by chain/settlement, whose genesis has validators and a
// service: chain/staking elects its committees, chain/registry draws those of shards and
// splits and merges shards, chain/anchor anchors their heights, notices tell the homes of
// channels. Blocks of shards are applied by chain/shardblock, which is what nodes run. What
// crosses goes through shard/link with outbox trees, range proofs, acknowledgements,
// bounces, expiry and listing again; shard/link orders blocks and shard/route refuses users
// of a congested shard. Shards follow main by hand-overs, heads and rows that its state
// proves. Channels are opened, topped up, extended, redeemed and closed on main; vouchers
// are booked in their home shards, netted, sent to the payees' homes, and settled by batches
// that relays carry to main. The owner of the service asks for splits and merges, and in some
// seeds shards want them because of their loads; heirs begin by shardblock.FromMain with the
// states of their parents, messages being under way. Blocks, transactions, imports,
// checkpoints and certificates cross the virtual network in their encodings and are decoded
// where they arrive.
//
// # What is a model
//
//   - Signatures. A signature is a hash of the key and the message, which no one in
//     the simulation makes for a key that is not theirs; so there are no curves and no
//     pairings in it, and it says nothing about consensus/bls or about Ed25519.
//     Certificates are those of consensus/cert with bitmaps and the quorum of
//     consensus/committee; only the check of the sum is modelled. Nor does anybody look at
//     the seals of blocks, of which the seeds of draws are made.
//   - Agreement. A chain decides a block when members with a quorum of its power are
//     up and willing; rounds, votes and proposers that compete are the business of
//     CometBFT and its tests.
//   - State roots are those of small trees: one row for the history of all changes, so that
//     equal roots mean equal histories, and on main the rows that shards have proved. The
//     proofs are those of ledger/stateproof.
//   - Loads. Nobody fills half a mebibyte here: where loads are to split and merge shards the
//     masks of founded shards begin with heavy blocks, those of heirs with light ones. In most
//     long runs heirs that nobody asks to merge do so by the masks of their own blocks.
//   - Parameters. Epochs are as short as may be, and parameters of shards those of the seed
//     instead of the zone's. In a third of the networks shards that miss their anchors get
//     another committee and go on from what is anchored; in the others they can stand still
//     for as long as it takes.
//
// # Who misbehaves
//
// The network delays, reorders, drops and repeats; parts of it are cut off for a
// while. Nodes crash before a block is committed and after, and go on with what
// was committed. A shard stands still for a while. Leaves of outboxes are lost, often those
// of shards that have ended, so that their messages have to be listed again. Payers
// overspend and name payees in zones that the service does not have, payees book and settle
// stale and repeated vouchers, and vouchers with false signatures, some in the wrong shard. Relays change what they carry, withhold it, bring it
// twice and to shards that it is not for, with blocks of main that nobody needs or that
// are not the newest, or none at all, with bytes behind it and with more than may be; they
// anchor what a committee made that is none any more, bring a shard the committee that it
// would have had if no others had been drawn, anchor nothing of a shard until others are,
// and ask for links to be listed again, when these have rested for long and before. Members
// of committees sign what is false: with less than two thirds of a shard's power that
// certifies nothing; in some seeds they have as much or more, and then they anchor what
// they like, and with what they like the shard ends, so that its heirs have nothing to
// begin with. Main is told of two versions of a height that they certified, which it
// punishes and has others drawn for, and of such as nobody certified, which it refuses. Even
// so main pays nobody a drop that a payer did not sign, and no link of honest shards is
// touched.
//
// # What is checked
//
// After each block: value on main is conserved; usage over the shards too; every message
// that is taken is the next one of its link, is what its source sent, and moves through the
// phases of shard/link, whatever shards its places are with; vouchers that are booked rise,
// stay within deposits and are ones that the payer signed; what is redeemed never falls and
// is within what was signed. In each epoch: main's map is what runs, no place has two
// shards or none, and whoever draws the committees again draws the same, those of shards
// that go on with others too: these serve in the epochs that were drawn already, shards
// begin epochs with the committees that main has for them, and main knows who certified
// what is worth nothing any more. At the end, once the network is well: every message has
// ended, links are quiet, every payee has what was booked for it and all of it is redeemed,
// also when it books, goes away and the payer closes before the epoch ends, homes know of
// channels what main does, and in three of ten seeds all chains, replayed from their
// genesis and the bytes of their blocks, have the same roots, and heirs, made again from
// the states of their parents and of main, the same genesis.
package sim
