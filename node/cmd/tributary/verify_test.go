package main

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/genesis"
)

// TestHeightsOfCertificates: the only validator of a network certifies whatever it
// likes, and whoever has the genesis knows which blocks are in its epoch.
func TestHeightsOfCertificates(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	made := parse[initResult](t, s.ok(t, "init", "alone", "-o", "json"))
	path := filepath.Join(made.Home, "config", "genesis.json")
	doc, err := genesis.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	com := doc.Settlement().Committee()
	keys, err := com.Keys()
	if err != nil {
		t.Fatal(err)
	}
	secret := blsSecret(t, made.Home)
	certify := func(height uint64) (file string) {
		cp := cert.Checkpoint{Network: doc.NetworkID(), Chain: ledger.MainChain, Height: height, CommitteeHash: com.Hash()}
		c, _, err := cert.Assemble(cp, &com, keys, []cert.Vote{{Member: 0, Signature: secret.Sign(cp.Message())}})
		if err != nil {
			t.Fatal(err)
		}
		file = filepath.Join(t.TempDir(), "cert")
		if err := writeCertificate(file, &client.CertificateFile{Committee: com, Certificate: c}); err != nil {
			t.Fatal(err)
		}
		return file
	}
	mentions := func(list []string, what string) bool {
		return slices.ContainsFunc(list, func(text string) bool { return strings.Contains(text, what) })
	}
	right, wrong := certify(doc.Params.Staking.EpochBlocks), certify(1e9)
	if v := parse[verified](t, s.ok(t, "verify", "certificate", right, "--genesis", path, "-o", "json")); !mentions(v.Proved, "is one of epoch 0") || mentions(v.NotProved, "is one of epoch") {
		t.Errorf("by the genesis: %+v", v)
	}
	if v := parse[verified](t, s.ok(t, "verify", "certificate", wrong, "--committee-hash", com.Hash().String(), "-o", "json")); mentions(v.Proved, "is one of epoch") || !mentions(v.NotProved, "that block 1000000000 is one of epoch 0") {
		t.Errorf("by a hash: %+v", v)
	}
	if r := s.run(t, "", "verify", "certificate", wrong, "--genesis", path); r.code != exitError || !strings.Contains(r.stderr, "is refused (WRONG_HEIGHT)") || !strings.Contains(r.stderr, "height 1000000000, want 1 to ") {
		t.Errorf("a height of another epoch: %+v", r)
	}
	for _, file := range []string{"/dev/zero", "/dev/urandom"} {
		if r := s.run(t, "", "verify", "certificate", right, "--genesis", file); r.code != exitError || !strings.Contains(r.stderr, "not a regular file") {
			t.Errorf("the genesis %s: %+v", file, r)
		}
	}
}

// blsSecret reads the BLS key of a node.
func blsSecret(t *testing.T, home string) *bls.SecretKey {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(home, "config", "validator", "bls_key.json"))
	if err != nil {
		t.Fatal(err)
	}
	var k struct {
		SecretKey string `json:"secret_key"`
	}
	if err := json.Unmarshal(data, &k); err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(k.SecretKey)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := bls.ParseSecretKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}
