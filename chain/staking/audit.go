package staking

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// Offsets in a validator's row of what Held reads.
const (
	offTokens      = 0
	offOutstanding = 8
	offEarned      = 16
)

// Held returns what a key of the state holds of the stake and of the rewards,
// nothing if it belongs to somebody else or value is nil.
func Held(key, value []byte) (staked, rewards ledger.Amount) {
	if value == nil {
		return 0, 0
	}
	amount := func(off int) ledger.Amount { return ledger.Amount(binary.BigEndian.Uint64(value[off:])) }
	switch key[0] {
	case prefixValidator:
		return amount(offTokens), amount(offOutstanding) + amount(offEarned)
	case prefixPool:
		return amount(offTokens), 0
	default:
		return 0, 0
	}
}

// Audit checks the invariants of staking over every validator, delegation and
// unbonding in v: delegations' shares add up to their validator's, unbondings'
// to their pool's; there are no fewer shares than tokens; no more can be claimed
// than is outstanding; everything can be found the ways it is looked for, and
// nothing else can, those who can be elected among it. It returns the stake and the rewards in all.
func Audit(v chain.View, p *Params) (staked, rewards ledger.Amount, err error) {
	a := auditor{v: v, p: p}
	for key, encoded := range v.Range([]byte{prefixValidator}) {
		row, err := Validators().Index(key)
		if err != nil {
			return 0, 0, err
		}
		if err := a.validator(row, encoded); err != nil {
			return 0, 0, fmt.Errorf("validator %d: %w", row, err)
		}
		s, r := Held(key, encoded)
		staked, rewards = staked+s, rewards+r
	}
	unbonding, err := a.unbondings()
	if err != nil {
		return 0, 0, err
	}
	if err := a.moves(); err != nil {
		return 0, 0, err
	}
	if err := a.orphans(); err != nil {
		return 0, 0, err
	}
	return staked + unbonding, rewards, a.elections()
}

type auditor struct {
	v           chain.View
	p           *Params
	validators  uint64
	candidates  uint64
	delegations uint64
	queued      uint64
}

func (a *auditor) validator(row uint64, encoded []byte) error {
	val, err := DecodeValidator(encoded)
	if err != nil {
		return err
	}
	a.validators++
	for _, key := range [][]byte{addressKey(val.Address()), blsKeyKey(&val.BLSKey), operatorKey(val.Operator)} {
		if at, ok := rowAt(a.v, key); !ok || at != row {
			return fmt.Errorf("key %x does not lead to it", key)
		}
	}
	if val.Electable(a.p) {
		a.candidates++
	}
	if err := a.electable(row, &val); err != nil {
		return err
	}
	if val.Shares < uint64(val.Tokens) {
		return fmt.Errorf("%d shares of %d drops", val.Shares, uint64(val.Tokens))
	}
	var shares, self uint64
	var claimable ledger.Amount
	fresh := map[uint64]uint64{}
	prefix := numbered(prefixDelegation, row)
	for key, encoded := range a.v.Range(prefix) {
		d, err := DecodeDelegation(encoded)
		if err != nil {
			return err
		}
		var who ledger.Address
		copy(who[:], key[len(prefix):])
		if err := a.delegation(row, who, &d); err != nil {
			return fmt.Errorf("delegation of %s: %w", who, err)
		}
		shares += d.Shares
		claimable += val.Index.since(d.Index, d.old())
		for _, f := range d.Fresh {
			b, _ := batchAt(a.v, row, f.From)
			claimable += val.Index.since(b.Index, f.Shares)
			fresh[f.From] += f.Shares
		}
		if who == val.Operator {
			self = d.Shares
		}
	}
	for key := range a.v.Range(numbered(prefixFresh, row)) {
		from := binary.BigEndian.Uint64(key[9:])
		if b, _ := batchAt(a.v, row, from); b.Shares != fresh[from] {
			return fmt.Errorf("%d shares earn from epoch %d on, delegations have %d", b.Shares, from, fresh[from])
		}
		delete(fresh, from)
	}
	if len(fresh) != 0 {
		return fmt.Errorf("fresh shares %v of delegations are not counted", fresh)
	}
	switch {
	case shares != val.Shares || self != val.SelfShares:
		return fmt.Errorf("delegations have %d shares, the operator %d of them; the record says %d and %d", shares, self, val.Shares, val.SelfShares)
	case claimable > val.Outstanding:
		return fmt.Errorf("%d drops can be claimed of %d outstanding", uint64(claimable), uint64(val.Outstanding))
	case shares == 0 && val.Outstanding != 0:
		return fmt.Errorf("%d drops are outstanding for nobody", uint64(val.Outstanding))
	}
	return nil
}

