package channel

import (
	"math/bits"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// Rules are the consensus parameters of the protocol.
type Rules struct {
	MinDeposit   ledger.Amount
	Rent         ledger.Amount // held for each record, refunded when it is deleted
	BurnBps      uint32        // basis points of what is paid out, 0 to 10,000
	MinChallenge uint32        // sigma
	MaxChallenge uint32        // sigma
	MaxLifetime  uint64        // sigma; an expiry is at most this far away
	Services     []uint32      // that a channel may name without a registry, ascending
	// Registered reports whether the chain's registry has a service; nil if there is no
	// registry.
	Registered func(service uint32) bool
	// Zone returns why a registered service has nobody in a zone: nil if it has the zone, or
	// is not registered. It is nil if there is no registry.
	Zone func(service uint32, number byte) error
	// Fees returns what a channel of payer that names a service has as its fees if it is
	// opened now; nil if there is no registry.
	Fees func(service uint32, payer ledger.Address) Fees
}

// Burn returns what is burned of the first total drops that a channel pays out,
// rounded down. The burn of one payment is the difference of two such values, so
// that splitting a payment changes nothing.
func (r *Rules) Burn(total ledger.Amount) ledger.Amount {
	hi, lo := bits.Mul64(uint64(total), uint64(r.BurnBps))
	q, _ := bits.Div64(hi, lo, ledger.BasisPoints) // hi < 10,000 for every amount
	return ledger.Amount(q)
}

// MinLifetime is how far away an expiry must be at the open, in challenge
// windows: one for a close and two of margin for the payee.
const MinLifetime = 3

// UrgentWindows is how many challenge windows before its expiry a channel's
// redemptions become urgent.
const UrgentWindows = 2

// CheckParams returns why a channel with params cannot be opened by payer at
// clock, or nil. A payer may be of a zone that the service does not have: no shard knows of
// the channel then. It does not check the voucher key, see CheckVoucherKeys.
func (r *Rules) CheckParams(payer ledger.Address, p *OpenParams, clock uint64) error {
	switch {
	case p.Payee.IsZero():
		return chain.Refuse(chain.CodeInvalidValue, "payee is the zero address")
	case p.Payee == payer:
		return chain.Refuse(chain.CodeSelfPayment, "payer and payee are both %s", payer)
	case p.Deposit > ledger.MaxAmount:
		return chain.Refuse(chain.CodeAmountOverflow, "deposit %d exceeds %d", uint64(p.Deposit), uint64(ledger.MaxAmount))
	case p.Deposit < r.MinDeposit:
		return chain.Refuse(chain.CodeDepositTooSmall, "deposit of %d drops, at least %d", uint64(p.Deposit), uint64(r.MinDeposit))
	case p.Challenge < r.MinChallenge || p.Challenge > r.MaxChallenge:
		return chain.Refuse(chain.CodeChallengeRange, "challenge window of %d, want %d to %d", p.Challenge, r.MinChallenge, r.MaxChallenge)
	}
	if lo, hi := clock+MinLifetime*uint64(p.Challenge), clock+r.MaxLifetime; p.ExpiresAt < lo || p.ExpiresAt > hi {
		return chain.Refuse(chain.CodeExpiryOutOfRange, "expires at %d, want %d to %d", p.ExpiresAt, lo, hi)
	}
	if _, ok := slices.BinarySearch(r.Services, p.Service); !ok && (r.Registered == nil || !r.Registered(p.Service)) {
		return chain.Refuse(chain.CodeUnknownService, "service %d is not registered", p.Service)
	}
	if r.Zone == nil {
		return nil
	}
	if err := r.Zone(p.Service, p.Payee.Zone()); err != nil {
		return chain.Refuse(chain.CodePayeeZone, "payee %s of service %d: %v; take the payee's address in one of them", p.Payee, p.Service, err)
	}
	return nil
}

// CheckVoucherKeys returns CodeBadKey with the positions of the voucher keys
// that no signature can be valid for, or nil. It depends on nothing but params,
// and costs some microseconds each, so it is done once, when a transaction is
// first seen.
func CheckVoucherKeys(params []OpenParams) error {
	var bad []int
	for i := range params {
		if params[i].VoucherKey.Check() != nil {
			bad = append(bad, i)
		}
	}
	if bad == nil {
		return nil
	}
	e := chain.Refuse(chain.CodeBadKey, "voucher key of channel %d of the open: %s", bad[0], params[bad[0]].VoucherKey)
	e.Positions = bad[:min(len(bad), maxPositions)]
	return e
}
