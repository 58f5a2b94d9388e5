package relay

import (
	"github.com/tributary-network/tributary/shard/link"
)

// Bounds of what is carried at once from one chain to another.
const (
	// MaxCuts is how many imports are sent at once.
	MaxCuts = 16
	// cutBytes is the size from which on no leaf is added to an import.
	cutBytes = 128 << 10
)

// Cut is leaves of one block's outbox that go into one import: Begin to End-1 of
// the whole outbox.
type Cut struct {
	Height     uint64
	Begin, End int
	Class      link.Class // of the import: ClassReturn or ClassInbound
}

// overlaps reports whether two cuts have a leaf in common.
func (c Cut) overlaps(o Cut) bool {
	return c.Height == o.Height && c.Begin < o.End && o.Begin < c.End
}

// Load is what a plan found out about a stock.
type Load struct {
	Cuts []Cut // in the order in which they must be sent
	// Waiting are leaves that are wanted and cannot be carried yet: their block is not
	// provable, something has to come before them, or there is no room.
	Waiting int
	// Missing are links of which the destination wants a message that no block that was
	// looked at has, though they have later ones.
	Missing []link.Link
}

// packing is a plan in the making.
type packing struct {
	way      func(link.Link) (Way, bool)
	provable func(height uint64) bool
	limit    int

	best  map[link.Link]uint64 // by way: the newest provable acknowledgement
	state map[link.Link]*progress
	order []link.Link // the keys of state, as they came
	load  Load
}

// progress is where a way is after what was packed.
type progress struct {
	first    uint64 // the message that comes next before anything was packed
	next     uint64 // the message that comes next
	acked    uint64 // of the way back
	sent     uint64 // likewise
	underWay uint64 // likewise, with a bounce for each message
	bytes    uint64
	inbound  bool // an import of ClassInbound has messages of it
	found    bool // message first was seen
	beyond   bool // a later one was
}

// plan chooses what to carry, given where links stand at the destination, as far as that
// is known, and which blocks can be proved there, in at most limit imports, and forgets
// what nobody wants any more. It is a function of the stock and of its arguments.
//
// Of a way messages go in their order, and each once; of its acknowledgements only
// the newest goes. Leaves that stand side by side go together. An import of
// bounces, which comes first in a block, is left for another time if the messages
// before them go now.
func (s *stock) plan(way func(link.Link) (Way, bool), provable func(height uint64) bool, limit int) Load {
	k := packing{way: way, provable: provable, limit: limit, best: map[link.Link]uint64{}, state: map[link.Link]*progress{}}
	for _, p := range s.parcels {
		if !provable(p.height) {
			continue
		}
		for i := range p.leaves {
			if b := &p.leaves[i]; b.ack {
				k.best[b.way] = max(k.best[b.way], b.num)
			}
		}
	}
	kept := s.parcels[:0]
	for _, p := range s.parcels {
		if k.pack(&p) {
			kept = append(kept, p)
		} else {
			s.briefs -= len(p.leaves)
		}
	}
	clear(s.parcels[len(kept):])
	s.parcels = kept
	for _, w := range k.order {
		if st := k.state[w]; st.beyond && !st.found {
			k.load.Missing = append(k.load.Missing, w)
		}
	}
	return k.load
}

// at returns where a way is, nil if that is not known.
func (k *packing) at(w link.Link) *progress {
	p, ok := k.state[w]
	if !ok {
		way, known := k.way(w)
		if !known {
			return nil
		}
		messages, bytes := way.Out.UnderWay()
		p = &progress{
			first: way.In.Next, next: way.In.Next,
			acked: way.Out.Acked, sent: way.Out.Next, underWay: messages, bytes: bytes,
		}
		k.state[w] = p
		k.order = append(k.order, w)
	}
	return p
}

// verdict is what a plan makes of a leaf.
type verdict uint8

const (
	old   verdict = iota // the destination has it, or never takes it
	ride                 // an acknowledgement that adds nothing: it may go along
	later                // wanted, but not now
	now
)

// pack cuts what is wanted of a parcel and reports whether anything of it still is.
func (k *packing) pack(p *parcel) (wanted bool) {
	provable := k.provable(p.height)
	for i := 0; i < len(p.leaves); {
		v := k.judge(&p.leaves[i], provable, nil)
		switch v {
		case later:
			wanted = true
			k.load.Waiting++
			i++
		case now:
			wanted = true
			i = k.cut(p, i)
		default:
			i++
		}
	}
	return wanted
}

// tentative is how far the messages of a way are in a cut that is being made.
type tentative struct{ messages, bytes uint64 }

// judge says whether a leaf is wanted, after what was packed and what is in run.
func (k *packing) judge(b *brief, provable bool, run map[link.Link]tentative) verdict {
	st := k.at(b.way)
	if st == nil {
		return later
	}
	if b.ack {
		switch {
		case b.num > st.sent:
			return old // never sent: its committee lies
		case b.num <= st.acked:
			return ride
		case !provable || len(k.load.Cuts) >= k.limit:
			return later
		case b.num < k.best[b.way]:
			return ride
		}
		return now
	}
	st.found = st.found || b.num == st.first
	st.beyond = st.beyond || b.num > st.first
	t := run[b.way]
	switch next := st.next + t.messages; {
	case b.num < next:
		return old
	case b.num > next:
		return later
	}
	if !provable || len(k.load.Cuts) >= k.limit {
		return later
	}
	messages, size := st.underWay+t.messages+1, st.bytes+t.bytes+uint64(b.size)
	if !b.back && (messages > link.ReturnCap || size > link.ReturnCapBytes) {
		return later
	}
	return now
}

// cut makes an import of the leaves of p from i on and returns where it ends.
func (k *packing) cut(p *parcel, i int) (end int) {
	run := map[link.Link]tentative{}
	class, size, last := link.ClassReturn, 0, i
	j := i
	for ; j < len(p.leaves) && j-i < link.MaxImportLeaves; j++ {
		b := &p.leaves[j]
		if size > 0 && size+leafFrame+b.size > cutBytes {
			break
		}
		v := k.judge(b, true, run)
		if v != now && v != ride {
			break
		}
		size += leafFrame + b.size
		if v == ride {
			continue
		}
		last = j
		if b.ack {
			continue
		}
		t := run[b.way]
		t.messages++
		if !b.back {
			t.bytes += uint64(b.size)
			class = link.ClassInbound
		}
		run[b.way] = t
	}
	if class == link.ClassReturn && k.inverted(run) {
		k.load.Waiting += last + 1 - i
		return last + 1
	}
	for j := i; j <= last; j++ {
		if b := &p.leaves[j]; b.ack {
			st := k.at(b.way)
			st.acked = max(st.acked, b.num)
		}
	}
	for w, t := range run {
		st := k.at(w)
		st.next += t.messages
		st.underWay += t.messages
		st.bytes += t.bytes
		st.inbound = st.inbound || class == link.ClassInbound
	}
	k.load.Cuts = append(k.load.Cuts, Cut{Height: p.height, Begin: p.begin + i, End: p.begin + last + 1, Class: class})
	return last + 1
}

// inverted reports whether messages of a run come after others of the same way that
// a block would take later.
func (k *packing) inverted(run map[link.Link]tentative) bool {
	for w := range run {
		if k.at(w).inbound {
			return true
		}
	}
	return false
}
