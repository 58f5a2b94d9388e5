package genesis

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/zone"
)

// service is the JSON form of a zone.ServiceType.
type service struct {
	ID            uint32         `json:"id"`
	Name          string         `json:"name"`
	Version       uint32         `json:"version"`
	SpecHash      string         `json:"spec_hash"`
	Unit          unit           `json:"unit"`
	Proof         string         `json:"proof"`
	Shards        uint8          `json:"shards"`
	CommitteeSize uint32         `json:"committee_size"`
	MinStake      amount         `json:"min_stake"`
	ShareBps      uint32         `json:"share_bps"`
	EntryFee      amount         `json:"entry_fee"`
	Owner         ledger.Address `json:"owner"`
	Zones         []zoneWire     `json:"zones"`
}

type unit struct {
	Name string `json:"name"`
	Size uint64 `json:"size"`
}

type zoneWire struct {
	Number        uint8    `json:"number"`
	Region        string   `json:"region"`
	ShareBps      uint32   `json:"share_bps"`
	EntryFee      amount   `json:"entry_fee"`
	BlockBytes    uint32   `json:"block_bytes"`
	HeavyBytes    uint32   `json:"heavy_bytes"`
	MessageBytes  uint32   `json:"message_bytes"`
	LinkMessages  uint32   `json:"link_messages"`
	LinkBytes     uint32   `json:"link_bytes"`
	ExpiryAnchors uint32   `json:"expiry_anchors"`
	Replication   uint8    `json:"replication"`
	Proofs        []string `json:"proofs"`
}

// proofKinds are the kinds of proofs by their names.
func proofKinds() []zone.ProofKind {
	return []zone.ProofKind{zone.NoProof, zone.Bandwidth, zone.Storage, zone.CallTime}
}

func proofKind(field, name string) (zone.ProofKind, error) {
	for _, k := range proofKinds() {
		if k.String() == name {
			return k, nil
		}
	}
	return 0, &FieldError{field, fmt.Sprintf("%q is not one of %v", name, proofKinds())}
}

// EncodeService returns a service as it stands in a document, as indented JSON.
func EncodeService(s *zone.ServiceType) []byte {
	data, err := json.MarshalIndent(wireService(s), "", "  ")
	if err != nil { // cannot be: the wire form is strings and integers
		panic(fmt.Sprintf("encode service: %v", err))
	}
	return append(data, '\n')
}

// DecodeService reads what EncodeService wrote, as strictly as Decode, but does not
// validate it. Errors name the field.
func DecodeService(data []byte) (zone.ServiceType, error) {
	if err := checkKeys(data); err != nil {
		return zone.ServiceType{}, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var w service
	if err := dec.Decode(&w); err != nil {
		return zone.ServiceType{}, describe(data, err)
	}
	return w.service("")
}

func wireService(s *zone.ServiceType) service {
	w := service{
		ID: s.ID, Name: s.Name, Version: s.Version, SpecHash: s.SpecHash.String(), Unit: unit{s.Unit.Name, s.Unit.Size},
		Proof: s.Proof.String(), Shards: s.Shards, CommitteeSize: s.CommitteeSize, MinStake: amount(s.MinStake),
		ShareBps: s.Fees.ShareBps, EntryFee: amount(s.Fees.Entry), Owner: s.Owner, Zones: make([]zoneWire, len(s.Zones)),
	}
	for i := range s.Zones {
		p := &s.Zones[i].Policy
		w.Zones[i] = zoneWire{
			Number: s.Zones[i].Number, Region: p.Region, ShareBps: p.Fees.ShareBps, EntryFee: amount(p.Fees.Entry),
			BlockBytes: p.Limits.BlockBytes, HeavyBytes: p.Limits.HeavyBytes, MessageBytes: p.Limits.MessageBytes, LinkMessages: p.Limits.LinkMessages,
			LinkBytes: p.Limits.LinkBytes, ExpiryAnchors: p.Limits.ExpiryAnchors, Replication: p.Replication, Proofs: []string{},
		}
		for _, k := range proofKinds() {
			if p.Proofs.Has(k) {
				w.Zones[i].Proofs = append(w.Zones[i].Proofs, k.String())
			}
		}
	}
	return w
}

// service returns what w stands for; at begins the names of its fields.
func (w *service) service(at string) (s zone.ServiceType, err error) {
	s = zone.ServiceType{
		ID: w.ID, Name: w.Name, Version: w.Version, Unit: zone.Unit{Name: w.Unit.Name, Size: w.Unit.Size}, Shards: w.Shards,
		CommitteeSize: w.CommitteeSize, MinStake: ledger.Amount(w.MinStake),
		Fees: zone.Fees{ShareBps: w.ShareBps, Entry: ledger.Amount(w.EntryFee)}, Owner: w.Owner,
	}
	hash, err := hex.DecodeString(w.SpecHash)
	if err != nil || len(hash) != ledger.HashSize {
		return s, &FieldError{at + "spec_hash", fmt.Sprintf("%q is not %d hexadecimal digits", w.SpecHash, 2*ledger.HashSize)}
	}
	copy(s.SpecHash[:], hash)
	if s.Proof, err = proofKind(at+"proof", w.Proof); err != nil {
		return s, err
	}
	for i := range w.Zones {
		z := &w.Zones[i]
		p := zone.Policy{
			Region: z.Region, Fees: zone.Fees{ShareBps: z.ShareBps, Entry: ledger.Amount(z.EntryFee)},
			Limits: zone.Limits{
				BlockBytes: z.BlockBytes, HeavyBytes: z.HeavyBytes, MessageBytes: z.MessageBytes, LinkMessages: z.LinkMessages,
				LinkBytes: z.LinkBytes, ExpiryAnchors: z.ExpiryAnchors,
			},
			Replication: z.Replication,
		}
		for j, name := range z.Proofs {
			field := fmt.Sprintf("%szones[%d].proofs[%d]", at, i, j)
			k, err := proofKind(field, name)
			if err != nil {
				return s, err
			}
			if slices.Contains(z.Proofs[:j], name) {
				return s, &FieldError{field, fmt.Sprintf("%q stands there already", name)}
			}
			p.Proofs |= zone.Proofs(k)
		}
		s.Zones = append(s.Zones, zone.Zone{Number: z.Number, Policy: p})
	}
	return s, nil
}

// services checks the services; what they are together is for the rules to say.
func (v *checker) services(services []zone.ServiceType) {
	for i := range services {
		if err := services[i].Validate(); err != nil {
			v.fail(fmt.Sprintf("services[%d]", i), "%v", err)
		}
	}
}
