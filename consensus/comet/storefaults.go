package comet

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"

	"github.com/tributary-network/tributary/ledger/kv"
)

// errStoreFailed is why a store that failed takes nothing any more.
var errStoreFailed = errors.New("the store of blocks and votes has failed before")

// storeFaults is what becomes of a store of a chain that fails. CometBFT panics then, on
// goroutines of its own, which would take the process and all its other chains down. So the
// chain halts, what cannot be read is not there, as if it was pruned, and nothing is
// written any more: what reached the disk is unknown until the store is opened again. During
// a start CometBFT gets the error, since to find nothing there means to begin anew.
//
// It is safe for concurrent use. A nil one hands errors on.
type storeFaults struct {
	halt    func(err error)
	started func() bool
	failed  atomic.Bool
}

// read runs f, which reads. In block sync it does not return if that fails; what was deferred
// runs.
func (s *storeFaults) read(f func() error) error {
	if s == nil {
		return f()
	}
	err := contain(f)
	if err == nil {
		return nil
	}
	s.note(err)
	if inBlockSync() {
		runtime.Goexit()
	}
	if s.started() {
		return nil
	}
	return err
}

// write runs f, which writes, and ends block sync likewise.
func (s *storeFaults) write(f func() error) error {
	if s == nil {
		return f()
	}
	err := errStoreFailed
	if !s.failed.Load() {
		err = contain(f)
	}
	syncing := err != nil && inBlockSync()
	if err == nil || errors.Is(err, errDetached) || errors.Is(err, kv.ErrBatchTooLarge) && !syncing {
		return err
	}
	s.note(err)
	if syncing {
		runtime.Goexit()
	}
	return err
}

func (s *storeFaults) note(err error) {
	if s.failed.CompareAndSwap(false, true) {
		s.halt(err)
	}
}

// storeFailed halts the chain.
func (c *Chain) storeFailed(err error) {
	height, _, _, _, _ := c.head.snapshot()
	attrs := []any{slog.Int64("height", height+1), slog.Any("err", err)}
	if p := (*panicError)(nil); errors.As(err, &p) {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	c.logger.Error("chain halted by its store", attrs...)
	_ = c.halt.set(uint64(height)+1, HaltStore, "the store of blocks and votes: "+err.Error()) //nolint:gosec // not negative
}

// loop runs f beside the chain. A panic of it halts the chain, and no other.
func (c *Chain) loop(name string, f func()) {
	c.loops.Go(func() {
		err := contain(func() error { f(); return nil })
		if err == nil {
			return
		}
		height, _, _, _, _ := c.head.snapshot()
		p := (*panicError)(nil)
		_ = errors.As(err, &p)
		c.logger.Error("chain halted by a panic", slog.String("loop", name), slog.Any("err", err), slog.String("stack", string(p.stack)))
		_ = c.halt.set(uint64(height)+1, HaltConsensus, fmt.Sprintf("%s: %v", name, err)) //nolint:gosec // not negative
	})
}
