package node

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/genesis"
	"github.com/tributary-network/tributary/node/home"
)

// Identity is what others know a node by.
type Identity struct {
	NodeID    string            // on the peer-to-peer network: 40 hexadecimal digits
	PublicKey ed25519.PublicKey // consensus key, 32 bytes; nil if a remote signer holds it
	BLSKey    bls.PublicKey     // signs seals and certificates

	secret *bls.SecretKey
}

// Prove returns the proof of possession of the BLS key that its registration asks
// for: of operator, beside a consensus key, which is the node's own or that of its
// remote signer. The network of a genesis that is being made is the zero id.
func (id *Identity) Prove(network ledger.NetworkID, operator ledger.Address, consensusKey ledger.PublicKey) bls.Signature {
	return staking.Prove(id.secret, network, operator, consensusKey)
}

// signerDir is where the consensus key and the sign state lie, together and
// apart from what can be fetched again: whoever wipes the data directory must
// not lose the memory of what this key has signed.
func signerDir(dir home.Dir) string { return filepath.Join(dir.Config(), "validator") }

// CreateIdentity makes a node key, a consensus key and a BLS key in a home
// directory that exists and has none of them.
func CreateIdentity(dir home.Dir) (Identity, error) {
	nodeKey, err := comet.GenerateNodeKey(dir.Config())
	if err != nil {
		return Identity{}, fmt.Errorf("create identity: %w", err)
	}
	signer, err := comet.GenerateSigner(signerDir(dir))
	if err != nil {
		return Identity{}, fmt.Errorf("create identity: %w", err)
	}
	secret, err := createBLSKey(dir)
	if err != nil {
		return Identity{}, fmt.Errorf("create identity: %w", err)
	}
	return Identity{NodeID: nodeKey.ID(), PublicKey: signer.PubKey(), BLSKey: secret.Public(), secret: secret}, nil
}

// LoadIdentity reads the identity of a home directory.
func LoadIdentity(dir home.Dir) (Identity, error) {
	nodeKey, err := comet.LoadNodeKey(dir.Config())
	if err != nil {
		return Identity{}, err
	}
	secret, err := loadBLSKey(dir)
	if err != nil {
		return Identity{}, err
	}
	id := Identity{NodeID: nodeKey.ID(), BLSKey: secret.Public(), secret: secret}
	signer, err := comet.LoadSigner(signerDir(dir))
	switch {
	case err == nil:
		id.PublicKey = signer.PubKey()
	case !errors.Is(err, fs.ErrNotExist):
		return Identity{}, err
	}
	return id, nil
}

// LoadGenesis reads the genesis of a home directory. If there is none, the error
// wraps fs.ErrNotExist and says where to get it.
func LoadGenesis(dir home.Dir) (genesis.Document, error) {
	doc, err := genesis.Load(dir.Genesis())
	if errors.Is(err, fs.ErrNotExist) {
		return doc, fmt.Errorf("%w; copy the genesis of the network there: any of its nodes has it as config/genesis.json", err)
	}
	return doc, err
}
