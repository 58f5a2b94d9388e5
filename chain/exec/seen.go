package exec

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
)

// fingerprint is a keyed hash of something checked. The key is a secret of the
// process, so half a SHA-256 is as hard to forge as it is long.
type fingerprint [16]byte

// secret keys fingerprints.
type secret [sha256.Size]byte

func newSecret() secret {
	var s secret
	_, _ = rand.Read(s[:]) // never fails; it ends the process instead
	return s
}

// fingerprint hashes parts, whose lengths the caller's use fixes but for the last.
func (s *secret) fingerprint(parts ...[]byte) fingerprint {
	h := sha256.New()
	h.Write(s[:])
	for _, p := range parts {
		h.Write(p)
	}
	var sum [sha256.Size]byte
	return fingerprint(h.Sum(sum[:0])[:len(fingerprint{})])
}

// seen remembers the fingerprints of the last limit things or more, in two
// generations: when the young one has reached half the limit it becomes the old
// one, and the old one is forgotten. It is safe for concurrent use.
type seen struct {
	limit int

	mu    sync.Mutex
	young map[fingerprint]struct{}
	old   map[fingerprint]struct{}
}

func newSeen(limit int) *seen {
	return &seen{limit: limit, young: make(map[fingerprint]struct{})}
}

// has reports whether f is remembered, and keeps it for longer if so.
func (s *seen) has(f fingerprint) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.young[f]; ok {
		return true
	}
	if _, ok := s.old[f]; ok {
		s.put(f)
		return true
	}
	return false
}

// add remembers f.
func (s *seen) add(f fingerprint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(f)
}

func (s *seen) put(f fingerprint) {
	if len(s.young) >= max(1, s.limit/2) {
		s.old, s.young = s.young, make(map[fingerprint]struct{})
	}
	s.young[f] = struct{}{}
}

// len returns how many are remembered, counting some twice.
func (s *seen) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.young) + len(s.old)
}
