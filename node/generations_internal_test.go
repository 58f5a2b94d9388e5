package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tributary-network/tributary/chain/anchor"
)

// TestStartOfAnEarlierGeneration: a start that is under way when the main chain draws the
// committee anew is stopped, and goes on with the new generation at once.
func TestStartOfAnEarlierGeneration(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad")
	for _, row := range []struct {
		name       string
		generation uint32
		chosen     bool
		end        error // of what was stopped
		over       bool
	}{
		{name: "the same", generation: 1, chosen: true},
		{name: "not chosen yet", generation: 2},
		{name: "another", generation: 2, chosen: true, end: context.Canceled, over: true},
		{name: "another, of one that ran", generation: 2, chosen: true, over: true},
		{name: "another, and a fault", generation: 2, chosen: true, end: bad, over: true},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		r := &shardRun{id: 2, cancel: cancel, err: errStranded}
		if row.chosen {
			r.choose(1)
		}
		r.compare(&anchor.State{Generation: row.generation})
		if stopped := ctx.Err() != nil; stopped != row.over {
			t.Errorf("%s: stopped %t", row.name, stopped)
		}
		r.left(row.end)
		if got := errors.Is(r.err, errAnotherGeneration); got != row.over || errors.Is(row.end, bad) && !errors.Is(r.err, bad) {
			t.Errorf("%s: %v", row.name, r.err)
		}
		r.left(bad) // of the next start
		if errors.Is(r.err, errAnotherGeneration) {
			t.Errorf("%s: the next start ends with %v", row.name, r.err)
		}
		cancel()
	}
}

// TestWhyAShardIsGivenUp: what a shard is stopped for decides when it is tried again, whatever
// comes of stopping it, and only this once.
func TestWhyAShardIsGivenUp(t *testing.T) {
	t.Parallel()
	closing := errors.New("close the store")
	for _, row := range []struct {
		name  string
		why   error
		end   error // of what was stopped
		other bool  // the main chain has another generation by then
		after time.Duration
		doom  bool
	}{
		{name: "its files", why: errShardData, after: shardDataRetry},
		{name: "its files, and a fault", why: errShardData, end: closing, after: shardDataRetry},
		{name: "the disk, and a fault", why: errShardDisk, end: closing, after: shardRetryMost},
		{name: "stranded, and a fault", why: errStranded, end: closing, after: shardRetryFirst, doom: true},
		{name: "stranded, and stopped", why: errStranded, end: context.Canceled, after: shardRetryFirst, doom: true},
		{name: "stranded, and another generation", why: errStranded, end: closing, other: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newShards(&Node{log: slog.New(slog.DiscardHandler)})
			ctx, cancel := context.WithCancel(t.Context())
			r := &shardRun{id: 2, cancel: cancel, chain: newHosted("s2", s.log)}
			r.choose(1)
			r.giveUp(fmt.Errorf("%w: so much", row.why))
			if ctx.Err() == nil {
				t.Errorf("%s: it is not stopped", row.name)
			}
			if row.other {
				r.compare(&anchor.State{Generation: 2})
			}
			r.giveUp(errShardDisk) // while it stops
			r.left(row.end)
			r.giveUp(errShardData) // after it has
			s.over(t.Context(), r)
			if wait := time.Until(r.due); wait != row.after || errors.Is(row.end, closing) && !errors.Is(r.err, closing) {
				t.Errorf("%s: tried again after %v, want %v: %v", row.name, wait, row.after, r.err)
			}
			if doomed := len(s.condemned()) > 0; doomed != row.doom {
				t.Errorf("%s: its data are removed: %v", row.name, doomed)
			}
			_, r.cancel = context.WithCancel(t.Context())
			r.left(closing) // of the next start
			s.over(t.Context(), r)
			if wait := time.Until(r.due); wait != shardRetryFirst {
				t.Errorf("%s: the next start is tried again after %v: %v", row.name, wait, r.err)
			}
		})
	}
}
