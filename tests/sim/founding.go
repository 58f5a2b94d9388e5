package sim

import (
	"fmt"

	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/zone"
)

// serviceID is the one service of the simulation.
const serviceID = 7

// shape is what networks differ in when they begin.
type shape struct {
	zones, shards uint8 // shards of each zone
	seats         uint8 // of each committee
	// stalls is after how many blocks of main without anchors shards get another committee,
	// less than an epoch's or more; 0 is never.
	stalls uint32
}

// shapes is how many there are.
const shapes = 9

func shapeOf(n int) shape {
	return []shape{{1, 1, 4, 0}, {1, 2, 4, 0}, {2, 1, 5, 0}, {2, 2, 4, 0}, {1, 4, 7, 0}, {2, 1, 4, 0}, {1, 2, 4, 16}, {2, 1, 4, 16}, {2, 1, 4, 7}}[n%shapes]
}

// epochBlocks is how many blocks of main an epoch has: as few as may be.
const epochBlocks = 10

// wealth is what each account has on main at first, in drops.
const wealth = 1_000_000_000

// mainParams are the parameters of main. Shards stand still for as long as it takes, but
// in runs that say otherwise.
func mainParams(s shape) settlement.Params {
	p := settlement.LocalParams()
	p.MinChallenge, p.DefaultChallenge, p.MaxChallenge = 3, 5, 20
	p.Staking.EpochBlocks = epochBlocks
	p.Anchors.LateBlocks, p.Anchors.StalledBlocks, p.Anchors.MaxLag = 1<<19, 1<<20, 10_000
	if s.stalls > 0 {
		p.Anchors.LateBlocks, p.Anchors.StalledBlocks = s.stalls/2, s.stalls
	}
	return p
}

// begin returns what a network of a shape begins with.
func (k *Keys) begin(s shape) (*founding, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f := k.founding[s]; f != nil {
		return f, nil
	}
	g := settlement.Genesis{Name: "sim", Time: 1, Params: mainParams(s)}
	f := &founding{params: g.Params}
	f.public, f.addresses = k.people(s)
	for _, a := range f.addresses {
		g.Accounts = append(g.Accounts, settlement.GenesisAccount{Address: a, Balance: wealth})
	}
	for i := range validators {
		v := staking.GenesisValidator{Operator: ledger.NewAddress(0, k.operators[i])}
		v.ConsensusKey, v.BLSKey = k.consensus[i], k.secrets[i].Public()
		v.Proof = staking.Prove(k.secrets[i], ledger.NetworkID{}, v.Operator, v.ConsensusKey)
		v.Name, v.MaxCommission = fmt.Sprint("validator ", i), 10_000
		v.MinSelf, v.SelfStake = g.Params.Staking.MinSelfStake, g.Params.Staking.MinStake*ledger.Amount(10+3*i)
		g.Validators = append(g.Validators, v)
	}
	who := s.crowd()
	t := zone.ServiceType{
		ID: serviceID, Name: "content", SpecHash: ledger.HashOf("content"), Unit: zone.Unit{Name: "chunk", Size: 1 << 20},
		Shards: s.shards, CommitteeSize: uint32(s.seats), Owner: f.addresses[who.ownerKey()], Version: 1,
		Fees: zone.Fees{ShareBps: 250, Entry: 1},
	}
	for n := range s.zones {
		policy := zone.DefaultPolicy("here")
		policy.Fees = zone.Fees{ShareBps: uint32(n%16) * 100, Entry: ledger.Amount(n % 16)}
		t.Zones = append(t.Zones, zone.Zone{Number: n, Policy: policy})
	}
	g.Services = []zone.ServiceType{t}
	changes, err := g.State()
	if err != nil {
		return nil, err
	}
	f.network, f.changes = g.Hash(), changes
	k.founding[s] = f
	return f, nil
}

// people returns the keys and addresses of everybody: payers and payees are of all zones.
func (k *Keys) people(s shape) (public []ledger.PublicKey, addresses []ledger.Address) {
	if s.many() {
		return crowded(s)
	}
	for i, key := range k.public {
		public, addresses = append(public, key), append(addresses, ledger.NewAddress(byte(i%int(s.zones)), key))
	}
	return public, addresses
}
