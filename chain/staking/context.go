package staking

import (
	"encoding/binary"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// Bank moves money between accounts, which are known by their rows, the stake
// and the rewards. The block rules implement it. No amount passed to it exceeds
// what the rules have checked to be there, so its methods cannot fail.
type Bank interface {
	// Row returns the row of the account of a, which is made if there is none.
	Row(a ledger.Address) uint64
	// Balance returns what the account at row has.
	Balance(row uint64) ledger.Amount
	// Bond moves amount from the account at row into the stake.
	Bond(row uint64, amount ledger.Amount)
	// PayOut moves stake and reward to the account at row.
	PayOut(row uint64, stake, reward ledger.Amount)
	// Post moves what concerns no account.
	Post(p Posting)
}

// Posting is money that moves without an account.
type Posting struct {
	Burned   ledger.Amount // out of the stake
	Minted   ledger.Amount // new, into the fees
	Allotted ledger.Amount // out of the fees into the rewards
	Returned ledger.Amount // out of the rewards into the fees
}

// Party is an account: its address and its row.
type Party struct {
	Address ledger.Address
	Row     uint64
}

// Context is where and when things happen. The methods that take a payload each
// either refuse with a RuleError and change nothing, or do all they say to State
// and Bank and return what happened. Those that end or begin a block cannot fail.
type Context struct {
	State   *chain.Overlay
	Bank    Bank
	Rules   *Params
	Network ledger.NetworkID // for which a registration proves its BLS key
	Height  uint64           // of the block, at least 1

	noted []Event // see Noted
}

// Noted returns what happened beside what a method returned, in order, and forgets
// it. Ask after every message that was not refused; the other methods have it among
// their own events.
func (c *Context) Noted() []Event {
	noted := c.noted
	c.noted = nil
	return noted
}

// note keeps an event of nobody's transaction for Noted.
func (c *Context) note(e Event) {
	e.TxIndex = -1
	c.noted = append(c.noted, e)
}

// burn burns stake of a with the validator at row that answered for another one, and
// returns its rewards to the fees.
func (c *Context) burn(row uint64, a ledger.Address, stake, reward ledger.Amount) {
	if stake == 0 && reward == 0 {
		return
	}
	c.Bank.Post(Posting{Burned: stake, Returned: reward})
	c.note(Event{Kind: EventForfeited, Validator: row, Delegator: a, Amount: stake, Reward: reward})
}

// On reports whether the chain has staking: whether its genesis had validators.
// Without it no epoch passes and nobody can register.
func (c *Context) On() bool { return c.State.Get(progressKey()) != nil }

func (c *Context) epoch() uint64 { return c.Rules.Epoch(c.Height) }

// leaves returns the last epoch whose committee was elected with the stake that
// leaves in the block: in the last block of an epoch that is the next one.
func (c *Context) leaves() uint64 { return c.Rules.Epoch(c.Height + 1) }

// due returns the epoch with whose end what leaves in the block is over.
func (c *Context) due() uint64 { return c.leaves() + uint64(c.Rules.UnbondingEpochs) }

// over reports whether what was due with the end of an epoch is over in the
// block, or with it.
func (c *Context) over(due uint64) bool { return due < c.Rules.Epoch(c.Height+1) }

func (c *Context) progress() progress {
	p, _ := readProgress(c.State)
	return p
}

func (c *Context) setProgress(p *progress) { c.State.Set(progressKey(), p.encode()) }

// touch says that the next election may have another outcome.
func (c *Context) touch() {
	if p := c.progress(); !p.Dirty {
		p.Dirty = true
		c.setProgress(&p)
	}
}

// find returns the validator at row.
func (c *Context) find(row uint64) (Validator, error) {
	v, ok := ReadValidator(c.State, row)
	if !ok {
		return Validator{}, chain.Refuse(chain.CodeValidatorNotFound, "no validator %d", row)
	}
	return v, nil
}

// asOperator returns the validator at row if by runs it.
func (c *Context) asOperator(row uint64, by ledger.Address) (Validator, error) {
	v, err := c.find(row)
	if err == nil && v.Operator != by {
		return Validator{}, chain.Refuse(chain.CodeNotOperator, "operator of validator %d is %s, not %s", row, v.Operator, by)
	}
	return v, err
}

// put stores a validator. What rounding left of its rewards goes back to the fees
// when nobody has a share of it any more.
func (c *Context) put(row uint64, v *Validator) {
	if v.Shares == 0 && v.Outstanding != 0 {
		c.burn(row, ledger.Address{}, 0, v.Outstanding)
		v.Outstanding = 0
	}
	c.State.Set(ValidatorKey(row), v.Encode())
	c.list(row, v)
}

// delegation returns the delegation of a to the validator at row, zero if there
// is none.
func (c *Context) delegation(row uint64, a ledger.Address) (d Delegation, exists bool) {
	return ReadDelegation(c.State, row, a)
}

// putDelegation stores a delegation, or deletes it if nothing is left of it.
func (c *Context) putDelegation(row uint64, a ledger.Address, d *Delegation, existed bool) {
	was, _ := c.delegation(row, a)
	c.countFresh(row, was.Fresh, d.Fresh)
	switch {
	case d.Shares != 0:
		c.State.Set(DelegationKey(row, a), d.Encode())
		if !existed {
			c.State.Set(delegatorKey(a, row), []byte{})
		}
	case existed:
		c.State.Delete(DelegationKey(row, a))
		c.State.Delete(delegatorKey(a, row))
	}
}

func (c *Context) putPool(row, due uint64, p *Pool) {
	if p.Shares == 0 {
		c.State.Delete(poolKey(row, due))
		return
	}
	c.State.Set(poolKey(row, due), encodePool(p))
}

func (c *Context) putEntries(a ledger.Address, row uint64, due []uint64) {
	if len(due) == 0 {
		c.State.Delete(entriesKey(a, row))
		return
	}
	b := make([]byte, 0, 8*len(due))
	for _, m := range due {
		b = binary.BigEndian.AppendUint64(b, m)
	}
	c.State.Set(entriesKey(a, row), b)
}

// answer makes liabilities answer for the slashes of their sources that came
// after them, and drops those that are over. It returns what is left and how
// many of the shares are lost.
func (c *Context) answer(list []Liability) (left []Liability, lost uint64) {
	for _, l := range list {
		cut := l.answer(c.State)
		lost += cut
		if l.Shares > 0 && !c.over(l.Begun+uint64(c.Rules.UnbondingEpochs)) {
			left = append(left, l)
		}
	}
	return left, lost
}

// answer takes from l what it lost by slashes of its source since it was asked
// before, rounded down, and returns that.
func (l *Liability) answer(v chain.View) (lost uint64) {
	slashes := mustValidator(v, l.Source).Slashes
	for ; l.Seen < slashes; l.Seen++ {
		if s := slashAt(v, l.Source, l.Seen); s.Epoch <= l.Begun {
			cut := mulDiv(l.Shares, s.Part, s.Whole)
			l.Shares -= cut
			lost += cut
		}
	}
	return lost
}

// settled is what a delegation got and lost when it was settled.
type settled struct {
	reward   ledger.Amount // of the shares it keeps
	returned ledger.Amount // rewards of the shares it lost, which nobody gets
	burned   ledger.Amount // worth of the shares it lost
}

// settle brings a delegation of a to v, the validator at row, up to date, both in
// memory: it takes what the delegation's liabilities lost, and its rewards since it
// was touched last.
func (c *Context) settle(row uint64, v *Validator, d *Delegation, a ledger.Address) (s settled) {
	left, lost := c.answer(d.Liabilities)
	d.Liabilities = left
	s.reward, s.returned = c.earned(row, v, d, lost)
	s.burned = v.redeem(lost)
	v.Outstanding -= s.reward + s.returned
	if a == v.Operator {
		v.SelfShares -= lost
	}
	return s
}

// pay pays out what settle found of the stake of to with the validator at row.
func (c *Context) pay(row uint64, to Party, s settled) {
	if s.reward != 0 {
		c.Bank.PayOut(to.Row, 0, s.reward)
	}
	c.burn(row, to.Address, s.burned, s.returned)
}

// leave takes amount, 0 for all, of a settled delegation of a out of v, both in
// memory, and returns amount and its shares. free says that only stake that is
// not answerable for another validator may leave.
func (c *Context) leave(v *Validator, d *Delegation, a ledger.Address, amount ledger.Amount, free bool) (ledger.Amount, uint64, error) {
	worth := v.Worth(d.Shares)
	if amount > worth {
		return 0, 0, chain.Refuse(chain.CodeMoreThanDelegated, "%d drops, the delegation is worth %d", uint64(amount), uint64(worth))
	}
	shares := v.price(amount)
	if amount == 0 || amount == worth {
		amount, shares = worth, d.Shares
	}
	if liable := total(d.Liabilities); free && shares > d.Shares-liable {
		return 0, 0, chain.Refuse(chain.CodeRedelegating, "%d drops, of which %d came by redelegation and cannot move on yet", uint64(amount), uint64(v.Worth(liable)))
	}
	d.spend(shares)
	v.Tokens, v.Shares = v.Tokens-amount, v.Shares-shares
	if a == v.Operator {
		v.SelfShares -= shares
	}
	return amount, shares, nil
}

// merge adds liabilities to list, together with what has the same source and
// epoch. ok is false if they would be more than most.
func merge(list, more []Liability, most uint32) (merged []Liability, ok bool) {
	merged = slices.Clone(list)
	for _, l := range more {
		i := slices.IndexFunc(merged, func(x Liability) bool { return x.Source == l.Source && x.Begun == l.Begun })
		if i < 0 {
			merged = append(merged, l)
			continue
		}
		merged[i].Shares += l.Shares
	}
	return merged, len(merged) <= int(most)
}
