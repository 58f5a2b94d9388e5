package staking

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// Register makes from the operator of a new validator. The proof of possession
// is looked at last, since it costs 2 ms; a registration that fails for it pays
// its whole fee.
func (c *Context) Register(from Party, m *Register) (Event, error) {
	if !c.On() {
		return Event{}, chain.Refuse(chain.CodeValidatorNotFound, "this chain's validators are fixed: its genesis has none that are staked")
	}
	if err := c.checkNew(from.Address, m); err != nil {
		return Event{}, err
	}
	if have := c.Bank.Balance(from.Row); have < m.SelfStake {
		return Event{}, chain.Refuse(chain.CodeInsufficientBalance, "self-stake of %d drops, balance is %d", uint64(m.SelfStake), uint64(have))
	}
	if err := m.checkKeys(c.Network, from.Address); err != nil {
		return Event{}, err
	}
	row := c.create(from.Address, m, c.Height)
	c.Bank.Bond(from.Row, m.SelfStake)
	return Event{Kind: EventRegistered, Validator: row, Delegator: from.Address, Amount: m.SelfStake}, nil
}

// checkNew refuses what the state and the parameters do not allow.
func (c *Context) checkNew(operator ledger.Address, m *Register) error {
	if row, ok := rowAt(c.State, operatorKey(operator)); ok {
		return chain.Refuse(chain.CodeOperatorUsed, "%s operates validator %d", operator, row)
	}
	if row, ok := rowAt(c.State, addressKey(AddressOf(m.ConsensusKey))); ok {
		return chain.Refuse(chain.CodeKeyUsed, "consensus key %s is that of validator %d; make a new one", m.ConsensusKey, row)
	}
	if row, ok := rowAt(c.State, blsKeyKey(&m.BLSKey)); ok {
		return chain.Refuse(chain.CodeKeyUsed, "BLS key %s is that of validator %d; make a new one", m.BLSKey, row)
	}
	if least := max(m.MinSelf, c.Rules.MinSelfStake); m.SelfStake < least {
		return chain.Refuse(chain.CodeSelfStakeTooSmall, "self-stake of %d drops, at least %d", uint64(m.SelfStake), uint64(least))
	}
	return nil
}

// create makes the record of a validator that has been checked, and the
// operator's delegation.
func (c *Context) create(operator ledger.Address, m *Register, height uint64) (row uint64) {
	p := c.progress()
	row = p.Validators
	p.Validators++
	p.Dirty = true
	c.setProgress(&p)

	v := Validator{
		Operator: operator, ConsensusKey: m.ConsensusKey, BLSKey: m.BLSKey, MinSelf: m.MinSelf,
		Commission: m.Commission, MaxCommission: m.MaxCommission, MaxChange: m.MaxChange, Registered: height,
	}
	v.SelfShares, _ = v.issue(m.SelfStake) // the first shares are drops
	number := binary.BigEndian.AppendUint64(nil, row)
	c.State.Set(profileKey(row), m.Profile.Encode())
	c.State.Set(addressKey(v.Address()), number)
	c.State.Set(blsKeyKey(&m.BLSKey), number)
	c.State.Set(operatorKey(operator), number)
	c.putDelegation(row, operator, &Delegation{Shares: v.SelfShares}, false)
	c.put(row, &v)
	return row
}

// Edit changes what an operator may change. The commission may change once in
// an epoch, by at most the validator's MaxChange, for the epochs after it.
func (c *Context) Edit(from Party, m *Edit) (Event, error) {
	v, err := c.asOperator(m.Validator, from.Address)
	if err != nil {
		return Event{}, err
	}
	if v.Tombstoned {
		return Event{}, tombstoned(m.Validator)
	}
	if m.Commission != v.Commission {
		change := max(m.Commission, v.Commission) - min(m.Commission, v.Commission)
		switch {
		case m.Commission > v.MaxCommission:
			return Event{}, chain.Refuse(chain.CodeCommissionTooHigh, "commission %d, max_commission %d", m.Commission, v.MaxCommission)
		case change > v.MaxChange:
			return Event{}, chain.Refuse(chain.CodeCommissionJump, "commission from %d to %d, by at most %d in an epoch", v.Commission, m.Commission, v.MaxChange)
		case v.Changed == c.epoch()+1:
			return Event{}, chain.Refuse(chain.CodeCommissionJump, "the commission changed in this epoch already")
		}
		v.Before, v.Commission, v.Changed = v.Commission, m.Commission, c.epoch()+1
	}
	if m.MinSelf < v.MinSelf {
		return Event{}, chain.Refuse(chain.CodeInvalidValue, "min_self from %d to %d; it never falls", uint64(v.MinSelf), uint64(m.MinSelf))
	}
	if m.MinSelf != v.MinSelf {
		if self := v.Self(); m.MinSelf > self {
			return Event{}, chain.Refuse(chain.CodeSelfStakeTooSmall, "min_self from %d to %d, self-stake is worth %d drops; delegate the rest first", uint64(v.MinSelf), uint64(m.MinSelf), uint64(self))
		}
		v.MinSelf = m.MinSelf
		c.touch()
	}
	c.State.Set(profileKey(m.Validator), m.Profile.Encode())
	c.put(m.Validator, &v)
	return Event{Kind: EventEdited, Validator: m.Validator, Delegator: from.Address}, nil
}

