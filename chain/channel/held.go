package channel

import (
	"fmt"
	"iter"
	"math/bits"

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

// urgentShare is how many of ten entries of an urgent batch must be urgent: as
// many as of the reserved lane's bytes let the clock stand still. Without it
// entries that move nothing could fill the lane while the clock runs.
const urgentShare = 9

// Urgent reports whether nine of ten entries of the encoded batch would redeem
// money of channels that are closing or about to expire at clock, and the
// earliest of their deadlines.
func Urgent(v chain.View, payload []byte, clock uint64) (urgent bool, deadline uint64) {
	n, err := ScanBatch(payload, func(*ledger.Address, *Entry) bool { return false })
	if err != nil {
		return false, 0
	}
	others, most := 0, n-(n*urgentShare+9)/10
	_, err = ScanBatch(payload, func(payee *ledger.Address, e *Entry) bool {
		r := rowAt(v, e.Index)
		if r == nil || !r.paysTo(payee) || !r.urgent(clock) || !moves(v, r, e) {
			others++
			return others <= most
		}
		if due := r.deadline(); deadline == 0 || due < deadline {
			deadline = due
		}
		return true
	})
	if err != nil || others > most {
		return false, 0
	}
	return true, deadline
}

// moves reports whether e would redeem something of the channel with row r.
func moves(v chain.View, r row, e *Entry) bool {
	if e.Claim == ClaimNone || e.Lane >= Lanes || r.amount(offDeposit) == r.amount(offRedeemed) {
		return false
	}
	lane, _ := laneOf(v, r, e.Index, e.Lane)
	return e.claimed().Redeemed > lane.Redeemed
}

// Deadlines yields the deadlines in [from, to] with the indexes of their
// channels, ascending by deadline, then index.
func Deadlines(v chain.View, from, to uint64) iter.Seq2[uint64, uint64] {
	prefix := []byte{prefixDeadline}
	if from == to {
		prefix = deadlineKey(from, 0)[:9]
	}
	return func(yield func(deadline, index uint64) bool) {
		for key, bitmap := range chain.RangeFrom(v, prefix, deadlineKey(from, 0)) {
			deadline, group := splitDeadline(key)
			if deadline > to {
				return
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
// the queue at its deadline and nothing else does; no lane lacks its channel; the
// counters count. It returns what all channels hold.
func Audit(v chain.View) (escrow, rent ledger.Amount, err error) {
	table, open, lanes, directories := Channels(), uint64(0), 0, 0
	n := ReadCounters(v)
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
		if used := row(encoded).furtherLanes(); used != 0 {
			lanes += bits.OnesCount64(used)
			directories++
		}
		if index >= n.Channels {
			return 0, 0, fmt.Errorf("channel %d exists, %d were ever opened", index, n.Channels)
		}
	}
	if n.Open != open {
		return 0, 0, fmt.Errorf("%d channels are open, the counter says %d", open, n.Open)
	}
	if err := auditOrphans(v, open, lanes, directories); err != nil {
		return 0, 0, err
	}
	return escrow, rent, nil
}

// auditOrphans checks that there are no deadlines and lanes beside those of the
// open channels, which are known to be there.
func auditOrphans(v chain.View, open uint64, lanes, directories int) error {
	queued, rows, keys := 0, 0, 0
	for _, bitmap := range v.Range([]byte{prefixDeadline}) {
		for _, b := range bitmap {
			queued += bits.OnesCount8(b)
		}
	}
	for range v.Range([]byte{prefixLane}) {
		rows++
	}
	for range v.Range([]byte{prefixDirectory}) {
		keys++
	}
	if uint64(queued) != open || rows != lanes || keys != directories {
		return fmt.Errorf("%d open channels, %d of them with %d lanes, have %d deadlines, %d lane rows and %d directories",
			open, directories, lanes, queued, rows, keys)
	}
	return nil
}

func auditRow(v chain.View, index uint64, encoded []byte) error {
	c, err := Decode(encoded)
	if err != nil {
		return err
	}
	lanes := c.Lane0.Redeemed
	if used := c.LanesUsed >> 1 << 1; used != 0 {
		d, err := directoryAt(v, index, used)
		if err != nil {
			return err
		}
		for _, p := range d {
			l, err := DecodeLane(v.Get(LaneRows().Key(p.Row)))
			if err != nil {
				return fmt.Errorf("lane %d: %w", p.Lane, err)
			}
			lanes += l.Redeemed
		}
	}
	if lanes != c.Redeemed || c.Redeemed > c.Deposit {
		return fmt.Errorf("lanes add up to %d, redeemed is %d of a deposit of %d", uint64(lanes), uint64(c.Redeemed), uint64(c.Deposit))
	}
	if b := v.Get(FeesKey(c.FeesNumber)); c.FeesNumber != 0 {
		if _, err := DecodeFees(b); err != nil {
			return fmt.Errorf("fees %d: %w", c.FeesNumber, err)
		}
	}
	bitmap, i := v.Get(deadlineKey(c.Deadline(), index>>groupBits)), index&(1<<groupBits-1)
	if len(bitmap) != bitmapSize || bitmap[i>>3]&(0x80>>(i&7)) == 0 {
		return fmt.Errorf("not in the queue at its deadline %d", c.Deadline())
	}
	return nil
}
