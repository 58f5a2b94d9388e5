package shard

import (
	"cmp"
	"fmt"
	"slices"
)

// Request is an operator's wish that a shard splits, or that it merges with its
// sibling. It counts like the wish of the shard itself, before those of loads:
// limits, notice and cooldown hold for it too, and a merge still takes both
// siblings.
type Request struct {
	Kind  Kind // Split or Merge
	Shard ID
}

// Plan returns the changes that loads and requests lead to, all from epoch
// m.Epoch()+Notice on and by service and zone: what Announce takes. It changes
// each zone once at most, and not where a change of that epoch is announced.
//
// A shard wants to split with SplitBlocks heavy blocks, and to merge with
// MergeBlocks light ones. Of what a zone's shards want and may, requests come
// first, then splits, then the shard with more blocks that say so, of a merge the
// fewer of both, then the lower buckets. Where the whole map is nearly full,
// lower services and zones come first.
//
// Loads and requests may be in any order; of shards that are not in m they are
// ignored. A shard has one load at most. Requests that lead to nothing are not
// kept; Check says why.
func Plan(m *Map, loads []Load, requests []Request) []Change {
	b, err := m.book()
	if err != nil { // cannot be: New has checked it
		panic(fmt.Sprintf("plan epoch %d: %v", m.epoch+Notice, err))
	}
	w := wishes{loads: make(map[ID]Load, len(loads)), requests: make(map[Request]bool, len(requests))}
	for _, l := range loads {
		w.loads[l.Shard] = l
	}
	for _, r := range requests {
		w.requests[r] = true
	}
	var plan []Change
	for begin := 0; begin < len(m.shards); {
		p := m.shards[begin].place()
		zone := m.Zone(p.service, p.zone)
		for _, wish := range w.of(zone, m.epoch+Notice) {
			if b.add(m, &wish.change) == nil {
				plan = append(plan, wish.change)
				break
			}
		}
		begin += len(zone)
	}
	return plan
}

// Check returns nil if a request, made now, may be announced in the epoch of m,
// and otherwise an error as Announce does. Of a merge it does not say whether
// the sibling wants it too.
func (m *Map) Check(r Request) error {
	s, ok := m.Find(r.Shard)
	if !ok {
		return fmt.Errorf("shard %d: %w", r.Shard, ErrUnknownShard)
	}
	b, err := m.book()
	if err != nil {
		return err
	}
	c := Change{Kind: r.Kind, At: m.epoch + Notice, Service: s.Service, Zone: s.Zone, Shards: []ID{s.ID}}
	switch r.Kind {
	case Split:
	case Merge:
		low, high, ok := m.siblings(s)
		if !ok {
			return fmt.Errorf("%s: its sibling is split or the zone has one shard: %w", s, ErrNotSiblings)
		}
		c.Shards = []ID{low.ID, high.ID}
	default:
		return fmt.Errorf("a request to %s: splits and merges can be asked for: %w", r.Kind, ErrBadChange)
	}
	return b.add(m, &c)
}

// siblings returns s and its sibling, the lower first, if that is a shard.
func (m *Map) siblings(s Shard) (low, high Shard, ok bool) {
	r, ok := s.Buckets.Sibling()
	if !ok {
		return s, s, false
	}
	id, _ := m.Owner(s.Service, s.Zone, r.First)
	other, _ := m.Find(id)
	if r.First < s.Buckets.First {
		return other, s, other.Buckets == r
	}
	return s, other, other.Buckets == r
}

// wishes are what shards want.
type wishes struct {
	loads    map[ID]Load
	requests map[Request]bool
}

type wish struct {
	change Change
	asked  bool
	blocks int // that say so
	first  Bucket
}

// of returns what the shards of a zone want, what comes first first.
func (w *wishes) of(zone []Shard, at uint64) []wish {
	var list []wish
	for i, s := range zone {
		c := Change{At: at, Service: s.Service, Zone: s.Zone}
		if asked, n := w.requests[Request{Split, s.ID}], w.loads[s.ID].Heavy.Count(); asked || n >= SplitBlocks {
			c.Kind, c.Shards = Split, []ID{s.ID}
			list = append(list, wish{c, asked, n, s.Buckets.First})
		}
		other, ok := s.Buckets.Sibling()
		if !ok || i+1 == len(zone) || zone[i+1].Buckets != other {
			continue
		}
		if lowAsked, low, ok := w.merge(s.ID); ok {
			if highAsked, high, ok := w.merge(zone[i+1].ID); ok {
				c.Kind, c.Shards = Merge, []ID{s.ID, zone[i+1].ID}
				list = append(list, wish{c, lowAsked || highAsked, min(low, high), s.Buckets.First})
			}
		}
	}
	slices.SortFunc(list, func(a, b wish) int {
		return cmp.Or(order(a.asked, b.asked), cmp.Compare(a.change.Kind, b.change.Kind),
			cmp.Compare(b.blocks, a.blocks), cmp.Compare(a.first, b.first))
	})
	return list
}

// merge reports whether a shard wants to merge, because it was asked or by how
// many blocks.
func (w *wishes) merge(id ID) (asked bool, blocks int, ok bool) {
	asked, blocks = w.requests[Request{Merge, id}], w.loads[id].Light.Count()
	return asked, blocks, asked || blocks >= MergeBlocks
}

// order puts true before false.
func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}
