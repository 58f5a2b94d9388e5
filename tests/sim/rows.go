package sim

import (
	"bytes"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/stateproof/prooftest"
)

// digestKey is the row of a state that stands for all that nobody proves.
func digestKey() []byte { return []byte{'!'} }

// treeOf returns the tree of a chain's state, whose history has a digest, after a block:
// the digest, and of main rows that are proved.
func (w *World) treeOf(n *node, v chain.View, digest ledger.Hash, height uint64) *prooftest.Tree {
	rows := chain.Changes{{Key: digestKey(), Value: digest[:]}}
	if n.isMain() {
		rows = append(rows, w.net.rows(v, height)...)
	}
	return prooftest.New(rows)
}

// rows returns what of main's state shards have proved, ascending by key: the anchors of
// shards, and of the epoch under way and the next, as soon as they are known, the record,
// who serves shards, and the committee of main; of shards on the way to their end the
// record and who serves them then.
func (n *network) rows(v chain.View, height uint64) (rows chain.Changes) {
	all := func(prefix []byte) {
		for key, value := range v.Range(prefix) {
			rows = append(rows, chain.Change{Key: key, Value: value})
		}
	}
	all(anchor.Key(0)[:1])
	epoch := n.params.Staking.Epoch(height)
	for e := epoch; e <= n.params.Staking.Epoch(height+2); e++ {
		all(registry.EpochKey(e))
		all(registry.AssignmentKey(e, 0)[:9])
		all(staking.CommitteeKey(e))
	}
	for id, s := range anchor.All(v) {
		if s.Until > 0 && s.Until < epoch && !s.Finished() {
			all(registry.EpochKey(s.Until))
			all(registry.AssignmentKey(s.Until, id))
		}
	}
	slices.SortFunc(rows, func(a, b chain.Change) int { return bytes.Compare(a.Key, b.Key) })
	return slices.CompactFunc(rows, func(a, b chain.Change) bool { return bytes.Equal(a.Key, b.Key) })
}

// prove returns what main's state had under a key after a block.
func (w *World) prove(height uint64, key []byte) shardblock.Row {
	n := w.main()
	b := &n.blocks[height-1]
	s, err := b.tree.Prove(height, key)
	if err != nil {
		w.failf("main at height %d: %v", height, err)
	}
	row, err := shardblock.RowOf(s)
	if err != nil {
		w.failf("main at height %d: %v", height, err)
	}
	return row
}

// epochOf returns the epoch of a block of main.
func (w *World) epochOf(height uint64) uint64 { return w.net.params.Staking.Epoch(height) }

// news returns what a shard may have to be told before it believes a block of main: the
// hand-overs since the last committee that it knows, as many as one relay has, and the
// block. all says that nothing is missing.
func (w *World) news(to *node, height uint64) (n shardblock.News, all bool) {
	_, known := shardblock.MainEpochs(to.view)
	for e := known + 1; e <= w.epochOf(height); e++ {
		if len(n.Handovers) == shardblock.MaxHandovers {
			return n, false
		}
		at := w.net.params.Staking.LastBlock(e-1) - uint64(w.pick(2))
		n.Handovers = append(n.Handovers, shardblock.Handover{
			Certificate: w.main().blocks[at-1].cert, Record: w.prove(at, staking.CommitteeKey(e)),
		})
	}
	n.Heads = []cert.Certificate{w.main().blocks[height-1].cert}
	return n, true
}
