package comet

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
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
	msgStateSyncFailed  = "State sync failed"
	wrongAppHash        = "wrong Block.Header.AppHash"

	// enginePrefix goes before CometBFT's keys that a line has already.
	enginePrefix = "engine_"
)

// logger is a slog.Handler as CometBFT wants it. CometBFT's info lines come
// several to a block and become debug lines here. Attributes are formatted only
// when a line is written, since With is called on hot paths. No line has a key
// twice: CometBFT's module is engine_module and so on, and of values for one key
// the last counts. A warning or an error that comes again and again, as with each
// vote that cannot be signed, is written once a minute, and at once when it says
// something else.
type logger struct {
	handler slog.Handler
	repeats *repeats // shared by all that With made
	module  string
	keyvals []any
	onError func(msg string, keyvals []any) // sees every line of level error
}

func newLogger(h slog.Handler, onError func(msg string, keyvals []any)) cmtlog.Logger {
	return &logger{handler: h, onError: onError, repeats: &repeats{lines: make(map[string]repeated)}}
}

func (l *logger) Debug(msg string, keyvals ...any) { l.log(levelTrace, msg, keyvals) }
func (l *logger) Info(msg string, keyvals ...any)  { l.log(slog.LevelDebug, msg, keyvals) }
func (l *logger) Warn(msg string, keyvals ...any)  { l.log(slog.LevelWarn, msg, keyvals) }

func (l *logger) Error(msg string, keyvals ...any) {
	l.onError(msg, keyvals)
	l.log(l.errorLevel(msg), msg, keyvals)
}

const (
	// repeatInterval is how often a line that repeats itself is written.
	repeatInterval = time.Minute
	// maxRepeats bounds the lines that are remembered for that.
	maxRepeats = 256
)

// repeats remembers which lines were written lately. It is safe for concurrent use.
type repeats struct {
	mu    sync.Mutex
	lines map[string]repeated
}

type repeated struct {
	written time.Time
	left    int // out since
}

// admit reports whether a line may be written now, and how many like it were left
// out since the last one.
func (r *repeats) admit(line string, now time.Time) (left int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, known := r.lines[line]
	if known && now.Sub(last.written) < repeatInterval {
		last.left++
		r.lines[line] = last
		return 0, false
	}
	if !known && len(r.lines) >= maxRepeats {
		clear(r.lines)
	}
	r.lines[line] = repeated{written: now}
	return last.left, true
}

// shape is an error's text without what differs from one time to the next: words
// with digits, as heights and hashes are.
func shape(text string) string {
	words := strings.Fields(text)
	for i, w := range words {
		if strings.ContainsAny(w, "0123456789") {
			words[i] = "#"
		}
	}
	return strings.Join(words, " ")
}

// errorLevel lowers what CometBFT calls errors and any network does all day.
func (l *logger) errorLevel(msg string) slog.Level {
	switch {
	case msg == msgConsensusFailure:
		return slog.LevelError
	case l.module == "p2p", l.module == "pex", msg == msgStateSyncFailed, strings.HasPrefix(msg, "Stopped accept routine"),
		strings.HasSuffix(msg, "has not been started yet"), msg == "Error stopping consensus state": // a stop while catching up
		return slog.LevelDebug
	case l.module == "mempool", l.module == "blocksync", l.module == "evidence":
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
	now := time.Now()
	r := slog.NewRecord(now, level, msg, 0)
	r.AddAttrs(attrs(l.keyvals, keyvals)...)
	if level >= slog.LevelWarn && msg != msgConsensusFailure {
		left, ok := l.repeats.admit(msg+" "+shape(fmt.Sprint(keyval(keyvals, "err"))), now)
		if !ok {
			return
		}
		if left > 0 {
			r.AddAttrs(slog.Int("repeated", left))
		}
	}
	_ = l.handler.Handle(ctx, r) // nowhere left to report it
}

// attrs joins lists of alternating keys and values.
func attrs(lists ...[]any) []slog.Attr {
	var out []slog.Attr
	for _, kv := range lists {
		for i := 0; i+1 < len(kv); i += 2 {
			a := slog.Attr{Key: logKey(kv[i]), Value: logValue(kv[i+1])}
			if at := slices.IndexFunc(out, func(b slog.Attr) bool { return b.Key == a.Key }); at >= 0 {
				out[at] = a
			} else {
				out = append(out, a)
			}
		}
	}
	return out
}

// logKey is the key that CometBFT passes, unless every line has it already.
func logKey(k any) string {
	key := fmt.Sprint(k)
	switch key {
	case slog.TimeKey, slog.LevelKey, slog.MessageKey, "module", "chain_id":
		return enginePrefix + key
	}
	return key
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
