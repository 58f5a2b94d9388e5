package node

import (
	"crypto/ed25519"
	"fmt"
	"path/filepath"

	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/node/home"
)

// Identity is what others know a node by.
type Identity struct {
	NodeID    string            // on the peer-to-peer network: 40 hexadecimal digits
	PublicKey ed25519.PublicKey // consensus key, 32 bytes
}

// signerDir is where the consensus key and the sign state lie, together and
// apart from what can be fetched again: whoever wipes the data directory must
// not lose the memory of what this key has signed.
func signerDir(dir home.Dir) string { return filepath.Join(dir.Config(), "validator") }

// CreateIdentity makes a node key and a consensus key in a home directory that
// exists and has neither.
func CreateIdentity(dir home.Dir) (Identity, error) {
	nodeKey, err := comet.GenerateNodeKey(dir.Config())
	if err != nil {
		return Identity{}, fmt.Errorf("create identity: %w", err)
	}
	signer, err := comet.GenerateSigner(signerDir(dir))
	if err != nil {
		return Identity{}, fmt.Errorf("create identity: %w", err)
	}
	return Identity{NodeID: nodeKey.ID(), PublicKey: signer.PubKey()}, nil
}

// LoadIdentity reads the identity of a home directory.
func LoadIdentity(dir home.Dir) (Identity, error) {
	nodeKey, signer, err := loadKeys(dir)
	if err != nil {
		return Identity{}, err
	}
	return Identity{NodeID: nodeKey.ID(), PublicKey: signer.PubKey()}, nil
}

func loadKeys(dir home.Dir) (*comet.NodeKey, *comet.Signer, error) {
	nodeKey, err := comet.LoadNodeKey(dir.Config())
	if err != nil {
		return nil, nil, err
	}
	signer, err := comet.LoadSigner(signerDir(dir))
	if err != nil {
		return nil, nil, err
	}
	return nodeKey, signer, nil
}
