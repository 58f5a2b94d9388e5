package comet_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	good := comet.Status{
		ChainID: "main", Running: true, Height: 7, NetworkHeight: 7, LastCommit: now.Add(-time.Hour),
		Validator: true, ConnectedPower: 40, TotalPower: 40, Peers: 3, WantedPeers: 3,
	}
	tests := []struct {
		name   string
		edit   func(*comet.Status)
		limits comet.HealthLimits
		want   string // part of the reason; empty: healthy
	}{
		{"idle for an hour", func(*comet.Status) {}, comet.HealthLimits{}, ""},
		{"three of four", func(s *comet.Status) { s.ConnectedPower = 30 }, comet.HealthLimits{}, ""},
		{"exactly two thirds", func(s *comet.Status) { s.ConnectedPower, s.TotalPower = 20, 30 }, comet.HealthLimits{}, "quorum"},
		{"just above two thirds", func(s *comet.Status) { s.ConnectedPower, s.TotalPower = 21, 30 }, comet.HealthLimits{}, ""},
		{"two of four", func(s *comet.Status) { s.ConnectedPower = 20 }, comet.HealthLimits{}, "quorum unreachable: voting power 20 of 40"},
		{"two of four, seen from afar", func(s *comet.Status) { s.ConnectedPower = 20 }, comet.HealthLimits{IgnoreQuorum: true}, ""},
		{"no validators known", func(s *comet.Status) { s.ConnectedPower, s.TotalPower = 0, 0 }, comet.HealthLimits{}, "quorum"},
		{"huge powers", func(s *comet.Status) { s.ConnectedPower, s.TotalPower = 1<<60, 1<<60 }, comet.HealthLimits{}, ""},
		{"halted", func(s *comet.Status) { s.Halt = &comet.HaltError{Height: 8, Reason: "finalize: boom"} }, comet.HealthLimits{}, "height 8: finalize: boom"},
		{"stopped", func(s *comet.Status) { s.Running = false }, comet.HealthLimits{}, "not running"},
		{"catching up with nobody", func(s *comet.Status) { s.CatchingUp, s.NetworkHeight, s.Peers = true, 7, 0 }, comet.HealthLimits{}, "at height 7, and no peer of 0 has told of a higher one"},
		{"catching up", func(s *comet.Status) { s.CatchingUp, s.NetworkHeight = true, 90 }, comet.HealthLimits{}, "height 7 of 90"},
		{"validator that does not sign", func(s *comet.Status) { s.Signer = comet.ErrSignerBroken }, comet.HealthLimits{}, "sign state"},
		{"observer with a broken signer", func(s *comet.Status) { s.Validator, s.Signer = false, comet.ErrSignerBroken }, comet.HealthLimits{}, ""},
		{"work for five seconds", func(s *comet.Status) { s.PendingSince = now.Add(-5 * time.Second) }, comet.HealthLimits{}, ""},
		{"work for longer", func(s *comet.Status) { s.PendingSince = now.Add(-5001 * time.Millisecond) }, comet.HealthLimits{}, "no block for 5.001s"},
		{"a limit of its own", func(s *comet.Status) { s.PendingSince = now.Add(-6 * time.Second) }, comet.HealthLimits{Stall: time.Minute}, ""},
		{"headers missing", func(s *comet.Status) { s.Headers = comet.HeaderStatus{Have: 7, Want: 9, Problem: "nobody"} }, comet.HealthLimits{}, "headers for old evidence 7/9: nobody; until all are there, a block"},
		{"clock behind", func(s *comet.Status) { s.ClockSkew = 31 * time.Second }, comet.HealthLimits{}, "clock differs"},
		{"clock ahead", func(s *comet.Status) { s.ClockSkew = -31 * time.Second }, comet.HealthLimits{}, "clock differs"},
		{"clock a little off", func(s *comet.Status) { s.ClockSkew = 29 * time.Second }, comet.HealthLimits{}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := good
			tt.edit(&s)
			ok, reason := s.Health(now, tt.limits)
			if ok != (tt.want == "") || !strings.Contains(reason, tt.want) {
				t.Errorf("Health = %v, %q, want a reason with %q", ok, reason, tt.want)
			}
		})
	}
}

func TestContact(t *testing.T) {
	t.Parallel()
	t0 := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	c := comet.NewContact(t0)
	if alive, voting, _ := c.View(t0); !alive || voting {
		t.Error("a peer that has said nothing yet is alive and does not vote")
	}
	// Beats that took 200 ms, 20 ms and 500 ms from a clock 3 s ahead.
	for i, late := range []time.Duration{200 * time.Millisecond, 20 * time.Millisecond, 500 * time.Millisecond} {
		at := t0.Add(time.Duration(i) * time.Second)
		if err := c.Heard(at, at.Add(3*time.Second-late), 1, 0); err != nil {
			t.Fatal(err)
		}
	}
	last := t0.Add(2 * time.Second)
	if alive, voting, skew := c.View(last); !alive || !voting || skew < 2900*time.Millisecond || skew > 3*time.Second {
		t.Errorf("View = %v, %v, %v, want about 3 s ahead", alive, voting, skew)
	}
	if err := c.Heard(last, last, 2, 0); err == nil {
		t.Error("a peer may not become another validator")
	}
	for _, flags := range []byte{1, 2, 3} {
		if err := c.Heard(last, last, 1, flags); err != nil {
			t.Fatal(err)
		}
		if alive, voting, _ := c.View(last); !alive || voting {
			t.Errorf("with flags %d: alive %v, voting %v", flags, alive, voting)
		}
	}
	if err := c.Heard(last, last, 1, 0); err != nil {
		t.Fatal(err)
	}
	late := last.Add(comet.AliveFor + time.Millisecond)
	if alive, voting, _ := c.View(late); alive || voting {
		t.Error("a peer not heard of is taken for alive")
	}
	if c.Silent(late, 10) { // bytes came meanwhile
		t.Error("a peer that sends is dropped")
	}
	if alive, voting, _ := c.View(late); !alive || !voting {
		t.Error("a peer that sends other messages is alive")
	}
	if c.Silent(late.Add(comet.SilentFor), 10) || !c.Silent(late.Add(comet.SilentFor+1), 10) {
		t.Errorf("a peer is dropped after %v of silence", comet.SilentFor)
	}
}

