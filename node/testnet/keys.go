package testnet

import (
	"errors"

	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/node/genesis"
	"github.com/tributary-network/tributary/node/keystore"
)

// keysDir holds the keys of the named accounts, below a network's directory.
const keysDir = "keys"

// WriteKeys puts the keys of the named accounts into a key store, unencrypted.
// Those that are there stay.
func WriteKeys(dir string) error {
	ring, err := keystore.Open(dir, keystore.Options{Plain: true})
	if err != nil {
		return err
	}
	for _, name := range Names() {
		if err := ring.Add(name, keystore.FromSeed(Key(name).Seed()), nil); err != nil && !errors.Is(err, keystore.ErrExists) {
			return err
		}
	}
	return nil
}

// SoloGenesis returns the genesis of a local network of one validator, with the
// named accounts.
func SoloGenesis(network, moniker string, id node.Identity) genesis.Document {
	return genesis.Document{
		Name:     network,
		Time:     now(),
		Params:   settlement.LocalParams(),
		Accounts: namedAccounts(1),
		Validators: []genesis.Validator{
			{Name: moniker, PublicKey: id.PublicKey, Power: 10, NodeID: id.NodeID},
		},
	}
}
