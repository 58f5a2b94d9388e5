// Package staking is the rules of delegated proof of stake: who may validate,
// who votes for whom with what money, who is elected for an epoch, what they are
// paid, and what a fault costs.
//
// Time is counted in epochs of Params.EpochBlocks blocks. Epoch e is the blocks
// e*L+1 to (e+1)*L. Its committee was elected in the last block but one of epoch
// e-1, because consensus follows a change two blocks late. The last block of an
// epoch pays its rewards and closes its seed, which is used two epochs later.
//
// Only blocks with records, the two blocks above and those with something due
// or with evidence change the state (votes count if a record paid a fee, if a
// tick made the block, or in the
// two blocks above; see Context.Count): an idle chain stays what it is, and an epoch
// in which nothing happens costs nothing. What can only end with time, an
// unbonding, a coming election or a jail, makes validators ask for blocks; see
// NeedsTick.
//
// Stake is owned by shares. A validator's tokens belong to its delegators in
// proportion to their shares; a slash lowers the tokens and leaves the shares.
// The same holds for stake that is unbonding, which lies in one pool for each
// validator and epoch. So a slash costs the same whether ten people are behind a
// validator or a million. Rewards are counted by a cumulative index per share,
// and a delegation is settled whenever it is touched; nothing here loops over
// delegators. Stake earns in the epochs whose committee was elected with it and that
// it is there to the end of; see Fresh.
//
// Rounding is always against whoever takes money out: shares are issued rounded
// down and burned rounded up, rewards and commissions are rounded down. What is
// lost so stays with the validator's other delegators, or in the validator's
// outstanding rewards until its last share is gone, and then in the fees that the
// next epoch distributes. Slashes are rounded down as well: never more is burned
// than the stated fraction.
//
// It is row 1c of the dependency order: pure rules over values.
package staking

import (
	"github.com/tributary-network/tributary/ledger"
)

// AddressSize is the length of a consensus address in bytes.
const AddressSize = 20

// Address is how consensus names a validator: the first 20 bytes of the SHA-256
// of its consensus key.
type Address [AddressSize]byte

// Vote says whether a validator's precommit for the block before is in a block.
type Vote struct {
	Validator Address
	Signed    bool
}

// EvidenceKind is what a validator is accused of.
type EvidenceKind uint8

// The kinds of evidence.
const (
	DuplicateVote     EvidenceKind = 1
	LightClientAttack EvidenceKind = 2
)

// String returns the kind's name: "duplicate-vote".
func (k EvidenceKind) String() string {
	switch k {
	case DuplicateVote:
		return "duplicate-vote"
	case LightClientAttack:
		return "light-client-attack"
	default:
		return "unknown"
	}
}

// Evidence is a proof of a fault that consensus has verified. Validator and
// Height count; what consensus says of powers is for people.
type Evidence struct {
	Kind       EvidenceKind
	Validator  Address
	Height     uint64 // of the fault
	Power      int64  // of the validator at that height
	TotalPower int64  // of all validators at that height
}

// Update tells consensus about a validator from the epoch's first block on.
type Update struct {
	ConsensusKey ledger.PublicKey
	Power        int64 // 0: it leaves
}
