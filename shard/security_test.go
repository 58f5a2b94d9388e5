package shard_test

import (
	"testing"

	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/shard"
)

func TestSecurity(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		members      int
		stall, forge float64
	}{
		{16, 0.19, 2.9e-4},
		{32, 0.15, 2.4e-7},
		{64, 0.06, 1.5e-12},
		{1, 0.25, 0.25},
		{4, 0.2617, 0.0508},
		{0, 1, 1},
		{-1, 1, 1},
	} {
		s := shard.SecurityOf(row.members, shard.BadBps)
		near := func(got shard.Odds, want float64) bool {
			x := float64(got) / float64(shard.Certain) / want
			return x > 0.96 && x < 1.06
		}
		if !near(s.Stall, row.stall) || !near(s.Forge, row.forge) {
			t.Errorf("%d members: stall %d, forge %d; want %g and %g", row.members, s.Stall, s.Forge, row.stall, row.forge)
		}
	}
	if s := shard.SecurityOf(7, 20_000); s.Stall != shard.Certain || s.Forge != shard.Certain {
		t.Errorf("all bad: %v", s)
	}
	if s := shard.SecurityOf(committee.MaxSeats, 0); s.Stall != 0 || s.Forge != 0 {
		t.Errorf("none bad: %v", s)
	}
	if s := shard.SecurityOf(committee.MaxSeats, 1); s.Forge != 1 {
		t.Errorf("hardly any bad: forge %d, want it rounded up", s.Forge)
	}
	if s := shard.SecurityOf(committee.MaxSeats, 9_999); s.Forge > shard.Certain || s.Forge < shard.Certain-1 {
		t.Errorf("almost all bad: %v", s)
	}
}

// TestSecurityOfDraws: committees that are really drawn are as often bad as
// SecurityOf says of such a size.
func TestSecurityOfDraws(t *testing.T) {
	t.Parallel()
	const rounds = 250
	m := establish(t, found(1, 0, 16))
	p := pool(1, 16, equal(200)...) // a quarter of them is bad
	stalled := 0
	for n := range rounds {
		for _, a := range shard.Assign(shard.Inputs{Seed: seedOf(n), Map: m, Pools: []shard.Pool{p}}) {
			var bad uint64
			for _, member := range a.Committee.Members {
				if member.Validator%4 == 0 {
					bad += member.Power
				}
			}
			if a.Committee.TotalPower()-bad < a.Committee.Quorum() {
				stalled++
			}
		}
	}
	want := float64(shard.SecurityOf(16, shard.BadBps).Stall) / float64(shard.Certain) * rounds * 16
	if x := float64(stalled); x < 0.88*want || x > 1.12*want {
		t.Errorf("%d of %d committees can stall, want about %.0f", stalled, 16*rounds, want)
	}
}
