package api

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/ledger"
)

// clients remembers the clients of StreamSettlements: for each the updates that
// it has not acknowledged, in order, and the items whose outcome is open. A
// client survives its streams. What clients remembers is lost when the server
// stops, or needs the room for others; the outcomes are not, and a client finds
// them by Track.
//
// It is safe for concurrent use; mu guards it and all clients.
type clients struct {
	cfg     *Config
	metrics *metrics
	memory  memory
	seen    atomic.Uint64 // height of the last block looked through

	mu      sync.Mutex
	byID    map[uuid.UUID]*client
	waiting map[ledger.Hash][]waiter // items whose outcome is open, at most maxWaiters each
	held    int64                    // bytes, by all clients
	excess  int64                    // of them, beyond what each client's stream has of its own
	freed   chan struct{}            // closed when somebody waits for room and there is more
	parked  int                      // how many wait
}

// waiter is an item that waits for the outcome of a transaction.
type waiter struct {
	client *client
	seq    uint64
}

// maxWaiters is how many items may wait for one transaction.
const maxWaiters = 64

// client is one client of StreamSettlements. clients.mu guards it.
type client struct {
	id      uuid.UUID
	ip      netip.Addr
	session uint64
	log     updateLog // not acknowledged
	items   map[uint64]item
	most    int // items there were since the map was made
	open    int // items without outcome
	working int // jobs under way that have made neither item nor refusal yet
	held    int64
	gone    bool // forgotten
	stream  *attachment
	used    time.Time
}

// item is an item of which not everything is acknowledged.
type item struct {
	hash   ledger.Hash
	born   int64      // Unix milliseconds
	stage  exec.Stage // the last one told
	closed bool       // the outcome is in the log
}

// attachment is a stream that serves a client.
type attachment struct {
	end  context.CancelCauseFunc // ends the stream
	wake chan struct{}           // capacity 1: something is in the log
	idle chan struct{}           // closed when the stream submits nothing more
}

func newClients(cfg *Config, m *metrics) *clients {
	return &clients{
		cfg: cfg, metrics: m, memory: newMemory(&cfg.Limits),
		byID: make(map[uuid.UUID]*client), waiting: make(map[ledger.Hash][]waiter), freed: make(chan struct{}),
	}
}

// welcome is what a stream begins with.
type welcome struct {
	client *client
	stream *attachment
	before *attachment // the stream it takes over from, or nil
	cursor uint64      // update_seq of the last update the client has
	gap    bool
}

// attach begins a stream of the client with id, which calls from ip, remembers
// session and has the updates up to resume. A stream of the same client ends.
func (c *clients) attach(id uuid.UUID, ip netip.Addr, session, resume uint64, end context.CancelCauseFunc) (welcome, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	cl := c.byID[id]
	var before *attachment
	if cl != nil {
		before = cl.stream
	}
	var gap bool
	switch {
	case cl != nil && cl.session == session:
		if last := cl.log.last(); resume > last {
			return welcome{}, invalid("hello.resume_after_seq", "%d was never sent; the last update is %d", resume, last)
		}
		gap = resume+1 < cl.log.first
		c.ack(cl, resume)
	default: // a new client, or one that remembers another memory
		gap = session != 0 || resume != 0
		if cl != nil {
			c.forget(cl)
		} else if err := c.makeRoom(ip); err != nil {
			return welcome{}, err
		}
		cl = &client{id: id, ip: ip, session: newSession(), log: updateLog{first: 1}, items: make(map[uint64]item)}
		c.byID[id] = cl
	}
	if before != nil {
		before.end(replaced())
	}
	cl.stream = &attachment{end: end, wake: make(chan struct{}, 1), idle: make(chan struct{})}
	cl.used = now
	return welcome{client: cl, stream: cl.stream, before: before, cursor: cl.log.first - 1, gap: gap}, nil
}

// newSession returns a random number that is not 0.
func newSession() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails; it ends the process instead
	return max(binary.BigEndian.Uint64(b[:]), 1)
}

// detach ends a stream. The client stays.
func (c *clients) detach(cl *client, a *attachment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cl.stream == a {
		cl.stream = nil
		cl.used = c.cfg.Now()
		c.free() // what it holds can be forgotten now
	}
}

// makeRoom forgets the client that has been away for longest if there are too
// many: one of ip if these are more than its share.
func (c *clients) makeRoom(ip netip.Addr) error {
	var oldest, own *client
	count := 0
	older := func(cl, than *client) bool {
		return cl.stream == nil && (than == nil || cl.used.Before(than.used))
	}
	for _, cl := range c.byID {
		if older(cl, oldest) {
			oldest = cl
		}
		if cl.ip != ip {
			continue
		}
		if count++; older(cl, own) {
			own = cl
		}
	}
	switch {
	case count >= c.cfg.shareAt(ip, c.cfg.Limits.StreamClients):
		oldest = own
	case len(c.byID) < c.cfg.Limits.StreamClients:
		return nil
	}
	if oldest == nil {
		return exhausted(ReasonTooManyStreams, retrySoon, "%d clients have streams, %d of them from your address, which is the limit; try again later", len(c.byID), count)
	}
	c.forget(oldest)
	return nil
}

// forget drops a client and all that is known of it.
func (c *clients) forget(cl *client) {
	for seq, it := range cl.items {
		if !it.closed {
			c.unwait(it.hash, waiter{cl, seq})
		}
	}
	c.hold(cl, -cl.held)
	cl.log, cl.items, cl.open, cl.gone = updateLog{first: cl.log.last() + 1}, nil, 0, true
	if c.byID[cl.id] == cl {
		delete(c.byID, cl.id)
	}
	cl.stream = nil
}

