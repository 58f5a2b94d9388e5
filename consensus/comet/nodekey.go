package comet

import (
	"crypto/ed25519"
	"fmt"
	"path/filepath"
	"strings"

	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/p2p"
)

// NodeKey proves which node a connection leads to. It is safe for concurrent
// use, and may serve several chains.
type NodeKey struct {
	key p2p.NodeKey
}

// GenerateNodeKey makes a key and writes it to dir as node_key.json, which must
// not exist.
func GenerateNodeKey(dir string) (*NodeKey, error) {
	k := &NodeKey{key: p2p.NodeKey{PrivKey: cmted25519.GenPrivKey()}}
	data, err := cmtjson.MarshalIndent(k.key, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode node key: %w", err)
	}
	if err := writeSecret(filepath.Join(dir, nodeKeyFile), data); err != nil {
		return nil, fmt.Errorf("write node key: %w", err)
	}
	return k, nil
}

// LoadNodeKey reads the key that GenerateNodeKey or CometBFT wrote to dir. The
// file's mode must be 0600 or stricter.
func LoadNodeKey(dir string) (*NodeKey, error) {
	path := filepath.Join(dir, nodeKeyFile)
	data, err := readSecret(path)
	if err != nil {
		return nil, fmt.Errorf("load node key: %w", err)
	}
	k := &NodeKey{}
	if err := cmtjson.Unmarshal(data, &k.key); err != nil {
		return nil, fmt.Errorf("load node key: decode %s: %w", path, err)
	}
	if err := checkPrivKey(k.key.PrivKey); err != nil {
		return nil, fmt.Errorf("load node key: %s: %w", path, err)
	}
	return k, nil
}

// ID is the node's identity in peer addresses: 40 hexadecimal digits.
func (k *NodeKey) ID() string { return string(k.key.ID()) }

// checkPrivKey reports whether key is an Ed25519 private key that belongs to
// the public key stored in it.
func checkPrivKey(key any) error {
	priv, ok := key.(cmted25519.PrivKey)
	if !ok {
		return fmt.Errorf("key is %T, want Ed25519", key)
	}
	if len(priv) != cmted25519.PrivateKeySize {
		return fmt.Errorf("key has %d bytes, want %d", len(priv), cmted25519.PrivateKeySize)
	}
	if !ed25519.NewKeyFromSeed(priv[:ed25519.SeedSize]).Equal(ed25519.PrivateKey(priv)) {
		return fmt.Errorf("public half does not belong to the private one")
	}
	return nil
}

// cutPeer splits nodeid@host:port.
func cutPeer(s string) (id p2p.ID, hostPort string, ok bool) {
	left, right, ok := strings.Cut(s, "@")
	if !ok || len(left) != 2*p2p.IDByteLength || strings.Trim(left, "0123456789abcdef") != "" {
		return "", "", false
	}
	return p2p.ID(left), right, true
}

// peerIDs lists the node ids of peers, comma-separated.
func peerIDs(peers []string) string {
	ids := make([]string, 0, len(peers))
	for _, p := range peers {
		if id, _, ok := cutPeer(p); ok {
			ids = append(ids, string(id))
		}
	}
	return strings.Join(ids, ",")
}

// attestedMin is how long a message at least is that a node key signs, in bytes:
// longer than the challenge of 32 bytes that it signs at the begin of a connection.
const attestedMin = 33

// Sign signs a message that is not of a connection: it must begin with a domain tag
// that nothing else has, and be longer than the 32 bytes that both ends of a connection
// sign.
func (k *NodeKey) Sign(msg []byte) ([]byte, error) {
	if len(msg) < attestedMin {
		return nil, fmt.Errorf("sign with the node key: message of %d bytes, want at least %d", len(msg), attestedMin)
	}
	return k.key.PrivKey.Sign(msg)
}

// PubKey is the public half of the key, 32 bytes; ID is made of it.
func (k *NodeKey) PubKey() []byte { return k.key.PubKey().Bytes() }
