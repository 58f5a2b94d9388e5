package testnet

import (
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/zone"
)

// The services of test networks. Their owner is the operator of the first validator.
const (
	Content uint32 = 1 // content delivery
	Storage uint32 = 2
	Proxy   uint32 = 3

	// serviceSeats let all validators of a test network serve every shard.
	serviceSeats = 32
)

// Services returns the services of a test network, in two zones each; content has
// two shards in each zone, the others one.
func Services() []zone.ServiceType {
	return []zone.ServiceType{
		localService(Content, "content", zone.Unit{Name: "chunk", Size: 256 << 10}, zone.Bandwidth, 2, 1),
		localService(Storage, "storage", zone.Unit{Name: "sector", Size: 4 << 20}, zone.Storage, 1, 2),
		localService(Proxy, "proxy", zone.Unit{Name: "chunk", Size: 64 << 10}, zone.Bandwidth, 1, 1),
	}
}

func localService(id uint32, name string, unit zone.Unit, proof zone.ProofKind, shards, copies uint8) zone.ServiceType {
	s := zone.ServiceType{
		ID: id, Name: name, SpecHash: ledger.HashOf("trib/testnet/service/1", []byte(name)), Unit: unit, Proof: proof,
		Shards: shards, CommitteeSize: serviceSeats, MinStake: ledger.DropsPerCoin, Owner: Address(ValidatorName(0)), Version: 1,
	}
	for number, region := range []string{"local-a", "local-b"} {
		p := zone.DefaultPolicy(region)
		p.Replication = copies
		s.Zones = append(s.Zones, zone.Zone{Number: byte(number), Policy: p})
	}
	return s
}
