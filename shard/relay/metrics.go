package relay

import "sync/atomic"

// Counters count what a Relay does. They are safe for concurrent use.
type Counters struct {
	Rounds                                   atomic.Uint64
	Heads, Epochs, Imports, Relists          atomic.Uint64
	Leaves, Bytes                            atomic.Uint64
	Anchors, Heights, Settlements, Worthless atomic.Uint64
	Refused, Failed, Late                    atomic.Uint64
	Conflicts, Nonsense, Pulled              atomic.Uint64
	Paid                                     atomic.Uint64
}

// Snapshot is the counters at a moment: totals since New.
type Snapshot struct {
	// Rounds is how often a chain was looked at.
	Rounds uint64
	// Heads, Epochs, Imports and Relists are relays that were handed in, for shards and
	// for main, and Leaves and Bytes what was in the imports.
	Heads, Epochs, Imports, Relists, Leaves, Bytes uint64
	// Anchors are records with anchors that were handed in, of Heights in all, and
	// Settlements those with settlements. Worthless are settlements that would have cost
	// more than they pay.
	Anchors, Heights, Settlements, Worthless uint64
	// Refused is what a rule refused, mostly since somebody else was first, Failed what
	// could not be handed in, and Late what was sent again.
	Refused, Failed, Late uint64
	// Conflicts are records about two certified versions of one height of a shard, and
	// Nonsense is what other nodes answered and cannot be right.
	Conflicts, Nonsense uint64
	// Pulled is how often something was brought that nobody else had, and was fetched.
	Pulled uint64
	// Paid is the fees of what was handed in to main, in drops, before what is paid back.
	Paid uint64
}

func (c *Counters) snapshot() Snapshot {
	return Snapshot{
		Rounds: c.Rounds.Load(), Heads: c.Heads.Load(), Epochs: c.Epochs.Load(), Imports: c.Imports.Load(), Relists: c.Relists.Load(),
		Leaves: c.Leaves.Load(), Bytes: c.Bytes.Load(), Anchors: c.Anchors.Load(), Heights: c.Heights.Load(),
		Settlements: c.Settlements.Load(), Worthless: c.Worthless.Load(), Refused: c.Refused.Load(), Failed: c.Failed.Load(),
		Late: c.Late.Load(), Conflicts: c.Conflicts.Load(), Nonsense: c.Nonsense.Load(), Pulled: c.Pulled.Load(), Paid: c.Paid.Load(),
	}
}
