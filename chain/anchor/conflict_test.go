package anchor_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/consensus/cert"
)

// TestJudge: who signed two versions of one height.
func TestJudge(t *testing.T) {
	t.Parallel()
	only := func(height uint64, v version, members ...int) cert.Run {
		return join(t, certify(one, height, v, members...))
	}
	for _, row := range []struct {
		name string
		in   anchor.Conflict
		want anchor.Verdict
		code chain.Code
	}{
		{"two blocks of one round", anchor.Conflict{Height: 3, A: only(3, version{}, 0, 1, 2), B: only(3, version{block: 1}, 1, 2, 3)}, anchor.Verdict{Signed: []uint64{1, 2}, Guilty: true}, 0},
		{"two outcomes of one block", anchor.Conflict{Height: 3, A: only(3, version{}, 0, 1, 2), B: only(3, version{state: 1, round: 4}, 0, 1, 3)}, anchor.Verdict{Signed: []uint64{0, 1}, Guilty: true}, 0},
		{"two blocks of two rounds", anchor.Conflict{Height: 3, A: only(3, version{}, 0, 1, 2), B: only(3, version{block: 1, round: 4}, 0, 1, 2)}, anchor.Verdict{Signed: []uint64{0, 1, 2}}, 0},
		{"in the middle of runs", anchor.Conflict{Height: 9, A: run(t, one, 5, 12, version{}), B: run(t, one, 9, 10, version{block: 1})}, anchor.Verdict{Signed: []uint64{1, 2, 3}, Guilty: true, Epoch: 1}, 0},
		// Of the committee of epoch 2 nobody but validator 4 is new.
		{"by two committees", anchor.Conflict{Height: 9, A: only(9, version{}, 0, 1, 2), B: only(9, version{epoch: 1}, 0, 1, 3)}, anchor.Verdict{Signed: []uint64{2, 3}, Guilty: true, Epoch: 2}, 0},
		{"one version twice", anchor.Conflict{Height: 3, A: only(3, version{}, 0, 1, 2), B: only(3, version{}, 1, 2, 3)}, anchor.Verdict{}, chain.CodeNoConflict},
		{"one block in two rounds", anchor.Conflict{Height: 3, A: only(3, version{}, 0, 1, 2), B: only(3, version{round: 1}, 0, 1, 2)}, anchor.Verdict{}, chain.CodeNoConflict},
		{"two generations", anchor.Conflict{Height: 3, A: only(3, version{}, 0, 1, 2), B: only(3, version{block: 1, generation: 1}, 0, 1, 2)}, anchor.Verdict{}, chain.CodeNoConflict},
		{"a generation before", anchor.Conflict{Height: 3, A: only(3, version{generation: 2}, 0, 1, 2), B: only(3, version{block: 1, generation: 2}, 1, 2, 3)}, anchor.Verdict{Signed: []uint64{1, 2}, Guilty: true, Generation: 2}, 0},
		{"two heights", anchor.Conflict{Height: 3, A: only(3, version{}, 0, 1, 2), B: only(4, version{block: 1}, 0, 1, 2)}, anchor.Verdict{}, chain.CodeNoConflict},
		{"two shards", anchor.Conflict{Height: 3, A: only(3, version{}), B: run(t, two, 3, 3, version{})}, anchor.Verdict{}, chain.CodeNoConflict},
		{"committees that share nobody", anchor.Conflict{Height: 3, A: only(3, version{}, 0, 1, 2), B: only(3, version{epoch: 3, block: 1}, 0, 1, 2)}, anchor.Verdict{}, chain.CodeNoConflict},
		{"too little power", anchor.Conflict{Height: 3, A: only(3, version{}, 0, 1, 2), B: only(3, version{block: 1}, 1, 2)}, anchor.Verdict{}, chain.CodeBadCertificate},
		{"a forged version", anchor.Conflict{Height: 3, A: only(3, version{}, 0, 1, 2), B: forged(only(3, version{}, 1, 2, 3))}, anchor.Verdict{}, chain.CodeBadCertificate},
		{"a committee that is not known", anchor.Conflict{Height: 3, A: only(3, version{}, 0, 1, 2), B: only(3, version{epoch: 9}, 1, 2, 3)}, anchor.Verdict{}, chain.CodeUnknownCommittee},
		{"a committee that was not that of the epoch", anchor.Conflict{Height: 3, A: only(3, version{}, 0, 1, 2), B: only(3, version{redraw: 1}, 1, 2, 3)}, anchor.Verdict{}, chain.CodeUnknownCommittee},
	} {
		w := newWorld(t)
		for _, in := range []anchor.Conflict{row.in, {Height: row.in.Height, A: row.in.B, B: row.in.A}} {
			before := w.digest()
			got, err := w.ctx.Judge(&in)
			if code, _ := chain.CodeOf(err); code != row.code {
				t.Errorf("%s: %v, want %s", row.name, err, row.code)
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("%s: %s", row.name, diff)
			}
			if w.digest() != before {
				t.Errorf("%s: the state changed", row.name)
			}
		}
	}
	w := newWorld(t)
	in := anchor.Conflict{Height: 3, A: run(t, one, 3, 3, version{}), B: run(t, one, 3, 3, version{block: 1})}
	in.A.Chain, in.B.Chain = 99, 99
	w.refused("no shard", chain.CodeUnknownShard, func() error { _, err := w.ctx.Judge(&in); return err })
}

// forged returns a run with another state and the signature as it was.
func forged(r cert.Run) cert.Run {
	r.Heads[0].StateRoot[0]++
	return r
}
