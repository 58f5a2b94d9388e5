package sim

import (
	"bytes"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// maxAnchors is how many checkpoints a relay anchors at once.
const maxAnchors = 8

// relay lets a relay carry something, which it finds by asking the nodes of chains on
// its side of a partition.
func (w *World) relay(i int) {
	reach := func(n *node) bool { return w.cut[i] == w.cut[w.port(n)] }
	n := w.live[w.pick(len(w.live))]
	if !reach(w.main()) || !reach(n) || n.dead {
		return
	}
	switch k := w.pick(100); {
	case k < 40:
		w.anchorTo(i, n)
	case k < 52:
		w.settle(i, n)
	case k < 60:
		w.tellEpoch(i, n)
	case k < 64:
		w.lieAnchor(i, n)
	case k < 66:
		w.lieMain(i, n)
	case k < 70:
		w.callAgain(i)
	case w.shape.many():
		if from := w.chains[w.pick(len(w.chains))]; reach(from) {
			w.carryAll(i, from, reach)
		}
	default:
		from := w.chains[w.pick(len(w.chains))]
		to := w.running()[w.pick(len(w.live)+1)]
		if (from != to || !from.isMain()) && !to.dead && reach(from) && reach(to) {
			w.carry(i, from, to)
		}
	}
}

// anchoredHeight returns the last height of a shard that main has anchored.
func anchoredHeight(v chain.View, id shard.ID) uint64 {
	s, _ := anchor.Read(v, id)
	return s.Height()
}

// anchorTo posts checkpoints of a shard, mostly from the next one on and to the first of
// the epoch in which the shard is replaced.
func (w *World) anchorTo(i int, n *node) {
	if w.chaos && n == w.silent {
		return
	}
	if w.chaos && w.shape.stalls > 0 && n == w.liar && len(n.twins) > 0 && w.chance(20) { // which draws others for it
		w.accuse(i, n)
	}
	row, _ := anchor.Read(w.main().view, n.id)
	first, careless := row.Height()+1, w.chaos && w.chance(6)
	if careless {
		first += uint64(w.pick(3))
		first -= min(first-1, uint64(w.pick(3)))
	}
	var list []cert.Certificate
	for h := first; h <= n.height() && len(list) < maxAnchors; h++ {
		if len(list) > 0 && n.blocks[h-1].cert.Checkpoint.Generation != list[0].Checkpoint.Generation {
			break
		}
		list = append(list, n.blocks[h-1].cert)
		if last := &list[len(list)-1].Checkpoint; row.Until > 0 && last.Epoch >= row.Until && !careless {
			break
		}
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
	if w.chaos && w.chance(20) { // what a committee made that is none any more
		for _, old := range n.undone {
			if old.Checkpoint.Height == row.Height()+1 {
				list = []cert.Certificate{old}
				w.counts.Obsolete++
			}
		}
	}
	w.anchor(i, join(list))
}

// anchor sends a run of heights to main.
func (w *World) anchor(i int, r cert.Run) {
	a := anchor.Anchors{Runs: []cert.Run{r}}
	w.toMain(i, w.relayKey(i), chain.KindAnchor, a.Encode())
}

// accuse tells main of two versions of a height that a corrupt committee certified.
func (w *World) accuse(i int, n *node) {
	twin := n.twins[w.pick(len(n.twins))]
	h := twin.Checkpoint.Height
	w.conflict(i, h, n.blocks[h-1].cert, twin)
}

// conflict tells main of two certificates of a height.
func (w *World) conflict(i int, height uint64, a, b cert.Certificate) {
	in := anchor.Conflict{Height: height, A: join([]cert.Certificate{a}), B: join([]cert.Certificate{b})}
	w.toMain(i, w.relayKey(i), chain.KindAnchorConflict, in.Encode())
}

// join returns the run of certificates of heights that follow each other, as cert.Join
// does with signatures that are real.
func join(list []cert.Certificate) cert.Run {
	first := &list[0].Checkpoint
	r := cert.Run{Network: first.Network, Chain: first.Chain, Generation: first.Generation, First: first.Height}
	for i := range list {
		c, p := &list[i], &list[i].Checkpoint
		at := slices.IndexFunc(r.Sets, func(s cert.SignerSet) bool {
			return s.CommitteeHash == p.CommitteeHash && bytes.Equal(s.Bitmap, c.Bitmap)
		})
		if at < 0 {
			at = len(r.Sets)
			r.Sets = append(r.Sets, cert.SignerSet{Epoch: p.Epoch, CommitteeHash: p.CommitteeHash, Bitmap: c.Bitmap})
		}
		r.Heads = append(r.Heads, cert.Head{
			Set: uint8(at), Round: p.Round, BlockHash: p.BlockHash, StateRoot: p.StateRoot,
			OutboxRoot: p.OutboxRoot, UsageRoot: p.UsageRoot, ResultsRoot: p.ResultsRoot,
		})
		add(&r.Signature, c.Signature)
	}
	return r
}

// lieAnchor posts a checkpoint that the malicious members of a shard signed, or claim
// that others did. While they are less than two thirds, main must refuse.
func (w *World) lieAnchor(i int, n *node) {
	if n == w.liar || n.over() {
		return
	}
	sits := w.sitting(n, n.height()+1)
	c := cert.Checkpoint{Height: anchoredHeight(w.main().view, n.id) + 1, Generation: w.generation(n), StateRoot: ledger.Hash{1}, OutboxRoot: ledger.Hash{byte(w.pick(256)), 2}}
	lie := w.certify(n, sits, c, func(i int) bool { return sits.malicious[i] })
	if w.chance(50) { // claim that everybody signed
		signature := lie.Signature
		lie = w.certify(n, sits, c, func(int) bool { return true })
		lie.Signature = signature
	}
	if len(lie.Bitmap) > 0 {
		w.anchor(i, join([]cert.Certificate{lie}))
		if w.liar != nil && c.Height <= n.height() { // and accuse who signed what the shard made
			w.conflict(i, c.Height, n.blocks[c.Height-1].cert, lie)
			w.counts.FalseConflicts++
		}
	}
}

// lieMain brings a shard a block of main that is none, certified by nobody or by a member
// alone, in which main tells of channels.
func (w *World) lieMain(i int, to *node) {
	m := w.main()
	if to.over() || m.height() == 0 {
		return
	}
	payer := w.address(w.pick(w.payers))
	home := place(service.HomeOf(payer))
	o := channel.OpenedNotice{Index: 1 << 20, Payer: payer, Payee: payer, Service: serviceID, Deposit: 1 << 40, ExpiresAt: 1 << 40}
	lie := link.Message{Link: link.Link{Dst: home}, Kind: uint16(service.KindOpened), Expiry: 1 << 60, Payload: o.Encode()}
	lie.Seq = link.InboundAt(to.view, lie.Link).Next
	box, err := link.NewOutbox(chain.Changes{{Key: link.MessageKey(lie.Link, lie.Seq), Value: lie.Encode()}})
	if err != nil {
		w.failf("forge: %v", err)
	}
	c := m.blocks[m.height()-1].cert.Checkpoint
	c.Height, c.OutboxRoot = m.height()+uint64(w.pick(2)), box.Root()
	in, err := box.Import(m.id, c.Height, 0, 1)
	if err != nil {
		w.failf("forge: %v", err)
	}
	r := shardblock.Relay{Kind: shardblock.KindImport, Import: &shardblock.Import{Link: in}}
	one := w.pick(2 * len(m.sits.committee.Members))
	r.News.Heads = []cert.Certificate{w.certify(m, m.sits, c, func(i int) bool { return i == one || one >= len(m.sits.committee.Members) })}
	if one >= len(m.sits.committee.Members) { // everybody, by a signature that is theirs of something else
		r.News.Heads[0].Signature = m.blocks[m.height()-1].cert.Signature
	}
	w.counts.FalseHeads++
	w.send(i, to, item{itemImport, r.Encode()})
}

// callAgain asks a chain for what has not moved for long on one of its links once more, as
// whoever waits for it does; sometimes too early.
func (w *World) callAgain(i int) {
	running := w.running()
	n := running[w.pick(len(running))]
	var due, early []call
	for _, l := range w.links(n) {
		o, dst := link.OutboundAt(n.view, l), w.ownerOf(l.Dst)
		if o.Unacked() == 0 || dst.dead {
			continue
		}
		c, since := call{n, request{l, chain.KindRelist}}, o.Progress
		if in := link.InboundAt(dst.view, l); in.Next > o.Acked {
			c, since = call{dst, request{l, chain.KindReack}}, in.Listed
		}
		if next := c.to.height() + 1; since > next || since+link.RelistBlocks <= next {
			due = append(due, c)
		} else {
			early = append(early, c)
		}
	}
	if len(due) == 0 && w.chance(10) {
		due = early
	}
	if len(due) > 0 {
		c := due[w.pick(len(due))]
		w.ask(i, c.to, c.request)
	}
}

// call is a request to a chain.
type call struct {
	to *node
	request
}

// settle carries settlements of a shard to main.
func (w *World) settle(i int, n *node) {
	list := n.settlements
	n.settlements = nil
	if w.chance(25) {
		list = append(list, service.Outstanding(n.view, service.Spot{}, 6, 6).List...)
	}
	for _, s := range list {
		if w.chaos && w.chance(5) { // the shard, or the relay, asks for more than was signed
			s.Batch.Entries = slices.Clone(s.Batch.Entries)
			w.spoil(&s.Batch.Entries[w.pick(len(s.Batch.Entries))])
		}
		w.mainTx(w.relayKey(i), chain.KindSettle, s.Batch.Encode())
	}
}

// tellEpoch carries the record of main's epoch to a shard.
func (w *World) tellEpoch(i int, n *node) {
	m := w.main()
	if m.height() == 0 {
		return
	}
	epoch := w.epochOf(m.height())
	if _, begun := registry.ReadEpoch(m.view, epoch+1); begun {
		epoch++
	}
	if row, _ := anchor.Read(m.view, n.id); row.Until > 0 { // this and no later one has a committee of it
		epoch = min(epoch, row.Until)
	}
	a, ok := registry.ReadAssignment(m.view, epoch, n.id)
	if !ok || shardblock.ReadStatus(n.view).Epoch >= epoch {
		return
	}
	r := shardblock.Relay{Kind: shardblock.KindHead}
	var all bool
	if r.News, all = w.news(n, m.height()); all {
		r.Kind = shardblock.KindEpoch
		r.Epoch = &shardblock.Epoch{
			Epoch: epoch, Record: w.prove(m.height(), registry.EpochKey(epoch)),
			Assignment: w.prove(m.height(), registry.AssignmentKey(epoch, n.id)), Committee: a.Committee.Encode(),
		}
		if early := w.net.params.Staking.LastBlock(epoch-1) - 1; w.chaos && w.shape.stalls > 0 && early < m.height() && w.chance(40) {
			w.outdate(&r, early, n.id)
		}
	}
	w.send(i, n, item{itemImport, r.Encode()})
}

// outdate makes a relay of an epoch bring who was to serve a shard by an early block of main,
// before others were drawn, if they were.
func (w *World) outdate(r *shardblock.Relay, early uint64, id ledger.ChainID) {
	a, ok := w.main().early[assigned{r.Epoch.Epoch, id}]
	if !ok || bytes.Equal(a.Committee.Encode(), r.Epoch.Committee) {
		return
	}
	w.counts.Outdated++
	r.Epoch.Assignment, r.Epoch.Committee = w.prove(early, registry.AssignmentKey(r.Epoch.Epoch, id)), a.Committee.Encode()
	r.News.Heads = append([]cert.Certificate{w.main().blocks[early-1].cert}, r.News.Heads...)
}

// handOver carries hand-overs of main to a shard, so that several imports can rely on them
// and those that no other relay would bring, since they are too many, come too.
func (w *World) handOver(i int, n *node) {
	if n.dead {
		return
	}
	if news, _ := w.news(n, w.main().height()); len(news.Handovers) > 0 {
		r := shardblock.Relay{Kind: shardblock.KindHead, News: news}
		w.send(i, n, item{itemImport, r.Encode()})
		w.produce(n, false)
	}
}

// carry takes a parcel from one chain to another: the oldest that is wanted, or any.
func (w *World) carry(self int, from, to *node) {
	if w.cfg.withholds && self == 0 && to == w.live[0] {
		w.counts.Withheld++
		return
	}
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
	old, at, ok := w.anchoredBy(from, p.height)
	if !ok {
		return false
	}
	if to.isMain() {
		d := settlement.Delivery{Proof: old, Import: in}
		w.toMain(self, w.relayKey(self), chain.KindImport, d.Encode())
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
	w.send(self, to, item{itemImport, w.wrap(self, to, &r, spoiled)})
	return true
}

// anchoredBy returns by which block of main a height is proved, with the proof if it is
// not one of the last ones that are anchored; ok is false while it is not anchored.
func (w *World) anchoredBy(from *node, height uint64) (old *anchor.Proof, at uint64, ok bool) {
	if from.isMain() {
		return nil, height, true
	}
	list, by := w.main().anchored[from.id], w.main().anchoredAt[from.id]
	if height > uint64(len(list)) {
		return nil, 0, false
	}
	if at = by[len(by)-1]; height+anchor.Window <= uint64(len(list)) {
		proof, err := anchor.Prove(list, height)
		if err != nil {
			w.failf("prove an old anchor: %v", err)
		}
		w.counts.Older++
		return &proof, at, true
	}
	if w.chaos && w.chance(10) { // by the block that anchored it, which is not the newest
		w.counts.Stale++
		at = by[height-1]
	}
	return nil, at, true
}

// wrap returns the bytes of a relay, which are sometimes more than it needs, or not what
// they should be.
func (w *World) wrap(i int, to *node, r *shardblock.Relay, spoiled bool) []byte {
	if !w.chaos {
		return r.Encode()
	}
	if spoiled && w.chance(20) { // a block of main that nobody certified
		r.News.Heads[0].Checkpoint.StateRoot[0]++
	}
	if w.chance(4) { // blocks of main that nobody needs
		for len(r.News.Heads) < shardblock.MaxNewHeads+w.pick(2) {
			r.News.Heads = append(r.News.Heads, w.main().blocks[w.pick(len(w.main().blocks))].cert)
		}
		w.counts.Padded++
	}
	raw := r.Encode()
	if w.pick(300) == 0 {
		return append(raw, make([]byte, chain.MaxTxSize)...)
	}
	if w.chance(3) {
		w.counts.Trailing++
		return append(raw, byte(w.pick(256)))
	}
	if other := w.live[w.pick(len(w.live))]; other != to && w.chance(4) { // there as well
		w.send(i, other, item{itemImport, raw})
	}
	return raw
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
	return (height-1)/epochBlocks >= first
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
