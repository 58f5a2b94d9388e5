package main

import "testing"

// Little memory in use may gather a fixed amount of garbage; much gathers a percentage, or
// by what a collection looks at.
func TestPercentFor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name         string
		percent      int
		live, looked uint64
		want         int
	}{
		{"nothing in use", 30, 0, 0, mostPercent},
		{"next to nothing", 30, 1 << 20, 1 << 20, mostPercent},
		{"half of the least", 30, leastGarbage / 2, leastGarbage / 2, 200},
		{"as much as the least", 30, leastGarbage, 0, 100},
		{"much, all of it rows", 30, 4 * leastGarbage, 1 << 20, 30},
		{"much, half of it nodes", 30, 4 * leastGarbage, 2 * leastGarbage, 100},
		{"much, all of it nodes", 30, 4 * leastGarbage, 4 * leastGarbage, 200},
		{"more is looked at than lives", 30, 4 * leastGarbage, 8 * leastGarbage, 200},
		{"much, and more is allowed", 300, 4 * leastGarbage, 4 * leastGarbage, 300},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := percentFor(test.percent, test.live, test.looked); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}
