package sim

import (
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/beacon"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// A shard that misses its anchors goes on from the last one with another committee, as
// another generation. What it made beyond is worth nothing: nobody else has heard of it.

// base returns the state that a shard's next block begins from.
func (w *World) base(n *node) chain.View {
	if n.resume == nil {
		return n.view
	}
	v, err := n.resume.Over(n.view)
	if err != nil {
		w.failf("shard %d goes on from height %d: %v", n.id, n.height(), err)
	}
	return v
}

// generation is that of a shard's next block.
func (w *World) generation(n *node) uint32 { return shardblock.ReadStatus(w.base(n)).Generation }

// urged reports whether a shard is to make a block although it has nothing to do, so that
// there is something to anchor and it keeps its committee.
func (w *World) urged(n *node) bool {
	if w.shape.stalls == 0 || n.isMain() {
		return false
	}
	row, ok := anchor.Read(w.main().view, n.id)
	return ok && row.Height() == n.height() && w.main().height() > row.From+uint64(w.net.params.Anchors.LateBlocks)/2
}

// redrawn lets a shard go on as another generation from a height, 0 if nothing of it is
// anchored.
func (w *World) redrawn(n *node, height uint64) {
	w.counts.Redraws++
	if w.silent == n {
		w.silent = nil
	}
	w.checkRedraw(n)
	if n.dead {
		return
	}
	row, _ := anchor.Read(w.main().view, n.id)
	if height > 0 && (n.blocks[height-1].forged || n.blocks[height-1].cert.Checkpoint.StateRoot != row.ResumedRoot) {
		if !n.tainted {
			w.failf("shard %d goes on from a state at height %d that it never had", n.id, height)
		}
		n.dead = true
		w.counts.Dead++
		return
	}
	w.rollBack(n, height)
	w.checkFormer(n)
	if height == 0 {
		w.beginAgain(n)
		return
	}
	r, ok, err := shardblock.ResumeFromMain(w.main().view, n.id)
	if err != nil || !ok || r.Height != height {
		w.failf("shard %d goes on from height %d: %+v, %t, %v", n.id, height, r, ok, err)
	}
	if again, err := shardblock.DecodeResume(r.Encode()); err != nil || again.Hash() != r.Hash() {
		w.failf("how shard %d goes on from height %d is not what is read of it: %v", n.id, height, err)
	}
	n.resume = &r
}

// beginAgain lets a shard of which nothing is anchored begin with another committee.
func (w *World) beginAgain(n *node) {
	g, err := w.net.genesisOf(w.main().view, n.id)
	if err != nil {
		w.failf("genesis of shard %d: %v", n.id, err)
	}
	var views []chain.View
	for _, p := range n.parents {
		views = append(views, p.view)
	}
	if n.genesis, err = w.net.stateOf(&g, views); err != nil {
		w.failf("genesis of shard %d: %v", n.id, err)
	}
	n.view, n.geneses[w.main().height()] = NewState(n.genesis), g.Hash()
	n.epoch = shardblock.ReadStatus(n.view).Epoch
}

// rollBack takes back the blocks of a shard above a height, and all that was noted of them.
func (w *World) rollBack(n *node, height uint64) {
	w.counts.Undone += int(n.height() - height)
	for h := n.height(); h > height; h-- {
		for _, back := range slices.Backward(n.undo[h]) {
			back()
		}
		delete(n.undo, h)
		delete(n.boxes, h)
	}
	n.pool, n.settlements, n.twins = nil, nil, nil
	if n.height() == height {
		return
	}
	for i := range n.blocks[height:] {
		n.undone = append(n.undone, n.blocks[int(height)+i].cert)
	}
	n.blocks = n.blocks[:height]
	n.view, n.digest = NewState(n.genesis), ledger.Hash{}
	for i := range n.blocks {
		if n.blocks[i].forged {
			continue
		}
		b, err := decodeBlock(n.blocks[i].raw)
		if err != nil {
			w.failf("shard %d: %v", n.id, err)
		}
		out, err := n.rules.apply(n.view, &b, true)
		if err != nil {
			w.failf("shard %d goes back to height %d: %v", n.id, height, err)
		}
		n.view.Apply(out.changes)
		n.digest = digestAfter(n.digest, out.changes)
	}
	if height > 0 && n.digest != n.blocks[height-1].digest {
		w.failf("shard %d goes back to another state at height %d", n.id, height)
	}
	for to, list := range n.parcels {
		n.parcels[to] = slices.DeleteFunc(list, func(p parcel) bool { return p.height > height })
	}
	for _, from := range w.chains { // it may want again what it has forgotten
		delete(from.parcels, n)
		for h := uint64(1); h <= from.height(); h++ {
			if box := from.boxes[h]; box != nil {
				from.offer(w, h, n)
			}
		}
	}
}

// offer notes what of an outbox is for a chain.
func (n *node) offer(w *World, height uint64, to *node) {
	leaves := n.boxes[height].Leaves()
	for begin := 0; begin < len(leaves); begin++ {
		end := begin
		for end < len(leaves) && w.ownerOf(leaves[end].To()) == to {
			end++
		}
		if end > begin {
			n.parcels[to] = append(n.parcels[to], parcel{height, begin, end})
			begin = end
		}
	}
}

// silence lets nobody anchor a shard until others are drawn for it, while it goes on with all
// that it is told.
func (w *World) silence() {
	if n := w.live[w.pick(len(w.live))]; w.chance(50) && (w.silent == nil || !slices.Contains(w.live, w.silent)) {
		w.silent = n
	}
}

// checkRedraw: who follows is who anybody draws, and serves in the epochs that were drawn
// already too.
func (w *World) checkRedraw(n *node) {
	v := w.main().view
	row, _ := anchor.Read(v, n.id)
	epoch := w.epochOf(w.main().height())
	now, _ := registry.ReadAssignment(v, epoch, n.id)
	if in, round, ok := registry.RedrawInputs(v, n.id, row.Generation-1); ok {
		if a := shard.Redraw(in, n.id, round); a.Committee.Hash() != now.Committee.Hash() {
			w.failf("shard %d goes on with a committee that nobody draws again", n.id)
		}
	}
	last := epoch + beacon.Lag
	if w.main().height() == w.net.params.Staking.LastBlock(epoch) {
		last-- // that one is drawn after it
	}
	for e := epoch + 1; e <= last; e++ {
		next, ok := registry.ReadAssignment(v, e, n.id)
		if next.Committee.Epoch = epoch; ok && row.Redraws > 0 && next.Committee.Hash() != now.Committee.Hash() {
			w.failf("shard %d has another committee again in epoch %d", n.id, e)
		}
	}
}

// checkFormer: main knows who certified what is worth nothing any more.
func (w *World) checkFormer(n *node) {
	for i := range n.undone {
		c := &n.undone[i].Checkpoint
		if a, ok := registry.ReadServing(w.main().view, c.Epoch, n.id, c.Generation); ok && a.Committee.Hash() != c.CommitteeHash {
			w.failf("height %d of generation %d of shard %d has a committee that is not who served in epoch %d", c.Height, c.Generation, n.id, c.Epoch)
		}
	}
}

// checkCommittee: a shard begins an epoch with the committee that main has for it.
func (w *World) checkCommittee(n *node, epoch uint64) {
	s := shardblock.ReadStatus(n.view)
	c, ok := shardblock.CommitteeOf(n.view, epoch)
	a, known := registry.ReadServing(w.main().view, epoch, n.id, s.Generation)
	if !ok || known && c.Hash() != a.Committee.Hash() {
		w.failf("shard %d begins epoch %d with a committee that main does not have for it", n.id, epoch)
	}
}
