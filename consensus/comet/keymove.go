package comet

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// MoveSigner moves the consensus key in one directory to another that has none,
// together with its sign states. These stay where they were, too: a node whose
// remote signer has the key goes on from them, and so needs no proof that nobody else
// votes with the key. Neither directory may be in use. A move that was cut short is
// finished by another one; at no time is there a key without its state, and before
// the last step, which removes the old key, nothing signs at the new place.
func MoveSigner(from, to string) error {
	keyFrom, keyTo := filepath.Join(from, consensusKeyFile), filepath.Join(to, consensusKeyFile)
	key, err := readSecret(keyFrom)
	if err != nil {
		return fmt.Errorf("move consensus key: %w", err)
	}
	if _, err := LoadSigner(from); err != nil {
		return fmt.Errorf("move consensus key: %w", err)
	}
	moved, err := readSecret(keyTo)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("move consensus key: %w", err)
	case !bytes.Equal(moved, key):
		return fmt.Errorf("move consensus key: %s is another key", keyTo)
	}
	state, err := readSecret(filepath.Join(from, signStateFile))
	if err != nil {
		return fmt.Errorf("move sign state: %w", err)
	}
	if err := copySecret(filepath.Join(to, signStateFile), state); err != nil {
		return fmt.Errorf("move sign state: %w", err)
	}
	if err := copyChains(from, to); err != nil {
		return fmt.Errorf("move sign states of shards: %w", err)
	}
	if moved == nil {
		if err := writeSecret(keyTo, key); err != nil {
			return fmt.Errorf("move consensus key: %w", err)
		}
	}
	if err := errors.Join(os.Remove(keyFrom), syncDir(from)); err != nil {
		return fmt.Errorf("move consensus key: it is in %s, remove it from %s before anything runs: %w", to, from, err)
	}
	return nil
}

// copyChains copies what there is of further chains. The list of them comes last: no
// chain is listed at the new place whose state is not there.
func copyChains(from, to string) error {
	ring := keyring{dir: from}
	if err := ring.readList(); err != nil || len(ring.listed) == 0 {
		return err
	}
	for _, chain := range ring.listed {
		at := filepath.Join(chainsDir, chain)
		state, err := readSecret(filepath.Join(from, at, signStateFile))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is missed at the new place as it would be here
		}
		if err != nil {
			return err
		}
		if err := copySecret(filepath.Join(to, at, signStateFile), state); err != nil {
			return err
		}
		if err := syncDirs(filepath.Join(to, at), to); err != nil {
			return err
		}
	}
	there := keyring{dir: to}
	return there.writeList(ring.listed)
}

// copySecret is writeSecret for a file that may be there with the same content.
func copySecret(path string, data []byte) error {
	old, err := readSecret(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return writeSecret(path, data)
	case err != nil:
		return err
	case !bytes.Equal(old, data):
		return fmt.Errorf("%s is another sign state", path)
	}
	return nil
}
