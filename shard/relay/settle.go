package relay

import (
	"encoding/binary"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// Bounds of the settlements that are looked at together.
const (
	// MaxEntries is how many entries are looked at, MaxBatches how many batches are sent
	// at once.
	MaxEntries = 4_096
	MaxBatches = 8
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
// pay of a settlement.
func ClaimOf(v chain.View, rules *channel.Rules, s *service.Settlement) (c Claim) {
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
		if len(c.Batch.Entries) == 0 {
			c.Paid, c.Deadline = paidName(e.Index, e.Lane, paid), at.Deadline()
		}
		c.Deadline = min(c.Deadline, at.Deadline())
		gain := min(e.Cumulative-paid, left[e.Index])
		left[e.Index] -= gain
		done := at.Deposit - left[e.Index]
		fees := channel.FeesAt(v, at.FeesNumber)
		c.Worth += rules.Payout(&fees, done-gain, done).Paid // at most the sum of deposits, which is at most the supply
		c.Batch.Entries = append(c.Batch.Entries, *e)
	}
	return c
}

const (
	// settleBlocks is for how many blocks of main nothing more is settled for a payee whom
	// main has paid, while the shard does not say that it knows, and urgentBlocks for how
	// many if a channel is closed so soon that this might be too late.
	settleBlocks = link.RelistBlocks
	urgentBlocks = link.RelayTimeout
	// soon is how much sigma before its deadline a channel is settled before others.
	soon = 2 * settleBlocks
)

// urgentFirst returns the settlements with those first that have a channel which main, at
// sigma, is about to close: with more than are sent at once they must not wait their turn.
func urgentFirst(v chain.View, sigma uint64, list []service.Settlement) []service.Settlement {
	if len(list) <= MaxBatches {
		return list
	}
	urgent := make([]service.Settlement, 0, len(list))
	var rest []service.Settlement
	for i := range list {
		if slices.ContainsFunc(list[i].Batch.Entries, func(e channel.Entry) bool {
			at, ok := channel.At(v, e.Index)
			return ok && at.Deadline() <= sigma+soon
		}) {
			urgent = append(urgent, list[i])
		} else {
			rest = append(rest, list[i])
		}
	}
	return append(urgent, rest...)
}

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
