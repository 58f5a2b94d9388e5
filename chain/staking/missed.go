package staking

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// absence is what a member of the committee missed. Who missed nothing has none:
// a block that everybody signed changes nobody's.
type absence struct {
	row    uint64
	epoch  uint32 // counted blocks of the epoch
	window []byte // bit i, from the top of byte 0: the block at position i of the window
}

func (a *absence) count() (missed uint32) {
	for _, b := range a.window {
		missed += uint32(bits.OnesCount8(b))
	}
	return missed
}

// mark sets or clears the bit of a block.
func (a *absence) mark(position uint32, missed bool) {
	bit := byte(0x80) >> (position & 7)
	if missed {
		a.window[position>>3] |= bit
		a.epoch++
		return
	}
	a.window[position>>3] &^= bit
}

func (p *Params) windowBytes() int { return int(p.Window+7) / 8 }

// absencesAt returns the absences, ascending by row.
//
//	row u64 | epoch u32 | window
func absencesAt(v chain.View, p *Params) (list []absence) {
	b := v.Get(missedKey())
	r := codec.NewReader(slices.Clone(b))
	for r.Err() == nil && r.Remaining() > 0 {
		list = append(list, absence{row: r.Uint64(), epoch: r.Uint32(), window: r.Fixed(p.windowBytes())})
	}
	mustRead("absences", r.Done())
	return list
}

// putAbsences stores the absences that say something.
func (c *Context) putAbsences(list []absence) {
	w := codec.NewWriter(len(list) * (12 + c.Rules.windowBytes()))
	for i := range list {
		if a := &list[i]; a.epoch != 0 || a.count() != 0 {
			w.Uint64(a.row)
			w.Uint32(a.epoch)
			w.Fixed(a.window)
		}
	}
	if w.Len() == 0 {
		if c.State.Get(missedKey()) != nil {
			c.State.Delete(missedKey())
		}
		return
	}
	c.State.Set(missedKey(), w.Bytes())
}

func findAbsence(list []absence, row uint64) (at int, ok bool) {
	return slices.BinarySearchFunc(list, row, func(a absence, row uint64) int { return cmp.Compare(a.row, row) })
}

// forget begins the window of the validator at row anew.
func (c *Context) forget(row uint64) {
	list := absencesAt(c.State, c.Rules)
	if i, ok := findAbsence(list, row); ok {
		c.putAbsences(slices.Delete(list, i, i+1))
	}
}

// Count takes the votes for the block before into account. It is for counted blocks
// only, after their records: those in which a record paid a fee, those that a tick made
// because the chain had to go on, and those of Params.EpochBlock. Other blocks without
// records change nothing, or each would make consensus want another. A record that pays
// nothing counts for nothing.
//
// Members that missed more than MaxMissed blocks of the window are jailed, as far
// as the slash meter allows; who is not allowed now may be with the next block.
// Since it is the proposer who says whose votes it has, and may make its own blocks
// count and leave those of others idle, a proposer's blocks count against a member for
// no more than three MaxMissed times the proposer's share of the committee's power,
// exactly. So proposers with less than a third of the power, who leave out somebody's
// votes in all their blocks, and in however many, never count for more than MaxMissed;
// and who is really gone is missed by all others, who need not propose in turn: those
// with little more than a third of the power are enough, where every second block
// counts, and so only every second proposer's.
func (c *Context) Count(proposer Address, votes []Vote) []Event {
	if len(votes) == 0 {
		return nil
	}
	p := c.progress()
	position := p.Position
	p.Position = (position + 1) % c.Rules.Window
	p.Counted++
	c.propose(position, proposer)
	c.setProgress(&p)

	list := absencesAt(c.State, c.Rules)
	if len(list) == 0 && !slices.ContainsFunc(votes, func(v Vote) bool { return !v.Signed }) {
		return nil
	}
	rec, _ := electionAt(c.State, c.epoch())
	gone := c.absent(votes, &rec.Committee)
	for _, row := range gone {
		if i, ok := findAbsence(list, row); !ok {
			list = slices.Insert(list, i, absence{row: row, window: make([]byte, c.Rules.windowBytes())})
		}
	}
	late := make([]uint64, 0, 1)
	for i := range list {
		_, missed := slices.BinarySearch(gone, list[i].row)
		list[i].mark(position, missed)
		if list[i].count() > c.Rules.MaxMissed && agreed(c.State, c.Rules, &list[i], &rec.Committee) {
			late = append(late, list[i].row)
		}
	}
	c.putAbsences(list)
	var events []Event
	for _, row := range late {
		events = append(events, c.jail(row, &rec.Committee)...)
	}
	return events
}

