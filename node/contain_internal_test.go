package node

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/node/carry"
	"github.com/tributary-network/tributary/shard/relay"
)

// TestLasting: a part that panics begins again after a rest, until it is over or the node
// stops.
func TestLasting(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	synctest.Test(t, func(t *testing.T) {
		began, runs := time.Now(), 0
		lasting(t.Context(), log, "test", func(context.Context) error {
			if runs++; runs < 3 {
				panic("bad")
			}
			return nil
		})
		if took := time.Since(began); runs != 3 || took != 2*partRest {
			t.Errorf("%d runs in %v", runs, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), partRest/2)
		defer cancel()
		began = time.Now()
		lasting(ctx, log, "test", func(context.Context) error { panic("bad") })
		if took := time.Since(began); took != partRest/2 {
			t.Errorf("it ends %v after its beginning", took)
		}
	})
}

// TestShardsOutliveAPanic: what runs shards, and what is beside them, begins again after a
// panic. The process goes on, and all of it ends with the node.
func TestShardsOutliveAPanic(t *testing.T) {
	t.Parallel()
	n := newLonelyNode(t) // its main chain is not open, and whoever looks at it panics
	n.cfg.Shards.Enabled = true
	synctest.Test(t, func(t *testing.T) {
		n.shards = newShards(n)
		n.states = newStates(&Node{home: n.home, log: n.log}) // without shards: none can be made
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- n.shards.run(ctx) }()
		<-time.NewTimer(5 * partRest).C
		n.states.mu.Lock()
		n.states.due = []stateName{{id: 2}}
		n.states.mu.Unlock()
		n.states.wake <- struct{}{}
		synctest.Wait()
		n.states.mu.Lock()
		if left := len(n.states.due); left != 0 {
			t.Errorf("%d states are to be made, after one that panicked", left)
		}
		n.states.mu.Unlock()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestWatchOutlivesAPanic: a chain that cannot be watched does not end the process.
func TestWatchOutlivesAPanic(t *testing.T) {
	t.Parallel()
	n := newLonelyNode(t) // likewise
	synctest.Test(t, func(t *testing.T) {
		r, err := relay.New(relay.Config{Main: carry.Main{Main: (*exec.Main)(nil)}, Now: time.Now, Jitter: func() float64 { return 0 }, Log: n.log})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan struct{})
		go func() {
			(&relays{node: n, log: n.log, relay: r}).watch(ctx, n.main)
			close(ended)
		}()
		<-time.NewTimer(3 * partRest).C
		select {
		case <-ended:
			t.Error("it is not watched any more")
		default:
		}
		cancel()
		<-ended
	})
}
