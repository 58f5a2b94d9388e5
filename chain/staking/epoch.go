package staking

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/tributary-network/tributary/consensus/beacon"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

// PayoutLimit is how many unbondings one block pays out at most; what remains is
// paid by the next blocks. As many redelegations stop being answerable in it.
const PayoutLimit = 1000

// Pot is what the chain has to distribute.
type Pot struct {
	Fees   ledger.Amount // collected
	Minted ledger.Amount // ever
	Supply ledger.Amount
}

// Outcome is what the end of a block did.
type Outcome struct {
	Events  []Event
	Updates []Update // of the next committee, ascending by consensus key
	// Election is that of the next committee, and Candidates all who could be
	// elected, ascending by row: what anybody needs to recompute it. Nil unless the
	// block elects.
	Election   *committee.Record
	Candidates []committee.Candidate
}

// End is the end of a block, after its records: the election in the last block
// but one of an epoch, the rewards and the seed in the last, and from then on what is
// due with the epoch's end, until it is done. seals are those of all blocks of the
// epoch in its last block, one for each in their order, as beacon.Seed wants them;
// other blocks look at none.
func (c *Context) End(pot Pot, seals [][]byte) (out Outcome) {
	switch e := c.epoch(); c.Height {
	case c.Rules.electionBlock(e):
		c.elect(e+1, &out)
	case c.Rules.LastBlock(e):
		out.Events = c.reward(e, pot)
		c.turn(e, seals)
	}
	if p := c.progress(); p.Due {
		paid, left := c.payOut(), c.release()
		out.Events = append(out.Events, c.Noted()...)
		if paid < PayoutLimit && !left {
			p = c.progress()
			p.Due = false
			c.setProgress(&p)
		}
	}
	return out
}

// elect holds the election of the committee of epoch next. If nobody can be
// elected the old committee stays, since a chain without one would be dead.
func (c *Context) elect(next uint64, out *Outcome) {
	old, _ := electionAt(c.State, next-1)
	out.Candidates = Candidates(c.State)
	rec := committee.HoldAfter(&old.Committee, next, c.Rules.election(), Seed(c.State, next), out.Candidates)
	c.hold(&rec, out.Candidates)
	out.Election = &rec
	out.Updates = updates(&old.Committee, &rec.Committee)
	out.Events = changes(&old.Committee, &rec.Committee)
	p := c.progress()
	p.Dirty = false
	c.setProgress(&p)
	if next >= 2 {
		c.shorten(next - 2)
	}
	if last := c.Rules.Kept() + 1; next >= last {
		c.forgetElection(next - last)
	}
}

func (p *Params) election() committee.Rules {
	return committee.Rules{
		Seats: p.Seats, PowerCapBps: p.PowerCapBps, MinStake: uint64(p.MinStake), MinSelfStake: uint64(p.MinSelfStake),
	}
}

// updates returns what consensus must change to go from one committee to the
// next, ascending by key.
func updates(old, next *committee.Committee) (list []Update) {
	before, after := powers(old), powers(next)
	for i := range next.Members {
		if m := &next.Members[i]; before[m.Validator] != m.Power {
			list = append(list, Update{ConsensusKey: m.ConsensusKey, Power: int64(m.Power)})
		}
	}
	for i := range old.Members {
		if m := &old.Members[i]; after[m.Validator] == 0 {
			list = append(list, Update{ConsensusKey: m.ConsensusKey})
		}
	}
	slices.SortFunc(list, func(a, b Update) int { return bytes.Compare(a.ConsensusKey[:], b.ConsensusKey[:]) })
	return list
}

// powers returns the powers of a committee's members, none of which is 0, by row.
func powers(com *committee.Committee) map[uint64]uint64 {
	of := make(map[uint64]uint64, len(com.Members))
	for i := range com.Members {
		of[com.Members[i].Validator] = com.Members[i].Power
	}
	return of
}

// changes returns the events of those that join and leave, in the order of the
// committees.
func changes(old, next *committee.Committee) (events []Event) {
	before, after := powers(old), powers(next)
	for _, m := range next.Members {
		if before[m.Validator] == 0 {
			events = append(events, Event{Kind: EventElected, TxIndex: -1, Validator: m.Validator, Epoch: next.Epoch, Power: m.Power})
		}
	}
	for _, m := range old.Members {
		if after[m.Validator] == 0 {
			events = append(events, Event{Kind: EventLeft, TxIndex: -1, Validator: m.Validator, Epoch: next.Epoch})
		}
	}
	return events
}

