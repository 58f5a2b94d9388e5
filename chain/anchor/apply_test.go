package anchor_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// TestApply: what is anchored is known, whatever epochs it spans.
func TestApply(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	results := w.take(run(t, one, 1, 10, version{}), run(t, two, 1, 3, version{}))
	want := []anchor.Result{{Shard: one, First: 1, Last: 10}, {Shard: two, First: 1, Last: 3}}
	if diff := cmp.Diff(want, results); diff != "" {
		t.Errorf("results: %s", diff)
	}
	w.ctx.Height = 104
	results = w.take(run(t, two, 4, 4, version{}))
	if !results[0].Due {
		t.Error("an anchor four blocks after the one before is not due")
	}
	s := w.state(one)
	if s.Height() != 10 || s.Clock() != 10 || s.From != 100 || s.Last != checkpoint(one, 10, version{}) {
		t.Errorf("shard %d: height %d, clock %d, from %d, last %+v", one, s.Height(), s.Clock(), s.From, s.Last)
	}
	for h := range uint64(13) {
		root, ok := s.Outbox(h)
		want := checkpoint(one, h, version{}).OutboxRoot
		if ok != (h >= 1 && h <= 10) || ok && root != want {
			t.Errorf("outbox of height %d: %s, %v, want %s", h, root, ok, want)
		}
	}
	if s := w.state(two); s.Height() != 4 || s.From != 104 {
		t.Errorf("shard %d: height %d, from %d", two, s.Height(), s.From)
	}
}

