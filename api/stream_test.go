package api_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

type (
	streamRequest  = settlementv1.StreamSettlementsRequest
	streamResponse = settlementv1.StreamSettlementsResponse
)

// stream is a test's end of StreamSettlements.
type stream struct {
	t      testing.TB
	s      settlementv1.SettlementService_StreamSettlementsClient
	cancel context.CancelFunc

	ahead []*streamResponse // received, and not read by the test

	welcome *settlementv1.StreamSettlementsResponse_Welcome
	entries int64 // credit
	bytes   int64
	window  *settlementv1.StreamSettlementsResponse_Window // the last one
}

func hello(id string) *settlementv1.StreamSettlementsRequest_Hello {
	return &settlementv1.StreamSettlementsRequest_Hello{ClientId: id}
}

// openStream opens a stream and waits for the welcome and the first window.
func (w *world) openStream(h *settlementv1.StreamSettlementsRequest_Hello) *stream {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), soon)
	w.t.Cleanup(cancel)
	s, err := w.settlements().StreamSettlements(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	st := &stream{t: w.t, s: s, cancel: cancel}
	st.send(&streamRequest{Message: &settlementv1.StreamSettlementsRequest_Hello_{Hello: h}})
	st.welcome = st.next().GetWelcome()
	if st.welcome.GetSession() == 0 {
		w.t.Fatalf("welcome %v", st.welcome)
	}
	for len(st.ahead) == 0 || st.ahead[len(st.ahead)-1].GetWindow() == nil {
		m, err := s.Recv()
		if err != nil {
			w.t.Fatalf("wait for a window: %v", err)
		}
		st.ahead = append(st.ahead, m)
	}
	return st
}

// recv returns the next message.
func (st *stream) recv() (*streamResponse, error) {
	if len(st.ahead) > 0 {
		m := st.ahead[0]
		st.ahead = st.ahead[1:]
		return m, nil
	}
	return st.s.Recv()
}

func (st *stream) send(m *streamRequest) {
	st.t.Helper()
	if err := st.s.Send(m); err != nil && !errors.Is(err, io.EOF) { // EOF: Recv tells why
		st.t.Fatal(err)
	}
}

func item(seq uint64, raw []byte) *streamRequest {
	return &streamRequest{Message: &settlementv1.StreamSettlementsRequest_Item_{Item: &settlementv1.StreamSettlementsRequest_Item{
		ClientSeq: seq, Transaction: &settlementv1.StreamSettlementsRequest_Item_SignedTx{SignedTx: raw},
	}}}
}

func (st *stream) item(seq uint64, raw []byte) { st.t.Helper(); st.send(item(seq, raw)) }

func (st *stream) track(seq uint64, hash []byte) {
	st.t.Helper()
	st.send(&streamRequest{Message: &settlementv1.StreamSettlementsRequest_Track_{Track: &settlementv1.StreamSettlementsRequest_Track{ClientSeq: seq, Hash: hash}}})
}

func (st *stream) ack(seq uint64) {
	st.t.Helper()
	st.send(&streamRequest{Message: &settlementv1.StreamSettlementsRequest_Ack_{Ack: &settlementv1.StreamSettlementsRequest_Ack{UpdateSeq: seq}}})
}

// next returns the next message that is no window.
func (st *stream) next() *streamResponse {
	st.t.Helper()
	for {
		m, err := st.recv()
		if err != nil {
			st.t.Fatalf("Recv: %v", err)
		}
		win := m.GetWindow()
		if win == nil {
			return m
		}
		st.window = win
		st.entries += int64(win.GetEntries())
		st.bytes += int64(win.GetBytes())
	}
}

// nextWindow returns the next window.
func (st *stream) nextWindow() *settlementv1.StreamSettlementsResponse_Window {
	st.t.Helper()
	for {
		m, err := st.recv()
		if err != nil {
			st.t.Fatalf("Recv: %v", err)
		}
		if win := m.GetWindow(); win != nil {
			return win
		}
	}
}

// told is an update as a client remembers it.
type told struct {
	seq   uint64
	stage chainv1.Stage
}

// collect reads until n items have an outcome and returns the updates by
// update_seq; it wants no gap in these.
func (st *stream) collect(after uint64, n int) []told {
	st.t.Helper()
	var all []told
	for n > 0 {
		m := st.next()
		if m.GetHeartbeat() != nil {
			continue
		}
		if after++; m.GetUpdateSeq() != after {
			st.t.Fatalf("update %d after %d: %v", m.GetUpdateSeq(), after-1, m)
		}
		u := m.GetUpdate()
		if u == nil {
			st.t.Fatalf("not an update: %v", m)
		}
		all = append(all, told{u.GetClientSeq(), u.GetSettlement().GetTransaction().GetStage()})
		if all[len(all)-1].stage >= chainv1.Stage_STAGE_FINAL {
			n--
		}
	}
	return all
}

func TestStreamTellsEveryOutcomeOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const items = 40
	l := w.openLot(10*items, 100_000, w.later())
	st := w.openStream(hello(newID()))
	if st.welcome.GetNextSeq() != 1 || st.welcome.GetGap() {
		t.Errorf("welcome %v", st.welcome)
	}
	for seq := range items {
		st.item(uint64(seq), l.settle(10*seq, 10*seq+10, 5))
	}
	outcomes := make(map[uint64]int)
	for _, u := range st.collect(0, items) {
		if u.stage == chainv1.Stage_STAGE_FINAL {
			outcomes[u.seq]++
		}
	}
	for seq := range uint64(items) {
		if outcomes[seq] != 1 {
			t.Errorf("item %d has %d outcomes", seq, outcomes[seq])
		}
	}
	if err := st.s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := st.recv(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("after the client closed its side: %v", err)
		}
	}
}

func TestStreamClosedByTheClientStillTellsOutcomes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.openLot(1, 100_000, w.later())
	resume := w.byHand()
	st := w.openStream(hello(newID()))
	st.item(1, l.settle(0, 1, 5))
	if u := st.next().GetUpdate(); u.GetSettlement().GetTransaction().GetStage() != chainv1.Stage_STAGE_CHECKED || u.GetSettlement().GetName() == "" {
		t.Errorf("first update %v", u)
	}
	if err := st.s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	resume()
	u := st.next().GetUpdate()
	if s := u.GetSettlement(); s.GetTransaction().GetStage() != chainv1.Stage_STAGE_FINAL || s.GetApplied() != 1 || s.GetTotalPaid() == 0 {
		t.Errorf("outcome %v", u)
	}
	for {
		if _, err := st.recv(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestStreamRefusesItems(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.openLot(3, 100_000, w.later())
	st := w.openStream(hello(newID()))
	bad := l.batch(0, 3, 5)
	bad.Entries[2].Signature[1] ^= 1
	st.item(1, w.tx(w.payee, chain.KindSettle, bad.Encode()))
	e := st.next()
	if got := e.GetError(); e.GetUpdateSeq() != 1 || got.GetClientSeq() != 1 || got.GetCode() != int32(codes.InvalidArgument) ||
		got.GetReason() != "BAD_SIGNATURE" || !slices.Equal(got.GetPositions(), []uint32{2}) || got.GetRetryable() {
		t.Errorf("bad signature: %v", e)
	}
	st.item(2, []byte("garbage"))
	if got := st.next().GetError(); got.GetReason() != "MALFORMED" || got.GetClientSeq() != 2 {
		t.Errorf("garbage: %v", got)
	}
	st.item(3, w.transfer(w.payer, w.other.addr, 1))
	if got := st.next().GetError(); got.GetReason() != api.ReasonUnexpectedKind {
		t.Errorf("a transfer: %v", got)
	}
	st.track(4, make([]byte, 32))
	if got := st.next().GetError(); got.GetReason() != api.ReasonTransactionNotFound {
		t.Errorf("an unknown hash: %v", got)
	}
	w.payee.nonce--
	st.item(1, l.settle(0, 2, 0)) // a refused item's number is free again
	if got := st.collect(4, 1); len(got) == 0 || got[0].seq != 1 {
		t.Errorf("the corrected item: %v", got)
	}
}

func TestStreamResumes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.openLot(101, 100_000, w.later())
	id := newID()
	first := w.openStream(hello(id))
	resume := w.byHand()
	raws := make([][]byte, 20)
	for seq := range raws {
		raws[seq] = l.settle(5*seq, 5*seq+5, 5)
		first.item(uint64(seq), raws[seq])
	}
	// The client remembers three updates, then the connection breaks; meanwhile
	// everything becomes final.
	var known []told
	for seq := uint64(1); seq <= 3; seq++ {
		u := first.next()
		known = append(known, told{u.GetUpdate().GetClientSeq(), u.GetUpdate().GetSettlement().GetTransaction().GetStage()})
	}
	session := first.welcome.GetSession()
	first.cancel()
	resume()

	h := hello(id)
	h.Session, h.ResumeAfterSeq = session, 3
	second := w.openStream(h)
	if second.welcome.GetGap() || second.welcome.GetNextSeq() != 4 || second.welcome.GetSession() != session {
		t.Fatalf("welcome %v", second.welcome)
	}
	for seq, raw := range raws { // the client does not know what arrived
		second.item(uint64(seq), raw)
	}
	known = append(known, second.collect(3, len(raws))...)
	for seq := range uint64(len(raws)) {
		var stages []chainv1.Stage
		for _, u := range known {
			if u.seq == seq {
				stages = append(stages, u.stage)
			}
		}
		if len(stages) == 0 || len(stages) > 2 || stages[len(stages)-1] != chainv1.Stage_STAGE_FINAL || len(stages) == 2 && stages[0] != chainv1.Stage_STAGE_CHECKED {
			t.Errorf("item %d: %v", seq, stages)
		}
	}
	// What is acknowledged is not told again.
	last := uint64(len(known))
	second.ack(last)
	second.cancel()
	h.ResumeAfterSeq = last
	third := w.openStream(h)
	third.item(100, l.settle(100, 101, 1))
	third.collect(last, 1)
	third.cancel()
	// A client that lost its memory of the session is told so.
	h.ResumeAfterSeq = 0
	h.Session = 12345
	fourth := w.openStream(h)
	if !fourth.welcome.GetGap() || fourth.welcome.GetNextSeq() != 1 || fourth.welcome.GetSession() == session {
		t.Errorf("welcome %v", fourth.welcome)
	}
	hash := w.hashOf(raws[0])
	fourth.track(7, hash[:])
	if u := fourth.next().GetUpdate(); u.GetClientSeq() != 7 || u.GetSettlement().GetTransaction().GetStage() != chainv1.Stage_STAGE_FINAL || u.GetSettlement().GetEntries() != 5 {
		t.Errorf("tracked: %v", u)
	}
}

// TestStreamAfterRestart: the server forgets clients, the chain does not forget
// outcomes.
func TestStreamAfterRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.openLot(2, 100_000, w.later())
	id := newID()
	st := w.openStream(hello(id))
	raw := l.settle(0, 2, 5)
	st.item(1, raw)
	st.collect(0, 1)
	session := st.welcome.GetSession()
	other := newServer(w)
	h := hello(id)
	h.Session, h.ResumeAfterSeq = session, 1
	again := other.openStream(h)
	if !again.welcome.GetGap() {
		t.Errorf("welcome %v", again.welcome)
	}
	again.item(1, raw)
	got := again.collect(0, 1)
	if len(got) != 1 || got[0] != (told{1, chainv1.Stage_STAGE_FINAL}) {
		t.Errorf("the same item again: %v", got)
	}
}

