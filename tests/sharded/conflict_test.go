package sharded_test

import (
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// TestConflict: a committee certifies a height that its shard has not made, and somebody
// has it anchored. As soon as the shard makes that height, those who run it tell main of
// both versions, once, and main finds the committee guilty.
func TestConflict(t *testing.T) {
	t.Parallel()
	w, ids, p := newPair(t, 1_000)
	w.until("nothing is under way", w.quiet)
	w.until("all is anchored", func() bool {
		h, _ := w.anyOf(ids[0]).Head()
		return w.anchored(ids[0]) == h
	})
	w.shards[ids[0]].stop(true)
	run := w.forge(ids[0], 3)
	a := anchor.Anchors{Runs: []cert.Run{run}}
	w.onMain(w.userIn(ids[1], 5), chain.KindAnchor, a.Encode())
	w.until("the forged height is anchored", func() bool { return w.anchored(ids[0]) == run.First })
	w.shards[ids[0]].stop(false)
	w.book(p, w.pay(p, 1_000, 1_000))
	told := 0
	w.until("main has heard of it", func() bool { told = w.conflicts(); return told > 0 })
	h, _ := w.mains[0].Head()
	w.until("main goes on", func() bool { now, _ := w.mains[0].Head(); return now > h+20 })
	if again := w.conflicts(); again != 1 {
		t.Errorf("main was told %d times of the conflict, want once", again)
	}
}

// conflicts returns how often main was told of a conflict and found somebody guilty.
func (w *world) conflicts() (n int) {
	w.tb.Helper()
	head, _ := w.mains[0].Head()
	for h := uint64(1); h <= head; h++ {
		b, err := w.mains[0].BlockResult(h)
		if err != nil {
			w.tb.Fatal(err)
		}
		for i := range b.Receipts {
			if r := &b.Receipts[i]; r.Kind == chain.KindAnchorConflict && r.Code == chain.CodeOK {
				n++
			}
		}
	}
	return n
}

// forge returns the next height of a shard with a state of its own, certified by so many
// of its committee.
func (w *world) forge(id shard.ID, signers int) (run cert.Run) {
	w.tb.Helper()
	w.readMain(func(v view) {
		row, _ := anchor.Read(v, id)
		a, _ := registry.ReadAssignment(v, row.Last.Epoch, id)
		next := row.Last
		next.Height, next.BlockHash, next.StateRoot = row.Height()+1, ledger.Hash{1}, ledger.Hash{2}
		run = w.certify(next, &a.Committee, signers)
	})
	return run
}

func (w *world) certify(p cert.Checkpoint, com *committee.Committee, signers int) cert.Run {
	w.tb.Helper()
	keys, err := com.Keys()
	if err != nil {
		w.tb.Fatal(err)
	}
	var votes []cert.Vote
	for i := range w.mains {
		if at, ok := com.FindAddress(consensusOf(i)); ok && len(votes) < signers {
			votes = append(votes, cert.Vote{Member: at, Signature: blsOf(w.tb, i).Sign(p.Message())})
		}
	}
	c, _, err := cert.Assemble(p, com, keys, votes)
	if err != nil {
		w.tb.Fatal(err)
	}
	run, err := cert.Join([]cert.Certificate{c})
	if err != nil {
		w.tb.Fatal(err)
	}
	return run
}
