package sim

import (
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// maxAnchors is how many checkpoints a relay anchors at once.
const maxAnchors = 8

// relay lets a relay carry something, which it finds by asking the nodes of chains on
// its side of a partition.
func (w *World) relay(i int) {
	self := len(w.chains) + i
	reach := func(n *node) bool { return w.cut[self] == w.cut[n.at] }
	n := w.shards()[w.pick(len(w.shards()))]
	if !reach(w.main()) || !reach(n) {
		return
	}
	switch k := w.pick(100); {
	case k < 40:
		w.anchorTo(self, n)
	case k < 52:
		w.settle(i, n)
	case k < 60:
		w.tellEpoch(self, n)
	case k < 64:
		w.lieAnchor(self, n)
	default:
		from := w.chains[w.pick(len(w.chains))]
		to := w.chains[w.pick(len(w.chains))]
		if from != to && reach(from) && reach(to) {
			w.carry(self, from, to)
		}
	}
}

// anchorTo posts checkpoints of a shard: from the next one on, mostly.
func (w *World) anchorTo(self int, n *node) {
	first := anchoredHeight(w.main().view, n.id) + 1
	if w.chaos && w.chance(6) {
		first += uint64(w.pick(3))
		first -= min(first-1, uint64(w.pick(3)))
	}
	var list []cert.Certificate
	for h := first; h <= n.height() && len(list) < maxAnchors; h++ {
		list = append(list, n.blocks[h-1].cert)
	}
	if len(list) == 0 {
		return
	}
	if w.chaos && w.chance(30) { // a corrupt committee's second opinion of the same height
		for _, twin := range n.twins {
			if twin.Checkpoint.Height == first {
				list = []cert.Certificate{twin}
			}
		}
	}
	w.send(self, w.main(), anchorOf(join(list)))
}

// lieAnchor posts a checkpoint that the malicious members of a shard signed, or claim
// that others did. While they are less than two thirds, main must refuse.
func (w *World) lieAnchor(self int, n *node) {
	if n == w.liar {
		return
	}
	c := cert.Checkpoint{Height: anchoredHeight(w.main().view, n.id) + 1, Epoch: epochAt(n), StateRoot: ledger.Hash{1}, OutboxRoot: ledger.Hash{byte(w.pick(256)), 2}}
	malicious := func(i int) bool { return n.seats.malicious[i] }
	lie := n.seats.certify(c, malicious)
	if w.chance(50) { // claim that everybody signed
		signature := lie.Signature
		lie = n.seats.certify(c, func(int) bool { return true })
		lie.Signature = signature
	}
	if len(lie.Bitmap) > 0 {
		w.send(self, w.main(), anchorOf(join([]cert.Certificate{lie})))
	}
}

// settle carries settlements of a shard to main.
func (w *World) settle(i int, n *node) {
	list := n.settlements
	n.settlements = nil
	if w.chance(25) {
		list = append(list, service.Outstanding(n.view, ledger.Address{}, 6)...)
	}
	for _, s := range list {
		if w.chaos && w.chance(5) { // the shard, or the relay, asks for more than was signed
			s.Batch.Entries = slices.Clone(s.Batch.Entries)
			w.spoil(&s.Batch.Entries[w.pick(len(s.Batch.Entries))])
		}
		w.mainTx(relayKey(i), chain.KindSettle, s.Batch.Encode())
	}
}

// tellEpoch carries the record of main's epoch to a shard.
func (w *World) tellEpoch(self int, n *node) {
	m := w.main()
	if m.height() == 0 {
		return
	}
	epoch := epochOf(m.height())
	if _, begun := registry.ReadEpoch(m.view, epoch+1); begun {
		epoch++
	}
	if shardblock.ReadStatus(n.view).Epoch >= epoch {
		return
	}
	r := shardblock.Relay{Kind: shardblock.KindHead}
	var all bool
	if r.News, all = w.news(n, m.height()); all {
		r.Kind = shardblock.KindEpoch
		com := w.net.seats[n.id].at(epoch).committee
		r.Epoch = &shardblock.Epoch{
			Epoch: epoch, Record: w.prove(m.height(), registry.EpochKey(epoch)),
			Assignment: w.prove(m.height(), registry.AssignmentKey(epoch, n.id)), Committee: com.Encode(),
		}
	}
	w.send(self, n, item{itemImport, r.Encode()})
}

// handOver carries hand-overs of main to a shard that knows so old a committee only that
// nothing else could bring all of them.
func (w *World) handOver(self int, n *node) {
	if news, all := w.news(n, w.main().height()); !all {
		r := shardblock.Relay{Kind: shardblock.KindHead, News: news}
		w.send(self, n, item{itemImport, r.Encode()})
	}
}

// carry takes a parcel from one chain to another: the oldest that is wanted, or any.
func (w *World) carry(self int, from, to *node) {
	if w.chance(60) {
		w.carryWanted(self, from, to, 2)
		return
	}
	parcels := from.parcels[to]
	if len(parcels) == 0 {
		return
	}
	p := parcels[w.pick(len(parcels))]
	if w.chance(30) { // a part of it
		p.begin += w.pick(p.end - p.begin)
		p.end = p.begin + 1 + w.pick(p.end-p.begin)
	}
	w.bring(self, from, to, p, w.chance(12))
}

// bring sends a parcel on its way, if its block is anchored and somebody has the leaves;
// spoiled, so that it is not what it proves, if so wanted.
func (w *World) bring(self int, from, to *node, p parcel, spoiled bool) bool {
	box := from.boxes[p.height]
	if box == nil {
		return false
	}
	in, err := box.Import(from.id, p.height, p.begin, p.end)
	if err != nil {
		w.failf("prove leaves %d to %d: %v", p.begin, p.end, err)
	}
	if spoiled {
		w.twist(&in)
		w.counts.Lies++
	}
	var old *anchor.Proof
	at := p.height // of main
	if !from.isMain() {
		list := w.main().anchored[from.id]
		if p.height > uint64(len(list)) {
			return false
		}
		if p.height+anchor.Window <= uint64(len(list)) {
			proof, err := anchor.Prove(list, p.height)
			if err != nil {
				w.failf("prove an old anchor: %v", err)
			}
			old = &proof
			w.counts.Older++
		}
		at = w.main().anchoredAt[from.id]
	}
	if to.isMain() {
		d := delivery{imported: in.Encode()}
		if old != nil {
			d.older = old.Encode()
		}
		w.send(self, to, item{itemImport, d.encode()})
		return true
	}
	r := shardblock.Relay{Kind: shardblock.KindImport, Import: &shardblock.Import{Older: old, Link: in}}
	var all bool
	if r.News, all = w.news(to, at); !all {
		return false
	}
	if !from.isMain() {
		row := w.prove(at, anchor.Key(from.id))
		r.Import.Anchors = &row
	}
	if spoiled && w.chance(20) { // a block of main that nobody certified
		r.News.Heads[0].Checkpoint.StateRoot[0]++
	}
	w.send(self, to, item{itemImport, r.Encode()})
	return true
}

// carryWanted brings, in their order, the leaves from one chain that the other lacks, in
// at most so many imports, and forgets parcels of which nothing is wanted any more.
func (w *World) carryWanted(self int, from, to *node, limit int) {
	next := map[link.Link]uint64{}
	keep := from.parcels[to][:0]
	for _, p := range from.parcels[to] {
		box := from.boxes[p.height]
		if box == nil || !provable(from, to, p.height) {
			continue
		}
		useful := false
		leaves := box.Leaves()
		for begin := p.begin; begin < p.end; begin++ {
			if now, later := w.wanted(to, leaves[begin], next); !now {
				useful = useful || later
				continue
			}
			useful = true
			end := begin + 1
			for end < p.end {
				if now, _ := w.wanted(to, leaves[end], next); !now {
					break
				}
				end++
			}
			if limit > 0 {
				if w.bring(self, from, to, parcel{p.height, begin, end}, false) {
					limit--
				}
			}
			begin = end - 1
		}
		if useful {
			keep = append(keep, p)
		}
	}
	from.parcels[to] = keep
}

// provable reports whether a block can still be proved to a chain: those of main can to a
// shard that knows their committee.
func provable(from, to *node, height uint64) bool {
	if !from.isMain() {
		return true
	}
	first, _ := shardblock.MainEpochs(to.view)
	return epochOf(height) >= first
}

// wanted reports whether a chain wants a leaf now, given what it is brought before
// it, or later.
func (w *World) wanted(to *node, l link.Leaf, next map[link.Link]uint64) (now, later bool) {
	if l.Ack != nil {
		now = l.Ack.Next > link.OutboundAt(to.view, l.Ack.Link).Acked
		return now, now
	}
	m := l.Message
	want, ok := next[m.Link]
	if !ok {
		want = link.InboundAt(to.view, m.Link).Next
	}
	if m.Seq == want {
		next[m.Link] = want + 1
	}
	return m.Seq == want, m.Seq > want
}

// twist makes an import what it does not prove.
func (w *World) twist(in *link.Import) {
	in.Leaves = slices.Clone(in.Leaves)
	l := &in.Leaves[w.pick(len(in.Leaves))]
	switch k := w.pick(4); {
	case k == 0:
		in.Height++
	case k == 1:
		in.Range.Path = append(slices.Clone(in.Range.Path), ledger.Hash{1})
	case l.Ack != nil:
		a := *l.Ack
		a.Next++
		l.Ack = &a
	case k == 2 && len(l.Message.Payload) > 0:
		m := *l.Message
		m.Payload = slices.Clone(m.Payload)
		m.Payload[w.pick(len(m.Payload))] ^= 1
		l.Message = &m
	default:
		m := *l.Message
		m.Seq++
		l.Message = &m
	}
}

// settledFor reports whether main paid as much on a lane as it can.
func (w *World) settledFor(index uint64, lane uint8, cumulative ledger.Amount) bool {
	c, ok := settlement.ChannelAt(w.main().view, index)
	if !ok {
		return true // closed
	}
	l, _ := settlement.LaneAt(w.main().view, index, lane)
	return l.Redeemed >= cumulative || c.Redeemed == c.Deposit
}
