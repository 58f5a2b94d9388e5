package link_test

import (
	"encoding/binary"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/shard/link"
)

// run lets simTicks ticks of trouble pass, and then as many honest rounds as it
// takes until everything has arrived.
func (s *sim) run() {
	for tick := 0; tick < simTicks && s.failure == ""; tick++ {
		s.trouble(tick)
		if tick%4 == 0 {
			s.audit()
		}
	}
	for range simDrains {
		if s.failure != "" {
			return
		}
		if s.quiet() {
			s.finish()
			return
		}
		s.drain()
		s.audit()
	}
	s.failf("not everything arrived")
}

func (s *sim) trouble(tick int) {
	for _, c := range s.chains {
		if n := c.height - c.anchored; n > 0 && s.IntN(3) > 0 {
			c.anchored += 1 + s.Uint64N(n)
		}
		if len(c.heights) > 0 && s.IntN(20) == 0 {
			s.forget(c, c.heights[s.IntN(len(c.heights))])
		}
		if c.ended {
			continue
		}
		txs := s.relay(c)
		for range s.IntN(4) {
			from, to := s.places[s.IntN(len(s.places))], s.places[s.IntN(len(s.places))]
			mode := byte(0)
			if n := s.IntN(10); n < 4 {
				mode = byte(n%2) + 1
			}
			if value := s.IntN(100); c.owns(from) && from != to && tick < simTicks {
				txs = append(txs, func(ctx *link.Context) error { return s.send(ctx, from, to, value, mode) })
			}
		}
		s.block(c, txs...)
	}
	if s.IntN(15) == 0 {
		s.reshape()
	}
}

// reshape splits a chain, or merges two, with all that they have.
func (s *sim) reshape() {
	c := s.chains[s.IntN(len(s.chains))]
	if c.ended || c.owns(s.liar()) {
		return
	}
	inherit := func(heir *simChain, from *simChain) {
		for _, k := range from.state.keys {
			if heir.first <= k[1] && k[1] <= heir.last {
				heir.state.apply(chain.Changes{{Key: []byte(k), Value: from.state.rows[k]}})
			}
		}
		from.ended = true
	}
	if c.last-c.first == 255 {
		middle := c.first + (c.last-c.first)/2
		low, high := s.found(c.zone, c.first, middle, c.base+c.height), s.found(c.zone, middle+1, c.last, c.base+c.height)
		inherit(low, c)
		inherit(high, c)
		s.counts.split++
		return
	}
	for _, d := range s.chains {
		if !d.ended && d != c && d.zone == c.zone {
			heir := s.found(c.zone, 0, 255, max(c.base+c.height, d.base+d.height))
			inherit(heir, c)
			inherit(heir, d)
			s.counts.merged++
			return
		}
	}
}

// drain is a round in which everything is anchored, every leaf that somebody has
// is carried in order, and what stays is listed again.
func (s *sim) drain() {
	for _, c := range s.chains {
		if c.ended {
			c.anchored = c.height
			continue
		}
		var txs []func(ctx *link.Context) error
		for _, from := range s.chains {
			from.anchored = from.height
			for _, height := range from.heights {
				box := from.boxes[height]
				begin, end := box.Span(link.Place{Service: 1, Zone: c.zone, Bucket: c.first}, link.Place{Service: 1, Zone: c.zone, Bucket: c.last})
				for ; begin < end; begin++ {
					in, err := box.Import(from.id, height, begin, begin+1)
					if err != nil {
						s.failf("prove leaf %d: %v", begin, err)
						return
					}
					txs = append(txs, s.wanted(&in))
				}
			}
		}
		s.block(c, txs...)
		c.height += link.RelistBlocks
		s.block(c, s.again(c)...)
		c.anchored = c.height
	}
}

// wanted brings a leaf if it is one that its destination lacks.
func (s *sim) wanted(in *link.Import) func(ctx *link.Context) error {
	bring := s.bring(in, false)
	return func(ctx *link.Context) error {
		if m := in.Leaves[0].Message; m != nil && link.InboundAt(ctx.State, m.Link).Next != m.Seq {
			return nil
		}
		return bring(ctx)
	}
}