// replaced is how a stream ends when the client opens another.
func replaced() *problem {
	return &problem{code: codes.Aborted, reason: ReasonStreamReplaced, message: "another stream of this client took over"}
}

func (c *clients) unwait(hash ledger.Hash, w waiter) {
	rest := slices.DeleteFunc(c.waiting[hash], func(o waiter) bool { return o == w })
	if len(rest) == 0 {
		delete(c.waiting, hash)
		return
	}
	c.waiting[hash] = rest
}

// begin takes an item in, for a job at p. It is not fresh if it is known already:
// then its updates are in the log or will be.
func (c *clients) begin(p *slot, seq uint64, hash ledger.Hash) (fresh bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cl := p.client
	if cl.gone {
		return false, nil
	}
	if it, ok := cl.items[seq]; ok {
		if it.hash != hash {
			p := invalid("item.client_seq", "%d is another item, whose updates are not acknowledged yet", seq)
			p.reason = ReasonRequestIDReused
			return false, p
		}
		return false, nil
	}
	if len(c.waiting[hash]) >= maxWaiters {
		return false, exhausted(ReasonOverloaded, retrySoon, "%d items wait for %s already", maxWaiters, SettlementName(hash))
	}
	c.use(p)
	p.left -= itemCost
	cl.items[seq] = item{hash: hash, born: c.cfg.Now().UnixMilli()}
	cl.most = max(cl.most, len(cl.items))
	cl.open++
	c.waiting[hash] = append(c.waiting[hash], waiter{cl, seq})
	return true, nil
}

// refuse tells that the item of a job at p was refused. begun says that it had
// been taken in.
func (c *clients) refuse(p *slot, seq uint64, why *problem, begun bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cl := p.client
	if cl.gone {
		return
	}
	if begun && c.release(cl, seq) {
		p.left += itemCost
	}
	c.use(p)
	r := newRefusal(why)
	p.left -= r.cost()
	c.append(cl, update{seq: seq, refusal: r})
}

// abandon forgets the item of a job at p that was taken in and may not have been
// submitted.
func (c *clients) abandon(p *slot, seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.release(p.client, seq) {
		p.left += itemCost
	}
}

// release forgets an item without outcome and reports whether there was one.
func (c *clients) release(cl *client, seq uint64) bool {
	it, ok := cl.items[seq]
	if !ok || it.closed {
		return false
	}
	c.unwait(it.hash, waiter{cl, seq})
	cl.drop(seq)
	cl.open--
	return true
}

// drop deletes an item. A map keeps the room it once needed, so it is made anew
// when most of that is empty.
func (cl *client) drop(seq uint64) {
	delete(cl.items, seq)
	const small = 64
	if cl.most <= small || len(cl.items) > cl.most/4 {
		return
	}
	rest := make(map[uint64]item, len(cl.items))
	maps.Copy(rest, cl.items)
	cl.items, cl.most = rest, len(rest)
}

// note tells a new stage of an item; one that is not higher than what was told
// is not told again.
func (c *clients) note(cl *client, seq uint64, s *exec.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.noteLocked(cl, seq, s) {
		c.unwait(cl.items[seq].hash, waiter{cl, seq})
	}
}

// noteLocked reports whether the item waits no more.
func (c *clients) noteLocked(cl *client, seq uint64, s *exec.Status) (closed bool) {
	it, ok := cl.items[seq]
	if !ok || it.closed || s.Stage <= it.stage {
		return false
	}
	it.stage = s.Stage
	if s.Stage >= exec.StageFinal {
		it.closed, closed = true, true
		cl.open--
		c.free()
		if s.Stage == exec.StageFinal {
			c.metrics.final.Observe(float64(c.cfg.Now().UnixMilli()-it.born) / 1000)
		}
	}
	cl.items[seq] = it
	u := update{seq: seq, hash: it.hash, stage: s.Stage, reason: s.DropReason}
	if s.Stage == exec.StageRefused {
		u.code = s.Receipt.Code
	}
	c.append(cl, u)
	return closed
}

func (c *clients) append(cl *client, u update) {
	u.at = c.cfg.Now().Unix()
	cl.log.append(u)
	if cl.stream != nil {
		select {
		case cl.stream.wake <- struct{}{}:
		default:
		}
	}
}

// acknowledge forgets the updates up to seq and returns how many these were.
func (c *clients) acknowledge(cl *client, seq uint64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := cl.log.last(); seq > last {
		return 0, invalid("ack.update_seq", "%d was never sent; the last update is %d", seq, last)
	}
	return c.ack(cl, seq), nil
}

func (c *clients) ack(cl *client, seq uint64) int {
	if seq < cl.log.first {
		return 0
	}
	n := int(seq - cl.log.first + 1)
	c.cut(cl, n)
	return n
}

// cut forgets the first n updates of the log, and the items that they end.
func (c *clients) cut(cl *client, n int) {
	var freed int64
	for i := range n {
		u := cl.log.at(i)
		if u.refusal != nil {
			freed += u.refusal.cost()
			continue
		}
		if it, ok := cl.items[u.seq]; ok && it.closed && it.hash == u.hash && it.stage == u.stage {
			cl.drop(u.seq)
			freed += itemCost
		}
	}
	cl.log.cut(n)
	c.hold(cl, -freed)
}

// maxTake is how many updates are taken from a log at a time.
const maxTake = 256

// take returns updates after cursor, and false if some of them are forgotten.
func (c *clients) take(cl *client, cursor uint64) ([]update, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cursor+1 < cl.log.first {
		return nil, false
	}
	return cl.log.after(cursor, maxTake), true
}

// settledUp reports whether every item of a client has an outcome, and cursor
// is behind all of them.
func (c *clients) settledUp(cl *client, cursor uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cl.open == 0 && cursor >= cl.log.last()
}
