package anchor

import "slices"

// end notes that the present generation ends, if anything of it is anchored. It does not
// change the memory behind s.Ends.
func (s *State) end() {
	if s.Height() == s.Resumed {
		return
	}
	keep := s.Ends[max(0, len(s.Ends)+1-MaxEnds):]
	s.Ends = append(slices.Clone(keep), End{s.Generation, s.Height()})
}

// Keeps reports whether what a chain that came to a generation has at a height is shown to
// be anchored, unless two versions of the height were certified within one generation. Of a
// generation from before those in Ends, when there were more than MaxEnds, it is not shown.
func (s *State) Keeps(generation uint32, height uint64) bool {
	end, ok := s.endOf(generation)
	return ok && height > 0 && height <= end
}

// TakesBack reports whether what a generation certified at a height is not anchored and
// never will be, because another generation goes on from below. It knows all that Keeps
// does, and of a generation before those in Ends that the first of these went on from below
// its own end.
func (s *State) TakesBack(generation uint32, height uint64) bool {
	if generation >= s.Generation {
		return false
	}
	if end, ok := s.endOf(generation); ok {
		return height > end
	}
	return height >= s.Ends[0].Height
}

// Began returns the height after which a generation went on, 0 if it made height 1; ok is
// false if that is not known: it is to come, or it is from before those in Ends.
func (s *State) Began(generation uint32) (height uint64, ok bool) {
	switch {
	case generation > s.Generation:
		return 0, false
	case generation == 0:
		return 0, true
	default:
		return s.endOf(generation - 1)
	}
}

// endOf returns the last height that is anchored of what a chain that came to a generation
// has, 0 if none is; ok is false if that is not known.
func (s *State) endOf(generation uint32) (height uint64, ok bool) {
	if generation >= s.Generation {
		return s.Height(), true
	}
	for _, e := range slices.Backward(s.Ends) {
		if e.Generation <= generation {
			return e.Height, true
		}
	}
	return 0, len(s.Ends) < MaxEnds || generation < s.Origin
}
