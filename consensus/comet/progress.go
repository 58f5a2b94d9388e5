package comet

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// SyncPhase is what a node that catches up is doing.
type SyncPhase uint8

// The phases.
const (
	// SyncNone: the node has caught up.
	SyncNone SyncPhase = iota
	// SyncSnapshot: it restores a snapshot, or looks for one.
	SyncSnapshot
	// SyncBlocks: it fetches and applies blocks.
	SyncBlocks
)

// String names the phase.
func (p SyncPhase) String() string {
	switch p {
	case SyncSnapshot:
		return "snapshot"
	case SyncBlocks:
		return "blocks"
	case SyncNone:
		fallthrough
	default:
		return "none"
	}
}

// SyncStatus is how far a node that catches up has got.
type SyncStatus struct {
	Phase  SyncPhase
	Height uint64 // of the last block applied, or of the snapshot being restored
	Target uint64 // the highest that is known of; 0 before any peer said one
	// Chunks of the snapshot that were taken, and all of them; 0 before it is
	// found.
	Chunks, TotalChunks uint32
	BlocksPerSecond     float64       // over the last half minute or so
	TimeLeft            time.Duration // 0: not known
	Idle                time.Duration // since something was taken; 0 if the node has caught up
	Stalled             bool          // nothing was taken for 30 s
	// Note is what there is to say besides, in one line: that no snapshot was found,
	// that nobody has the blocks this node needs, or that it fetches headers first.
	// Usually empty.
	Note string
}

const (
	progressInterval = time.Second
	// progressMemory is the weight of the past in the speed: about half a minute.
	progressMemory = 0.96
	stalledAfter   = 30 * time.Second
	// progressLog is how often a line tells.
	progressLog = 10 * time.Second
)

// progress follows a node that catches up. It is safe for concurrent use.
type progress struct {
	mu      sync.Mutex
	status  SyncStatus
	speed   float64   // blocks per second
	weight  float64   // of what speed knows, up to 1
	looked  time.Time // at the last look
	height  uint64    // at the last look
	moved   time.Time // when something was taken last
	changed bool      // a chunk was taken since the last look
}

// snapshot notes how much of a snapshot was taken.
func (p *progress) snapshot(height uint64, taken, total uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.Height, p.status.Chunks, p.status.TotalChunks = height, taken, total
	p.changed = true
}

// touch notes that something was taken that is no block.
func (p *progress) touch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed = true
}

// look notes where the node is at now.
func (p *progress) look(now time.Time, phase SyncPhase, height, target uint64, note string) SyncStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.status
	if phase != s.Phase || p.looked.IsZero() {
		p.speed, p.weight, p.moved, p.height = 0, 0, now, height
	} else if step := now.Sub(p.looked).Seconds(); step > 0 && height >= p.height {
		p.speed = progressMemory*p.speed + (1-progressMemory)*float64(height-p.height)/step
		p.weight = progressMemory*p.weight + 1 - progressMemory
	}
	if p.changed || height > p.height {
		p.moved = now
	}
	p.looked, p.height, p.changed = now, height, false
	s.Phase, s.Target, s.Note = phase, max(target, height), ""
	if phase != SyncNone {
		s.Note = note
	}
	if phase != SyncSnapshot {
		s.Height, s.Chunks, s.TotalChunks = height, 0, 0
	}
	s.BlocksPerSecond, s.TimeLeft = 0, 0
	if phase == SyncBlocks && p.weight > 0 {
		s.BlocksPerSecond = p.speed / p.weight
		if left := float64(s.Target - height); s.BlocksPerSecond > 0 {
			s.TimeLeft = time.Duration(min(left/s.BlocksPerSecond, 1e9) * float64(time.Second))
		}
	}
	s.Idle = 0
	if phase != SyncNone {
		s.Idle = now.Sub(p.moved)
	}
	s.Stalled = s.Idle >= stalledAfter
	return *s
}

func (p *progress) get() SyncStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// follow keeps the progress of a running chain until ctx ends, and writes a line
// now and then while it catches up.
func (c *Chain) follow(ctx context.Context) {
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	var told time.Time
	syncing := false
	for {
		now := time.Now()
		status := c.Status()
		s := c.progress.look(now, c.phase(), status.Height, status.NetworkHeight, c.note())
		switch {
		case s.Phase == SyncNone && syncing:
			c.logger.InfoContext(ctx, "caught up", slog.Uint64("height", s.Height))
			syncing = false
		case s.Phase == SyncNone:
		case now.Sub(told) >= progressLog:
			told, syncing = now, true
			c.logger.InfoContext(ctx, "catching up", slog.String("phase", s.Phase.String()),
				slog.Uint64("height", s.Height), slog.Uint64("target", s.Target),
				slog.Uint64("chunks", uint64(s.Chunks)), slog.Uint64("total_chunks", uint64(s.TotalChunks)),
				slog.Float64("blocks_per_second", s.BlocksPerSecond), slog.Duration("time_left", s.TimeLeft.Round(time.Second)),
				slog.Bool("stalled", s.Stalled), slog.String("note", s.Note))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// phase returns what the node is doing.
func (c *Chain) phase() SyncPhase {
	if !c.catchingUp() {
		return SyncNone
	}
	if c.searching.Load() {
		return SyncSnapshot
	}
	return SyncBlocks
}

// catchingUp reports whether the node does not take part in consensus yet, or takes
// part in vain, since the others are ahead and have not kept what it lacks.
func (c *Chain) catchingUp() bool {
	if c.engine.ConsensusReactor().WaitSync() {
		return true
	}
	_, stranded := c.stranded()
	return stranded
}
