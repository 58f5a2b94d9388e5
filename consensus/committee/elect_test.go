package committee_test

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

// unit is the stake that makes one unit of power.
const unit = committee.PowerUnit

// candidate returns a candidate in a row whose keys are made up.
func candidate(row, stake uint64) committee.Candidate {
	c := committee.Candidate{Validator: row, Stake: stake, SelfStake: stake}
	c.ConsensusKey = ledger.HashOf("candidate", binary.BigEndian.AppendUint64(nil, row))
	copy(c.BLSKey[:], c.ConsensusKey[:])
	return c
}

// candidates returns candidates in rows 0, 1, ... with these stakes.
func candidates(stakes ...uint64) []committee.Candidate {
	var list []committee.Candidate
	for row, stake := range stakes {
		list = append(list, candidate(uint64(row), stake))
	}
	return list
}

func powers(members []committee.Member) []uint64 {
	var list []uint64
	for _, m := range members {
		list = append(list, m.Power)
	}
	return list
}

func rows(members []committee.Member) []uint64 {
	var list []uint64
	for _, m := range members {
		list = append(list, m.Validator)
	}
	return list
}

func powerOf(members []committee.Member, row uint64) uint64 {
	for _, m := range members {
		if m.Validator == row {
			return m.Power
		}
	}
	return 0
}

func total(members []committee.Member) uint64 {
	c := committee.Committee{Members: members}
	return c.TotalPower()
}

