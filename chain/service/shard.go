package service

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// FirstServiceDomain is the lowest chain id of a Domain of a service. Ids of
// chains that run are below it.
const FirstServiceDomain ledger.ChainID = 1 << 31

// MaxService is the largest number of a service.
const MaxService = 1<<31 - 1

// Domain is where transactions and payees' receipts of a service are valid: all
// its shards.
func Domain(network ledger.NetworkID, service uint32) chain.Domain {
	return chain.Domain{Network: network, Chain: FirstServiceDomain | ledger.ChainID(service)}
}

// voucherDomain is where vouchers are valid.
func voucherDomain(d chain.Domain) chain.Domain {
	return chain.Domain{Network: d.Network, Chain: ledger.MainChain}
}

// Place is a bucket of a zone: what messages are addressed to.
type Place struct{ Zone, Bucket uint8 }

// HomeOf returns the place that an address belongs to.
func HomeOf(a ledger.Address) Place { return Place{Zone: a.Zone(), Bucket: a.Bucket()} }

// String returns "zone 3 bucket 17".
func (p Place) String() string { return fmt.Sprintf("zone %d bucket %d", p.Zone, p.Bucket) }

// Shard says which accounts have their home on a chain.
type Shard struct {
	Chain       ledger.ChainID // of the chain itself, below FirstServiceDomain
	Service     uint32
	Zone        uint8
	First, Last uint8 // buckets, both included
}

// ShardSize is the length of an encoded Shard in bytes.
const ShardSize = 4 + 4 + 1 + 1 + 1

// Owns reports whether the shard is the home of p.
func (s *Shard) Owns(p Place) bool {
	return p.Zone == s.Zone && p.Bucket >= s.First && p.Bucket <= s.Last
}

// origin is the source of all messages of the shard.
func (s *Shard) origin() Place { return Place{Zone: s.Zone, Bucket: s.First} }

// Validate returns an error that names the first field that is wrong.
func (s *Shard) Validate() error {
	switch {
	case s.Chain <= ledger.MainChain || s.Chain >= FirstServiceDomain:
		return fmt.Errorf("chain is %d, want %d to %d", s.Chain, ledger.MainChain+1, FirstServiceDomain-1)
	case s.Service > MaxService:
		return fmt.Errorf("service is %d, at most %d", s.Service, MaxService)
	case s.First > s.Last:
		return fmt.Errorf("buckets %d to %d, want them ascending", s.First, s.Last)
	}
	return nil
}

// Encode returns the canonical encoding: chain u32 | service u32 | zone u8 |
// first u8 | last u8.
func (s *Shard) Encode() []byte {
	w := codec.NewWriter(ShardSize)
	s.write(w)
	return w.Bytes()
}

func (s *Shard) write(w *codec.Writer) {
	w.Uint32(uint32(s.Chain))
	w.Uint32(s.Service)
	w.Uint8(s.Zone)
	w.Uint8(s.First)
	w.Uint8(s.Last)
}

func (s *Shard) read(r *codec.Reader) {
	s.Chain, s.Service = ledger.ChainID(r.Uint32()), r.Uint32()
	s.Zone, s.First, s.Last = r.Uint8(), r.Uint8(), r.Uint8()
}

// DecodeShard reads what Encode wrote and validates it.
func DecodeShard(b []byte) (Shard, error) {
	var s Shard
	r := codec.NewReader(b)
	s.read(r)
	if err := r.Done(); err != nil {
		return Shard{}, fmt.Errorf("decode shard: %w", err)
	}
	if err := s.Validate(); err != nil {
		return Shard{}, fmt.Errorf("decode shard: %w", err)
	}
	return s, nil
}
