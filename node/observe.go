package node

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/comet"
)

// observe counts what blocks did, for the metrics, until ctx ends or the chain
// halts.
func (n *Node) observe(ctx context.Context) error {
	blocks := n.exec.Subscribe(0)
	var last time.Time
	commits := n.exec.Stats().CommitNanos
	for {
		b, err := blocks.Next(ctx)
		if _, gap := errors.AsType[*exec.GapError](err); gap {
			continue
		}
		if err != nil {
			if ctx.Err() == nil {
				n.log.ErrorContext(ctx, "blocks are not counted any more", slog.Any("err", err))
			}
			n.countHalt(err)
			<-ctx.Done() // at the latest now
			return nil
		}
		n.keepHeight(ctx, b.Height)
		at, nanos := time.UnixMilli(b.Time), n.exec.Stats().CommitNanos
		interval := time.Duration(0)
		if !last.IsZero() {
			interval = at.Sub(last)
		}
		n.counts.Committed(interval, time.Duration(nanos-commits))
		n.counts.Checked(true) // or it would not have been committed
		n.countEntries(b)
		last, commits = at, nanos
	}
}

// keepHeight remembers beside the store how high it is.
func (n *Node) keepHeight(ctx context.Context, height uint64) {
	if n.height == nil {
		return
	}
	if err := n.height.set(height); err != nil {
		n.log.LogAttrs(ctx, slog.LevelWarn, "a store that falls back would not be noticed", slog.Any("err", err))
	}
}

func (n *Node) countEntries(b *exec.BlockResult) {
	codes := map[string]int{}
	for _, r := range b.Receipts {
		for _, e := range r.Entries {
			codes[e.Code.String()]++
		}
	}
	for code, count := range codes {
		n.counts.Entries(code, count)
	}
}

// countHalt counts what a chain halted on.
func (n *Node) countHalt(err error) {
	if errors.Is(err, settlement.ErrNotConserved) {
		n.counts.Checked(false)
	}
}

// reportHalt tells once why the chain halted on this node.
func (n *Node) reportHalt(ctx context.Context, s *sample) {
	halt := s.chain.Halt
	if halt.Cause == comet.HaltAppHash {
		n.counts.HashMismatch()
	}
	n.log.LogAttrs(ctx, slog.LevelError, "the main chain is halted on this node; the process stays so that it can be examined",
		slog.Uint64("height", halt.Height), slog.String("reason", halt.Reason))
}