func TestElect(t *testing.T) {
	t.Parallel()
	scaled := func(units ...uint64) []committee.Candidate {
		for i := range units {
			units[i] *= unit
		}
		return candidates(units...)
	}
	for _, row := range []struct {
		name  string
		rules committee.Rules
		in    []committee.Candidate
		want  []uint64 // powers
		rows  []uint64 // nil where lots decide
	}{
		{"nobody", committee.Rules{Seats: 4}, nil, nil, nil},
		{"no seats", committee.Rules{}, scaled(1, 2), nil, nil},
		{"no cap", committee.Rules{Seats: 4, PowerCapBps: 10_000}, scaled(1, 2, 3, 94), []uint64{94, 3, 2, 1}, []uint64{3, 2, 1, 0}},
		{"above no cap", committee.Rules{Seats: 4, PowerCapBps: 20_000}, scaled(1, 99), []uint64{99, 1}, []uint64{1, 0}},
		{"the lowest has no seat", committee.Rules{Seats: 2, PowerCapBps: 10_000}, scaled(5, 4, 6), []uint64{6, 5}, []uint64{2, 0}},
		{"no stake", committee.Rules{Seats: 4, PowerCapBps: 10_000}, scaled(0, 7), []uint64{7}, []uint64{1}},
		{"less than a unit", committee.Rules{Seats: 4, PowerCapBps: 10_000}, candidates(1, unit-1, 2*unit-1), []uint64{1, 1, 1}, nil},
		{"below the smallest stake", committee.Rules{Seats: 4, PowerCapBps: 10_000, MinStake: 3 * unit}, scaled(2, 3, 4), []uint64{4, 3}, []uint64{2, 1}},
		{"below the smallest own stake", committee.Rules{Seats: 4, PowerCapBps: 10_000, MinSelfStake: 3 * unit}, scaled(2, 3, 4), []uint64{4, 3}, []uint64{2, 1}},
		// c = 40 % of (90 + c), so c = 60; 150 of 180 are left.
		{"one whale", committee.Rules{Seats: 9, PowerCapBps: 4_000}, scaled(20, 30, 40, 90), []uint64{60, 40, 30, 20}, []uint64{3, 2, 1, 0}},
		// c = 30 % of (2c + 40): 30, but the next has 25: exact. 100 of 120 are left.
		{"two whales", committee.Rules{Seats: 9, PowerCapBps: 3_000}, scaled(15, 25, 42, 38), []uint64{30, 30, 25, 15}, nil},
		// c = 33.33 % of (c + 10+10+10): 14.998, rounded down.
		{"rounded down", committee.Rules{Seats: 9, PowerCapBps: 3_333}, scaled(10, 10, 10, 28), []uint64{14, 10, 10, 10}, nil},
		{"exactly a quarter goes", committee.Rules{Seats: 9, PowerCapBps: 4_000}, scaled(20, 30, 40, 110), []uint64{60, 40, 30, 20}, nil},
		// c = 60 again, but 90 + 60 is less than three quarters of 204: c = 63.
		{"more than a quarter would go", committee.Rules{Seats: 9, PowerCapBps: 4_000}, scaled(20, 30, 40, 114), []uint64{63, 40, 30, 20}, nil},
		{"a whale among dwarfs", committee.Rules{Seats: 9, PowerCapBps: 4_000}, scaled(20, 30, 40, 500), []uint64{353, 40, 30, 20}, nil},
		{"half of all", committee.Rules{Seats: 9, PowerCapBps: 1_000}, scaled(50, 50, 100), []uint64{50, 50, 50}, nil},
		{"a quarter of an odd number", committee.Rules{Seats: 9, PowerCapBps: 1_000}, scaled(1, 2, 3, 5), []uint64{3, 3, 2, 1}, nil},
		{"too few for the cap", committee.Rules{Seats: 9, PowerCapBps: 1_000}, scaled(10, 10, 10, 10), []uint64{8, 8, 8, 8}, nil},
		{"sybils", committee.Rules{Seats: 9, PowerCapBps: 1_000}, scaled(1000, 1000, 1000, 1000, 10, 10, 10, 10, 10), []uint64{747, 747, 747, 747, 10, 10, 10, 10, 10}, nil},
		{"a cap of nothing", committee.Rules{Seats: 9}, scaled(5, 11), []uint64{7, 5}, nil},
		{"alone", committee.Rules{Seats: 9, PowerCapBps: 1_000}, scaled(7), []uint64{6}, []uint64{0}},
		{"all drops there are", committee.Rules{Seats: 9, PowerCapBps: 10_000}, candidates(uint64(ledger.MaxAmount)), []uint64{1<<52 - 1}, nil},
	} {
		got := committee.Elect(row.rules, ledger.Hash{1}, row.in)
		if diff := cmp.Diff(row.want, powers(got)); diff != "" {
			t.Errorf("%s: powers %s", row.name, diff)
		}
		if row.rows != nil && !slices.Equal(rows(got), row.rows) {
			t.Errorf("%s: rows %v, want %v", row.name, rows(got), row.rows)
		}
	}
}

func TestElectTakesNoMoreThanMaxSeats(t *testing.T) {
	t.Parallel()
	var list []committee.Candidate
	for row := range uint64(committee.MaxSeats + 5) {
		list = append(list, candidate(row, unit))
	}
	if got := committee.Elect(committee.Rules{Seats: 1 << 31}, ledger.Hash{}, list); len(got) != committee.MaxSeats {
		t.Errorf("%d members, want %d", len(got), committee.MaxSeats)
	}
}

// TestTiesGoByLot: among equal stakes the seed decides, each order about as often.
func TestTiesGoByLot(t *testing.T) {
	t.Parallel()
	list, first := candidates(unit, unit, unit), map[uint64]int{}
	for n := range uint64(600) {
		seed := ledger.HashOf("seed", binary.BigEndian.AppendUint64(nil, n))
		first[committee.Elect(committee.Rules{Seats: 1}, seed, list)[0].Validator]++
	}
	for row := range uint64(3) {
		if n := first[row]; n < 160 || n > 240 {
			t.Errorf("row %d is elected in %d of 600 lots, want about 200", row, n)
		}
	}
}

// election is an election that rapid makes up: stakes of all sizes, with ties.
type election struct {
	rules  committee.Rules
	seed   ledger.Hash
	stakes []uint64
}

