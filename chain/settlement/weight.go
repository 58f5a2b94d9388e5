package settlement

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// A block is bounded by its bytes and by its weight: what it makes every node
// write. Three bytes that close a channel write five hundred, and without a
// bound on that a block of them would keep all nodes busy for minutes.
//
// The weight of a write is its key, its value and what the store adds, and
// leastWrite at least, since a store bounds the number of writes too. A value of
// largeValue bytes or more weighs as much as one just below, since stores keep
// it apart. The writes are those of the state and of the index of receipts,
// transactions and channels.
//
// What has to be told to the homes of channels that are redeemed is not weighed, or
// ordinary blocks would be bounded by it: 17 bytes for each lane, and if the link to a home
// is full, a row for each channel. A block that does not fit one batch for that reason is
// committed in parts. Nor is what owners of services get, four writes for each service at
// most, of which there are registry.MaxServices; and new fees of channels, three writes for
// each version of a service and zone of it at most, the first time that a channel is opened
// under them.
const (
	// weightPerByte is the weight that each byte of a block may have on average,
	// in quarters: 15.7 MB in a block of 4 MiB, which with what one block finalises
	// fits one batch of the main store. Vouchers on lane 0 have 3.5, and no
	// redemption that leaves its channel open has more than 13: so urgent ones can
	// always fill nine tenths of a reserved lane of 30 % of the block, and the
	// settlement clock stands still when they do. Closes have far more, so that a
	// block has 2,300 of them at most; see closeRoom.
	weightPerByte = 15

	leastWrite    = 96
	writeOverhead = 3 + 12 // the layer's prefixes; badger's entry
	largeValue    = 4 << 10

	channelWeight  = chain.RowKeySize + channel.RowSize + writeOverhead
	deadlineWeight = 17 + 128 + writeOverhead
	closedWeight   = 9 + 2*ledger.AddressSize + ledger.HashSize + 1 + 5*maxVarint + writeOverhead
	laneWeight     = leastWrite                                   // a row of the lane table
	lanesWeight    = 9 + channel.MaxDirectorySize + writeOverhead // a channel's directory of lanes
	eraseWeight    = leastWrite + (channel.Lanes-1)*laneWeight    // directory and rows of a closed channel
	payeeWeight    = 2 * leastWrite                               // a new account: the row, the key that finds it
	openedWeight   = 2 * leastWrite                               // found by id, by payee

	// Of staking. Every transaction also says that the next election may differ. A
	// validator's row, and whether it can be elected.
	validatorWeight = chain.RowKeySize + staking.RowSize + writeOverhead + leastWrite
	// A delegation, the key that finds it, and what counts its fresh parts: two that are
	// over and one that comes.
	delegationWeight = 30 + staking.MaxDelegationSize + writeOverhead + 4*leastWrite
	unbondingWeight  = 38 + staking.MaxDelegationSize + 2*writeOverhead + 30 + 8*staking.MaxEntries + leastWrite
	movedWeight      = 2 * leastWrite
	profileWeight    = 9 + staking.MaxProfileSize + writeOverhead
	progressWeight   = leastWrite
	registeredWeight = 3 * leastWrite // found by two keys and by its operator
	proofWeight      = 256 << 10      // a proof of possession writes nothing and costs 2 ms: 60 fit a block of 4 MiB

	// Of the registry: what a service writes beside its own row; and reading the map of
	// all shards, which is decoded and checked whether the transaction is refused or not:
	// 3 ms when it is full, so that 38 such transactions fit a block of 4 MiB.
	namedWeight = 3 * leastWrite // the old name, the new one, the note that the chain goes on
	mapWeight   = 400 << 10

	// Of shards: a message in the outbox of a link, with the link's row; what waits to be
	// told of a channel, with the count of its home; the links of a leaf of an import.
	linkWeight    = leastWrite
	noticeWeight  = 23 + link.MessageOverhead + writeOverhead // and the payload
	openedNotice  = noticeWeight + channel.OpenedNoticeSize + linkWeight
	closedNotice  = noticeWeight + ledger.AddressSize + 2*8
	closingNotice = noticeWeight + ledger.AddressSize + 4*8
	waitingWeight = 2 * leastWrite
	laneTotalSize = 8 + 1 + 8 // of a redeemed lane in a notice
	// guiltyWeight is that of who certified two versions of a height: its row, its
	// unbonding stake, and the redelegations that are settled at once.
	guiltyWeight = validatorWeight + leastWrite + 16*leastWrite + staking.ShardTouches*(validatorWeight+delegationWeight+leastWrite)

	maxVarint          = 10
	receiptBytes       = 2*ledger.HashSize + ledger.AddressSize + 1 + 3 + 7*maxVarint + 3
	receiptEntryBytes  = maxVarint + 1 + 3 + 4*maxVarint
	receiptKeyOverhead = 13 + writeOverhead

	// recordWeight is that of any record but for its receipt: the signer's row,
	// the record's name, the signer's list.
	recordWeight = 3 * leastWrite
)

