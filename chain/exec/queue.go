package exec

import (
	"context"
	"sync"
	"time"

	"github.com/tributary-network/tributary/ledger"
)

// queue gathers the signatures of concurrent Submits into common batches. An ask
// after a pause is answered at once; those that follow within the delay wait for
// its end, or for a full batch.
type queue struct {
	verifier *verifier
	delay    time.Duration

	mu     sync.Mutex
	open   bool // run serves, or is about to
	asks   []*ask
	claims int
	wake   chan struct{} // capacity 1: something was asked
}

// ask is what one Submit wants verified.
type ask struct {
	claims []ledger.Claim
	bad    []int
	err    error
	done   chan struct{}
}

func newQueue(v *verifier, delay time.Duration) *queue {
	return &queue{verifier: v, delay: delay, wake: make(chan struct{}, 1)}
}

// setOpen begins or ends to take asks.
func (q *queue) setOpen(open bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open = open
}

// verify returns the indexes of the claims that do not hold, ErrNotRunning, or
// ctx's error.
func (q *queue) verify(ctx context.Context, claims []ledger.Claim) ([]int, error) {
	if len(claims) == 0 {
		return nil, nil
	}
	a := &ask{claims: claims, done: make(chan struct{})}
	q.mu.Lock()
	if !q.open {
		q.mu.Unlock()
		return nil, ErrNotRunning
	}
	q.asks = append(q.asks, a)
	q.claims += len(claims)
	q.mu.Unlock()
	signal(q.wake)
	select {
	case <-a.done:
		return a.bad, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run serves until ctx ends.
func (q *queue) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	cooling := true // the timer runs
	for {
		select {
		case <-ctx.Done():
			q.setOpen(false)
			q.serve(ErrNotRunning)
			return ctx.Err()
		case <-timer.C:
			cooling = false
		case <-q.wake:
		}
		if asked, full := q.state(); asked && (full || !cooling) {
			q.serve(nil)
			timer.Reset(q.delay)
			cooling = true
		}
	}
}

// state reports whether anything is asked, and whether that fills a batch.
func (q *queue) state() (asked, full bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.asks) > 0, q.claims >= ledger.BatchSize
}

// serve verifies all that is asked, or answers it with err.
func (q *queue) serve(err error) {
	q.mu.Lock()
	asks, n := q.asks, q.claims
	q.asks, q.claims = nil, 0
	q.mu.Unlock()
	if err == nil {
		err = q.answer(asks, n)
	}
	for _, a := range asks {
		a.err = err
		close(a.done)
	}
}

func (q *queue) answer(asks []*ask, n int) (err error) {
	defer contain("verify signatures", &err)
	if len(asks) == 1 {
		asks[0].bad = q.verifier.verify(asks[0].claims)
		return nil
	}
	claims := make([]ledger.Claim, 0, n)
	for _, a := range asks {
		claims = append(claims, a.claims...)
	}
	bad := q.verifier.verify(claims)
	from := 0
	for _, a := range asks {
		to := from + len(a.claims)
		for len(bad) > 0 && bad[0] < to {
			a.bad = append(a.bad, bad[0]-from)
			bad = bad[1:]
		}
		from = to
	}
	return nil
}

// signal wakes whoever receives from c, of capacity 1, or leaves it woken.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
