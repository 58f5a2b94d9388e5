package staking

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

// What follows reads the state for others. All of it panics if the state cannot
// be decoded: a replica that cannot read its own state must stop.

// ReadValidator returns the validator at row, and ok=false if there is none.
func ReadValidator(v chain.View, row uint64) (Validator, bool) {
	b := v.Get(ValidatorKey(row))
	if b == nil {
		return Validator{}, false
	}
	val, err := DecodeValidator(b)
	mustRead("validator", err)
	return val, true
}

// mustValidator is ReadValidator for rows that the state names.
func mustValidator(v chain.View, row uint64) Validator {
	val, ok := ReadValidator(v, row)
	if !ok {
		panic(fmt.Errorf("there is no validator %d", row))
	}
	return val
}

// ReadProfile returns the profile of the validator at row, empty if there is no
// such validator.
func ReadProfile(v chain.View, row uint64) Profile {
	b := v.Get(profileKey(row))
	if b == nil {
		return Profile{}
	}
	p, err := DecodeProfile(b)
	mustRead("profile", err)
	return p
}

// ValidatorCount returns the number of validators ever registered; their rows
// are those below it.
func ValidatorCount(v chain.View) uint64 {
	p, _ := readProgress(v)
	return p.Validators
}

// ValidatorByConsensusAddress returns the row of the validator that consensus
// names so.
func ValidatorByConsensusAddress(v chain.View, a Address) (row uint64, ok bool) {
	return rowAt(v, addressKey(a))
}

// ValidatorByOperator returns the row of the validator that a operates.
func ValidatorByOperator(v chain.View, a ledger.Address) (row uint64, ok bool) {
	return rowAt(v, operatorKey(a))
}

// ReadElection returns the election of an epoch's committee, and ok=false if it
// was not held yet or is forgotten.
// Of past ones it puts the members together from their rows.
func ReadElection(v chain.View, epoch uint64) (committee.Record, bool) { return electionAt(v, epoch) }

// ReadCommittee returns the committee of an epoch, and ok=false if it is not
// elected yet or is forgotten.
func ReadCommittee(v chain.View, epoch uint64) (committee.Committee, bool) {
	rec, ok := electionAt(v, epoch)
	return rec.Committee, ok
}

// Seed returns the seed that an epoch uses, zero if it is not closed yet or is
// forgotten.
func Seed(v chain.View, epoch uint64) (seed ledger.Hash) {
	copy(seed[:], v.Get(SeedKey(epoch)))
	return seed
}

// NeedsTick reports whether the chain must go on although nobody sends
// transactions, with the block at height: stake is waiting to be paid out, the
// next election may change the committee, or a jail has not ended.
func NeedsTick(v chain.View, p Params, height uint64) bool {
	progress, ok := readProgress(v)
	if !ok {
		return false
	}
	if progress.Dirty || p.Epoch(height) < progress.JailEnds {
		return true
	}
	for range v.Range([]byte{prefixQueue}) {
		return true
	}
	return false
}

// Missed returns how many of the last Params.Window counted blocks the
// validator at row did not sign while it was a member of the committee.
func Missed(v chain.View, p Params, row uint64) uint32 {
	list := absencesAt(v, &p)
	if i, ok := findAbsence(list, row); ok {
		return list[i].count()
	}
	return 0
}

// MissedBy returns Missed of every validator that missed any.
func MissedBy(v chain.View, p Params) map[uint64]uint32 {
	missed := make(map[uint64]uint32)
	for _, a := range absencesAt(v, &p) {
		if n := a.count(); n > 0 {
			missed[a.row] = n
		}
	}
	return missed
}

// ReadDelegation returns the delegation of a to the validator at row, as it was
// when it was touched last, and ok=false if there is none.
func ReadDelegation(v chain.View, row uint64, a ledger.Address) (Delegation, bool) {
	b := v.Get(DelegationKey(row, a))
	if b == nil {
		return Delegation{}, false
	}
	d, err := DecodeDelegation(b)
	mustRead("delegation", err)
	return d, true
}

// Stake is what a delegator has with a validator.
type Stake struct {
	Validator uint64
	Delegator ledger.Address
	Shares    uint64        // less what slashes of former validators took
	Worth     ledger.Amount // of the shares now
	Reward    ledger.Amount // not claimed
	// Bound is the part of Worth that came by redelegation and cannot move on.
	Bound ledger.Amount
	// Fresh is the part of Worth, rounded down, that earns only from the epoch
	// FreshFrom on, if its validator is elected then; see Fresh. Both are 0 if all of
	// Worth was there at the election of the epoch under way.
	Fresh     ledger.Amount
	FreshFrom uint64
	// Barred says that the validator is jailed or tombstoned, so that no stake with it
	// earns.
	Barred bool
}

