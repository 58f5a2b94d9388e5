package api

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/ledger"
)

const (
	// updateLife is how long an update that is not acknowledged is kept.
	updateLife = 24 * time.Hour
	// sweepInterval is how often what is old is forgotten, and what is
	// outstanding for longer than overdue is looked up.
	sweepInterval = 5 * time.Second
	overdue       = 10 * time.Second
)

// run follows the chain until ctx ends and tells what became final.
func (c *clients) run(ctx context.Context) error {
	sub := c.cfg.State.Subscribe(0)
	var sweeper sync.WaitGroup
	defer sweeper.Wait()
	sweeper.Go(func() { c.sweepUntil(ctx) })
	for ctx.Err() == nil {
		block, err := sub.Next(ctx)
		var gap *exec.GapError
		switch {
		case err == nil:
			c.settled(block)
		case errors.As(err, &gap): // the sweep finds what was in there
		case ctx.Err() != nil:
			return nil
		default:
			c.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "no more blocks for settlement streams", slog.Any("err", err))
			<-ctx.Done()
		}
	}
	return nil
}

// settled tells whose transactions a committed block has.
func (c *clients) settled(block *exec.BlockResult) {
	for i := range block.Receipts {
		c.lookUp(block.Receipts[i].Hash)
	}
	c.seen.Store(block.Height)
}

// lookUp tells what became of hash to those who wait for it.
func (c *clients) lookUp(hash ledger.Hash) {
	c.mu.Lock()
	waits := len(c.waiting[hash]) > 0
	c.mu.Unlock()
	if !waits {
		return
	}
	s, err := c.cfg.Pool.Status(hash)
	switch {
	case errors.Is(err, exec.ErrUnknown):
		s = exec.Status{Hash: hash, Stage: exec.StageDropped, DropReason: "forgotten by this node"}
	case err != nil: // the sweep looks again
		c.cfg.Log.LogAttrs(context.Background(), slog.LevelError, "transaction not looked up", slog.Any("err", err))
		return
	}
	if s.Stage < exec.StageFinal {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	waiters := c.waiting[hash]
	delete(c.waiting, hash)
	for _, w := range waiters {
		c.noteLocked(w.client, w.seq, &s)
	}
}

func (c *clients) sweepUntil(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.sweep()
		}
	}
}

// sweep forgets what is old and looks up what is overdue.
func (c *clients) sweep() {
	now := c.cfg.Now()
	var late []ledger.Hash
	c.mu.Lock()
	for _, cl := range c.byID {
		if cl.stream == nil && now.Sub(cl.used) > updateLife {
			c.forget(cl)
			continue
		}
		old := 0
		for old < cl.log.len() && now.Unix()-cl.log.at(old).at > int64(updateLife/time.Second) {
			old++
		}
		c.cut(cl, old)
	}
	for hash, ws := range c.waiting {
		if it := ws[0].client.items[ws[0].seq]; now.UnixMilli()-it.born > overdue.Milliseconds() {
			late = append(late, hash)
		}
	}
	c.mu.Unlock()
	for _, hash := range late {
		c.lookUp(hash)
	}
}
