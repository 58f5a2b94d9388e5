package relay

import (
	"context"
	"errors"
	"time"

	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
)

var errShortAnswer = errors.New("an answer about fewer links than were asked for")

// tellEpoch tells the shard of the running epoch of main, if it does not know it.
func (l *shardLane) tellEpoch(ctx context.Context, s *scene) time.Duration {
	e := s.epoch
	if s.survey.Ended || s.survey.Epoch >= e {
		l.epoch.reset()
		return never
	}
	letter, heads, ok := l.record(s, e)
	if !ok {
		return never
	}
	turn := l.turn(s, ledger.MainChain)
	ok, again := l.epoch.ready(l.r, e+1, turn, s.height, s.survey.Height)
	if !ok {
		return again
	}
	news, err := l.r.lead(&s.survey, heads...)
	if err != nil {
		l.notes.failed(l.r, "a shard cannot be led to an epoch of main", l.id, err)
		return l.epoch.done(l.r, e+1, s.survey.Height)
	}
	for _, one := range letters(news, letter) {
		if !l.send(ctx, s, one) {
			break
		}
	}
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

// heartbeat lets an idle shard make a block, so that it has something to anchor and
// nobody takes it for one that stands still: it is told of a head of main when half of
// the time is over after which its anchors are late.
func (l *shardLane) heartbeat(ctx context.Context, s *scene) time.Duration {
	quiet := s.height - min(s.height, s.span.From)
	if s.survey.Ended || s.survey.Height > s.span.Tree.Size || quiet < uint64(s.anchors.LateBlocks)/2 {
		l.beat.reset()
		return never
	}
	turn := l.turn(s, ledger.MainChain)
	ok, again := l.beat.ready(l.r, s.span.From+1, turn, s.height, s.survey.Height)
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
	news, err := l.r.lead(&s.survey, heads...)
	if err != nil {
		l.notes.failed(l.r, "a shard cannot be led to a block of main", l.id, err)
	}
	for _, one := range letters(news) {
		if !l.send(ctx, s, one) {
			break
		}
	}
	return l.beat.done(l.r, s.span.From+1, s.survey.Height)
}

// beatBack is among how many of main's last blocks one with a certificate is looked
// for.
const beatBack = 16
