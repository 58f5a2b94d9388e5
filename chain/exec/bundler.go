package exec

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/shard/link"
)

const (
	// retryBroadcast is the first pause after a broadcast that failed; it
	// doubles up to maxRetryBroadcast.
	retryBroadcast    = 50 * time.Millisecond
	maxRetryBroadcast = time.Second
)

// bundler packs checked records and hands the bundles to consensus: urgent
// records in bundles of their own and first, then those for shards in bundles of
// their own. What it holds is bounded by the
// tracker, which every record passes before.
type bundler struct {
	exec  *Executor
	delay time.Duration

	mu     sync.Mutex
	queued []*record
	relays []*bundle     // of others' records, in the pool already
	wake   chan struct{} // capacity 1: something was queued

	// Owned by run.
	urgent, shards, ordinary lane
	pause                    time.Duration // before the next attempt after a failure; 0 if none failed
}

// bundleShare is the part of a block's weight that a bundle of several records
// does not exceed: a sixteenth, so that bundles fill a block well.
const bundleShare = 16

// lane is the records of one kind on their way out.
type lane struct {
	most    int64     // weight of a bundle of several records
	open    []*record // of the bundle being filled
	size    int       // of that bundle in bytes
	weight  int64     // of that bundle
	unsent  []*bundle // full, oldest first
	blocked bool      // the first of unsent failed; wait for the timer
}

func newBundler(e *Executor) *bundler {
	empty := lane{most: e.traits.BlockWeight / bundleShare}
	return &bundler{exec: e, delay: e.cfg.BundleDelay, wake: make(chan struct{}, 1), urgent: empty, shards: empty, ordinary: empty}
}

// push queues a record that the tracker has taken in.
func (b *bundler) push(records ...*record) {
	b.mu.Lock()
	b.queued = append(b.queued, records...)
	b.mu.Unlock()
	signal(b.wake)
}

// relay queues a bundle of this node that is in the pool already, so that its
// peers get it too. It may be lost if too many wait.
func (b *bundler) relay(next *bundle) {
	b.mu.Lock()
	if len(b.relays) < b.exec.cfg.PoolBundles {
		b.relays = append(b.relays, next)
	}
	b.mu.Unlock()
	signal(b.wake)
}

// waiting returns how many records are queued and not packed.
func (b *bundler) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queued)
}

// run packs and sends until ctx ends. The first record after a pause leaves at
// once, and those that follow within the delay leave together.
func (b *bundler) run(ctx context.Context, broadcast func([]byte) error) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	cooling := false // the timer runs
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			cooling, b.urgent.blocked, b.shards.blocked, b.ordinary.blocked = false, false, false, false
		case <-b.wake:
		}
		b.pack()
		if !cooling || b.shards.blocked || b.ordinary.blocked {
			b.urgent.flush()
		}
		if !cooling || b.ordinary.blocked {
			b.shards.flush()
		}
		if !cooling {
			b.ordinary.flush()
		}
		sent := b.urgent.send(b, broadcast)
		sent = b.shards.send(b, broadcast) || sent
		sent = b.ordinary.send(b, broadcast) || sent
		switch {
		case cooling:
		case b.urgent.blocked || b.shards.blocked || b.ordinary.blocked:
			b.pause = min(max(2*b.pause, retryBroadcast), maxRetryBroadcast)
			timer.Reset(b.pause)
			cooling = true
		case sent:
			b.pause = 0
			timer.Reset(b.delay)
			cooling = true
		}
	}
}

// pack moves what is queued into the lanes.
func (b *bundler) pack() {
	b.mu.Lock()
	queued, relays := b.queued, b.relays
	b.queued, b.relays = nil, nil
	b.mu.Unlock()
	for _, r := range relays {
		to := b.lane(r.class)
		if len(to.unsent) < b.exec.cfg.PoolBundles {
			to.unsent = append(to.unsent, r)
		}
	}
	for _, r := range queued {
		b.lane(r.class).add(r)
	}
}

// lane returns the lane of a class.
func (b *bundler) lane(c link.Class) *lane {
	switch c {
	case classUrgent:
		return &b.urgent
	case link.ClassUser:
		return &b.ordinary
	default:
		return &b.shards
	}
}

// add puts r into the open bundle, and closes that one first if r does not fit.
func (l *lane) add(r *record) {
	size := chain.BundleSize(l.size, len(r.tx.Raw))
	if len(l.open) > 0 && (size > chain.BundleTarget || l.weight+r.weight > l.most) {
		l.flush()
		size = chain.BundleSize(0, len(r.tx.Raw))
	}
	l.open, l.size, l.weight = append(l.open, r), size, l.weight+r.weight
	if len(l.open) == chain.BundleRecords || size > chain.BundleTarget {
		l.flush()
	}
}

// flush closes the open bundle.
func (l *lane) flush() {
	if len(l.open) > 0 {
		l.unsent = append(l.unsent, newBundle(l.open))
		l.open, l.size, l.weight = nil, 0, 0
	}
}

// send hands over the lane's bundles, oldest first, until one has to be tried
// again. It reports whether any left.
func (l *lane) send(b *bundler, broadcast func([]byte) error) (sent bool) {
	for len(l.unsent) > 0 && !l.blocked {
		next := b.stillPending(l.unsent[0])
		if next != nil {
			l.unsent[0] = next
			if next.own {
				b.exec.staged.put(next)
			}
			if err := broadcast(next.raw); again(err) {
				b.exec.stats.retries.Add(1)
				l.blocked = true
				return sent
			} else if err != nil { // its records are dead, or pending in other bundles
				b.exec.log.Debug("bundle refused", slog.Int("records", len(next.records)), slog.Any("err", err))
			}
			b.exec.stats.bundles.Add(1)
			sent = true
		}
		l.unsent[0] = nil
		l.unsent = l.unsent[1:]
	}
	return sent
}

// again reports whether a broadcast that returned err should be tried again: all
// but those that Check refused by a rule. Consensus gives errors without a code,
// such as failures of the store, one above codeRetry.
func again(err error) bool {
	var coded interface{ Code() uint32 }
	if errors.As(err, &coded) {
		return coded.Code() >= codeRetry
	}
	return err != nil
}

// stillPending returns the bundle without the records that have become final or
// were given up, nil if none is left. A relayed one goes as long as it is in the
// pool.
func (b *bundler) stillPending(next *bundle) *bundle {
	if next.relay != nil {
		if waits, err := b.exec.relays.has(next.raw); err != nil || !waits {
			return nil // without an answer of the store nothing gets into a block anyway
		}
		return next
	}
	if !next.own {
		return b.exec.pool.find(next.raw)
	}
	b.exec.dropStale(next.records)
	var keep []*record
	for _, r := range next.records {
		if b.exec.tracker.isPending(r.tx.Hash) {
			keep = append(keep, r)
		}
	}
	switch len(keep) {
	case len(next.records):
		return next
	case 0:
		return nil
	default:
		return newBundle(keep)
	}
}
