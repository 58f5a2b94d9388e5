package relay

import (
	"cmp"
	"slices"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/shard/link"
)

// Bounds of what is remembered of the outboxes of one chain for another.
const (
	// MaxParcels is how many blocks with something for a destination are looked at
	// together, and MaxBriefs how many leaves, but for the last block's.
	MaxParcels = 1_024
	MaxBriefs  = 1 << 15
	// MaxBack is how many blocks a relay that begins looks back. Whatever is older and
	// was never carried is listed again (link.Context.Relist).
	MaxBack = 2_048
	// readStep is how many outboxes are read at once.
	readStep = 512
	// maxSought is how many blocks beyond those are looked at for what is wanted first, if
	// nothing that is remembered can be carried.
	maxSought = 64
)

// Way is where the link from a place to another stands at its destination, and the
// link back, which is all that says which leaves the destination wants.
type Way struct {
	In  link.Inbound  // of the link
	Out link.Outbound // of its reverse
}

// WayAt returns the way of a link at its destination, of whose state v is a view.
func WayAt(v chain.View, l link.Link) Way {
	return Way{In: link.InboundAt(v, l), Out: link.OutboundAt(v, l.Reverse())}
}

// brief is what a plan needs of a leaf.
type brief struct {
	way  link.Link // from where the leaf comes from to where it goes
	num  uint64    // of a message: its number; of an acknowledgement: how many were received
	size int       // bytes, encoded
	ack  bool
	back bool // of a message: it is a bounce
}

func briefOf(l link.Leaf) brief {
	if l.Ack != nil {
		return brief{way: l.Ack.Link.Reverse(), num: l.Ack.Next, size: link.AckSize, ack: true}
	}
	m := l.Message
	return brief{way: m.Link, num: m.Seq, size: m.Size(), back: m.IsBounce()}
}

// leafFrame is what an import has around the encoding of a leaf: its length and kind.
const leafFrame = 5

// parcel is the leaves of one block's outbox that go to one chain.
type parcel struct {
	height uint64
	begin  int // index of leaves[0] in the outbox
	leaves []brief
	since  patience // since when it can be proved; nothing before
}

// stock is what the outboxes of one chain have for another, as far as it may still
// be wanted there. It is bounded: what does not fit is read later.
type stock struct {
	first, last link.Place // the destination's places
	parcels     []parcel   // ascending by height
	briefs      int        // leaves in all of them
	next        uint64     // height of the outbox that is read next
	ahead       uint64     // up to here blocks from next on were looked at by seek
}

// newStock returns the stock of what a chain, whose last block is head, has for the
// places from first to last.
func newStock(first, last link.Place, head uint64) *stock {
	return &stock{first: first, last: last, next: 1 + head - min(head, MaxBack)}
}

// read looks at the outboxes up to height head, some at a time, and reports whether
// there are more that could be read now. A block whose outbox is gone has nothing:
// what was in it is listed again in time. An error of outbox ends the reading at
// that height, to be tried again.
func (s *stock) read(head uint64, outbox func(height uint64) (box *link.Outbox, ok bool, err error)) (more bool, err error) {
	for range readStep {
		if s.next > head || s.full() {
			return false, nil
		}
		box, ok, err := outbox(s.next)
		if err != nil {
			return false, err
		}
		if p, has := s.parcelOf(s.next, box, ok); has {
			s.add(p)
		}
		s.next++
	}
	return s.next <= head, nil
}

// full reports whether nothing more is read until something is carried or forgotten.
func (s *stock) full() bool { return len(s.parcels) >= MaxParcels || s.briefs >= MaxBriefs }

