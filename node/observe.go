package node

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
)

// observe counts what blocks did, for the metrics, until ctx ends or the chain
// halts.
func (h *hosted) observe(ctx context.Context) error {
	blocks := h.exec.Subscribe(0)
	var last time.Time
	commits := h.exec.Stats().CommitNanos
	for {
		b, err := blocks.Next(ctx)
		if _, gap := errors.AsType[*exec.GapError](err); gap {
			continue
		}
		if err != nil {
			if ctx.Err() == nil {
				h.log.ErrorContext(ctx, "blocks are not counted any more", slog.Any("err", err))
			}
			h.countHalt(err)
			<-ctx.Done() // at the latest now
			return nil
		}
		h.keepHeight(ctx, b.Height)
		at, nanos := time.UnixMilli(b.Time), h.exec.Stats().CommitNanos
		interval := time.Duration(0)
		if !last.IsZero() {
			interval = at.Sub(last)
		}
		h.counts.Committed(interval, time.Duration(nanos-commits))
		h.counts.Checked(true) // or it would not have been committed
		h.countEntries(b)
		last, commits = at, nanos
	}
}

// keepHeight remembers beside the store how high it is.
func (h *hosted) keepHeight(ctx context.Context, height uint64) {
	if h.height == nil {
		return
	}
	if err := h.height.set(height); err != nil {
		h.log.LogAttrs(ctx, slog.LevelWarn, "a store that falls back would not be noticed", slog.Any("err", err))
	}
}

func (h *hosted) countEntries(b *exec.Committed) {
	codes := map[string]int{}
	for i := range b.Receipts {
		switch r := b.Receipts[i].Body.(type) {
		case *settlement.Receipt:
			for _, e := range r.Entries {
				codes[e.Code.String()]++
			}
		case *service.Receipt:
			for _, e := range r.Entries {
				codes[e.Code.String()]++
			}
		}
	}
	for code, count := range codes {
		h.counts.Entries(code, count)
	}
}

// countHalt counts what a chain halted on.
func (h *hosted) countHalt(err error) {
	if errors.Is(err, settlement.ErrNotConserved) {
		h.counts.Checked(false)
	}
}