func tombstoned(row uint64) error {
	return chain.Refuse(chain.CodeTombstoned, "validator %d equivocated, and is out for ever", row)
}

// open refuses a validator that takes no stake from by: one that is tombstoned,
// or jailed unless by is its operator, who may have to make up for a slash.
func (v *Validator) open(row uint64, by ledger.Address) error {
	switch {
	case v.Tombstoned:
		return tombstoned(row)
	case v.Jailed && v.Operator != by:
		return chain.Refuse(chain.CodeValidatorJailed, "validator %d is jailed", row)
	}
	return nil
}

// Delegate adds to from's stake with a validator, and pays what it earned so far.
// What is added earns from the first epoch on that is elected with it.
func (c *Context) Delegate(from Party, m *Delegate) (Event, error) {
	v, err := c.find(m.Validator)
	if err != nil {
		return Event{}, err
	}
	if err := v.open(m.Validator, from.Address); err != nil {
		return Event{}, err
	}
	if m.Amount < c.Rules.MinDelegation {
		return Event{}, chain.Refuse(chain.CodeDelegationTooSmall, "delegation of %d drops, at least %d", uint64(m.Amount), uint64(c.Rules.MinDelegation))
	}
	if have := c.Bank.Balance(from.Row); have < m.Amount {
		return Event{}, chain.Refuse(chain.CodeInsufficientBalance, "delegation of %d drops, balance is %d", uint64(m.Amount), uint64(have))
	}
	d, existed := c.delegation(m.Validator, from.Address)
	s := c.settle(m.Validator, &v, &d, from.Address)
	shares, err := v.join(m.Validator, &d, from.Address, m.Amount)
	if err != nil {
		return Event{}, err
	}
	d.freshen(c.earns(), shares)
	c.Bank.Bond(from.Row, m.Amount)
	c.pay(m.Validator, from, s)
	c.putDelegation(m.Validator, from.Address, &d, existed)
	c.put(m.Validator, &v)
	c.touch()
	return Event{Kind: EventDelegated, Validator: m.Validator, Delegator: from.Address, Amount: m.Amount, Reward: s.reward}, nil
}

// join adds amount to a settled delegation of a, both in memory.
func (v *Validator) join(row uint64, d *Delegation, a ledger.Address, amount ledger.Amount) (shares uint64, err error) {
	shares, ok := v.issue(amount)
	if !ok {
		return 0, chain.Refuse(chain.CodeValidatorWorthless, "shares of validator %d are worth %d/%d drops", row, uint64(v.Tokens), v.Shares)
	}
	d.Shares += shares
	if a == v.Operator {
		v.SelfShares += shares
	}
	return shares, nil
}

