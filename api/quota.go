package api

import (
	"net/netip"
	"sync"
)

// caller is whom a quota has a share for: an address, with port 0, or one
// connection.
type caller = netip.AddrPort

// quota counts who uses how much of something that there is a limited number of,
// so that one caller never has more than its share. It is safe for concurrent
// use.
type quota struct {
	total, share int

	mu   sync.Mutex
	used int
	by   map[caller]int
}

func newQuota(total, share int) *quota {
	return &quota{total: total, share: share, by: make(map[caller]int)}
}

// count returns how much is in use.
func (q *quota) count() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.used
}

// enter takes one for who and reports whether there was one: fewer than limit,
// which is at most total, are in use, and fewer than its share by who.
func (q *quota) enter(who caller, limit int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.used >= limit || q.by[who] >= q.share {
		return false
	}
	q.used++
	q.by[who]++
	return true
}

// leave gives one back that who took.
func (q *quota) leave(who caller) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used--
	if q.by[who]--; q.by[who] == 0 {
		delete(q.by, who)
	}
}
