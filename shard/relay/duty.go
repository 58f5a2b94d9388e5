package relay

import (
	"math"
	"time"

	"github.com/tributary-network/tributary/shard/link"
)

// nobody is the rank of a node that has no seat in the committee: it carries when
// all who have one had their turn.
const nobody = math.MaxInt

// Turn returns for how many blocks something has to wait until the member of that
// rank carries it, of a committee of n: those of a rank below first at once, and each
// further one link.RelayTimeout blocks after the one before. Who has no seat comes
// after all.
func Turn(rank, first, n int) uint64 {
	if rank == nobody {
		rank = max(n, first)
	}
	if rank < first {
		return 0
	}
	return uint64(rank-first+1) * link.RelayTimeout
}

// slowness is how many times as long as a block takes has to pass for one where blocks
// are not there to be counted: main stands still, or is slow.
const slowness = 2

// patience measures how long something has been waiting, in blocks of the main
// chain, or in time if the main chain stands still. It is owned by one goroutine.
type patience struct {
	what  uint64 // names what waits, in any way; 0 for nothing
	since uint64 // height of main
	at    time.Time
}

// waited returns for how many blocks what has been waiting.
func (p *patience) waited(what, height uint64, now time.Time, block time.Duration) uint64 {
	if p.what != what {
		*p = patience{what: what, since: height, at: now}
	}
	return max(height-min(height, p.since), uint64(max(now.Sub(p.at), 0)/(slowness*block)))
}

// dripBlocks is for how many blocks whoever brings some of what waits has the rest wait from
// the beginning: it may be that there is too much of it. After that the others go on
// counting, so that nobody holds things back by bringing a little of them.
const dripBlocks = 4 * link.RelayTimeout

// began notes that something else waits than before, which could be carried since then.
func (p *patience) began(what, height uint64, now time.Time, block time.Duration, since patience) {
	if p.what == what || since.what == 0 {
		return
	}
	at := since.at.Add(dripBlocks * slowness * block)
	if at.After(now) {
		at = now
	}
	*p = patience{what: what, since: min(height, since.since+dripBlocks), at: at}
}

// left returns after how much time waited is turn if main stands still, 0 if it is.
func (p *patience) left(turn uint64, now time.Time, block time.Duration) time.Duration {
	return max(time.Duration(min(turn, math.MaxInt32))*slowness*block-now.Sub(p.at), 0)
}

// reset ends the waiting.
func (p *patience) reset() { *p = patience{} }

// Backoff bounds: the wait after a first failure, and the longest.
const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 30 * time.Second
)

// hold keeps something that was sent from being sent again before it can have had
// an effect. It is owned by one goroutine.
type hold struct {
	tries  int
	height uint64    // of the destination, when it was sent last
	until  time.Time // not again before, unless the destination makes blocks
}

// holdBlocks is after how many blocks of the destination what had no effect is sent
// again, if the time is up too.
const holdBlocks = 2

// sent notes that something was sent, or that sending it failed. jitter is from 0 to 1.
func (h *hold) sent(height uint64, now time.Time, jitter float64) {
	wait := min(minBackoff<<min(h.tries, 16), maxBackoff)
	wait += time.Duration(jitter * float64(wait) / 2)
	h.tries++
	h.height, h.until = height, now.Add(wait)
}

// free reports whether it may be sent again, and otherwise after how long to look
// again at the latest. progress says that the destination took what was sent.
func (h *hold) free(height uint64, progress bool, now time.Time) (ok bool, wait time.Duration) {
	if h.tries == 0 || progress {
		*h = hold{}
		return true, 0
	}
	if wait = h.until.Sub(now); wait > 0 {
		return false, wait
	}
	if h.tries == 1 && height < h.height+holdBlocks {
		// The first time it is worth waiting for blocks: most often they are on their way.
		return now.Sub(h.until) >= maxBackoff/8, maxBackoff / 8
	}
	return true, 0
}
