package exec

import (
	"cmp"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// Total is something of a channel that only grows: what is booked on a lane.
type Total struct {
	Channel ledger.Hash
	Lane    uint8
}

// Raise is what a record does, or would do, to a total.
type Raise struct {
	Total

	From, To uint64
}

// Raises are what a record would do by the state that it was checked against. Where
// records cost nothing they have to be worth their places by what they raise, beyond
// what those that wait raise already.
type Raises struct {
	List  []Raise
	Least uint64 // a total rises by as much at least, or not at all
	Want  uint64 // how much the record has to raise in all
}

// raised are the raises of the records that a pool holds. Who leaves takes its raises
// with it, so nothing that was refused or dropped stands in the way of others. The pool's
// mu guards it.
type raised struct {
	totals map[Total][]standing // ascending; none is empty
	left   map[Slot]int         // how many raises of the record may have an effect still
}

// standing is up to where a record raises a total.
type standing struct {
	to   uint64
	slot Slot
}

func newRaised() raised {
	return raised{totals: make(map[Total][]standing), left: make(map[Slot]int)}
}

func (s standing) compare(other standing) int {
	return cmp.Or(cmp.Compare(s.to, other.to), s.slot.Signer.Compare(other.slot.Signer), cmp.Compare(s.slot.Nonce, other.slot.Nonce))
}

// suffice reports whether r raises as much as it has to beyond what is held, and beyond
// ahead, which it then adds to. nil suffices always.
func (h *raised) suffice(r *Raises, ahead map[Total]uint64) bool {
	if r == nil {
		return true
	}
	var gain uint64
	for i := range r.List {
		raise := &r.List[i]
		from := max(raise.From, ahead[raise.Total])
		if list := h.totals[raise.Total]; len(list) > 0 {
			from = max(from, list[len(list)-1].to)
		}
		if raise.To >= from+r.Least {
			gain += raise.To - from
		}
	}
	if gain < r.Want {
		return false
	}
	for i := range r.List {
		if raise := &r.List[i]; ahead != nil {
			ahead[raise.Total] = max(ahead[raise.Total], raise.To)
		}
	}
	return true
}

// add enters the raises of the record of a slot, which may be nil.
func (h *raised) add(s Slot, r *Raises) {
	if r == nil {
		return
	}
	for i := range r.List {
		of := r.List[i].Total
		one := standing{r.List[i].To, s}
		if at, there := slices.BinarySearchFunc(h.totals[of], one, standing.compare); !there {
			h.totals[of] = slices.Insert(h.totals[of], at, one)
			h.left[s]++
		}
	}
}

// remove undoes add.
func (h *raised) remove(s Slot, r *Raises) {
	if r == nil {
		return
	}
	for i := range r.List {
		of := r.List[i].Total
		if at, there := slices.BinarySearchFunc(h.totals[of], standing{r.List[i].To, s}, standing.compare); there {
			h.set(of, slices.Delete(h.totals[of], at, at+1))
		}
	}
	delete(h.left, s)
}

func (h *raised) set(of Total, list []standing) {
	if len(list) == 0 {
		delete(h.totals, of)
	} else {
		h.totals[of] = list
	}
}

// executed takes out what has no effect any more because a block raised a total, by least
// at a time, and returns the slots of the records that have none at all: in time
// proportional to what it takes out.
func (h *raised) executed(r *Raise, least uint64) (stale []Slot) {
	list := h.totals[r.Total]
	n := 0
	for n < len(list) && list[n].to < r.To+least {
		s := list[n].slot
		if h.left[s]--; h.left[s] == 0 {
			stale = append(stale, s)
		}
		n++
	}
	if n > 0 {
		h.set(r.Total, slices.Delete(list, 0, n))
	}
	return stale
}

// dropStale gives up those of this node's records that raise nothing since blocks came
// after their check. Without an answer of the store they stay.
func (e *Executor) dropStale(records []*record) {
	head := e.head.Load().height
	if !slices.ContainsFunc(records, func(r *record) bool { return r.raises != nil && r.head < head }) {
		return
	}
	var stale []ledger.Hash
	err := e.layer.Read(func(v chain.View) error {
		v = newMemoView(v)
		for _, r := range records {
			if r.raises == nil || r.head == head {
				continue
			}
			_, rule := e.rules.Idle(v, head+1, &r.tx, 0, 0)
			if rule != nil && (rule.Code == chain.CodeStale || rule.Code == chain.CodeAdvanceTooSmall) {
				stale = append(stale, r.tx.Hash)
			}
		}
		return nil
	})
	if err == nil {
		e.stats.dropped.Add(uint64(e.tracker.stale(stale))) //nolint:gosec // a count
	}
}
