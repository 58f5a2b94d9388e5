package main

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/home"
	"github.com/tributary-network/tributary/node/keystore"
	"github.com/tributary-network/tributary/node/testnet"
)

// keyring is a key store and whose it is.
type keyring struct {
	*keystore.Keystore

	testnet bool // of the test network's named accounts
}

// keyring opens the key store of the home directory. Unencrypted keys are
// allowed where the node there belongs to a local network.
func (c *cli) keyring() (keyring, error) {
	dir, err := c.homeDir()
	if err != nil {
		return keyring{}, err
	}
	named := testnet.Exists(string(dir))
	plain := named
	file := filepath.Join(string(dir), config.FileName)
	data, err := home.ReadFile(file, config.MaxFile)
	switch {
	case err == nil:
		settings, err := config.Parse(file, data)
		if err != nil {
			return keyring{}, err
		}
		plain = settings.Local()
	case !errors.Is(err, fs.ErrNotExist):
		return keyring{}, err
	}
	ring, err := keystore.Open(dir.Keys(), keystore.Options{Plain: plain})
	return keyring{ring, named}, err
}

// keyrings are where keys are looked for: in the home directory, then among the
// named accounts of the test network that --testnet names, or that the home
// directory has.
func (c *cli) keyrings() ([]keyring, error) {
	own, err := c.keyring()
	if err != nil {
		return nil, err
	}
	dir := c.network
	if dir == "" {
		if dir, err = c.defaultTestnetDir(); err != nil {
			return nil, err
		}
	}
	l, err := testnet.Open(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && c.network == "", err == nil && own.testnet:
		return []keyring{own}, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, exitf(exitNotFound, "there is no test network in %s; --testnet must name the directory of one", dir)
	case err != nil:
		return nil, err
	}
	named, err := keystore.Open(l.Keys(), keystore.Options{Plain: true})
	return []keyring{own, {named, true}}, err
}

// keyringOf opens the key store that holds the key called name, the home's if
// none does.
func (c *cli) keyringOf(name string) (keyring, error) {
	rings, err := c.keyrings()
	if err != nil {
		return keyring{}, err
	}
	for _, ring := range rings {
		if _, err := ring.Info(name); !errors.Is(err, keystore.ErrNotFound) {
			return ring, nil // what else is wrong shows with its next use
		}
	}
	return rings[0], nil
}

// allKeys lists the keys of all key stores, each name once.
func (c *cli) allKeys() ([]keyResult, error) {
	rings, err := c.keyrings()
	if err != nil {
		return nil, err
	}
	list, seen := []keyResult{}, map[string]bool{}
	for _, ring := range rings {
		infos, err := ring.List()
		if err != nil {
			return nil, err
		}
		for _, info := range infos {
			if seen[info.Name] {
				continue
			}
			seen[info.Name] = true
			key := newKeyResult(info)
			key.Testnet = ring.testnet
			list = append(list, key)
		}
	}
	return list, nil
}
