package beacon_test

import (
	"testing"

	"github.com/tributary-network/tributary/consensus/beacon"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
)

// TestSensitivity: whatever changes of what is folded changes the seed.
func TestSensitivity(t *testing.T) {
	t.Parallel()
	type fold struct {
		height uint64
		seal   bls.Signature
	}
	seed := func(previous ledger.Hash, epoch uint64, folds ...fold) ledger.Hash {
		acc := beacon.Start(previous, epoch)
		for _, f := range folds {
			acc = beacon.Fold(acc, f.height, f.seal)
		}
		return beacon.Close(acc, epoch)
	}
	a, b := fold{1, bls.Signature{1}}, fold{2, bls.Signature{2}}
	seen := map[ledger.Hash]string{}
	for name, s := range map[string]ledger.Hash{
		"as it is":       seed(ledger.Hash{}, 1, a, b),
		"other seed":     seed(ledger.Hash{1}, 1, a, b),
		"other epoch":    seed(ledger.Hash{}, 2, a, b),
		"no blocks":      seed(ledger.Hash{}, 1),
		"one block":      seed(ledger.Hash{}, 1, a),
		"other order":    seed(ledger.Hash{}, 1, b, a),
		"other height":   seed(ledger.Hash{}, 1, a, fold{3, b.seal}),
		"other seal":     seed(ledger.Hash{}, 1, a, fold{2, a.seal}),
		"without first":  seed(ledger.Hash{}, 1, b),
		"not yet closed": beacon.Fold(beacon.Fold(beacon.Start(ledger.Hash{}, 1), 1, a.seal), 2, b.seal),
	} {
		if other, ok := seen[s]; ok {
			t.Errorf("%q and %q have one seed", name, other)
		}
		seen[s] = name
	}
}

// TestSeed is that the seed of an epoch is what its steps make, and that a block
// without a seal leaves a gap, not a shift.
func TestSeed(t *testing.T) {
	t.Parallel()
	previous, a, c := ledger.HashOf("previous"), bls.Signature{1}, bls.Signature{3}
	want := beacon.Close(beacon.Fold(beacon.Fold(beacon.Start(previous, 4), 41, a), 43, c), 4)
	if got := beacon.Seed(previous, 4, 41, [][]byte{a[:], nil, c[:], {}}); got != want {
		t.Errorf("Seed = %s, want %s", got, want)
	}
	if beacon.Seed(previous, 4, 41, [][]byte{a[:], c[:]}) == want {
		t.Error("the gap does not show")
	}
}
