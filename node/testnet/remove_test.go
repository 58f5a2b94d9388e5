package testnet_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/node/testnet"
)

// A network's directory is removed with the network, so it must never be one in
// which somebody keeps something.
func TestNetworksKeepAwayFromOtherFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	precious := filepath.Join(dir, "passwd")
	write := func() {
		t.Helper()
		if err := os.WriteFile(precious, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kept := func(what string) {
		t.Helper()
		if b, err := os.ReadFile(precious); err != nil || string(b) != "precious" {
			t.Fatalf("%s: the file is gone or changed: %q, %v", what, b, err)
		}
	}
	names := func(err error) bool { return err != nil && strings.Contains(err.Error(), "passwd") }

	write()
	if _, err := testnet.Start(t.Context(), testnet.Options{Dir: dir}); !names(err) {
		t.Errorf("a network starts beside other files: %v", err)
	}
	kept("start")
	if _, err := testnet.Files(testnet.Options{Dir: dir}); !names(err) {
		t.Errorf("files are made beside other files: %v", err)
	}
	if err := testnet.Remove(dir); err == nil {
		t.Error("a directory of other files is removed")
	}
	kept("remove")

	if err := os.Remove(precious); err != nil {
		t.Fatal(err)
	}
	if _, err := testnet.Files(testnet.Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	write() // into the network's directory, afterwards
	if err := testnet.Remove(dir); !names(err) {
		t.Errorf("a network is removed with somebody's file in it: %v", err)
	}
	kept("remove of a network")
	if _, err := testnet.Open(dir); err != nil {
		t.Errorf("the refused remove broke the network: %v", err)
	}
	if err := os.Remove(precious); err != nil {
		t.Fatal(err)
	}
	if err := testnet.Remove(dir); err != nil {
		t.Errorf("remove: %v", err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
}
