package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

// SettlementStream settles batches over one stream that stays open: submissions
// go up within the credit that the node grants, outcomes come down as they
// happen. When the stream breaks it is opened again, on another node if need be;
// what has no outcome is sent again, which is safe, and nobody who waits notices.
//
// Run must be running for anything to happen. It is safe for concurrent use.
type SettlementStream struct {
	client   *Client
	clientID string

	mu      sync.Mutex
	pending map[uint64]*StreamItem // without an outcome, by number
	unsent  []*StreamItem          // in the order of their numbers
	seq     uint64                 // number of the last item
	session uint64                 // of the server's memory; 0 before the first stream
	update  uint64                 // number of the last update processed
	acked   uint64                 // of the last one acknowledged
	entries int64                  // credit
	bytes   int64
	work    chan struct{} // capacity 1: there may be something to send
	ended   error         // why Run has returned; nil while it may run
}

// StreamItem is a batch on its way over a SettlementStream.
type StreamItem struct {
	seq     uint64
	request *settlementv1.StreamSettlementsRequest
	entries int64
	size    int64
	checked bool // the server of the present session has it

	done   chan struct{} // closed when status or err is set
	status Status
	err    error
}

// NewSettlementStream returns a stream that Run opens.
func (c *Client) NewSettlementStream() *SettlementStream {
	return &SettlementStream{
		client: c, clientID: newRequestID(), pending: make(map[uint64]*StreamItem), work: make(chan struct{}, 1),
	}
}

// ErrStreamEnded is returned for items without an outcome when Run has returned.
// Whether they will be executed is unknown.
var ErrStreamEnded = errors.New("settlement stream has ended")

// Run opens the stream, and again whenever it breaks, until ctx ends, when it
// returns nil, or until the node refuses it for good. Then every item without an
// outcome fails with ErrStreamEnded. Run is called once.
func (s *SettlementStream) Run(ctx context.Context) error {
	err := s.run(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = ErrStreamEnded
	if err != nil {
		s.ended = fmt.Errorf("%w: %w", ErrStreamEnded, err)
	}
	for _, item := range s.pending {
		item.err = s.ended
		close(item.done)
	}
	clear(s.pending)
	s.unsent = nil
	return err
}

func (s *SettlementStream) run(ctx context.Context) error {
	for failures := 1; ctx.Err() == nil; failures++ {
		e := s.client.endpoint()
		welcome, broken := s.stream(ctx, e)
		if welcome {
			failures = 1
		}
		if err := s.pause(ctx, e, failures, errorOf(broken)); err != nil {
			return err
		}
	}
	return nil
}

// pause waits after a stream broke, or returns why there is no coming back.
func (s *SettlementStream) pause(ctx context.Context, e *endpoint, failures int, broken error) error {
	if x, ok := errors.AsType[*Error](broken); ok && !comesBack(x) && !done(ctx) {
		return fmt.Errorf("settlement stream: %w", broken)
	}
	s.client.leave(e)
	s.client.options.log.LogAttrs(ctx, slog.LevelInfo, "settlement stream comes back",
		slog.String("endpoint", e.target), slog.Any("err", broken))
	sleep(ctx, s.client.options.retry.delay(failures, broken))
	return nil
}

func done(ctx context.Context) bool { return ctx.Err() != nil }

// comesBack reports whether a broken stream may be opened again. One that
// another stream of the same client has replaced may not: there are two of us.
func comesBack(e *Error) bool {
	switch e.Code {
	case codes.InvalidArgument, codes.Unimplemented, codes.Unauthenticated, codes.PermissionDenied:
		return false
	case codes.Aborted:
		return e.Reason != "STREAM_REPLACED"
	default:
		return true
	}
}

// Send puts a signed settlement in line and returns at once. Items are sent in
// the order of the calls.
func (s *SettlementStream) Send(raw []byte, entries int) *StreamItem {
	s.mu.Lock()
	defer s.mu.Unlock()
	item := &StreamItem{entries: max(1, int64(entries)), done: make(chan struct{})}
	if s.ended != nil {
		item.err = s.ended
		close(item.done)
		return item
	}
	s.seq++
	item.seq = s.seq
	item.request = &settlementv1.StreamSettlementsRequest{Message: &settlementv1.StreamSettlementsRequest_Item_{
		Item: &settlementv1.StreamSettlementsRequest_Item{
			ClientSeq: item.seq, Transaction: &settlementv1.StreamSettlementsRequest_Item_SignedTx{SignedTx: raw},
		},
	}}
	item.size = int64(proto.Size(item.request))
	s.pending[item.seq] = item
	s.unsent = append(s.unsent, item)
	s.wake()
	return item
}

// Wait returns the outcome: a final status with the results of all entries, or why
// the item was refused. A status at StageDropped or StageRefused is none: the
// settlement may still be executed.
func (i *StreamItem) Wait(ctx context.Context) (Status, error) {
	select {
	case <-i.done:
		return i.status, i.err
	case <-ctx.Done():
		return Status{}, fmt.Errorf("wait for a settlement: %w", ctx.Err())
	}
}

// Pending returns how many items have no outcome yet.
func (s *SettlementStream) Pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending)
}

