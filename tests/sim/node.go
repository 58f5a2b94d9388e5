package sim

import (
	"errors"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/stateproof/prooftest"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// item is what the network carries to a chain.
type item struct {
	kind itemKind
	raw  []byte
}

type itemKind uint8

const (
	itemTx     itemKind = 1
	itemImport itemKind = 2 // to main an import or a request to list again, to a shard a relay
	itemAnchor itemKind = 3
)

// maxPool is how much a node keeps for its next blocks; main keeps more of many shards.
const maxPool = 256

// stored is a block as the chain's nodes keep it.
type stored struct {
	raw    []byte
	digest ledger.Hash // of the history after it
	cert   cert.Certificate
	// forged says that there is no block: a corrupt committee certified what it
	// liked at this height, and changed nothing in its own state.
	forged bool
	tree   *prooftest.Tree // of its state
}

// parcel is leaves of a block for one chain.
type parcel struct {
	height     uint64
	begin, end int
}

// node is a chain: what all honest nodes of it have. view and blocks are on disk; what
// a crash loses is in memory.
type node struct {
	at      int // its number in the world
	id      ledger.ChainID
	rules   rules
	genesis chain.Changes
	view    *State
	digest  ledger.Hash
	blocks  []stored // by height-1
	down    [validators]bool
	sits    *session // on main: the committee of the epoch

	parents []*node // of a shard that came of a split or a merge
	tainted bool    // malicious members have or had power over it or a parent
	dead    bool    // nobody has the states that it would begin with
	// replaced says that its heirs have begun.
	replaced bool
	// resume is how it goes on with its next block, as another generation; nil if that is
	// the one before.
	resume *shardblock.Resume
	undone []cert.Certificate  // of blocks of generations before
	undo   map[uint64][]func() // by height: takes back what was noted of a block
	// geneses are the hashes of what it began from, by the block of main.
	geneses map[uint64]ledger.Hash
	again   *shardblock.Genesis
	// replayed is the state that its blocks lead to once more.
	replayed *State

	halted bool
	room   int    // items for which it has room, if more than maxPool
	pool   []item // memory
	// boxes are the outboxes of blocks with leaves that somebody has, parcels what of
	// them another chain may still want.
	boxes       map[uint64]*link.Outbox
	parcels     map[*node][]parcel
	settlements []service.Settlement // memory: made and not yet carried to main
	twins       []cert.Certificate   // a corrupt committee's second opinions
	// Of main: what is anchored of each shard, and by which block, from height 1 on.
	anchored   map[ledger.ChainID][]cert.Checkpoint
	anchoredAt map[ledger.ChainID][]uint64
	epoch      uint64 // of a shard: the last that it began
	// Of main: who was to serve in an epoch, one block before the last in which others can be
	// drawn for all of it.
	early map[assigned]shard.Assignment
}

// assigned names who serves a shard in an epoch.
type assigned struct {
	epoch uint64
	id    ledger.ChainID
}

func (n *node) height() uint64 { return uint64(len(n.blocks)) }

func (n *node) isMain() bool { return n.id == ledger.MainChain }

// put is what arrives; what a full node cannot keep is lost.
func (n *node) put(it item) {
	if len(n.pool) < max(maxPool, n.room) {
		n.pool = append(n.pool, it)
	}
}

// next makes the next block of what is in the pool. Main has what carries first, then
// anchors, then users' transactions, as settlement.Class says.
func (n *node) next() block {
	b := block{height: n.height() + 1, parent: n.digest}
	for _, kind := range []itemKind{itemImport, itemAnchor, itemTx} {
		for _, it := range n.pool {
			switch {
			case it.kind != kind:
			case kind == itemImport && !n.isMain():
				b.imports = append(b.imports, it.raw)
			default:
				b.txs = append(b.txs, it.raw)
			}
		}
	}
	return b
}

// over reports whether a shard has made its last block.
func (n *node) over() bool {
	if n.isMain() || n.dead || n.replaced {
		return !n.isMain()
	}
	if n.resume != nil {
		return false
	}
	ended := shardblock.ReadStatus(n.view).Ended
	return ended != 0 && n.height() >= ended
}

// produce makes, decides and commits the next block. Without force a shard makes none
// if it has nothing to do.
func (w *World) produce(n *node, force bool) {
	willing := !w.chaos || w.chance(80)
	over := n.over()
	beyond := over && w.chaos && w.chance(5) // an empty block may come after the last one
	if n.dead || n.replaced || over && !beyond {
		w.counts.Ended += len(n.pool)
		n.pool = nil
		return
	}
	sits := w.sitting(n, n.height()+1)
	if n.halted || !sits.decides(n, willing) {
		w.counts.Stalls++
		return
	}
	idle := !n.isMain() && !force && !over && n.resume == nil && !shardblock.NeedsTick(n.view, n.height()+1)
	if idle && len(n.pool) == 0 {
		return
	}
	b := n.next()
	if n.resume != nil {
		b.resume = n.resume.Encode()
	}
	out, err := n.rules.apply(n.view, &b, false)
	if err != nil {
		w.failf("chain %d: %v", n.id, err)
	}
	n.pool = nil
	w.refusals(n, out)
	if idle && len(out.kept.imports)+len(out.kept.txs) == 0 {
		return // nothing of it may be in a block
	}
	raw := out.kept.encode()
	digest := digestAfter(n.digest, out.changes)
	if w.chaos && w.chance(6) {
		w.counts.Crashes++
		w.again(n, raw, digest)
	}
	if w.chaos && len(out.kept.imports) > 0 && w.chance(4) {
		w.invalid(n, out.kept)
	}
	if out.epoch != sits.committee.Epoch {
		w.failf("chain %d: height %d is of epoch %d, who votes is of %d", n.id, b.height, out.epoch, sits.committee.Epoch)
	}
	n.view.Apply(out.changes)
	n.digest, n.resume = digest, nil
	tree := w.treeOf(n, n.view, digest, b.height)
	c := w.certify(n, sits, cert.Checkpoint{
		Height: b.height, Generation: out.generation, BlockHash: ledger.HashOf("sim/block", raw), StateRoot: tree.Root(),
		OutboxRoot: out.box.Root(), UsageRoot: out.usage, ResultsRoot: out.results,
	}, func(i int) bool { return sits.signs(n, i, willing) })
	n.blocks = append(n.blocks, stored{raw: raw, digest: digest, cert: c, tree: tree})
	w.counts.Blocks++
	w.index(n, b.height, out)
	w.committed(n, b.height, out)
	if w.chaos && w.chance(3) {
		w.crash(n)
	}
	if n.isMain() {
		w.changed(out)
	}
}

// again is a node that crashed after the block was decided and before it was committed:
// it executes the block's bytes on what it had committed.
func (w *World) again(n *node, raw []byte, want ledger.Hash) {
	b, err := decodeBlock(raw)
	if err != nil {
		w.failf("chain %d: %v", n.id, err)
	}
	out, err := n.rules.apply(n.view, &b, true)
	if err != nil {
		w.failf("chain %d height %d after a restart: %v", n.id, b.height, err)
	}
	if got := digestAfter(n.digest, out.changes); got != want {
		w.failf("chain %d height %d has another root after a restart", n.id, b.height)
	}
}

// invalid lets a malicious proposer bring an import twice: no voter may take the block.
func (w *World) invalid(n *node, b block) {
	b.imports = append(slices.Clip(b.imports), b.imports[len(b.imports)-1])
	if _, err := n.rules.apply(n.view, &b, true); !errors.Is(err, errBlock) {
		w.failf("chain %d height %d brings an import twice, and voters say %v", n.id, b.height, err)
	}
	w.counts.InvalidBlocks++
}

// crash loses what is in memory, and sometimes the leaves of a block for good.
func (w *World) crash(n *node) {
	w.counts.Crashes++
	n.pool, n.settlements = nil, nil
	w.corruptRow(n)
	if w.cfg.loseLeaves && len(n.boxes) > 0 && w.chance(50) {
		lost := w.pick(int(n.height())) + 1
		if n.boxes[uint64(lost)] != nil {
			delete(n.boxes, uint64(lost))
			w.counts.LostOutboxes++
		}
	}
}

// index notes what relays ask nodes for.
func (w *World) index(n *node, height uint64, out *applied) {
	n.keep(w, height, out.box)
	n.settlements = append(n.settlements, out.service.Settlements...)
	for _, c := range out.anchored {
		n.anchored[c.Chain] = append(n.anchored[c.Chain], c)
		n.anchoredAt[c.Chain] = append(n.anchoredAt[c.Chain], height)
	}
	if n.isMain() {
		for i := range w.nonces {
			clear(w.nonces[i])
		}
	}
}

// keep keeps an outbox and notes for whom it is.
func (n *node) keep(w *World, height uint64, box *link.Outbox) {
	if leaves := box.Leaves(); len(leaves) > 0 {
		n.boxes[height] = box
		n.address(w, height, box, 0, len(leaves))
	}
}

// address notes for whom leaves of an outbox are.
func (n *node) address(w *World, height uint64, box *link.Outbox, begin, last int) {
	leaves := box.Leaves()
	for begin < last {
		to := w.ownerOf(leaves[begin].To())
		end := begin + 1
		for end < last && w.ownerOf(leaves[end].To()) == to {
			end++
		}
		n.parcels[to] = append(n.parcels[to], parcel{height, begin, end})
		begin = end
	}
}

// replay applies the bytes of all blocks from the genesis again and compares the
// roots with those that were certified.
func (w *World) replay(n *node) {
	w.checkHeir(n)
	view, digest := NewState(n.genesis), ledger.Hash{}
	for i := range n.blocks {
		s := &n.blocks[i]
		if s.forged {
			continue
		}
		b, err := decodeBlock(s.raw)
		if err != nil {
			w.failf("replay chain %d: %v", n.id, err)
		}
		if b.parent != digest {
			w.failf("replay chain %d: height %d does not follow the one before it", n.id, b.height)
		}
		out, err := n.rules.apply(view, &b, true)
		if err != nil {
			w.failf("replay chain %d height %d: %v", n.id, b.height, err)
		}
		view.Apply(out.changes)
		digest = digestAfter(digest, out.changes)
		if w.treeOf(n, view, digest, b.height).Root() != s.cert.Checkpoint.StateRoot || out.box.Root() != s.cert.Checkpoint.OutboxRoot {
			w.failf("replay chain %d: height %d has another root", n.id, b.height)
		}
		w.replayFoundings(view, out)
	}
	n.replayed = view
	w.counts.Replayed += len(n.blocks)
}

// replayFoundings makes the genesis of shards by the states of main once more.
func (w *World) replayFoundings(v chain.View, out *applied) {
	for _, e := range out.main.Shards {
		if e.Kind != settlement.ShardFounded && (e.Kind != settlement.ShardRedrawn || e.Last > 0) {
			continue
		}
		n := w.byChain[e.Shard]
		if n.dead {
			continue
		}
		g, err := w.net.genesisOf(v, e.Shard)
		if err != nil || g.Hash() != n.geneses[out.main.Height] {
			w.failf("replay the founding of shard %d: %v", e.Shard, err)
		}
		n.again = &g
	}
}
