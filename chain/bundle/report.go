package bundle

import (
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/lanelog"
	"github.com/tributary-network/tributary/ledger/sumtree"
	"github.com/tributary-network/tributary/shard"
)

// Report is what a bundle proves.
type Report struct {
	Network ledger.NetworkID
	// Committee is the hash of the committee that the proof begins with, of Epoch.
	Committee ledger.Hash
	Epoch     uint64

	Channel    ledger.Hash
	Index      uint64 // row of the channel
	Lane       uint8
	Service    uint32
	Payer      ledger.Address
	Payee      ledger.Address
	VoucherKey ledger.PublicKey // signed the settled voucher
	// Deposit and Redeemed are of the whole channel, in the state that Settled.Main certifies.
	Deposit, Redeemed ledger.Amount

	Settled Settlement
	Booked  Booking
	Log     Log
}

// Block is a certified block of main.
type Block struct {
	Height, Epoch uint64
	Committee     ledger.Hash // signed it
	StateRoot     ledger.Hash
}

// Settlement is what main paid on the lane.
type Settlement struct {
	// Claim is the newest voucher of the lane that was paid in full.
	Claim
	// Paid is what main paid on the lane in all, burn and fees included: more than Cumulative
	// if a later voucher was paid in part.
	Paid ledger.Amount
	Main Block
}

// Booking is what the payer's home shard booked.
type Booking struct {
	Claim
	Seq        uint64 // of the booking on its lane, from 1 on
	Shard      shard.ID
	Generation uint32
	Height     uint64 // of the shard's block
	Epoch      uint64 // of it
	Anchored   uint64 // the last height of the shard that Main has
	Main       Block
}

// Log is the entry in its log.
type Log struct {
	Entry  lanelog.Entry
	Seq    uint64      // its number, from 0 on
	Size   uint64      // entries of the settled log
	Before sumtree.Sum // of the entries before it
	Total  sumtree.Sum // of the settled log
	// BookedSize and BookedTotal are of the booked log, which begins with the settled one or
	// is its beginning.
	BookedSize  uint64
	BookedTotal sumtree.Sum
}

// reached notes the blocks of main that are proved.
func (r *Report) reached(a *Audit) {
	paid, booked := a.paidBy(), a.bookedBy()
	r.Network, r.Committee, r.Epoch = a.Network, a.Main.Committee.Hash(), a.Main.Committee.Epoch
	r.Settled.Main = Block{paid.Height, paid.Epoch, paid.CommitteeHash, paid.StateRoot}
	r.Booked.Main = Block{booked.Height, booked.Epoch, booked.CommitteeHash, booked.StateRoot}
}
