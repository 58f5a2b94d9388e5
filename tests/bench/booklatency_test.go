package main

import (
	"testing"
	"time"
)

// The legs of a booking add up to its way, in the order in which they were seen.
func TestLegs(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1_000, 0)
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	seen := []sighting{
		{at: at(100), certified: 6, anchored: 5, main: 10, proved: 10},
		{at: at(200), certified: 7, anchored: 5, main: 10, proved: 10},
		{at: at(300), certified: 9, anchored: 8, main: 11, proved: 10},
		{at: at(500), certified: 9, anchored: 8, main: 12, proved: 11},
	}
	for _, test := range []struct {
		name   string
		travel travel
		want   [4]int // milliseconds
		ok     bool
	}{
		{"all seen", travel{7, at(50), at(900)}, [4]int{150, 100, 200, 400}, true},
		{"arrived before it was seen", travel{7, at(50), at(400)}, [4]int{150, 100, 100, 0}, true},
		{"not anchored while somebody looked", travel{9, at(50), at(900)}, [4]int{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			legs, ok := legsOf(test.travel, seen)
			if ok != test.ok {
				t.Fatalf("ok is %v, want %v", ok, test.ok)
			}
			for i, ms := range test.want {
				if want := time.Duration(ms) * time.Millisecond; legs[i] != want {
					t.Errorf("leg %d took %v, want %v", i, legs[i], want)
				}
			}
		})
	}
}
