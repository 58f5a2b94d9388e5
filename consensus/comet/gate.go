package comet

import (
	"context"
	"sync"
)

// gate lets calls through until it is closed, and tells when the last one that
// got through is done. CometBFT goroutines outlive Node.Stop by some seconds;
// gates keep them off the stores and the application.
type gate struct {
	mu     sync.Mutex
	inside int
	closed bool
	idle   chan struct{} // closed when closed and inside is 0
}

func newGate() *gate { return &gate{idle: make(chan struct{})} }

// enter reports whether the caller may go on; it must then call leave.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.closed && g.inside == 0 {
		close(g.idle)
	}
}

// close lets nobody in any more and waits for those inside, until ctx ends.
func (g *gate) close(ctx context.Context) error {
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		if g.inside == 0 {
			close(g.idle)
		}
	}
	g.mu.Unlock()
	select {
	case <-g.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
