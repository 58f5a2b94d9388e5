package anchor

// Keeps reports whether what a chain that came to a generation has at a height is shown to
// be anchored, unless two versions of the height were certified within one generation. The
// row says where the last generation went on, and not where those before it did: of a
// generation that several followed, and of which one has anchors, it does not show whether
// the first of them took the height back.
func (s *State) Keeps(generation uint32, height uint64) bool {
	if height == 0 || height > s.Height() || s.TakesBack(generation, height) {
		return false
	}
	return uint64(generation)+1 >= uint64(s.Generation) || s.Last.Generation <= generation
}

// TakesBack reports whether what a generation certified at a height is not anchored and
// never will be, because another generation goes on from below. As Keeps, it knows of where
// the last one went on, and of those that made nothing.
func (s *State) TakesBack(generation uint32, height uint64) bool {
	return generation < s.Generation && (height > s.Resumed || generation < s.Origin)
}
