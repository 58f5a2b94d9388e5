package api

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/ledger"
)

const (
	// updateLife is how long an update that is not acknowledged is kept.
	updateLife = 24 * time.Hour
	// sweepInterval is how often what is old is forgotten, and what is
	// outstanding for longer than overdue is looked up.
	sweepInterval = 5 * time.Second
	overdue       = 10 * time.Second
)

// clients remembers the clients of StreamSettlements: for each the updates that
// it has not acknowledged, in order, and the items whose outcome is open. A
// client survives its streams. What clients remembers is lost when the server
// stops; the outcomes are not, and a client finds them by Track.
//
// It is safe for concurrent use; mu guards it and all clients.
type clients struct {
	cfg     *Config
	metrics *metrics
	seen    atomic.Uint64 // height of the last block looked through

	mu      sync.Mutex
	byID    map[uuid.UUID]*client
	waiting map[ledger.Hash][]waiter // items whose outcome is open
	kept    int                      // updates and open items of all clients
}

// waiter is an item that waits for the outcome of a transaction.
type waiter struct {
	client *client
	seq    uint64
}

// client is one client of StreamSettlements. clients.mu guards it.
type client struct {
	id      uuid.UUID
	session uint64
	log     []update // not acknowledged, ascending
	first   uint64   // update_seq of log[0], or of the next update
	items   map[uint64]item
	open    int // items without outcome
	stream  *attachment
	used    time.Time
}

// item is an item of which not everything is acknowledged.
type item struct {
	hash   ledger.Hash
	stage  exec.Stage // the last one told
	born   time.Time
	closed bool // the outcome is in the log
}

// update is one line of a client's log. Settlements are looked up when it is
// sent, so that it costs little to keep.
type update struct {
	seq     uint64 // client_seq
	hash    ledger.Hash
	stage   exec.Stage
	at      int64    // Unix seconds
	problem *problem // of an item that was refused
	reason  string   // of DROPPED
}

// attachment is a stream that serves a client.
type attachment struct {
	end  context.CancelCauseFunc // ends the stream
	wake chan struct{}           // capacity 1: something is in the log
	idle chan struct{}           // closed when the stream submits nothing more
}

func newClients(cfg *Config, m *metrics) *clients {
	return &clients{
		cfg: cfg, metrics: m,
		byID: make(map[uuid.UUID]*client), waiting: make(map[ledger.Hash][]waiter),
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

// attach begins a stream of the client with id, which remembers session and has
// the updates up to resume. A stream of the same client ends.
func (c *clients) attach(id uuid.UUID, session, resume uint64, end context.CancelCauseFunc) (welcome, error) {
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
		if resume >= cl.first+uint64(len(cl.log)) {
			return welcome{}, invalid("hello.resume_after_seq", "%d was never sent; the last update is %d", resume, cl.first+uint64(len(cl.log))-1)
		}
		gap = resume+1 < cl.first
		c.ack(cl, resume)
	default: // a new client, or one that remembers another memory
		gap = session != 0 || resume != 0
		if cl != nil {
			c.forget(cl)
		} else if err := c.makeRoom(); err != nil {
			return welcome{}, err
		}
		cl = &client{id: id, session: newSession(), first: 1, items: make(map[uint64]item)}
		c.byID[id] = cl
	}
	if before != nil {
		before.end(replaced())
	}
	cl.stream = &attachment{end: end, wake: make(chan struct{}, 1), idle: make(chan struct{})}
	cl.used = now
	return welcome{client: cl, stream: cl.stream, before: before, cursor: cl.first - 1, gap: gap}, nil
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
	}
}

// makeRoom forgets the client that has been away for longest if there are too
// many.
func (c *clients) makeRoom() error {
	if len(c.byID) < c.cfg.Limits.StreamClients {
		return nil
	}
	var oldest *client
	for _, cl := range c.byID {
		if cl.stream == nil && (oldest == nil || cl.used.Before(oldest.used)) {
			oldest = cl
		}
	}
	if oldest == nil {
		return exhausted(ReasonTooManyStreams, retrySoon, "%d clients have streams, which is the limit; try again later", len(c.byID))
	}
	c.forget(oldest)
	return nil
}

