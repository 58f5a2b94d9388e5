package relay

import (
	"context"
	"log/slog"
	"time"

	"github.com/tributary-network/tributary/ledger"
)

// task is something that is this node's turn at some time, and is not sent twice.
type task struct {
	patience
	hold

	last   uint64   // names what was sent last
	nonces []uint64 // of the records in which it went to main
}

// ready reports whether it is this node's turn to send what has a name and waits, and
// otherwise when to look again. height is of main, at of the chain that it is sent to.
// since is when it could first be carried, if that is known.
func (t *task) ready(r *Relay, what, turn, height, at uint64, since patience) (ok bool, again time.Duration) {
	now := r.cfg.Now()
	if t.what != 0 && t.what == t.last {
		t.what = what // what this node sent has gone on, so it stays in charge until nothing waits
	}
	t.began(what, height, now, r.cfg.Block, since)
	if t.waited(what, height, now, r.cfg.Block) < turn {
		return false, t.left(turn, now, r.cfg.Block)
	}
	ok, again = t.free(at, t.last != what, now)
	if !ok {
		return false, again
	}
	if t.last == what {
		r.counters.Late.Add(1)
	}
	return true, never
}

// done notes that what has a name was sent, and returns when to look whether it came.
func (t *task) done(r *Relay, what, at uint64) time.Duration {
	t.last = what
	now := r.cfg.Now()
	t.sent(at, now, r.cfg.Jitter())
	return t.until.Sub(now)
}

// notes keep a lane from saying the same again and again.
type notes struct{ said map[string]time.Time }

// quiet is for how long the same is not said again.
const quiet = time.Minute

// failed counts a failure, and logs it unless that was done a short time ago.
func (n *notes) failed(r *Relay, what string, id ledger.ChainID, err error) {
	r.counters.Failed.Add(1)
	now := r.cfg.Now()
	if n.said == nil {
		n.said = make(map[string]time.Time)
	}
	if at, ok := n.said[what]; ok && now.Sub(at) < quiet {
		return
	}
	n.said[what] = now
	r.log.LogAttrs(context.Background(), slog.LevelInfo, "relaying failed",
		slog.String("what", what), slog.Uint64("chain", uint64(id)), slog.Any("error", err))
}