// MaxBlockWeight returns the largest weight that the records of a block may have
// together. A proposal above it is refused, and so is a record that exceeds it
// alone.
func (p *Params) MaxBlockWeight() int64 { return p.MaxBlockBytes * weightPerByte / 4 }

// closeRoom is how many bytes of a block's room the lanes take of a channel that
// a batch closes: as if its entry were so much longer. A redemption of an urgent
// channel that closes it as well fills the reserved lane with as much, so that a
// block full of such closes by weight makes the clock stand still too.
const closeRoom = eraseWeight * 4 / weightPerByte

// Weight returns what executing tx makes a node write at most, in bytes; see
// MaxBlockWeight. It depends on the bytes of tx alone, so a channel that it closes
// counts as one all of whose lanes were used.
func Weight(tx *chain.Tx) int64 {
	var weight, entries int64
	switch tx.Kind {
	case chain.KindSettle:
		weight, entries = batchWeight(tx.Payload)
	case chain.KindTransfer:
		if t, err := DecodeTransfer(tx.Payload); err == nil {
			weight = int64(len(t.Payments)) * (payeeWeight + leastWrite) // and the payee's list
		}
	case chain.KindOpenChannels:
		if o, err := channel.DecodeOpen(tx.Payload); err == nil {
			weight = opensWeight(o.Channels)
		}
	case chain.KindTopUp:
		weight = channelWeight + openedNotice
	case chain.KindExtend:
		weight = channelWeight + 2*deadlineWeight + openedNotice + waitingWeight
	case chain.KindRequestClose: // its notice goes with others at the end of the block, or waits
		weight = channelWeight + 2*deadlineWeight + closingNotice
	case chain.KindCoopClose:
		weight = channelWeight + deadlineWeight + closedWeight + eraseWeight + closedNotice + waitingWeight + 2*leastWrite
		if c, err := channel.DecodeCoopClose(tx.Payload); err == nil && c.Rollover != nil {
			weight += opensWeight([]channel.OpenParams{*c.Rollover})
		}
	case chain.KindAnchor, chain.KindAnchorConflict, chain.KindImport, chain.KindRelist, chain.KindReack:
		weight, entries = shardWeight(tx)
	default:
		weight = stakeWeight(tx) + serviceWeight(tx)
	}
	return weight + recordWeight + receiptKeyOverhead + min(receiptBytes+entries*receiptEntryBytes, largeValue)
}

// stakeWeight returns the weight of a staking transaction.
func stakeWeight(tx *chain.Tx) int64 {
	switch tx.Kind {
	case chain.KindRegisterValidator:
		return validatorWeight + delegationWeight + profileWeight + registeredWeight + progressWeight + proofWeight
	case chain.KindEditValidator:
		return validatorWeight + profileWeight + progressWeight
	case chain.KindDelegate:
		return validatorWeight + delegationWeight + progressWeight
	case chain.KindRedelegate:
		return 2*(validatorWeight+delegationWeight) + movedWeight + progressWeight
	case chain.KindUndelegate:
		return validatorWeight + delegationWeight + unbondingWeight + progressWeight
	case chain.KindClaimRewards:
		if len(tx.Payload) == 0 {
			return 0
		}
		return int64(tx.Payload[0]) * (validatorWeight + delegationWeight)
	case chain.KindUnjail:
		return validatorWeight + progressWeight
	default:
		return 0
	}
}

