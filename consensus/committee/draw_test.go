package committee_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

func seedOf(n int) ledger.Hash {
	return ledger.HashOf("seed", binary.BigEndian.AppendUint64(nil, uint64(n)))
}

// chiSquare returns the sum of (seen-want)^2/want.
func chiSquare(seen []int, want []float64) float64 {
	var sum float64
	for i, n := range seen {
		d := float64(n) - want[i]
		sum += d * d / want[i]
	}
	return sum
}

// TestDrawWeights: the first drawn is drawn as often as its power says, and the
// second as often as drawing without putting back says. The limits are the
// 99.9th percentiles of chi-square; the seeds are fixed.
func TestDrawWeights(t *testing.T) {
	t.Parallel()
	const rounds = 20_000
	pool := members(1, 2, 3, 4, 10)
	first, second := make([]int, 5), make([]int, 5)
	for n := range rounds {
		got := committee.Draw(seedOf(n), "weights", pool, 2)
		first[got[0].Validator]++
		second[got[1].Validator]++
	}
	var wantFirst, wantSecond []float64
	for i, m := range pool {
		wantFirst = append(wantFirst, rounds*float64(m.Power)/20)
		var p float64
		for j, other := range pool {
			if i != j {
				p += float64(other.Power) / 20 * float64(m.Power) / float64(20-other.Power)
			}
		}
		wantSecond = append(wantSecond, rounds*p)
	}
	const limit = 18.47 // 4 degrees of freedom
	if x := chiSquare(first, wantFirst); x > limit {
		t.Errorf("first drawn %v, want about %.0f: chi-square %.1f", first, wantFirst, x)
	}
	if x := chiSquare(second, wantSecond); x > limit {
		t.Errorf("second drawn %v, want about %.0f: chi-square %.1f", second, wantSecond, x)
	}
}

// TestDrawIsAShuffle: with equal powers all orders are equally likely, whether
// the total is a power of two (no rejection) or not.
func TestDrawIsAShuffle(t *testing.T) {
	t.Parallel()
	const rounds = 24_000
	for _, power := range []uint64{1, 3, 1 << 50} {
		seen := map[string]int{}
		for n := range rounds {
			seen[fmt.Sprint(rows(committee.Draw(seedOf(n), "shuffle", members(power, power, power, power), 4)))]++
		}
		var counts []int
		var want []float64
		for _, n := range seen {
			counts, want = append(counts, n), append(want, rounds/24)
		}
		if x := chiSquare(counts, want); len(seen) != 24 || x > 49.73 { // 23 degrees of freedom
			t.Errorf("power %d: %d orders, chi-square %.1f", power, len(seen), x)
		}
	}
}

// TestDrawSeedsAndTags: draws of one seed under two tags, or of two seeds, have
// nothing to do with each other.
func TestDrawSeedsAndTags(t *testing.T) {
	t.Parallel()
	pool := members(slices.Repeat([]uint64{1}, 10)...)
	const rounds = 5_000
	sameTag, sameSeed := 0, 0
	for n := range rounds {
		a := committee.Draw(seedOf(n), "a", pool, 1)[0]
		if a == committee.Draw(seedOf(n), "b", pool, 1)[0] {
			sameTag++
		}
		if a == committee.Draw(seedOf(n+rounds), "a", pool, 1)[0] {
			sameSeed++
		}
	}
	for name, n := range map[string]int{"tags": sameTag, "seeds": sameSeed} {
		if n < 430 || n > 570 {
			t.Errorf("two %s agree in %d of %d, want about 500", name, n, rounds)
		}
	}
}

func drawMembers(rt *rapid.T, name string, least int) []committee.Member {
	var list []committee.Member
	for _, row := range rapid.SliceOfNDistinct(rapid.Uint64Range(0, 60), least, 40, rapid.ID).Draw(rt, name) {
		list = append(list, member(row, rapid.OneOf(rapid.Uint64Range(0, 9), rapid.Uint64Range(1, 1<<47)).Draw(rt, "power")))
	}
	return list
}

func withPower(list []committee.Member) []committee.Member {
	return slices.DeleteFunc(slices.Clone(list), func(m committee.Member) bool { return m.Power == 0 })
}

// TestDrawProperty: as many as asked, none twice, none without power, whatever
// the order of the candidates; a longer draw begins like a shorter one.
func TestDrawProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		pool := drawMembers(rt, "rows", 0)
		n := rapid.IntRange(-1, 45).Draw(rt, "n")
		seed := seedOf(rapid.IntRange(0, 1000).Draw(rt, "seed"))
		before := slices.Clone(pool)
		got := committee.Draw(seed, "tag", pool, n)
		if want := max(0, min(n, len(withPower(pool)))); len(got) != want {
			rt.Fatalf("%d drawn, want %d", len(got), want)
		}
		seen := map[uint64]bool{}
		for _, m := range got {
			if seen[m.Validator] || m.Power == 0 || !slices.Contains(pool, m) {
				rt.Fatalf("drawn %v", m)
			}
			seen[m.Validator] = true
		}
		if again := committee.Draw(seed, "tag", rapid.Permutation(pool).Draw(rt, "order"), n); !slices.Equal(got, again) {
			rt.Fatal("another order draws others")
		}
		if more := committee.Draw(seed, "tag", pool, n+1); !slices.Equal(more[:len(got)], got) {
			rt.Fatal("a longer draw begins otherwise")
		}
		if !slices.Equal(before, pool) {
			rt.Fatal("the candidates are changed")
		}
	})
}

