package staking

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// EventKind says what happened.
type EventKind uint8

// The kinds of events, with the fields they set beside Kind, TxIndex and
// Validator.
const (
	EventRegistered      EventKind = 1  // Delegator (the operator), Amount (its stake)
	EventEdited          EventKind = 2  // Delegator (the operator)
	EventDelegated       EventKind = 3  // Delegator, Amount, Reward
	EventUndelegated     EventKind = 4  // Delegator, Amount, Reward, Epoch (with whose end it is due)
	EventRedelegated     EventKind = 5  // Delegator, Amount, Reward, To, Epoch (to whose end it is answerable)
	EventClaimed         EventKind = 6  // Delegator, Reward; without a transaction if a redelegation was settled
	EventJailed          EventKind = 7  // Epoch (from which on it may be unjailed)
	EventUnjailed        EventKind = 8  // Delegator (the operator)
	EventSlashed         EventKind = 9  // Amount (burned of what is bonded and unbonding), Height (of the fault), Fault
	EventTombstoned      EventKind = 10 // Height (of the fault), Fault
	EventEvidenceIgnored EventKind = 11 // Height (of the fault), Fault, Code (why)
	EventElected         EventKind = 12 // Epoch (of the committee), Power; it was no member before
	EventLeft            EventKind = 13 // Epoch (of the first committee without it)
	EventUnbonded        EventKind = 14 // Delegator, Amount (paid out), Epoch (with whose end it was due)
	EventEpochEnded      EventKind = 15 // Epoch, Amount (minted), Reward (distributed)
	// EventForfeited: Delegator, Amount (burned), Reward (of what is burned, back to
	// the fees). Stake that came from another validator answered for that one's slash,
	// when it was touched, or stopped being answerable. Without Delegator and Amount,
	// Reward is what rounding left when the last share was gone.
	EventForfeited EventKind = 16
)

// String returns the kind's name: "registered".
func (k EventKind) String() string {
	names := [...]string{
		"unknown", "registered", "edited", "delegated", "undelegated", "redelegated", "claimed",
		"jailed", "unjailed", "slashed", "tombstoned", "evidence-ignored", "elected", "left",
		"unbonded", "epoch-ended", "forfeited",
	}
	if int(k) >= len(names) {
		k = 0
	}
	return names[k]
}

// Event is one thing that happened to one validator, delegation or epoch. What a
// kind does not name is zero.
//
// Every drop that moves into, out of or within the stake and the rewards is in exactly
// one event. Into the stake: Amount of registered and delegated. Out of it to an
// account: Amount of unbonded. Burned: Amount of slashed and of forfeited. Into the
// rewards: Reward of epoch-ended. Out of them to an account: Reward of delegated,
// undelegated, redelegated and claimed; back to the fees: Reward of forfeited.
type Event struct {
	Kind      EventKind
	TxIndex   int    // position in the block; -1 for what the chain does by itself
	Validator uint64 // row; of a redelegation, the source
	To        uint64 // row of a redelegation's destination
	Delegator ledger.Address
	Amount    ledger.Amount
	Reward    ledger.Amount
	Epoch     uint64
	Height    uint64
	Power     uint64
	Fault     Fault
	Code      chain.Code
}

// Fault is what a slash is for.
type Fault uint8

// The faults. Those of evidence have its numbers.
const (
	FaultDuplicateVote     = Fault(DuplicateVote)
	FaultLightClientAttack = Fault(LightClientAttack)
	FaultDowntime          = Fault(3)
	FaultShardConflict     = Fault(4) // two versions of one height of a shard were signed
)

// String returns the fault's name: "downtime".
func (f Fault) String() string {
	switch f {
	case FaultDowntime:
		return "downtime"
	case FaultShardConflict:
		return "shard-conflict"
	default:
		return EvidenceKind(f).String()
	}
}
