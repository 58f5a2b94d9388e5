package staking

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// Validator is what the chain knows of a validator. Its record is never deleted,
// and its keys are never registered again.
type Validator struct {
	Operator     ledger.Address // whose transactions run it; one validator each
	ConsensusKey ledger.PublicKey
	BLSKey       bls.PublicKey // possession was proved at the registration

	Pool                     // what is bonded to it
	SelfShares uint64        // those of the operator
	MinSelf    ledger.Amount // the operator's own promise, at least Params.MinSelfStake; never falls

	Index       Index         // rewards for each share
	Outstanding ledger.Amount // given to delegators and not claimed
	Earned      ledger.Amount // commission not claimed

	// Commission is the operator's part of the rewards, in basis points. It is
	// at most MaxCommission and changes by at most MaxChange in an epoch; both
	// are fixed at the registration.
	Commission    uint32
	MaxCommission uint32
	MaxChange     uint32
	// Changed is the epoch after that of the last change of the commission; 0 if
	// it never changed.
	Changed uint64
	// Before is the commission before that change, and still that of the rewards of
	// the epoch of the change: who stakes in an epoch knows at its beginning what it
	// costs, and can leave before a change costs anything. 0 if it never changed.
	Before uint32

	Registered  uint64 // height of the registration; 0 in the genesis
	JailedUntil uint64 // epoch from which on it may be unjailed; valid if Jailed
	Jailed      bool
	Tombstoned  bool   // it equivocated, and is out for ever
	Slashes     uint32 // recorded for stake that moved on
	// Last is the last mistake that it was punished for, Earlier all before that, as if
	// they were one. Both are zero unless Tombstoned.
	Last, Earlier Mistake
}

// Mistake is the equivocations of a validator that are punished together. They cost
// what the worst of them costs alone, since one mistake with a key leads to many of
// them before anybody can know. What follows after the block that punished the first
// is no part of it: by then everybody knows.
type Mistake struct {
	// Until is the height of the block that punished the first of them, and the last
	// height at which an equivocation can be one; 0 if there was none.
	Until uint64
	// Cost is what the worst of them costs, in drops, of what was staked when it
	// happened.
	Cost ledger.Amount
}

// RowSize is the length of an encoded Validator in bytes.
const RowSize = 304

const (
	flagJailed     = 1 << 0
	flagTombstoned = 1 << 1
)

// Encode returns the row of the validator, RowSize bytes: the fields in the
// order below, the flags as one byte, and zeros.
func (v *Validator) Encode() []byte {
	w := codec.NewWriter(RowSize)
	w.Uint64(uint64(v.Tokens))
	w.Uint64(uint64(v.Outstanding))
	w.Uint64(uint64(v.Earned))
	w.Uint64(v.Shares)
	w.Uint64(v.SelfShares)
	w.Uint64(uint64(v.MinSelf))
	v.Index.append(w)
	w.Fixed(v.Operator[:])
	w.Fixed(v.ConsensusKey[:])
	w.Fixed(v.BLSKey[:])
	w.Uint32(v.Commission)
	w.Uint32(v.MaxCommission)
	w.Uint32(v.MaxChange)
	w.Uint64(v.Changed)
	w.Uint64(v.Registered)
	w.Uint64(v.JailedUntil)
	w.Uint32(v.Slashes)
	var flags uint8
	if v.Jailed {
		flags |= flagJailed
	}
	if v.Tombstoned {
		flags |= flagTombstoned
	}
	w.Uint8(flags)
	for _, m := range []*Mistake{&v.Last, &v.Earlier} {
		w.Uint64(m.Until)
		w.Uint64(uint64(m.Cost))
	}
	w.Uint32(v.Before)
	w.Fixed(make([]byte, RowSize-w.Len()))
	return w.Bytes()
}

// DecodeValidator reads a row written by Encode.
func DecodeValidator(row []byte) (Validator, error) {
	var v Validator
	r := codec.NewReader(row)
	v.Tokens, v.Outstanding, v.Earned = ledger.Amount(r.Uint64()), ledger.Amount(r.Uint64()), ledger.Amount(r.Uint64())
	v.Shares, v.SelfShares, v.MinSelf = r.Uint64(), r.Uint64(), ledger.Amount(r.Uint64())
	v.Index = readIndex(r)
	r.Into(v.Operator[:])
	r.Into(v.ConsensusKey[:])
	r.Into(v.BLSKey[:])
	v.Commission, v.MaxCommission, v.MaxChange = r.Uint32(), r.Uint32(), r.Uint32()
	v.Changed, v.Registered, v.JailedUntil = r.Uint64(), r.Uint64(), r.Uint64()
	v.Slashes = r.Uint32()
	flags := r.Uint8()
	for _, m := range []*Mistake{&v.Last, &v.Earlier} {
		m.Until, m.Cost = r.Uint64(), ledger.Amount(r.Uint64())
	}
	v.Before = r.Uint32()
	v.Jailed, v.Tombstoned = flags&flagJailed != 0, flags&flagTombstoned != 0
	if flags&^uint8(flagJailed|flagTombstoned) != 0 {
		return Validator{}, fmt.Errorf("decode validator: flags %#02x", flags)
	}
	for _, b := range r.Fixed(RowSize - r.Offset()) {
		if b != 0 {
			return Validator{}, errors.New("decode validator: padding is not zero")
		}
	}
	if err := r.Done(); err != nil {
		return Validator{}, fmt.Errorf("decode validator: %w", err)
	}
	return v, nil
}

// CommissionIn returns the operator's part of the rewards of epoch, in basis points;
// epoch must not be below that of the last change.
func (v *Validator) CommissionIn(epoch uint64) uint32 {
	if v.Changed == epoch+1 {
		return v.Before
	}
	return v.Commission
}

// mistake returns that of which an equivocation at a height is a part, which is a new
// one if the height is above those of all that were punished before the block now.
func (v *Validator) mistake(height, now uint64) *Mistake {
	if height > v.Last.Until {
		v.Earlier = Mistake{Until: v.Last.Until, Cost: max(v.Earlier.Cost, v.Last.Cost)}
		v.Last = Mistake{Until: now}
	}
	if height > v.Earlier.Until {
		return &v.Last
	}
	return &v.Earlier
}

// Address returns the validator's consensus address.
func (v *Validator) Address() Address { return AddressOf(v.ConsensusKey) }

// AddressOf returns the consensus address of a consensus key.
func AddressOf(key ledger.PublicKey) Address {
	sum := sha256.Sum256(key[:])
	return Address(sum[:AddressSize])
}

// Self returns what the operator's own delegation is worth.
func (v *Validator) Self() ledger.Amount { return v.Worth(v.SelfShares) }

// leastSelf returns the self-stake below which the validator is no candidate.
func (v *Validator) leastSelf(p *Params) ledger.Amount { return max(v.MinSelf, p.MinSelfStake) }

// Electable reports whether the validator is a candidate of an election.
func (v *Validator) Electable(p *Params) bool {
	return !v.Jailed && !v.Tombstoned && v.Tokens >= p.MinStake && v.Self() >= v.leastSelf(p)
}
