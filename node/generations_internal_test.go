package node

import (
	"context"
	"errors"
	"testing"

	"github.com/tributary-network/tributary/chain/anchor"
)

// TestStartOfAnEarlierGeneration: a start that is under way when the main chain draws the
// committee anew is stopped, and goes on with the new generation at once.
func TestStartOfAnEarlierGeneration(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad")
	for _, row := range []struct {
		name       string
		generation uint32
		chosen     bool
		end        error // of what was stopped
		over       bool
	}{
		{name: "the same", generation: 1, chosen: true},
		{name: "not chosen yet", generation: 2},
		{name: "another", generation: 2, chosen: true, end: context.Canceled, over: true},
		{name: "another, of one that ran", generation: 2, chosen: true, over: true},
		{name: "another, and a fault", generation: 2, chosen: true, end: bad, over: true},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		r := &shardRun{id: 2, cancel: cancel, err: errStranded}
		if row.chosen {
			r.choose(1)
		}
		r.compare(&anchor.State{Generation: row.generation})
		if stopped := ctx.Err() != nil; stopped != row.over {
			t.Errorf("%s: stopped %t", row.name, stopped)
		}
		r.left(row.end)
		if got := errors.Is(r.err, errAnotherGeneration); got != row.over || errors.Is(row.end, bad) && !errors.Is(r.err, bad) {
			t.Errorf("%s: %v", row.name, r.err)
		}
		r.left(bad) // of the next start
		if errors.Is(r.err, errAnotherGeneration) {
			t.Errorf("%s: the next start ends with %v", row.name, r.err)
		}
		cancel()
	}
}