// Undelegate takes from's stake out of a validator. It waits in the queue, and
// answers for the validator's faults as long as it was behind it until it is paid
// out.
// Stake that came by redelegation leaves last, and goes on answering for its
// source.
func (c *Context) Undelegate(from Party, m *Undelegate) (Event, error) {
	v, err := c.find(m.Validator)
	if err != nil {
		return Event{}, err
	}
	d, existed := c.delegation(m.Validator, from.Address)
	if !existed {
		return Event{}, noDelegation(m.Validator, from.Address)
	}
	s := c.settle(m.Validator, &v, &d, from.Address)
	was := d
	amount, shares, err := c.leave(&v, &d, from.Address, m.Amount, false)
	if err != nil {
		return Event{}, err
	}
	if amount > 0 {
		var liable []Liability
		if free := was.Shares - total(was.Liabilities); shares > free {
			d.Liabilities, liable = carry(was.Liabilities, shares-free)
		}
		if err := c.queue(m.Validator, from.Address, amount, shares, liable); err != nil {
			return Event{}, err
		}
	}
	if d.Shares == 0 {
		d.Liabilities = nil
	}
	c.pay(m.Validator, from, s)
	c.putDelegation(m.Validator, from.Address, &d, existed)
	c.put(m.Validator, &v)
	c.touch()
	return Event{
		Kind: EventUndelegated, Validator: m.Validator, Delegator: from.Address,
		Amount: amount, Reward: s.reward, Epoch: c.due(),
	}, nil
}

func noDelegation(row uint64, a ledger.Address) error {
	return chain.Refuse(chain.CodeDelegationNotFound, "%s has no stake with validator %d", a, row)
}

// carry splits liabilities: the first shares of them, in their order, go.
func carry(list []Liability, shares uint64) (stay, gone []Liability) {
	for _, l := range list {
		n := min(l.Shares, shares)
		shares -= n
		if n > 0 {
			part := l
			part.Shares = n
			gone = append(gone, part)
		}
		if l.Shares -= n; l.Shares > 0 {
			stay = append(stay, l)
		}
	}
	return stay, gone
}

// queue makes amount, which was shares of the validator at row, part of what a
// is paid later, or refuses.
func (c *Context) queue(row uint64, a ledger.Address, amount ledger.Amount, shares uint64, liable []Liability) error {
	due := c.due()
	entries, pool := entriesAt(c.State, a, row), poolAt(c.State, row, due)
	u := Unbonding{}
	known := slices.Contains(entries, due)
	switch {
	case known:
		u = unbondingAt(c.State, due, row, a)
	case len(entries) >= int(c.Rules.MaxEntries):
		return chain.Refuse(chain.CodeTooManyEntries, "%d unbondings from validator %d are under way, at most %d; the first is over with epoch %d", len(entries), row, c.Rules.MaxEntries, entries[0])
	}
	issued, ok := pool.issue(amount)
	if !ok {
		return chain.Refuse(chain.CodeValidatorWorthless, "what leaves validator %d in this epoch is worth %d/%d drops", row, uint64(pool.Tokens), pool.Shares)
	}
	for i := range liable {
		liable[i].Shares = mulDiv(liable[i].Shares, issued, shares)
	}
	var left []Liability
	left, lost := c.answer(u.Liabilities)
	if u.Liabilities, ok = merge(left, liable, c.Rules.MaxEntries); !ok {
		return chain.Refuse(chain.CodeTooManyEntries, "stake that came by more than %d redelegations leaves in one epoch", c.Rules.MaxEntries)
	}
	c.burn(row, a, pool.redeem(lost), 0)
	u.Shares += issued - lost
	c.State.Set(queueKey(due, row, a), u.Encode())
	c.putPool(row, due, &pool)
	if !known {
		c.putEntries(a, row, append(entries, due))
	}
	return nil
}

