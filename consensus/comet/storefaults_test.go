package comet_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger/kv"
)

var errDisk = errors.New("no space left on device")

// brokenStore is a store that can be told to fail.
type brokenStore struct {
	kv.Store

	reads, writes atomic.Int32 // one of the fault kinds
}

// Faults of a brokenStore.
const (
	works int32 = iota
	fails
	panics
)

func faultOf(kind *atomic.Int32) error {
	switch kind.Load() {
	case fails:
		return errDisk
	case panics:
		panic("the store is broken")
	}
	return nil
}

func (s *brokenStore) Get(key []byte) ([]byte, error) {
	if err := faultOf(&s.reads); err != nil {
		return nil, err
	}
	return s.Store.Get(key)
}

func (s *brokenStore) NewBatch() kv.Batch { return brokenBatch{s.Store.NewBatch(), s} }

type brokenBatch struct {
	kv.Batch

	store *brokenStore
}

func (b brokenBatch) Commit(sync bool) error {
	if err := faultOf(&b.store.writes); err != nil {
		b.Discard()
		return err
	}
	return b.Batch.Commit(sync)
}

// A store of a chain that fails halts that chain, whatever CometBFT does with it and on
// which goroutine, and nothing else; when it works again, a restart goes on.
func TestFaultsOfTheStore(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		arm     func(*brokenStore)
		syncing bool
		reason  string
	}{
		{"writes fail", func(s *brokenStore) { s.writes.Store(fails) }, false, errDisk.Error()},
		{"writes panic", func(s *brokenStore) { s.writes.Store(panics) }, false, "the store is broken"},
		{"reads fail", func(s *brokenStore) { s.reads.Store(fails) }, false, errDisk.Error()},
		{"reads panic", func(s *brokenStore) { s.reads.Store(panics) }, false, "the store is broken"},
		{"writes fail in block sync", func(s *brokenStore) { s.writes.Store(fails) }, true, errDisk.Error()},
		{"reads fail in block sync", func(s *brokenStore) { s.reads.Store(fails) }, true, errDisk.Error()},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			const victim = 3
			n := newNetwork(t, "store", 4)
			other := n.shard(t, 2, 0, 1, 2, 3)
			store := &brokenStore{Store: n.members[victim].store}
			n.members[victim].store = store
			n.startAll(t)
			other.startAll(t)
			var sent, elsewhere int
			n.advance(t, victim, &sent)
			if row.syncing {
				n.stop(t, victim)
				for range 3 {
					n.advance(t, 0, &sent)
				}
				n.members[victim].app.setOnBlock(func(comet.Block) error { row.arm(store); return nil })
				n.restart(t, victim)
			} else {
				row.arm(store)
				n.advance(t, 0, &sent)
			}
			chain := n.members[victim].chain
			eventually(t, hangs, "it halts", func() bool { return chain.Status().Halt != nil })
			if h := chain.Status().Halt; h.Cause != comet.HaltStore || !strings.Contains(h.Reason, row.reason) {
				t.Errorf("halt %+v, want %q", h, row.reason)
			}
			if ok, _ := chain.Status().Health(time.Now(), comet.HealthLimits{}); ok {
				t.Error("it is healthy")
			}
			n.advance(t, 0, &sent)
			other.advance(t, victim, &elsewhere)

			n.stop(t, victim)
			n.members[victim].app.setOnBlock(nil)
			store.reads.Store(works)
			store.writes.Store(works)
			n.restart(t, victim)
			n.members[victim].app.waitFor(t, hangs, func(txs int, _ uint64) bool { return txs == sent })
			n.waitReady(t, victim)
		})
	}
}

// A start whose store cannot be read fails, and does not begin anew.
func TestStartWithoutReads(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "blind", 1)
	store := &brokenStore{Store: n.members[0].store}
	n.members[0].store = store
	n.startAll(t)
	var sent int
	n.advance(t, 0, &sent)
	n.stop(t, 0)
	for _, kind := range []int32{fails, panics} {
		store.reads.Store(kind)
		n.reload(t, 0)
		if err := n.tryStart(t, 0); err == nil {
			t.Fatal("it started")
		}
		store.reads.Store(works)
	}
	n.restart(t, 0)
	n.advance(t, 0, &sent)
}
