package genesis

import (
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

const (
	// networkTag separates the hash that is a network's id.
	networkTag = "trib/network/2"
	// maxEvidenceAge bounds how long consensus keeps evidence.
	maxEvidenceAge = 10 * 365 * 24 * time.Hour
)

// Settlement returns what the rules of the main chain start from. Where nodes are
// reached is left out: it is in no hash.
func (d Document) Settlement() settlement.Genesis {
	g := settlement.Genesis{Name: d.Name, Time: d.Time.UnixMilli(), Params: d.Params, Services: d.Services}
	for _, a := range d.Accounts {
		g.Accounts = append(g.Accounts, settlement.GenesisAccount{Address: a.Address, Balance: a.Balance})
	}
	for i := range d.Validators {
		v := &d.Validators[i]
		r := settlement.GenesisValidator{Operator: v.Operator, Register: staking.Register{
			BLSKey: v.BLSKey, Proof: v.Proof, Profile: staking.Profile{Name: v.Name},
			Commission: v.Commission, MaxCommission: v.MaxCommission, MaxChange: v.MaxChange,
			MinSelf: v.MinSelf, SelfStake: v.Stake,
		}}
		copy(r.ConsensusKey[:], v.PublicKey)
		g.Validators = append(g.Validators, r)
	}
	return g
}

// Comet returns what consensus on the main chain starts from: the committee of
// epoch 0 as the rules elect it. d must be valid.
func (d Document) Comet() comet.Genesis {
	state := d.Settlement()
	blocks, age := d.evidence()
	g := comet.Genesis{
		ChainID:           d.ChainID(),
		Time:              d.Time,
		BlockMaxBytes:     d.Params.MaxBlockBytes + comet.BlockOverhead(int(d.Params.Staking.Seats)),
		EvidenceMaxBlocks: blocks,
		EvidenceMaxAge:    age,
		AppState:          state.Encode(),
	}
	first := state.Committee()
	for i := range first.Members {
		m := &first.Members[i]
		g.Validators = append(g.Validators, comet.GenesisValidator{
			PubKey: m.ConsensusKey[:],
			Power:  int64(m.Power), //nolint:gosec // below 2^53
			Name:   d.Validators[m.Validator].Name,
		})
	}
	return g
}

// evidence returns how long a fault can be punished: so many blocks, and as long
// as they take at least.
func (d Document) evidence() (blocks uint64, age time.Duration) {
	blocks = uint64(d.Params.Staking.EvidenceEpochs) * d.Params.Staking.EpochBlocks
	interval := time.Duration(d.Params.BlockInterval) * time.Millisecond
	if blocks > uint64(maxEvidenceAge/interval) {
		return blocks, maxEvidenceAge
	}
	return blocks, time.Duration(blocks) * interval //nolint:gosec // below maxEvidenceAge
}

// NetworkID returns the network's id: a hash over everything but the names of
// accounts and the validators' node ids and endpoints. d must be valid.
func (d Document) NetworkID() ledger.NetworkID {
	state := d.Settlement()
	w := &codec.Writer{}
	w.Bytes32(state.Encode())
	return ledger.HashOf(networkTag, w.Bytes())
}

// Domain returns what messages for the main chain are signed for.
func (d Document) Domain() chain.Domain {
	return chain.Domain{Network: d.NetworkID(), Chain: ledger.MainChain}
}

// ChainID returns the name of the main chain in consensus, logs and metrics:
// the network's name and the first eight digits of its id, so that nodes of two
// networks of one name do not talk to each other.
func (d Document) ChainID() string { return d.Name + "-" + d.NetworkID().String()[:8] }

// Peers returns the addresses, nodeid@host:port, of the validators that have
// one, without the node self.
func (d Document) Peers(self string) []string {
	var peers []string
	for _, v := range d.Validators {
		if v.Endpoint != "" && v.NodeID != self {
			peers = append(peers, v.NodeID+"@"+v.Endpoint)
		}
	}
	return peers
}
