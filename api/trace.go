package api

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// maxTraceCalls is how many calls of other nodes one trace makes.
const maxTraceCalls = 32

// tracer is one call of Trace.
type tracer struct {
	*routing
	m      *shard.Map
	hash   ledger.Hash
	calls  int // of other nodes, made so far
	out    *servicev1.TraceResponse
	traced []uint64 // channels that were booked on
	// settled has what the last settlements paid on them, by payee.
	settled map[ledger.Address][]settledEntry
	entries int // of settlements, read so far
}

// Trace implements RoutingServiceServer.
func (r *routing) Trace(ctx context.Context, req *servicev1.TraceRequest) (*servicev1.TraceResponse, error) {
	hash, err := parseTraced(req.GetName())
	if err != nil {
		return nil, err
	}
	m, height, err := r.shardMap()
	if err != nil {
		return nil, err
	}
	t := &tracer{routing: r, m: m, hash: hash, out: &servicev1.TraceResponse{Height: height}, settled: make(map[ledger.Address][]settledEntry)}
	id, err := t.origin(ctx, req.GetShard())
	if err != nil {
		return nil, err
	}
	answer, evidence, err := t.ask(ctx, id, &servicev1.GetMessageRequest{
		ChainId: uint32(id), What: &servicev1.GetMessageRequest_Sent_{Sent: &servicev1.GetMessageRequest_Sent{TxHash: hash[:]}},
	})
	if err != nil {
		return nil, err
	}
	if err := t.begin(id, answer, evidence); err != nil {
		return nil, err
	}
	t.out.More = answer.GetMore()
	for i := range answer.GetSent() {
		if err := t.hop(ctx, id, answer, answer.GetSent()[i], evidence); err != nil {
			return nil, err
		}
	}
	if note := answer.GetNote(); note != "" && len(answer.GetSent()) == 0 {
		t.note("%s", note)
	}
	return t.out, t.vouchers(ctx, id, answer, evidence)
}

// parseTraced reads the name of a transaction, however it is called.
func parseTraced(name string) (ledger.Hash, error) {
	for _, collection := range []string{collectionTransactions, collectionSettlements, collectionBookings} {
		if strings.HasPrefix(name, collection+"/") {
			return parseHashName("name", collection, name)
		}
	}
	return ledger.Hash{}, invalid("name", "%s is not a name; want transactions/, settlements/ or bookings/ and a hash", quoted(name))
}

func (t *tracer) note(format string, args ...any) {
	if len(t.out.GetNotes()) < maxSent {
		t.out.Notes = append(t.out.Notes, fmt.Sprintf(format, args...))
	}
}

// origin returns the chain that took the transaction.
func (t *tracer) origin(ctx context.Context, named string) (ledger.ChainID, error) {
	if named != "" {
		sh, _, err := t.pastShardByName("shard", named)
		return sh.ID, err
	}
	if _, err := t.Pool.Status(t.hash); err == nil {
		return t.Network.Domain.Chain, nil
	}
	found, err := (&services{backend: t.backend}).searchBooking(ctx, t.hash, &servicev1.GetBookingRequest{Name: BookingName(t.hash)})
	if err != nil {
		p, _ := problemOf(err)
		if p.reason == ReasonTransactionNotFound {
			return 0, missing(ReasonTransactionNotFound, BookingName(t.hash), "neither the main chain nor a shard that was asked knows %s; if it was booked, name its shard", t.hash)
		}
		return 0, err
	}
	return parseShardName("shard", found.GetBooking().GetShard())
}

// ask asks a chain, here or at another node.
func (t *tracer) ask(ctx context.Context, id ledger.ChainID, req *servicev1.GetMessageRequest) (*servicev1.GetMessageResponse, servicev1.Evidence, error) {
	if _, err := t.readBlocks(id); err == nil {
		resp, err := t.GetMessage(ctx, req)
		p, _ := errors.AsType[*problem](err)
		if p == nil || !p.elsewhere() || id == t.Network.Domain.Chain {
			return resp, servicev1.Evidence_EVIDENCE_OWN, err
		}
		// This node is behind, or may have joined the shard late, by a snapshot.
		resp, evidence, bad := t.askAway(ctx, id, req)
		if bad != nil {
			return nil, 0, err
		}
		return resp, evidence, nil
	}
	return t.askAway(ctx, id, req)
}

