package node

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/node/home"
)

// blsKeyFile is the file of the key for seals and certificates. It lies beside the
// consensus key, but need not leave with it to a remote signer: to sign twice
// with it harms nobody.
const blsKeyFile = "bls_key.json"

// blsKey is the file's content.
type blsKey struct {
	PublicKey bls.PublicKey `json:"public_key"`
	SecretKey string        `json:"secret_key"` // 64 hexadecimal digits
}

func blsKeyPath(dir home.Dir) string { return filepath.Join(signerDir(dir), blsKeyFile) }

// createBLSKey makes a key and writes it to a home directory that has none.
func createBLSKey(dir home.Dir) (*bls.SecretKey, error) {
	seed := make([]byte, bls.MinSeedSize)
	_, _ = rand.Read(seed) // never fails
	secret, err := bls.NewSecretKey(seed)
	if err != nil {
		return nil, fmt.Errorf("make BLS key: %w", err)
	}
	data, err := json.MarshalIndent(blsKey{secret.Public(), hex.EncodeToString(secret.Bytes())}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode BLS key: %w", err)
	}
	if err := home.WritePrivate(blsKeyPath(dir), append(data, '\n'), false); err != nil {
		return nil, fmt.Errorf("write BLS key: %w", err)
	}
	return secret, nil
}

// loadBLSKey reads the key of a home directory. Its file must be private.
func loadBLSKey(dir home.Dir) (*bls.SecretKey, error) {
	path := blsKeyPath(dir)
	data, err := home.ReadPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load BLS key: %w; `tributary init` makes one with the home directory. "+
			"A validator's is in its backup; of a node that is none any new one will do", err)
	}
	if err != nil {
		return nil, fmt.Errorf("load BLS key: %w", err)
	}
	secret, err := decodeBLSKey(data)
	if err != nil {
		return nil, fmt.Errorf("load BLS key: %s: %w", path, err)
	}
	return secret, nil
}

func decodeBLSKey(data []byte) (*bls.SecretKey, error) {
	var k blsKey
	if err := json.Unmarshal(data, &k); err != nil {
		return nil, fmt.Errorf("it is no key file: %w", err)
	}
	raw, err := hex.DecodeString(k.SecretKey)
	if err != nil || len(raw) != bls.SecretSize {
		return nil, fmt.Errorf("secret_key is not %d hexadecimal digits", 2*bls.SecretSize)
	}
	secret, err := bls.ParseSecretKey(raw)
	if err != nil {
		return nil, fmt.Errorf("secret_key: %w", err)
	}
	if secret.Public() != k.PublicKey {
		return nil, errors.New("public_key does not belong to secret_key")
	}
	return secret, nil
}
