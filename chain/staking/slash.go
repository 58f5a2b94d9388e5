package staking

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// SlashTouches is how many redelegations away from a validator lose their part in
// the block of its slash. What is beyond them loses it when it is touched next,
// and no later than when it stops being answerable.
const SlashTouches = 1000

// ShardTouches is the same for what a member of a shard's committee is slashed for, of
// whom one record may have many.
const ShardTouches = 16

// Punish judges one piece of evidence against the committee of its own epoch. A
// member that equivocated is slashed and out for ever. It has its vote until another
// committee votes, so this is not the last time.
//
// Faults up to the height of the block that punished one of them are one Mistake: all
// of them together cost what the worst of them costs alone. So a second piece of
// evidence takes only what it would have cost more than those before, which is nothing
// if it is the same, and an old fault with little stake, brought forward first, shields
// no new one with much. A fault at a later height is a new mistake and costs all that
// it costs alone. Of mistakes before the last one only the worst cost is remembered:
// evidence of one of them takes what it would have cost more than that.
//
// A height is where a fault was, not when it was made: who votes again on an old block
// after a punishment adds to the mistake of that time.
func (c *Context) Punish(ev *Evidence) []Event {
	fault := Fault(ev.Kind)
	row, known := rowAt(c.State, addressKey(ev.Validator))
	ignored := func(code chain.Code) []Event {
		return []Event{{Kind: EventEvidenceIgnored, TxIndex: -1, Validator: row, Height: ev.Height, Fault: fault, Code: code}}
	}
	points, ok := c.Rules.fraction(ev.Kind)
	if !ok || ev.Height == 0 || ev.Height > c.Height {
		return ignored(chain.CodeEvidenceFromNowhere)
	}
	epoch := c.Rules.Epoch(ev.Height)
	if epoch+uint64(c.Rules.EvidenceEpochs) < c.epoch() {
		return ignored(chain.CodeEvidenceExpired)
	}
	stake, member := c.stakeOf(row, epoch)
	if !known || !member {
		return ignored(chain.CodeEvidenceOfNoMember)
	}
	events, ok := c.equivocated(row, epoch, ev.Height, stake, points, fault, SlashTouches)
	if !ok {
		return ignored(chain.CodeEvidenceKnown)
	}
	return events
}

// PunishShard punishes a validator that in an epoch certified two versions of one height
// of a shard, as Punish does with who equivocates on the main chain, for the same part
// of its stake: of all that answers for that epoch now, since what members of a shard
// had when they were drawn is not remembered for as long. For the mistake of which it is
// a part it counts as made in the first block of the epoch, so that all of an epoch that
// was not punished before it are one. The caller has judged that the validator was a
// member and is guilty. known says that it was punished for that mistake already with as
// much; then nothing happens.
func (c *Context) PunishShard(row, epoch uint64) (events []Event, known bool) {
	v := mustValidator(c.State, row)
	stake := v.Tokens
	for due := epoch + uint64(c.Rules.UnbondingEpochs); due <= c.due(); due++ {
		stake += poolAt(c.State, row, due).Tokens + movedAt(c.State, due, row)
	}
	events, ok := c.equivocated(row, epoch, c.Rules.FirstBlock(epoch), stake, c.Rules.DuplicateVoteBps, FaultShardConflict, ShardTouches)
	return events, !ok
}

// equivocated slashes and tombstones the validator at row for an equivocation at a height,
// when it had so much at stake. It does nothing, and returns ok=false, if the mistake of
// which that is a part cost as much already.
func (c *Context) equivocated(row, epoch, height uint64, stake ledger.Amount, points uint32, fault Fault, touches int) (events []Event, ok bool) {
	v := mustValidator(c.State, row)
	penalty, fresh := bps(stake, points), height > v.Last.Until
	m := v.mistake(height, c.Height)
	if !fresh && penalty <= m.Cost {
		return nil, false
	}
	more := penalty - m.Cost
	m.Cost = penalty
	known := v.Tombstoned
	v.Tombstoned = true
	burned := c.slash(row, &v, epoch, more, points, touches)
	events = []Event{{Kind: EventSlashed, TxIndex: -1, Validator: row, Amount: burned, Height: height, Fault: fault}}
	if !known {
		c.forget(row)
		c.touch()
		events = append(events, Event{Kind: EventTombstoned, TxIndex: -1, Validator: row, Height: height, Fault: fault})
	}
	return append(events, c.Noted()...), true
}

