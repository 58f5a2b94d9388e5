// Package relay carries what chains have for each other: it is what every node runs so
// that messages arrive.
//
//	shards -> main   checkpoints (anchors), acknowledgements and bounces, settlements
//	main -> shards   heads, the records of epochs, notices
//	shard -> shard   messages, acknowledgements, bounces; after a merge also to itself
//
// Nobody has to trust it. What goes into a shard is unsigned and carries its proof; what
// goes to main is an ordinary record of the relayer's account. A chain takes exactly
// what comes next and refuses the rest, so the worst that any number of relays can do
// together is nothing.
//
// # What is wanted, and who carries it
//
// A relay keeps no list of what it has done. Each round it looks at the state of the
// destination, which says what comes next on each link, and at the outboxes of the
// sources, which say what there is; what is there, wanted and provable is carried
// (stock, plan). So it survives any crash, and whoever comes second finds that there is
// nothing left to do. Leaves that nobody has any more are listed again on request
// (link.Context.Relist, Reack); a shard hears so many requests in an epoch
// (shardblock.MaxCalls), and one that came too late is made again.
//
// The members of the committees carry in an order by lot, another one for each pair of
// chains and each epoch (link.Expected): two at once where it is free, one where a fee is
// paid, and one more after each link.RelayTimeout blocks of main. So a member that is
// away costs some seconds, and nobody is needed. While main stands still time counts
// instead of blocks. What was sent is not sent again before two blocks of the
// destination or a wait that doubles (hold). Whoever brings a little of what waits does
// not make the rest wait for ever (patience).
//
// Nodes that run a destination and not the source ask others for what that has, when those
// who run the source have all had their turn (pullLane): main says which blocks have
// messages, and what is fetched has the root that is anchored.
//
// # Latency
//
// A message waits for blocks and for nothing else: its block is certified at once, the
// certificate is sent to main for its next block, also while an anchor of earlier heights
// is on its way there, and brought to the destination as soon as that block is certified.
//
// # Two versions
//
// Relays compare what main is sent about heights of shards with what this node has
// certified, and tell main of two certified versions of one height (watch).
//
// # Money
//
// Only the way to main costs fees. Anchors that are due and acknowledgements are free in
// the end; settlements are sent where they pay out more than they cost, and not twice for
// the same, and as long as the account keeps a reserve (SettleReserve): their fees are not
// paid back. Lanes that pay less than they cost neither keep others of their payee from being
// paid nor, however many they are, other payees (bills), and channels that main is about to
// close are looked at first. An account that cannot pay for one thing goes on with what it can pay for.
//
// # Life
//
// Each chain that is brought something has a lane: one goroutine, which owns all that it
// remembers and sleeps until Wake or until its own timer. A lane that has nothing to do
// reads a few rows each time it is woken and sends nothing. Plans are functions of values
// and have no clock; only lanes do.
//
// It is row 4 of the dependency order: it knows the rules of all chains and none of
// the executors, networks or stores. The interfaces here are what it needs of them; the
// node implements them over chain/exec and the clients of other nodes.
package relay
