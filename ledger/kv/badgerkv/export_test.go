package badgerkv

// ManifestMark is what the mark of a MANIFEST remembers.
func ManifestMark(size int64, sum uint32, newest uint64) []byte {
	return manifestMark{size, sum, newest}.encode()
}

// DecodeManifestMark reads a mark and encodes it again.
func DecodeManifestMark(b []byte) (size int64, newest uint64, again []byte, err error) {
	m, err := decodeManifestMark(b)
	return m.size, m.newest, m.encode(), err
}

// ValueFiles returns the number of the newest file of the value log whose directory entry was
// synced.
func ValueFiles(s *Store) int {
	s.logs.mu.Lock()
	defer s.logs.mu.Unlock()
	return s.logs.values
}