// TestRefusals: one run that would be taken; each row breaks one thing, and nothing
// changes. pairings says whether the signature had to be looked at.
func TestRefusals(t *testing.T) {
	t.Parallel()
	next := func(change func(r *cert.Run)) func(*world) cert.Run {
		return func(w *world) cert.Run {
			r := run(t, one, 11, 18, version{})
			change(&r)
			return r
		}
	}
	from := func(first, last uint64, v version) func(*world) cert.Run {
		return func(*world) cert.Run { return run(t, one, first, last, v) }
	}
	for _, row := range []struct {
		name     string
		run      func(w *world) cert.Run
		code     chain.Code
		pairings bool
	}{
		{"as it is", next(func(*cert.Run) {}), chain.CodeOK, true},
		{"another network", next(func(r *cert.Run) { r.Network[0]++ }), chain.CodeWrongNetwork, false},
		{"an unknown shard", next(func(r *cert.Run) { r.Chain = 77 }), chain.CodeUnknownShard, false},
		{"the main chain", next(func(r *cert.Run) { r.Chain = ledger.MainChain }), chain.CodeUnknownShard, false},
		{"the same again", from(1, 10, version{}), chain.CodeAnchorStale, false},
		{"what was anchored before", from(2, 5, version{}), chain.CodeAnchorStale, false},
		{"a beginning that is anchored", from(9, 12, version{}), chain.CodeOK, true},
		{"a beginning that is anchored, of old epochs", from(1, 12, version{}), chain.CodeOK, true},
		{"the last height, precommitted in another round", from(10, 12, version{round: 1}), chain.CodeOK, true},
		{"the last height alone, precommitted in another round", from(10, 10, version{round: 1}), chain.CodeAnchorStale, false},
		{"a beginning that is anchored and not signed", func(w *world) cert.Run {
			r := run(t, one, 9, 12, version{})
			r.Heads[0].StateRoot[0]++
			return r
		}, chain.CodeBadCertificate, true},
		{"heights from before the generation", func(w *world) cert.Run {
			w.ctx.Restarted(one)
			return run(t, one, 10, 12, version{generation: 1, epoch: 5})
		}, chain.CodeAnchorStale, false},
		{"another version of the last height", from(10, 12, version{block: 1}), chain.CodeAnchorConflict, false},
		{"another outcome of the last height", from(10, 10, version{state: 1}), chain.CodeAnchorConflict, false},
		{"a gap", from(12, 14, version{}), chain.CodeAnchorGap, false},
		{"far beyond", from(1<<40, 1<<40, version{}), chain.CodeAnchorGap, false},
		{"an epoch that has not begun", from(11, 12, version{epoch: 5}), chain.CodeAnchorEpoch, false},
		{"an epoch before the last one", func(w *world) cert.Run {
			r := run(t, one, 11, 11, version{})
			com, _ := serving(0, 0)
			r.Sets[0].Epoch, r.Sets[0].CommitteeHash = 0, com.Hash()
			return r
		}, chain.CodeAnchorEpoch, false},
		{"epochs that fall", func(w *world) cert.Run {
			return join(t, certify(one, 11, version{epoch: 1}), certify(one, 12, version{}))
		}, chain.CodeAnchorEpoch, false},
		{"a committee that is not answerable any more", func(w *world) cert.Run {
			w.ctx.Epoch = 14
			return run(t, one, 11, 12, version{})
		}, chain.CodeUnknownCommittee, false},
		{"a committee that is forgotten", func(w *world) cert.Run {
			w.ctx.Committees = func(shard.ID, uint64, uint32) (*committee.Committee, []*bls.Key, bool) { return nil, nil, false }
			return run(t, one, 11, 12, version{})
		}, chain.CodeUnknownCommittee, false},
		{"another committee than that of the epoch", next(func(r *cert.Run) { r.Sets[0].CommitteeHash[0]++ }), chain.CodeUnknownCommittee, false},
		{"the committee before the redraw", func(w *world) cert.Run {
			w.redraw[1]++
			return run(t, one, 11, 12, version{})
		}, chain.CodeUnknownCommittee, false},
		{"a generation before the redraw", func(w *world) cert.Run {
			w.ctx.Redrawn(one, w.ctx.Round(one))
			return run(t, one, 11, 12, version{})
		}, chain.CodeAnchorGeneration, false},
		{"what is anchored, of a generation before", func(w *world) cert.Run {
			w.ctx.Restarted(one)
			return run(t, one, 10, 11, version{block: 1})
		}, chain.CodeAnchorGeneration, false},
		{"a generation that has not begun", from(11, 12, version{generation: 1}), chain.CodeAnchorGeneration, false},
		{"an epoch before the redraw", func(w *world) cert.Run {
			w.ctx.Redrawn(one, w.ctx.Round(one))
			return run(t, one, 11, 12, version{generation: 1})
		}, chain.CodeAnchorEpoch, false},
		{"the generation that goes on", func(w *world) cert.Run {
			w.ctx.Epoch = 1
			w.ctx.Restarted(one)
			return run(t, one, 11, 15, version{generation: 1})
		}, chain.CodeOK, true},
		{"beyond the end", func(w *world) cert.Run {
			w.replace(one, 2)
			return run(t, one, 11, 17, version{})
		}, chain.CodeShardEnded, false},
		{"up to the end", func(w *world) cert.Run {
			w.replace(one, 2)
			return run(t, one, 11, 16, version{})
		}, chain.CodeOK, true},
		{"not quite up to the end", func(w *world) cert.Run {
			w.replace(one, 2)
			return run(t, one, 11, 15, version{})
		}, chain.CodeOK, true},
		{"an end in a later epoch", func(w *world) cert.Run {
			w.replace(one, 2)
			return join(t, certify(one, 11, version{}), certify(one, 12, version{epoch: 3}))
		}, chain.CodeOK, true},
		{"after the end", func(w *world) cert.Run {
			w.replace(one, 2)
			w.take(run(t, one, 11, 16, version{}))
			return run(t, one, 17, 17, version{})
		}, chain.CodeShardEnded, false},
		{"after an end in a later epoch, an earlier one", func(w *world) cert.Run {
			w.replace(one, 2)
			w.take(join(t, certify(one, 11, version{epoch: 3})))
			return run(t, one, 12, 12, version{})
		}, chain.CodeShardEnded, false},
		{"an epoch before the shard served", func(w *world) cert.Run {
			s := w.state(one)
			s.Since, s.Begins = 2, 2
			w.ctx.State.Set(anchor.Key(one), s.Encode())
			return run(t, one, 11, 16, version{})
		}, chain.CodeAnchorEpoch, false},
		{"a stranger's bit", next(func(r *cert.Run) { r.Sets[0].Bitmap = []byte{0x17} }), chain.CodeBadCertificate, false},
		{"half of the power", func(w *world) cert.Run {
			return join(t, certify(one, 11, version{}), certify(one, 12, version{}, 0, 1))
		}, chain.CodeBadCertificate, false},
		{"a bitmap that is not canonical", next(func(r *cert.Run) { r.Sets[0].Bitmap = append(r.Sets[0].Bitmap, 0) }), chain.CodeMalformed, false},
		{"no heights", next(func(r *cert.Run) { r.Heads = nil }), chain.CodeMalformed, false},
		{"signers that are not there", next(func(r *cert.Run) { r.Heads[7].Set = 9 }), chain.CodeMalformed, false},
		{"other signers", next(func(r *cert.Run) { r.Sets[0].Bitmap = []byte{0x0b} }), chain.CodeBadCertificate, true},
		{"another outbox", next(func(r *cert.Run) { r.Heads[3].OutboxRoot[0]++ }), chain.CodeBadCertificate, true},
		{"heights cut off", next(func(r *cert.Run) { r.Heads = r.Heads[:7] }), chain.CodeBadCertificate, true},
		{"the certificates of another shard", func(w *world) cert.Run {
			r := run(t, two, 11, 18, version{})
			r.Chain = one
			return r
		}, chain.CodeBadCertificate, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.take(run(t, one, 1, 10, version{}))
			in := &anchor.Anchors{Runs: []cert.Run{row.run(w)}}
			looked := false
			w.ctx.Proved = func(ledger.Hash) bool { looked = true; return false }
			if row.code == chain.CodeOK {
				before := w.digest()
				if proved, err := w.ctx.Verify(in); err != nil || !slices.Equal(proved, []ledger.Hash{in.Runs[0].Hash()}) || w.digest() != before {
					t.Errorf("Verify: %s, %v", proved, err)
				}
				w.take(in.Runs...)
			} else {
				w.refused("Verify", row.code, func() error { _, err := w.ctx.Verify(in); return err })
				w.refused("Apply", row.code, func() error { _, err := w.ctx.Apply(in); return err })
			}
			if looked != row.pairings {
				t.Errorf("the signature was looked at: %v, want %v", looked, row.pairings)
			}
			if row.code == chain.CodeOK || row.pairings {
				return
			}
			w.refused("Check", row.code, func() error { _, err := w.ctx.Check(in); return err })
		})
	}
}