// propose remembers who proposed the block at a position of the window.
func (c *Context) propose(position uint32, proposer Address) {
	row, ok := rowAt(c.State, addressKey(proposer))
	if !ok {
		row = nobody
	}
	c.State.Set(proposerKey(position), binary.BigEndian.AppendUint64(nil, row))
	if ok {
		n := proposedAt(c.State, row, c.epoch()) + 1
		c.State.Set(proposedKey(row), binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, c.epoch()), n))
	}
}

// proposedAt returns how many counted blocks of the running epoch the validator at row
// proposed.
func proposedAt(v chain.View, row, epoch uint64) uint32 {
	b := v.Get(proposedKey(row))
	if b == nil {
		return 0
	}
	r := codec.NewReader(b)
	in, n := r.Uint64(), r.Uint32()
	mustRead("proposed blocks", r.Done())
	if in != epoch {
		return 0
	}
	return n
}

// nobody is the row of a proposer that is no validator.
const nobody = math.MaxUint64

// agreed reports whether a member missed more than MaxMissed blocks of the window, as
// far as its proposers' power vouches for that; see vouched. Proposers that are no
// members any more count for nothing.
func agreed(v chain.View, p *Params, a *absence, members *committee.Committee) bool {
	blocks := make([]uint64, len(members.Members))
	for position := range p.Window {
		if a.window[position>>3]&(0x80>>(position&7)) == 0 {
			continue
		}
		row, _ := rowAt(v, proposerKey(position))
		if i, ok := members.FindValidator(row); ok {
			blocks[i]++
		}
	}
	most := uint64(p.MaxMissed)
	return vouched(members, blocks, most).above(most, members.TotalPower())
}

// Away returns the validators that the block at height finds absent, by row, those first
// that missed most: they missed more than MaxMissed blocks of the window as far as their
// proposers' power vouches for that, so that less than a third of the power has nobody
// among them (Context.Count). They are those who would be jailed if the slash meter did not
// spare them, and are not here once they are. Of who is no member of the main chain's
// committee it knows nothing.
//
// v is the state after the votes of the block are counted, or of the block before. A shard gets another committee
// when it has been silent for long, and a shard that is late has the main chain go on
// (anchor.NeedsTick), whose blocks count: so on an idle chain, too, who is gone with all
// its chains is known by then, if the blocks between late and stalled are more than
// MaxMissed.
func Away(v chain.View, p *Params, height uint64) (rows []uint64) {
	list := slices.DeleteFunc(absencesAt(v, p), func(a absence) bool { return a.count() <= p.MaxMissed })
	if len(list) == 0 {
		return nil
	}
	rec, _ := electionAt(v, p.Epoch(height))
	list = slices.DeleteFunc(list, func(a absence) bool { return !agreed(v, p, &a, &rec.Committee) })
	slices.SortStableFunc(list, func(a, b absence) int { return cmp.Compare(b.count(), a.count()) })
	for i := range list {
		rows = append(rows, list[i].row)
	}
	return rows
}

// wide is a number of two words. Here it counts blocks divided by a committee's total
// power: below 2^53 * 2^24 for one member, and so below 2^87 in all.
type wide struct{ high, low uint64 }

