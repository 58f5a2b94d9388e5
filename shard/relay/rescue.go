package relay

import (
	"context"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// rescueBlocks is how many blocks a source makes between two looks for links that
// stand still.
const rescueBlocks = link.RelistBlocks / 2

// still is a link that has made no progress for so long that its source may list it
// again.
type still struct {
	link        link.Link
	acked, next uint64
}

// stillAt returns the links from some buckets of a chain to the places from first to
// last that stand still, by the chain's state after the block at height, and the height
// from which on it is to be looked again: rescueBlocks later, or where another link will
// have stood still for long enough, for a chain that has nothing to do may make no more
// blocks than that.
func stillAt(v chain.View, height uint64, buckets []uint8, first, last link.Place) (list []still, again uint64) {
	again = height + rescueBlocks
	for _, b := range buckets {
		for l, o := range link.Outbounds(v, b) {
			switch {
			case l.Dst.Compare(first) < 0 || l.Dst.Compare(last) > 0 || o.Unacked() == 0:
			case standsStill(height, o.Progress):
				list = append(list, still{l, o.Acked, o.Next})
			default:
				again = min(again, o.Progress+link.RelistBlocks)
			}
		}
	}
	return list, again
}

// standsStill reports whether a chain may list something again that was listed last at a
// height: one above its own is that of a chain from which it took the link over.
func standsStill(height, last uint64) bool {
	return last > height || height >= last+link.RelistBlocks
}

// stuck is links that make no progress because nobody has the leaves.
type stuck struct {
	relist []link.Link // whose messages the source has to list again
	reack  []link.Link // that the destination has to acknowledge again
}

// helped returns which of links that stand still need help, given the state of their
// destination after the block at height, and which messages can be carried as it is.
func helped(list []still, v chain.View, height uint64, has func(l link.Link, seq uint64) bool) (out stuck) {
	for _, s := range list {
		in := link.InboundAt(v, s.link)
		if in.Next > s.acked && standsStill(height, in.Listed) {
			out.reack = append(out.reack, s.link)
		}
		// An acknowledgement is progress, after which nothing is listed for a while: both
		// are asked for at once.
		if in.Next < s.next && !has(s.link, in.Next) {
			out.relist = append(out.relist, s.link)
		}
	}
	return out
}

// has reports whether the stock has a message of a way in a block that can be proved.
func (s *stock) has(l link.Link, seq uint64, provable func(uint64) bool) bool {
	for i := range s.parcels {
		p := &s.parcels[i]
		for j := range p.leaves {
			if b := &p.leaves[j]; !b.ack && b.way == l && b.num == seq && provable(p.height) {
				return true
			}
		}
	}
	return false
}

// sourceBuckets returns the buckets from which a chain sends, by its own state.
func sourceBuckets(v chain.View, id ledger.ChainID) []uint8 {
	if id == ledger.MainChain {
		return []uint8{link.Place{}.Bucket}
	}
	own := service.ReadShard(v)
	list := make([]uint8, 0, int(own.Last)-int(own.First)+1)
	for b := int(own.First); b <= int(own.Last); b++ {
		list = append(list, uint8(b))
	}
	return list
}

// ask is something that main is asked for by a record.
type ask struct {
	kind chain.Kind // KindRelist or KindReack
	link link.Link
}

// maxAsks is how many of them wait at most.
const maxAsks = 64

// askMain leaves something to the lane of main.
func (r *Relay) askMain(a ask) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.asks) < maxAsks {
		r.asks[a] = struct{}{}
	}
	if c := r.lanes[duty{id: ledger.MainChain}]; c != nil {
		poke(c)
	}
}

// rescues reports whether it is time to look for links between a source and the lane's
// shard that stand still.
func (l *shardLane) rescues(s *scene, p *pair, load *Load) bool {
	if s.local == nil || p.head == p.rescued {
		return false // elsewhere whoever runs both does it
	}
	return p.head >= p.rescueAt || load != nil && len(load.Missing) > 0
}

// hears reports whether a shard, of whose state v is a view, lists or acknowledges links
// again in its next block if it is asked.
func hears(v chain.View) bool { return shardblock.ReadStatus(v).Calls < shardblock.MaxCalls }

// rescue asks for what stands still between a source and the lane's shard. It returns when
// to ask again for what nobody hears at the moment: what comes too late in an epoch is asked
// for in the next one.
func (l *shardLane) rescue(ctx context.Context, s *scene, id ledger.ChainID, p *pair, src *source, load *Load) time.Duration {
	if !l.rescues(s, p, load) {
		return never
	}
	now := l.r.cfg.Now()
	if ok, wait := p.calls.free(p.head, false, now); !ok {
		return wait
	}
	first, last := spanOf(&s.span)
	var list []still
	var again uint64
	var relists, reacks bool // they are heard
	err := s.sources[id].Read(func(v chain.View, height uint64) error {
		relists = id == ledger.MainChain || hears(v)
		list, again = stillAt(v, height, sourceBuckets(v, id), first, last)
		return nil
	})
	if err != nil {
		return never
	}
	p.rescued, p.rescueAt = p.head, again
	if len(list) == 0 {
		return never
	}
	var found stuck
	err = s.local.Read(func(v chain.View, height uint64) error {
		reacks = hears(v)
		found = helped(list, v, height, func(w link.Link, seq uint64) bool {
			return p.stock.has(w, seq, func(h uint64) bool { return src.provable(&s.survey, h) })
		})
		return nil
	})
	if err != nil {
		l.notes.failed(l.r, "links cannot be looked at", id, err)
		return never
	}
	if len(found.reack) > maxAsks || len(found.relist) > maxAsks {
		p.rescueAt = p.head + 1 // for the others
	}
	heard := (reacks || len(found.reack) == 0) && (relists || len(found.relist) == 0)
	if reacks {
		for _, w := range found.reack[:min(len(found.reack), maxAsks)] {
			l.send(ctx, s, &shardblock.Relay{Kind: shardblock.KindReack, Link: w})
		}
	}
	if relists {
		for _, w := range found.relist[:min(len(found.relist), maxAsks)] {
			heard = l.r.relist(ctx, s.sources[id], id, w) && heard
		}
	}
	return p.answered(l.r, heard)
}

// answered notes whether all that was asked for was heard, and returns when to ask again if
// not: it may be that the source makes no blocks meanwhile.
func (p *pair) answered(r *Relay, heard bool) time.Duration {
	if heard {
		p.calls = hold{}
		return never
	}
	now := r.cfg.Now()
	p.rescued, p.rescueAt = 0, 0
	p.calls.sent(p.head, now, r.cfg.Jitter())
	return p.calls.until.Sub(now)
}

// relist asks the source of a link to list it again, and reports false if that does not
// hear it: it has been asked too often, or takes nothing at the moment.
func (r *Relay) relist(ctx context.Context, c Chain, id ledger.ChainID, w link.Link) bool {
	if id == ledger.MainChain {
		r.askMain(ask{chain.KindRelist, w})
		return true
	}
	s, ok := c.(Shard)
	if !ok {
		return true
	}
	letter := shardblock.Relay{Kind: shardblock.KindRelist, Link: w}
	err := s.SubmitRelay(ctx, letter.Encode())
	if err == nil {
		r.counters.Relists.Add(1)
		return true
	}
	code, rule := chain.CodeOf(err)
	return rule && code != chain.CodeNotDue
}
