package api

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/ledger"
)

// update is one line of a client's log. Settlements are looked up when it is
// sent, so that it costs little to keep.
type update struct {
	seq     uint64 // client_seq
	hash    ledger.Hash
	at      int64      // Unix seconds
	refusal *refusal   // of an item that was refused
	reason  string     // of DROPPED
	code    chain.Code // of REFUSED
	stage   exec.Stage
}

// refusal is what is kept of the problem of an item.
type refusal struct {
	code      codes.Code
	retryable bool
	reason    string // a constant
	message   string
	positions []uint32
}

// maxRefusalText is how much of a refusal's message is kept, in bytes.
const maxRefusalText = 512

func newRefusal(p *problem) *refusal {
	text := p.message
	if len(text) > maxRefusalText {
		text = strings.ToValidUTF8(text[:maxRefusalText], "")
	}
	return &refusal{
		code: p.code, reason: p.reason, message: strings.Clone(text),
		positions: slices.Clone(p.positions[:min(len(p.positions), maxPositions)]), retryable: p.retryable(),
	}
}

// What the parts of a client's memory cost, in bytes, with the slack of maps and
// slices.
const (
	// itemCost is an item from its begin until its last update is acknowledged,
	// with all its updates, of which there are at most updatesPerItem.
	itemCost       = 640
	updatesPerItem = 2
	// refusalCost is a refusal without its text and positions.
	refusalCost = 320
	// jobCost is the most that a job may come to.
	jobCost = max(itemCost, refusalCost+maxRefusalText+4*maxPositions)
	// minStreamMemory is the least that there must be for each stream.
	minStreamMemory = 16 << 10
)

func (r *refusal) cost() int64 { return int64(refusalCost + len(r.message) + 4*len(r.positions)) }

// updateLog is a queue of updates with consecutive numbers.
type updateLog struct {
	first   uint64 // number of the first update, or of the next one if there is none
	updates []update
	done    int // so many updates at the front are cut
}

func (l *updateLog) len() int { return len(l.updates) - l.done }

// last is the number of the last update; first-1 if there is none.
func (l *updateLog) last() uint64 { return l.first + uint64(l.len()) - 1 }

func (l *updateLog) at(i int) *update { return &l.updates[l.done+i] }

func (l *updateLog) append(u update) { l.updates = append(l.updates, u) }

// cut forgets the first n updates. The room of those that were cut is given back
// when they are as many as those that are left.
func (l *updateLog) cut(n int) {
	clear(l.updates[l.done : l.done+n])
	l.done += n
	l.first += uint64(n)
	if l.done >= l.len() {
		l.updates = append([]update(nil), l.updates[l.done:]...)
		l.done = 0
	}
}

// after returns up to limit updates after number cursor, which is not before the
// log.
func (l *updateLog) after(cursor uint64, limit int) []update {
	rest := l.updates[l.done+min(int(cursor+1-l.first), l.len()):]
	return slices.Clone(rest[:min(len(rest), limit)])
}

// memory says how much clients may hold. Every stream has own bytes that nobody
// can take from it, since all of these together are half of the total; of the
// other half clients have what they get. Clients without a stream are forgotten
// when their memory is needed.
type memory struct {
	total int64
	own   int64 // of each stream
	most  int64 // of one client
}

func newMemory(l *Limits) memory {
	return memory{
		total: l.StreamMemory,
		own:   l.StreamMemory / 2 / int64(l.SettlementStreams),
		most:  max(l.StreamMemory/8, minStreamMemory/2),
	}
}

// hold adds n, which may be negative, to what cl holds.
func (c *clients) hold(cl *client, n int64) {
	if cl.gone {
		return
	}
	before := max(0, cl.held-c.memory.own)
	cl.held += n
	c.held += n
	c.excess += max(0, cl.held-c.memory.own) - before
	if n < 0 {
		c.free()
	}
}

// free wakes who waits for room.
func (c *clients) free() {
	if c.parked > 0 {
		close(c.freed)
		c.freed = make(chan struct{})
	}
}

// capped reports whether cl must acknowledge before it gets room for another job.
func (c *clients) capped(cl *client) bool {
	updates := cl.log.len() + updatesPerItem*(cl.open+cl.working+1)
	return updates > c.cfg.Limits.StreamUpdates || cl.held+jobCost > c.memory.most
}

// fits reports whether there is room for another job of cl as things are.
func (c *clients) fits(cl *client) bool {
	excess := c.excess + max(0, cl.held+jobCost-max(cl.held, c.memory.own))
	return c.held+jobCost <= c.memory.total && (excess == c.excess || excess <= c.memory.total/2)
}

// admit makes room for another job of cl, if need be by forgetting clients that
// have no stream, those that hold most first: for what is cl's own any of them,
// otherwise only such as hold more than that.
func (c *clients) admit(cl *client) bool {
	if c.capped(cl) {
		return false
	}
	least := int64(0)
	if cl.held+jobCost > c.memory.own {
		least = c.memory.own
	}
	for !c.fits(cl) {
		victim := c.largestAway(least)
		if victim == nil {
			return false
		}
		c.forget(victim)
	}
	return true
}

// largestAway returns the client without a stream that holds most, and more than
// least; of several, the one that has been away for longest; nil if there is none.
func (c *clients) largestAway(least int64) *client {
	var largest *client
	for _, cl := range c.byID {
		if cl.stream != nil || cl.held <= least {
			continue
		}
		if largest == nil || cl.held > largest.held || cl.held == largest.held && cl.used.Before(largest.used) {
			largest = cl
		}
	}
	return largest
}

// slot is the room for what a job adds to its client's log. The goroutine that
// does the job owns it; clients.mu guards it.
type slot struct {
	client *client
	left   int64 // of jobCost
	used   bool  // the job has made an item or a refusal, which are counted instead
}

// enter returns a slot for a job of cl. While there is no room it waits: until
// the client acknowledges, or others do; parked is called then. It returns nil if
// ctx ends before.
func (c *clients) enter(ctx context.Context, cl *client, parked func()) *slot {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !cl.gone && !c.admit(cl) {
		freed := c.freed
		c.parked++
		c.mu.Unlock()
		parked()
		select {
		case <-freed:
		case <-ctx.Done():
		}
		c.mu.Lock()
		c.parked--
		if ctx.Err() != nil {
			return nil
		}
	}
	cl.working++
	c.hold(cl, jobCost)
	return &slot{client: cl, left: jobCost}
}

// leave gives back what the job at p did not need.
func (c *clients) leave(p *slot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.use(p)
	c.hold(p.client, -p.left)
}

// use ends counting a job as one whose updates are still to come.
func (c *clients) use(p *slot) {
	if !p.used {
		p.used = true
		p.client.working--
	}
}

// full reports whether a client must acknowledge before it gets more credit.
func (c *clients) full(cl *client) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.admit(cl)
}