// askAway asks another node that runs a chain.
func (t *tracer) askAway(ctx context.Context, id ledger.ChainID, req *servicev1.GetMessageRequest) (*servicev1.GetMessageResponse, servicev1.Evidence, error) {
	if t.calls == maxTraceCalls {
		return nil, 0, unavailable(ReasonOverloaded, retrySoon, "the trace needs more calls of other nodes than one may make; ask a node that runs its shards")
	}
	t.calls++
	sh, epoch, err := t.pastShardByName("shard", ShardName(id))
	if err != nil {
		return nil, 0, err
	}
	resp := &servicev1.GetMessageResponse{}
	_, err = t.forward(ctx, &sh, epoch, servicev1.RoutingService_GetMessage_FullMethodName, req, resp, func() error {
		if want := req.GetSent().GetTxHash(); want != nil && string(resp.GetTransaction().GetHash()) != string(want) {
			return fmt.Errorf("an answer about transaction %x, asked about %x", resp.GetTransaction().GetHash(), want)
		}
		return nil
	})
	if err != nil {
		err = t.endedAway(ctx, id, err)
	}
	return resp, servicev1.Evidence_EVIDENCE_CLAIMED, err
}

// begin fills in what is known of the transaction itself.
func (t *tracer) begin(id ledger.ChainID, answer *servicev1.GetMessageResponse, evidence servicev1.Evidence) error {
	tx := answer.GetTransaction()
	if tx == nil || string(tx.GetHash()) != string(t.hash[:]) {
		return unavailable(ReasonNotHosted, retrySoon, "the node that was asked answered about another transaction; try again")
	}
	o := &servicev1.Origin{Transaction: tx, ChainId: uint32(id), State: servicev1.HopState_HOP_STATE_PENDING, Evidence: evidence}
	t.out.Origin = o
	if tx.GetStage() != chainv1.Stage_STAGE_INCLUDED && tx.GetStage() != chainv1.Stage_STAGE_FINAL || tx.GetHeight() == 0 {
		return nil
	}
	o.State = servicev1.HopState_HOP_STATE_COMMITTED
	o.Steps = append(o.Steps, t.step(o.GetState(), id, tx.GetHeight(), answer.GetTime(), evidence))
	at, ok, err := t.anchoredAt(id, tx.GetHeight(), answer.GetCertificate())
	if err == nil && ok {
		o.State = servicev1.HopState_HOP_STATE_ANCHORED
		o.Steps = append(o.Steps, at)
	} else if id != t.Network.Domain.Chain && tx.GetStage() == chainv1.Stage_STAGE_FINAL {
		tx.Stage = chainv1.Stage_STAGE_INCLUDED // it is final once it is anchored
	}
	return err
}

func (t *tracer) step(state servicev1.HopState, id ledger.ChainID, height uint64, at *timestamppb.Timestamp, evidence servicev1.Evidence) *servicev1.Step {
	return &servicev1.Step{
		State: state, ChainId: uint32(id), Height: height, Time: at,
		Proof: &servicev1.ProofReference{ChainId: uint32(id), Height: height, Evidence: evidence},
	}
}

