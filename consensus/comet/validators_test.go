package comet_test

import (
	"math/rand/v2"
	"testing"

	"github.com/tributary-network/tributary/consensus/comet"
)

// TestTurnedValidators compares the order of proposers that a light block tells with
// CometBFT's, turned height by height and at once.
func TestTurnedValidators(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 11))
	heights := []int64{1, 2, 511, 512, 513, 514, 1024, 1025, 1026, 3_000}
	for range 50 {
		heights = append(heights, 1+r.Int64N(3_000))
	}
	for _, powers := range [][]int64{
		{10}, {10, 10, 10, 10}, {1, 1_000_000, 3, 3}, {1 << 40, 1, 1 << 39, 12_345}, {5, 4, 3, 2, 1, 1, 1, 7, 9, 100},
	} {
		if err := comet.CompareTurned(powers, heights); err != nil {
			t.Errorf("powers %d: %v", powers, err)
		}
	}
}