// fraction returns what a fault costs, in basis points, and ok=false for a kind
// that does not exist.
func (p *Params) fraction(kind EvidenceKind) (points uint32, ok bool) {
	switch kind {
	case DuplicateVote:
		return p.DuplicateVoteBps, true
	case LightClientAttack:
		return p.LightAttackBps, true
	default:
		return 0, false
	}
}

// stakeOf returns what the validator at row had staked when the committee of the
// epoch was elected, and ok=false if it is no member of it.
func (c *Context) stakeOf(row, epoch uint64) (ledger.Amount, bool) {
	seats, _ := seatsAt(c.State, epoch)
	i := slices.IndexFunc(seats, func(s seat) bool { return s.row == row })
	if i < 0 {
		return 0, false
	}
	return seats[i].stake, true
}

// slash burns up to left, which is points of what the validator at row had when
// the committee of epoch was elected, or what remains of that, and stores v. Stake
// that left after that election loses points of itself first, what has moved to
// other validators next, and what is still bonded bears the rest, but no more than
// points of itself. So at most left is burned, and of nobody's part more than
// points. All is rounded down.
//
// It costs a look-up for each epoch since, and some work for each redelegation
// up to touches, however many have delegated. It returns what was burned of
// what is bonded and unbonding; what redelegations lost now is noted.
func (c *Context) slash(row uint64, v *Validator, epoch uint64, left ledger.Amount, points uint32, touches int) (burned ledger.Amount) {
	var moved ledger.Amount
	first := epoch + uint64(c.Rules.UnbondingEpochs)
	for due := first; due <= c.due(); due++ {
		p := poolAt(c.State, row, due)
		if cut := min(bps(p.Tokens, points), left); cut > 0 {
			p.Tokens -= cut
			burned, left = burned+cut, left-cut
			c.putPool(row, due, &p)
		}
		moved += movedAt(c.State, due, row)
	}
	part := min(bps(moved, points), left)
	left -= part
	if part > 0 {
		s := slash{Epoch: epoch, Part: uint64(part), Whole: uint64(moved)}
		c.State.Set(slashKey(row, v.Slashes), s.encode())
		v.Slashes++
	}
	cut := min(bps(v.Tokens, points), left)
	v.Tokens -= cut
	burned += cut
	c.Bank.Post(Posting{Burned: burned})
	c.put(row, v)
	if part > 0 {
		c.chase(row, first, touches)
	}
	return burned
}

// chase settles the first redelegations, as many as left, away from the validator at row
// that are over with the epoch first or later.
func (c *Context) chase(row, first uint64, left int) {
	for due := first; due <= c.due() && left > 0; due++ {
		for _, m := range c.moves(due, row, left) {
			c.revisit(m.to, m.delegator)
			left--
		}
	}
}

// move is a redelegation.
type move struct {
	due, from uint64
	delegator ledger.Address
	to        uint64
}

func (m *move) key() []byte { return moveKey(m.due, m.from, m.delegator, m.to) }

func splitMoveKey(key []byte) (m move) {
	if len(key) != 17+ledger.AddressSize+8 {
		mustRead("redelegation", fmt.Errorf("key %x", key))
	}
	m.due, m.from = binary.BigEndian.Uint64(key[1:]), binary.BigEndian.Uint64(key[9:])
	copy(m.delegator[:], key[17:])
	m.to = binary.BigEndian.Uint64(key[17+ledger.AddressSize:])
	return m
}

// moves lists redelegations away from the validator at row that are over with
// the epoch due, as many as limit.
func (c *Context) moves(due, row uint64, limit int) (list []move) {
	if c.State.Get(movedKey(due, row)) == nil {
		return nil
	}
	for key := range c.State.Range(numbered(prefixMove, due, row)) {
		if len(list) == limit {
			break
		}
		list = append(list, splitMoveKey(key))
	}
	return list
}

// revisit settles somebody's delegation to the validator at row if it answers
// for another one. Its rewards are paid out with that, as if they were claimed. What
// it lost and was paid is noted.
func (c *Context) revisit(row uint64, a ledger.Address) {
	d, ok := c.delegation(row, a)
	if !ok || len(d.Liabilities) == 0 {
		return
	}
	v := mustValidator(c.State, row)
	s := c.settle(row, &v, &d, a)
	c.pay(row, Party{a, c.Bank.Row(a)}, s)
	c.putDelegation(row, a, &d, true)
	c.put(row, &v)
	if s.reward > 0 {
		c.note(Event{Kind: EventClaimed, Validator: row, Delegator: a, Reward: s.reward})
	}
}