// anchoredAt returns the step of being anchored of a block of a chain, if it is: by an
// anchor on the main chain or, of the main chain itself, by its certificate. raw is the
// block's certificate, which tells of which generation it is, if there is one.
func (t *tracer) anchoredAt(id ledger.ChainID, height uint64, raw []byte) (*servicev1.Step, bool, error) {
	own := servicev1.Evidence_EVIDENCE_OWN
	if id == t.Network.Domain.Chain {
		c, err := t.Agreement.LatestCertificate()
		if err != nil || c.Checkpoint.Height < height {
			return nil, false, nil //nolint:nilerr // without a certificate it is not anchored
		}
		return t.step(servicev1.HopState_HOP_STATE_ANCHORED, id, height, nil, own), true, nil
	}
	row, err := t.anchors(id)
	if err != nil || !t.keeps(&row, id, height, raw) {
		return nil, false, err
	}
	step := t.step(servicev1.HopState_HOP_STATE_ANCHORED, t.Network.Domain.Chain, 0, nil, own)
	if t.Main == nil {
		return step, true, nil
	}
	in, ok, err := t.Main.Anchored(id, height)
	if err != nil || !ok { // by a block that is not kept
		return step, true, err
	}
	step.Height, step.Proof.Height = in.Height, in.Height
	if h, ok := t.Node.Header(in.Height); ok {
		step.Time = renderStamp(h.Time)
	}
	return step, true, nil
}

// keeps reports whether a block of a shard is anchored, by what is known of it.
func (t *tracer) keeps(row *anchor.State, id shard.ID, height uint64, raw []byte) bool {
	if s, runs := t.hosted(id); !runs || fit(s) {
		if local, ok := t.readable(id); ok {
			return keepsOwn(row, local, height)
		}
	}
	var c *cert.Checkpoint
	if told, err := cert.Decode(raw); err == nil && told.Checkpoint.Chain == id {
		c = &told.Checkpoint
	}
	return keepsTold(row, c, height, height <= row.Resumed)
}

// hop adds a message that the transaction sent.
func (t *tracer) hop(ctx context.Context, id ledger.ChainID, answer *servicev1.GetMessageResponse, leaf *servicev1.OutboxLeaf, evidence servicev1.Evidence) error {
	found, proof, err := t.verifyLeaf(ctx, id, leaf, evidence)
	if err != nil {
		t.note("chain %d: %v", id, err)
		return nil
	}
	m := found.Message
	if m == nil || m.IsBounce() || leaf.GetHeight() != answer.GetTransaction().GetHeight() {
		t.note("chain %d: a leaf that is not a message of the transaction's block", id)
		return nil
	}
	h := &servicev1.Hop{
		From: renderPlaceOf(m.Link.Src), To: renderPlaceOf(m.Link.Dst), FromChainId: uint32(id), Seq: m.Seq,
		Kind: uint32(m.Kind), KindName: service.MessageKind(m.Kind).String(), Recipient: m.Recipient.String(),
		State: servicev1.HopState_HOP_STATE_COMMITTED, Netted: m.OriginTx != t.hash,
	}
	t.out.Hops = append(t.out.Hops, h)
	h.Steps = append(h.Steps, &servicev1.Step{State: h.GetState(), ChainId: uint32(id), Height: leaf.GetHeight(), Time: leaf.GetTime(), Proof: proof})
	at, ok, err := t.anchoredAt(id, leaf.GetHeight(), leaf.GetCertificate())
	if err != nil {
		return err
	}
	if ok {
		t.advance(h, link.EventAnchor, at)
	}
	t.arrival(ctx, h, m)
	t.acknowledged(ctx, h, id, m)
	return ctx.Err()
}

// owner returns the chain that owns a place now.
func (t *tracer) ownerOf(p link.Place) (ledger.ChainID, bool) {
	if p == (link.Place{}) {
		return t.Network.Domain.Chain, true
	}
	return t.m.Owner(p.Service, p.Zone, shard.Bucket(p.Bucket))
}

// advance moves a hop on by an event, if that can follow.
func (*tracer) advance(h *servicev1.Hop, e link.Event, s *servicev1.Step) {
	next, ok := link.Phase(h.GetState()).Next(e) //nolint:gosec // of the table
	if !ok {
		return
	}
	h.State, s.State = servicev1.HopState(next), servicev1.HopState(next)
	h.Steps = append(h.Steps, s)
}

