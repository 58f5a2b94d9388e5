package node

import (
	"errors"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/shard"
)

// endedWorld opens parts of a store as shards that have ended.
type endedWorld struct {
	*endedShards

	parts  parts
	opened int
}

func newEndedWorld(t *testing.T) *endedWorld {
	t.Helper()
	store, err := badgerkv.Open(badgerkv.Memory())
	if err != nil {
		t.Fatal(err)
	}
	w := &endedWorld{}
	w.endedShards = newEndedShards(slog.New(slog.DiscardHandler), func(id shard.ID) (*endedShard, error) {
		if id >= 100 {
			return nil, exec.ErrUnknown
		}
		release, ok := w.parts.borrow(id)
		if !ok {
			return nil, errEndedBusy
		}
		l, err := layer.New(kv.Prefixed(store, shardPrefix(id)), layer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		w.opened++
		return &endedShard{id: id, layer: l, release: release, used: time.Now()}, nil
	})
	w.parts.lent = w.giveBack
	w.begin()
	t.Cleanup(func() {
		w.stop()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// call makes a call of a shard.
func (w *endedWorld) call(id shard.ID) error {
	return w.use(id, func(*exec.Shard) error { return nil })
}

// TestEndedShardsAreFew: at most a few are open, the one that was not used for longest goes
// first, none that is in use, and all when nobody calls.
func TestEndedShardsAreFew(t *testing.T) {
	t.Parallel()
	w := newEndedWorld(t)
	first, err := w.acquire(2)
	if err != nil {
		t.Fatal(err)
	}
	for id := shard.ID(3); id < 10; id++ {
		if err := w.call(id); err != nil {
			t.Fatal(err)
		}
		if len(w.open) > maxEndedOpen || w.open[2] == nil || w.open[id] == nil {
			t.Fatalf("after shard %d: %d open, that which is in use %v", id, len(w.open), w.open[2] != nil)
		}
	}
	if w.done(first); w.call(2) != nil || w.opened != 8 {
		t.Errorf("%d were opened, want 8: one that is open is not opened again", w.opened)
	}
	if err := w.call(100); !errors.Is(err, exec.ErrUnknown) {
		t.Errorf("one that is not here: %v", err)
	}
	if w.closeIdle(time.Now()); len(w.open) == 0 {
		t.Error("those that are used are closed")
	}
	if w.closeIdle(time.Now().Add(2 * endedIdle)); len(w.open) != 0 || len(w.parts.taken) != 0 {
		t.Errorf("%d are open that nobody uses, %d parts are taken", len(w.open), len(w.parts.taken))
	}
	var held []*endedShard
	for id := shard.ID(2); id < 2+maxEndedOpen; id++ {
		r, err := w.acquire(id)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, r)
	}
	if err := w.call(20); !errors.Is(err, exec.ErrNotRunning) {
		t.Errorf("one more while all are in use: %v", err)
	}
	for _, r := range held {
		w.done(r)
	}
	if w.stop(); len(w.open) != 0 || !errors.Is(w.call(2), exec.ErrNotRunning) {
		t.Error("a shard is opened by a node that stops")
	}
}

// TestEndedShardIsGivenBack: who needs a shard's part of the store gets it after the calls
// under way, and has it for as long as it likes.
func TestEndedShardIsGivenBack(t *testing.T) {
	t.Parallel()
	w := newEndedWorld(t)
	r, err := w.acquire(2)
	if err != nil {
		t.Fatal(err)
	}
	taken := make(chan func())
	go func() {
		release, ok := w.parts.take(2)
		if !ok {
			t.Error("it is not given back")
		}
		taken <- release
	}()
	left := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return r.leaving != nil
	}
	for !left() {
		if t.Context().Err() != nil {
			t.Fatal("nobody asks for it")
		}
		runtime.Gosched()
	}
	if err := w.call(2); !errors.Is(err, exec.ErrNotRunning) {
		t.Errorf("a call while it is given back: %v", err)
	}
	select {
	case <-taken:
		t.Fatal("it is given back under a call")
	default:
	}
	w.done(r)
	release := <-taken
	w.closeIdle(time.Now().Add(2 * endedRest)) // who waited has had time
	if err := w.call(2); !errors.Is(err, exec.ErrNotRunning) {
		t.Errorf("a call while it is somebody else's: %v", err)
	}
	if release(); w.call(2) != nil {
		t.Error("it cannot be read any more")
	}
	if release, ok := w.parts.take(2); !ok || len(w.open) != 0 {
		t.Error("one that is not in use is not given back at once")
	} else {
		release()
	}
}

// TestTheHeadOfAnEndedShardIsKnown: while what a shard did that has ended cannot be read, its
// height is known all the same, and reads say that they cannot be done at the moment.
func TestTheHeadOfAnEndedShardIsKnown(t *testing.T) {
	t.Parallel()
	w := newEndedWorld(t)
	if err := w.call(5); err != nil {
		t.Fatal(err)
	}
	w.giveBack(5)
	e := endedRecords{past: w.endedShards, id: 5, height: 57}
	if height, _ := e.Head(); height != 57 {
		t.Errorf("height %d", height)
	}
	if _, err := e.Outbox(57); !errors.Is(err, exec.ErrNotRunning) {
		t.Errorf("a read: %v", err)
	}
}