// forget drops a client and all that is known of it.
func (c *clients) forget(cl *client) {
	c.kept -= len(cl.log) + cl.open
	for seq, it := range cl.items {
		if !it.closed {
			c.unwait(it.hash, waiter{cl, seq})
		}
	}
	cl.log, cl.items, cl.open = nil, nil, 0
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

// begin takes an item in. It is not fresh if it is known already: then its
// updates are in the log or will be.
func (c *clients) begin(cl *client, seq uint64, hash ledger.Hash) (fresh bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cl.items == nil {
		return false, nil // forgotten
	}
	if it, ok := cl.items[seq]; ok {
		if it.hash != hash {
			p := invalid("item.client_seq", "%d is another item, whose updates are not acknowledged yet", seq)
			p.reason = ReasonRequestIDReused
			return false, p
		}
		return false, nil
	}
	cl.items[seq] = item{hash: hash, born: c.cfg.Now()}
	cl.open++
	c.kept++
	c.waiting[hash] = append(c.waiting[hash], waiter{cl, seq})
	return true, nil
}

// refuse tells that an item was refused. begun says that it had been taken in.
func (c *clients) refuse(cl *client, seq uint64, p *problem, begun bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if begun {
		c.release(cl, seq)
	}
	c.append(cl, update{seq: seq, problem: p})
}

// abandon forgets an item that was taken in and may not have been submitted.
func (c *clients) abandon(cl *client, seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release(cl, seq)
}

func (c *clients) release(cl *client, seq uint64) {
	it, ok := cl.items[seq]
	if !ok || it.closed {
		return
	}
	c.unwait(it.hash, waiter{cl, seq})
	delete(cl.items, seq)
	cl.open--
	c.kept--
}

// note tells a new stage of an item; one that is not higher than what was told
// is not told again.
func (c *clients) note(cl *client, seq uint64, s *exec.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noteLocked(cl, seq, s)
}

func (c *clients) noteLocked(cl *client, seq uint64, s *exec.Status) {
	it, ok := cl.items[seq]
	if !ok || it.closed || s.Stage <= it.stage {
		return
	}
	it.stage = s.Stage
	if s.Stage >= exec.StageFinal {
		it.closed = true
		cl.open--
		c.kept--
		c.unwait(it.hash, waiter{cl, seq})
		if s.Stage == exec.StageFinal {
			c.metrics.final.Observe(c.cfg.Now().Sub(it.born).Seconds())
		}
	}
	cl.items[seq] = it
	c.append(cl, update{seq: seq, hash: it.hash, stage: s.Stage, reason: s.DropReason})
}

func (c *clients) append(cl *client, u update) {
	if cl.items == nil {
		return // forgotten
	}
	u.at = c.cfg.Now().Unix()
	cl.log = append(cl.log, u)
	c.kept++
	if cl.stream != nil {
		select {
		case cl.stream.wake <- struct{}{}:
		default:
		}
	}
}

// acknowledge forgets the updates up to seq.
func (c *clients) acknowledge(cl *client, seq uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := cl.first + uint64(len(cl.log)) - 1; seq > last {
		return invalid("ack.update_seq", "%d was never sent; the last update is %d", seq, last)
	}
	c.ack(cl, seq)
	return nil
}

func (c *clients) ack(cl *client, seq uint64) {
	if seq < cl.first {
		return
	}
	c.cut(cl, int(seq-cl.first+1))
}

// cut forgets the first n updates of the log, and the items that they end.
func (c *clients) cut(cl *client, n int) {
	for _, u := range cl.log[:n] {
		if it, ok := cl.items[u.seq]; ok && it.closed && it.hash == u.hash && it.stage == u.stage {
			delete(cl.items, u.seq)
		}
	}
	cl.log = cl.log[n:]
	cl.first += uint64(n)
	c.kept -= n
	if len(cl.log) == 0 {
		cl.log = nil // give the memory back
	}
}

// maxTake is how many updates are taken from a log at a time.
const maxTake = 256

// take returns updates after cursor, and false if some of them are forgotten.
func (c *clients) take(cl *client, cursor uint64) ([]update, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cursor+1 < cl.first {
		return nil, false
	}
	rest := cl.log[min(cursor+1-cl.first, uint64(len(cl.log))):]
	return slices.Clone(rest[:min(len(rest), maxTake)]), true
}

// settledUp reports whether every item of a client has an outcome, and cursor
// is behind all of them.
func (c *clients) settledUp(cl *client, cursor uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cl.open == 0 && cursor+1 >= cl.first+uint64(len(cl.log))
}

// full reports whether a client must acknowledge before it gets more credit.
func (c *clients) full(cl *client) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Every open item will need one more update, at most two.
	return len(cl.log)+2*cl.open >= c.cfg.Limits.StreamUpdates || c.kept >= c.cfg.Limits.StreamUpdatesTotal
}

// run follows the chain until ctx ends and tells what became final.
func (c *clients) run(ctx context.Context) error {
	sub := c.cfg.State.Subscribe(0)
	var sweeper sync.WaitGroup
	defer sweeper.Wait()
	sweeper.Go(func() { c.sweepUntil(ctx) })
	for ctx.Err() == nil {
		block, err := sub.Next(ctx)
		var gap *exec.GapError
		switch {
		case err == nil:
			c.settled(block)
		case errors.As(err, &gap): // the sweep finds what was in there
		case ctx.Err() != nil:
			return nil
		default:
			c.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "no more blocks for settlement streams", slog.Any("err", err))
			<-ctx.Done()
		}
	}
	return nil
}

// settled tells whose transactions a committed block has.
func (c *clients) settled(block *exec.BlockResult) {
	for i := range block.Receipts {
		c.lookUp(block.Receipts[i].Hash)
	}
	c.seen.Store(block.Height)
}

// lookUp tells what became of hash to those who wait for it.
func (c *clients) lookUp(hash ledger.Hash) {
	c.mu.Lock()
	waits := len(c.waiting[hash]) > 0
	c.mu.Unlock()
	if !waits {
		return
	}
	s, ok := c.cfg.Pool.Status(hash)
	if !ok {
		s = exec.Status{Hash: hash, Stage: exec.StageDropped, DropReason: "forgotten by this node"}
	}
	if s.Stage < exec.StageFinal {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range slices.Clone(c.waiting[hash]) {
		c.noteLocked(w.client, w.seq, &s)
	}
}

func (c *clients) sweepUntil(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.sweep()
		}
	}
}

// sweep forgets what is old and looks up what is overdue.
func (c *clients) sweep() {
	now := c.cfg.Now()
	var late []ledger.Hash
	c.mu.Lock()
	for _, cl := range c.byID {
		if cl.stream == nil && now.Sub(cl.used) > updateLife {
			c.forget(cl)
			continue
		}
		old := 0
		for old < len(cl.log) && now.Unix()-cl.log[old].at > int64(updateLife/time.Second) {
			old++
		}
		c.cut(cl, old)
	}
	for hash, ws := range c.waiting {
		if it := ws[0].client.items[ws[0].seq]; now.Sub(it.born) > overdue {
			late = append(late, hash)
		}
	}
	c.mu.Unlock()
	for _, hash := range late {
		c.lookUp(hash)
	}
}
