package node_test

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/node/home"
)

// TestRelayer makes the relayer's key once, and refuses what is not private or none.
func TestRelayer(t *testing.T) {
	t.Parallel()
	dir := home.Dir(t.TempDir())
	if err := dir.Create(); err != nil {
		t.Fatal(err)
	}
	if _, err := node.LoadRelayer(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a key: %v", err)
	}
	made, err := node.CreateRelayer(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := node.LoadRelayer(dir); err != nil || got.Address != made.Address || got.PublicKey != made.PublicKey || got.Address.IsZero() {
		t.Errorf("loaded %v, %v, want %v", got.Address, err, made.Address)
	}
	if err := node.WriteRelayer(dir, ledger.NewPrivateKey([ledger.SeedSize]byte{1})); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second key: %v", err)
	}
	if err := os.Chmod(dir.RelayerKey(), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := node.LoadRelayer(dir); !errors.Is(err, home.ErrNotPrivate) {
		t.Errorf("a key that others can read: %v", err)
	}
	if err := errors.Join(os.Remove(dir.RelayerKey()), os.WriteFile(dir.RelayerKey(), []byte("{}"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := node.LoadRelayer(dir); err == nil {
		t.Error("what is no key is one")
	}
}