func drawElection(rt *rapid.T) election {
	stake := rapid.OneOf(
		rapid.Uint64Range(0, 20),
		rapid.Map(rapid.Uint64Range(0, 50), func(n uint64) uint64 { return n * unit }),
		rapid.Uint64Range(0, 1<<56),
	)
	return election{
		rules: committee.Rules{
			Seats:        rapid.Uint32Range(1, 30).Draw(rt, "seats"),
			PowerCapBps:  rapid.OneOf(rapid.Uint32Range(0, 10_500), rapid.SampledFrom([]uint32{500, 1_000, 2_500, 3_333})).Draw(rt, "cap"),
			MinStake:     rapid.Uint64Range(0, 3*unit).Draw(rt, "smallest stake"),
			MinSelfStake: rapid.Uint64Range(0, 10).Draw(rt, "smallest own stake"),
		},
		seed:   rapid.Map(rapid.Uint64(), func(n uint64) ledger.Hash { return ledger.Hash{byte(n), byte(n >> 8)} }).Draw(rt, "seed"),
		stakes: rapid.SliceOfN(stake, 0, 40).Draw(rt, "stakes"),
	}
}

// TestElectProperty: seats, ranks, cap and bounds of any election.
func TestElectProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		e := drawElection(rt)
		list := candidates(e.stakes...)
		got := committee.Elect(e.rules, e.seed, list)

		eligible := slices.DeleteFunc(slices.Clone(e.stakes), func(s uint64) bool {
			return s == 0 || s < e.rules.MinStake || s < e.rules.MinSelfStake
		})
		if want := min(len(eligible), int(e.rules.Seats)); len(got) != want {
			rt.Fatalf("%d members, want %d", len(got), want)
		}
		if len(got) == 0 {
			return
		}
		lowest, sum := ^uint64(0), total(got)
		for i, m := range got {
			if m.Power < 1 || m.Power > max(1, e.stakes[m.Validator]/unit) {
				rt.Fatalf("power %d of stake %d", m.Power, e.stakes[m.Validator])
			}
			if i > 0 && m.Power > got[i-1].Power {
				rt.Fatal("powers ascend")
			}
			lowest = min(lowest, e.stakes[m.Validator])
		}
		for row, s := range e.stakes {
			if s > lowest && powerOf(got, uint64(row)) == 0 && s >= e.rules.MinStake && s >= e.rules.MinSelfStake {
				rt.Fatalf("stake %d has no seat, %d has", s, lowest)
			}
		}
		if sum > committee.MaxTotalPower {
			rt.Fatalf("total power %d", sum)
		}
		checkCap(rt, e, got)
		c := committee.Committee{Members: got}
		if again, err := committee.Decode(c.Encode()); err != nil || !slices.Equal(again.Members, got) {
			rt.Fatalf("an elected committee does not survive its encoding: %v", err)
		}
	})
}

// checkCap checks, with other arithmetic than Elect's, that the cap is kept
// exactly and takes nothing it need not: one unit more would break it.
func checkCap(rt *rapid.T, e election, got []committee.Member) {
	sum := func(c uint64) *big.Int { // of min(unit stake, c)
		sum := new(big.Int)
		for _, m := range got {
			sum.Add(sum, new(big.Int).SetUint64(min(c, max(1, e.stakes[m.Validator]/unit))))
		}
		return sum
	}
	all := sum(1 << 63)
	within := func(c uint64) bool { // 10000 c <= cap * sum
		allowed := new(big.Int).Mul(sum(c), big.NewInt(int64(e.rules.PowerCapBps)))
		return new(big.Int).Mul(big.NewInt(10_000), new(big.Int).SetUint64(c)).Cmp(allowed) <= 0
	}
	enough := func(c uint64) bool { // 4 sum >= 3 of all
		return new(big.Int).Mul(sum(c), big.NewInt(4)).Cmp(new(big.Int).Mul(all, big.NewInt(3))) >= 0
	}
	top := got[0].Power
	if !enough(top) {
		rt.Fatalf("powers of %d leave less than three quarters of %s", total(got), all)
	}
	for _, m := range got {
		own := max(1, e.stakes[m.Validator]/unit)
		if m.Power < own && m.Power != top {
			rt.Fatalf("power %d is cut, the highest is %d", m.Power, top)
		}
		if m.Power < own && within(top+1) {
			rt.Fatalf("power %d is cut more than the cap asks", m.Power)
		}
	}
	if !within(top) && top > 1 && enough(top-1) {
		rt.Fatalf("power %d of %d is above a cap of %d, and could be cut more", top, total(got), e.rules.PowerCapBps)
	}
}

