package zone

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/shard"
)

// MinCommittee is the smallest size of a committee that can lose a member and go
// on. What is safe is more: shard.SafeMembers.
const MinCommittee = 4

// Errors of services. Each is wrapped with the field and what it may be.
var (
	ErrBadID        = errors.New("not the id of a service")
	ErrBadName      = errors.New("not a name")
	ErrBadSpec      = errors.New("no specification")
	ErrBadUnit      = errors.New("not a unit")
	ErrBadProof     = errors.New("not a kind of proof that counts in all zones")
	ErrBadShards    = errors.New("number of shards out of range")
	ErrBadCommittee = errors.New("size of committees out of range")
	ErrBadStake     = errors.New("stake out of range")
	ErrBadOwner     = errors.New("no owner")
	ErrBadVersion   = errors.New("not the next version")
	// ErrFixed means a change of what stays for ever.
	ErrFixed = errors.New("cannot change")
)

// Unit is what a service counts.
type Unit struct {
	// Name says what it is, as Policy.Region is written: "chunk".
	Name string
	// Size is how much of it one unit is, at least 1, in what Name says: bytes for
	// data, milliseconds for time.
	Size uint64
}

// ServiceType is a service as it is registered on the main chain.
type ServiceType struct {
	// ID is 1 to shard.MaxService and for ever.
	ID uint32
	// Name is for people, written as Policy.Region is. It may change.
	Name string
	// SpecHash is the hash of the document that says what the service is.
	SpecHash ledger.Hash
	Unit     Unit
	// Proof is how providers prove what they did. It counts in all zones.
	Proof ProofKind
	// Zones are the zones of the service. Each gets Shards shards when it is founded.
	Zones Registry
	// Shards is how many shards a new zone has, 1 to shard.MaxShards.
	Shards uint8
	// CommitteeSize is the number of seats in the committee of each shard,
	// MinCommittee to committee.MaxSeats.
	CommitteeSize uint32
	// MinStake is the stake of a validator that may serve, in drops.
	MinStake ledger.Amount
	// Fees are paid to the owner when usage is settled, of what the network's burn and the
	// fees of the payer's zone leave. Those of a channel are those at its opening.
	Fees Fees
	// Owner is the account that may register the next version, and gets the fees.
	Owner ledger.Address
	// Version is 1 for a new service, and one more with every change.
	Version uint32
}

// Validate returns an error that names the first field out of its range.
func (s *ServiceType) Validate() error {
	if s.ID == 0 || s.ID > shard.MaxService {
		return fmt.Errorf("id is %d, want 1 to %d: %w", s.ID, uint32(shard.MaxService), ErrBadID)
	}
	if err := checkName(s.Name); err != nil {
		return fmt.Errorf("name %q: %w: %w", s.Name, ErrBadName, err)
	}
	if err := checkName(s.Unit.Name); err != nil {
		return fmt.Errorf("unit name %q: %w: %w", s.Unit.Name, ErrBadUnit, err)
	}
	switch {
	case s.SpecHash.IsZero():
		return fmt.Errorf("spec_hash is zero, want the hash of the service's description: %w", ErrBadSpec)
	case s.Unit.Size == 0:
		return fmt.Errorf("unit size is 0, want at least 1: %w", ErrBadUnit)
	case s.Proof > CallTime:
		return fmt.Errorf("proof is %d, want 0 to %d: %w", s.Proof, CallTime, ErrBadProof)
	case s.Shards < 1 || s.Shards > shard.MaxShards:
		return fmt.Errorf("shards is %d, want 1 to %d: %w", s.Shards, shard.MaxShards, ErrBadShards)
	case s.CommitteeSize < MinCommittee || s.CommitteeSize > committee.MaxSeats:
		return fmt.Errorf("committee_size is %d, want %d to %d: %w", s.CommitteeSize, MinCommittee, committee.MaxSeats, ErrBadCommittee)
	case s.MinStake > ledger.MaxAmount:
		return fmt.Errorf("min_stake is %d, at most %d drops: %w", uint64(s.MinStake), uint64(ledger.MaxAmount), ErrBadStake)
	case s.Owner.IsZero():
		return fmt.Errorf("owner is zero, want an account: %w", ErrBadOwner)
	case s.Version == 0:
		return fmt.Errorf("version is 0, want 1 or more: %w", ErrBadVersion)
	}
	if err := s.Fees.Validate(); err != nil {
		return err
	}
	if err := s.Zones.Validate(); err != nil {
		return err
	}
	for i := range s.Zones {
		if p := &s.Zones[i].Policy; !p.Proofs.Has(s.Proof) {
			return fmt.Errorf("proof %s does not count in zone %d: %w", s.Proof, s.Zones[i].Number, ErrBadProof)
		}
	}
	return nil
}

