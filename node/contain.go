package node

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// contained runs a part of a chain, or of the node, and makes an error of a panic, so that
// it ends what it is a part of and not the process, where other chains run.
func contained(log *slog.Logger, part string, run func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: panic: %v", part, r)
			log.Error("a part of the node panicked", slog.String("part", part), slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
		}
	}()
	return run()
}

// partRest is how long a part of the node rests that panicked.
const partRest = 10 * time.Second

// lasting runs what chains need beside them until it is over, or ctx ends. Each time that it
// panics it begins again after a rest: what it found in a state, or was told by others, may
// be different then.
func lasting(ctx context.Context, log *slog.Logger, part string, run func(context.Context) error) {
	for contained(log, part, func() error { return run(ctx) }) != nil {
		if !pause(ctx, partRest) {
			return
		}
	}
}
