package service

import (
	"math/bits"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// A block is bounded by its bytes and by its weight, which is counted as in
// chain/settlement: what it makes every node write, keys and values and what the
// store adds.
const (
	// weightPerByte is the weight that each byte of a block may have on average, in
	// quarters, as on the main chain: 15.7 MB in a block of 4 MiB, or 25,000 bookings
	// on lane 0.
	weightPerByte = 15

	leastWrite    = 96
	writeOverhead = 3 + 12 // the layer's prefixes; badger's entry
	largeValue    = 4 << 10

	channelWeight  = tableKeySize + 8 + ChannelSize + writeOverhead
	laneWeight     = tableKeySize + 9 + LaneSize + writeOverhead
	movedWeight    = leastWrite
	bookingWeight  = leastWrite + bookingSize // in the index, for proofs
	earningsWeight = tableKeySize + ledger.AddressSize + SumsSize + 1 + KeptEpochs*(8+SumsSize) + writeOverhead

	endedWeight   = 2 * leastWrite // that a lane moved, or that it is pending, written or erased
	messageWeight = 2 * leastWrite // that the message came, and what it adds to a bucket

	receiptWeight = receiptLeafSize + leastWrite
	recordWeight  = 3 * leastWrite // the record's name, the signer's list, the payee's
)

// MaxBlockWeight returns the largest weight that the records of a block may have
// together, and so its inbound messages. A proposal above it is refused, and so is a record
// that exceeds it alone. No message does.
func (p *Params) MaxBlockWeight() int64 { return p.MaxBlockBytes * weightPerByte / 4 }

// Weight returns what executing tx makes a node write at most, in bytes. It depends
// on the bytes of tx alone.
func Weight(tx *chain.Tx) int64 {
	weight, entries := int64(0), int64(0)
	if u, err := DecodeUsage(tx.Payload); tx.Kind == chain.KindBookUsage && err == nil {
		weight = earningsWeight
		for i := range u.Batch.Entries {
			weight += entryWeight(u.Batch.Entries, i)
		}
		entries = int64(len(u.Batch.Entries))
	}
	return weight + recordWeight + receiptWeight + min(entries*entryResultSize, largeValue)
}

func entryWeight(entries []channel.Entry, i int) int64 {
	weight := int64(movedWeight + bookingWeight)
	if i == 0 || entries[i-1].Index != entries[i].Index {
		weight += channelWeight
	}
	if entries[i].Lane != 0 {
		weight += laneWeight
	}
	return weight
}

// Weight returns what taking a message makes a node write or erase at most, in bytes, by
// what the state has of the channels that it is about: one that ends takes with it the rows
// of as many lanes as were used.
func (r *Run) Weight(m *Inbound) int64 {
	weight := int64(messageWeight)
	switch {
	case m.Kind == KindEarnings:
		return weight + earningsWeight
	case m.Fate != Fresh:
		return weight
	}
	switch m.Kind {
	case KindOpened:
		weight += channelWeight
	case KindChanged:
		if n, err := channel.DecodeChangedNotice(m.Payload); err == nil {
			weight += r.channelWeight(n.Payer, n.Index)
		}
	case KindClosed:
		if n, err := channel.DecodeClosedNotice(m.Payload); err == nil {
			weight += r.channelWeight(n.Payer, n.Index)
		}
	case KindRedeemed:
		if n, err := channel.DecodeRedeemedNotice(m.Payload); err == nil {
			weight += redeemedWeight(n.Lanes)
		}
	case KindEarnings:
	}
	return weight
}

// channelWeight is what all rows of a channel weigh, 0 if it is not known here.
func (r *Run) channelWeight(payer ledger.Address, index uint64) int64 {
	home := HomeOf(payer)
	if !r.block.shard.Owns(home) {
		return 0
	}
	c, ok := ChannelAt(r.block.state, home.Bucket, index)
	if !ok {
		return 0
	}
	return channelWeight + int64(bits.OnesCount64(c.Lanes))*(laneWeight+endedWeight)
}

func redeemedWeight(lanes []channel.LaneTotal) (weight int64) {
	for i := range lanes {
		weight += endedWeight
		if i == 0 || lanes[i-1].Index != lanes[i].Index {
			weight += channelWeight
		}
		if lanes[i].Lane != 0 {
			weight += laneWeight
		}
	}
	return weight
}
