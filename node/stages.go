package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
)

// stages are the parts of a node that run side by side and end one after the
// other: the one that was added last ends first.
type stages struct {
	ctx  context.Context //nolint:containedctx // of the caller; its end begins the end
	log  *slog.Logger
	list []*stage

	once sync.Once
	done chan struct{} // closed when the end begins
}

type stage struct {
	name   string
	run    func(context.Context) error
	ctx    context.Context //nolint:containedctx // the stage's own
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // set before ended is closed
}

func newStages(ctx context.Context, log *slog.Logger) *stages {
	return &stages{ctx: ctx, log: log, done: make(chan struct{})}
}

// add adds a stage. run must return when its context ends; before, only with an
// error, which ends all.
func (s *stages) add(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.ctx))
	s.list = append(s.list, &stage{name: name, run: run, ctx: ctx, cancel: cancel, ended: make(chan struct{})})
}

// begin starts all stages.
func (s *stages) begin() {
	context.AfterFunc(s.ctx, s.finish)
	for _, g := range s.list {
		go func() {
			defer s.finish()
			defer close(g.ended)
			err := contained(s.log, g.name, func() error { return g.run(g.ctx) })
			if errors.Is(err, context.Canceled) && g.ctx.Err() != nil {
				err = nil
			}
			if err != nil {
				g.err = fmt.Errorf("%s: %w", g.name, err)
			}
		}()
	}
}

func (s *stages) finish() { s.once.Do(func() { close(s.done) }) }

// over is closed when the caller's context or any stage has ended.
func (s *stages) over() <-chan struct{} { return s.done }

// end ends the stages, waiting for each before it ends the next, and returns
// their errors.
func (s *stages) end() error {
	var errs []error
	for _, g := range slices.Backward(s.list) {
		g.cancel()
		<-g.ended
		errs = append(errs, g.err)
	}
	return errors.Join(errs...)
}
