package exec

import (
	"bytes"
	"context"
	"hash/maphash"
	"log/slog"
	"sync"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/statetree"
)

const (
	// maxRelays is how many relays wait at most.
	maxRelays = 512
	// maxRelayAge is for how many blocks one waits at most: whoever carries it looks again
	// what is wanted.
	maxRelayAge = 64
)

// relayLane holds the relays that passed Check and are not committed, in the order in
// which they came: each applies after those before it. Like the pool it gives nothing
// away but by a commit. After each block all that are left are tried again, when the lane
// is used next, and those that do not apply any more are dropped. It is safe for
// concurrent use.
type relayLane struct {
	rules    Rules
	layer    *layer.Settlement
	log      *slog.Logger
	maxBytes int64
	seed     maphash.Seed

	mu      sync.Mutex
	waiting []*relay
	bytes   int64
	dropped uint64 // ever

	// ended says that Run is over, so that nothing of the store may be held any more.
	ended bool
	// The trial that those in waiting have passed, nil if it has to begin anew.
	trial Trial
	state *statetree.Snapshot // what trial reads; nil like it
}

// relay is a relay that waits. Its raw bytes do not change.
type relay struct {
	raw     []byte // the bundle
	payload []byte // of raw
	key     uint64
	since   uint64 // height of the head when it came
	blamed  uint64 // height of a block with it that did not apply; 0 if there was none
}

func newRelayLane(c Config, rules Rules, l *layer.Settlement, log *slog.Logger) *relayLane {
	return &relayLane{
		rules: rules, layer: l, log: log,
		maxBytes: max(c.PoolBytes/relayShare, chain.MaxBundleSize), seed: maphash.MakeSeed(),
	}
}

// relayShare is the part of the pool's bytes that relays have on a chain that takes any.
const relayShare = 2

// find returns the place of the relay of these bytes, or -1. The caller holds mu.
func (l *relayLane) find(raw []byte) int {
	key := maphash.Bytes(l.seed, raw)
	for i, r := range l.waiting {
		if r.key == key && bytes.Equal(r.raw, raw) {
			return i
		}
	}
	return -1
}

// has reports whether the relay of these bytes waits, and may still.
func (l *relayLane) has(raw []byte) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return false, nil
	}
	if err := l.begin(); err != nil {
		return false, err
	}
	return l.find(raw) >= 0, nil
}

// add takes in a relay, whose bytes it keeps, and reports whether it is new here. One that
// waits already is no error. It refuses what does not apply after all that wait, with the
// rule; and with a BusyError what there is no room for.
func (l *relayLane) add(raw []byte) (fresh bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.begin(); err != nil {
		return false, err
	}
	if l.find(raw) >= 0 {
		return false, nil
	}
	if len(l.waiting) >= maxRelays || l.bytes+int64(len(raw)) > l.maxBytes {
		return false, &BusyError{Reason: ErrPoolFull, RetryAfter: retryFull}
	}
	r := &relay{raw: raw, payload: raw[1:], key: maphash.Bytes(l.seed, raw), since: l.state.Height()}
	if err := l.trial.Try(r.payload); err != nil {
		return false, err
	}
	l.waiting, l.bytes = append(l.waiting, r), l.bytes+int64(len(raw))
	return true, nil
}

// begin makes trial one of the block after the head, and drops what does not apply any
// more. The caller holds mu.
func (l *relayLane) begin() error {
	if l.trial != nil && l.state.Height() == l.layer.Height() {
		return nil
	}
	l.end()
	if l.ended {
		return ErrNotRunning
	}
	state, err := l.layer.OpenSnapshot()
	if err != nil {
		return err
	}
	l.state = state
	height := state.Height()
	l.trial = l.rules.Trial(state, height+1)
	kept := l.waiting[:0]
	for _, r := range l.waiting {
		err := l.trial.Try(r.payload)
		if err == nil && height < r.since+maxRelayAge {
			kept = append(kept, r)
			continue
		}
		l.dropped++
		l.bytes -= int64(len(r.raw))
		l.log.Debug("relay dropped", slog.Uint64("height", height), slog.Int("bytes", len(r.raw)), slog.Any("err", err))
	}
	clear(l.waiting[len(kept):])
	l.waiting = kept
	return nil
}

// setOpen begins or ends to hold a state for trials.
func (l *relayLane) setOpen(open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended = !open; l.ended {
		l.end()
	}
}

