package exec

import (
	"context"
	"fmt"
	"iter"

	"github.com/tributary-network/tributary/chain"
)

// audit recounts the state every Config.AuditInterval blocks, one
// count at a time, until ctx ends. One that fails halts the chain.
//
// It reads a snapshot beside the blocks, for it takes some microseconds for each
// channel, on all validators at the same height. That a block or more pass
// before it halts the chain loses nothing: ApplyBlock refuses every block whose
// own postings do not add up, before anyone commits it. The audit finds what no
// block did, a store that lost or changed rows, and that is no agreement among
// validators but the fault of one.
func (e *Executor) audit(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.auditDue:
		}
		if height, err := e.auditOnce(ctx); err != nil && ctx.Err() == nil {
			e.halt(height, err)
		}
	}
}

// auditOnce counts the money of the head, whose height it returns.
func (e *Executor) auditOnce(ctx context.Context) (height uint64, err error) {
	defer contain("audit the state", &err)
	height = e.head.Load().height
	snapshot, err := e.layer.OpenSnapshot()
	if err != nil {
		return height, fmt.Errorf("audit the state: %w", err)
	}
	defer func() { _ = snapshot.Close() }() // it was only read
	height = snapshot.Height()
	if err := e.rules.Audit(viewUntil{ctx, snapshot}); err != nil {
		return height, fmt.Errorf("audit the state after block %d: %w", height, err)
	}
	e.stats.audits.Add(1)
	return height, nil
}

// viewUntil is a View that panics with ctx's error once ctx has ended.
type viewUntil struct {
	ctx  context.Context //nolint:containedctx // the View's methods have no context
	view chain.View
}

func (v viewUntil) check() {
	if err := v.ctx.Err(); err != nil {
		panic(err)
	}
}

// Get returns the value of key.
func (v viewUntil) Get(key []byte) []byte {
	v.check()
	return v.view.Get(key)
}

// Range yields what the view does.
func (v viewUntil) Range(prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for key, value := range v.view.Range(prefix) {
			v.check()
			if !yield(key, value) {
				return
			}
		}
	}
}
