package comet

import (
	"context"
	"log/slog"
	"time"

	"github.com/cometbft/cometbft/mempool"
	"github.com/cometbft/cometbft/p2p"
	protomem "github.com/cometbft/cometbft/proto/tendermint/mempool"
)

const (
	watchInterval   = 250 * time.Millisecond
	trimInterval    = 5 * time.Second
	summaryInterval = 10 * time.Second
	// haltLinger is how long a halted chain stays connected: peers may still
	// need the block that halted it, and the votes for it.
	haltLinger = 3 * time.Second
	// nudgeAfter is how long work waits for a block before peers are reminded
	// of it, once in as long.
	nudgeAfter = time.Second
)

// watch looks after a running chain until ctx ends: heartbeats, pending work,
// the log files, one log line now and then. Soon after a halt it leaves the
// network, so that nothing piles up behind a consensus that reads no more.
func (c *Chain) watch(ctx context.Context) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	var beaten, nudged, trimmed, summed time.Time
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
		if now.Sub(nudged) >= nudgeAfter && c.head.waitedFor(now) >= nudgeAfter && c.flags()&flagCatchingUp == 0 {
			nudged = now
			c.nudge()
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

// nudge sends the oldest waiting transaction to all peers once more. CometBFT
// sends each only once, and a peer that is still fetching blocks then throws it
// away; without any transaction it would wait for one for ever, although the
// others need its vote to go on.
func (c *Chain) nudge() {
	txs := c.engine.Mempool().ReapMaxTxs(1)
	if len(txs) == 0 {
		return
	}
	msg := &protomem.Txs{Txs: [][]byte{txs[0]}}
	c.engine.Switch().Peers().ForEach(func(peer p2p.Peer) {
		peer.TrySend(p2p.Envelope{ChannelID: mempool.MempoolChannel, Message: msg})
	})
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