func (s *SettlementStream) wake() {
	select {
	case s.work <- struct{}{}:
	default:
	}
}

// stream opens one stream and serves it until it breaks. It reports whether the
// server welcomed it.
func (s *SettlementStream) stream(ctx context.Context, e *endpoint) (welcome bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(watchSilence, cancel)
	defer silence.Stop()
	stream, err := e.settlements.StreamSettlements(ctx)
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	hello := &settlementv1.StreamSettlementsRequest_Hello{
		ClientId: s.clientID, Session: s.session, ResumeAfterSeq: s.update, FullResults: true,
	}
	s.mu.Unlock()
	request := &settlementv1.StreamSettlementsRequest{Message: &settlementv1.StreamSettlementsRequest_Hello_{Hello: hello}}
	if err := stream.Send(request); err != nil {
		_, err = stream.Recv() // which says why
		return false, err
	}
	var sender sync.WaitGroup
	defer sender.Wait()
	defer cancel() // before that
	for {
		m, err := stream.Recv()
		if err != nil {
			return welcome, err
		}
		silence.Reset(watchSilence)
		if w := m.GetWelcome(); w != nil && !welcome {
			welcome = true
			s.begin(w)
			sender.Go(func() { s.send(ctx, stream) })
			continue
		}
		s.receive(m)
		s.wake()
	}
}

// begin prepares for a new stream: what is without an outcome is sent again,
// unless this server has said that it has it and remembers.
func (s *SettlementStream) begin(w *settlementv1.StreamSettlementsResponse_Welcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	forgotten := w.GetSession() != s.session || w.GetGap()
	if w.GetSession() != s.session {
		s.update, s.acked = 0, 0
	}
	s.session = w.GetSession()
	s.update = max(s.update, w.GetNextSeq()-1)
	s.entries, s.bytes = 0, 0
	s.unsent = s.unsent[:0]
	for seq := range s.pending {
		item := s.pending[seq]
		if forgotten || !item.checked {
			item.checked = false
			s.unsent = append(s.unsent, item)
		}
	}
	slices.SortFunc(s.unsent, func(a, b *StreamItem) int { return cmp.Compare(a.seq, b.seq) })
}

// send sends what there is credit for, and acknowledgements, until ctx ends or
// the stream breaks, of which Recv tells.
func (s *SettlementStream) send(ctx context.Context, stream settlementv1.SettlementService_StreamSettlementsClient) {
	for {
		if ack := s.nextAck(); ack != nil {
			if stream.Send(ack) != nil {
				return
			}
		}
		if item := s.nextItem(); item != nil {
			if stream.Send(item) != nil {
				return
			}
			continue
		}
		select {
		case <-s.work:
		case <-ctx.Done():
			return
		}
	}
}

func (s *SettlementStream) nextAck() *settlementv1.StreamSettlementsRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.update == s.acked {
		return nil
	}
	s.acked = s.update
	return &settlementv1.StreamSettlementsRequest{Message: &settlementv1.StreamSettlementsRequest_Ack_{
		Ack: &settlementv1.StreamSettlementsRequest_Ack{UpdateSeq: s.acked},
	}}
}

// nextItem takes the next item if there is credit for it.
func (s *SettlementStream) nextItem() *settlementv1.StreamSettlementsRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unsent) == 0 {
		return nil
	}
	item := s.unsent[0]
	if item.entries > s.entries || item.size > s.bytes {
		return nil
	}
	s.entries -= item.entries
	s.bytes -= item.size
	s.unsent[0] = nil
	s.unsent = s.unsent[1:]
	return item.request
}

// receive books a message of the server.
func (s *SettlementStream) receive(m *settlementv1.StreamSettlementsResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.update = max(s.update, m.GetUpdateSeq())
	switch x := m.GetMessage().(type) {
	case *settlementv1.StreamSettlementsResponse_Window_:
		s.entries += int64(x.Window.GetEntries())
		s.bytes += int64(x.Window.GetBytes())
	case *settlementv1.StreamSettlementsResponse_Heartbeat_:
		s.client.saw(x.Heartbeat.GetHeight())
	case *settlementv1.StreamSettlementsResponse_Error:
		s.finish(x.Error.GetClientSeq(), Status{}, itemErrorOf(x.Error))
	case *settlementv1.StreamSettlementsResponse_Update_:
		item, ok := s.pending[x.Update.GetClientSeq()]
		if !ok {
			return
		}
		status, err := settlementOf(x.Update.GetSettlement())
		switch {
		case err != nil:
			s.finish(item.seq, status, err)
		case status.Stage >= StageFinal:
			s.finish(item.seq, status, nil)
		case status.Stage >= StageChecked:
			item.checked = true
		}
	}
}