// TestRotateProperty: the seats are filled, nobody sits twice, members stay with
// their new powers, and not more change than may.
func TestRotateProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		current := withPower(drawMembers(rt, "current", 0))
		pool := drawMembers(rt, "candidates", 0)
		n := rapid.OneOf(rapid.Just(len(current)), rapid.IntRange(0, 45)).Draw(rt, "n")
		seed := seedOf(rapid.IntRange(0, 1000).Draw(rt, "seed"))
		got := committee.Rotate(seed, "tag", current, pool, n)

		candidatesLeft := withPower(pool)
		if want := min(n, len(candidatesLeft)); len(got) != want {
			rt.Fatalf("%d members, want %d", len(got), want)
		}
		seated := map[uint64]bool{}
		for _, m := range current {
			seated[m.Validator] = true
		}
		seen, stayed, possible := map[uint64]bool{}, 0, 0
		for _, m := range got {
			if seen[m.Validator] || !slices.Contains(candidatesLeft, m) {
				rt.Fatalf("member %v", m)
			}
			seen[m.Validator] = true
			if seated[m.Validator] {
				stayed++
			}
		}
		for _, m := range candidatesLeft {
			if seated[m.Validator] {
				possible++
			}
		}
		gone, limit := len(current)-possible, max(1, n/5)
		if left := min(possible, n) - stayed; left > max(0, limit-gone) {
			rt.Fatalf("%d leave by lot and %d anyway, of %d seats", left, gone, n)
		}
		again := committee.Rotate(seed, "tag", current, rapid.Permutation(pool).Draw(rt, "order"), n)
		if !slices.Equal(got, again) {
			rt.Fatal("another order of candidates rotates otherwise")
		}
	})
}

func TestRotate(t *testing.T) {
	t.Parallel()
	ten := members(1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
	var others []committee.Member
	for row := range uint64(30) {
		others = append(others, member(100+row, 1))
	}
	changed := func(now []committee.Member) (fresh int) {
		for _, m := range now {
			if m.Validator >= 100 {
				fresh++
			}
		}
		return fresh
	}
	for _, row := range []struct {
		name       string
		current    []committee.Member
		candidates []committee.Member
		n          int
		members    int
		fresh      int
	}{
		{"a fifth", ten, slices.Concat(ten, others), 10, 10, 2},
		{"one of four", ten[:4], slices.Concat(ten[:4], others), 4, 4, 1},
		{"nobody else", ten, ten, 10, 10, 0},
		{"one newcomer", ten, slices.Concat(ten, others[:1]), 10, 10, 1},
		{"one is no candidate", ten, slices.Concat(ten[1:], others), 10, 10, 2},
		{"five are no candidates", ten, slices.Concat(ten[5:], others), 10, 10, 5},
		{"nobody is a candidate", ten, others, 10, 10, 10},
		{"first of all", nil, others, 10, 10, 10},
		{"two more seats", ten, slices.Concat(ten, others), 12, 12, 4},
		{"two seats less", ten, slices.Concat(ten, others), 8, 8, 0},
		{"no seats", ten, ten, 0, 0, 0},
	} {
		got := committee.Rotate(seedOf(1), "tag", row.current, row.candidates, row.n)
		if len(got) != row.members || changed(got) != row.fresh {
			t.Errorf("%s: %d members, %d of them new: %v", row.name, len(got), changed(got), rows(got))
		}
	}
	stronger := slices.Clone(ten)
	for i := range stronger {
		stronger[i].Power = 7
	}
	for _, m := range committee.Rotate(seedOf(1), "tag", ten, stronger, 10) {
		if m.Power != 7 {
			t.Errorf("row %d keeps its old power %d", m.Validator, m.Power)
		}
	}
}

// TestRotateKeepsAQuorum: those who stay decide without the newcomers, and with as many
// away as Rotate says, but not with one more.
func TestRotateKeepsAQuorum(t *testing.T) {
	t.Parallel()
	for n := 4; n <= committee.MaxSeats; n++ {
		all := make([]committee.Member, 2*n)
		for i := range all {
			all[i] = member(uint64(i), 1)
		}
		stay := 0
		for _, m := range committee.Rotate(seedOf(n), "tag", all[:n], all, n) {
			if m.Validator < uint64(n) {
				stay++
			}
		}
		away := (n-1)/3 - max(1, n/5)
		if away < 0 || 3*(stay-away) <= 2*n || 3*(stay-away-1) > 2*n {
			t.Errorf("%d of %d stay, %d of them may be away", stay, n, away)
		}
	}
}

// TestRotateLeavers: every member leaves equally often, and newcomers come as
// often as their powers say.
func TestRotateLeavers(t *testing.T) {
	t.Parallel()
	const rounds = 10_000
	five := members(1, 5, 20, 100, 1000)
	newcomers := []committee.Member{member(100, 1), member(101, 3)}
	left, came := make([]int, 5), make([]int, 2)
	for n := range rounds {
		got := committee.Rotate(seedOf(n), "tag", five, slices.Concat(five, newcomers), 5)
		for row := range uint64(5) {
			if powerOf(got, row) == 0 {
				left[row]++
			}
		}
		came[got[4].Validator-100]++
	}
	if x := chiSquare(left, []float64{2000, 2000, 2000, 2000, 2000}); x > 18.47 {
		t.Errorf("members left %v times: chi-square %.1f", left, x)
	}
	if x := chiSquare(came, []float64{2500, 7500}); x > 10.83 {
		t.Errorf("newcomers came %v times: chi-square %.1f", came, x)
	}
}

func BenchmarkDraw(b *testing.B) {
	pool := members(slices.Repeat([]uint64{1_000_003}, 1000)...)
	for b.Loop() {
		committee.Draw(ledger.Hash{}, "tag", pool, 32)
	}
}
