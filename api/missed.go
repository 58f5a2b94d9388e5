package api

import (
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/route"
)

// Anchors that a shard misses are no part of the level that its blocks go by: a block
// cannot know them. A gateway counts them from the main chain, and goes by whichever level is
// higher: what a shard books that is not anchored is not final, and may never be.

// waiting is since when the main chain waits for an anchor of a shard.
type waiting struct {
	ok       bool   // the shard is founded, and has not ended
	anchored uint64 // height of the shard
	from, at uint64 // heights of main: of anchor.State.From, and the head
}

func waitingIn(v chain.View, height uint64, id shard.ID) waiting {
	row, ok := anchor.Read(v, id)
	return waiting{ok: ok && !row.Finished(), anchored: row.Height(), from: row.From, at: height}
}

func (b *backend) waitingFor(id shard.ID) (w waiting, err error) {
	err = b.State.Read(func(v chain.View, height uint64) error {
		w = waitingIn(v, height, id)
		return nil
	})
	return w, err
}

// silent returns how many anchors a shard misses whatever it has to anchor: one without
// anything to do makes a block before Params.LateBlocks are over.
func (b *backend) silent(w waiting) uint64 {
	rules := b.anchorRules()
	if !w.ok {
		return 0
	}
	return rules.Missed(w.at, w.from+uint64(rules.LateBlocks))
}

// missedBy returns how many anchors a shard that runs here misses, up to limit: those that
// were due since the last one and since its first block that is not anchored was there.
//
// A block bears the time of the votes for the block before it, which of the first after a
// rest is as long ago as the rest began. So the time of the next block counts, and without
// one it is not known how long ago the block was made.
func (b *backend) missedBy(s Shard, w waiting, limit uint64) uint64 {
	silent := min(b.silent(w), limit)
	head, _ := s.Head()
	rules := b.anchorRules()
	missed := min(rules.Missed(w.at, w.from), limit)
	if !w.ok || head <= w.anchored+1 || missed <= silent {
		return silent
	}
	next, err := s.Block(w.anchored + 2)
	if err != nil {
		return missed // so old that it is not kept
	}
	made := time.UnixMilli(next.Time)
	// It is no longer ago than blocks of main are that came after it.
	for ; missed > silent; missed-- {
		h, ok := b.Node.Header(w.at - missed*uint64(rules.DueBlocks))
		if ok && !h.Time.Before(made) {
			break
		}
	}
	return missed
}

// levelOf returns how congested a shard that runs here is after its last block: as its own
// rules count it, or by the anchors that it misses, if that is more.
func (b *backend) levelOf(s Shard, w waiting) (level route.Level, l route.Backlog, err error) {
	var full route.Capacity
	err = s.Read(func(v chain.View, _ uint64) error {
		c := shardblock.ReadConfig(v)
		full, l = c.Params.Capacity, shardblock.Backlog(v)
		return nil
	})
	if err != nil {
		return 0, l, err
	}
	l.MissedAnchors = b.missedBy(s, w, full.MissedAnchors)
	return full.Level(l), l, nil
}

// admit returns a route.CongestedError if a shard that runs here takes no new bookings. One
// that is silent and has nothing to do takes one: that it makes a block ends its silence.
func (b *backend) admit(s Shard, id shard.ID) error {
	w, err := b.waitingFor(id)
	if err != nil {
		return err
	}
	head, _ := s.Head()
	if records, _ := s.Pending(); records == 0 && head <= w.anchored {
		w.ok = false
	}
	level, _, err := b.levelOf(s, w)
	if err != nil {
		return err
	}
	return route.Admit(route.User, id, level)
}
