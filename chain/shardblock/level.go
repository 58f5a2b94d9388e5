package shardblock

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/route"
)

// Backlog returns what waits in a shard: messages that are under way from here, as far as
// its state knows. What waits for it elsewhere a shard cannot know by itself.
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

// underWay counts the messages and bytes under way on all links from the places in v.
func underWay(v chain.View) (messages, size uint64) {
	for bucket := range 256 {
		for _, o := range link.Outbounds(v, uint8(bucket)) {
			m, b := o.UnderWay()
			messages, size = messages+m, size+b
		}
	}
	return messages, size
}

// count adds to s what changes did to the messages under way, in time proportional to the
// changes.
func (s *Status) count(before chain.View, changes chain.Changes) error {
	add := func(value []byte, sign uint64) error {
		if value == nil {
			return nil
		}
		o, err := link.DecodeOutbound(value)
		if err != nil {
			return err
		}
		messages, size := o.UnderWay()
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
