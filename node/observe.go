package node

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
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
			n.countHalt(err)
			<-ctx.Done() // at the latest now
			return nil
		}
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
	// Consensus tells of another state root in words only.
	if strings.Contains(halt.Reason, "AppHash") || strings.Contains(halt.Reason, "state differs") {
		n.counts.HashMismatch()
	}
	n.log.LogAttrs(ctx, slog.LevelError, "the main chain is halted on this node; the process stays so that it can be examined",
		slog.Uint64("height", halt.Height), slog.String("reason", halt.Reason))
}
