package channel

import (
	"fmt"
	"iter"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// Held returns what the channel with the encoded row holds of other people's
// money: what is left of its deposit, and its rent. A nil row holds nothing.
func Held(encoded []byte) (escrow, rent ledger.Amount) {
	if encoded == nil {
		return 0, 0
	}
	r := row(encoded)
	return r.amount(offDeposit) - r.amount(offRedeemed), r.amount(offRent)
}

// UrgentAt reports whether redemptions of the channel at index are urgent at
// clock, and its deadline. A channel that does not exist is not urgent.
func UrgentAt(v chain.View, index, clock uint64) (urgent bool, deadline uint64) {
	r := rowAt(v, index)
	if r == nil {
		return false, 0
	}
	return r.urgent(clock), r.deadline()
}

// Deadlines yields the deadlines in [from, to] with the indexes of their
// channels, ascending by deadline, then index.
func Deadlines(v chain.View, from, to uint64) iter.Seq2[uint64, uint64] {
	return func(yield func(deadline, index uint64) bool) {
		for key, bitmap := range v.Range([]byte{prefixDeadline}) {
			deadline, group := splitDeadline(key)
			if deadline > to {
				return
			}
			if deadline < from {
				continue
			}
			for i := range uint64(1 << groupBits) {
				if bitmap[i>>3]&(0x80>>(i&7)) != 0 && !yield(deadline, group<<groupBits|i) {
					return
				}
			}
		}
	}
}

// Audit checks the protocol's own invariants over every channel in v: lanes add
// up to what was redeemed, which is at most the deposit; every channel stands in
// the queue at its deadline; the counters count. It returns what all channels
// hold.
func Audit(v chain.View) (escrow, rent ledger.Amount, err error) {
	table, open := Channels(), uint64(0)
	for key, encoded := range v.Range([]byte{prefixChannel}) {
		index, err := table.Index(key)
		if err != nil {
			return 0, 0, err
		}
		if err := auditRow(v, index, encoded); err != nil {
			return 0, 0, fmt.Errorf("channel %d: %w", index, err)
		}
		e, r := Held(encoded)
		escrow, rent = escrow+e, rent+r
		open++
	}
	if n := ReadCounters(v); n.Open != open || n.Channels < open {
		return 0, 0, fmt.Errorf("%d channels are open, the counters say %d of %d", open, n.Open, n.Channels)
	}
	return escrow, rent, nil
}

func auditRow(v chain.View, index uint64, encoded []byte) error {
	c, err := Decode(encoded)
	if err != nil {
		return err
	}
	var lanes ledger.Amount
	for lane := range uint8(Lanes) {
		l, _ := laneOf(v, row(encoded), index, lane)
		lanes += l.Redeemed
	}
	if lanes != c.Redeemed || c.Redeemed > c.Deposit {
		return fmt.Errorf("lanes add up to %d, redeemed is %d of a deposit of %d", uint64(lanes), uint64(c.Redeemed), uint64(c.Deposit))
	}
	bitmap, i := v.Get(deadlineKey(c.Deadline(), index>>groupBits)), index&(1<<groupBits-1)
	if len(bitmap) != bitmapSize || bitmap[i>>3]&(0x80>>(i&7)) == 0 {
		return fmt.Errorf("not in the queue at its deadline %d", c.Deadline())
	}
	return nil
}
