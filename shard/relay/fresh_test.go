package relay_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/shard/relay"
)

// TestBehindWhatIsUnderWay: what comes behind an import that waits for a block of the destination
// is sent at once, and once; what the destination took waits for blocks, what it refused is sent
// again when a block took some, and all of it when that lasts too long.
func TestBehindWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	cut := func(height uint64, begin, end int) relay.Cut {
		return relay.Cut{Height: height, Begin: begin, End: end}
	}
	a, b, c, d := cut(10, 0, 5), cut(11, 0, 3), cut(12, 2, 4), cut(12, 4, 9)
	refused := func(bad relay.Cut) func(relay.Cut) bool { return func(one relay.Cut) bool { return one != bad } }
	all := refused(relay.Cut{})
	var s relay.Sender
	for i, row := range []struct {
		cuts         []relay.Cut
		again, moved bool
		takes        func(relay.Cut) bool
		want         []relay.Cut
	}{
		{cuts: []relay.Cut{a}, again: true, moved: true, takes: all, want: []relay.Cut{a}},
		{cuts: []relay.Cut{a}, takes: all},                                                                   // it waits
		{cuts: []relay.Cut{a, b, c}, takes: refused(c), want: []relay.Cut{b, c}},                             // these came behind it
		{cuts: []relay.Cut{cut(10, 0, 4), b, c}, takes: all},                                                 // a part of it is no other
		{cuts: []relay.Cut{b, c, d}, again: true, moved: true, takes: all, want: []relay.Cut{c, d}},          // a block took the first
		{cuts: []relay.Cut{b, c, d}, again: true, takes: all, want: []relay.Cut{b, c, d}},                    // none took these for long
		{cuts: []relay.Cut{d}, takes: all},                                                                   // others are forgotten
		{cuts: []relay.Cut{b, d}, takes: all, want: []relay.Cut{b}},                                          // and new if they come again
		{cuts: []relay.Cut{b, cut(12, 4, 6), cut(12, 9, 11)}, takes: all, want: []relay.Cut{cut(12, 9, 11)}}, // the rest of a block
	} {
		if diff := cmp.Diff(row.want, s.Fresh(row.cuts, row.again, row.moved, row.takes)); diff != "" {
			t.Errorf("step %d: %s", i, diff)
		}
	}
}
