package shard_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// unit is the stake of one unit of power.
const unit = committee.PowerUnit

func candidate(row, stake uint64) shard.Candidate {
	h := ledger.HashOf("candidate", binary.BigEndian.AppendUint64(nil, row))
	c := shard.Candidate{Candidate: committee.Candidate{Validator: row, ConsensusKey: h, Stake: stake, SelfStake: stake}}
	copy(c.BLSKey[:], bytes.Repeat(h[:], bls.PublicKeySize/len(h)))
	return c
}

// pool has candidates in rows 0, 1, ... with these stakes in units of power.
func pool(service, seats uint32, stakes ...uint64) shard.Pool {
	p := shard.Pool{Service: service, Rules: committee.Rules{Seats: seats, PowerCapBps: ledger.BasisPoints}}
	for row, s := range stakes {
		p.Candidates = append(p.Candidates, candidate(uint64(row), s*unit))
	}
	return p
}

func equal(n int) []uint64 { return slices.Repeat([]uint64{1_000}, n) }

func seedOf(n int) ledger.Hash {
	return ledger.HashOf("seed", binary.BigEndian.AppendUint64(nil, uint64(n)))
}

func rows(members []committee.Member) (list []uint64) {
	for _, m := range members {
		list = append(list, m.Validator)
	}
	return list
}

// fresh is how many of now are not in before.
func fresh(before, now []committee.Member) (n int) {
	for _, m := range now {
		if !slices.Contains(rows(before), m.Validator) {
			n++
		}
	}
	return n
}

func of(t *testing.T, list []shard.Assignment, id shard.ID) shard.Assignment {
	t.Helper()
	for _, a := range list {
		if a.Shard == id {
			return a
		}
	}
	t.Fatalf("shard %d is not assigned", id)
	return shard.Assignment{}
}

// TestFewCandidates: with fewer candidates than seats all serve every shard, with
// their capped stakes.
func TestFewCandidates(t *testing.T) {
	t.Parallel()
	p := pool(1, 32, 100, 300, 200, 400)
	p.Rules.PowerCapBps = 3_500
	p.Candidates[1].WorkBps = shard.MaxWorkBps // counts in draws only
	list := shard.Assign(shard.Inputs{Map: establish(t, found(1, 0, 2), found(1, 1, 1)), Pools: []shard.Pool{p}})
	if len(list) != 3 {
		t.Fatalf("%d committees, want 3", len(list))
	}
	for i, a := range list {
		var got []string
		for _, m := range a.Committee.Members {
			got = append(got, fmt.Sprintf("%d:%d", m.Validator, m.Power))
		}
		// 323 of 923 is 35 %.
		if text := strings.Join(got, " "); a.Shard != shard.ID(i+2) || a.Kept || text != "3:323 1:300 2:200 0:100" {
			t.Errorf("shard %d: %s", a.Shard, text)
		}
	}
}

// TestRotation follows a service through epochs in which nobody comes or goes.
func TestRotation(t *testing.T) {
	t.Parallel()
	m := establish(t, found(1, 0, 2))
	in := shard.Inputs{Pools: []shard.Pool{pool(1, 20, equal(100)...)}}
	served := map[uint64]bool{}
	for epoch := range 60 {
		in.Seed, in.Map = seedOf(epoch), m
		now := shard.Assign(in)
		for _, a := range now {
			if len(a.Committee.Members) != 20 || a.Committee.Epoch != uint64(epoch) {
				t.Fatalf("epoch %d: %d members in epoch %d", epoch, len(a.Committee.Members), a.Committee.Epoch)
			}
			if epoch > 0 {
				if n := fresh(of(t, in.Previous, a.Shard).Committee.Members, a.Committee.Members); n != 4 {
					t.Errorf("epoch %d: %d of 20 members are new, want 4", epoch, n)
				}
			}
			for _, row := range rows(a.Committee.Members) {
				served[row] = true
			}
		}
		if slices.Equal(rows(now[0].Committee.Members), rows(now[1].Committee.Members)) {
			t.Errorf("epoch %d: two shards have one committee", epoch)
		}
		if err := in.Check(now); err != nil {
			t.Error(err)
		}
		in.Previous, m = now, shard.Apply(m)
	}
	if len(served) < 95 {
		t.Errorf("%d of 100 candidates ever served", len(served))
	}
}