// CheckSuccessor returns nil if next may replace s: valid, of the next version,
// and with the same id, unit and proof, on which open channels and proofs rely,
// and all zones of s, in which accounts are at home, with their limits, which are in the
// geneses of their shards. Everything else may change.
// The error is ErrBadVersion, ErrFixed or one of Validate.
func (s *ServiceType) CheckSuccessor(next *ServiceType) error {
	if err := next.Validate(); err != nil {
		return err
	}
	switch {
	case next.Version != s.Version+1:
		return fmt.Errorf("version is %d, want %d: %w", next.Version, s.Version+1, ErrBadVersion)
	case next.ID != s.ID:
		return fmt.Errorf("id is %d, want %d: %w", next.ID, s.ID, ErrFixed)
	case next.Unit != s.Unit:
		return fmt.Errorf("unit is %d %q, want %d %q: %w", next.Unit.Size, next.Unit.Name, s.Unit.Size, s.Unit.Name, ErrFixed)
	case next.Proof != s.Proof:
		return fmt.Errorf("proof is %s, want %s: %w", next.Proof, s.Proof, ErrFixed)
	}
	for i := range s.Zones {
		z := &s.Zones[i]
		policy, err := next.Zones.Find(z.Number)
		if err != nil {
			return fmt.Errorf("zones are %d, and zone %d stays: %w", next.Zones.Numbers(), z.Number, ErrFixed)
		}
		if policy.Limits != z.Policy.Limits {
			return fmt.Errorf("limits of zone %d are %+v, want those that it began with, %+v: %w", z.Number, policy.Limits, z.Policy.Limits, ErrFixed)
		}
	}
	return nil
}

// Foundings returns the changes that found the zones of s which m neither has nor
// has announced, from epoch at on: what shard.Announce takes, and for the epoch of
// a genesis shard.Establish.
func (s *ServiceType) Foundings(m *shard.Map, at uint64) (list []shard.Change) {
	coming := map[byte]bool{}
	for _, c := range m.Announced() {
		if c.Kind == shard.Found && c.Service == s.ID {
			coming[c.Zone] = true
		}
	}
	for _, number := range s.Zones.Numbers() {
		if !coming[number] && m.Zone(s.ID, number) == nil {
			list = append(list, shard.Change{Kind: shard.Found, At: at, Service: s.ID, Zone: number, Count: s.Shards})
		}
	}
	return list
}

// Rules returns by which rules committees of s are drawn: its seats and smallest
// stake, and the network's cap on the share of one validator, in basis points.
func (s *ServiceType) Rules(powerCapBps uint32) committee.Rules {
	return committee.Rules{Seats: s.CommitteeSize, PowerCapBps: powerCapBps, MinStake: uint64(s.MinStake)}
}

// Encode returns the canonical encoding: id 4, version 4, name with its length 2,
// specification 32, unit name with its length 2, unit size 8, proof 1, shards 1,
// committee size 4, smallest stake 8, fees (share 4, entry 8), owner 21, zones.
func (s *ServiceType) Encode() []byte {
	w := codec.NewWriter(256)
	w.Uint32(s.ID)
	w.Uint32(s.Version)
	w.String16(s.Name)
	w.Fixed(s.SpecHash[:])
	w.String16(s.Unit.Name)
	w.Uint64(s.Unit.Size)
	w.Uint8(uint8(s.Proof))
	w.Uint8(s.Shards)
	w.Uint32(s.CommitteeSize)
	w.Uint64(uint64(s.MinStake))
	s.Fees.append(w)
	w.Fixed(s.Owner[:])
	s.Zones.append(w)
	return w.Bytes()
}

// Hash returns the hash of the encoding.
func (s *ServiceType) Hash() ledger.Hash { return ledger.HashOf("trib/service/type/1", s.Encode()) }

// DecodeServiceType reads what Encode wrote, with the errors of Validate.
func DecodeServiceType(b []byte) (ServiceType, error) {
	r := codec.NewReader(b)
	s := ServiceType{ID: r.Uint32(), Version: r.Uint32(), Name: r.String16(MaxName)}
	r.Into(s.SpecHash[:])
	s.Unit = Unit{Name: r.String16(MaxName), Size: r.Uint64()}
	s.Proof, s.Shards = ProofKind(r.Uint8()), r.Uint8()
	s.CommitteeSize, s.MinStake = r.Uint32(), ledger.Amount(r.Uint64())
	s.Fees.read(r)
	r.Into(s.Owner[:])
	s.Zones = readRegistry(r)
	if err := r.Done(); err != nil {
		return ServiceType{}, fmt.Errorf("decode service: %w", err)
	}
	return s, s.Validate()
}
