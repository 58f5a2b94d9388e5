package comet

import (
	"context"
	"log/slog"
	"time"
)

const (
	watchInterval   = 250 * time.Millisecond
	trimInterval    = 5 * time.Second
	summaryInterval = 10 * time.Second
	// haltLinger is how long a halted chain stays connected: peers may still
	// need the block that halted it, and the votes for it.
	haltLinger = 3 * time.Second
)

// watch looks after a running chain until ctx ends: heartbeats, pending work,
// the log files, one log line now and then. Soon after a halt it leaves the
// network, so that nothing piles up behind a consensus that reads no more.
func (c *Chain) watch(ctx context.Context) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	var beaten, trimmed, summed time.Time
	var nudged nudges
	var summedHeight int64
	var leave <-chan time.Time
	halted := c.halt.ch
	wal := &trimmer{head: c.cfg.engine().Consensus.WalFile()}
	for {
		select {
		case <-ctx.Done():
			return
		case <-halted:
			c.logger.ErrorContext(ctx, "chain halted", slog.Any("err", c.halt.err()))
			halted, beaten = nil, time.Time{}
			leave = time.After(haltLinger)
		case <-leave:
			c.cancel()
			c.stopEngine()
			return
		case <-ticker.C:
		}
		now := time.Now()
		height, _, _, _, _ := c.head.snapshot()
		c.head.watch(now, c.engine.Mempool().Size())
		c.takeRefused(ctx, height, now)
		c.watchTwins(ctx, now)
		if now.Sub(beaten) >= beatInterval {
			beaten = now
			c.presence.send(height, c.flags())
			c.presence.look()
		}
		if c.announced != nil {
			c.announced.tick()
		}
		if nudged.due(now, c.head.waitedFor(now)) && c.flags()&flagCatchingUp == 0 {
			nudged.sent(now, c.nudge())
		}
		if now.Sub(trimmed) >= trimInterval {
			trimmed = now
			if err := wal.trim(height); err != nil {
				c.logger.WarnContext(ctx, "trim consensus log", slog.Any("err", err))
			}
		}
		if now.Sub(summed) >= summaryInterval && height != summedHeight {
			summed, summedHeight = now, height
			c.logger.InfoContext(ctx, "chain", slog.Int64("height", height), slog.Int("mempool_txs", c.engine.Mempool().Size()),
				slog.Int("peers", c.engine.Switch().Peers().Size()))
		}
	}
}

// flags is what heartbeats say of this node.
func (c *Chain) flags() byte {
	var f byte
	if c.catchingUp() {
		f |= flagCatchingUp
	}
	if settled, _ := c.twins.status(); !settled || c.halt.get() != nil || c.signer.Err() != nil {
		f |= flagNotVoting
	}
	return f
}