// TestHeirs: who serves after a split or a merge has served a parent, but for
// those that rotate in.
func TestHeirs(t *testing.T) {
	t.Parallel()
	before := establish(t, found(1, 0, 2), found(1, 1, 2)) // 2 3 4 5
	announced, err := announce(before, split(2), shard.Change{Kind: shard.Merge, Service: 1, Zone: 1, Shards: []shard.ID{4, 5}})
	if err != nil {
		t.Fatal(err)
	}
	in := shard.Inputs{Map: shard.Apply(announced), Pools: []shard.Pool{pool(1, 10, equal(200)...)}}
	in.Previous, in.Map = shard.Assign(in), after(announced, 2)
	now := shard.Assign(in)
	if len(now) != 4+3 {
		t.Fatalf("%d committees", len(now))
	}
	for _, id := range []shard.ID{2, 4, 5} { // certify their ends
		a := of(t, now, id)
		if !a.Last || !a.Kept || a.Committee.Epoch != 2 || !slices.Equal(a.Committee.Members, of(t, in.Previous, id).Committee.Members) {
			t.Errorf("replaced shard %d: %+v", id, a)
		}
	}
	parent := of(t, in.Previous, 2).Committee.Members
	for _, id := range []shard.ID{6, 7} {
		if n := fresh(parent, of(t, now, id).Committee.Members); n != 2 {
			t.Errorf("%d of 10 members of shard %d did not serve its parent, want 2", n, id)
		}
	}
	both := slices.Concat(of(t, in.Previous, 4).Committee.Members, of(t, in.Previous, 5).Committee.Members)
	merged := of(t, now, 8).Committee.Members
	if n := fresh(both, merged); n != 0 || len(merged) != 10 {
		t.Errorf("%d of %d members did not serve a parent", n, len(merged))
	}
	if n := fresh(of(t, in.Previous, 4).Committee.Members, merged); n == 0 || n == 10 {
		t.Errorf("%d of 10 members are of one parent alone", n)
	}
}

// TestRedraw: a committee that missed its anchors is drawn anew, as often as it
// takes, and every draw has lots of its own.
func TestRedraw(t *testing.T) {
	t.Parallel()
	in := shard.Inputs{Seed: seedOf(1), Map: establish(t, found(1, 0, 2)), Pools: []shard.Pool{pool(1, 10, equal(200)...)}}
	in.Previous = shard.Assign(in)
	in.Map = shard.Apply(in.Map) // epochs 0 and 1 have one seed
	in.Redraw = []shard.ID{3}
	now := shard.Assign(in)
	if n := fresh(in.Previous[0].Committee.Members, now[0].Committee.Members); n != 2 {
		t.Errorf("shard 2: %d new members", n)
	}
	before := in.Previous[1].Committee.Members
	seen := [][]uint64{rows(before)}
	for round := range uint32(4) {
		next := of(t, now, 3)
		if round > 0 {
			next = shard.Redraw(in, 3, round)
		}
		if n := fresh(before, next.Committee.Members); n < 7 || len(next.Committee.Members) != 10 || next.Committee.Epoch != 1 {
			t.Errorf("round %d: %d of %d members are new", round, n, len(next.Committee.Members))
		}
		for _, other := range seen {
			if slices.Equal(other, rows(next.Committee.Members)) {
				t.Errorf("round %d draws %v again", round, other)
			}
		}
		seen = append(seen, rows(next.Committee.Members))
	}
	in.Pools[0].Service = 0
	for _, id := range []shard.ID{3, 99} {
		if a := shard.Redraw(in, id, 1); !a.Kept || len(a.Committee.Members) != 0 {
			t.Errorf("shard %d without candidates: %v", id, a)
		}
	}
}

