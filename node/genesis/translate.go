package genesis

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// networkTag separates the hash that is a network's id.
const networkTag = "trib/network/1"

// Settlement returns what the rules of the main chain start from.
func (d Document) Settlement() settlement.Genesis {
	g := settlement.Genesis{Name: d.Name, Time: d.Time.UnixMilli(), Params: d.Params}
	for _, a := range d.Accounts {
		g.Accounts = append(g.Accounts, settlement.GenesisAccount{Address: a.Address, Balance: a.Balance})
	}
	return g
}

// Comet returns what consensus on the main chain starts from.
func (d Document) Comet() comet.Genesis {
	state := d.Settlement()
	g := comet.Genesis{
		ChainID:       d.ChainID(),
		Time:          d.Time,
		BlockMaxBytes: d.Params.MaxBlockBytes,
		AppState:      state.Encode(),
	}
	for _, v := range d.Validators {
		g.Validators = append(g.Validators, comet.GenesisValidator{PubKey: v.PublicKey, Power: v.Power, Name: v.Name})
	}
	return g
}

// NetworkID returns the network's id: a hash over everything but the names of
// accounts and the validators' node ids and endpoints. d must be valid.
func (d Document) NetworkID() ledger.NetworkID {
	state := d.Settlement()
	w := &codec.Writer{}
	w.Bytes32(state.Encode())
	w.Uint32(uint32(len(d.Validators))) //nolint:gosec // at most MaxValidators
	for _, v := range d.Validators {
		w.String16(v.Name)
		w.Fixed(v.PublicKey)
		w.Uint64(uint64(v.Power)) //nolint:gosec // positive
	}
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
