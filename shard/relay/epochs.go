package relay

import (
	"context"
	"math"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
)

// epochMatters reports whether a shard, of whose state v is a view, has to be told of the
// running epoch: others serve it, it ends, something is to be settled, or it would get
// too far behind. A shard that is at rest stays so, or the blocks that each epoch makes it
// make, and their anchors, would bring main to the next epoch, and so on for ever.
func (s *scene) epochMatters(v chain.View) bool {
	lag := s.epoch - s.survey.Epoch
	if 2*lag >= uint64(s.anchors.MaxLag) || 2*lag >= shardblock.KeptMain || s.span.Until > 0 && s.span.Until <= s.epoch {
		return true
	}
	if service.Moved(v) || service.Settling(v) {
		return true
	}
	now, ok := shardblock.Committee(v, math.MaxUint64)
	if !ok || len(now.Members) != len(s.own.Members) {
		return true
	}
	for i := range s.own.Members {
		if _, same := now.FindAddress(s.own.Members[i].Address()); !same {
			return true
		}
	}
	return false
}

// tellEpoch tells the shard of the running epoch of main, or of the one in which it is
// replaced, if it has to know it.
func (l *shardLane) tellEpoch(ctx context.Context, s *scene) time.Duration {
	e := s.news
	if s.survey.Ended || !s.behind {
		l.epoch.reset()
		return never
	}
	letter, heads, ok := l.record(s, e)
	if !ok {
		return never
	}
	turn := l.turn(s, ledger.MainChain)
	ok, again := l.epoch.ready(l.r, e+1, turn, s.height, s.survey.Height, patience{})
	if !ok {
		return again
	}
	letter.News.Heads = s.survey.heads(heads...)
	l.sendBehind(ctx, s, heads, letter)
	return l.epoch.done(l.r, e+1, s.survey.Height)
}

// record makes what tells the shard of an epoch, and returns the certificates of the
// blocks of main against which it is proved. ok is false as long as this node has no
// proofs that the shard could verify; then newer ones are asked for.
func (l *shardLane) record(s *scene, e uint64) (letter *shardblock.Relay, heads []*cert.Certificate, ok bool) {
	var rows [2]shardblock.Row
	for i, key := range [][]byte{registry.EpochKey(e), registry.AssignmentKey(e, l.id)} {
		signed, st, err := l.r.cfg.Main.Certified(key)
		if err == nil {
			rows[i], err = shardblock.RowOf(st)
		}
		if err != nil || signed.Checkpoint.Epoch < s.survey.First {
			l.r.watch(key)
			continue
		}
		heads = append(heads, &signed)
	}
	if len(heads) < len(rows) {
		return nil, nil, false
	}
	return &shardblock.Relay{Kind: shardblock.KindEpoch, Epoch: &shardblock.Epoch{
		Epoch: e, Record: rows[0], Assignment: rows[1], Committee: s.serving,
	}}, heads, true
}

// silent reports whether a shard has anchored nothing for three quarters of the time after
// which it is late. One that does not even make a block when it is asked for one gives
// up.
func (s *scene) silent(row *anchor.State) bool {
	quiet := s.height - min(s.height, row.From)
	late := uint64(s.anchors.LateBlocks)
	return !row.Finished() && quiet >= late-late/4 && quiet < 2*late
}

// heartbeat lets an idle shard make a block, so that it has something to anchor and
// nobody takes it for one that stands still: it is told of a head of main. All idle
// shards do it together when it is time for one of them. Main goes on for some blocks
// after each anchor; if they came one after the other, there would be no end of it. A shard
// that was told of a head only lately takes no other yet, and does it with them next time.
func (l *shardLane) heartbeat(ctx context.Context, s *scene) time.Duration {
	since := s.height - min(s.height, s.span.From)
	if !s.quiet || s.survey.Ended || s.survey.Height > s.span.Tree.Size || since <= uint64(s.anchors.DueBlocks) {
		l.beat.reset()
		return never
	}
	turn := l.turn(s, ledger.MainChain)
	ok, again := l.beat.ready(l.r, s.span.From+1, turn, s.height, s.survey.Height, patience{})
	if !ok {
		return again
	}
	var heads []*cert.Certificate
	for h := s.height; h > 0 && h+beatBack > s.height; h-- {
		if c, err := l.r.cfg.Main.Certificate(h); err == nil {
			heads = append(heads, &c)
			break
		}
	}
	if news := s.survey.heads(heads...); len(news) > 0 && news[0].Checkpoint.Height >= s.survey.newest()+s.anchors.BeatBlocks() {
		l.sendBehind(ctx, s, heads, &shardblock.Relay{Kind: shardblock.KindHead, News: shardblock.News{Heads: news}})
	}
	return l.beat.done(l.r, s.span.From+1, s.survey.Height)
}

// beatBack is among how many of main's last blocks one with a certificate is looked
// for.
const beatBack = 16
