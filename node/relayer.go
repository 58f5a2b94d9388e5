package node

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/home"
	"github.com/tributary-network/tributary/node/keystore"
)

// Relayer is the account that pays on the main chain for what a node carries there:
// anchors, settlements and messages of shards. It is in zone 0. It lies in the clear
// beside the other keys of the node, so it should hold no more than that takes.
type Relayer struct {
	Address   ledger.Address
	PublicKey ledger.PublicKey

	key ledger.PrivateKey
}

func newRelayer(key ledger.PrivateKey) Relayer {
	return Relayer{Address: key.Address(0), PublicKey: key.Public(), key: key}
}

// CreateRelayer makes the relayer's key of a home directory that has none.
func CreateRelayer(dir home.Dir) (Relayer, error) {
	key, err := keystore.NewKey()
	if err != nil {
		return Relayer{}, fmt.Errorf("make the relayer's key: %w", err)
	}
	return newRelayer(key.Private()), writeRelayer(dir, key)
}

// WriteRelayer gives a home directory that has none a key for its relayer.
func WriteRelayer(dir home.Dir, key ledger.PrivateKey) error {
	return writeRelayer(dir, keystore.FromSeed(key.Seed()))
}

func writeRelayer(dir home.Dir, key keystore.Key) error {
	if err := home.WritePrivate(dir.RelayerKey(), key.Encode(), false); err != nil {
		return fmt.Errorf("write the relayer's key: %w", err)
	}
	return nil
}

// LoadRelayer reads the relayer's key of a home directory. Its file must be private.
// Without it the error wraps fs.ErrNotExist.
func LoadRelayer(dir home.Dir) (Relayer, error) {
	data, err := home.ReadPrivate(dir.RelayerKey())
	if err != nil {
		return Relayer{}, fmt.Errorf("load the relayer's key: %w", err)
	}
	key, err := keystore.Decode(data)
	if err != nil {
		return Relayer{}, fmt.Errorf("load the relayer's key: %s: %w", dir.RelayerKey(), err)
	}
	return newRelayer(key.Private()), nil
}

// relayerOf loads the relayer's key, or makes one in a home directory of before there
// were relayers: an account without money loses nobody any.
func relayerOf(dir home.Dir) (Relayer, error) {
	r, err := LoadRelayer(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return CreateRelayer(dir)
	}
	return r, err
}