// TestWholeRefusals: what is wrong with a transaction, whatever its runs.
func TestWholeRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	short, long := run(t, one, 1, 2, version{}), run(t, two, 1, 40, version{})
	third := run(t, one, 1, 25, version{})
	third.Chain = two + 1
	for _, row := range []struct {
		name string
		runs []cert.Run
		code chain.Code
	}{
		{"no runs", nil, chain.CodeMalformed},
		{"too many", slices.Repeat([]cert.Run{short}, anchor.MaxRuns+1), chain.CodeMalformed},
		{"a shard twice", []cert.Run{short, short}, chain.CodeBadOrder},
		{"descending", []cert.Run{long, short}, chain.CodeBadOrder},
		{"too many heights", []cert.Run{long, third}, chain.CodeTooLarge},
	} {
		w.refused(row.name, row.code, func() error { _, err := w.ctx.Apply(&anchor.Anchors{Runs: row.runs}); return err })
		w.refused(row.name, row.code, func() error { _, err := w.ctx.Check(&anchor.Anchors{Runs: row.runs}); return err })
	}
}

// TestEachForItself: a run that comes too late takes no other with it, and is the
// only one that is paid for.
func TestEachForItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.take(run(t, one, 1, 4, version{}))
	w.ctx.Height += uint64(w.ctx.Rules.DueBlocks)
	before := w.state(one)
	in := &anchor.Anchors{Runs: []cert.Run{run(t, one, 1, 4, version{}), run(t, two, 1, 12, version{})}}
	expected, err := w.ctx.Check(in)
	if err != nil {
		t.Fatal(err)
	}
	results, err := w.ctx.Apply(in)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(expected, results); diff != "" {
		t.Errorf("Check said something else: %s", diff)
	}
	if got := []chain.Code{results[0].Code, results[1].Code}; !slices.Equal(got, []chain.Code{chain.CodeAnchorStale, chain.CodeOK}) {
		t.Errorf("codes %v", got)
	}
	if diff := cmp.Diff(before, w.state(one)); diff != "" || w.state(two).Height() != 12 {
		t.Errorf("height %d of shard %d; shard %d changed: %s", w.state(two).Height(), two, one, diff)
	}
	if back, err := anchor.PaidBack(1_001, in, results); back != 750 || err != nil {
		t.Errorf("paid back %d, error %v, want 750: twelve of sixteen heights", back, err)
	}
}