// serviceWeight returns the weight of a transaction of the registry.
func serviceWeight(tx *chain.Tx) int64 {
	switch tx.Kind {
	case chain.KindRegisterService:
		return min(int64(len(tx.Payload))+leastWrite, largeValue) + namedWeight + mapWeight
	case chain.KindUpdateService: // it may add zones
		return min(int64(len(tx.Payload))+leastWrite, largeValue) + namedWeight + mapWeight
	case chain.KindServe:
		return 2 * leastWrite
	case chain.KindReshard:
		return 2*leastWrite + mapWeight
	default:
		return 0
	}
}

// shardWeight returns the weight of a transaction that carries something for shards, and
// the number of entries of its receipt.
func shardWeight(tx *chain.Tx) (weight, entries int64) {
	m, err := decodeShard(tx)
	switch {
	case err != nil:
		return 0, 0
	case m.anchors != nil:
		return anchor.Weight(m.anchors), int64(len(m.anchors.Runs))
	case m.conflict != nil:
		for _, run := range []cert.Run{m.conflict.A, m.conflict.B} {
			weight += anchor.Weight(&anchor.Anchors{Runs: []cert.Run{run}})
		}
		var most int
		for _, s := range m.conflict.A.Sets {
			most = max(most, 8*len(s.Bitmap))
		}
		return weight + int64(min(most, MaxPunished))*guiltyWeight + mapWeight, 0 // and the draw
	case m.delivery != nil:
		return deliveryWeight(m.delivery), int64(len(m.delivery.Import.Leaves))
	case m.relist != nil:
		return link.RelistBytes + link.MaxPayload + link.RelistMessages*leastWrite, 0
	default:
		return linkWeight, 0
	}
}

// deliveryWeight returns the weight of an import: of the row of a report, of all that a
// notice which comes back has to tell once more, and of what is dropped then.
func deliveryWeight(d *Delivery) (weight int64) {
	drops := false
	for _, l := range d.Import.Leaves {
		weight += 2 * linkWeight
		switch {
		case l.Ack != nil:
			drops = true
		case l.Message.IsBounce():
			drops = true
			weight += waitingWeight * int64(1+len(l.Message.Payload)/laneTotalSize)
		default:
			weight += leastWrite
		}
	}
	if drops {
		weight += MaxReleased * leastWrite
	}
	return weight
}

// batchWeight returns the weight of an encoded batch and the number of its
// entries.
func batchWeight(payload []byte) (weight, entries int64) {
	var last uint64
	listed := false // whether the directory of channel last is counted
	_, err := channel.ScanBatch(payload, func(_ *ledger.Address, e *channel.Entry) bool {
		if entries == 0 || e.Index != last {
			last, listed = e.Index, false
			weight += channelWeight
		}
		entries++
		if e.Lane != 0 && e.Claim != channel.ClaimNone {
			weight += laneWeight
			if !listed {
				weight, listed = weight+lanesWeight, true
			}
		}
		if e.Close {
			weight += deadlineWeight + closedWeight + eraseWeight + closedNotice + leastWrite // the payer's row
		}
		return true
	})
	if err != nil {
		return 0, 0
	}
	return weight + 2*leastWrite, entries // the payee's row and list
}

// opensWeight returns the weight of opening channels. Those that follow each
// other share the payee's account or the deadline if they name the same; where
// a group of 1,024 rows begins is not known before.
func opensWeight(opens []channel.OpenParams) int64 {
	weight := int64(leastWrite + deadlineWeight) // the payer's run, the second group
	for i := range opens {
		weight += channelWeight + openedWeight
		if opens[i].Service != 0 {
			weight += openedNotice
		}
		if i == 0 || opens[i].Payee != opens[i-1].Payee {
			weight += payeeWeight
		}
		if i == 0 || opens[i].ExpiresAt != opens[i-1].ExpiresAt {
			weight += deadlineWeight
		}
	}
	return weight
}