// TestPowerFollowsStake: whatever the cap and the stakes, no members have more than
// 4/3 of their share of the stake, however they are chosen: less than a quarter of it
// never has a third of the power, less than half never two thirds.
func TestPowerFollowsStake(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		e := drawElection(rt)
		got := committee.Elect(e.rules, e.seed, candidates(e.stakes...))
		var units, power, allUnits, allPower uint64
		for _, m := range got {
			u := max(1, e.stakes[m.Validator]/unit)
			allUnits, allPower = allUnits+u, allPower+m.Power
			if rapid.Bool().Draw(rt, "chosen") {
				units, power = units+u, power+m.Power
			}
		}
		mul := func(a, b, c uint64) *big.Int {
			x := new(big.Int).Mul(new(big.Int).SetUint64(a), new(big.Int).SetUint64(b))
			return x.Mul(x, new(big.Int).SetUint64(c))
		}
		if mul(3, power, allUnits).Cmp(mul(4, units, allPower)) > 0 {
			rt.Fatalf("%d of %d units have %d of the power of %d", units, allUnits, power, allPower)
		}
	})
}

// TestSybils: many validators with the smallest stake have the share of power that
// their stake has, but for a third of it more.
func TestSybils(t *testing.T) {
	t.Parallel()
	for _, honest := range []int{1, 2, 4, 9, 30} {
		for _, sybils := range []int{1, 3, 5, 10, 50, 90} {
			stakes := append(slices.Repeat([]uint64{1_000_000 * unit}, honest), slices.Repeat([]uint64{10_000 * unit}, sybils)...)
			for _, limit := range []uint32{500, 1_000, 3_333, 5_000} {
				got := committee.Elect(committee.Rules{Seats: 200, PowerCapBps: limit}, ledger.Hash{}, candidates(stakes...))
				power, stake := uint64(sybils)*got[len(got)-1].Power, uint64(sybils)
				if power*(uint64(honest)*100+stake)*3 > stake*total(got)*4 {
					t.Errorf("%d honest, cap %d: %d sybils with %d of %d stakes have %d of %d",
						honest, limit, sybils, stake, uint64(honest)*100+stake, power, total(got))
				}
			}
		}
	}
}

// TestElectIgnoresOrder: the order of the candidates does not matter.
func TestElectIgnoresOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		e := drawElection(rt)
		list := candidates(e.stakes...)
		want := committee.Elect(e.rules, e.seed, list)
		mixed := rapid.Permutation(list).Draw(rt, "order")
		before := slices.Clone(mixed)
		if got := committee.Elect(e.rules, e.seed, mixed); !slices.Equal(got, want) {
			rt.Fatalf("another order elects %v, not %v", rows(got), rows(want))
		}
		if !slices.Equal(before, mixed) {
			rt.Fatal("the candidates are changed")
		}
	})
}