// TestKept: nobody can be drawn, so whoever served goes on.
func TestKept(t *testing.T) {
	t.Parallel()
	in := shard.Inputs{Map: establish(t, found(1, 0, 1), found(2, 0, 2)), Pools: []shard.Pool{pool(1, 4, 1, 2, 3), pool(2, 4, 1, 2, 3)}}
	in.Previous = shard.Assign(in)
	announced, err := announce(in.Map, shard.Change{Kind: shard.Merge, Service: 2, Shards: []shard.ID{3, 4}})
	if err != nil {
		t.Fatal(err)
	}
	in.Map = after(announced, 2)
	in.Pools = []shard.Pool{pool(1, 4)}
	in.Redraw = []shard.ID{2}
	for _, a := range shard.Assign(in) {
		if !a.Kept || !slices.Equal(rows(a.Committee.Members), []uint64{2, 1, 0}) || a.Committee.Epoch != 2 {
			t.Errorf("shard %d: kept %v, %v", a.Shard, a.Kept, a.Committee)
		}
	}
	// What both parents had may be too much for one committee.
	for i := range in.Previous {
		for j := range in.Previous[i].Committee.Members {
			member := &in.Previous[i].Committee.Members[j]
			member.Validator, member.Power = uint64(10*i+j), committee.MaxTotalPower/3
		}
	}
	heir := of(t, shard.Assign(in), 5)
	if total := heir.Committee.TotalPower(); len(heir.Committee.Members) != 6 || total > committee.MaxTotalPower || total < committee.MaxTotalPower-12 {
		t.Errorf("%d members with %d", len(heir.Committee.Members), total)
	}
	in.Previous = nil
	for _, a := range shard.Assign(in) {
		if !a.Kept || len(a.Committee.Members) != 0 {
			t.Errorf("shard %d, which nobody served: kept %v, %v", a.Shard, a.Kept, a.Committee)
		}
	}
}

