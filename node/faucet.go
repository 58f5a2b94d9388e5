package node

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/home"
	"github.com/tributary-network/tributary/node/keystore"
)

const (
	// faucetKey is the name of the key in the node's key store whose account the
	// faucet pays from. Each node needs one of its own.
	faucetKey = "faucet"

	faucetDefault = 1_000 * ledger.DropsPerCoin
	faucetMax     = 1_000_000 * ledger.DropsPerCoin
)

// WriteFaucet gives the node in a home directory a faucet that pays from key's
// account in zone 0. Only nodes of local networks use it.
func WriteFaucet(dir home.Dir, key ledger.PrivateKey) error {
	ring, err := keystore.Open(dir.Keys(), keystore.Options{Plain: true})
	if err != nil {
		return err
	}
	return ring.Add(faucetKey, keystore.FromSeed(key.Seed()), nil)
}

// loadFaucet returns the node's faucet, or nil if it has none.
func loadFaucet(dir home.Dir, local bool) (*api.Faucet, error) {
	if !local {
		return nil, nil //nolint:nilnil // no faucet, no error
	}
	ring, err := keystore.Open(dir.Keys(), keystore.Options{Plain: true})
	if err != nil {
		return nil, err
	}
	key, err := ring.Load(faucetKey, nil)
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return nil, nil //nolint:nilnil // no faucet, no error
	case err != nil:
		return nil, fmt.Errorf("faucet: %w", err)
	}
	return &api.Faucet{Key: key.Private(), Default: faucetDefault, Max: faucetMax}, nil
}
