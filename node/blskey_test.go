package node_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/node/home"
)

func TestIdentityCanBeRegistered(t *testing.T) {
	t.Parallel()
	dir := home.Dir(filepath.Join(t.TempDir(), "home"))
	if err := dir.Create(); err != nil {
		t.Fatal(err)
	}
	made, err := node.CreateIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	key, err := bls.ParseKey(made.BLSKey)
	operator, network, consensus := ledger.Address{1}, ledger.HashOf("network"), ledger.PublicKey(made.PublicKey)
	proof := made.Prove(network, operator, consensus)
	if err != nil || !staking.Proves(key, network, operator, consensus, proof) {
		t.Errorf("BLS key %s: %v, or its proof does not hold", made.BLSKey, err)
	}
	read, err := node.LoadIdentity(dir)
	if err != nil || read.NodeID != made.NodeID || !read.PublicKey.Equal(made.PublicKey) || read.BLSKey != made.BLSKey || read.Prove(network, operator, consensus) != proof {
		t.Errorf("read %+v, %v, made %+v", read, err, made)
	}
	if _, err := node.CreateIdentity(dir); err == nil {
		t.Error("an identity was replaced")
	}
	for _, name := range []string{"priv_validator_key.json", "priv_validator_state.json"} {
		if err := os.Remove(filepath.Join(dir.Config(), "validator", name)); err != nil {
			t.Fatal(err)
		}
	}
	if read, err = node.LoadIdentity(dir); err != nil || read.PublicKey != nil || read.BLSKey != made.BLSKey {
		t.Errorf("without a consensus key of its own: %+v, %v", read, err)
	}
}

func TestBLSKeyFile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, path string)
		want  string
	}{
		{"missing", func(t *testing.T, path string) { t.Helper(); must(t, os.Remove(path)) }, "bls_key.json"},
		{"readable by others", func(t *testing.T, path string) { t.Helper(); must(t, os.Chmod(path, 0o640)) }, "chmod 600"},
		{"a link", func(t *testing.T, path string) {
			t.Helper()
			must(t, os.Rename(path, path+".real"))
			must(t, os.Symlink(path+".real", path))
		}, "symbolic link"},
		{"not JSON", func(t *testing.T, path string) { t.Helper(); rewrite(t, path, "{", "") }, "it is no key file"},
		{"no secret", func(t *testing.T, path string) { t.Helper(); rewrite(t, path, "secret_key", "secret") }, "secret_key is not 64 hexadecimal digits"},
		{"public key that is none", func(t *testing.T, path string) {
			t.Helper()
			rewrite(t, path, field(t, path, "public_key"), strings.Repeat("00", bls.PublicKeySize))
		}, "it is no key file"},
		{"public key of another secret", func(t *testing.T, path string) {
			t.Helper()
			other, err := bls.NewSecretKey(make([]byte, bls.MinSeedSize))
			must(t, err)
			rewrite(t, path, field(t, path, "public_key"), other.Public().String())
		}, "public_key does not belong to secret_key"},
		{"secret out of range", func(t *testing.T, path string) {
			t.Helper()
			rewrite(t, path, field(t, path, "secret_key"), strings.Repeat("ff", bls.SecretSize))
		}, "secret_key: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := solo(t)
			path := filepath.Join(o.Home.Config(), "validator", "bls_key.json")
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Fatalf("mode of the key file: %v, %v", info, err)
			}
			test.spoil(t, path)
			n, err := node.Open(t.Context(), o)
			if err == nil {
				err = errors.Join(errors.New("it opened"), n.Close())
			}
			if !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "BLS key") {
				t.Errorf("Open: %v, want %q", err, test.want)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rewrite replaces text in a file.
func rewrite(t *testing.T, path, before, after string) {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	changed := strings.Replace(string(data), before, after, 1)
	if changed == string(data) {
		t.Fatalf("%q is not in %s", before, path)
	}
	must(t, os.WriteFile(path, []byte(changed), 0o600))
}

// field returns a field of a key file.
func field(t *testing.T, path, name string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	_, rest, _ := strings.Cut(string(data), `"`+name+`": "`)
	value, _, found := strings.Cut(rest, `"`)
	if !found {
		t.Fatalf("no %s in %s", name, path)
	}
	return value
}
