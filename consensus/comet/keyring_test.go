package comet_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cometbft/cometbft/types"

	"github.com/tributary-network/tributary/consensus/comet"
)

const chainList = "priv_validator_chains.json"

// chainState is where the sign state of a further chain is.
func chainState(dir, chainID string) string { return filepath.Join(dir, "chains", chainID, stateFile) }

func forChain(t *testing.T, s *comet.Signer, chainID string) *comet.Signer {
	t.Helper()
	made, err := s.ForChain(chainID)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func load(t *testing.T, dir string) *comet.Signer {
	t.Helper()
	s, err := comet.LoadSigner(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// One key signs on many chains, and on each one vote for a step, over restarts, too.
func TestKeyringSeparatesChains(t *testing.T) {
	t.Parallel()
	dir, first, _ := signerKeys(t)
	a, b := forChain(t, first, "c-s2"), forChain(t, first, "c-s3")
	if again := forChain(t, first, "c-s2"); again != a {
		t.Error("one chain has two signers")
	}
	if again := forChain(t, a, "c-s3"); again != b {
		t.Error("a chain's signer knows another of the same key for a chain")
	}
	if !bytes.Equal(a.PubKey(), first.PubKey()) || !bytes.Equal(b.Address(), first.Address()) {
		t.Error("the keys differ")
	}
	for i, s := range []*comet.Signer{first, a, b} {
		if err := comet.PrivValidator(s).SignVote("c", vote(int64(5+i), 1)); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(chainState(dir, "c-s2")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the sign state of a chain: %v, %v", info, err)
	}
	again := load(t, dir)
	for i, s := range []*comet.Signer{again, forChain(t, again, "c-s2"), forChain(t, again, "c-s3")} {
		if s.Height() != uint64(5+i) {
			t.Errorf("signer %d goes on at height %d, want %d", i, s.Height(), 5+i)
		}
		if err := comet.PrivValidator(s).SignVote("c", vote(int64(5+i), 2)); err == nil {
			t.Errorf("signer %d signed two votes of one step", i)
		}
	}
	// A chain that is new begins at height 1 whatever the key signed elsewhere.
	if err := comet.PrivValidator(forChain(t, again, "c-s9")).SignVote("c", vote(1, 1)); err != nil {
		t.Error(err)
	}
}

// A sign state that was there once is never made anew.
func TestKeyringMissesSignStates(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		spoil func(t *testing.T, dir string)
		want  string
	}{
		{"state removed", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Remove(chainState(dir, "c-s2")); err != nil {
				t.Fatal(err)
			}
		}, "leave that chain to the other validators"},
		{"all states removed", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.RemoveAll(filepath.Join(dir, "chains")); err != nil {
				t.Fatal(err)
			}
		}, "put the newest one back"},
		{"state cut short", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.WriteFile(chainState(dir, "c-s2"), []byte(`{"hei`), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "decode"},
		{"state for others to read", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Chmod(chainState(dir, "c-s2"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "chmod 600"},
		{"list cut short", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, chainList), []byte(`{"cha`), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "decode"},
		{"state not listed", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Remove(filepath.Join(dir, chainList)); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"none", func(*testing.T, string) {}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir, first, _ := signerKeys(t)
			if err := comet.PrivValidator(forChain(t, first, "c-s2")).SignVote("c", vote(7, 1)); err != nil {
				t.Fatal(err)
			}
			tt.spoil(t, dir)
			s, err := load(t, dir).ForChain("c-s2")
			switch {
			case tt.want == "" && (err != nil || s.Height() != 7):
				t.Errorf("ForChain = %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("ForChain = %v, want %q", err, tt.want)
			}
			if tt.name == "state not listed" { // it is again, with what was found
				if err := os.Remove(chainState(dir, "c-s2")); err != nil {
					t.Fatal(err)
				}
				forChain(t, load(t, dir), "c-s3")
				if _, err := load(t, dir).ForChain("c-s2"); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("ForChain of a lost state whose list was made again = %v", err)
				}
			}
		})
	}
}

// A vote on a further chain leaves only when its sign state is on disk; one that
// cannot be saved there does not end signing elsewhere.
func TestKeyringIsDurable(t *testing.T) {
	t.Parallel()
	_, first, _ := signerKeys(t)
	a, b := forChain(t, first, "c-s2"), forChain(t, first, "c-s3")
	comet.FailSync(a, errBoom)
	v := vote(1, 1)
	if err := comet.PrivValidator(a).SignVote("c", v); !errors.Is(err, comet.ErrSignerBroken) || len(v.Signature) != 0 {
		t.Errorf("SignVote = %v, signature %x", err, v.Signature)
	}
	for _, s := range []*comet.Signer{first, b} {
		if err := errors.Join(comet.PrivValidator(s).SignVote("c", vote(1, 1)), s.Err()); err != nil {
			t.Error(err)
		}
	}
}

// One chain has one sign state of a key, whoever asks for it first.
func TestKeyringOfOneChain(t *testing.T) {
	t.Parallel()
	dir, first, _ := signerKeys(t)
	if id := first.ChainID(); id != "" {
		t.Errorf("a signer that serves nobody is of chain %q", id)
	}
	if err := comet.Claim(first, "c"); err != nil {
		t.Fatal(err)
	}
	if _, err := first.ForChain("c"); err == nil {
		t.Error("the main chain has two sign states")
	}
	shard := forChain(t, first, "c-s2")
	if err := comet.Claim(shard, "c-s3"); err == nil || !strings.Contains(err.Error(), "is for chain c-s2, not c-s3") {
		t.Errorf("another chain takes it: %v", err)
	}
	if err := comet.Claim(shard, "c-s2"); err != nil {
		t.Error(err)
	}
	if err := comet.Claim(shard, "c-s2"); err == nil {
		t.Error("two take it")
	}
	if first.ChainID() != "c" || shard.ChainID() != "c-s2" {
		t.Errorf("chains %q, %q", first.ChainID(), shard.ChainID())
	}
	if err := comet.Claim(load(t, dir), "c-s2"); err == nil || !strings.Contains(err.Error(), "another sign state") {
		t.Errorf("the first signer takes a chain that has one: %v", err)
	}
}

func TestKeyringRefusesNames(t *testing.T) {
	t.Parallel()
	dir, first, _ := signerKeys(t)
	for _, id := range []string{"", ".", "..", ".c", "-c", "a/b", "../c", "a b", "ä", strings.Repeat("c", 51)} {
		if _, err := first.ForChain(id); err == nil {
			t.Errorf("chain id %q is taken", id)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "chains")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was made: %v", err)
	}
	for id, want := range map[string]bool{
		"c-s2": true, "c-s0": true, "c-s4294967295": true, "c-s4294967296": false, "c-s02": false, "c-s+2": false,
		"c-s": false, "c": false, "d-s2": false, "c-s2-s3": false, "cc-s2": false,
		"c-s2-g1": true, "c-s2-g1z141z3": true, "c-s2-g1z141z4": false, "c-s2-g0": false, "c-s2-g01": false, "c-s2-g": false, "c-s2-g1-g2": false, "c-g1": false, "c-s2-gA": false,
	} {
		if got := comet.ShardOf("c", id); got != want {
			t.Errorf("%q is a shard of the network of c: %v", id, got)
		}
	}
	if id := comet.ShardChainID("main-1a2b3c4d", 7); id != "main-1a2b3c4d-s7" {
		t.Error(id)
	}
	if id := comet.GenerationChainID("main-1a2b3c4d", 7, 36); id != "main-1a2b3c4d-s7-g10" {
		t.Error(id)
	}
}

// The number of chains is bounded, since a node asks its remote signer for them. A list of
// as many as there may be, whatever their names, is read again.
func TestKeyringIsBounded(t *testing.T) {
	t.Parallel()
	dir, _, _ := signerKeys(t)
	name := func(i int) string { return fmt.Sprintf("%s-s%05d", strings.Repeat("c", types.MaxChainIDLen-7), i) }
	var names []string
	for i := range comet.MaxSignerChains - 1 {
		names = append(names, fmt.Sprintf("    %q", name(i)))
	}
	if err := os.WriteFile(filepath.Join(dir, chainList), []byte("{\n  \"chains\": [\n"+strings.Join(names, ",\n")+"\n  ]\n}"), 0o600); err != nil {
		t.Fatal(err)
	}
	last := name(comet.MaxSignerChains - 1)
	if err := comet.PrivValidator(forChain(t, load(t, dir), last)).SignVote("c", vote(7, 1)); err != nil {
		t.Fatal(err)
	}
	again := load(t, dir)
	if height := forChain(t, again, last).Height(); height != 7 {
		t.Errorf("the last chain goes on at height %d", height)
	}
	if _, err := again.ForChain(name(comet.MaxSignerChains)); err == nil || !strings.Contains(err.Error(), "register a validator with a new key") {
		t.Errorf("ForChain = %v", err)
	}
}

// A key that moves takes the sign states of all its chains along.
func TestMoveSignerWithChains(t *testing.T) {
	t.Parallel()
	from, first, _ := signerKeys(t)
	for i, id := range []string{"c-s2", "c-s3"} {
		if err := comet.PrivValidator(forChain(t, first, id)).SignVote("c", vote(int64(7+i), 1)); err != nil {
			t.Fatal(err)
		}
	}
	to := filepath.Join(t.TempDir(), "to")
	if err := os.MkdirAll(filepath.Join(to, "chains", "c-s2"), 0o700); err != nil { // of a move that was cut short
		t.Fatal(err)
	}
	if err := comet.MoveSigner(from, to); err != nil {
		t.Fatal(err)
	}
	moved := load(t, to)
	if a, b := forChain(t, moved, "c-s2").Height(), forChain(t, moved, "c-s3").Height(); a != 7 || b != 8 {
		t.Errorf("the chains go on at heights %d and %d", a, b)
	}
	if err := os.Remove(chainState(to, "c-s3")); err != nil {
		t.Fatal(err)
	}
	if _, err := load(t, to).ForChain("c-s3"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a lost state after the move: %v", err)
	}
	if _, err := os.Stat(chainState(from, "c-s2")); err != nil {
		t.Errorf("the node's record: %v", err)
	}
}

// removeChain loses the sign state of a chain.
func removeChain(t *testing.T, dir, chainID string) {
	t.Helper()
	if err := os.Remove(chainState(dir, chainID)); err != nil {
		t.Fatal(err)
	}
}
