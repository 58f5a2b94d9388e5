package node

import (
	"fmt"
	"log/slog"
	"runtime/debug"
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