// StakeOf returns what a has with the validator at row, and ok=false if nothing.
// height is that of the block in which it would be asked for.
func StakeOf(v chain.View, p Params, height, row uint64, a ledger.Address) (Stake, bool) {
	d, ok := ReadDelegation(v, row, a)
	if !ok {
		return Stake{}, false
	}
	val := mustValidator(v, row)
	c := Context{State: chain.NewOverlay(v), Rules: &p, Height: height}
	s := c.settle(row, &val, &d, a)
	out := Stake{
		Validator: row, Delegator: a, Shares: d.Shares, Worth: val.Worth(d.Shares), Reward: s.reward,
		Bound: val.Worth(total(d.Liabilities)), Fresh: val.Worth(freshShares(d.Fresh)), Barred: val.Jailed || val.Tombstoned,
	}
	// Between two blocks there is one part: what comes in the last block of an epoch
	// earns from the epoch after the next on, which is the next one after that block.
	if n := len(d.Fresh); n > 0 {
		out.FreshFrom = d.Fresh[n-1].From
	}
	return out, true
}

// StakesOf returns up to limit of a's stakes, ascending by validator, from the
// row from on. It looks through all of them.
func StakesOf(v chain.View, p Params, height uint64, a ledger.Address, from uint64, limit int) (list []Stake) {
	prefix := append([]byte{prefixDelegator}, a[:]...)
	for key := range v.Range(prefix) {
		row := binary.BigEndian.Uint64(key[len(prefix):])
		if row < from {
			continue
		}
		if len(list) == limit {
			break
		}
		if s, ok := StakeOf(v, p, height, row, a); ok {
			list = append(list, s)
		}
	}
	return list
}

// StakesWith returns up to limit stakes with the validator at row, ascending by
// delegator, after the delegator after; from the first on if that is nil. It
// looks through those of one bucket of addresses at most to find its place.
func StakesWith(v chain.View, p Params, height, row uint64, after *ledger.Address, limit int) (list []Stake) {
	prefix := numbered(prefixDelegation, row)
	visit := func(prefix []byte) bool {
		for key := range v.Range(prefix) {
			var a ledger.Address
			copy(a[:], key[9:])
			if after != nil && bytes.Compare(a[:], after[:]) <= 0 {
				continue
			}
			if len(list) == limit {
				return false
			}
			if s, ok := StakeOf(v, p, height, row, a); ok {
				list = append(list, s)
			}
		}
		return len(list) < limit
	}
	if after == nil {
		visit(prefix)
		return list
	}
	zone, bucket := after.Zone(), after.Bucket()
	for b := int(bucket); b < 256; b++ { // the rest of the zone
		if !visit(append(bytes.Clone(prefix), zone, byte(b))) {
			return list
		}
	}
	for z := int(zone) + 1; z < 256; z++ {
		if !visit(append(bytes.Clone(prefix), byte(z))) {
			return list
		}
	}
	return list
}

// UnbondingRef names an unbonding.
type UnbondingRef struct {
	Due       uint64 // epoch with whose end it is paid out
	Validator uint64
	Delegator ledger.Address
}

func splitQueueKey(key []byte) (x UnbondingRef) {
	if len(key) != 17+ledger.AddressSize {
		mustRead("queue of unbondings", fmt.Errorf("key %x", key))
	}
	x.Due, x.Validator = binary.BigEndian.Uint64(key[1:]), binary.BigEndian.Uint64(key[9:])
	copy(x.Delegator[:], key[17:])
	return x
}

func unbondingAt(v chain.View, due, row uint64, a ledger.Address) Unbonding {
	u, err := DecodeUnbonding(v.Get(queueKey(due, row, a)))
	mustRead("unbonding", err)
	return u
}

// PendingUnbonding is stake on its way out.
type PendingUnbonding struct {
	UnbondingRef
	Amount ledger.Amount // what would be paid out now
}

// UnbondingsOf returns up to limit of a's unbondings, ascending by validator and
// epoch, from the validator from on. It looks through all of them.
func UnbondingsOf(v chain.View, p Params, height uint64, a ledger.Address, from uint64, limit int) (list []PendingUnbonding) {
	c := Context{State: chain.NewOverlay(v), Rules: &p, Height: height}
	prefix := append([]byte{prefixEntries}, a[:]...)
	for key := range v.Range(prefix) {
		row := binary.BigEndian.Uint64(key[len(prefix):])
		if row < from {
			continue
		}
		for _, due := range entriesAt(v, a, row) {
			if len(list) == limit {
				return list
			}
			x := PendingUnbonding{UnbondingRef: UnbondingRef{Due: due, Validator: row, Delegator: a}}
			u := unbondingAt(v, due, row, a)
			pool := poolAt(v, row, due)
			_, lost := c.answer(u.Liabilities)
			pool.redeem(lost)
			x.Amount = pool.Worth(u.Shares - lost)
			list = append(list, x)
		}
	}
	return list
}
