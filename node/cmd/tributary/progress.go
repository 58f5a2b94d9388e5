package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/node"
)

const (
	// barWidth is how many characters a bar has between its brackets.
	barWidth = 30
	// barInterval is how often the bar of a node that starts is drawn anew.
	barInterval = time.Second
)

// progress is how far a node that catches up is.
type progress struct {
	client.SyncProgress

	peers uint32
}

// share returns how much is done, 0 to 1, and ok=false if that cannot be told.
func (p progress) share() (done float64, ok bool) {
	part, whole := float64(p.Height), float64(p.Target)
	if p.Snapshot {
		part, whole = float64(p.Chunks), float64(p.TotalChunks)
	}
	if whole == 0 {
		return 0, false
	}
	return min(part/whole, 1), true
}

// String says it in one line.
func (p progress) String() string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch {
	case p.Snapshot && p.TotalChunks == 0:
		add("looking for a snapshot among %s", plural(int(p.peers), "peer"))
	case p.Snapshot:
		add("snapshot of height %d, chunk %d of %d", p.Height, p.Chunks, p.TotalChunks)
	case p.Target > p.Height:
		add("block %d of %d", p.Height, p.Target)
	case p.Target > 0 || p.Stalled:
		add("block %d", p.Height)
	default:
		add("block %d, no height known yet from %s", p.Height, plural(int(p.peers), "peer"))
	}
	if done, ok := p.share(); ok {
		parts[0] += fmt.Sprintf(" (%.0f %%)", 100*done)
	}
	if !p.Snapshot && p.BlocksPerSecond > 0 {
		add("%.1f blocks/s", p.BlocksPerSecond)
	}
	if p.TimeLeft > 0 {
		add("%v left", p.TimeLeft.Round(time.Second))
	}
	if p.Note != "" {
		add("%s", p.Note)
	}
	switch {
	case p.Stalled && p.Note != "":
		add("stalled for %v", p.Idle.Round(time.Second))
	case p.Stalled:
		add("stalled for %v: %s", p.Idle.Round(time.Second), p.hint())
	}
	return strings.Join(parts, ", ")
}

// hint says what is likely to be wrong when nothing goes on.
func (p progress) hint() string {
	switch {
	case p.peers == 0:
		return "no peer is connected; check p2p.persistent_peers"
	case p.Snapshot && p.TotalChunks == 0:
		return "no peer has a snapshot that the headers confirm; check p2p.persistent_peers and state_sync.sources"
	case p.Snapshot:
		return "no peer gives the next chunk; check p2p.persistent_peers"
	case p.Target <= p.Height:
		return fmt.Sprintf("no peer has blocks above height %d; check p2p.persistent_peers", p.Height)
	default:
		return fmt.Sprintf("no peer gives block %d, which they may no longer have; check p2p.persistent_peers, or join by a snapshot: state_sync", p.Height+1)
	}
}

// bar draws it.
func (p progress) bar() string {
	done, ok := p.share()
	if !ok {
		return "[" + strings.Repeat(" ", barWidth) + "] " + p.String()
	}
	full := int(done * barWidth)
	return "[" + strings.Repeat("=", full) + strings.Repeat(" ", barWidth-full) + "] " + p.String()
}

// bottomLine is a terminal with a line at its bottom, below everything else that is
// written. It is safe for concurrent use.
type bottomLine struct {
	out io.Writer

	mu   sync.Mutex
	line string
}

const clearLine = "\r\x1b[K"

// Write writes above the line.
func (b *bottomLine) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.line == "" {
		return b.out.Write(text)
	}
	if _, err := io.WriteString(b.out, clearLine+string(text)+b.line); err != nil {
		return 0, err
	}
	return len(text), nil
}

// set replaces the line, which must fit the terminal; "" is none.
func (b *bottomLine) set(line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if line != b.line {
		b.line = line
		_, _ = io.WriteString(b.out, clearLine+line) // it is drawn again in a moment
	}
}

// follow draws a bar while a node catches up, until ctx ends.
func (b *bottomLine) follow(ctx context.Context, n *node.Node) {
	tick := time.NewTicker(barInterval)
	defer tick.Stop()
	defer b.set("")
	for {
		line := ""
		if info := n.Chain(); info.Sync != nil {
			p := progress{client.SyncProgress(*info.Sync), uint32(info.Peers)} //nolint:gosec // bounded by the settings
			line = cut(p.bar(), b.width())
		}
		b.set(line)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// width returns how many characters fit into the line.
func (b *bottomLine) width() int {
	const usual = 80
	if f, ok := b.out.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 { //nolint:gosec // a small number
			return width
		}
	}
	return usual
}

// cut shortens text, of single bytes, to less than width.
func cut(text string, width int) string {
	if len(text) >= width {
		return text[:max(width-1, 0)]
	}
	return text
}