// TestMoreStakeIsNeverLessPower: whoever bonds more has at least the power it
// had, and at least the power of everybody with less.
func TestMoreStakeIsNeverLessPower(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		e := drawElection(rt)
		if len(e.stakes) == 0 {
			return
		}
		row := uint64(rapid.IntRange(0, len(e.stakes)-1).Draw(rt, "row"))
		list := candidates(e.stakes...)
		before := committee.Elect(e.rules, e.seed, list)
		more := rapid.OneOf(rapid.Uint64Range(1, 5*unit), rapid.Uint64Range(1, 1<<57)).Draw(rt, "more")
		list[row].Stake += more
		list[row].SelfStake += more
		after := committee.Elect(e.rules, e.seed, list)
		if was, is := powerOf(before, row), powerOf(after, row); is < was {
			rt.Fatalf("power %d before, %d with %d drops more", was, is, more)
		}
		for _, m := range after {
			if p := powerOf(after, row); m.Power > p && p > 0 && list[m.Validator].Stake < list[row].Stake {
				rt.Fatalf("stake %d has power %d, stake %d has %d", list[m.Validator].Stake, m.Power, list[row].Stake, p)
			}
		}
	})
}

// TestWhale: with up to half of the stake, and others with real stake, nobody has
// more than a third of the power, and with less than a third of the stake no more
// than the cap, if others do not have more of it.
func TestWhale(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.SampledFrom([]uint32{500, 1_000, 2_000, 3_333}).Draw(rt, "cap")
		stakes := rapid.SliceOfN(rapid.Uint64Range(unit, 1<<40), 3, 60).Draw(rt, "stakes")
		var others uint64
		for _, s := range stakes {
			others += s / unit
		}
		n := len(stakes)
		whale := rapid.Uint64Range(1, others).Draw(rt, "whale")
		stakes = append(stakes, whale*unit)
		got := committee.Elect(committee.Rules{Seats: uint32(len(stakes)), PowerCapBps: limit}, ledger.Hash{}, candidates(stakes...))
		order := slices.Sorted(slices.Values(stakes))
		two := order[n]/unit + order[n-1]/unit
		if top := got[0].Power; 2*(order[n]/unit) <= others+whale && 4*two <= 3*(others+whale) && 3*(top-1) > total(got) {
			rt.Fatalf("one has %d of %d with %d of %d", top, total(got), order[n]/unit, others+whale)
		}
	})
	for _, row := range []struct{ others, whale, share uint64 }{{90, 40, 1_000}, {90, 90, 3_334}, {100, 300, 6_667}} {
		stakes := append(slices.Repeat([]uint64{1000 * unit}, int(row.others)), row.whale*1000*unit)
		got := committee.Elect(committee.Rules{Seats: 200, PowerCapBps: 1_000}, ledger.Hash{}, candidates(stakes...))
		if p := powerOf(got, row.others); p*10_000 > total(got)*row.share || p*10_000 < total(got)*(row.share-2) {
			t.Errorf("a whale of %d with %d others has %d of %d, want %d bps", row.whale, row.others, p, total(got), row.share)
		}
	}
}

// Splitting a whale into several validators is the only way around the cap, and
// costs a seat each.
func ExampleElect() {
	list := candidates(100*unit, 100*unit, 100*unit, 200*unit)
	for _, m := range committee.Elect(committee.Rules{Seats: 4, PowerCapBps: 3_000}, ledger.Hash{}, list)[:1] {
		fmt.Printf("validator %d has power %d of 428\n", m.Validator, m.Power)
	}
	// Output: validator 3 has power 128 of 428
}

func BenchmarkElect(b *testing.B) {
	for _, n := range []int{4, 100, 1000} {
		b.Run(fmt.Sprintf("candidates=%d", n), func(b *testing.B) {
			var list []committee.Candidate
			for row := range uint64(n) {
				list = append(list, candidate(row, unit*(1+row*row)))
			}
			for b.Loop() {
				committee.Elect(committee.Rules{Seats: 100, PowerCapBps: 1_000}, ledger.Hash{}, list)
			}
		})
	}
}
