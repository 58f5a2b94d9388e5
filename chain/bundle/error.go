package bundle

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/ledger"
)

// Layer is a part of a bundle.
type Layer string

// The layers, in the order of the file.
const (
	LayerFile       Layer = "file" // its frame: magic, version, lengths
	LayerMain       Layer = "main"
	LayerSettlement Layer = "settlement"
	LayerService    Layer = "service"
	LayerLog        Layer = "log"
)

// Step is what of a layer is looked at.
type Step string

// The steps, in the order in which they are looked at.
const (
	StepFrame   Step = "frame"   // of the file
	StepMissing Step = "missing" // the layer is not there
	StepForm    Step = "form"    // of any layer: it is not encoded as it should be

	StepNetwork     Step = "network"     // of main: that of the reader
	StepTrust       Step = "trust"       // of main: the reader trusts the first committee
	StepHandover    Step = "hand-over"   // of main: from one committee to the next
	StepCertificate Step = "certificate" // of main: the committee's signature

	StepChannel   Step = "channel"   // of settlement: the row of the channel
	StepDirectory Step = "directory" // of settlement: where the lane is
	StepLane      Step = "lane"      // of settlement: the row of the lane
	StepPaid      Step = "paid"      // of settlement: main paid for the voucher
	StepVoucher   Step = "voucher"   // of settlement: the payer's signature
	StepAnchor    Step = "anchor"    // of service: the row of the shard's anchors
	StepHome      Step = "home"      // of service: the shard is the payer's
	StepBlock     Step = "block"     // of service: the checkpoint is anchored
	StepBooking   Step = "booking"   // of service: the block booked it
	StepEntry     Step = "entry"     // of log: the entry is in the settled log
	StepTotals    Step = "totals"    // of log: it is as much as was settled and booked
	StepRoots     Step = "roots"     // of log: the paths lead to the same log
	StepExtension Step = "extension" // of log: one log begins with the other
	StepPosition  Step = "position"  // of log: the entry is in the booked log too
)

// Error is why a bundle does not hold: the first step, in the order of the layers, that does
// not fit.
type Error struct {
	Layer Layer
	Step  Step
	Err   error
}

// Error returns "audit bundle: LAYER: STEP: " and what is wrong.
func (e *Error) Error() string {
	return fmt.Sprintf("audit bundle: %s: %s: %v", e.Layer, e.Step, e.Err)
}

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

func refuse(l Layer, s Step, err error) *Error { return &Error{l, s, err} }

// Reasons, beside those of the packages that check certificates and proofs.
var (
	// ErrForm means bytes that are no bundle, or not one as Encode writes it.
	ErrForm = errors.New("not the encoding of an audit bundle")
	// ErrMissing means that a layer is empty.
	ErrMissing = errors.New("it is not in the bundle; make the bundle anew with both paths")
	// ErrNetwork means a bundle of another network than the reader's.
	ErrNetwork = errors.New("bundle of another network")
	// ErrUntrusted means that the first committee is not the trusted one.
	ErrUntrusted = errors.New("signed by others than who is trusted")
	// ErrHeight means a block that is not of its committee's epoch, or a hand-over by another
	// block than the last two of an epoch.
	ErrHeight = errors.New("the block is not of the epoch of those who signed")
	// ErrRow means a row that does not say what the path needs.
	ErrRow = errors.New("the row does not lead on")
	// ErrUnpaid means a voucher of more than main has paid.
	ErrUnpaid = errors.New("main has not paid as much")
	// ErrSignature means that the payer did not sign the voucher.
	ErrSignature = errors.New("the payer did not sign the voucher")
	// ErrNotHome means a shard that is not the home of the channel's payer.
	ErrNotHome = errors.New("the shard is not the payer's home")
	// ErrTotals means a log with less units or drops than were settled or booked for it.
	ErrTotals = errors.New("the log has less than was paid for it")
	// ErrDisagree is a DisagreementError.
	ErrDisagree = errors.New("the two paths lead to different logs")
	// ErrNotBooked means an entry behind the end of the booked log.
	ErrNotBooked = errors.New("the entry was settled and not booked; make the bundle of a later booking")
)

// Claim is what a voucher says of a lane.
type Claim struct {
	Cumulative ledger.Amount
	Units      uint64
	UsageRoot  ledger.Hash
}

// DisagreementError is evidence: everything else in the bundle holds, so main settled one log of
// a lane and its home shard booked another.
type DisagreementError struct {
	Channel         ledger.Hash
	Lane            uint8
	Settled, Booked Claim
	Reason          string
}

// Error says what differs.
func (d *DisagreementError) Error() string {
	return fmt.Sprintf("%v: lane %d of channel %s: %d drops and %d units are settled for log %s, %d and %d are booked for log %s: %s",
		ErrDisagree, d.Lane, d.Channel, uint64(d.Settled.Cumulative), d.Settled.Units, d.Settled.UsageRoot,
		uint64(d.Booked.Cumulative), d.Booked.Units, d.Booked.UsageRoot, d.Reason)
}

// Is makes errors.Is(err, ErrDisagree) true.
func (d *DisagreementError) Is(target error) bool { return target == ErrDisagree }
