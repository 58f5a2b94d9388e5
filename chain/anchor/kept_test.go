package anchor_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/consensus/cert"
)

// TestKeptProperty: what is said to be kept was anchored by the generation that a chain had
// come to, or one before it, and what is said to be taken back was not.
func TestKeptProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		w.ctx.Epoch, w.ctx.Rules.MaxLag = 3, 100
		var by []uint32        // the generation that anchored each height
		resumed := []uint64{0} // where each generation went on
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			if rapid.Bool().Draw(rt, "again") {
				w.ctx.Restarted(one)
				resumed = append(resumed, uint64(len(by)))
				continue
			}
			first, g := uint64(len(by))+1, w.state(one).Generation
			last := first + rapid.Uint64Range(0, 2).Draw(rt, "more")
			var list []cert.Certificate
			for h := first; h <= last; h++ {
				list, by = append(list, certify(one, h, version{epoch: 3 - int(epochOf(h)), generation: g})), append(by, g)
			}
			w.take(join(t, list...))
		}
		s := w.state(one)
		for g := range s.Generation + 2 {
			for h := range s.Height() + 3 {
				// A chain of generation g has at h what the latest of its generations made that
				// began below.
				made := uint32(0)
				for i := range min(g, s.Generation) + 1 {
					if resumed[i] < h {
						made = i
					}
				}
				anchored := h > 0 && h <= s.Height() && by[h-1] == made
				if s.Keeps(g, h) && !anchored {
					rt.Fatalf("height %d of generation %d is not anchored, and kept by %+v", h, g, s)
				}
				if anchored && g+1 >= s.Generation && !s.Keeps(g, h) {
					rt.Fatalf("height %d of generation %d is anchored, and not kept by %+v", h, g, s)
				}
				if s.TakesBack(g, h) && anchored {
					rt.Fatalf("height %d of generation %d is anchored, and taken back by %+v", h, g, s)
				}
			}
		}
	})
}

// TestKept: what the row shows of a chain whose generations several others followed.
func TestKept(t *testing.T) {
	t.Parallel()
	row := func(generation uint32, resumed uint64, origin, last uint32) *anchor.State {
		s := &anchor.State{Generation: generation, Resumed: resumed, Origin: origin, Last: cert.Checkpoint{Generation: last}}
		s.Tree.Size = 6
		return s
	}
	for name, r := range map[string]struct {
		row         *anchor.State
		generation  uint32
		height      uint64
		keeps, back bool
	}{
		"the only generation":               {row(0, 0, 0, 0), 0, 6, true, false},
		"not anchored":                      {row(0, 0, 0, 0), 0, 7, false, false},
		"of no height":                      {row(0, 0, 0, 0), 0, 0, false, false},
		"of the generation in force":        {row(1, 3, 0, 1), 1, 6, true, false},
		"of the one before":                 {row(1, 3, 0, 1), 0, 3, true, false},
		"taken back":                        {row(1, 3, 0, 1), 0, 4, false, true},
		"not told of yet":                   {row(0, 0, 0, 0), 1, 6, true, false},
		"of two before, one with anchors":   {row(2, 6, 0, 1), 0, 4, false, false},
		"of two before, one with nothing":   {row(2, 6, 0, 0), 0, 4, true, false},
		"of before the first with a height": {row(2, 6, 1, 1), 0, 4, false, true},
	} {
		if keeps, back := r.row.Keeps(r.generation, r.height), r.row.TakesBack(r.generation, r.height); keeps != r.keeps || back != r.back {
			t.Errorf("%s: kept %v, taken back %v", name, keeps, back)
		}
	}
}
