package api_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain/exec"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

func TestStreamTakesOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := newID()
	old := w.openStream(hello(id))
	h := hello(id)
	h.Session = old.welcome.GetSession()
	w.openStream(h)
	for {
		if _, err := old.recv(); err != nil {
			wantProblem(t, err, codes.Aborted, api.ReasonStreamReplaced)
			return
		}
	}
}

// lateSubmit is a pool that, once it is armed, has a Submit which is still under
// way when its stream has ended.
type lateSubmit struct {
	api.Pool

	armed                 atomic.Bool
	begun, ended, carryOn chan struct{}
}

func (p *lateSubmit) Submit(ctx context.Context, raw []byte) (exec.Status, error) {
	if !p.armed.CompareAndSwap(true, false) {
		return p.Pool.Submit(ctx, raw)
	}
	close(p.begun)
	<-ctx.Done()
	close(p.ended)
	<-p.carryOn
	return exec.Status{}, ctx.Err()
}

// A stream takes over when all before it are done with their items, also when the
// one before it never began.
func TestStreamTakesOverFromAllBefore(t *testing.T) {
	t.Parallel()
	pool := &lateSubmit{begun: make(chan struct{}), ended: make(chan struct{}), carryOn: make(chan struct{})}
	w := newWorld(t, func(c *api.Config) { c.Pool, pool.Pool = pool, c.Pool })
	carryOn := sync.OnceFunc(func() { close(pool.carryOn) })
	defer carryOn()
	raw := w.openLot(1, 100_000, w.later()).settle(0, 1, 5)
	pool.armed.Store(true)
	h := hello(newID())
	first := w.openStream(h)
	h.Session = first.welcome.GetSession()
	first.item(1, raw)
	<-pool.begun
	begin := func() *stream {
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		t.Cleanup(cancel)
		s, err := w.settlements().StreamSettlements(ctx)
		if err != nil {
			t.Fatal(err)
		}
		st := &stream{t: t, s: s, cancel: cancel}
		st.send(&streamRequest{Message: &settlementv1.StreamSettlementsRequest_Hello_{Hello: h}})
		return st
	}
	second := begin()
	<-pool.ended // by the second stream, which now waits for the first
	second.cancel()
	third := begin()
	welcome := make(chan error, 1)
	go func() {
		_, err := third.s.Recv()
		welcome <- err
	}()
	early := time.NewTimer(200 * time.Millisecond)
	defer early.Stop()
	select {
	case err := <-welcome:
		t.Fatalf("a stream begins (%v) while an item of one before it is under way", err)
	case <-early.C:
	}
	carryOn()
	if err := <-welcome; err != nil {
		t.Fatal(err)
	}
	third.item(1, raw)
	if got := third.collect(0, 1); len(got) == 0 || got[len(got)-1].seq != 1 {
		t.Errorf("the item that was abandoned, sent again: %v", got)
	}
}
