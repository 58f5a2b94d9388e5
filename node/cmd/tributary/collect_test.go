package main

import "testing"

// Little memory in use may gather a fixed amount of garbage, much a percentage.
func TestPercentFor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		percent int
		live    uint64
		want    int
	}{
		{"nothing in use", 30, 0, mostPercent},
		{"next to nothing", 30, 1 << 20, mostPercent},
		{"half of the least", 30, leastGarbage / 2, 200},
		{"as much as the least", 30, leastGarbage, 100},
		{"much", 30, 4 * leastGarbage, 30},
		{"much, and more is allowed", 100, 4 * leastGarbage, 100},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := percentFor(test.percent, test.live); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}
