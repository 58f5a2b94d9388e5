package service

import (
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// Earnings that no link had room for wait in queues, one for each place that they go to.
// A block tries the first of a queue and goes on with it while its link takes them, so
// that a place that stands still costs one row a block, and all of them together no more
// than maxQueues, however many payees wait.
//
// Nobody is always the last: the queues take turns by height, and so do the payees of a
// queue, by a byte of their addresses.
const (
	maxQueues = 256   // queues that one block tries
	maxQueued = 4_096 // payees who waited that one block books
)

const queuesSize = 256 / 8

func queuesKey(zone uint8) []byte { return []byte{prefixQueues, zone} }

// queue notes that earnings wait for a place, or that none do.
func queue(o *chain.Overlay, to Place, waits bool) {
	row := make([]byte, queuesSize)
	copy(row, o.Get(queuesKey(to.Zone)))
	at, bit := to.Bucket/8, byte(1)<<(to.Bucket%8)
	if waits == (row[at]&bit != 0) {
		return
	}
	row[at] ^= bit
	if slices.ContainsFunc(row, func(b byte) bool { return b != 0 }) {
		o.Set(queuesKey(to.Zone), row)
	} else {
		o.Delete(queuesKey(to.Zone))
	}
}

// queues returns the places for which earnings wait, ascending.
func queues(v chain.View) (list []Place) {
	for key, row := range v.Range([]byte{prefixQueues}) {
		for bucket := range 256 {
			if row[bucket/8]>>(bucket%8)&1 != 0 {
				list = append(list, Place{Zone: key[1], Bucket: uint8(bucket)})
			}
		}
	}
	return list
}

// nets is the netting of a block under way.
type nets struct {
	*block

	send func(Message) bool
	full map[Place]bool // places whose links took no more
	out  []Message
}

// book books what was added for a payee: at home, or by a message. It reports false if the
// link has no room for it.
func (n *nets) book(p ledger.Address, s Sums) bool {
	home := HomeOf(p)
	if n.shard.Owns(home) {
		n.credit(p, n.epoch.Number, s)
		return true
	}
	if n.full[home] {
		return false
	}
	m := EarningsMessage{Payee: p, Epoch: n.epoch.Number, Sums: s}
	msg := Message{From: n.shard.origin(), To: home, Kind: KindEarnings, Recipient: p, Payload: m.Encode()}
	if n.send != nil && !n.send(msg) {
		n.full[home] = true
		return false
	}
	n.out = append(n.out, msg)
	n.totals.Sent = n.totals.Sent.Plus(s)
	return true
}

// queued books earnings that wait, together with what the block added for the same payees.
func (n *nets) queued() {
	if n.totals.Waiting == (Sums{}) {
		return
	}
	list := queues(n.state)
	tries := min(len(list), maxQueues)
	if tries == 0 {
		return
	}
	first := n.height % uint64(len(list))
	if len(list) > tries {
		first = n.height * maxQueues % uint64(len(list))
	}
	left := maxQueued
	for i := range tries {
		if left == 0 {
			return
		}
		left -= n.drain(list[(int(first)+i)%len(list)], left)
	}
}

// drain books up to limit payees of a queue, which is not empty or is found to be, and
// returns how many.
func (n *nets) drain(to Place, limit int) (booked int) {
	for size := 1; booked < limit; size *= 2 {
		rows := n.waiters(to, min(size, limit-booked))
		if len(rows) == 0 {
			queue(n.state, to, false)
			return booked
		}
		for _, p := range rows {
			waits := sumsAt(n.state.Get(waitingKey(p)))
			s := waits
			if fresh, ok := n.added[p]; ok && waits.holds(fresh) {
				s = waits.Plus(fresh)
			}
			if !n.book(p, s) {
				return booked
			}
			if s != waits {
				delete(n.added, p)
			}
			n.wait(p, waits, Sums{})
			booked++
		}
	}
	return booked
}

// waiters returns up to limit payees of a queue, those whose turn it is first.
func (n *nets) waiters(to Place, limit int) (list []ledger.Address) {
	queue, turn := []byte{prefixWaiting, to.Zone, to.Bucket}, byte(n.height)
	for key := range n.state.Range(append(slices.Clone(queue), turn)) {
		if list = append(list, ledger.Address(key[1:])); len(list) == limit {
			return list
		}
	}
	for key := range n.state.Range(queue) {
		if key[len(queue)] == turn {
			continue
		}
		if list = append(list, ledger.Address(key[1:])); len(list) == limit {
			return list
		}
	}
	return list
}