func FuzzBeat(f *testing.F) {
	f.Add([]byte{})
	f.Add(beat(0, 0))
	f.Add(beat(1, 64))
	f.Add(beat(2, 48))
	f.Add(toTwin(1, 64))
	f.Fuzz(func(t *testing.T, data []byte) {
		again, err := comet.RecodeBeat(data)
		if err == nil && string(again) != string(data) {
			t.Errorf("%x encodes as %x", data, again)
		}
	})
}

// beat is a heartbeat with a kind of proof and so many bytes of it.
func beat(kind byte, proof int) []byte {
	b := append([]byte{3, 3}, make([]byte, comet.PresenceHead-2+proof)...)
	b[18], b[60] = kind, byte(proof)
	return b
}

// toTwin is a heartbeat that tells of another node with a kind of proof and so many
// bytes of it.
func toTwin(kind byte, proof int) []byte {
	b := append(beat(1, 64), make([]byte, comet.TwinHead+proof)...)
	b[comet.PresenceHead+64+29] = kind
	return b
}

func TestBeatRefused(t *testing.T) {
	t.Parallel()
	for _, good := range [][]byte{beat(0, 0), beat(1, 64), beat(2, 1), beat(2, 48), beat(2, 96), toTwin(1, 64), toTwin(2, 96)} {
		if _, err := comet.RecodeBeat(good); err != nil {
			t.Fatal(err)
		}
	}
	good := beat(1, 64)
	claimed := beat(0, 0)
	claimed[30] = 1
	votes, other, beyond, longTwin := beat(1, 64), toTwin(1, 64), beat(1, 64), toTwin(2, 97)
	votes[51], other[comet.PresenceHead+64+20], beyond[60] = 2, 2, 65
	for name, data := range map[string][]byte{
		"empty":                              nil,
		"short":                              good[:comet.PresenceHead-1],
		"long":                               append(toTwin(2, 96), make([]byte, 40)...),
		"version":                            append([]byte{1}, good[1:]...),
		"later version":                      append([]byte{4}, good[1:]...),
		"unknown flag":                       append([]byte{3, 4}, good[2:]...),
		"neither voting nor not":             votes,
		"longer than it is":                  beyond,
		"proof too long":                     beat(2, 97),
		"half of another node":               append(beat(1, 64), 1),
		"another that neither votes nor not": other,
		"another without a proof":            toTwin(0, 64),
		"another with no signature":          toTwin(1, 0),
		"another whose proof is long":        longTwin,
		"unknown kind":                       beat(3, 64),
		"key without a kind":                 claimed,
		"proof without a kind":               beat(0, 64),
		"no proof":                           beat(2, 0),
		"short signature":                    beat(1, 63),
		"signature and a byte":               beat(1, 65),
		"no signature of a key":              beat(1, 0),
	} {
		if _, err := comet.RecodeBeat(data); err == nil {
			t.Error(fmt.Sprint(name, ": accepted"))
		}
	}
}

// TestStrangersAreNotBelieved has a node that nobody asked for tell a wrong
// height and time.
func TestStrangersAreNotBelieved(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "strangers", 2)
	n.genesis.Validators = n.genesis.Validators[:1]
	n.members[0].passive = true
	n.start(t, 0)
	n.waitReady(t, 0)
	n.start(t, 1)
	const height = 1 << 40
	eventually(t, 20*time.Second, "the stranger is heard", func() bool {
		comet.Boast(n.members[1].chain, height, time.Now().Add(time.Hour))
		peers := n.members[0].chain.Peers()
		return len(peers) == 1 && peers[0].Height == height
	})
	s := n.members[0].chain.Status()
	if s.NetworkHeight != s.Height || s.ClockSkew != 0 {
		t.Errorf("a stranger says: network height %d of %d, clock skew %v", s.NetworkHeight, s.Height, s.ClockSkew)
	}
	if ok, reason := n.healthy(0); !ok {
		t.Errorf("a stranger makes the chain unhealthy: %s", reason)
	}
	comet.Boast(n.members[0].chain, height, time.Now().Add(time.Hour))
	eventually(t, 20*time.Second, "the validator, which the stranger dialled, is believed", func() bool {
		comet.Boast(n.members[0].chain, height, time.Now().Add(time.Hour))
		return n.members[1].chain.Status().NetworkHeight == height
	})
}
