package staking

import (
	"encoding/binary"
	"fmt"

	"github.com/tributary-network/tributary/ledger/codec"
)

// Liability is a part of somebody's stake that came from another validator by a
// redelegation and still answers for that one's faults.
type Liability struct {
	Source uint64 // row of the validator it came from
	Begun  uint64 // last epoch whose committee was elected with it as the source's
	Shares uint64 // how much of the stake it is
	Seen   uint32 // slashes of the source that it has answered for or came after
}

const liabilitySize = 8 + 8 + 8 + 4

func appendLiabilities(w *codec.Writer, list []Liability) {
	w.Uint8(uint8(len(list)))
	for i := range list {
		w.Uint64(list[i].Source)
		w.Uint64(list[i].Begun)
		w.Uint64(list[i].Shares)
		w.Uint32(list[i].Seen)
	}
}

func readLiabilities(r *codec.Reader) []Liability {
	n := int(r.Uint8())
	if n == 0 || n*liabilitySize > r.Remaining() {
		if n != 0 {
			r.Fixed(r.Remaining() + 1) // cut off
		}
		return nil
	}
	list := make([]Liability, n)
	for i := range list {
		l := &list[i]
		l.Source, l.Begun, l.Shares, l.Seen = r.Uint64(), r.Uint64(), r.Uint64(), r.Uint32()
	}
	return list
}

// Delegation is one delegator's stake with one validator.
type Delegation struct {
	Shares uint64
	Index  Index // the validator's when the delegation was last settled
	// Liabilities are the parts that came by redelegation, in that order, at
	// most Params.MaxEntries. Some may be over; they are dropped at the next touch.
	Liabilities []Liability
	// Fresh are the parts that do not earn since Index but since they began to, ascending
	// by epoch, at most two. Those that began are merged into the others at the next touch.
	Fresh []Fresh
}

// MaxDelegationSize is the length of the longest encoded Delegation, in bytes.
const MaxDelegationSize = 8 + indexSize + 1 + MaxEntries*liabilitySize + 1 + maxFresh*freshSize

// Encode returns the stored form:
//
//	shares u64 | index whole u64, fraction u64 | count u8 | count x (source u64 |
//	begun u64 | shares u64 | seen u32) | count u8 | count x (from u64 | shares u64)
func (d *Delegation) Encode() []byte {
	w := codec.NewWriter(8 + indexSize + 1 + len(d.Liabilities)*liabilitySize + 1 + len(d.Fresh)*freshSize)
	w.Uint64(d.Shares)
	d.Index.append(w)
	appendLiabilities(w, d.Liabilities)
	w.Uint8(uint8(len(d.Fresh)))
	for _, f := range d.Fresh {
		w.Uint64(f.From)
		w.Uint64(f.Shares)
	}
	return w.Bytes()
}

// DecodeDelegation reads what Encode wrote.
func DecodeDelegation(b []byte) (Delegation, error) {
	var d Delegation
	r := codec.NewReader(b)
	d.Shares = r.Uint64()
	d.Index = readIndex(r)
	d.Liabilities = readLiabilities(r)
	n := int(r.Uint8())
	if n*freshSize > r.Remaining() {
		n = 0 // cut off
	}
	for range n {
		d.Fresh = append(d.Fresh, Fresh{From: r.Uint64(), Shares: r.Uint64()})
	}
	if err := r.Done(); err != nil {
		return Delegation{}, fmt.Errorf("decode delegation: %w", err)
	}
	return d, nil
}

// Unbonding is stake of one delegator that left one validator in one epoch and
// waits. Its shares are of the pool of that validator and epoch.
type Unbonding struct {
	Shares      uint64
	Liabilities []Liability // of the pool's shares, as those of a Delegation
}

// Encode returns the stored form: shares u64, then the liabilities as those of a
// Delegation.
func (u *Unbonding) Encode() []byte {
	w := codec.NewWriter(9 + len(u.Liabilities)*liabilitySize)
	w.Uint64(u.Shares)
	appendLiabilities(w, u.Liabilities)
	return w.Bytes()
}

// DecodeUnbonding reads what Encode wrote.
func DecodeUnbonding(b []byte) (Unbonding, error) {
	r := codec.NewReader(b)
	u := Unbonding{Shares: r.Uint64(), Liabilities: readLiabilities(r)}
	if err := r.Done(); err != nil {
		return Unbonding{}, fmt.Errorf("decode unbonding: %w", err)
	}
	return u, nil
}

// encodePool returns the stored form of a pool: tokens u64 | shares u64.
func encodePool(p *Pool) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(p.Tokens))
	return binary.BigEndian.AppendUint64(b, p.Shares)
}

// slash is what stake that left a validator answers for later: it loses
// Part/Whole of itself if it left in epoch Epoch or after.
type slash struct {
	Epoch uint64
	Part  uint64
	Whole uint64 // at least 1, at least Part
}

func (s *slash) encode() []byte {
	w := codec.NewWriter(24)
	w.Uint64(s.Epoch)
	w.Uint64(s.Part)
	w.Uint64(s.Whole)
	return w.Bytes()
}

// total returns the sum of the liabilities' shares.
func total(list []Liability) (shares uint64) {
	for i := range list {
		shares += list[i].Shares
	}
	return shares
}
