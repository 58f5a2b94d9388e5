package relay

import (
	"errors"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// mainCuts is how many imports of one shard are handed in to main in one round. Main
// looks at each by itself, so they are not of the same link.
const mainCuts = 4

// deliver brings main what shards have for it: acknowledgements, bounces and reports.
func (l *mainLane) deliver(s *scale, reports []report) error {
	for i := range reports {
		one := &reports[i]
		row, ok := s.rows[one.id]
		if !ok {
			continue
		}
		b := l.shards[one.id]
		if len(b.stock.parcels) == 0 {
			b.reset()
			continue
		}
		b.stock.forget(func(h uint64) bool { return forgotten(h, row.Tree.Size) })
		links := b.stock.ways(MaxWays)
		ways := make(map[link.Link]Way, len(links))
		for i, way := range b.ways.at(s.v, 0, s.height, links) {
			ways[links[i]] = way
		}
		provable := func(h uint64) bool { return l.provable(b, one.chain, &row, h) }
		load := b.stock.plan(func(w link.Link) (Way, bool) { way, ok := ways[w]; return way, ok }, provable, mainCuts)
		if len(load.Cuts) == 0 {
			b.reset()
			if err := l.seek(s, b, one, ways); err != nil {
				l.notes.failed(l.r, "an outbox cannot be read", one.id, err)
			}
			continue
		}
		what := nameOf(one.id, &load.Cuts[0])
		since := b.stock.waits(load.Cuts[0].Height, provable, s.height, l.r.cfg.Now())
		if !l.ready(s, &b.task, what, l.turn(s, one.id), since) {
			continue
		}
		for _, cut := range load.Cuts {
			payload, err := delivery(b, one.chain, &row, one.id, cut)
			if err != nil {
				l.notes.failed(l.r, "leaves cannot be proved", one.id, err)
				break
			}
			if err := l.draft(s, chain.KindImport, payload, cut.End-cut.Begin, map[*task]uint64{&b.task: what}); err != nil {
				return err
			}
		}
	}
	return nil
}

// provable reports whether a block of a shard can be proved to main.
func (l *mainLane) provable(b *branch, c Chain, row *anchor.State, height uint64) bool {
	size := row.Tree.Size
	if height > size {
		return false
	}
	if height+anchor.Window > size {
		return true
	}
	return b.history.reach(c, row)
}

// seek looks for what main waits for in blocks for which a full stock has no room.
func (l *mainLane) seek(s *scale, b *branch, one *report, ways map[link.Link]Way) error {
	if !b.stock.full() {
		return nil
	}
	before := len(b.stock.parcels)
	err := b.stock.seek(one.head, one.chain.Outbox, func(w link.Link, num uint64, ack bool) bool { return wants(ways, w, num, ack) })
	if len(b.stock.parcels) > before {
		s.again = 0
	}
	return err
}

var errGone = errors.New("the outbox has gone since it was read")

// delivery returns the payload of a record that brings a cut. If the outbox has gone since it
// was read, that is an error, and the stock has the block no more.
func delivery(b *branch, c Chain, row *anchor.State, id ledger.ChainID, cut Cut) ([]byte, error) {
	box, ok, err := c.Outbox(cut.Height)
	if err == nil && !ok {
		b.stock.lose(cut.Height)
		b.rescueAt = 0
		err = errGone
	}
	if err != nil {
		return nil, err
	}
	out := settlement.Delivery{}
	if out.Import, err = box.Import(id, cut.Height, cut.Begin, cut.End); err != nil {
		return nil, err
	}
	if cut.Height+anchor.Window <= row.Tree.Size {
		if p, ok := b.history.prove(c, row, cut.Height); ok {
			out.Proof = &p
		}
	}
	return out.Encode(), nil
}

// ask hands in what was asked for, if main does not refuse it.
func (l *mainLane) ask(s *scale, _ []report) error {
	l.r.mu.Lock()
	for a := range l.r.asks {
		if l.asked[a] == nil && len(l.asked) < maxAsks {
			l.asked[a] = new(task)
		}
	}
	clear(l.r.asks)
	l.r.mu.Unlock()
	for a, t := range l.asked {
		if !due(s.v, s.height, a) {
			delete(l.asked, a)
			continue
		}
		if !l.ready(s, t, 1, l.turn(s, l.beyond(s, a)), patience{}) {
			continue
		}
		if err := l.draft(s, a.kind, a.link.Encode(), 1, map[*task]uint64{t: 1}); err != nil {
			return err
		}
	}
	return nil
}

// beyond returns the shard of this node at the other end of a link of main.
func (l *mainLane) beyond(s *scale, a ask) ledger.ChainID {
	there := a.link.Dst
	if a.kind == chain.KindReack {
		there = a.link.Src
	}
	for id, row := range s.rows {
		if first, last := spanOf(&row); there.Compare(first) >= 0 && there.Compare(last) <= 0 {
			return id
		}
	}
	return 0
}

// due reports whether main would do what it is asked for, by its state after the block
// at height.
func due(v chain.View, height uint64, a ask) bool {
	if a.kind == chain.KindReack {
		in := link.InboundAt(v, a.link)
		return in.Next > 0 && height+1 >= in.Listed+link.RelistBlocks
	}
	out := link.OutboundAt(v, a.link)
	return out.Unacked() > 0 && height+1 >= out.Progress+link.RelistBlocks
}

// rescue asks for what stands still from a shard to main.
func (l *mainLane) rescue(s *scale, reports []report) {
	for i := range reports {
		one := &reports[i]
		row, ok := s.rows[one.id]
		if !ok || len(one.still) == 0 {
			continue
		}
		b := l.shards[one.id]
		found := helped(one.still, s.v, s.height, func(w link.Link, seq uint64) bool {
			return b.stock.has(w, seq, func(h uint64) bool { return l.provable(b, one.chain, &row, h) })
		})
		for _, w := range found.reack {
			l.r.askMain(ask{chain.KindReack, w})
		}
		for _, w := range found.relist[:min(len(found.relist), maxAsks)] {
			s.relists = append(s.relists, relisting{one, w})
		}
	}
}
