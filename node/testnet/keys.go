package testnet

import (
	"errors"

	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/node/genesis"
	"github.com/tributary-network/tributary/node/keystore"
)

// keysDir holds the keys of the named accounts, below a network's directory.
const keysDir = "keys"

// WriteKeys puts the keys of the named accounts, and of the operators named, into
// a key store, unencrypted. Those that are there stay.
func WriteKeys(dir string, operators ...string) error {
	ring, err := keystore.Open(dir, keystore.Options{Plain: true})
	if err != nil {
		return err
	}
	for _, name := range append(Names(), operators...) {
		if err := ring.Add(name, keystore.FromSeed(Key(name).Seed()), nil); err != nil && !errors.Is(err, keystore.ErrExists) {
			return err
		}
	}
	return nil
}

// SoloGenesis returns the genesis of a local network of one validator, with the
// named accounts; that of its operator is called ValidatorName(0).
func SoloGenesis(network, moniker string, id node.Identity) genesis.Document {
	return genesis.Document{
		Name:     network,
		Time:     now(),
		Params:   settlement.LocalParams(),
		Accounts: namedAccounts([]string{ValidatorName(0)}),
		Validators: []genesis.Validator{
			genesisValidator(moniker, ValidatorName(0), id, ""),
		},
		Services: Services(),
	}
}

// genesisValidator is a validator in the genesis of a test network.
func genesisValidator(name, operator string, id node.Identity, endpoint string) genesis.Validator {
	proof := id.Prove(ledger.NetworkID{}, Address(operator), ledger.PublicKey(id.PublicKey))
	return genesis.Validator{
		Name: name, Operator: Address(operator), PublicKey: id.PublicKey, BLSKey: id.BLSKey, Proof: proof,
		Stake: validatorStake, Commission: commission, MaxCommission: maxCommission, MaxChange: commissionChange,
		NodeID: id.NodeID, Endpoint: endpoint,
	}
}
