package api

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// maxPrincipals bounds how many callers have a bucket of their own. When
	// there are more, all buckets that are full again are dropped; if none is,
	// newcomers share one.
	maxPrincipals = 10_000
	// callCost is what a call takes from its caller's bucket, in tokens, and so
	// the unit in which the limits count. Work whose size only shows once the
	// request is read costs in proportion: about 50 us of a processor a token.
	callCost = 16
)

// rateLimiter gives each principal, an IP address, a token bucket. It is safe
// for concurrent use.
type rateLimiter struct {
	perSecond rate.Limit // tokens
	burst     int        // tokens
	now       func() time.Time

	mu      sync.Mutex
	buckets map[netip.Addr]*rate.Limiter
	common  *rate.Limiter // of principals that found no room
	swept   time.Time     // when full buckets were last dropped
}

// newRateLimiter returns a limiter of perSecond calls a second, and burst calls
// at once.
func newRateLimiter(perSecond float64, burst int, now func() time.Time) *rateLimiter {
	r := &rateLimiter{
		perSecond: rate.Limit(perSecond) * callCost, burst: burst * callCost, now: now,
		buckets: make(map[netip.Addr]*rate.Limiter),
	}
	r.common = rate.NewLimiter(r.perSecond, r.burst)
	return r
}

// take takes tokens, at most a burst, from ip's bucket. If they are not there it
// takes none, and says when they will be.
func (r *rateLimiter) take(ip netip.Addr, tokens int) (wait time.Duration, ok bool) {
	now := r.now()
	reservation := r.bucket(ip, now).ReserveN(now, min(tokens, r.burst))
	if wait = reservation.DelayFrom(now); wait > 0 {
		reservation.CancelAt(now)
		return wait, false
	}
	return 0, true
}

// charge takes tokens, at most a burst, for work that is done, whether they are
// there or not: until the debt is paid calls are refused. Nobody owes more than
// two bursts.
func (r *rateLimiter) charge(ip netip.Addr, tokens int) {
	now := r.now()
	if b := r.bucket(ip, now); b.TokensAt(now) > -float64(r.burst) {
		b.ReserveN(now, min(tokens, r.burst))
	}
}

// reserve takes tokens, at most a burst, for work that may begin after wait.
func (r *rateLimiter) reserve(ip netip.Addr, tokens int) (wait time.Duration) {
	now := r.now()
	return r.bucket(ip, now).ReserveN(now, min(tokens, r.burst)).DelayFrom(now)
}

// pay is reserve, and waits.
func (r *rateLimiter) pay(ctx context.Context, ip netip.Addr, tokens int) error {
	return pause(ctx, r.reserve(ip, tokens))
}

// pause waits for d, or returns ctx's error if that ends before.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
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
