package beacon_test

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/consensus/beacon"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
)

var update = flag.Bool("update", false, "rewrite the golden vectors")

// TestGolden: what seals sign and the seeds they make never change.
func TestGolden(t *testing.T) {
	t.Parallel()
	network := ledger.HashOf("network")
	got := map[string]string{}
	put := func(name string, b []byte) { got[name] = hex.EncodeToString(b) }
	secret, err := bls.NewSecretKey(make([]byte, bls.MinSeedSize))
	if err != nil {
		t.Fatal(err)
	}
	put("message", beacon.Message(network, ledger.MainChain, 2, 41))
	acc := beacon.Start(ledger.HashOf("previous seed"), 2)
	put("start", acc[:])
	for height := uint64(41); height < 44; height++ {
		seal := secret.Sign(beacon.Message(network, ledger.MainChain, 2, height))
		acc = beacon.Fold(acc, height, seal)
		put(fmt.Sprintf("seal of %d", height), seal[:])
	}
	put("folded", acc[:])
	seed := beacon.Close(acc, 2)
	put("seed", seed[:])
	var seals [][]byte
	for height := uint64(41); height < 44; height++ {
		seal := secret.Sign(beacon.Message(network, ledger.MainChain, 2, height))
		seals = append(seals, seal[:])
	}
	if whole := beacon.Seed(ledger.HashOf("previous seed"), 2, 41, seals); whole != seed {
		t.Errorf("Seed = %s, its steps make %s", whole, seed)
	}

	const path = "testdata/seeds.json"
	if *update {
		text, err := json.MarshalIndent(got, "", "  ")
		if err == nil {
			err = os.WriteFile(path, append(text, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("seals or seeds changed: %s", diff)
	}
}

// TestSealsArePlaced: a seal is good at its place only.
func TestSealsArePlaced(t *testing.T) {
	t.Parallel()
	secret, err := bls.NewSecretKey(make([]byte, bls.MinSeedSize))
	if err != nil {
		t.Fatal(err)
	}
	key, err := bls.ParseKey(secret.Public())
	if err != nil {
		t.Fatal(err)
	}
	here := ledger.HashOf("network")
	seal := secret.Sign(beacon.Message(here, 1, 2, 41))
	for _, row := range []struct {
		name    string
		message []byte
		want    bool
	}{
		{"its place", beacon.Message(here, 1, 2, 41), true},
		{"another network", beacon.Message(ledger.HashOf("other"), 1, 2, 41), false},
		{"another chain", beacon.Message(here, 2, 2, 41), false},
		{"another epoch", beacon.Message(here, 1, 3, 41), false},
		{"another height", beacon.Message(here, 1, 2, 42), false},
		{"epoch and height swapped", beacon.Message(here, 1, 41, 2), false},
	} {
		if got := key.Verify(row.message, seal); got != row.want {
			t.Errorf("%s: verifies is %v, want %v", row.name, got, row.want)
		}
	}
}
