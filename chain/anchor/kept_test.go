package anchor_test

import (
	"bytes"
	"slices"
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
				if anchored && !s.Keeps(g, h) {
					rt.Fatalf("height %d of generation %d is anchored, and not kept by %+v", h, g, s)
				}
				if s.TakesBack(g, h) && anchored {
					rt.Fatalf("height %d of generation %d is anchored, and taken back by %+v", h, g, s)
				}
				if !anchored && h > 0 && g < s.Generation && !s.TakesBack(g, h) {
					rt.Fatalf("height %d of generation %d is not anchored, and not taken back by %+v", h, g, s)
				}
			}
			if began, ok := s.Began(g); ok != (g <= s.Generation) || ok && began != resumed[g] {
				rt.Fatalf("generation %d began after height %d, %v, by %+v", g, began, ok, s)
			}
		}
		again, err := anchor.DecodeState(s.Encode())
		if err != nil || !slices.Equal(again.Ends, s.Ends) || !bytes.Equal(again.Encode(), s.Encode()) {
			rt.Fatalf("decoded %+v, %v, want %+v", again, err, s)
		}
	})
}

// TestManyGenerations: of more generations than the row has the ends of, what is not known of
// the first ones is said to be neither.
func TestManyGenerations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ctx.Epoch, w.ctx.Rules.MaxLag = 3, 100
	const all = anchor.MaxEnds + 3
	for h := uint64(1); h <= all; h++ { // generation g makes height g+1
		w.take(join(t, certify(one, h, version{epoch: 3 - int(epochOf(h)), generation: uint32(h - 1)})))
		w.ctx.Restarted(one)
	}
	s := w.state(one)
	if again, err := anchor.DecodeState(s.Encode()); err != nil || len(again.Ends) != anchor.MaxEnds || len(s.Encode()) > anchor.MaxStateSize {
		t.Fatalf("%+v, %v", again, err)
	}
	for g := range uint32(all) {
		own, known := uint64(g)+1, g >= all-anchor.MaxEnds
		if s.Keeps(g, own) != known || s.TakesBack(g, own) || !s.TakesBack(g, all) && g+1 < all || known && !s.TakesBack(g, own+1) && g+1 < all {
			t.Errorf("generation %d: keeps %v, takes back %v", g, s.Keeps(g, own), s.TakesBack(g, own))
		}
		if _, ok := s.Began(g); ok != (known && g > all-anchor.MaxEnds || g == 0) {
			t.Errorf("where generation %d began is known: %v", g, ok)
		}
	}
}

// TestKept: what the row shows of a chain whose generations several others followed.
func TestKept(t *testing.T) {
	t.Parallel()
	row := func(generation, origin uint32, ends ...anchor.End) *anchor.State {
		s := &anchor.State{Generation: generation, Origin: origin, Ends: ends}
		s.Tree.Size = 6
		return s
	}
	end := func(generation uint32, height uint64) anchor.End {
		return anchor.End{Generation: generation, Height: height}
	}
	for name, r := range map[string]struct {
		row         *anchor.State
		generation  uint32
		height      uint64
		keeps, back bool
	}{
		"the only generation":               {row(0, 0), 0, 6, true, false},
		"not anchored":                      {row(0, 0), 0, 7, false, false},
		"of no height":                      {row(0, 0), 0, 0, false, false},
		"of the generation in force":        {row(1, 0, end(0, 3)), 1, 6, true, false},
		"of the one before":                 {row(1, 0, end(0, 3)), 0, 3, true, false},
		"taken back":                        {row(1, 0, end(0, 3)), 0, 4, false, true},
		"not told of yet":                   {row(0, 0), 1, 6, true, false},
		"of two before":                     {row(2, 0, end(0, 4), end(1, 6)), 0, 4, true, false},
		"of two before, taken back":         {row(2, 0, end(0, 3), end(1, 6)), 0, 4, false, true},
		"of two before, one with nothing":   {row(2, 0, end(0, 6)), 0, 4, true, false},
		"of one that made nothing":          {row(2, 0, end(0, 3)), 1, 3, true, false},
		"of it, beyond":                     {row(2, 0, end(0, 3)), 1, 4, false, true},
		"of before the first with a height": {row(2, 1, end(1, 6)), 0, 4, false, true},
	} {
		if keeps, back := r.row.Keeps(r.generation, r.height), r.row.TakesBack(r.generation, r.height); keeps != r.keeps || back != r.back {
			t.Errorf("%s: kept %v, taken back %v", name, keeps, back)
		}
	}
}