// TestLimits: all drops there are, seats beyond the limit, work beyond its own,
// and more candidates than take part.
func TestLimits(t *testing.T) {
	t.Parallel()
	m := establish(t, found(1, 0, 1))
	rich := shard.Pool{Service: 1, Rules: committee.Rules{Seats: math.MaxUint32, PowerCapBps: ledger.BasisPoints}}
	for row := range uint64(1_500) {
		rich.Candidates = append(rich.Candidates, candidate(row, uint64(ledger.MaxAmount)/1_500))
		rich.Candidates[row].WorkBps = math.MaxUint32
	}
	two := shard.Pool{Service: 1, Rules: committee.Rules{Seats: 2, PowerCapBps: ledger.BasisPoints}, Candidates: []shard.Candidate{
		candidate(0, uint64(ledger.MaxAmount)/3), candidate(1, uint64(ledger.MaxAmount)/3), candidate(2, uint64(ledger.MaxAmount)/3),
	}}
	one := rich
	one.Rules.Seats = 1
	for name, p := range map[string]shard.Pool{"all": rich, "two of three": two, "one of many": one} {
		for n := range 5 {
			a := shard.Assign(shard.Inputs{Seed: seedOf(n), Map: m, Pools: []shard.Pool{p}})[0]
			if want := min(int(p.Rules.Seats), committee.MaxSeats); len(a.Committee.Members) != want {
				t.Errorf("%s: %d members, want %d", name, len(a.Committee.Members), want)
			}
			if _, err := committee.Decode(a.Committee.Encode()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	capped := pool(1, 2, 1_000, 1_000, 1_000)
	bare := shard.Assign(shard.Inputs{Map: m, Pools: []shard.Pool{capped}})
	for i := range capped.Candidates {
		capped.Candidates[i].WorkBps = math.MaxUint32
	}
	// 1,500 of 4,500 do not fill one of two seats: who is drawn has 2,250/1,500 of 1,000.
	for _, a := range [][]shard.Assignment{bare, shard.Assign(shard.Inputs{Map: m, Pools: []shard.Pool{capped}})} {
		for _, member := range a[0].Committee.Members {
			if member.Power != 1_500 {
				t.Errorf("power %d, want 1500", member.Power)
			}
		}
	}
}

// TestVotes: who fills seats votes with its stake, and the others share what is
// left of seats and stake, however many they are.
func TestVotes(t *testing.T) {
	t.Parallel()
	m := establish(t, found(1, 0, 1))
	for _, row := range []struct {
		name   string
		seats  uint32
		stakes []uint64
		powers []uint64 // by row, of those who are drawn
	}{
		{"all alike", 2, []uint64{30, 30, 30}, []uint64{45, 45, 45}},
		{"small and larger", 2, []uint64{20, 30, 40}, []uint64{45, 45, 45}},
		{"one fills a seat", 2, []uint64{100, 10, 20, 30}, []uint64{100, 60, 60, 60}},
		{"just a seat", 2, []uint64{60, 10, 20, 30}, []uint64{60, 60, 60, 60}},
		{"one after the other", 3, []uint64{1_000, 100, 10, 20, 30}, []uint64{1_000, 100, 60, 60, 60}},
		{"one seat", 1, []uint64{100, 10}, []uint64{110, 110}},
	} {
		seen := map[uint64]bool{}
		for n := range 200 {
			in := shard.Inputs{Seed: seedOf(n), Map: m, Pools: []shard.Pool{pool(1, row.seats, row.stakes...)}}
			for _, member := range shard.Assign(in)[0].Committee.Members {
				seen[member.Validator] = true
				if want := row.powers[member.Validator]; member.Power != want {
					t.Fatalf("%s: row %d has power %d, want %d", row.name, member.Validator, member.Power, want)
				}
			}
		}
		if len(seen) != len(row.stakes) {
			t.Errorf("%s: only %v were ever drawn", row.name, seen)
		}
	}
}

// TestCrowd: thousands of small candidates do not outvote the stake of a few large
// ones by the seats that those leave, in no epoch of a long rotation.
func TestCrowd(t *testing.T) {
	t.Parallel()
	p := pool(1, 32)
	for row := range uint64(500) {
		stake := uint64(20) // 1 % of the stake in all
		if row < 10 {
			stake = 99_000
		}
		p.Candidates = append(p.Candidates, candidate(row, stake*unit))
	}
	in := shard.Inputs{Map: establish(t, found(1, 0, 1)), Pools: []shard.Pool{p}}
	for epoch := range 40 {
		in.Seed = seedOf(epoch)
		in.Previous = shard.Assign(in)
		c := &in.Previous[0].Committee
		var small uint64
		for _, member := range c.Members {
			if member.Validator >= 10 {
				small += member.Power
			}
		}
		if 50*small > c.TotalPower() {
			t.Errorf("epoch %d: small candidates with 1 %% of the stake have %d of %d votes", epoch, small, c.TotalPower())
		}
		in.Map = shard.Apply(in.Map)
	}
}

// TestShares: over many draws everybody votes with the share of its stake, and
// those with work sit more often. The seeds are fixed.
func TestShares(t *testing.T) {
	t.Parallel()
	const rounds = 4_000
	m := establish(t, found(1, 0, 1))
	p := pool(1, 10)
	var total float64
	for row := range uint64(60) {
		stake := 500 + 50*(row%30)
		p.Candidates = append(p.Candidates, candidate(row, stake*unit))
		if row >= 30 {
			p.Candidates[row].WorkBps = shard.MaxWorkBps
		}
		total += float64(stake)
	}
	seats, votes := map[bool]float64{}, make([]float64, 60)
	for n := range rounds {
		c := shard.Assign(shard.Inputs{Seed: seedOf(n), Map: m, Pools: []shard.Pool{p}})[0].Committee
		for _, member := range c.Members {
			seats[member.Validator >= 30]++
			votes[member.Validator] += float64(member.Power) / float64(c.TotalPower()) / rounds
		}
	}
	// Without putting back, and with stakes of 500 to 1,950: a little less than 1.5.
	if ratio := seats[true] / seats[false]; ratio < 1.35 || ratio > 1.55 {
		t.Errorf("work gives %.2f times as many seats", ratio)
	}
	with, without := 0.0, 0.0
	var share, want [3]float64 // of the lower, the middle and the higher stakes
	for row, v := range votes {
		third := row % 30 / 10
		share[third] += v
		want[third] += float64(p.Candidates[row].Stake) / unit / total
		if row >= 30 {
			with += v
		} else {
			without += v
		}
	}
	for i := range share {
		if ratio := share[i] / want[i]; ratio < 0.94 || ratio > 1.06 {
			t.Errorf("stakes of third %d vote with %.3f times their share", i, ratio)
		}
	}
	if ratio := with / without; ratio < 0.97 || ratio > 1.03 {
		t.Errorf("work gives %.3f times as many votes", ratio)
	}
}

// TestAssignProperty: whatever the pools, every shard has its seats filled as far
// as there are candidates, nobody sits twice, not more rotate than may, nothing
// depends on the order of anything, and committees encode.
func TestAssignProperty(t *testing.T) {
	t.Parallel()
	m := establish(t, found(1, 0, 3), found(2, 5, 1))
	announced, err := announce(m, shard.Change{Kind: shard.Split, Service: 2, Zone: 5, Shards: []shard.ID{5}}, merge(2, 3))
	if err != nil {
		t.Fatal(err)
	}
	maps := []*shard.Map{m, shard.Apply(announced), after(announced, 2)}
	rapid.Check(t, func(rt *rapid.T) {
		in := shard.Inputs{Seed: seedOf(rapid.IntRange(0, 1000).Draw(rt, "seed"))}
		for _, in.Map = range maps {
			in.Pools = nil
			for _, service := range []uint32{1, 2, 3} {
				p := shard.Pool{Service: service, Rules: committee.Rules{
					Seats: rapid.Uint32Range(1, 12).Draw(rt, "seats"), PowerCapBps: rapid.Uint32Range(0, 10_000).Draw(rt, "cap"), MinStake: 2 * unit,
				}}
				for _, row := range rapid.SliceOfNDistinct(rapid.Uint64Range(0, 30), 0, 20, rapid.ID).Draw(rt, "rows") {
					c := candidate(row, rapid.OneOf(rapid.Uint64Range(0, 9*unit), rapid.Uint64Range(0, 1<<58)).Draw(rt, "stake"))
					c.WorkBps = rapid.Uint32Range(0, 6_000).Draw(rt, "work")
					p.Candidates = append(p.Candidates, c)
				}
				in.Pools = append(in.Pools, p)
			}
			now := shard.Assign(in)
			checkAssigned(rt, in, now)
			other := in
			other.Previous = rapid.Permutation(slices.Clone(in.Previous)).Draw(rt, "previous")
			other.Pools = rapid.Permutation(slices.Clone(in.Pools)).Draw(rt, "pools")
			for i := range other.Pools {
				other.Pools[i].Candidates = rapid.Permutation(slices.Clone(other.Pools[i].Candidates)).Draw(rt, "candidates")
			}
			if again := shard.Assign(other); !cmp.Equal(now, again) {
				rt.Fatalf("in another order: %s", cmp.Diff(now, again))
			}
			in.Previous = now
		}
	})
}

func checkAssigned(rt *rapid.T, in shard.Inputs, now []shard.Assignment) {
	members := func(id shard.ID) []committee.Member {
		for _, a := range in.Previous {
			if a.Shard == id {
				return a.Committee.Members
			}
		}
		return nil
	}
	last := in.Map.Replaced()
	if least := in.Map.Len(); len(now) < least || len(now) > least+len(last) {
		rt.Fatalf("%d committees of %d shards, %d are replaced", len(now), least, len(last))
	}
	for i, a := range now {
		if a.Last {
			if before := members(a.Shard); !slices.Contains(last, a.Shard) || !slices.Equal(before, a.Committee.Members) || len(before) == 0 {
				rt.Fatalf("shard %d ends with %d members, had %d", a.Shard, len(a.Committee.Members), len(before))
			}
			continue
		}
		s, ok := in.Map.Find(a.Shard)
		if !ok || i > 0 && now[i-1].Shard >= a.Shard {
			rt.Fatalf("shard %d after %d", a.Shard, now[max(0, i-1)].Shard)
		}
		var p shard.Pool
		for _, p = range in.Pools {
			if p.Service == s.Service {
				break
			}
		}
		able := map[uint64]bool{}
		for _, c := range p.Candidates {
			if c.Stake >= p.Rules.MinStake {
				able[c.Validator] = true
			}
		}
		decoded, err := shard.DecodeAssignment(a.Encode())
		if err != nil || !bytes.Equal(decoded.Encode(), a.Encode()) {
			rt.Fatalf("shard %d: its encoding decodes with %v", a.Shard, err)
		}
		if a.Kept != (len(able) == 0) {
			rt.Fatalf("shard %d: %d candidates, kept %v", a.Shard, len(able), a.Kept)
		}
		if a.Kept {
			continue
		}
		seats := int(p.Rules.Seats)
		if want := min(seats, len(able)); len(a.Committee.Members) != want {
			rt.Fatalf("shard %d: %d members, want %d", a.Shard, len(a.Committee.Members), want)
		}
		before := members(a.Shard)
		if before == nil {
			for _, parent := range s.Parents {
				before = append(before, members(parent)...)
			}
		}
		stay := 0
		for _, row := range rows(before) {
			if able[row] {
				stay++
			}
		}
		for j, m := range a.Committee.Members {
			if !able[m.Validator] || j > 0 && a.Committee.Members[j-1].Power < m.Power {
				rt.Fatalf("shard %d: member %d is %v", a.Shard, j, m)
			}
		}
		// New are those in seats that are free anyway, and those that rotate in.
		if n := fresh(before, a.Committee.Members); s.Parents == nil && n > max(0, seats-stay)+max(1, seats/5) {
			rt.Fatalf("shard %d: %d of %d members are new, %d could stay", a.Shard, n, seats, stay)
		}
	}
	if err := in.Check(now); err != nil {
		rt.Fatal(err)
	}
}

// TestCheckRefuses: one assignment that is right, and each row breaks one thing.
func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	in := shard.Inputs{Seed: seedOf(1), Map: establish(t, found(1, 0, 2)), Pools: []shard.Pool{pool(1, 3, equal(9)...)}}
	for name, damage := range map[string]func(list []shard.Assignment) []shard.Assignment{
		"one less":    func(list []shard.Assignment) []shard.Assignment { return list[:1] },
		"other shard": func(list []shard.Assignment) []shard.Assignment { list[1].Shard = 9; return list },
		"kept":        func(list []shard.Assignment) []shard.Assignment { list[0].Kept = true; return list },
		"epoch":       func(list []shard.Assignment) []shard.Assignment { list[0].Committee.Epoch++; return list },
		"power": func(list []shard.Assignment) []shard.Assignment {
			list[1].Committee.Members[2].Power++
			return list
		},
		"order": func(list []shard.Assignment) []shard.Assignment {
			slices.Reverse(list[1].Committee.Members)
			return list
		},
		"member missing": func(list []shard.Assignment) []shard.Assignment {
			list[1].Committee.Members = list[1].Committee.Members[:2]
			return list
		},
	} {
		if err := in.Check(damage(shard.Assign(in))); !errors.Is(err, shard.ErrWrongAssignment) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if err := in.Check(shard.Assign(in)); err != nil {
		t.Error(err)
	}
}

func BenchmarkAssign(b *testing.B) {
	in := shard.Inputs{Map: establish(b, found(1, 0, 16), found(1, 1, 16)), Pools: []shard.Pool{pool(1, 32, equal(1_000)...)}}
	in.Previous = shard.Assign(in)
	in.Map = shard.Apply(in.Map)
	for b.Loop() {
		shard.Assign(in)
	}
}
