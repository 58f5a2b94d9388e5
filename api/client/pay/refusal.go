package pay

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/ledger"
)

// Reason is why a payer does not sign or a payee does not accept.
type Reason uint8

// The reasons.
const (
	UnknownChannel Reason = iota + 1 // not one of ours, or closed
	Closing                          // the payer has requested the close, or the payee has signed one
	Expiring                         // too close to the channel's end to redeem safely
	StaleView                        // what we know of the chain is too old
	OutOfDate                        // not above what is owed already
	BelowPrice                       // pays less than what is asked
	Underfunded                      // exceeds the deposit, all lanes taken together
	BadSignature                     // not signed by the channel's voucher key
	BadLane                          // no such lane, or not the lane's commitment
	BadPreimage                      // does not lead to the lane's commitment
	InvalidAmount                    // amount out of range
	TooLong                          // what is to be signed would hold for too long
)

// String returns the reason's name: "OUT_OF_DATE".
func (r Reason) String() string {
	switch r {
	case UnknownChannel:
		return "UNKNOWN_CHANNEL"
	case Closing:
		return "CLOSING"
	case Expiring:
		return "EXPIRING"
	case StaleView:
		return "STALE_VIEW"
	case OutOfDate:
		return "OUT_OF_DATE"
	case BelowPrice:
		return "BELOW_PRICE"
	case Underfunded:
		return "UNDERFUNDED"
	case BadSignature:
		return "BAD_SIGNATURE"
	case BadLane:
		return "BAD_LANE"
	case BadPreimage:
		return "BAD_PREIMAGE"
	case InvalidAmount:
		return "INVALID_AMOUNT"
	case TooLong:
		return "TOO_LONG"
	default:
		return fmt.Sprintf("REASON_%d", uint8(r))
	}
}

// Err returns a bare RefusalError of the reason, for errors.Is.
func (r Reason) Err() error { return &RefusalError{Reason: r} }

// RefusalError says why a payment was not made or not accepted.
// errors.Is(err, OutOfDate.Err()) and ReasonOf find the reason.
type RefusalError struct {
	Reason Reason
	Detail string // for people

	// Of OutOfDate: what is owed on the lane, and the claim that says so. The
	// claim is nil if the payee only knows it from the chain.
	Owed ledger.Amount
	Best *Claim
}

// Error returns the reason's name and the detail.
func (r *RefusalError) Error() string {
	if r.Detail == "" {
		return r.Reason.String()
	}
	return r.Reason.String() + ": " + r.Detail
}

// Is reports whether target is a RefusalError for the same reason.
func (r *RefusalError) Is(target error) bool {
	var t *RefusalError
	return errors.As(target, &t) && t.Reason == r.Reason
}

// ReasonOf returns the reason of err, and false if err is no RefusalError.
func ReasonOf(err error) (Reason, bool) {
	if r, ok := errors.AsType[*RefusalError](err); ok {
		return r.Reason, true
	}
	return 0, false
}

func refuse(reason Reason, format string, args ...any) *RefusalError {
	return &RefusalError{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}
