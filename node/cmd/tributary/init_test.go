package main

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
)

// TestInitShowsWhatARegistrationNeeds checks the keys of a new node, and where the
// secret one lies.
func TestInitShowsWhatARegistrationNeeds(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	operator := ledger.Address{0, 1, 2}
	r := parse[initResult](t, s.ok(t, "init", "first", "-o", "json", "--operator", operator.String()))
	if want := r.Network + "-" + r.NetworkID[:8]; r.ChainID != want {
		t.Errorf("chain id %q, want %q", r.ChainID, want)
	}
	var public bls.PublicKey
	var proof bls.Signature
	if err := errors.Join(public.UnmarshalText([]byte(r.BLSKey)), proof.UnmarshalText([]byte(r.BLSProof))); err != nil {
		t.Fatal(err)
	}
	network, err := ledger.ParseHash(r.NetworkID)
	if err != nil {
		t.Fatal(err)
	}
	consensus := consensusKeyOf(t, r.PublicKey)
	if key, err := bls.ParseKey(public); err != nil || !staking.Proves(key, network, operator, consensus, proof) {
		t.Errorf("BLS key %s: %v, or its proof %s does not hold", r.BLSKey, err, r.BLSProof)
	}
	if info, err := os.Stat(filepath.Join(r.Home, "config", "validator", "bls_key.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the secret key's file: %v, %v, want mode 0600", info, err)
	}
	if shown := s.ok(t, "relayer"); r.Relayer == "" || !strings.Contains(shown, r.Relayer) {
		t.Errorf("the relayer is %q, but shown is %s", r.Relayer, shown)
	}
	if keys := s.ok(t, "keys", "list"); !strings.Contains(keys, "validator1") {
		t.Errorf("the operator of the only validator has no key: %s", keys)
	}
}

func consensusKeyOf(t *testing.T, text string) ledger.PublicKey {
	t.Helper()
	raw, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ledger.PublicKeyFromBytes(raw)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestValidatorProof: the proof is for one operator, consensus key and network,
// and homes without a genesis prove for one that is being made.
func TestValidatorProof(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	joined, founder := filepath.Join(s.home, "joined"), filepath.Join(s.home, "founder")
	operator := ledger.Address{0, 1, 2}.String()
	s.ok(t, "init", "joined", "--home", joined)
	made := parse[initResult](t, s.ok(t, "init", "founder", "--home", founder, "--network", "wide", "--operator", operator, "-o", "json"))
	prove := func(dir string, more ...string) proofResult {
		args := append([]string{"validator", "proof", "--home", dir, "--operator", operator, "-o", "json"}, more...)
		return parse[proofResult](t, s.ok(t, args...))
	}
	zero := ledger.NetworkID{}.String()
	if r := prove(founder); r.NetworkID != zero || made.NetworkID != "" || r.BLSProof != made.BLSProof || r.BLSKey != made.BLSKey || r.PublicKey != made.PublicKey {
		t.Errorf("proof for a new genesis %+v, init showed %+v", r, made)
	}
	seen := map[string]bool{}
	for _, r := range []proofResult{prove(joined), prove(joined, "--new-genesis"), prove(joined, "--consensus-key", testConsensusKey)} {
		network, err := ledger.ParseHash(r.NetworkID)
		if err != nil {
			t.Fatal(err)
		}
		var public bls.PublicKey
		var proof bls.Signature
		if err := errors.Join(public.UnmarshalText([]byte(r.BLSKey)), proof.UnmarshalText([]byte(r.BLSProof))); err != nil {
			t.Fatal(err)
		}
		key, err := bls.ParseKey(public)
		if err != nil || r.Operator != operator || seen[r.BLSProof] ||
			!staking.Proves(key, network, ledger.Address{0, 1, 2}, consensusKeyOf(t, r.PublicKey), proof) {
			t.Errorf("proof %+v: %v", r, err)
		}
		seen[r.BLSProof] = true
	}
	for _, row := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no operator", []string{"--home", joined}, exitUsage, "--operator"},
		{"garbage", []string{"--home", joined, "--operator", "trib1x"}, exitUsage, "--operator: "},
		{"a key that is not here", []string{"--home", joined, "--operator", "nobody"}, exitUsage, "neither an address"},
		{"no home", []string{"--operator", operator}, exitError, "tributary init"},
		{"a short key", []string{"--home", joined, "--operator", operator, "--consensus-key", "00"}, exitUsage, "64 hexadecimal digits"},
		{"a key that is none", []string{"--home", joined, "--operator", operator, "--consensus-key", strings.Repeat("0", 64)}, exitUsage, "--consensus-key: "},
	} {
		if r := s.run(t, "", append([]string{"validator", "proof"}, row.args...)...); r.code != row.code || !strings.Contains(r.stderr, row.want) || r.stdout != "" {
			t.Errorf("%s: %+v", row.name, r)
		}
	}
}

// TestSignerKeepsItsKeys makes the home of a signer twice, and then one that lost
// the memory of what it signed.
func TestSignerKeepsItsKeys(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	dir := filepath.Join(s.home, "signer")
	made := parse[signerResult](t, s.ok(t, "signer", "init", "--home", dir, "-o", "json"))
	if len(made.Identity) != 40 || len(made.PublicKey) != 64 || made.Home != dir {
		t.Errorf("signer init: %+v", made)
	}
	if again := parse[signerResult](t, s.ok(t, "signer", "init", "--home", dir, "-o", "json")); again != made {
		t.Errorf("signer init again: %+v, before %+v", again, made)
	}
	if err := os.Remove(filepath.Join(dir, "config", "validator", "priv_validator_state.json")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"signer", "init", "--home", dir},
		{"signer", "start", "--home", dir, "--chain-id", "c", "--node", "unix:///s"},
	} {
		if got := s.run(t, "", args...); got.code != exitError || !strings.Contains(got.stderr, "put the newest one of this key back") {
			t.Errorf("%s without a sign state: %+v", strings.Join(args[:2], " "), got)
		}
	}
}

// TestSignerHasItsOwnHome keeps a signer out of the home of a node.
func TestSignerHasItsOwnHome(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.ok(t, "init", "me", "--network", "local")
	made := parse[signerResult](t, s.ok(t, "signer", "init", "-o", "json"))
	if want := filepath.Join(s.home, ".tributary-signer"); made.Home != want {
		t.Errorf("home %s, want %s", made.Home, want)
	}
	node := filepath.Join(s.home, ".tributary")
	for _, args := range [][]string{
		{"signer", "init", "--home", node},
		{"signer", "start", "--home", node, "--chain-id", "c", "--node", "unix:///s"},
	} {
		if got := s.run(t, "", args...); got.code != exitUsage || !strings.Contains(got.stderr, "is the home directory of a node") {
			t.Errorf("%s in the home of a node: %+v", strings.Join(args[:2], " "), got)
		}
	}
}
