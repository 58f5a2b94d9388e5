package relay

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// Bounds of what a shard fetches.
const (
	// pullAfter is for how many blocks of main those who run the source have time to bring
	// what it has, before those who run the destination ask for it, one after the other.
	pullAfter = 4 * link.RelayTimeout
	// pullSources is at how many sources a lane looks in a block of main, pullCalls how many
	// outboxes it asks for in a round, and pullTries how often for one if nobody answers.
	pullSources = 16
	pullCalls   = 4
	pullTries   = 4
	// maxPulled is how many outboxes of a source are kept until they are known or too old.
	maxPulled = anchor.Window
)

// errDistant is what a chain that runs elsewhere answers to what only its nodes know.
var errDistant = errors.New("the chain runs elsewhere")

// pullLane fetches what shards that run elsewhere have for one that runs here, if nobody
// brings it. Whether a block has something for others main says; what it has, and for whom,
// is asked of nodes that run the source, and holds if it has the root that is anchored. One
// goroutine owns it.
type pullLane struct {
	shardLane

	far    map[shard.ID]*distant
	height uint64   // of main at the last look
	after  shard.ID // the source that was looked at last
}

// distant is a source that runs elsewhere, as far as its outboxes were fetched. It is a
// Chain without anything else.
type distant struct {
	seen  []glance
	next  uint64 // the height that is fetched next
	head  uint64 // the last one that is old enough
	tries int    // at next
	roots map[uint64]ledger.Hash
	boxes map[uint64]*link.Outbox
}

// glance is how far a source was anchored at a height of main.
type glance struct{ size, main uint64 }

// Read calls f without a state, at the height up to which outboxes were fetched.
func (d *distant) Read(f func(chain.View, uint64) error) error { return f(nil, d.next-1) }

// Certificate has none.
func (d *distant) Certificate(uint64) (cert.Certificate, error) {
	return cert.Certificate{}, errDistant
}

// Outbox returns what was fetched.
func (d *distant) Outbox(height uint64) (box *link.Outbox, ok bool, err error) {
	box, ok = d.boxes[height]
	return box, ok, nil
}

// see notes how far a source is anchored at a height of main, and what of it has been so
// for long enough to be asked for.
func (d *distant) see(row *anchor.State, main, wait uint64) {
	size := row.Tree.Size
	if n := len(d.seen); n == 0 || d.seen[n-1].size < size {
		d.seen = append(d.seen, glance{size, main})
	}
	for len(d.seen) > 0 && d.seen[0].main+wait <= main {
		d.head = max(d.head, d.seen[0].size)
		d.seen = d.seen[1:]
	}
	first := size + 1 - min(size, anchor.Window)
	d.next = max(d.next, first)
	for h := d.next; h <= d.head; h++ {
		if root, ok := row.Outbox(h); ok && !root.IsZero() {
			d.roots[h] = root
		}
	}
	old := func(h uint64) bool { return h < first }
	maps.DeleteFunc(d.roots, func(h uint64, _ ledger.Hash) bool { return old(h) })
	maps.DeleteFunc(d.boxes, func(h uint64, _ *link.Outbox) bool { return old(h) })
}

func (l *pullLane) round(ctx context.Context) time.Duration {
	s, _, ok := l.look()
	if !ok || s.local == nil || l.r.cfg.Remote == nil {
		return never
	}
	if s.height != l.height {
		l.height = s.height
		l.sources(&s)
	}
	again := l.fetch(ctx, &s)
	s.sources, s.courses = make(map[ledger.ChainID]Chain), nil
	for id, d := range l.far {
		if len(d.boxes) > 0 {
			s.sources[id] = d
		}
	}
	links, _ := l.read(&s)
	if len(links) == 0 {
		return again
	}
	if err := l.ask(ctx, &s, links); err != nil {
		return again
	}
	ways := make(map[link.Link]Way, len(links))
	for i, w := range links {
		ways[w] = s.survey.Ways[i]
	}
	for _, id := range slices.Sorted(maps.Keys(l.pairs)) {
		again = sooner(again, l.carryFar(ctx, &s, id, ways))
	}
	return again
}

// carryFar brings what was fetched of one source.
func (l *pullLane) carryFar(ctx context.Context, s *scene, id ledger.ChainID, ways map[link.Link]Way) time.Duration {
	p := l.pairs[id]
	src, err := l.prove(s, id, p)
	if err != nil || s.survey.Ended {
		return never
	}
	provable := func(h uint64) bool { return src.provable(&s.survey, h) }
	load := p.stock.plan(func(w link.Link) (Way, bool) { way, ok := ways[w]; return way, ok }, provable, MaxCuts)
	if len(load.Cuts) == 0 {
		p.reset()
		return never
	}
	what := nameOf(id, &load.Cuts[0])
	ok, again := p.ready(l.r, what, 0, s.height, s.survey.Height, patience{})
	if !ok {
		return again
	}
	l.bring(ctx, s, id, p, src, load.Cuts)
	l.r.counters.Pulled.Add(1)
	return p.done(l.r, what, s.survey.Height)
}

// sources looks at some of the shards that run elsewhere, one part after the other.
func (l *pullLane) sources(s *scene) {
	hosted, _, _ := l.r.shards()
	err := l.r.cfg.Main.Read(func(v chain.View, height uint64) error {
		m, ok := registry.ReadMap(v)
		if !ok {
			return nil
		}
		var ids []shard.ID
		for one := range m.All() {
			if hosted[one.ID] == nil {
				ids = append(ids, one.ID)
			}
		}
		slices.Sort(ids)
		maps.DeleteFunc(l.far, func(id shard.ID, _ *distant) bool { return !slices.Contains(ids, id) })
		at, _ := slices.BinarySearch(ids, l.after+1)
		for i := range min(len(ids), pullSources) {
			id := ids[(at+i)%len(ids)]
			l.after = id
			row, ok := anchor.Read(v, id)
			if !ok {
				continue
			}
			d := l.far[id]
			if d == nil {
				d = &distant{next: row.Tree.Size + 1, roots: make(map[uint64]ledger.Hash), boxes: make(map[uint64]*link.Outbox)}
				l.far[id] = d
			}
			d.see(&row, height, pullAfter+l.turn(s, ledger.MainChain))
		}
		return nil
	})
	if err != nil {
		l.notes.failed(l.r, "main cannot be read", l.id, err)
	}
}

// fetch asks for some outboxes, and returns when to ask for more.
func (l *pullLane) fetch(ctx context.Context, s *scene) time.Duration {
	first, last := spanOf(&s.span)
	calls := 0
	for _, id := range slices.Sorted(maps.Keys(l.far)) {
		for d := l.far[id]; d.next <= d.head; d.next++ {
			root, ok := d.roots[d.next]
			if !ok {
				continue
			}
			if calls++; calls > pullCalls {
				return minBackoff
			}
			box, err := l.r.cfg.Remote.Outbox(ctx, id, d.next, first, last)
			if d.tries++; err != nil && d.tries < pullTries {
				l.notes.failed(l.r, "a shard does not answer", id, err)
				return maxBackoff / 8
			}
			d.tries = 0
			delete(d.roots, d.next)
			switch {
			case box != nil && box.Root() != root:
				l.r.counters.Nonsense.Add(1)
			case box != nil && len(d.boxes) < maxPulled:
				d.boxes[d.next] = box
			}
		}
	}
	return never
}
