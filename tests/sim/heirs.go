package sim

import (
	"bytes"
	"math"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/route"
)

// Shards begin, split and merge.

// genesisOf returns what a shard begins from by a state of main, with the parameters of the
// seed.
func (n *network) genesisOf(v chain.View, id shard.ID) (shardblock.Genesis, error) {
	g, err := shardblock.FromMain(v, n.id, &n.params.Staking, &n.params.Anchors, id)
	if err != nil {
		return g, err
	}
	g.Service.Params = n.service
	g.Params.Capacity = route.Capacity{Inbox: 1, Outbox: n.congested, Bytes: 1 << 40, MissedAnchors: 1 << 40}
	g.Params.Lifetime, g.Params.UnderWay = n.lifetime, n.underWay
	return shardblock.DecodeGenesis(g.Encode())
}

// stateOf returns the state that a shard begins with.
func (n *network) stateOf(g *shardblock.Genesis, parents []chain.View) (chain.Changes, error) {
	changes, err := g.State(parents...)
	if err != nil || !n.busy {
		return changes, err
	}
	o := chain.NewOverlay(NewState(changes))
	s := shardblock.ReadStatus(o)
	if s.Light = math.MaxUint64; len(parents) == 0 {
		s.Heavy, s.Light = math.MaxUint64, 0
	}
	o.Set(shardblock.StatusKey(), s.Encode())
	for _, c := range o.Changes() {
		at := slices.IndexFunc(changes, func(d chain.Change) bool { return bytes.Equal(c.Key, d.Key) })
		changes[at].Value = c.Value
	}
	return changes, nil
}

// found lets a shard begin, with the state of its parents if it has any.
func (w *World) found(id shard.ID) {
	g, err := w.net.genesisOf(w.main().view, id)
	if err != nil {
		w.failf("genesis of shard %d: %v", id, err)
	}
	n := &node{id: id, rules: &shardRules{net: &w.net, is: g.Service.Shard}, geneses: map[uint64]ledger.Hash{w.main().height(): g.Hash()}, undo: map[uint64][]func(){}}
	var views []chain.View
	for i := range g.Service.Parents {
		p := &g.Service.Parents[i]
		parent := w.byChain[p.Shard.Chain]
		n.tainted, n.dead = n.tainted || parent.tainted, n.dead || !parent.endsWith(p)
		n.parents, views = append(n.parents, parent), append(views, parent.view)
		if row, _ := anchor.Read(w.main().view, parent.id); g.Clock < row.Clock() {
			w.failf("shard %d begins with the clock %d, that of its parent %d ends at %d", id, g.Clock, parent.id, row.Clock())
		}
	}
	if n.dead && !n.tainted {
		w.failf("shard %d begins with states that its parents do not have", id)
	}
	if !n.dead {
		if n.genesis, err = w.net.stateOf(&g, views); err != nil {
			w.failf("genesis of shard %d: %v", id, err)
		}
	}
	w.add(n)
	w.live = append(w.live, n)
	w.takeOver(n, g.Service.Shard)
	if len(n.parents) > 0 {
		w.inherit(n)
	}
}

// endsWith reports whether a shard came to an end that main has anchored.
func (n *node) endsWith(p *service.Parent) bool {
	return !n.dead && p.Height <= n.height() && !n.blocks[p.Height-1].forged &&
		n.blocks[p.Height-1].cert.Checkpoint.StateRoot == p.StateRoot && shardblock.ReadStatus(n.view).Ended == p.Height
}

// takeOver makes a shard the owner of its places.
func (w *World) takeOver(n *node, s service.Shard) {
	for b := int(s.First); b <= int(s.Last); b++ {
		p := link.Place{Service: serviceID, Zone: s.Zone, Bucket: uint8(b)}
		if was := w.owners[p]; was != nil && !slices.Contains(n.parents, was) {
			w.failf("shard %d takes %s from shard %d, which is not its parent", n.id, p, was.id)
		}
		w.owners[p] = n
	}
}

// inherit lets an heir begin. Once all of a parent's places are with heirs nothing is of
// the parent any more but what it sent, if somebody has that.
func (w *World) inherit(n *node) {
	w.counts.Heirs++
	if n.dead {
		w.counts.Dead++
		n.view = NewState(nil)
	} else {
		n.epoch = shardblock.ReadStatus(n.view).Epoch
		w.track.received[n] = service.ReadTotals(n.view).Received
	}
	for _, p := range n.parents {
		p.replaced = true
		w.live = slices.DeleteFunc(w.live, func(s *node) bool { return s == p })
		if p == w.liar && !n.dead {
			w.liar = n
		}
	}
	if w.fault == FaultHeir {
		n.spoil()
	}
	if !w.chaos || n.dead {
		return
	}
	n.halted = true // until somebody has the states of the parents
	w.after(w.pick(6_000), func() {
		n.halted = false
		w.goes(n)
	})
}

// spoil takes from the state of an heir the first row of a link, or what else it has of its
// buckets.
func (n *node) spoil() {
	for i := range n.genesis {
		if bytes.HasPrefix(n.genesis[i].Key, link.BucketPrefix(0)[:1]) {
			n.view.Apply(chain.Changes{{Key: n.genesis[i].Key}})
			return
		}
	}
}

// readdress gives the parcels that are for shards which have ended to their heirs, and
// forgets what the shards themselves have, if nobody keeps it. All heirs have begun.
func (w *World) readdress() {
	for _, to := range w.chains[1:] {
		if !to.replaced {
			continue
		}
		for _, n := range w.chains {
			list := n.parcels[to]
			delete(n.parcels, to)
			for _, p := range list {
				if box := n.boxes[p.height]; box != nil {
					n.address(w, p.height, box, p.begin, p.end)
				}
			}
		}
		if len(to.boxes) > 0 && w.chance(20) {
			w.counts.Forgotten++
			clear(to.boxes)
			clear(to.parcels)
		}
	}
}