// seek looks at blocks that a full stock has no room to read, up to height head and some
// at a time, and adds those of which wants a leaf: what is listed again for want of an
// earlier block is in a later one. It adds maxSought at most beyond what makes it full.
func (s *stock) seek(head uint64, outbox func(height uint64) (box *link.Outbox, ok bool, err error), wants func(way link.Link, num uint64, ack bool) bool) error {
	s.ahead = max(s.ahead, s.next)
	for range readStep {
		if s.ahead > head || len(s.parcels) >= MaxParcels+maxSought || s.briefs >= 2*MaxBriefs {
			return nil
		}
		box, ok, err := outbox(s.ahead)
		if err != nil {
			return err
		}
		if p, has := s.parcelOf(s.ahead, box, ok); has {
			for i := range p.leaves {
				if b := &p.leaves[i]; wants(b.way, b.num, b.ack) {
					s.add(p)
					break
				}
			}
		}
		s.ahead++
	}
	return nil
}

// parcelOf returns what an outbox has for the destination, and has=false if that is
// nothing.
func (s *stock) parcelOf(height uint64, box *link.Outbox, ok bool) (p parcel, has bool) {
	if !ok {
		return p, false
	}
	begin, end := box.Span(s.first, s.last)
	if begin == end {
		return p, false
	}
	p = parcel{height: height, begin: begin, leaves: make([]brief, end-begin)}
	for i, l := range box.Leaves()[begin:end] {
		p.leaves[i] = briefOf(l)
	}
	return p, true
}

// add takes a parcel in, unless that of its block is there.
func (s *stock) add(p parcel) {
	i, found := slices.BinarySearchFunc(s.parcels, p.height, func(q parcel, height uint64) int { return cmp.Compare(q.height, height) })
	if found {
		return
	}
	s.parcels = slices.Insert(s.parcels, i, p)
	s.briefs += len(p.leaves)
}

// waits returns since when the block at a height could have been carried, and notes it of
// all that can be proved by now. height is of main.
func (s *stock) waits(at uint64, provable func(uint64) bool, height uint64, now time.Time) (since patience) {
	for i := range s.parcels {
		p := &s.parcels[i]
		if p.since.what == 0 && provable(p.height) {
			p.since = patience{what: 1, since: height, at: now}
		}
		if p.height == at {
			since = p.since
		}
	}
	return since
}

// rewind reads again what comes after a height: the chain goes on from there in another way.
func (s *stock) rewind(height uint64) {
	s.parcels = slices.DeleteFunc(s.parcels, func(p parcel) bool {
		if p.height <= height {
			return false
		}
		s.briefs -= len(p.leaves)
		return true
	})
	s.next, s.ahead = min(s.next, height+1), 0
}

// forget drops blocks that can never be proved any more: what is wanted of them has to be
// listed again.
func (s *stock) forget(gone func(height uint64) bool) {
	s.parcels = slices.DeleteFunc(s.parcels, func(p parcel) bool {
		if !gone(p.height) {
			return false
		}
		s.briefs -= len(p.leaves)
		return true
	})
}

// lose forgets a block whose outbox has gone since it was read. What was in it is listed
// again when it is missed, as if it had never been read.
func (s *stock) lose(height uint64) {
	s.forget(func(h uint64) bool { return h == height })
}

// ways returns the links that the parcels are about, each once, those of the first parcels
// first and at most limit: those whose state at the destination a plan asks for. What is of
// others is left for another time.
func (s *stock) ways(limit int) (list []link.Link) {
	seen := make(map[link.Link]bool)
	for _, p := range s.parcels {
		for i := range p.leaves {
			if w := p.leaves[i].way; !seen[w] {
				if len(list) == limit {
					return list
				}
				seen[w] = true
				list = append(list, w)
			}
		}
	}
	return list
}

// prune forgets messages that their source, of whose state v is a view, knows to have
// arrived.
func (s *stock) prune(v chain.View) {
	acked := make(map[link.Link]uint64)
	kept := s.parcels[:0]
	for _, p := range s.parcels {
		wanted := false
		for i := range p.leaves {
			b := &p.leaves[i]
			if b.ack {
				wanted = true
				continue
			}
			a, ok := acked[b.way]
			if !ok {
				a = link.OutboundAt(v, b.way).Acked
				acked[b.way] = a
			}
			wanted = wanted || b.num >= a
		}
		if wanted {
			kept = append(kept, p)
		} else {
			s.briefs -= len(p.leaves)
		}
	}
	clear(s.parcels[len(kept):])
	s.parcels = kept
}
