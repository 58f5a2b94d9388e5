// Package node runs one Tributary node: it opens what the node consists of,
// joins the pieces, and stops them in the order that loses nothing.
//
//	home lock, settings, keys, genesis
//	  store (badger)         one for everything durable
//	    settlement layer     state of the main chain
//	    executor             rules, pool, index
//	    consensus            blocks and votes, over the same store
//	  gRPC API               for clients
//	  HTTP                   health and metrics, for operators
//
// Open takes what the node needs for itself (the lock, the addresses) and fails
// before anything runs if it cannot have it. Run runs the node until its context
// ends or something fails that the node cannot do without.
//
// A chain that halts is no such failure: the process stays, so that its state,
// metrics and log can be looked at, but health turns red, with the reason.
// Restarting it would not help, as the block that halted it comes again.
//
// It is row 6 of the dependency order, the only place where all of the others
// meet. Nothing here is global: a process may run several nodes.
package node
