// Package telemetry lets an operator see what a node does: its log, its metrics,
// and whether it lives and is ready.
//
// [NewHandler] is the log: log/slog with a level for each module. [Registry]
// collects the metrics of one node; those of a chain carry the label chain_id.
// Values that exist anyway (heights, sizes, totals) are read when a scrape asks
// for them, one consistent sample per scrape, so that nothing is kept twice and
// nothing goes stale; only what happens (a block, a check) is counted as it
// happens. Labels are bounded: no accounts, peers or free text. [Server] serves
//
//	/livez            the process answers
//	/readyz           the main chain can be relied on; ?verbose says of all which and why
//	/metrics          the metrics, in the format of Prometheus
//
// on loopback, or elsewhere with TLS. Nothing here is global: a process may hold
// several nodes.
package telemetry

import (
	"context"
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"

	"github.com/tributary-network/tributary/node/config"
)

// Log formats; see the setting log.format.
const (
	FormatAuto = "auto"
	FormatText = "text"
	FormatJSON = "json"
)

// ModuleKey is the attribute that names a module. Give it to a logger with With;
// from then on the module's level decides.
const ModuleKey = "module"

// NewHandler returns the handler of a node's log. format is one of the formats
// above; FormatAuto means text if w is a terminal and JSON otherwise.
func NewHandler(w io.Writer, format string, levels config.Levels) slog.Handler {
	lowest := levels.Base
	for _, level := range levels.Modules {
		lowest = min(lowest, level)
	}
	options := &slog.HandlerOptions{Level: lowest}
	var inner slog.Handler = slog.NewJSONHandler(w, &slog.HandlerOptions{Level: lowest, ReplaceAttr: withUnit})
	if format == FormatText || format == FormatAuto && isTerminal(w) {
		inner = slog.NewTextHandler(w, options)
	}
	return &moduleHandler{inner: inner, level: levels.Base, modules: levels.Modules}
}

// withUnit makes JSON show durations as text does, "1.5s": it would write
// nanoseconds, without saying so.
func withUnit(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// moduleHandler passes on the lines at or above the level of the module that its
// logger was given to.
type moduleHandler struct {
	inner   slog.Handler
	level   slog.Level
	modules map[string]slog.Level // not modified
	grouped bool                  // attributes are no longer at the top
}

// Enabled implements slog.Handler.
func (h *moduleHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

// Handle implements slog.Handler.
func (h *moduleHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.inner.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *moduleHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	child := *h
	child.inner = h.inner.WithAttrs(attrs)
	for _, a := range attrs {
		if level, ok := h.modules[a.Value.String()]; ok && a.Key == ModuleKey && !h.grouped {
			child.level = level
		}
	}
	return &child
}

// WithGroup implements slog.Handler.
func (h *moduleHandler) WithGroup(name string) slog.Handler {
	child := *h
	child.inner, child.grouped = h.inner.WithGroup(name), h.grouped || name != ""
	return &child
}
