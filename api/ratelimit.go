package api

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxPrincipals bounds how many callers have a bucket of their own. When there
// are more, all buckets that are full again are dropped; if none is, newcomers
// share one.
const maxPrincipals = 10_000

// rateLimiter gives each principal, an IP address, a token bucket. It is safe
// for concurrent use.
type rateLimiter struct {
	perSecond rate.Limit
	burst     int
	now       func() time.Time

	mu      sync.Mutex
	buckets map[netip.Addr]*rate.Limiter
	common  *rate.Limiter // of principals that found no room
	swept   time.Time     // when full buckets were last dropped
}

func newRateLimiter(perSecond float64, burst int, now func() time.Time) *rateLimiter {
	return &rateLimiter{
		perSecond: rate.Limit(perSecond), burst: burst, now: now,
		buckets: make(map[netip.Addr]*rate.Limiter),
		common:  rate.NewLimiter(rate.Limit(perSecond), burst),
	}
}

// take takes one token of ip's bucket. If there is none it says when there will
// be one.
func (r *rateLimiter) take(ip netip.Addr) (wait time.Duration, ok bool) {
	now := r.now()
	reservation := r.bucket(ip, now).ReserveN(now, 1)
	if !reservation.OK() {
		return time.Second, false
	}
	if wait = reservation.DelayFrom(now); wait > 0 {
		reservation.CancelAt(now)
		return wait, false
	}
	return 0, true
}

func (r *rateLimiter) bucket(ip netip.Addr, now time.Time) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b, ok := r.buckets[ip]; ok {
		return b
	}
	if len(r.buckets) >= maxPrincipals && now.Sub(r.swept) >= time.Second {
		r.swept = now
		for addr, b := range r.buckets {
			if b.TokensAt(now) >= float64(r.burst) {
				delete(r.buckets, addr)
			}
		}
	}
	if len(r.buckets) >= maxPrincipals {
		return r.common
	}
	b := rate.NewLimiter(r.perSecond, r.burst)
	r.buckets[ip] = b
	return b
}
