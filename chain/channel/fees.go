package channel

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/zone"
)

// Of what a channel pays out the network burns its part, the zone of the payer, if the
// service has it, and the service that the channel names take their fees, and the payee gets
// the rest. The fees of a channel are those at its opening, whatever is registered later:
// nobody can take what was earned under other terms, and a payee knows what it will get
// before it serves. A top-up or an extension does not change them; a roll-over opens another
// channel. Who owns the service when it is paid gets its fees: they go with the service when
// it is given to another account, and do not follow a key that was replaced.
//
// A channel's row has a number for its fees, 0 for none. Channels with the same fees share
// one, so a channel takes no more room with fees than without, and a settlement reads fees
// once for all channels that have the same. Numbers are given once and for ever: each that
// is new takes a version of a service, in which each zone may have its own, and an open from
// that zone, both of which are paid for.
//
//	'$' | number u32                   fees: FeesSize bytes
//	'$' | fees, FeesSize bytes         their number u32
//	'$'                                how many there are u32
const prefixFees = '$'

// FeesSize is the length of encoded Fees in bytes.
const FeesSize = 2 * (4 + 8)

// Fees are what is taken of what a channel pays out, beside the network's burn.
type Fees struct {
	Zone    zone.Fees // of the payer's home zone; burned
	Service zone.Fees // for the owner of the service
}

// Encode returns the row of the fees: share u32 | entry u64, of the zone and of the service.
func (f *Fees) Encode() []byte {
	w := codec.NewWriter(FeesSize)
	for _, x := range []zone.Fees{f.Zone, f.Service} {
		w.Uint32(x.ShareBps)
		w.Uint64(uint64(x.Entry))
	}
	return w.Bytes()
}

// DecodeFees reads what Encode wrote.
func DecodeFees(b []byte) (Fees, error) {
	var f Fees
	r := codec.NewReader(b)
	for _, x := range []*zone.Fees{&f.Zone, &f.Service} {
		x.ShareBps, x.Entry = r.Uint32(), ledger.Amount(r.Uint64())
	}
	if err := r.Done(); err != nil {
		return Fees{}, fmt.Errorf("decode fees: %w", err)
	}
	for _, x := range []*zone.Fees{&f.Zone, &f.Service} {
		if err := x.Validate(); err != nil {
			return Fees{}, fmt.Errorf("decode fees: %w", err)
		}
	}
	return f, nil
}

// FeesAt returns the fees with a number that a channel in v has. It panics if they cannot be
// decoded: a replica that cannot read its own state must stop.
func FeesAt(v chain.View, number uint32) Fees {
	if number == 0 {
		return Fees{}
	}
	f, err := DecodeFees(v.Get(FeesKey(number)))
	if err != nil {
		panic(fmt.Errorf("fees %d: %w", number, err))
	}
	return f
}

// FeesKey returns the state key of the fees with a number.
func FeesKey(number uint32) []byte { return binary.BigEndian.AppendUint32([]byte{prefixFees}, number) }

// number32 reads a number of fees; none is 0.
func number32(b []byte) uint32 {
	if b == nil {
		return 0
	}
	if len(b) != 4 {
		panic(rowError("number of fees", len(b), 4))
	}
	return binary.BigEndian.Uint32(b)
}

// numberOf returns the number of fees, which is a new one if no channel had them before.
func numberOf(o *chain.Overlay, f Fees) uint32 {
	if f == (Fees{}) {
		return 0
	}
	encoded := f.Encode()
	name := append([]byte{prefixFees}, encoded...)
	if n := number32(o.Get(name)); n != 0 {
		return n
	}
	count := []byte{prefixFees}
	n := number32(o.Get(count)) + 1
	b := binary.BigEndian.AppendUint32(nil, n)
	o.Set(count, b)
	o.Set(name, b)
	o.Set(FeesKey(n), encoded)
	return n
}

// Payout is what becomes of money that a channel pays out.
type Payout struct {
	Paid     ledger.Amount // to the payee
	Burned   ledger.Amount // by the network and as fees of the zone
	OwnerFee ledger.Amount // to the owner of the service
}

// Payout returns what becomes of an entry that raises what a channel has paid out in all
// from before to after, which is not below it: together as much as the difference.
//
// The network's burn comes first, then the share of the zone, of what the burn leaves, then
// that of the service, of what the two leave. Each is taken of totals and rounded down, so
// in however many steps a channel pays, they come to the same. At last the zone and then the
// service take their fees of the entry, of what is left at most, and the payee has the rest.
func (r *Rules) Payout(f *Fees, before, after ledger.Amount) Payout {
	was, is := r.Burn(before), r.Burn(after)
	p := Payout{Burned: is - was}
	p.Paid = after - before - p.Burned
	if *f == (Fees{}) {
		return p
	}
	leftWas, leftIs := before-was, after-is
	was, is = f.Zone.Share(leftWas), f.Zone.Share(leftIs)
	burned := is - was
	p.OwnerFee = f.Service.Share(leftIs-is) - f.Service.Share(leftWas-was)
	p.Paid -= burned + p.OwnerFee
	entry := min(f.Zone.OfEntry(after-before), p.Paid)
	burned, p.Paid = burned+entry, p.Paid-entry
	entry = min(f.Service.OfEntry(after-before), p.Paid)
	p.OwnerFee, p.Paid = p.OwnerFee+entry, p.Paid-entry
	p.Burned += burned
	return p
}

// Burned returns what was burned of the first total drops that a channel with fees f paid
// out, but for fees of entries: how many paid is not kept.
func (r *Rules) Burned(f *Fees, total ledger.Amount) ledger.Amount {
	burned := r.Burn(total)
	return burned + f.Zone.Share(total-burned)
}

// Earning is what a transaction brings the owner of a service.
type Earning struct {
	Service uint32
	Amount  ledger.Amount // not 0
}

// earnings adds up what owners of services get; nil is nothing.
type earnings map[uint32]ledger.Amount

func (e earnings) add(service uint32, fee ledger.Amount) earnings {
	if fee == 0 {
		return e
	}
	if e == nil {
		e = make(earnings)
	}
	e[service] += fee
	return e
}

// pay credits the owners, one after the other, ascending by service.
func (e earnings) pay(b Bank) []Earning {
	if len(e) == 0 {
		return nil
	}
	list := make([]Earning, 0, len(e))
	for _, service := range slices.Sorted(maps.Keys(e)) {
		b.Earn(service, e[service])
		list = append(list, Earning{Service: service, Amount: e[service]})
	}
	return list
}
