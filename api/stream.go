package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/ledger"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

// streamWorkers is how many items of one stream are checked at a time: a few,
// so that their signatures share batches.
const streamWorkers = 4

// settlementStream is one stream of a client.
type settlementStream struct {
	*backend
	server settlementv1.SettlementService_StreamSettlementsServer
	end    context.CancelCauseFunc
	ip     netip.Addr // of the client
	client *client
	attach *attachment
	cursor uint64 // update_seq of the last update sent
	full   bool   // updates carry all entries
	credit *credit

	queue    *jobQueue
	jobs     atomic.Int64  // received and not done
	received chan struct{} // closed when the client will send no more
}

// job is an item or a track that costs credit.
type job struct {
	seq     uint64
	item    *settlementv1.StreamSettlementsRequest_Item
	track   []byte // hash; nil for an item
	entries int64
	bytes   int64
}

// jobQueue is a queue of jobs, which the stream's credit bounds. It is safe for
// concurrent use.
type jobQueue struct {
	mu    sync.Mutex
	jobs  []*job
	ready chan struct{} // capacity 1: there may be a job
}

func newJobQueue() *jobQueue { return &jobQueue{ready: make(chan struct{}, 1)} }

func (q *jobQueue) push(j *job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.jobs = append(q.jobs, j)
	q.signal()
}

func (q *jobQueue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// pop waits for a job. It returns nil when ctx ends.
func (q *jobQueue) pop(ctx context.Context) *job {
	for ctx.Err() == nil {
		if j := q.tryPop(); j != nil {
			return j
		}
		select {
		case <-ctx.Done():
		case <-q.ready:
		}
	}
	return nil
}

func (q *jobQueue) tryPop() *job {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.jobs) == 0 {
		q.jobs = nil
		return nil
	}
	j := q.jobs[0]
	q.jobs[0], q.jobs = nil, q.jobs[1:]
	if len(q.jobs) > 0 {
		q.signal() // another worker
	}
	return j
}

// StreamSettlements implements SettlementServiceServer. The goroutine that
// receives ends right after the handler, as gRPC has it; all others before.
func (s *settlements) StreamSettlements(server settlementv1.SettlementService_StreamSettlementsServer) error {
	hello, err := receiveHello(server)
	if err != nil {
		return err
	}
	id, err := parseRequestID("hello.client_id", hello.GetClientId())
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(server.Context())
	defer end(nil)
	ip := callerIP(ctx)
	w, err := s.clients.attach(id, ip, hello.GetSession(), hello.GetResumeAfterSeq(), end)
	if err != nil {
		return err
	}
	defer s.clients.detach(w.client, w.stream)
	entries := int64(s.Limits.WindowEntries)
	if hello.GetMaxEntries() > 0 {
		entries = min(entries, int64(hello.GetMaxEntries()))
	}
	st := &settlementStream{
		backend: s.backend, server: server, end: end, ip: ip,
		client: w.client, attach: w.stream, cursor: w.cursor,
		full: hello.GetFullResults(), queue: newJobQueue(),
		credit:   &credit{oweEntries: entries, oweBytes: int64(s.Limits.WindowBytes)},
		received: make(chan struct{}),
	}
	var workers sync.WaitGroup
	for range streamWorkers {
		workers.Go(func() { st.work(ctx) })
	}
	go func() {
		workers.Wait()
		if w.before != nil { // whoever takes over from this stream takes over from all before
			<-w.before.idle
		}
		close(w.stream.idle)
	}()
	defer func() {
		end(nil)
		<-w.stream.idle
	}()
	return st.serve(ctx, &w)
}