// vouched returns how many of blocks, which are those that each member proposed, count
// where up to most of them are forgiven: of each member no more than three times most
// by its share of the power, in units of a block divided by the total power.
func vouched(members *committee.Committee, blocks []uint64, most uint64) (sum wide) {
	total := members.TotalPower()
	for i, n := range blocks {
		h, l := bits.Mul64(n, total)
		if sh, sl := bits.Mul64(members.Members[i].Power, 3*most); sh < h || sh == h && sl < l {
			h, l = sh, sl
		}
		var carry uint64
		sum.low, carry = bits.Add64(sum.low, l, 0)
		sum.high += h + carry
	}
	return sum
}

// above reports whether w is more than blocks.
func (w wide) above(blocks, total uint64) bool {
	h, l := bits.Mul64(blocks, total)
	return w.high > h || w.high == h && w.low > l
}

// absentFor reports whether a member missed so many of the counted blocks of the epoch
// that it is not paid: more than MaxMissed/Window of them, where those that proposers
// made beyond what their power vouches for are taken for blocks that it signed. So
// proposers with less than a third of the power take money from nobody.
func (c *Context) absentFor(missed uint32, members *committee.Committee) bool {
	counted := uint64(c.progress().Counted)
	most := mulDiv(uint64(c.Rules.MaxMissed), counted, uint64(c.Rules.Window))
	if uint64(missed) <= most {
		return false
	}
	blocks := make([]uint64, len(members.Members))
	for i := range members.Members {
		blocks[i] = uint64(proposedAt(c.State, members.Members[i].Validator, c.epoch()))
	}
	// missed - (counted - vouched) > most
	return vouched(members, blocks, most).above(most+counted-uint64(missed), members.TotalPower())
}

// absent returns the rows of the present members that did not sign and are not
// jailed, ascending.
func (c *Context) absent(votes []Vote, members *committee.Committee) (rows []uint64) {
	for i := range votes {
		if votes[i].Signed {
			continue
		}
		row, ok := rowAt(c.State, addressKey(votes[i].Validator))
		if !ok {
			continue
		}
		if _, member := members.FindValidator(row); !member {
			continue
		}
		if v := mustValidator(c.State, row); !v.Jailed && !v.Tombstoned {
			rows = append(rows, row)
		}
	}
	slices.Sort(rows)
	return slices.Compact(rows)
}

// jail jails and slashes a member for downtime if the slash meter allows it.
func (c *Context) jail(row uint64, members *committee.Committee) []Event {
	i, ok := members.FindValidator(row)
	if !ok {
		return nil
	}
	p := c.progress()
	if p.MeterPower == 0 || c.epoch() >= p.MeterFrom+uint64(c.Rules.MeterEpochs) {
		p.MeterFrom, p.MeterPower = c.epoch(), 0
	}
	if p.MeterPower > 0 && ledger.Amount(p.MeterPower) >= bps(ledger.Amount(members.TotalPower()), c.Rules.MeterBps) {
		return nil
	}
	v := mustValidator(c.State, row)
	v.Jailed, v.JailedUntil = true, c.epoch()+uint64(c.Rules.JailEpochs)
	p.MeterPower += members.Members[i].Power
	p.JailEnds, p.Dirty = max(p.JailEnds, v.JailedUntil), true
	c.setProgress(&p)
	stake, _ := c.stakeOf(row, c.epoch())
	burned := c.slash(row, &v, c.epoch(), bps(stake, c.Rules.DowntimeBps), c.Rules.DowntimeBps, SlashTouches)
	c.forget(row)
	return append([]Event{
		{Kind: EventJailed, TxIndex: -1, Validator: row, Epoch: v.JailedUntil, Height: c.Height, Fault: FaultDowntime},
		{Kind: EventSlashed, TxIndex: -1, Validator: row, Amount: burned, Height: c.Height, Fault: FaultDowntime},
	}, c.Noted()...)
}
