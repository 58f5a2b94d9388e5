// Package comet runs one chain's agreement: it embeds a CometBFT v0.40 node in
// the process and is the only package that imports CometBFT.
//
// A [Chain] takes ordered bytes from an [Application] and gives it agreed bytes
// back. What the bytes mean is decided above; this package knows transactions
// only as opaque bundles of up to about a megabyte.
//
// What it adds to a bare CometBFT node:
//
//   - Many chains in one process. Each has its own stores (a prefix of a kv
//     store), metrics registry, log attributes, keys and listening address;
//     nothing global is touched.
//   - Containment. A panic or an error of the application, and every failure
//     CometBFT itself calls a consensus failure, halts this chain: the reason is
//     kept, the chain leaves its network, the process and other chains go on.
//   - Honest health. Validators tell each other every second that they are
//     there, how high they are and what their clock says, so that a lost quorum
//     shows within seconds even on an idle chain (see [Status.Health]).
//   - Keys that fail safe: a vote leaves only after its sign state is on disk,
//     file and directory; a node whose sign state was lost refuses to vote. One key
//     signs on many chains, with a sign state for each (see [Signer.ForChain]).
//   - Extensions that go with votes, kept with the block and collected while
//     votes come late (see [Chain.Extensions]). None that is missing, wrong or
//     failing costs a vote or stops the chain, however many there are. One that is
//     long beyond reason is refused with its vote, as long as the chain can do
//     without (see [MaxPeerExtension]).
//   - Block parts in files of their own, dropped by unlinking them when the
//     application lets go of their heights, and headers when no evidence can be
//     about them any more.
//   - Joining from a snapshot of the application's state, by headers that are
//     verified from a trusted one on (see [StateSync]), with its progress shown; by
//     all blocks if there is no such snapshot, and a word when nobody has those.
//   - Block sync that survives its peers. CometBFT v0.40 dereferences nil when a
//     peer leaves, or takes back what it said, while a block of it is verified;
//     such events wait here until the block is applied.
//   - Small records that nodes tell each other over as many hops as it takes, the newest
//     of each origin, bounded whoever sends them (see [Chain.Announce]).
//   - Questions of the application to its peers, and their answers, away from the
//     connections' way and bounded for each peer (see [Chain.Ask]).
//   - Peers redialled within a second or two, for as long as the chain runs.
//   - A Stop after which the stores are no longer touched, although some of
//     CometBFT's goroutines outlive it by a few seconds.
package comet