// serve takes over from the stream before, and reads and writes until the
// stream must end. It returns why.
func (st *settlementStream) serve(ctx context.Context, w *welcome) error {
	if w.before != nil {
		select {
		case <-w.before.idle: // an item it did not finish is fresh again
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err := st.server.Send(&settlementv1.StreamSettlementsResponse{
		Message: &settlementv1.StreamSettlementsResponse_Welcome_{Welcome: &settlementv1.StreamSettlementsResponse_Welcome{
			Session: w.client.session, NextSeq: w.cursor + 1, Gap: w.gap,
		}},
	}); err != nil {
		return err
	}
	go func() {
		if err := st.receive(ctx); err != nil {
			st.end(err)
		}
	}()
	return st.write(ctx)
}

func receiveHello(server settlementv1.SettlementService_StreamSettlementsServer) (*settlementv1.StreamSettlementsRequest_Hello, error) {
	msg, err := server.Recv()
	if err != nil {
		return nil, notReceived(err)
	}
	if msg.GetHello() == nil {
		return nil, invalid("hello", "must be the first message of a stream")
	}
	return msg.GetHello(), nil
}

// notReceived returns why nothing more can be read. gRPC has told the client
// already; this is for the server's own account.
func notReceived(err error) error {
	if errors.Is(err, io.EOF) || status.Code(err) == codes.Internal {
		return invalid("message", "is none of this method")
	}
	return err
}

// receive reads messages until the client has no more, and then returns nil, or
// until the stream must end, and returns why. It does not wait for the workers,
// which may wait for acks.
func (st *settlementStream) receive(ctx context.Context) error {
	for {
		msg, err := st.server.Recv()
		if errors.Is(err, io.EOF) {
			close(st.received)
			return nil
		}
		if err != nil {
			return notReceived(err)
		}
		var j *job
		switch m := msg.GetMessage().(type) {
		case *settlementv1.StreamSettlementsRequest_Item_:
			j = &job{seq: m.Item.GetClientSeq(), item: m.Item, entries: itemEntries(st.Network.Domain, m.Item), bytes: int64(proto.Size(msg))}
		case *settlementv1.StreamSettlementsRequest_Track_:
			j = &job{seq: m.Track.GetClientSeq(), track: m.Track.GetHash(), entries: 1}
			if len(j.track) != ledger.HashSize {
				return invalid("track.hash", "%d bytes, want %d", len(j.track), ledger.HashSize)
			}
		case *settlementv1.StreamSettlementsRequest_Ack_:
			if err := st.acknowledge(ctx, m.Ack.GetUpdateSeq()); err != nil {
				return err
			}
			continue
		default:
			return invalid("message", "only the first message is hello, and the others are items, tracks and acks")
		}
		if err := st.credit.spend(j); err != nil {
			return err
		}
		st.jobs.Add(1)
		st.queue.push(j)
	}
}

// acknowledge forgets updates. What acknowledges nothing costs tokens, since
// nothing else limits it.
func (st *settlementStream) acknowledge(ctx context.Context, seq uint64) error {
	n, err := st.clients.acknowledge(st.client, seq)
	if err != nil {
		return err
	}
	if n == 0 {
		return st.rates.pay(ctx, st.ip, 1)
	}
	st.wake()
	return nil
}

// itemEntries returns the number of entries of an item, at least 1. What cannot
// be read counts as one; it will be refused.
func itemEntries(d chain.Domain, item *settlementv1.StreamSettlementsRequest_Item) int64 {
	if b := item.GetBatch(); b != nil {
		return max(1, int64(len(b.GetEntries())))
	}
	tx, err := chain.DecodeTx(d, item.GetSignedTx())
	if err != nil {
		return 1
	}
	return max(1, entriesOf(&tx))
}

// work carries out jobs until ctx ends.
func (st *settlementStream) work(ctx context.Context) {
	for {
		j := st.queue.pop(ctx)
		if j == nil {
			return
		}
		if st.carryOut(ctx, j) {
			st.credit.settle(j)
			st.jobs.Add(-1)
			st.wake()
		}
	}
}

// carryOut does j when there is room for what comes of it, and its caller has
// the tokens. It reports whether j is done with; it is not if ctx ended before.
func (st *settlementStream) carryOut(ctx context.Context, j *job) (done bool) {
	p := st.clients.enter(ctx, st.client, st.wake) // the client may have to be told
	if p == nil {
		return false
	}
	defer st.clients.leave(p)
	if wait := st.rates.reserve(st.ip, submitTokens(j.entries, j.bytes)); wait > 0 {
		st.credit.busy(wait)
		st.wake()
		if pause(ctx, wait) != nil {
			return false
		}
	}
	return st.do(ctx, j, p)
}

// do carries out one job at p and reports whether it is done with; it is not if
// ctx ended before.
func (st *settlementStream) do(ctx context.Context, j *job, p *slot) (done bool) {
	begun := false
	defer func() { // a fault of the server with one item is no end of the stream
		if v := recover(); v != nil {
			st.Log.LogAttrs(ctx, slog.LevelError, "item failed by a fault of the server", slog.Any("err", recovered(v, nil)))
			st.clients.refuse(p, j.seq, internalProblem(), begun)
			done = true
		}
	}()
	if j.track != nil {
		st.doTrack(ctx, j, p)
		return true
	}
	tx, err := st.batchTx(j.item.GetBatch(), j.item.GetSignedTx(), sealed)
	if err == nil {
		begun, err = st.clients.begin(p, j.seq, tx.Hash)
	}
	if err != nil {
		st.refuse(ctx, j, p, err, false)
		return true
	}
	if !begun {
		return true
	}
	reached, err := st.submitPatiently(ctx, tx.Raw)
	switch {
	case err == nil:
		st.credit.accepted()
		st.clients.note(st.client, j.seq, &reached)
	case ctx.Err() != nil:
		st.clients.abandon(p, j.seq)
		return false
	default:
		st.refuse(ctx, j, p, st.explain(err, &tx), true)
	}
	return true
}

// submitPatiently submits, and while the pool is full waits and tries again:
// the stream's credit bounds what waits here.
func (st *settlementStream) submitPatiently(ctx context.Context, raw []byte) (exec.Status, error) {
	for {
		reached, err := st.Pool.Submit(ctx, raw)
		var busy *exec.BusyError
		if !errors.As(err, &busy) {
			st.metrics.submit(err)
			return reached, err
		}
		after := max(busy.RetryAfter, time.Millisecond)
		st.credit.busy(after)
		st.wake()
		if err := pause(ctx, after); err != nil {
			return exec.Status{}, err
		}
	}
}

func (st *settlementStream) doTrack(ctx context.Context, j *job, p *slot) {
	hash := ledger.Hash(j.track)
	present, err := st.Pool.Status(hash)
	if errors.Is(err, exec.ErrUnknown) {
		name := SettlementName(hash)
		st.clients.refuse(p, j.seq, missing(ReasonTransactionNotFound, name, "this node does not know %s; send the item again", name), false)
		return
	}
	if err != nil {
		st.refuse(ctx, j, p, err, false)
		return
	}
	fresh, err := st.clients.begin(p, j.seq, hash)
	if err != nil {
		why, _ := problemOf(err)
		st.clients.refuse(p, j.seq, why, false)
		return
	}
	if fresh {
		st.clients.note(st.client, j.seq, &present)
		st.clients.lookUp(hash) // it may have become final meanwhile
	}
}

// refuse tells that the item of j was refused, or ends the stream if too many of
// its items are malformed.
func (st *settlementStream) refuse(ctx context.Context, j *job, p *slot, err error, begun bool) {
	why, known := problemOf(err)
	if !known {
		st.Log.LogAttrs(ctx, slog.LevelError, "item failed by a fault of the server", slog.Any("err", err))
	}
	st.rates.charge(st.ip, refusalTokens(why, j.entries))
	if why.code == codes.InvalidArgument {
		if enough := st.credit.fault(); enough != nil {
			if begun {
				st.clients.abandon(p, j.seq)
			}
			st.metrics.refused(ReasonTooManyErrors)
			st.end(enough)
			return
		}
	}
	st.clients.refuse(p, j.seq, why, begun)
}

func (st *settlementStream) wake() {
	select {
	case st.attach.wake <- struct{}{}:
	default:
	}
}

// write sends updates, windows and heartbeats until the stream must end, and
// returns why. A client that has closed its side gets the outcome of all its
// items, and then the stream ends well.
func (st *settlementStream) write(ctx context.Context) error {
	heartbeat := time.NewTicker(st.Heartbeat)
	defer heartbeat.Stop()
	received := st.received
	for {
		if err := st.flush(); err != nil {
			return err
		}
		if received == nil && st.jobs.Load() == 0 && st.clients.settledUp(st.client, st.cursor) {
			return nil
		}
		select {
		case <-st.attach.wake:
		case <-received:
			received = nil
		case <-heartbeat.C:
			if err := st.heartbeat(); err != nil {
				return err
			}
		case <-st.stopping:
			return shuttingDown()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// flush sends what is in the log, and a window if there is one to send.
func (st *settlementStream) flush() error {
	for {
		updates, ok := st.clients.take(st.client, st.cursor)
		if !ok {
			return unavailable(ReasonPruned, 0, "updates were not read for so long that they are forgotten; resume with another stream")
		}
		for i := range updates {
			msg := st.render(&updates[i])
			msg.UpdateSeq = st.cursor + 1
			if err := st.server.Send(msg); err != nil {
				return err
			}
			st.cursor++
		}
		if len(updates) < maxTake {
			break
		}
	}
	if w := st.credit.window(st.clients.full(st.client)); w != nil {
		return st.server.Send(&settlementv1.StreamSettlementsResponse{Message: &settlementv1.StreamSettlementsResponse_Window_{Window: w}})
	}
	return nil
}

func (st *settlementStream) render(u *update) *settlementv1.StreamSettlementsResponse {
	if r := u.refusal; r != nil {
		return &settlementv1.StreamSettlementsResponse{Message: &settlementv1.StreamSettlementsResponse_Error{Error: r.render(u.seq)}}
	}
	reached := exec.Status{Hash: u.hash, Stage: u.stage, DropReason: u.reason}
	if u.stage == exec.StageFinal || u.stage == exec.StageRefused {
		if s, err := st.Pool.Status(u.hash); err == nil && (s.Stage == exec.StageFinal || s.Stage == u.stage) {
			reached = s
		}
	}
	told := renderSettlement(&reached, nil, st.blockTime(&reached), detailOf(st.full))
	if reached.Stage == exec.StageRefused && reached.Receipt == nil { // it is under way again
		told.Transaction.Code = renderCode(u.code)
	}
	return &settlementv1.StreamSettlementsResponse{Message: &settlementv1.StreamSettlementsResponse_Update_{
		Update: &settlementv1.StreamSettlementsResponse_Update{ClientSeq: u.seq, Settlement: told},
	}}
}

// render returns the refusal of item seq as the stream tells it.
func (r *refusal) render(seq uint64) *settlementv1.StreamSettlementsResponse_ItemError {
	return &settlementv1.StreamSettlementsResponse_ItemError{
		ClientSeq: seq, Code: int32(r.code), Reason: r.reason, Detail: r.message,
		Positions: r.positions, Retryable: r.retryable,
	}
}

func (st *settlementStream) heartbeat() error {
	height, clock, err := st.now()
	if err != nil {
		return err
	}
	hb := &settlementv1.StreamSettlementsResponse_Heartbeat{Height: height, SettlementClock: clock}
	if seen := st.clients.seen.Load(); seen != 0 && seen < height {
		hb.LagBlocks = uint32(min(height-seen, 1<<31))
	}
	return st.server.Send(&settlementv1.StreamSettlementsResponse{Message: &settlementv1.StreamSettlementsResponse_Heartbeat_{Heartbeat: hb}})
}
