package service

import (
	"errors"
	"fmt"
	"iter"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// Genesis is what a shard begins from: a value that everybody can make from the
// epoch record that starts it and, if it comes out of a split or a merge, from the
// certified last checkpoints of its parents.
type Genesis struct {
	Network ledger.NetworkID
	Shard   Shard
	Epoch   uint64 // of the record
	Sigma   uint64 // settlement clock of the main chain in it
	Params  Params
	// Parents are the shards that had the buckets before, ascending by bucket; none
	// for a shard that begins empty.
	Parents []Parent
}

// Parent is a shard that another one takes over from.
type Parent struct {
	Shard     Shard
	Height    uint64      // of its last block, at least 1
	StateRoot ledger.Hash // after that block
}

const (
	maxParents = 256
	parentSize = ShardSize + 8 + ledger.HashSize
)

// Validate returns an error that names the first field that is wrong.
func (g *Genesis) Validate() error {
	switch {
	case g.Network.IsZero():
		return errors.New("network is zero, want the hash of the main chain's genesis")
	case len(g.Parents) > maxParents:
		return fmt.Errorf("parents has %d entries, at most %d", len(g.Parents), maxParents)
	}
	if err := g.Shard.Validate(); err != nil {
		return fmt.Errorf("shard: %w", err)
	}
	if err := g.Params.Validate(); err != nil {
		return fmt.Errorf("params: %w", err)
	}
	return g.checkParents()
}

// checkParents: they have all buckets of the shard, and each bucket once.
func (g *Genesis) checkParents() error {
	next := int(g.Shard.First)
	for i := range g.Parents {
		p := &g.Parents[i]
		if err := p.Shard.Validate(); err != nil {
			return fmt.Errorf("parents[%d]: %w", i, err)
		}
		switch {
		case p.Height == 0:
			return fmt.Errorf("parents[%d]: height is 0, want that of its last block", i)
		case p.StateRoot.IsZero():
			return fmt.Errorf("parents[%d]: state_root is zero", i)
		case p.Shard.Chain == g.Shard.Chain:
			return fmt.Errorf("parents[%d]: chain %d is the shard's own; ids are never used again", i, p.Shard.Chain)
		case p.Shard.Service != g.Shard.Service || p.Shard.Zone != g.Shard.Zone:
			return fmt.Errorf("parents[%d]: service %d zone %d, want %d and %d", i, p.Shard.Service, p.Shard.Zone, g.Shard.Service, g.Shard.Zone)
		case i == 0 && int(p.Shard.First) > next, i > 0 && int(p.Shard.First) != next:
			return fmt.Errorf("parents[%d]: begins at bucket %d, want %d: the parents have each bucket once", i, p.Shard.First, next)
		case next > int(g.Shard.Last) || int(p.Shard.Last) < next:
			return fmt.Errorf("parents[%d]: buckets %d to %d are none of the shard's", i, p.Shard.First, p.Shard.Last)
		}
		next = int(p.Shard.Last) + 1
	}
	if len(g.Parents) > 0 && next <= int(g.Shard.Last) {
		return fmt.Errorf("no parent has bucket %d", next)
	}
	return nil
}

// Domain returns where the service's transactions are valid.
func (g *Genesis) Domain() chain.Domain { return Domain(g.Network, g.Shard.Service) }

// Hash returns the hash of the canonical encoding.
func (g *Genesis) Hash() ledger.Hash { return ledger.HashOf("trib/shard-genesis/1", g.Encode()) }

// Encode returns the canonical encoding:
//
//	network 32 | shard 11 | epoch u64 | sigma u64 | params u32+bytes |
//	count u16 | count x (shard 11 | height u64 | state_root 32)
func (g *Genesis) Encode() []byte {
	w := codec.NewWriter(128 + len(g.Parents)*parentSize)
	w.Fixed(g.Network[:])
	g.Shard.write(w)
	w.Uint64(g.Epoch)
	w.Uint64(g.Sigma)
	w.Bytes32(g.Params.Encode())
	w.Uint16(uint16(len(g.Parents)))
	for i := range g.Parents {
		p := &g.Parents[i]
		p.Shard.write(w)
		w.Uint64(p.Height)
		w.Fixed(p.StateRoot[:])
	}
	return w.Bytes()
}

// DecodeGenesis reads what Encode wrote and validates it.
func DecodeGenesis(b []byte) (Genesis, error) {
	var g Genesis
	r := codec.NewReader(b)
	r.Into(g.Network[:])
	g.Shard.read(r)
	g.Epoch, g.Sigma = r.Uint64(), r.Uint64()
	params := r.Bytes32(1 << 10)
	n := int(r.Uint16())
	if r.Err() == nil && r.Remaining() != n*parentSize {
		return Genesis{}, fmt.Errorf("decode genesis of a shard: %d parents in %d bytes", n, r.Remaining())
	}
	for range n {
		var p Parent
		p.Shard.read(r)
		p.Height = r.Uint64()
		r.Into(p.StateRoot[:])
		g.Parents = append(g.Parents, p)
	}
	if err := r.Done(); err != nil {
		return Genesis{}, fmt.Errorf("decode genesis of a shard: %w", err)
	}
	var err error
	if g.Params, err = DecodeParams(params); err != nil {
		return Genesis{}, fmt.Errorf("decode genesis of a shard: %w", err)
	}
	if err := g.Validate(); err != nil {
		return Genesis{}, fmt.Errorf("decode genesis of a shard: %w", err)
	}
	return g, nil
}

// empty is the View of no state.
type empty struct{}

func (empty) Get([]byte) []byte                      { return nil }
func (empty) Range([]byte) iter.Seq2[[]byte, []byte] { return func(func([]byte, []byte) bool) {} }

// inherit adds what waits in v to what waits in o.
func inherit(o *chain.Overlay, v chain.View) {
	for key, value := range v.Range([]byte{prefixWaiting}) {
		s := sumsAt(value)
		if b := o.Get(key); b != nil {
			s = s.Plus(sumsAt(b))
		}
		w := codec.NewWriter(SumsSize)
		writeSums(w, s)
		o.Set(key, w.Bytes())
		queue(o, HomeOf(ledger.Address(key[1:])), true)
	}
}

// State returns the state at height 0: of the parents' states, in the order of
// Parents, the rows of the shard's buckets as they are, under totals of its own.
// What waits to be sent goes to the shard with the bucket that it would be sent
// from.
// The caller has verified that each view has its parent's state root; rows of
// links are not this package's and are moved by theirs.
//
// What was booked before counts as sent and what was earned as received, so that
// InFlight over all shards is the same before and after.
func (g *Genesis) State(parents ...chain.View) (chain.Changes, error) {
	if err := g.Validate(); err != nil {
		return nil, fmt.Errorf("genesis of a shard: %w", err)
	}
	if len(parents) != len(g.Parents) {
		return nil, fmt.Errorf("genesis of a shard: %d states, want one for each of %d parents", len(parents), len(g.Parents))
	}
	o := chain.NewOverlay(empty{})
	e := Epoch{Number: g.Epoch, Sigma: g.Sigma, Settling: len(parents) > 0}
	for i, v := range parents {
		if was := ReadShard(v); was != g.Parents[i].Shard {
			return nil, fmt.Errorf("genesis of a shard: parents[%d]: the state is of %+v, want %+v", i, was, g.Parents[i].Shard)
		}
		first, last := max(g.Shard.First, g.Parents[i].Shard.First), min(g.Shard.Last, g.Parents[i].Shard.Last)
		for bucket := int(first); bucket <= int(last); bucket++ {
			for key, value := range v.Range(BucketKey(uint8(bucket))) {
				o.Set(key, value)
			}
		}
		if first == g.Parents[i].Shard.First { // whoever has the bucket that a parent sent from
			inherit(o, v)
		}
		// A parent may have ended later than it was to, in a later epoch.
		was := ReadEpoch(v)
		e.Number, e.Sigma = max(e.Number, was.Number), max(e.Sigma, was.Sigma)
	}
	found, err := recount(o, &g.Shard, &e)
	if err != nil {
		return nil, fmt.Errorf("genesis of a shard: %w", err)
	}
	t := Totals{
		Booked: found.booked, Sent: found.booked.Minus(found.stuck).Minus(found.waiting),
		Received: found.earned, Earned: found.earned,
		Waiting: found.waiting, Stuck: found.stuck, Channels: found.channels,
	}
	o.Set(TotalsKey(), t.Encode())
	o.Set(EpochKey(), e.Encode())
	o.Set(ShardKey(), g.Shard.Encode())
	o.Set(ParamsKey(), g.Params.Encode())
	if _, err := Audit(o); err != nil {
		return nil, fmt.Errorf("genesis of a shard does not add up: %w", err)
	}
	return o.Changes(), nil
}
