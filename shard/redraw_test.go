package shard_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/shard"
)

// redrawn draws a committee of seats by lot from candidates of these weights, and then, if
// it fails, another one.
func redrawn(t *testing.T, seed int, seats uint32, away []uint64, stakes ...uint64) (before, after shard.Assignment) {
	t.Helper()
	in := shard.Inputs{Seed: seedOf(seed), Map: establish(t, found(1, 0, 1)), Pools: []shard.Pool{pool(1, seats, stakes...)}}
	before = shard.Assign(in)[0]
	in.Failed, in.Away = rows(before.Committee.Members), away
	return before, shard.Redraw(in, 2, 1)
}

// TestRedrawSetsBack: two of the four members are gone, of six who could serve. If main
// misses them, the first draw has nobody else; if not, it has three of those who are there
// in five draws of six, which without setting anybody back three of five have.
func TestRedrawSetsBack(t *testing.T) {
	t.Parallel()
	const draws = 600
	good := 0
	for seed := range draws {
		before, blind := redrawn(t, seed, 4, nil, equal(6)...)
		gone := rows(before.Committee.Members)[:2]
		present := func(a *shard.Assignment) (n int) {
			for _, row := range rows(a.Committee.Members) {
				if !slices.Contains(gone, row) {
					n++
				}
			}
			return n
		}
		if present(&blind) >= 3 {
			good++
		}
		if _, a := redrawn(t, seed, 4, gone, equal(6)...); present(&a) != 4 || len(a.Committee.Members) != 4 {
			t.Fatalf("seed %d: %v serve although %v are away", seed, rows(a.Committee.Members), gone)
		}
		if _, a := redrawn(t, seed, 5, gone, equal(6)...); present(&a) != 4 || len(a.Committee.Members) != 5 {
			t.Fatalf("seed %d: of five seats %v", seed, rows(a.Committee.Members)) // nobody is left to do without both
		}
	}
	if good < draws*79/100 || good > draws*87/100 {
		t.Errorf("%d of %d draws have three who are there, want five of six", good, draws)
	}
}

// TestRedrawIsNoGain: who has a quarter of the candidates and makes its committee fail has
// fewer of the next one; and who may choose when others fail has, over all draws, as many
// good and bad ones as if nobody was set back.
func TestRedrawIsNoGain(t *testing.T) {
	t.Parallel()
	const draws, seats, all, bad = 3_000, 9, 20, 5
	count := func(a *shard.Assignment) (n int) {
		for _, row := range rows(a.Committee.Members) {
			if row < bad {
				n++
			}
		}
		return n
	}
	var stalls, then, sum, plain int
	var tails [2]int // with a third of the seats or more: redrawn, and drawn once
	for seed := range draws {
		before, after := redrawn(t, seed, seats, nil, equal(all)...)
		x, y := count(&before), count(&after)
		if plain, sum = plain+x, sum+y; 3*x >= seats {
			tails[1]++
			stalls, then = stalls+1, then+y
		}
		if 3*y >= seats {
			tails[0]++
		}
	}
	// A quarter of nine seats is 2.25.
	if mean := float64(then) / float64(stalls); stalls < draws/4 || mean > 2.25 {
		t.Errorf("who made %d committees fail has %.2f of the next nine seats, a quarter are 2.25", stalls, mean)
	}
	if a, b := float64(sum)/draws, float64(plain)/draws; a < b-0.1 || a > b+0.1 {
		t.Errorf("after a redraw %.2f seats, before %.2f", a, b)
	}
	if a, b := tails[0], tails[1]; a > b+draws/25 || a < b-draws/25 {
		t.Errorf("a third of the seats in %d of %d redraws, in %d draws", a, draws, b)
	}
}

// TestRedrawKeepsTwoThirds: whoever is away and failed, and however stakes are spread, two
// thirds of the weight have lots, and as many candidates as there are seats; and who is
// named and may be set back is.
func TestRedrawKeepsTwoThirds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		stakes := rapid.SliceOfN(rapid.Uint64Range(1, 100), 1, 12).Draw(rt, "stakes")
		some := rapid.SliceOf(rapid.Uint64Range(0, uint64(len(stakes))))
		p := pool(1, uint32(rapid.IntRange(1, 6).Draw(rt, "seats")), stakes...)
		in := shard.Inputs{Seed: seedOf(1), Away: some.Draw(rt, "away"), Failed: rapid.SliceOfDistinct(rapid.Uint64Range(0, 12), rapid.ID).Draw(rt, "failed")}
		back := p.SetBack(&in, rapid.String().Draw(rt, "tag"))
		var gone, total uint64
		for row, stake := range stakes {
			if total += stake; back[uint64(row)] {
				gone += stake
			}
		}
		left := len(stakes) - len(back)
		if 3*gone > total || len(back) > 0 && left < int(p.Rules.Seats) {
			rt.Fatalf("of %d, %v have no lot", stakes, back)
		}
		for _, row := range slices.Concat(in.Away, in.Failed) {
			if row < uint64(len(stakes)) && !back[row] && left > int(p.Rules.Seats) && 3*(gone+stakes[row]) <= total {
				rt.Fatalf("of %d, %v have no lot and %d has one", stakes, back, row)
			}
		}
	})
}