func (a *auditor) delegation(row uint64, who ledger.Address, d *Delegation) error {
	a.delegations++
	if d.Shares == 0 {
		return errors.New("it has no shares")
	}
	if a.v.Get(delegatorKey(who, row)) == nil {
		return errors.New("it is not found by its delegator")
	}
	if liable := total(d.Liabilities); liable > d.Shares || len(d.Liabilities) > int(a.p.MaxEntries) {
		return fmt.Errorf("%d of its %d shares came by %d redelegations", liable, d.Shares, len(d.Liabilities))
	}
	if freshShares(d.Fresh) > d.Shares || len(d.Fresh) > maxFresh {
		return fmt.Errorf("%d of its %d shares are fresh, in %d parts", freshShares(d.Fresh), d.Shares, len(d.Fresh))
	}
	for _, l := range d.Liabilities {
		if a.v.Get(moveKey(l.Begun+uint64(a.p.UnbondingEpochs), l.Source, who, row)) == nil {
			return fmt.Errorf("what came from validator %d in epoch %d is not found by it", l.Source, l.Begun)
		}
	}
	return nil
}

// unbondings checks the queue, whose order puts those of one pool together.
func (a *auditor) unbondings() (staked ledger.Amount, err error) {
	var pool []byte // key of the pool of the unbondings being added up
	var shares uint64
	pools := 0
	closePool := func() error {
		if pool == nil {
			return nil
		}
		row, due := binary.BigEndian.Uint64(pool[1:]), binary.BigEndian.Uint64(pool[9:])
		p := poolAt(a.v, row, due)
		staked += p.Tokens
		if pools++; p.Shares != shares || p.Shares < uint64(p.Tokens) {
			return fmt.Errorf("unbondings from validator %d that are due with epoch %d have %d shares, their pool %d of %d drops", row, due, shares, p.Shares, uint64(p.Tokens))
		}
		return nil
	}
	for key, encoded := range a.v.Range([]byte{prefixQueue}) {
		x := splitQueueKey(key)
		u, err := DecodeUnbonding(encoded)
		if err != nil {
			return 0, err
		}
		if k := poolKey(x.Validator, x.Due); string(k) != string(pool) {
			if err := closePool(); err != nil {
				return 0, err
			}
			pool, shares = k, 0
		}
		shares += u.Shares
		a.queued++
		if total(u.Liabilities) > u.Shares {
			return 0, fmt.Errorf("unbonding of %s from validator %d answers for more than it is", x.Delegator, x.Validator)
		}
		listed := false
		for _, due := range entriesAt(a.v, x.Delegator, x.Validator) {
			listed = listed || due == x.Due
		}
		if !listed {
			return 0, fmt.Errorf("unbonding of %s from validator %d is not found by its delegator", x.Delegator, x.Validator)
		}
	}
	if err := closePool(); err != nil {
		return 0, err
	}
	for range a.v.Range([]byte{prefixPool}) {
		pools--
	}
	if pools != 0 {
		return 0, fmt.Errorf("%d pools of unbonding stake belong to nobody", -pools)
	}
	return staked, nil
}

func (a *auditor) moves() error {
	for key := range a.v.Range([]byte{prefixMove}) {
		if m := splitMoveKey(key); a.v.Get(movedKey(m.due, m.from)) == nil {
			return fmt.Errorf("redelegation %x is not counted", key)
		}
	}
	return nil
}

// orphans checks that nothing can be found that is not there.
func (a *auditor) orphans() error {
	p, _ := readProgress(a.v)
	count := func(prefix byte) (n uint64) {
		for range a.v.Range([]byte{prefix}) {
			n++
		}
		return n
	}
	var listed uint64
	for _, value := range a.v.Range([]byte{prefixEntries}) {
		listed += uint64(len(value) / 8)
	}
	for _, check := range []struct {
		what       string
		have, want uint64
	}{
		{"rows of validators", a.validators, p.Validators},
		{"profiles", count(prefixProfile), a.validators},
		{"consensus addresses", count(prefixAddress), a.validators},
		{"BLS keys", count(prefixBLSKey), a.validators},
		{"operators", count(prefixOperator), a.validators},
		{"validators listed as electable", count(prefixElectable), a.candidates},
		{"delegations", count(prefixDelegation), a.delegations},
		{"delegations by delegator", count(prefixDelegator), a.delegations},
		{"unbondings by delegator", listed, a.queued},
	} {
		if check.have != check.want {
			return fmt.Errorf("there are %d %s, want %d", check.have, check.what, check.want)
		}
	}
	return nil
}
