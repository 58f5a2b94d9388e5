package relay

import (
	"encoding/binary"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// Bounds of the settlements that are looked at together.
const (
	// MaxEntries is how many entries are looked at, and maxOfPayee how many of one payee
	// while others wait for a look. MaxBatches is how many batches are sent at once.
	MaxEntries = 4_096
	maxOfPayee = 1_024
	MaxBatches = 8
	// maxEnding is at how many channels a node looks in a block of main, of those that main
	// is about to close.
	maxEnding = 4_096
)

// SettleReserve is what the relayer's account keeps when it settles. Main pays the fees of
// anchors that are due back, and not those of settlements, which could use the account up:
// then nothing would be anchored by it.
const SettleReserve = ledger.DropsPerCoin

// Claim is a settlement that main would pay for.
type Claim struct {
	// Batch are the entries that are worth more than main has paid on their lanes: none
	// if there is nothing to pay.
	Batch channel.Batch
	// Worth is what main would pay to the payee, net of burn and fees.
	Worth ledger.Amount
	// Paid names what main has paid on the first lane. It stays until main pays.
	Paid uint64
	// Deadline is the sigma at which main closes the first of the channels of Batch: 0 if
	// there is nothing to pay.
	Deadline uint64
}

// ClaimOf returns what main, whose state is in v and whose rules of channels are given, would
// pay of a settlement without the entries that are left out: leave is given an entry, the
// deadline of its channel, and what main would pay for it. Nil leaves none out.
func ClaimOf(v chain.View, rules *channel.Rules, s *service.Settlement, leave func(e *channel.Entry, deadline uint64, pays ledger.Amount) bool) (c Claim) {
	c.Batch = s.Batch
	c.Batch.Entries = nil
	left := make(map[uint64]ledger.Amount) // by channel: what its deposit still has
	for i := range s.Batch.Entries {
		e := &s.Batch.Entries[i]
		at, ok := channel.At(v, e.Index)
		if !ok || at.Payee != s.Batch.Payee {
			continue
		}
		if _, ok := left[e.Index]; !ok {
			left[e.Index] = at.Remaining()
		}
		paid := ledger.Amount(0)
		if l, ok := channel.LaneAt(v, e.Index, e.Lane); ok {
			paid = l.Redeemed
		}
		if e.Cumulative <= paid || left[e.Index] == 0 {
			continue
		}
		gain := min(e.Cumulative-paid, left[e.Index])
		done := at.Deposit - left[e.Index] + gain
		fees := channel.FeesAt(v, at.FeesNumber)
		pays := rules.Payout(&fees, done-gain, done).Paid
		if leave != nil && leave(e, at.Deadline(), pays) {
			continue
		}
		if len(c.Batch.Entries) == 0 {
			c.Paid, c.Deadline = paidName(e.Index, e.Lane, paid), at.Deadline()
		}
		c.Deadline = min(c.Deadline, at.Deadline())
		left[e.Index] -= gain
		c.Worth += pays // at most the sum of deposits, which is at most the supply
		c.Batch.Entries = append(c.Batch.Entries, *e)
	}
	return c
}

const (
	// settleBlocks is for how many blocks of main a lane on which main has paid is not
	// settled again, while the shard does not say that it knows, and urgentBlocks for how
	// many if its channel is closed so soon that this might be too late.
	settleBlocks = link.RelistBlocks
	urgentBlocks = link.RelayTimeout
	// soon is how much sigma before its deadline a channel is looked at by itself.
	soon = 2 * settleBlocks
)

func paidName(index uint64, lane uint8, paid ledger.Amount) uint64 {
	b := binary.BigEndian.AppendUint64(nil, index)
	b = append(b, lane)
	h := ledger.HashOf("trib/relay/paid/1", binary.BigEndian.AppendUint64(b, uint64(paid)))
	return binary.BigEndian.Uint64(h[:]) | 1
}

// Worthwhile reports whether a settlement is worth its fee to those whom it pays: it
// pays the payee more than main takes for it. Of any other the payee may redeem its vouchers
// itself, or leave them until they are worth more.
func Worthwhile(worth, fee ledger.Amount) bool { return worth > fee }