// TestPaidBack: who relays first and when it is due pays nothing.
func TestPaidBack(t *testing.T) {
	t.Parallel()
	ok := anchor.Result{First: 1, Last: 4, Due: true}
	early := anchor.Result{First: 5, Last: 6}
	stale := anchor.Result{First: 1, Last: 4, Code: chain.CodeAnchorStale}
	for _, row := range []struct {
		name    string
		results []anchor.Result
		want    ledger.Amount
	}{
		{"all due", []anchor.Result{ok, ok}, 99},
		{"too early", []anchor.Result{early}, 0},
		{"too late", []anchor.Result{stale}, 0},
		{"half too late", []anchor.Result{ok, stale}, 49},
		{"a third too early", []anchor.Result{ok, early}, 66},
		{"half of it anchored before", []anchor.Result{{First: 3, Last: 4, Due: true}}, 49},
		{"nothing", nil, 0},
	} {
		in := new(anchor.Anchors)
		for i := range row.results {
			sent := row.results[i].Heights()
			if row.results[i].First == 3 { // two that were anchored come before it
				sent += 2
			}
			in.Runs = append(in.Runs, cert.Run{Heads: make([]cert.Head, sent)})
		}
		if got, err := anchor.PaidBack(99, in, row.results); got != row.want || err != nil {
			t.Errorf("%s: %d, error %v, want %d", row.name, got, err, row.want)
		}
	}
	w := newWorld(t)
	p := w.ctx.Rules
	in := &anchor.Anchors{Runs: []cert.Run{run(t, one, 1, 8, version{})}}
	if got, want := p.Fee(in), p.SetFee*ledger.Amount(len(in.Runs[0].Sets))+8*p.HeightFee; got != want {
		t.Errorf("fee %d, want %d", got, want)
	}
	many := &anchor.Anchors{Runs: []cert.Run{run(t, one, 1, 64, version{})}}
	if anchor.Weight(many) <= anchor.Weight(in) {
		t.Error("more heights weigh no more")
	}
}

// TestProved: what was verified before is not verified again, and is refused all the
// same if its committee is not that of the epoch.
func TestProved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := run(t, one, 1, 4, version{})
	r.Signature[3]++ // nobody looks
	hash := r.Hash()
	w.ctx.Proved = func(h ledger.Hash) bool { return h == hash }
	w.redraw[0] = 1
	in := &anchor.Anchors{Runs: []cert.Run{r}}
	w.refused("another committee", chain.CodeUnknownCommittee, func() error { _, err := w.ctx.Apply(in); return err })
	w.redraw[0] = 0
	w.take(r)
}

// TestPartitions: however the heights of two shards are cut into runs and in whatever
// order and how often these are sent, the state is the same.
func TestPartitions(t *testing.T) {
	t.Parallel()
	const heights = 20
	whole := newWorld(t)
	whole.take(run(t, one, 1, heights, version{}), run(t, two, 1, heights, version{}))
	want := whole.digest()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		w.ctx.Proved = func(ledger.Hash) bool { return true } // they are; it is for time
		var pieces []cert.Run
		for _, id := range []shard.ID{one, two} {
			for first := uint64(1); first <= heights; {
				last := min(heights, first+uint64(rapid.IntRange(0, 8).Draw(rt, "length")))
				pieces = append(pieces, run(t, id, first, last, version{}))
				first = last + 1
			}
		}
		pieces = rapid.Permutation(pieces).Draw(rt, "order")
		pieces = append(pieces, pieces[:rapid.IntRange(0, len(pieces)).Draw(rt, "again")]...)
		// Who finds a gap sends again later; each round anchors one piece of each
		// shard at least.
		for range 2 * len(pieces) {
			for _, p := range pieces {
				_, err := w.ctx.Apply(&anchor.Anchors{Runs: []cert.Run{p}})
				if code, _ := chain.CodeOf(err); code != chain.CodeOK && code != chain.CodeAnchorGap && code != chain.CodeAnchorStale {
					rt.Fatalf("heights %d to %d of shard %d: %v", p.First, p.Last(), p.Chain, err)
				}
			}
			if w.digest() == want {
				return
			}
		}
		rt.Fatalf("the state differs: heights %d and %d", w.state(one).Height(), w.state(two).Height())
	})
}

// TestOneVersion: two versions of a height are certified; whichever comes first
// stays.
func TestOneVersion(t *testing.T) {
	t.Parallel()
	for _, first := range []version{{}, {block: 1}} {
		w := newWorld(t)
		other := version{block: 1 - first.block}
		w.take(run(t, one, 1, 6, first))
		for _, again := range []uint64{6, 9} {
			w.refused("another version", chain.CodeAnchorConflict, func() error {
				_, err := w.ctx.Apply(&anchor.Anchors{Runs: []cert.Run{run(t, one, 5, again, other)}})
				return err
			})
		}
		// What goes on from another version is taken as it is: main does not look
		// into blocks, and two thirds of the committee signed it.
		w.take(run(t, one, 7, 8, other))
	}
}