func TestStreamCredit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *api.Config) { c.Limits.WindowEntries, c.Limits.WindowBytes = 10, 100_000 })
	l := w.openLot(50, 100_000, w.later())
	st := w.openStream(hello(newID()))
	if win := st.nextWindow(); win.GetEntries() != 10 || win.GetBytes() != 100_000 {
		t.Fatalf("first window %v", win)
	}
	st.item(1, l.settle(0, 6, 5))
	st.item(2, l.settle(6, 10, 5))
	granted := uint32(0)
	for granted < 10 { // all credit comes back when items are checked
		granted += st.nextWindow().GetEntries()
	}
	if granted != 10 {
		t.Errorf("%d entries came back, want 10", granted)
	}
	st.item(3, l.settle(10, 16, 5))
	st.item(4, l.settle(16, 22, 5)) // too much, unless the first is checked already
	st.item(5, l.settle(22, 33, 5)) // too much
	for {
		if _, err := st.recv(); err != nil {
			wantProblem(t, err, codes.ResourceExhausted, api.ReasonCreditExceeded)
			break
		}
	}

	small := hello(newID())
	small.MaxEntries = 3
	if win := w.openStream(small).nextWindow(); win.GetEntries() != 3 {
		t.Errorf("a client that wants 3 entries gets %v", win)
	}
}

// TestStreamStarvesWithoutAcks: who does not acknowledge gets no more credit,
// and gets it back by acknowledging.
func TestStreamStarvesWithoutAcks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *api.Config) { c.Limits.WindowEntries, c.Limits.StreamUpdates = 4, 8 })
	l := w.openLot(100, 100_000, w.later())
	st := w.openStream(hello(newID()))
	updates, seq := uint64(0), uint64(0)
	for {
		m, err := st.recv()
		if err != nil {
			t.Fatal(err)
		}
		if m.GetUpdateSeq() != 0 {
			updates = m.GetUpdateSeq()
		}
		win := m.GetWindow()
		if win == nil {
			continue
		}
		if win.GetEntries() == 0 && win.GetRetryAfterMs() > 0 {
			break
		}
		for range win.GetEntries() {
			seq++
			st.item(seq, l.settle(int(seq), int(seq)+1, 1))
		}
	}
	if seq > 16 {
		t.Errorf("%d items got credit although nothing was acknowledged", seq)
	}
	for updates < 4 {
		updates = max(updates, st.next().GetUpdateSeq())
	}
	st.ack(updates)
	if win := st.nextWindow(); win.GetEntries() == 0 {
		t.Errorf("window after the acknowledgement: %v", win)
	}
}

