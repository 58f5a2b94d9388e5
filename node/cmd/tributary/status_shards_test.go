package main

import "testing"

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
