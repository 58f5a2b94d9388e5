package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestShownState: status says of a shard that it is leaving, unless there is worse to say.
func TestShownState(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		state   string
		leaving bool
		want    string
	}{
		{stateReady, false, stateReady}, {stateReady, true, "leaving"}, {"catching up", true, "catching up"}, {"halted", true, "halted"},
	} {
		c := chainResult{State: row.state, Shard: &hostedResult{Leaving: row.leaving}}
		if got := c.shown(); got != row.want {
			t.Errorf("%s, leaving %t: %q, want %q", row.state, row.leaving, got, row.want)
		}
	}
	if c := (chainResult{State: stateReady}); c.shown() != stateReady {
		t.Errorf("the main chain is %q", c.shown())
	}
}

// TestOdds: status says how easily committees below 32 are bad.
func TestOdds(t *testing.T) {
	t.Parallel()
	for members, want := range map[int]string{
		1:  "1 of 4 can be halted and 1 of 4 certifies what it likes",
		4:  "1 of 4 can be halted and 1 of 20 certifies what it likes",
		16: "1 of 5 can be halted and 1 of 3500 certifies what it likes",
	} {
		if got := odds(members); !strings.HasSuffix(got, want) || !strings.HasPrefix(got, "of those drawn by lot where 25 % of the stake is bad, ") {
			t.Errorf("%d: %q, want %q", members, got, want)
		}
	}
	var out bytes.Buffer
	tab := newTable(&out)
	shardRows(tab, []chainResult{{}, {Shard: &hostedResult{Small: true, Committee: 4}}}, 0)
	if err := tab.flush(); err != nil || !strings.Contains(out.String(), odds(4)) {
		t.Errorf("status does not say it: %v\n%s", err, out.String())
	}
}