// finish gives an item its outcome.
func (s *SettlementStream) finish(seq uint64, status Status, err error) {
	item, ok := s.pending[seq]
	if !ok {
		return
	}
	delete(s.pending, seq)
	item.status, item.err = status, err
	close(item.done)
}

// itemErrorOf returns the refusal of an item as a call's would be.
func itemErrorOf(m *settlementv1.StreamSettlementsResponse_ItemError) *Error {
	positions := make([]int, len(m.GetPositions()))
	for i, p := range m.GetPositions() {
		positions[i] = int(p)
	}
	return &Error{
		Code: codes.Code(m.GetCode()), Reason: m.GetReason(), Message: m.GetDetail(),
		rule: ruleOf(m.GetReason(), m.GetDetail(), positions),
	}
}

// StreamAccount is an Account that settles over a stream and does everything
// else like the account.
type StreamAccount struct {
	*Account

	stream *SettlementStream
}

// Over returns the account with its settlements going over a stream, for a
// pay.Redeemer that settles much.
func (a *Account) Over(stream *SettlementStream) *StreamAccount {
	return &StreamAccount{Account: a, stream: stream}
}

// Settle submits a settlement batch over the stream, like Account.Settle.
func (a *StreamAccount) Settle(ctx context.Context, batch channel.Batch) (settlement.Receipt, error) {
	if err := pay.CheckBatch(&a.client.network.Params, &batch); err != nil {
		return settlement.Receipt{}, fmt.Errorf("%s: %w", chain.KindSettle, err)
	}
	receipt, err := a.Submit(ctx, chain.KindSettle, batch.Encode())
	if err == nil && receipt.Code != chain.CodeOK {
		err = fmt.Errorf("%s in block: %w", chain.KindSettle, &chain.RuleError{Code: receipt.Code})
	}
	return receipt, err
}

// Submit is Account.Submit, over the stream if it is a settlement.
func (a *StreamAccount) Submit(ctx context.Context, kind chain.Kind, payload []byte) (settlement.Receipt, error) {
	if kind != chain.KindSettle {
		return a.Account.Submit(ctx, kind, payload)
	}
	batch, err := channel.DecodeBatch(payload)
	if err != nil {
		return settlement.Receipt{}, err
	}
	for signing := 1; ; signing++ {
		t, err := a.sign(ctx, kind, payload)
		if err != nil {
			return settlement.Receipt{}, err
		}
		receipt, err := t.stream(ctx, a.stream, len(batch.Entries))
		if err == nil {
			if signing < maxSignings && overtaken(&receipt) {
				continue
			}
			return receipt, nil
		}
		if signing == maxSignings || !t.renewable(ctx, err) {
			return settlement.Receipt{}, t.fail(err)
		}
		if !sleep(ctx, a.client.options.retry.delay(signing, err)) {
			return settlement.Receipt{}, t.fail(err)
		}
	}
}

// stream sends the transaction over a stream until it is final, again if a node
// has dropped it or could not take it.
func (t *Transaction) stream(ctx context.Context, over *SettlementStream, entries int) (settlement.Receipt, error) {
	for try := 1; ; try++ {
		s, err := over.Send(t.raw, entries).Wait(ctx)
		if code, ok := chain.CodeOf(err); err != nil && ok && code == chain.CodeNonceUsed {
			if found, lookup := t.lookUp(ctx); lookup == nil { // by this very transaction
				s, err = found, nil
			}
		}
		switch _, refused := errors.AsType[*Error](err); {
		case err == nil && s.Stage == StageFinal:
			t.status = s
			t.settle()
			return s.receipt(), nil
		case err == nil && s.Stage == StageRefused:
			err = refusedBy(&s)
			t.ambiguous = true
		case err == nil: // dropped
			err = fmt.Errorf("%w: %s", ErrDropped, s.DropReason)
			t.ambiguous = true
		case !refused: // nobody knows
			t.ambiguous = true
			return settlement.Receipt{}, err
		case !passes(err):
			return settlement.Receipt{}, err
		}
		if try == maxDrops || !sleep(ctx, t.account.client.options.retry.delay(try, err)) {
			return settlement.Receipt{}, err
		}
	}
}
