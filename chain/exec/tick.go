package exec

import (
	"context"
	"log/slog"
	"time"

	"github.com/tributary-network/tributary/chain"
)

// needsTick reports whether the chain has to go on to the block at height although
// nobody sends anything.
func (e *Executor) needsTick(v chain.View, height uint64) bool {
	return e.rules.NeedsTick(v, height, e.cfg.WakeWindow)
}

// tick asks for a block whenever the head is older than the tick interval and
// needs one, until ctx ends. All validators ask with the same bytes.
func (e *Executor) tick(ctx context.Context, broadcast func([]byte) error) error {
	timer := time.NewTimer(e.cfg.TickInterval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.moved: // the head did: the interval begins anew
		case <-timer.C:
			if err := e.tickOnce(broadcast); err != nil {
				e.log.DebugContext(ctx, "tick not sent", slog.Any("err", err))
			}
		}
		timer.Reset(e.cfg.TickInterval)
	}
}

func (e *Executor) tickOnce(broadcast func([]byte) error) (err error) {
	defer contain("tick", &err)
	next, needed := e.head.Load().height+1, false
	if next == 1 {
		return nil // the first block comes by itself
	}
	if err := e.layer.Read(func(v chain.View) error {
		needed = e.needsTick(v, next)
		return nil
	}); err != nil || !needed {
		return err
	}
	e.stats.ticks.Add(1)
	return broadcast(chain.EncodeTick(next))
}