func knownRequest(id ledger.ChainID, m *link.Message) *servicev1.GetMessageRequest {
	return &servicev1.GetMessageRequest{ChainId: uint32(id), What: &servicev1.GetMessageRequest_Known_{Known: &servicev1.GetMessageRequest_Known{
		From: renderPlaceOf(m.Link.Src), To: renderPlaceOf(m.Link.Dst), Seq: m.Seq,
	}}}
}

// arrival adds what the destination knows of a message.
func (t *tracer) arrival(ctx context.Context, h *servicev1.Hop, m *link.Message) {
	to, ok := t.ownerOf(m.Link.Dst)
	if !ok {
		h.Note = "no shard owns its destination in this epoch"
		return
	}
	h.ToChainId = uint32(to)
	answer, evidence, err := t.ask(ctx, to, knownRequest(to, m))
	if err != nil {
		h.Note = "what its destination knows could not be asked: " + problemText(err)
		return
	}
	if !answer.GetReceived() {
		return
	}
	event := link.EventExecute
	at := t.step(0, to, 0, nil, evidence)
	if ack := answer.GetAcknowledgement(); ack == nil {
		h.Note = "it was taken in too long ago to tell in which block, and whether it was executed"
	} else {
		leaf, proof, err := t.verifyLeaf(ctx, to, ack, evidence)
		if err != nil || leaf.Ack == nil || leaf.Ack.Link != m.Link || leaf.Ack.Next <= m.Seq {
			t.note("chain %d: an acknowledgement that is none of %s %d: %v", to, m.Link, m.Seq, err)
			return
		}
		at.Height, at.Time, at.Proof = ack.GetHeight(), ack.GetTime(), proof
	}
	if b := answer.GetBounce(); b != nil {
		leaf, proof, err := t.verifyLeaf(ctx, to, b, evidence)
		if err != nil || leaf.Message == nil || leaf.Message.Link != m.Link.Reverse() || leaf.Message.Of != m.Seq || !leaf.Message.IsBounce() {
			t.note("chain %d: a bounce that is none of %s %d: %v", to, m.Link, m.Seq, err)
			return
		}
		h.Code, at.Proof = renderCode(leaf.Message.Code), proof
		event = link.EventBounce
		if leaf.Message.Code == chain.CodeMessageExpired {
			event = link.EventExpire
		}
	}
	if link.Phase(h.GetState()) == link.PhaseCommitted { //nolint:gosec // of the table
		// The destination saw the anchor before this node did.
		t.advance(h, link.EventAnchor, t.step(0, t.Network.Domain.Chain, 0, nil, evidence))
	}
	t.advance(h, link.EventDeliver, t.step(0, to, at.GetHeight(), at.GetTime(), at.GetProof().GetEvidence()))
	if answer.GetAcknowledgement() == nil {
		return
	}
	if event == link.EventExecute && at.GetProof().GetEvidence() == servicev1.Evidence_EVIDENCE_VERIFIED {
		// The acknowledgement proves that the message was taken in. That no bounce of it stands
		// beside it is what the node says that was asked.
		at.Proof.Evidence = servicev1.Evidence_EVIDENCE_CLAIMED
		h.Note = "it is proved that it was taken in, and not that it was executed: whether it was sent back is what the node says that was asked"
	}
	t.advance(h, event, at)
}

// acknowledged adds that the source knows that a message arrived.
func (t *tracer) acknowledged(ctx context.Context, h *servicev1.Hop, from ledger.ChainID, m *link.Message) {
	if owner, ok := t.ownerOf(m.Link.Src); ok { // the shard may have been split since
		from = owner
	}
	answer, evidence, err := t.ask(ctx, from, knownRequest(from, m))
	if err != nil {
		if h.GetNote() == "" {
			h.Note = "whether its source knows that it arrived could not be asked: " + problemText(err)
		}
		return
	}
	if answer.GetAcknowledged() {
		t.advance(h, link.EventAck, t.step(0, from, 0, nil, evidence))
	}
}

// problemText returns an error as clients may see it.
func problemText(err error) string {
	p, _ := problemOf(err)
	return p.message
}
