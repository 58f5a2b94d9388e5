package relay

import (
	"cmp"
	"slices"

	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// Front is the certificates of a shard that main could anchor next.
type Front struct {
	Shard shard.ID
	// Certificates are of heights that follow each other, from the first that is not
	// anchored on: none if nothing can be anchored, anchor.MaxHeights at most.
	Certificates []cert.Certificate
	// Due says that main gives the fee back, Messages that one of the heights has
	// something for other chains, which waits for the anchor: Newest is the last such.
	Due, Messages bool
	Newest        uint64
}

// FrontOf returns what main, whose next block is at height, could anchor of a shard
// with that state, given which certificates this node has.
func FrontOf(id shard.ID, s *anchor.State, rules *anchor.Params, height, head uint64, certificate func(height uint64) (cert.Certificate, bool)) Front {
	f := Front{Shard: id}
	if s.End > 0 {
		head = min(head, s.End)
	}
	first := s.Tree.Size + 1
	for h := first; h <= head && len(f.Certificates) < anchor.MaxHeights; h++ {
		c, ok := certificate(h)
		if !ok || c.Checkpoint.Generation != s.Generation || c.Checkpoint.Epoch < s.RedrawEpoch {
			break
		}
		f.Certificates = append(f.Certificates, c)
		if c.Checkpoint.OutboxRoot != (ledger.Hash{}) {
			f.Messages, f.Newest = true, h
		}
		if s.Until > 0 && c.Checkpoint.Epoch >= s.Until {
			break // the last height; consensus may have made an empty block on top of it
		}
	}
	f.Due = len(f.Certificates) > 0 && rules.DueWith(height, s.From, f.Messages && len(f.Certificates) <= anchor.EagerHeights)
	return f
}

// Post joins fronts, of different shards and none of them empty, into the payload of
// one transaction of weight most (anchor.Weight): as much of each as fits, those with the
// lowest ids first, and returns which heights it ends with. A front whose certificates
// cannot be joined is left out.
func Post(fronts []Front, most int64) (out anchor.Anchors, last map[shard.ID]uint64) {
	fronts = slices.SortedFunc(slices.Values(fronts), func(a, b Front) int { return cmp.Compare(a.Shard, b.Shard) })
	last = make(map[shard.ID]uint64)
	room := anchor.MaxHeights
	for i, f := range fronts {
		// What one leaves the next ones share; each has one height at least.
		share := max(room/max(len(fronts)-i, 1), 1)
		if room == 0 || len(out.Runs) == anchor.MaxRuns {
			break
		}
		run, ok := light(f.Certificates[:min(len(f.Certificates), share)], most)
		if !ok {
			continue
		}
		out.Runs = append(out.Runs, run)
		last[f.Shard] = run.Last()
		room -= len(run.Heads)
		most -= anchor.Weight(&anchor.Anchors{Runs: []cert.Run{run}})
	}
	return out, last
}

// light joins the first of certificates, as many as weigh no more than most: where members
// of a large committee take turns, few.
func light(list []cert.Certificate, most int64) (run cert.Run, ok bool) {
	for ; len(list) > 0; list = list[:len(list)/2] {
		run, err := cert.Join(list)
		if err != nil {
			return cert.Run{}, false
		}
		if anchor.Weight(&anchor.Anchors{Runs: []cert.Run{run}}) <= most {
			return run, true
		}
	}
	return cert.Run{}, false
}
