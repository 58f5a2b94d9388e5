package sharded_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/node/carry"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/relay"
)

// TestSplitAndMergeAgain: a shard splits and its halves merge, with traffic all the time
// and all nodes restarted in the middle of each step: when the change is announced, when
// parents have made their last block, and when heirs have begun.
func TestSplitAndMergeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, genesisOf(t, 4, 40, 2, 10))
	ids := w.foundAll()
	c := w.crewOf()
	w.traffic(25 * time.Millisecond)
	owner := &user{key: keyOf(0), addr: keyOf(0).Address(home)}
	var pipes []*pipe
	for i := range 2 {
		pipes = append(pipes, w.open(w.userIn(ids[0], 1+i), w.userIn(ids[1], 3+i), 100_000_000))
		pipes = append(pipes, w.open(w.userIn(ids[1], 1+i), w.userIn(ids[0], 3+i), 100_000_000))
	}
	pipes = append(pipes, w.open(w.userIn(ids[0], 5), w.userIn(ids[0], 6), 100_000_000)) // within the shard, and its halves
	w.until("the homes know the channels", func() bool {
		return !slices.ContainsFunc(pipes, func(p *pipe) bool { _, ok := w.known(p); return !ok })
	})
	traffic := func() {
		for _, p := range pipes {
			w.bookAgain(p, 1_000)
		}
	}
	change := func(kind shard.Kind, parents ...shard.ID) []shard.ID {
		traffic()
		w.reshard(owner, kind, parents...)
		c.restart(nil, w.all()...)
		w.untilEnded(traffic, parents...)
		c.restart(nil, w.all()...)
		heirs := w.inherit(parents...)
		w.forget(parents...)
		traffic()
		c.restart(nil, w.all()...)
		traffic()
		return heirs
	}
	halves := change(shard.Split, ids[0])
	if len(halves) != 2 {
		t.Fatalf("heirs of shard %d are %v, want two", ids[0], halves)
	}
	w.allPaid(pipes)
	whole := change(shard.Merge, halves...)
	if len(whole) != 1 {
		t.Fatalf("heirs of shards %v are %v, want one", halves, whole)
	}
	w.allPaid(pipes)
}

// all returns all chains.
func (w *world) all() []*chainNet {
	list := []*chainNet{w.main}
	for _, n := range w.shards {
		list = append(list, n)
	}
	return list
}

// forget has no validator run shards any more.
func (w *world) forget(ids ...shard.ID) {
	for i := range w.hosted {
		for _, id := range ids {
			delete(w.hosted[i], id)
		}
	}
}

// drained is in how many blocks of main everything has to arrive once a shard can be
// reached again: half a minute at a block each second.
const drained = 30

// cutOff is a shard that a relay cannot reach while it is cut.
type cutOff struct {
	relay.Shard

	cut *atomic.Bool
}

func (s cutOff) Read(f func(v view, height uint64) error) error {
	if s.cut.Load() {
		return errFault
	}
	return s.Shard.Read(f)
}

func (s cutOff) SubmitRelay(ctx context.Context, payload []byte) error {
	if s.cut.Load() {
		return errFault
	}
	return s.Shard.SubmitRelay(ctx, payload)
}

func (s cutOff) Certificate(height uint64) (cert.Certificate, error) {
	if s.cut.Load() {
		return cert.Certificate{}, errFault
	}
	return s.Shard.Certificate(height)
}

func (s cutOff) Outbox(height uint64) (*link.Outbox, bool, error) {
	if s.cut.Load() {
		return nil, false, errFault
	}
	return s.Shard.Outbox(height)
}

// TestOneShardAlone: a shard that nobody reaches goes on by itself, as do all the others
// among each other, and what was under way to it and from it arrives within a bound of main's
// blocks once it can be reached. So it is with one that stands still.
func TestOneShardAlone(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		halts bool
	}{{"cut off", false}, {"halted", true}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, genesisOf(t, 4, 40, 4, 20))
			ids := w.foundAll()
			alone := ids[3]
			var cut atomic.Bool
			for i := range w.mains {
				w.relayOver(i, nil, func(id shard.ID) relay.Shard {
					one := carry.Shard{Shard: w.hosted[i][id]}
					if id == alone {
						return cutOff{one, &cut}
					}
					return one
				})
			}
			w.traffic(25 * time.Millisecond)
			pair := func(from, to shard.ID) *pipe { return w.open(w.userIn(from, 0), w.userIn(to, 1), 100_000_000) }
			to, from, other := pair(ids[0], alone), pair(alone, ids[1]), pair(ids[1], ids[2])
			w.until("the homes know the channels", func() bool {
				return !slices.ContainsFunc([]*pipe{to, from, other}, func(p *pipe) bool { _, ok := w.known(p); return !ok })
			})
			w.apart(&cut, alone, row.halts, true)
			h, _ := w.mains[0].Head()
			for range 8 {
				w.bookAlone(to, 10_000)
				w.bookAlone(other, 10_000)
				if !row.halts {
					w.bookAlone(from, 10_000)
				}
			}
			w.until("the others go on", func() bool { return w.earned(other.payee).Total.Amount == 80_000 })
			w.until("main goes on for two epochs, and pays the others", func() bool {
				now, _ := w.mains[0].Head()
				return now > h+40 && w.redeemed(other) == other.cumulative
			})
			if got := w.earned(to.payee).Total.Amount + w.earned(from.payee).Total.Amount; got != 0 {
				t.Errorf("%d drops went to or from a shard that nobody reaches", got)
			}
			w.apart(&cut, alone, row.halts, false)
			repaired, _ := w.mains[0].Head()
			w.until("everything has arrived", func() bool {
				return w.earned(to.payee).Total.Amount == uint64(to.cumulative) && w.earned(from.payee).Total.Amount == uint64(from.cumulative)
			})
			if now, _ := w.mains[0].Head(); now > repaired+drained {
				t.Errorf("it took %d blocks of main, want %d", now-repaired, drained)
			}
			w.allPaid([]*pipe{to, from, other})
			w.reelected(alone, false)
		})
	}
}

// apart cuts a shard off, or has it stand still, or undoes that.
func (w *world) apart(cut *atomic.Bool, id shard.ID, halts, begin bool) {
	if halts {
		w.shards[id].stop(begin)
	} else {
		cut.Store(begin)
	}
	for _, r := range w.relays {
		r.Wake()
	}
}

// reelected fails the test unless a shard got another committee, or did not.
func (w *world) reelected(id shard.ID, want bool) {
	w.tb.Helper()
	w.readMain(func(v view) {
		if row, _ := anchor.Read(v, id); row.Redraws > 0 != want {
			w.tb.Errorf("shard %d was drawn anew %d times", id, row.Redraws)
		}
	})
}
