package exec

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
)

// Run verifies, bundles and sends what is submitted, executes accepted blocks
// ahead, assembles certificates, keeps the clock running towards deadlines, audits
// the state now and then and removes what is old from the index until ctx ends; it
// then returns nil. The layer's own Run is the business of whoever opened the
// layer.
//
// broadcast hands a bundle to consensus: nil means that consensus holds it (or
// held it a short time ago), an error with a method Code() uint32 that Check
// refused it, and any other error that it should be tried again. broadcast may
// call Check.
//
// A panic of one of these is returned as an error, and ends the others.
//
// Run owns all goroutines of the Executor. It must not be called twice at a
// time. While it does not run, Submit refuses with ErrNotRunning; consensus may
// call its methods at any time.
func (e *Executor) Run(ctx context.Context, broadcast func(bundle []byte) error) error {
	if !e.begun.CompareAndSwap(false, true) {
		return errors.New("run the executor: it runs already")
	}
	defer e.begun.Store(false)
	e.queue.setOpen(true)
	e.ahead.setOpen(true)
	e.relays.setOpen(true)
	defer e.relays.setOpen(false)
	e.running.Store(true)
	defer e.running.Store(false)
	group, ctx := errgroup.WithContext(ctx)
	run := func(what string, part func() error) {
		group.Go(func() (err error) {
			defer contain(what, &err)
			return part()
		})
	}
	run("verify records", func() error { return e.queue.run(ctx) })
	run("execute ahead", func() error { return e.ahead.run(ctx) })
	run("bundle records", func() error { return e.bundler.run(ctx, broadcast) })
	run("keep the clock running", func() error { return e.tick(ctx, broadcast) })
	run("audit", func() error { return e.audit(ctx) })
	run("remove old entries of the index", func() error { return e.pruneIndex(ctx) })
	run("make snapshots", func() error { return e.makeSnapshots(ctx) })
	run("certify", func() error { return e.certify(ctx) })
	if err := group.Wait(); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}
