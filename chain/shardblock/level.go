package shardblock

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/route"
)

// Backlog returns what waits in a shard: messages of its own that are under way, as far as
// its state knows. What waits for it elsewhere a shard cannot know by itself, and bounces
// say nothing of it: whoever sends what has to go back would have the shard refuse users.
func Backlog(v chain.View) route.Backlog {
	s := ReadStatus(v)
	return route.Backlog{Outbox: s.Outbox, Bytes: s.Bytes}
}

// Level returns how congested a shard is after the block whose state v is: what decides
// whether users may be in the next one, and what route.Admit and route.RetryAfter take.
func Level(v chain.View) route.Level {
	c := ReadConfig(v)
	return c.Params.Capacity.Level(Backlog(v))
}

// underWay counts the shard's own messages under way on all links from the places in v.
func underWay(v chain.View) (messages, size uint64) {
	for bucket := range 256 {
		for _, o := range link.Outbounds(v, uint8(bucket)) {
			m, b := o.Own()
			messages, size = messages+m, size+b
		}
	}
	return messages, size
}

// count adds to s what changes did to the shard's own messages under way, in time
// proportional to the changes.
func (s *Status) count(before chain.View, changes chain.Changes) error {
	add := func(value []byte, sign uint64) error {
		if value == nil {
			return nil
		}
		o, err := link.DecodeOutbound(value)
		if err != nil {
			return err
		}
		messages, size := o.Own()
		s.Outbox, s.Bytes = s.Outbox+sign*messages, s.Bytes+sign*size
		return nil
	}
	for i := range changes {
		c := &changes[i]
		if !link.IsOutboundKey(c.Key) {
			continue
		}
		if err := add(before.Get(c.Key), ^uint64(0)); err != nil {
			return err
		}
		if err := add(c.Value, 1); err != nil {
			return err
		}
	}
	return nil
}

// load counts how full a block with something in it is, and reports it to main if the
// block begins an epoch. Other blocks without anything change no state; they count with the
// next one.
func (w *work) load(s *Status, b *Block, receipts []service.Receipt) {
	if len(b.Relays)+len(b.Txs) == 0 && w.began == nil {
		return
	}
	heavy := w.config.Params.HeavyBytes
	l := shard.Load{Shard: w.shard.Chain, Heavy: shard.Mask(s.Heavy), Light: shard.Mask(s.Light)}.Rest(w.height - 1 - s.Loaded)
	size := b.size(receipts)
	l = l.Block(size, heavy)
	s.Carried += size
	if w.began != nil {
		l = l.Rest(rested(w.began.First-s.MainFirst, w.height-s.First, s.Carried/heavy))
	}
	s.Heavy, s.Light, s.Loaded = uint64(l.Heavy), uint64(l.Light), w.height
	if w.began == nil {
		return
	}
	s.First, s.MainFirst, s.Carried = w.height, w.began.First, 0
	if s.Ended != 0 || s.Epoch == 0 {
		return
	}
	report := shard.Report{Epoch: s.Epoch - 1, Load: l}
	// A link to main without room is one that nobody carries: later reports say as much.
	_, _ = w.links(w.state).Send(link.Draft{
		Link: link.Link{Src: link.Place{Service: w.shard.Service, Zone: w.shard.Zone, Bucket: w.shard.First}},
		Kind: shard.KindReport, Payload: report.Encode(),
	})
}

// rested returns for how many blocks a shard had nothing to do while main made so many,
// scaled to the window of a mask if they are more. It made own blocks itself. One that has
// much to do may make its blocks more slowly than main, and does not rest meanwhile: if what
// it carried is worth more blocks that are as full as the limit, those count.
func rested(blocks, own, worth uint64) uint64 {
	if blocks == 0 {
		return 0
	}
	window, used := min(blocks, shard.Window), min(blocks, max(own, worth))
	return window - window*used/blocks
}

// NeedsTick reports whether the shard needs the block at height although nobody sends
// anything: lanes remain to be settled, a committee waits to take over, or the shard has
// blocks to make before it ends. v is the state before it.
func NeedsTick(v chain.View, height uint64) bool {
	s := ReadStatus(v)
	if s.Ended != 0 {
		return height <= s.Ended
	}
	return s.Since > height || service.Settling(v)
}

// Audit recounts everything in v, as service.Audit does, and the messages under way. It
// takes time proportional to the state.
func Audit(v chain.View) (service.Totals, error) {
	totals, err := service.Audit(v)
	if err != nil {
		return totals, err
	}
	s := ReadStatus(v)
	if messages, size := underWay(v); messages != s.Outbox || size != s.Bytes {
		return totals, fmt.Errorf("%w: %d messages of %d bytes are under way, the status says %d and %d",
			service.ErrNotConserved, messages, size, s.Outbox, s.Bytes)
	}
	return totals, nil
}
