package service

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// Need is a signature that a transaction needs: Entry is a position in the batch,
// channel.SignedTx or SignedReceipt.
type Need = channel.Need

// SignedReceipt is where the signature of a payee's receipt belongs.
const SignedReceipt = -5

// decode returns the usage in tx and its encoded batch.
func decode(tx *chain.Tx) (Usage, []byte, error) {
	if tx.Kind != chain.KindBookUsage {
		return Usage{}, nil, chain.Refuse(chain.CodeUnknownKind, "kind %d; a service chain takes %d (book-usage)", tx.Kind, chain.KindBookUsage)
	}
	return decodeUsage(tx.Payload)
}

// Claims lists the signatures that tx needs against the state in v, its own
// first. Entries that are stale, have their home elsewhere or another payee need
// none, and never will on this shard. complete is false if some channel is not
// known here, so that a look at a later state may find more. d is the Domain of
// the service.
//
// It refuses what is wrong whatever the state: a payload that cannot be decoded.
func Claims(v chain.View, d chain.Domain, tx *chain.Tx) (needs []Need, complete bool, err error) {
	u, batch, err := decode(tx)
	if err != nil {
		return nil, true, err
	}
	s := ReadShard(v)
	needs, complete = u.needs(v, &s, d, tx, batch)
	return needs, complete, nil
}

func (u *Usage) needs(v chain.View, s *Shard, d chain.Domain, tx *chain.Tx, batch []byte) (needs []Need, complete bool) {
	needs = make([]Need, 0, 2+len(u.Batch.Entries))
	needs = append(needs, Need{Claim: tx.Claim(), Entry: channel.SignedTx})
	if u.Receipt != nil {
		r, err := receiptedOf(u, batch, u.Receipt.ReceivedAt)
		if err != nil { // cannot be: the batch was decoded from these bytes
			panic(fmt.Errorf("root of received entries: %w", err))
		}
		needs = append(needs, Need{Entry: SignedReceipt, Claim: ledger.Claim{
			Key: u.Receipt.PayeeKey, Signature: u.Receipt.Signature, Message: r.Signed(d),
		}})
	}
	complete = true
	vouchers := voucherDomain(d)
	for i := range u.Batch.Entries {
		if !s.Owns(Place{u.Zone, u.Buckets[i]}) {
			continue
		}
		e := &u.Batch.Entries[i]
		c, ok := ChannelAt(v, u.Buckets[i], e.Index)
		if !ok {
			complete = false
			continue
		}
		if c.Payee != u.Batch.Payee {
			continue
		}
		if l := LaneOf(v, &c, e.Index, e.Lane); e.Cumulative <= l.Cumulative {
			continue
		}
		needs = append(needs, Need{Entry: i, Claim: ledger.Claim{
			Key: c.VoucherKey, Signature: e.Signature, Message: e.Signed(vouchers, c.ID),
		}})
	}
	return needs, complete
}

// maxPositions is how many positions a refusal names at most.
const maxPositions = 64

// Admit runs tx against v as the block at height would, with every signature taken
// as valid, and returns the receipt and what would be booked, in the order of the entries.
// The error is a RuleError that says why the transaction would fail; that is also one none
// of whose entries would book anything. It then has the code of the first entry and the
// positions of all entries with that code, maxPositions at most; if that is WRONG_SHARD it
// is a WrongShardError. One that would book less than LeastAdvance is refused with
// ADVANCE_TOO_SMALL and the positions of entries that would not be booked.
func Admit(v chain.View, p Params, d chain.Domain, height uint64, tx *chain.Tx) (Receipt, []Booking, error) {
	b := begin(v, &p, d, height)
	r := b.apply(&BlockTx{Tx: *tx, Checked: true}, nil)
	switch {
	case r.Code != chain.CodeOK:
		return r, nil, b.refusal
	case len(b.bookings) > 0 && r.Booked.Amount >= p.LeastAdvance(len(r.Entries)):
		return r, b.bookings, nil
	case len(b.bookings) > 0:
		return r, nil, tooLittle(&p, &r, len(b.bookings))
	}
	first := &r.Entries[0]
	var alike []int
	for i := range r.Entries {
		if r.Entries[i].Code == first.Code && len(alike) < maxPositions {
			alike = append(alike, i)
		}
	}
	if first.Code == chain.CodeWrongShard {
		home := Place{b.zone, first.Bucket}
		e := b.wrongShard(home)
		e.Positions = alike
		return r, nil, &WrongShardError{Rule: e, Home: home}
	}
	e := chain.Refuse(first.Code, "none of the %d entries would be booked; the first is lane %d of channel %d, which has booked %d drops",
		len(r.Entries), first.Lane, first.Index, first.Total.Amount)
	e.Positions = alike
	return r, nil, e
}

// tooLittle refuses a transaction of which so many entries would be booked, for less than
// all of them have to bring.
func tooLittle(p *Params, r *Receipt, booked int) *chain.RuleError {
	e := chain.Refuse(chain.CodeAdvanceTooSmall, "%d of the %d entries would be booked, and bring %d drops; a booking has to bring %d for each of its entries: leave out those that would not be booked",
		booked, len(r.Entries), r.Booked.Amount, uint64(p.MinAdvance))
	for i := range r.Entries {
		if !r.Entries[i].Applied() && len(e.Positions) < maxPositions {
			e.Positions = append(e.Positions, i)
		}
	}
	return e
}

func claimsOf(needs []Need) []ledger.Claim {
	claims := make([]ledger.Claim, len(needs))
	for i := range needs {
		claims[i] = needs[i].Claim
	}
	return claims
}