// again asks for everything that c may list again.
func (s *sim) again(c *simChain) (txs []func(ctx *link.Context) error) {
	for _, p := range s.places {
		for _, q := range s.places {
			if p == q {
				continue
			}
			if l := (link.Link{Src: p, Dst: q}); c.owns(p) {
				if o := link.OutboundAt(c.state, l); o.Unacked() > 0 {
					txs = append(txs, func(ctx *link.Context) error {
						err := ctx.Relist(l)
						s.count(err, &s.counts.relisted)
						return err
					})
				}
			}
			if l := (link.Link{Src: q, Dst: p}); c.owns(p) {
				out := link.OutboundAt(s.owner(q).state, l)
				if out.Acked < link.InboundAt(c.state, l).Next {
					txs = append(txs, func(ctx *link.Context) error {
						err := ctx.Reack(l)
						s.count(err, &s.counts.reacked)
						return err
					})
				}
			}
		}
	}
	return txs
}

func (s *sim) count(err error, n *int) {
	switch code, _ := chain.CodeOf(err); code {
	case chain.CodeOK:
		*n++
	case chain.CodeNotDue, chain.CodeNothingNew:
	default:
		s.failf("list again: %v", err)
	}
}

// quiet reports whether nothing is under way.
func (s *sim) quiet() bool {
	for _, c := range s.chains {
		for _, p := range s.places {
			if c.ended || !c.owns(p) {
				continue
			}
			for _, o := range link.Outbounds(c.state, p.Bucket) {
				if messages, _ := o.UnderWay(); messages > 0 {
					return false
				}
			}
		}
	}
	return true
}

// audit checks that no value was made or lost: what places have and what messages
// carry that were not taken yet is what there was at first; and that links are
// within their limits.
func (s *sim) audit() {
	total := 0
	for _, c := range s.chains {
		if c.ended {
			continue
		}
		for _, k := range c.state.keys {
			v := c.state.rows[k]
			switch {
			case k[0] == 'b':
				total += int(binary.BigEndian.Uint64(v))
			case k[2] == 'm':
				m, err := link.DecodeMessage(v)
				if err != nil {
					s.failf("message in the state: %v", err)
				}
				if _, value, _ := parse(m.Payload); m.Seq >= link.InboundAt(s.owner(m.Link.Dst).state, m.Link).Next {
					total += value
				}
			}
		}
		for _, p := range s.places {
			if !c.owns(p) {
				continue
			}
			for l, o := range link.Outbounds(c.state, p.Bucket) {
				kept, size, returns := uint64(0), uint64(0), uint64(0)
				for seq := o.Kept; seq < o.Next; seq++ {
					m, ok := link.MessageAt(c.state, l, seq)
					if !ok {
						s.failf("message %d of %s is needed and not kept", seq, l)
					}
					kept, size = kept+1, size+uint64(m.Size())
					if m.IsBounce() {
						returns++
					}
				}
				if kept > link.ReturnCap || size != o.Bytes || returns != o.Returns || o.Kept > o.Acked || o.Returned > o.Next {
					s.failf("link %s: %d messages and %d bytes kept, row %+v", l, kept, size, o)
				}
				if o.Kept > 0 && c.state.Get(link.MessageKey(l, o.Kept-1)) != nil {
					s.failf("link %s keeps message %d, row %+v", l, o.Kept-1, o)
				}
			}
		}
	}
	if want := simMoney * len(s.places); total != want {
		s.failf("%d drops in all, want %d", total, want)
	}
}

// finish checks that every value arrived once, there or back.
func (s *sim) finish() {
	for id, f := range s.fates {
		if f.executed+f.returned != 1 {
			s.failf("value %d was executed %d times and came back %d times", id, f.executed, f.returned)
		}
	}
	for m, p := range s.phases {
		if !p.Final() {
			s.failf("message %d of %s is %s", m.seq, m.l, p)
		}
	}
	if s.counts.bounced+s.counts.expired != s.counts.returned {
		s.failf("%d bounced and %d expired, %d came back", s.counts.bounced, s.counts.expired, s.counts.returned)
	}
}
