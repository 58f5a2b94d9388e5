package api

import (
	"net/netip"
	"sync"
)

// quota counts who uses how much of something that there is a limited number of,
// so that one address never has more than its share. It is safe for concurrent
// use.
type quota struct {
	total int
	share func(netip.Addr) int // of an address, 1 to total

	mu   sync.Mutex
	used int
	byIP map[netip.Addr]int
}

func newQuota(total int, share func(netip.Addr) int) *quota {
	return &quota{total: total, share: share, byIP: make(map[netip.Addr]int)}
}

// count returns how much is in use.
func (q *quota) count() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.used
}

// enter takes one for ip and reports whether there was one: fewer than limit,
// which is at most total, are in use, and fewer than its share by ip.
func (q *quota) enter(ip netip.Addr, limit int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.used >= limit || q.byIP[ip] >= q.share(ip) {
		return false
	}
	q.used++
	q.byIP[ip]++
	return true
}

// leave gives one back that ip took.
func (q *quota) leave(ip netip.Addr) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used--
	if q.byIP[ip]--; q.byIP[ip] == 0 {
		delete(q.byIP, ip)
	}
}
