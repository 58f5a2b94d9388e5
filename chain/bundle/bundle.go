// Package bundle is the audit bundle: one file that leads from a certificate of the main
// chain down to one line of a log, by two paths, and that anybody verifies without a node.
//
//	main        who agreed: a committee that the reader trusts, and what it certified
//	settlement  certificate -> row of the channel -> lane: of which log, and how much
//	service     certificate -> anchors of a shard -> block -> booking: of which log, and how much
//	log         that root -> one entry, how much came before it and is in all
//
// The settlement path shows that main paid so many drops for the log whose root the payer
// signed, the service path that the payer's home shard booked the same log, or one that it
// begins or goes on. If the roots do not agree that way, the file is not refused as a broken
// one: each path holds by itself, and so the two are evidence (DisagreementError).
//
// # What is read of main's state
//
// The settlement path reads the rows of the channel and of its lane, not the results of the
// block that paid. The results of an entry say what was paid and not for what: neither the
// cumulative amount nor the root of the log is in them, only the hash of the transaction,
// which may have a megabyte. And they are in one block, whose receipts nodes forget. The lane
// only ever grows, so its row in the state after any later block says as much or more, as
// long as the channel is open: who wants a bundle later asks for a newer certificate. When a
// channel ends its row is deleted, so its last bundles are of a state before that. A voucher
// that is redeemed by the very batch that closes its channel is in no state.
//
// # What is trusted
//
// One hash: that of a committee of main, or of a checkpoint, whose committee then is trusted.
// If other committees signed what the paths need, the bundle has hand-overs that lead to
// them: forward, one epoch at a time, by the row that elects the next committee, or back to
// any epoch that main still remembers, by the row of its past committee. Each takes about a
// KiB, so there is room for few: who trusts a committee from long before brings the
// hash up to date with a certificate file (api/client), and verifies by that.
//
// # Bytes
//
// FORMAT.md beside this file describes all of them, for verifiers in other languages. Nothing
// in a bundle is left unused: what is known from elsewhere in it is not written again, and
// one byte changed anywhere makes Verify fail with an *Error that names the layer and the
// step that does not fit.
//
// An audit bundle has nothing to do with the bundles of records in chain.
//
// It is row 3 of the dependency order, above the rules of both kinds of chain, and pure:
// functions of values without a clock, a disk or a network.
package bundle

import (
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/lanelog"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/ledger/sumtree"
	"github.com/tributary-network/tributary/shard"
)

const (
	// Magic opens every bundle.
	Magic = "tribaudit"
	// Version is the version of the encoding.
	Version = 1
	// MaxSize is the length of the longest bundle in bytes. With four validators, one
	// certificate for both paths and no hand-over a bundle has at most 8 KiB, also of large
	// states and logs.
	MaxSize = 1 << 20
	// MaxHandovers is the largest number of hand-overs.
	MaxHandovers = 8
	// MaxCertificates is the largest number of certificates for the two paths.
	MaxCertificates = 2
)

// Audit is an audit bundle as it is in its file. What a field has is not yet proved: see
// Verify.
type Audit struct {
	Network ledger.NetworkID
	Main    Main
	Settled Settled
	Booked  Booked
	Logged  Logged
}

// Main is who agreed, and on which states of main.
type Main struct {
	// Committee is the one that a reader trusts.
	Committee committee.Committee
	// Handovers lead from Committee to others, each from the one before it.
	Handovers []Handover
	// Certificates are of the states that the paths begin with: one for both, or that of
	// the settlement path and that of the service path, which are not equal.
	Certificates []Certificate
}

// Certificate is a certificate of main by one of the committees.
type Certificate struct {
	// By is who signed: 0 for Main.Committee, i for that of Handovers[i-1].
	By uint8
	cert.Certificate
}

// Handover proves another committee by a state that the one before certified.
type Handover struct {
	Certificate cert.Certificate
	// Past says that Record is of an epoch before that of Certificate, in the row of a past
	// committee, and not the election of the epoch after.
	Past   bool
	Record committee.Record
	Path   stateproof.Path // of the row
}

// Row is a row of the state of main.
type Row struct {
	Value []byte
	Path  stateproof.Path
}

// Settled is the settlement path, below the first of the certificates.
type Settled struct {
	Index uint64 // of the channel
	Lane  uint8
	// Channel is the channel's row, with lane 0. Directory and LaneRow are where another lane
	// is, and its row; none for lane 0.
	Channel, Directory, LaneRow Row
	// Of the newest voucher that was paid in full, whose usage root is in the row.
	Cumulative ledger.Amount
	Units      uint64
	Signature  ledger.Signature
}

// Booked is the service path, below the last of the certificates.
type Booked struct {
	Shard  shard.ID
	Anchor Row // what main has anchored of the shard
	// Checkpoint is that of the block as it is anchored, and Path proves it in the tree of all
	// the shard's checkpoints.
	Checkpoint cert.Checkpoint
	Path       []ledger.Hash
	// Of the booking. Channel and lane are those of the settlement path.
	Seq, Units uint64
	Cumulative ledger.Amount
	UsageRoot  ledger.Hash
	// Bookings proves it among the bookings of the block: bit i of Left says that
	// Bookings[i] stands to the left.
	Left     uint32
	Bookings []ledger.Hash
}

// Logged is the entry, proved in the log that was settled.
type Logged struct {
	Proof lanelog.Proof
	// Other is the log that was booked, if it is not the one that was settled.
	Other *Other
}

// Other is a log with the proof that it begins with the settled one, or the settled one with
// it: whichever was signed for less comes first.
type Other struct {
	Root sumtree.Root
	Path []sumtree.Node
}

// voucher returns the settled voucher, for a channel and the root of its log.
func (s *Settled) voucher(id, root ledger.Hash) channel.Voucher {
	return channel.Voucher{ChannelID: id, Lane: uint16(s.Lane), Cumulative: s.Cumulative, Units: s.Units, UsageRoot: root}
}
