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
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/stateproof/prooftest"
	"github.com/tributary-network/tributary/shard"
)

// digestKey is the row of a state that stands for all that nobody proves.
func digestKey() []byte { return []byte{'!'} }

// treeOf returns the tree of a state: the digest of its history, and rows that are proved.
func treeOf(digest ledger.Hash, rows chain.Changes) *prooftest.Tree {
	return prooftest.New(append(chain.Changes{{Key: digestKey(), Value: digest[:]}}, rows...))
}

// rows returns what of main's state shards have proved, ascending by key: the anchors of
// shards, and of the epoch under way and the next, as soon as they are known, the record,
// who serves shards, and the committee of main.
func (n *network) rows(v chain.View, height uint64) (rows chain.Changes) {
	add := func(key, value []byte) {
		if value != nil {
			rows = append(rows, chain.Change{Key: key, Value: value})
		}
	}
	epoch := epochOf(height)
	last := epoch
	if epochs().EpochBlock(height) {
		last++
	}
	for s := range n.places.All() {
		add(anchor.Key(s.ID), v.Get(anchor.Key(s.ID)))
		for e := epoch; e <= last; e++ {
			add(registry.AssignmentKey(e, s.ID), n.seats[s.ID].at(e).assignment(s.ID))
		}
	}
	for e := epoch; e <= last; e++ {
		add(registry.EpochKey(e), v.Get(registry.EpochKey(e)))
		add(staking.CommitteeKey(e), n.seats[ledger.MainChain].at(e).record())
	}
	slices.SortFunc(rows, func(a, b chain.Change) int { return bytes.Compare(a.Key, b.Key) })
	return rows
}

// assignment returns the row of who serves a shard.
func (s *session) assignment(id shard.ID) []byte {
	if s.assigned == nil {
		a := shard.Assignment{Shard: id, Committee: s.committee}
		row := a.Short()
		s.assigned = row.Encode()
	}
	return s.assigned
}

// record returns the row of the committee of main.
func (s *session) record() []byte {
	if s.elected == nil {
		r := committee.Record{Committee: s.committee}
		s.elected = r.Encode()
	}
	return s.elected
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

// news returns what a shard may have to be told before it believes a block of main: the
// hand-overs since the last committee that it knows, as many as one relay has, and the
// block. all says that nothing is missing.
func (w *World) news(to *node, height uint64) (n shardblock.News, all bool) {
	_, known := shardblock.MainEpochs(to.view)
	for e := known + 1; e <= epochOf(height); e++ {
		if len(n.Handovers) == shardblock.MaxHandovers {
			return n, false
		}
		at := epochs().LastBlock(e-1) - uint64(w.pick(2))
		n.Handovers = append(n.Handovers, shardblock.Handover{
			Certificate: w.main().blocks[at-1].cert, Record: w.prove(at, staking.CommitteeKey(e)),
		})
	}
	n.Heads = []cert.Certificate{w.main().blocks[height-1].cert}
	return n, true
}