// reward distributes what was collected and is minted for an epoch among its
// committee by power. The operator's commission comes first, the rest goes to the
// delegators by their shares.
//
// A member gets nothing if it is jailed or tombstoned, or if it missed more than
// MaxMissed/Window, which is at least a third, of the epoch's counted blocks. One that
// misses less loses nothing: a proposer may leave out votes that came late, or of whom
// it likes, and proposers with less than a third of the power must not be able to take
// money from others with it; see absentFor. What is not given out, and what division
// leaves, stays in the fees for the next epoch. Nothing is minted if nobody gets
// anything.
//
// The rewards of an epoch belong to the shares with which its committee was elected
// and that are still there at its end: what comes later earns from a later epoch on,
// and what leaves before earns nothing in its last.
func (c *Context) reward(epoch uint64, pot Pot) []Event {
	rec, _ := electionAt(c.State, epoch)
	absences := absencesAt(c.State, c.Rules)
	paid := make([]bool, len(rec.Committee.Members))
	rows := make([]Validator, len(rec.Committee.Members))
	earning := make([]uint64, len(rec.Committee.Members))
	anybody := false
	for i, m := range rec.Committee.Members {
		rows[i] = mustValidator(c.State, m.Validator)
		earning[i] = rows[i].Shares - c.waiting(m.Validator, epoch, Index{}, false)
		at, missed := findAbsence(absences, m.Validator)
		paid[i] = !rows[i].Jailed && !rows[i].Tombstoned && earning[i] > 0 &&
			(!missed || !c.absentFor(absences[at].epoch, &rec.Committee))
		anybody = anybody || paid[i]
	}
	if !anybody {
		return []Event{{Kind: EventEpochEnded, TxIndex: -1, Epoch: epoch}}
	}
	minted := min(c.Rules.EpochReward, max(c.Rules.MintCap, pot.Minted)-pot.Minted, ledger.MaxAmount-pot.Supply)
	all, power := pot.Fees+minted, rec.Committee.TotalPower()
	var given ledger.Amount
	for i, m := range rec.Committee.Members {
		if !paid[i] {
			continue
		}
		v := &rows[i]
		part := ledger.Amount(mulDiv(uint64(all), m.Power, power))
		earned := bps(part, v.CommissionIn(epoch))
		sum, ok := v.Index.plus(part-earned, earning[i])
		if !ok || part == 0 {
			continue
		}
		v.Index, v.Earned, v.Outstanding = sum, v.Earned+earned, v.Outstanding+part-earned
		given += part
		c.put(m.Validator, v)
		c.waiting(m.Validator, epoch, sum, true)
	}
	c.Bank.Post(Posting{Minted: minted, Allotted: given})
	return []Event{{Kind: EventEpochEnded, TxIndex: -1, Epoch: epoch, Amount: minted, Reward: given}}
}

// turn closes the seed of an epoch, and begins the next.
func (c *Context) turn(epoch uint64, seals [][]byte) {
	previous := Seed(c.State, epoch+beacon.Lag-1)
	seed := beacon.Seed(previous, epoch, c.Rules.FirstBlock(epoch), seals)
	c.State.Set(SeedKey(epoch+beacon.Lag), seed[:])
	p := c.progress()
	p.Due, p.Counted = true, 0
	c.setProgress(&p)

	list := absencesAt(c.State, c.Rules)
	if len(list) == 0 {
		return
	}
	next, _ := electionAt(c.State, epoch+1)
	list = slices.DeleteFunc(list, func(a absence) bool {
		_, stays := next.Committee.FindValidator(a.row)
		return !stays
	})
	for i := range list {
		list[i].epoch = 0
	}
	c.putAbsences(list)
}

// payOut pays unbondings that are due, in the order of their epochs, validators
// and delegators, at most PayoutLimit. It returns how many.
func (c *Context) payOut() int {
	list := c.dueUnbondings()
	for _, x := range list {
		u := unbondingAt(c.State, x.Due, x.Validator, x.Delegator)
		pool := poolAt(c.State, x.Validator, x.Due)
		_, lost := c.answer(u.Liabilities)
		c.burn(x.Validator, x.Delegator, pool.redeem(lost), 0)
		amount := pool.redeem(u.Shares - lost)
		if amount > 0 {
			c.Bank.PayOut(c.Bank.Row(x.Delegator), amount, 0)
		}
		c.putPool(x.Validator, x.Due, &pool)
		c.State.Delete(queueKey(x.Due, x.Validator, x.Delegator))
		entries := entriesAt(c.State, x.Delegator, x.Validator)
		c.putEntries(x.Delegator, x.Validator, slices.DeleteFunc(entries, func(due uint64) bool { return due == x.Due }))
		c.note(Event{Kind: EventUnbonded, Validator: x.Validator, Delegator: x.Delegator, Amount: amount, Epoch: x.Due})
	}
	return len(list)
}

// dueUnbondings returns the first unbondings of the queue that are due.
func (c *Context) dueUnbondings() (list []UnbondingRef) {
	for key := range c.State.Range([]byte{prefixQueue}) {
		x := splitQueueKey(key)
		if len(list) == PayoutLimit || !c.over(x.Due) {
			break
		}
		list = append(list, x)
	}
	return list
}

// release forgets redelegations that are no longer answerable, at most
// PayoutLimit, and settles them, so that what they still owe is burned. It reports
// whether there may be more.
func (c *Context) release() (left bool) {
	var list []move
	for key := range c.State.Range([]byte{prefixMove}) {
		m := splitMoveKey(key)
		if !c.over(m.due) {
			break
		}
		if len(list) == PayoutLimit {
			left = true
			break
		}
		list = append(list, m)
	}
	for i := range list {
		c.revisit(list[i].to, list[i].delegator)
		c.State.Delete(list[i].key())
	}
	if left || len(list) == 0 {
		return left
	}
	var sums [][]byte
	for key := range c.State.Range([]byte{prefixMoved}) {
		if !c.over(binary.BigEndian.Uint64(key[1:])) {
			break
		}
		sums = append(sums, key)
	}
	for _, key := range sums {
		c.State.Delete(key)
	}
	return false
}