// changed notes what a block of main did to shards.
func (w *World) changed(out *applied) {
	began := false
	if m := w.main(); w.shape.stalls > 0 && m.height()+1 == w.net.params.Staking.LastBlock(w.epochOf(m.height())) {
		m.early = map[assigned]shard.Assignment{}
		epoch := w.epochOf(m.height()) + 1
		for _, a := range registry.Assignments(m.view, epoch) {
			m.early[assigned{epoch, a.Shard}] = a
		}
	}
	for i := range out.main.Registry {
		e := &out.main.Registry[i]
		switch {
		case e.Kind == registry.EventHolds && e.Change == shard.Split:
			w.counts.Splits++
		case e.Kind == registry.EventHolds && e.Change == shard.Merge:
			w.counts.Merges++
			if w.cfg.grows {
				w.counts.Lightened++
			}
		default: // was asked for, announced or forgotten
		}
	}
	for _, e := range out.main.Shards {
		switch e.Kind {
		case settlement.ShardFounded:
			w.found(e.Shard)
			began = true
		case settlement.ShardConflict:
			if w.counts.Conflicts++; w.honest(w.byChain[e.Shard]) {
				w.failf("main finds two versions of height %d of shard %d, which is honest", e.First, e.Shard)
			}
		case settlement.ShardRedrawn:
			w.redrawn(w.byChain[e.Shard], e.Last)
		default:
		}
	}
	if began {
		w.readdress()
	}
	w.checkMap()
}

// reshard is the owner of the service, who wants a shard to split, or two to merge.
func (w *World) reshard() {
	n := w.live[w.pick(len(w.live))]
	m, _ := registry.ReadMap(w.main().view)
	s, ok := m.Find(n.id)
	if !ok {
		return
	}
	ask := func(kind shard.Kind, id shard.ID) {
		r := registry.Reshard{Request: shard.Request{Kind: kind, Shard: id}}
		w.mainTx(w.ownerKey(), chain.KindReshard, r.Encode())
	}
	sibling, paired := s.Buckets.Sibling()
	if id, _ := m.Owner(serviceID, s.Zone, sibling.First); paired && !w.cfg.grows && w.chance(60) {
		if other, _ := m.Find(id); other.Buckets == sibling {
			ask(shard.Merge, s.ID)
			ask(shard.Merge, other.ID)
			return
		}
	}
	if len(w.live) < w.shape.maxLive() {
		ask(shard.Split, s.ID)
	}
}

// checkMap: main's map and those who run shards agree on who has what, and the committees
// that were drawn last are those that anybody draws again.
func (w *World) checkMap() {
	m := w.main()
	if !w.net.params.Staking.EpochBlock(m.height()) {
		return
	}
	places, _ := registry.ReadMap(m.view)
	for s := range places.All() {
		n := w.byChain[s.ID]
		if n == nil {
			w.checkWaiting(&s)
			continue
		}
		is := n.rules.(*shardRules).is //nolint:errcheck // shards have these rules
		if is.Zone != s.Zone || is.First != uint8(s.Buckets.First) || is.Last != uint8(s.Buckets.Last) || !slices.Contains(w.live, n) {
			w.failf("main has %s, which runs as %+v", s, is)
		}
	}
	if epoch := w.net.params.Staking.Epoch(m.height()); m.height() == w.net.params.Staking.LastBlock(epoch) {
		next := shard.Apply(places) // of the epoch that was drawn
		in := registry.Inputs(m.view, epoch+2, next)
		if err := in.Check(registry.Assignments(m.view, epoch+2)); err != nil {
			w.failf("committees of epoch %d: %v", epoch+2, err)
		}
	}
}

// checkWaiting: a shard that has not begun waits for a parent that runs, which main wants
// to end.
func (w *World) checkWaiting(s *shard.Shard) {
	if !slices.ContainsFunc(s.Parents, func(id shard.ID) bool { return slices.Contains(w.live, w.byChain[id]) }) {
		w.failf("main has %s, which nobody runs, and its parents have ended", *s)
	}
}

// reshaped reports whether nothing is announced and main's shards are those that run, but
// for heirs of one that cannot, since a corrupt committee forged where it begins.
func (w *World) reshaped() bool {
	places, _ := registry.ReadMap(w.main().view)
	if len(places.Announced()) > 0 || len(registry.Requests(w.main().view)) > 0 {
		return false
	}
	for s := range places.All() {
		if w.byChain[s.ID] == nil && !w.stranded(s.Parents) {
			return false
		}
	}
	return true
}

// stranded reports whether some of parents cannot come to their end, which takes the
// others with them.
func (w *World) stranded(parents []shard.ID) bool {
	if !slices.ContainsFunc(parents, func(id shard.ID) bool { return w.byChain[id].dead }) {
		return false
	}
	for _, id := range parents {
		w.byChain[id].tainted = true
	}
	return true
}

// checkHeir: an heir begins with the states of its parents, as anybody makes it from
// theirs and from main's again.
func (w *World) checkHeir(n *node) {
	if n.dead || len(n.parents) == 0 {
		return
	}
	var views []chain.View
	for _, p := range n.parents {
		views = append(views, p.replayed)
	}
	changes, err := w.net.stateOf(n.again, views)
	if err != nil {
		w.failf("genesis of shard %d once more: %v", n.id, err)
	}
	if digestAfter(ledger.Hash{}, changes) != digestAfter(ledger.Hash{}, n.genesis) {
		w.failf("shard %d has another genesis once more", n.id)
	}
}