// end gives the trial up. The caller holds mu.
func (l *relayLane) end() {
	if l.state != nil {
		_ = l.state.Close() // it was only read
	}
	l.trial, l.state = nil, nil
}

// committed takes out what a block that is now the head brought.
func (l *relayLane) committed(raw [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
	if len(l.waiting) == 0 {
		return
	}
	for _, bundle := range raw {
		if i := l.find(bundle); i >= 0 {
			l.bytes -= int64(len(l.waiting[i].raw))
			l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
		}
	}
}

// blame leaves the relays of a block at height that did not apply out of what this node
// proposes for that height, so that it does not propose the same again.
func (l *relayLane) blame(height uint64, raw [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, bundle := range raw {
		if i := l.find(bundle); i >= 0 {
			l.waiting[i].blamed = height
		}
	}
}

// list returns the relays that may be in the block at height, in the order in which they
// came.
func (l *relayLane) list(height uint64) ([]*relay, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return nil, nil
	}
	if err := l.begin(); err != nil {
		return nil, err
	}
	var list []*relay
	for _, r := range l.waiting {
		if r.blamed != height {
			list = append(list, r)
		}
	}
	return list, nil
}

// usage returns how many relays wait, their bytes, and how many were ever dropped.
func (l *relayLane) usage() (relays int, size int64, dropped uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting), l.bytes, l.dropped
}

// SubmitRelay checks the payload of a relay against the head and the relays that wait, and
// hands it to consensus. One that waits already is no error. payload must not be modified
// afterwards.
//
// Errors: a *chain.RuleError, or one that wraps it, if it does not apply: also if another
// relay or the head brought the same; a BusyError; ErrNotSynced, ErrNotRunning, ErrHalted.
func (e *Executor) SubmitRelay(_ context.Context, payload []byte) (err error) {
	defer contain("check a relay", &err)
	if err := e.ready(); err != nil {
		return err
	}
	switch {
	case !e.traits.Relays:
		return chain.Refuse(chain.CodeInvalidValue, "this chain takes no relays: what is carried to it is signed")
	case len(payload) == 0 || len(payload) > chain.MaxTxSize:
		return chain.Refuse(chain.CodeMalformed, "relay of %d bytes, want 1 to %d", len(payload), chain.MaxTxSize)
	}
	b := &bundle{raw: chain.EncodeRelay(payload)}
	b.relay, b.urgent, b.class = b.raw[1:], true, classUrgent
	fresh, err := e.relays.add(b.raw)
	if err == nil && fresh {
		e.bundler.relay(b)
	}
	return err
}

// checkRelay is Check for the bundle of a relay, on a chain that takes any.
func (e *Executor) checkRelay(raw []byte, recheck bool) (err error) {
	defer contain("check a relay", &err)
	if recheck {
		waits, err := e.relays.has(raw)
		if err != nil || waits {
			return err
		}
		return refused(chain.Refuse(chain.CodeExpired, "the relay does not apply any more"))
	}
	if _, err := chain.DecodeBundle(raw); err != nil {
		return refused(err)
	}
	if waits, err := e.relays.has(raw); err != nil || waits {
		return err
	}
	e.stats.checks.Add(1)
	_, err = e.relays.add(bytes.Clone(raw))
	if rule := ruleOf(err); rule != nil {
		e.stats.checksRefused.Add(1)
		return &RefusedError{Rule: rule}
	}
	return err
}

// planRelays returns the relays of the block at height as bundles, in its order, with room
// for so many bytes of bundles, of which users are wanted by records.
func (e *Executor) planRelays(height uint64, users, room int64) ([][]byte, error) {
	list, err := e.relays.list(height)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	payloads := make([][]byte, len(list))
	for i, r := range list {
		payloads[i] = r.payload
	}
	var planned [][]byte
	err = e.layer.Read(func(v chain.View) error {
		for _, i := range e.rules.PlanRelays(v, height, payloads, users, room) {
			planned = append(planned, list[i].raw)
		}
		return nil
	})
	return planned, err
}

// takesRecords reports whether records may be in the block at height.
func (e *Executor) takesRecords(height uint64) (takes bool, err error) {
	err = e.layer.Read(func(v chain.View) error {
		takes = e.rules.TakesRecords(v, height) == nil
		return nil
	})
	return takes, err
}
