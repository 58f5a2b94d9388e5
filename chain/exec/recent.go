package exec

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// committed returns what is told of the block, always the same.
func (p *prepared) committed() *Committed {
	if p.done != nil {
		return p.done
	}
	b := &Committed{
		Height: p.block.Height, Time: p.block.Time.UnixMilli(), Size: p.size(), Relays: len(p.relays),
		Receipts: p.result.Receipts, Updates: len(p.result.Updates), Body: p.result.Body,
		ResultsRoot: p.result.ResultsRoot, OutboxRoot: p.result.OutboxRoot, UsageRoot: p.result.UsageRoot,
	}
	b.items = 1 + len(b.Receipts) + p.result.Items
	if p.result.Outbox != nil {
		b.outbox, b.Outbox = p.result.Outbox, len(p.result.Outbox.Leaves())
		b.items += outboxItems(b.outbox)
	}
	for i := range b.Receipts {
		b.items += b.Receipts[i].Entries
	}
	p.done = b
	return b
}

// recent keeps the last blocks for subscribers, bounded by number and items. It
// is safe for concurrent use.
type recent struct {
	maxBlocks, maxItems int

	mu      sync.Mutex
	blocks  []*Committed // ascending by height, without gaps
	items   int
	changed chan struct{} // closed at the next block
}

func newRecent(c Config) *recent {
	return &recent{maxBlocks: c.RecentBlocks, maxItems: c.RecentItems, changed: make(chan struct{})}
}

func (r *recent) add(b *Committed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blocks = append(r.blocks, b)
	r.items += b.items
	for len(r.blocks) > 1 && (len(r.blocks) > r.maxBlocks || r.items > r.maxItems) {
		r.items -= r.blocks[0].items
		r.blocks[0] = nil
		r.blocks = r.blocks[1:]
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

// get returns the block at height if it is kept, whether it came before those
// that are kept, and a channel closed when the next block comes.
func (r *recent) get(height uint64) (b *Committed, older bool, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.blocks) == 0 {
		return nil, false, r.changed
	}
	first := r.blocks[0].Height
	switch {
	case height < first:
		return nil, true, r.changed
	case height < first+uint64(len(r.blocks)):
		return r.blocks[height-first], false, r.changed
	}
	return nil, false, r.changed
}

func (r *recent) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.blocks)
}

// GapError says that a subscription cannot go on where it stopped, because the
// index no longer has those blocks.
type GapError struct {
	From, To uint64 // the missing heights, both included
}

// Error names the gap.
func (g *GapError) Error() string {
	return fmt.Sprintf("blocks %d to %d are not in the index", g.From, g.To)
}

// Feed reads the committed blocks in order, each once. It holds nothing
// but its place: a slow reader gets older blocks from the index and delays
// nobody. It is owned by one goroutine.
type Feed struct {
	exec *Executor
	next uint64
}

// Subscribe returns a Feed that begins with the block at height from, or
// with the next one if from is 0.
func (e *Executor) Subscribe(from uint64) *Feed {
	if from == 0 {
		from = e.head.Load().height + 1
	}
	return &Feed{exec: e, next: from}
}

// Height returns the height of the block that Next will return.
func (s *Feed) Height() uint64 { return s.next }

// Next waits for the next block. Its errors are ctx's, why the chain halted,
// and a GapError, after which the subscription goes on behind the gap.
func (s *Feed) Next(ctx context.Context) (*Committed, error) {
	for {
		b, older, changed := s.exec.recent.get(s.next)
		if b == nil && (older || s.next <= s.exec.head.Load().height) {
			return s.catchUp()
		}
		if b != nil {
			s.next++
			return b, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.exec.halted:
			return nil, s.exec.haltErr
		}
	}
}

// catchUp reads the next block from the index.
func (s *Feed) catchUp() (*Committed, error) {
	b, err := s.exec.Committed(s.next)
	if errors.Is(err, ErrPruned) {
		gap := &GapError{From: s.next, To: s.next}
		if first := s.exec.KeptFrom(); first > s.next {
			gap.To = first - 1
		}
		s.next = gap.To + 1
		return nil, gap
	}
	if err != nil {
		return nil, err
	}
	s.next++
	return b, nil
}
