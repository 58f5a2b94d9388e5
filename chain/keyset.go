package chain

import (
	"slices"
	"strings"
)

// keySet is the ordered set of the keys of pending writes, as far as somebody
// looks at them. Keys of a state begin with a byte that says what they are of; a
// block writes many of few kinds and looks through others, so each kind is set up
// when it is first looked at.
type keySet struct {
	kinds [256]*ordered // by first byte; the empty key is among those of 0
}

func kindOf(key string) byte {
	if key == "" {
		return 0
	}
	return key[0]
}

// note takes in a key that has become one of the writes.
func (s *keySet) note(key string) {
	if k := s.kinds[kindOf(key)]; k != nil {
		k.fresh = append(k.fresh, key)
	}
}

// from returns a function that yields, one a call, the keys of writes that begin
// with prefix, ascending, and ok=false after the last. It may not be called again
// once a key was noted and from called after that.
func (s *keySet) from(prefix string, writes map[string][]byte) func() (key string, ok bool) {
	first, last := 0, len(s.kinds)-1
	if prefix != "" {
		first, last = int(prefix[0]), int(prefix[0])
	}
	s.setUp(first, last, writes)
	next := s.kinds[first].from(prefix)
	return func() (string, bool) {
		key, ok := next()
		for !ok && first < last {
			first++
			next = s.kinds[first].from(prefix)
			key, ok = next()
		}
		return key, ok
	}
}

// setUp sets up what is not set up of the kinds from first to last.
func (s *keySet) setUp(first, last int, writes map[string][]byte) {
	var missing [len(s.kinds)]bool
	some := false
	for i := first; i <= last; i++ {
		if s.kinds[i] == nil {
			s.kinds[i], missing[i], some = new(ordered), true, true
		}
	}
	if !some {
		return
	}
	for key := range writes {
		if kind := kindOf(key); missing[kind] {
			s.note(key)
		}
	}
}

// ordered is an ordered set of keys. New ones are put in their places at the
// next look: a few by search, many by sorting all anew. Those that have a place
// lie in runs of at most runLimit, so that putting one among them moves few others.
type ordered struct {
	runs  [][]string // ascending, none empty
	size  int        // keys in runs
	fresh []string   // not in runs, in the order they came
}

const (
	runLimit = 512
	// Sorting n keys costs about as much as finding the places of n/rebuildShare.
	rebuildShare = 4
)

// settle puts all keys in their places.
func (o *ordered) settle() {
	if len(o.fresh) > o.size/rebuildShare {
		all := slices.Concat(slices.Concat(o.runs...), o.fresh)
		slices.Sort(all)
		o.runs, o.size = o.runs[:0], len(all)
		for run := range slices.Chunk(all, runLimit) {
			o.runs = append(o.runs, run) // it has no room, so to grow it moves out
		}
	} else {
		for _, key := range o.fresh {
			o.insert(key)
		}
	}
	o.fresh = o.fresh[:0]
}

func (o *ordered) insert(key string) {
	at := o.run(key)
	i, _ := slices.BinarySearch(o.runs[at], key)
	run := slices.Insert(o.runs[at], i, key)
	o.runs[at] = run
	o.size++
	if half := len(run) / 2; len(run) > runLimit {
		o.runs[at] = run[:half:half]
		o.runs = slices.Insert(o.runs, at+1, slices.Clone(run[half:]))
	}
}

// run returns the index of the run in which key is or would be. There must be one.
func (o *ordered) run(key string) int {
	i, found := slices.BinarySearchFunc(o.runs, key, func(run []string, key string) int { return strings.Compare(run[0], key) })
	if !found && i > 0 {
		i-- // the last that begins before key
	}
	return i
}

// from is as that of a keySet.
func (o *ordered) from(prefix string) func() (key string, ok bool) {
	o.settle()
	if len(o.runs) == 0 {
		return func() (string, bool) { return "", false }
	}
	at := o.run(prefix)
	i, _ := slices.BinarySearch(o.runs[at], prefix)
	return func() (string, bool) {
		if i == len(o.runs[at]) && at+1 < len(o.runs) {
			at, i = at+1, 0
		}
		if i == len(o.runs[at]) || !strings.HasPrefix(o.runs[at][i], prefix) {
			return "", false
		}
		i++
		return o.runs[at][i-1], true
	}
}
