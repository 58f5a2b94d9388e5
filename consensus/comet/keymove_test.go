package comet_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/tributary-network/tributary/consensus/comet"
)

// TestMoveSigner: the key is at one place at the end, its state at both; what was cut
// short is finished, and nothing that is there is replaced.
func TestMoveSigner(t *testing.T) {
	t.Parallel()
	const keyFile, stateFile = "priv_validator_key.json", "priv_validator_state.json"
	read := func(dir, name string) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	write := func(dir, name string, data []byte) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, before := range map[string]func(from, to string){
		"all of it":          func(string, string) {},
		"the state is there": func(from, to string) { write(to, stateFile, read(from, stateFile)) },
		"both are there": func(from, to string) {
			write(to, stateFile, read(from, stateFile))
			write(to, keyFile, read(from, keyFile))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, signer, _ := signerKeys(t)
			to := filepath.Join(t.TempDir(), "to")
			state := read(from, stateFile)
			before(from, to)
			if err := comet.MoveSigner(from, to); err != nil {
				t.Fatal(err)
			}
			moved, err := comet.LoadSigner(to)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(moved.PubKey(), signer.PubKey()) {
				t.Errorf("key %x, want %x", moved.PubKey(), signer.PubKey())
			}
			if _, err := os.Stat(filepath.Join(from, keyFile)); !os.IsNotExist(err) {
				t.Errorf("the old key: %v", err)
			}
			if !bytes.Equal(read(from, stateFile), state) || !bytes.Equal(read(to, stateFile), state) {
				t.Error("the sign state differs")
			}
			if err := comet.MoveSigner(from, to); err == nil {
				t.Error("moved twice")
			}
		})
	}
	t.Run("another key", func(t *testing.T) {
		t.Parallel()
		from, _, _ := signerKeys(t)
		to, _, _ := signerKeys(t)
		key, state := read(to, keyFile), read(to, stateFile)
		if err := comet.MoveSigner(from, to); err == nil {
			t.Error("replaced a key")
		}
		if !bytes.Equal(read(to, keyFile), key) || !bytes.Equal(read(to, stateFile), state) {
			t.Error("the refused move changed something")
		}
		if _, err := comet.LoadSigner(from); err != nil {
			t.Error(err)
		}
	})
	t.Run("another state", func(t *testing.T) {
		t.Parallel()
		from, _, _ := signerKeys(t)
		to := filepath.Join(t.TempDir(), "to")
		write(to, stateFile, []byte(`{"height":"7","round":0,"step":1}`))
		if err := comet.MoveSigner(from, to); err == nil {
			t.Error("replaced a sign state")
		}
		if _, err := comet.LoadSigner(from); err != nil {
			t.Error(err)
		}
	})
}
