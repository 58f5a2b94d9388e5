package channel

import (
	"bytes"
	"encoding/binary"

	"github.com/tributary-network/tributary/ledger"
)

// Offsets of the fields in a channel's row, in the order Encode writes them.
const (
	offID         = 0
	offPayer      = offID + ledger.HashSize
	offPayee      = offPayer + ledger.AddressSize
	offPayerIndex = offPayee + ledger.AddressSize
	offPayeeIndex = offPayerIndex + 8
	offVoucherKey = offPayeeIndex + 8
	offService    = offVoucherKey + ledger.PublicKeySize
	offTerms      = offService + 4
	offDeposit    = offTerms + ledger.HashSize
	offRedeemed   = offDeposit + 8
	offRent       = offRedeemed + 8
	offOpenHeight = offRent + 8
	offExpiresAt  = offOpenHeight + 8
	offChallenge  = offExpiresAt + 8
	offCloseAt    = offChallenge + 4
	offLane0      = offCloseAt + 8
	offLanesUsed  = offLane0 + LaneRowSize
	offFees       = offLanesUsed + 8
	rowEnd        = offFees + 4
)

// row is an encoded Channel. Settlement reads and patches rows in place, which
// costs a tenth of decoding and encoding them.
type row []byte

func (r row) uint64(off int) uint64        { return binary.BigEndian.Uint64(r[off:]) }
func (r row) putUint64(off int, v uint64)  { binary.BigEndian.PutUint64(r[off:], v) }
func (r row) amount(off int) ledger.Amount { return ledger.Amount(r.uint64(off)) }

func (r row) id() ledger.Hash               { return ledger.Hash(r[offID:offPayer]) }
func (r row) payer() ledger.Address         { return ledger.Address(r[offPayer:offPayee]) }
func (r row) payee() ledger.Address         { return ledger.Address(r[offPayee:offPayerIndex]) }
func (r row) paysTo(a *ledger.Address) bool { return bytes.Equal(r[offPayee:offPayerIndex], a[:]) }
func (r row) voucherKey() ledger.PublicKey  { return ledger.PublicKey(r[offVoucherKey:offService]) }
func (r row) service() uint32               { return binary.BigEndian.Uint32(r[offService:]) }
func (r row) feesNumber() uint32            { return binary.BigEndian.Uint32(r[offFees:]) }
func (r row) closing() bool                 { return r.uint64(offCloseAt) != 0 }
func (r row) challenge() uint64             { return uint64(binary.BigEndian.Uint32(r[offChallenge:])) }

// furtherLanes returns the set of lanes from 1 to 63 that were used.
func (r row) furtherLanes() uint64 { return r.uint64(offLanesUsed) >> 1 << 1 }

func (r row) deadline() uint64 {
	expires, closeAt := r.uint64(offExpiresAt), r.uint64(offCloseAt)
	if closeAt != 0 {
		return min(closeAt, expires)
	}
	return expires
}

// urgent reports whether redemptions of the channel are urgent at clock.
func (r row) urgent(clock uint64) bool {
	return r.closing() || clock+UrgentWindows*r.challenge() >= r.uint64(offExpiresAt)
}

// patches reports whether r is a copy of stored, made to be written to.
func (r row) patches(stored row) bool { return &r[0] != &stored[0] }

// event returns the event of kind with the channel's present totals.
func (r row) event(kind EventKind, index uint64) Event {
	return Event{
		Kind: kind, Index: index, ID: r.id(), Payer: r.payer(), Payee: r.payee(), Service: r.service(),
		Deposit: r.amount(offDeposit), Redeemed: r.amount(offRedeemed), Deadline: r.deadline(), FeesNumber: r.feesNumber(),
	}
}

// closed returns the event of kind for the channel, which ends with redeemed
// and refunded.
func (r row) closed(kind EventKind, index uint64, redeemed, refunded ledger.Amount) Event {
	e := r.event(kind, index)
	e.Redeemed, e.Refunded, e.Deadline = redeemed, refunded, 0
	return e
}

// Offsets in a lane: a row of the lane table, and lane 0 within a channel's row.
const (
	offLaneRedeemed = 0
	offLaneUnits    = 8
	offLaneRoot     = 16
)

// LaneRowSize is the length of an encoded Lane in bytes.
const LaneRowSize = 16 + ledger.HashSize

// Encode returns the row of the lane: redeemed u64 | units u64 | usage_root 32.
func (l *Lane) Encode() []byte {
	b := make([]byte, LaneRowSize)
	l.put(b)
	return b
}

func (l *Lane) put(b []byte) {
	binary.BigEndian.PutUint64(b[offLaneRedeemed:], uint64(l.Redeemed))
	binary.BigEndian.PutUint64(b[offLaneUnits:], l.Units)
	copy(b[offLaneRoot:LaneRowSize], l.UsageRoot[:])
}

// DecodeLane reads a row written by Lane.Encode.
func DecodeLane(b []byte) (Lane, error) {
	if len(b) != LaneRowSize {
		return Lane{}, rowError("lane", len(b), LaneRowSize)
	}
	return laneAt(b), nil
}

func laneAt(b []byte) Lane {
	return Lane{
		Redeemed:  ledger.Amount(binary.BigEndian.Uint64(b[offLaneRedeemed:])),
		Units:     binary.BigEndian.Uint64(b[offLaneUnits:]),
		UsageRoot: ledger.Hash(b[offLaneRoot:LaneRowSize]),
	}
}