// Redelegate moves from's stake from one validator to another at once. What
// moved answers for the first one's faults until it would have been unbonded, and
// cannot move on until then, so that nobody can outrun a slash. It earns like what is
// delegated, and so nothing in the epoch under way.
func (c *Context) Redelegate(from Party, m *Redelegate) (Event, error) {
	src, err := c.find(m.From)
	if err != nil {
		return Event{}, err
	}
	dst, err := c.find(m.To)
	if err != nil {
		return Event{}, err
	}
	if err := dst.open(m.To, from.Address); err != nil {
		return Event{}, err
	}
	out, existed := c.delegation(m.From, from.Address)
	if !existed {
		return Event{}, noDelegation(m.From, from.Address)
	}
	in, had := c.delegation(m.To, from.Address)
	lost, got := c.settle(m.From, &src, &out, from.Address), c.settle(m.To, &dst, &in, from.Address)
	amount, _, err := c.leave(&src, &out, from.Address, m.Amount, true)
	if err != nil {
		return Event{}, err
	}
	if amount < c.Rules.MinDelegation {
		return Event{}, chain.Refuse(chain.CodeDelegationTooSmall, "redelegation of %d drops, at least %d", uint64(amount), uint64(c.Rules.MinDelegation))
	}
	shares, err := dst.join(m.To, &in, from.Address, amount)
	if err != nil {
		return Event{}, err
	}
	in.freshen(c.earns(), shares)
	moved := Liability{Source: m.From, Begun: c.leaves(), Shares: shares, Seen: src.Slashes}
	var ok bool
	if in.Liabilities, ok = merge(in.Liabilities, []Liability{moved}, c.Rules.MaxEntries); !ok {
		return Event{}, chain.Refuse(chain.CodeTooManyEntries, "%d redelegations to validator %d are under way, at most %d", len(in.Liabilities)-1, m.To, c.Rules.MaxEntries)
	}
	c.pay(m.From, from, lost)
	c.pay(m.To, from, got)
	c.putDelegation(m.From, from.Address, &out, existed)
	c.putDelegation(m.To, from.Address, &in, had)
	c.put(m.From, &src)
	c.put(m.To, &dst)
	due := c.due()
	all := movedAt(c.State, due, m.From) + amount // stake moves once in an epoch, so it is at most the supply
	c.State.Set(movedKey(due, m.From), binary.BigEndian.AppendUint64(nil, uint64(all)))
	c.State.Set(moveKey(due, m.From, from.Address, m.To), []byte{})
	c.touch()
	return Event{
		Kind: EventRedelegated, Validator: m.From, To: m.To, Delegator: from.Address,
		Amount: amount, Reward: lost.reward + got.reward, Epoch: due,
	}, nil
}

// Claim pays from what it earned with each of the validators.
func (c *Context) Claim(from Party, m *Claim) ([]Event, error) {
	type claim struct {
		row     uint64
		v       Validator
		d       Delegation
		existed bool
		settled
		earned ledger.Amount
	}
	claims := make([]claim, len(m.Validators))
	var events []Event
	for i, row := range m.Validators {
		v, err := c.find(row)
		if err != nil {
			return nil, at(err, i)
		}
		d, existed := c.delegation(row, from.Address)
		if !existed && v.Operator != from.Address {
			return nil, at(noDelegation(row, from.Address), i)
		}
		x := claim{row: row, existed: existed}
		x.settled = c.settle(row, &v, &d, from.Address)
		if v.Operator == from.Address {
			x.earned, v.Earned = v.Earned, 0
		}
		x.v, x.d = v, d
		claims[i] = x
		if sum := x.reward + x.earned; sum > 0 {
			events = append(events, Event{Kind: EventClaimed, Validator: row, Delegator: from.Address, Reward: sum})
		}
	}
	if len(events) == 0 {
		return nil, chain.Refuse(chain.CodeNothingToClaim, "nothing was earned since the last claim")
	}
	for i := range claims {
		x := &claims[i]
		x.reward += x.earned
		c.pay(x.row, from, x.settled)
		c.putDelegation(x.row, from.Address, &x.d, x.existed)
		c.put(x.row, &x.v)
	}
	return events, nil
}

// Unjail makes a jailed validator a candidate again.
func (c *Context) Unjail(from Party, m *Unjail) (Event, error) {
	v, err := c.asOperator(m.Validator, from.Address)
	if err != nil {
		return Event{}, err
	}
	least := v.leastSelf(c.Rules)
	switch {
	case v.Tombstoned:
		return Event{}, tombstoned(m.Validator)
	case !v.Jailed:
		return Event{}, chain.Refuse(chain.CodeNotJailed, "validator %d is not jailed", m.Validator)
	case c.epoch() < v.JailedUntil:
		return Event{}, chain.Refuse(chain.CodeJailNotOver, "validator %d is jailed until epoch %d, this is %d", m.Validator, v.JailedUntil, c.epoch())
	case v.Self() < least:
		return Event{}, chain.Refuse(chain.CodeSelfStakeTooSmall, "self-stake is worth %d drops, at least %d; delegate the rest first", uint64(v.Self()), uint64(least))
	}
	v.Jailed, v.JailedUntil = false, 0
	c.put(m.Validator, &v)
	c.touch()
	return Event{Kind: EventUnjailed, Validator: m.Validator, Delegator: from.Address}, nil
}

// at adds the position of a validator in a claim to err.
func at(err error, position int) error {
	rule, ok := errors.AsType[*chain.RuleError](err)
	if !ok {
		return err
	}
	return &chain.RuleError{Code: rule.Code, Detail: rule.Detail, Positions: []int{position}}
}
