package comet

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	cmtlog "github.com/cometbft/cometbft/libs/log"
)

const (
	// levelTrace is where CometBFT's debug lines go: several for each message.
	levelTrace = slog.LevelDebug - 4
	// maxLogValue bounds one logged value, in bytes: CometBFT logs whole states.
	maxLogValue = 4 << 10

	msgConsensusFailure = "CONSENSUS FAILURE!!!"
	msgSyncValidation   = "Error in validation"
	wrongAppHash        = "wrong Block.Header.AppHash"
)

// logger is a slog.Handler as CometBFT wants it. CometBFT's info lines come
// several to a block and become debug lines here. Attributes are formatted only
// when a line is written, since With is called on hot paths.
type logger struct {
	handler slog.Handler
	module  string
	keyvals []any
	onError func(msg string, keyvals []any) // sees every line of level error
}

func newLogger(h slog.Handler, onError func(msg string, keyvals []any)) cmtlog.Logger {
	return &logger{handler: h, onError: onError}
}

func (l *logger) Debug(msg string, keyvals ...any) { l.log(levelTrace, msg, keyvals) }
func (l *logger) Info(msg string, keyvals ...any)  { l.log(slog.LevelDebug, msg, keyvals) }
func (l *logger) Warn(msg string, keyvals ...any)  { l.log(slog.LevelWarn, msg, keyvals) }

func (l *logger) Error(msg string, keyvals ...any) {
	l.onError(msg, keyvals)
	l.log(l.errorLevel(msg), msg, keyvals)
}

// errorLevel lowers what CometBFT calls errors and any network does all day.
func (l *logger) errorLevel(msg string) slog.Level {
	switch {
	case msg == msgConsensusFailure:
		return slog.LevelError
	case l.module == "p2p", l.module == "pex", strings.HasPrefix(msg, "Stopped accept routine"):
		return slog.LevelDebug
	case l.module == "mempool", l.module == "blocksync":
		return slog.LevelWarn
	}
	return slog.LevelError
}

func (l *logger) With(keyvals ...any) cmtlog.Logger {
	child := *l
	child.keyvals = append(slices.Clip(l.keyvals), keyvals...)
	for i := 0; i+1 < len(keyvals); i += 2 {
		if keyvals[i] == "module" {
			child.module, _ = keyvals[i+1].(string)
		}
	}
	return &child
}

func (l *logger) log(level slog.Level, msg string, keyvals []any) {
	ctx := context.Background()
	if !l.handler.Enabled(ctx, level) {
		return
	}
	r := slog.NewRecord(time.Now(), level, msg, 0)
	for _, kv := range [][]any{l.keyvals, keyvals} {
		for i := 0; i+1 < len(kv); i += 2 {
			r.AddAttrs(slog.Attr{Key: fmt.Sprint(kv[i]), Value: logValue(kv[i+1])})
		}
	}
	_ = l.handler.Handle(ctx, r) // nowhere left to report it
}

// logValue formats what CometBFT passes, some of it lazily.
func logValue(v any) slog.Value {
	switch v := v.(type) {
	case string:
		return slog.StringValue(clip(v))
	case int:
		return slog.IntValue(v)
	case int64:
		return slog.Int64Value(v)
	case int32:
		return slog.Int64Value(int64(v))
	case uint64:
		return slog.Uint64Value(v)
	case bool:
		return slog.BoolValue(v)
	case time.Duration:
		return slog.DurationValue(v)
	case time.Time:
		return slog.TimeValue(v)
	case []byte:
		return slog.StringValue(clip(hex.EncodeToString(v)))
	}
	return slog.StringValue(clip(fmt.Sprint(v))) // errors and Stringers, nil ones too
}

func clip(s string) string {
	if len(s) > maxLogValue {
		return s[:maxLogValue] + "..."
	}
	return s
}

// keyval returns the value of key in alternating keys and values.
func keyval(keyvals []any, key string) any {
	for i := 0; i+1 < len(keyvals); i += 2 {
		if keyvals[i] == key {
			return keyvals[i+1]
		}
	}
	return nil
}