func TestStreamProtocol(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, row := range []struct {
		name string
		msgs []*streamRequest
	}{
		{"no hello", []*streamRequest{item(1, nil)}},
		{"empty message", []*streamRequest{{}}},
		{"client id", []*streamRequest{{Message: &settlementv1.StreamSettlementsRequest_Hello_{Hello: hello("me")}}}},
		{"hello twice", []*streamRequest{
			{Message: &settlementv1.StreamSettlementsRequest_Hello_{Hello: hello(newID())}},
			{Message: &settlementv1.StreamSettlementsRequest_Hello_{Hello: hello(newID())}},
		}},
		{"ack of what was not sent", []*streamRequest{
			{Message: &settlementv1.StreamSettlementsRequest_Hello_{Hello: hello(newID())}},
			{Message: &settlementv1.StreamSettlementsRequest_Ack_{Ack: &settlementv1.StreamSettlementsRequest_Ack{UpdateSeq: 5}}},
		}},
		{"track without hash", []*streamRequest{
			{Message: &settlementv1.StreamSettlementsRequest_Hello_{Hello: hello(newID())}},
			{Message: &settlementv1.StreamSettlementsRequest_Track_{Track: &settlementv1.StreamSettlementsRequest_Track{}}},
		}},
	} {
		s, err := w.settlements().StreamSettlements(w.ctx())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range row.msgs {
			if err := s.Send(m); err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		}
		for {
			if _, err = s.Recv(); err != nil {
				break
			}
		}
		if p := wantProblem(t, err, codes.InvalidArgument, api.ReasonInvalidField); len(p.fields) != 1 {
			t.Errorf("%s: fields %v", row.name, p.fields)
		}
	}
	resume := hello(newID())
	st := w.openStream(resume)
	st.cancel()
	resume.Session, resume.ResumeAfterSeq = st.welcome.GetSession(), 9
	s, err := w.settlements().StreamSettlements(w.ctx())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&streamRequest{Message: &settlementv1.StreamSettlementsRequest_Hello_{Hello: resume}}); err != nil {
		t.Fatal(err)
	}
	_, err = s.Recv()
	wantProblem(t, err, codes.InvalidArgument, api.ReasonInvalidField)
}

// fullPool refuses until it is opened.
type fullPool struct {
	api.Pool
	mu    sync.Mutex
	full  bool
	tries int
}

func (p *fullPool) Submit(ctx context.Context, raw []byte) (exec.Status, error) {
	p.mu.Lock()
	full := p.full
	p.tries++
	p.mu.Unlock()
	if full {
		return exec.Status{}, &exec.BusyError{Reason: exec.ErrPoolFull, RetryAfter: 5 * time.Millisecond}
	}
	return p.Pool.Submit(ctx, raw)
}

// TestStreamWaitsWhileThePoolIsFull: nothing is refused and nothing lost, and a
// unary call is told when to come back.
func TestStreamWaitsWhileThePoolIsFull(t *testing.T) {
	t.Parallel()
	pool := &fullPool{full: true}
	w := newWorld(t, func(c *api.Config) {
		pool.Pool = c.Pool
		c.Pool = pool
	})
	pool.mu.Lock()
	pool.full = false
	pool.mu.Unlock()
	l := w.openLot(6, 100_000, w.later())
	pool.mu.Lock()
	pool.full = true
	pool.mu.Unlock()

	_, err := w.settlements().SubmitSettlement(w.ctx(), signed(l.settle(0, 1, 1)))
	if p := wantProblem(t, err, codes.ResourceExhausted, api.ReasonPoolFull); p.retry != 5*time.Millisecond {
		t.Errorf("retry after %v", p.retry)
	}
	w.payee.nonce--

	st := w.openStream(hello(newID()))
	if win := st.nextWindow(); win.GetEntries() == 0 {
		t.Fatalf("first window %v", win)
	}
	for seq := range 6 {
		st.item(uint64(seq), l.settle(seq, seq+1, 1))
	}
	for {
		win := st.nextWindow()
		if win.GetEntries() != 0 {
			t.Fatalf("credit comes back from a full pool: %v", win)
		}
		if win.GetRetryAfterMs() == 5 {
			break
		}
	}
	pool.mu.Lock()
	pool.full = false
	pool.mu.Unlock()
	st.collect(0, 6)
}

func TestStreamHeartbeat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *api.Config) { c.Heartbeat = 10 * time.Millisecond })
	w.steps(3)
	st := w.openStream(hello(newID()))
	for range 3 {
		m := st.next()
		if hb := m.GetHeartbeat(); hb.GetHeight() != w.height() || hb.GetSettlementClock() == 0 || m.GetUpdateSeq() != 0 {
			t.Fatalf("heartbeat %v", m)
		}
	}
}
