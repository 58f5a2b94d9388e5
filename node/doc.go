// Package node runs one Tributary node: it opens what the node consists of,
// joins the pieces, and stops them in the order that loses nothing.
//
//	home lock, settings, keys, genesis
//	  store (badger)         one for everything durable of the main chain
//	    settlement layer     its state
//	    executor             rules, pool, index
//	    consensus            blocks and votes, over the same store
//	  shards' store (badger) one for all of them
//	    layer, executor, consensus of each, as above
//	  relay                  what chains have for each other
//	  gRPC API               for clients
//	  HTTP                   health and metrics, for operators
//
// Open takes what the node needs for itself (the lock, the addresses) and fails
// before anything runs if it cannot have it. Run runs the node until its context
// ends or something fails that the node cannot do without.
//
// # Shards
//
// A node runs the main chain, and each shard that its validator is drawn for in the
// present or the next epoch: as the main chain's state says after each block (duties).
//
// Committees are drawn an epoch ahead, so a newcomer has an epoch to fetch the shard before
// its votes count. It is the committee before that takes the record of the new one, so who
// leaves runs on with the shard until a height of the new epoch is anchored: until more than
// two thirds of the new committee have signed a state root, and so have the state. If
// newcomers are not ready then, those who stayed decide without them (committee.Rotate says
// how many may be missing); otherwise the shard waits for them, or gets another committee if
// that takes too long.
//
// What a shard begins from is made of that state too, the same on every node. Nodes
// tell each other over the main chain's network where their shards are reached
// (node/directory). Each has its own port, files, metrics (label chain_id), log lines
// (attribute shard) and place in the status; one that fails is tried again, later and
// later; none stops another or the node.
//
// # Halts
//
// A chain that halts is no such failure: the process stays, so that its state,
// metrics and log can be looked at, but health turns red, with the reason.
// Restarting it would not help, as the block that halted it comes again.
//
// It is row 6 of the dependency order, the only place where all of the others
// meet. Nothing here is global: a process may run several nodes.
package node
