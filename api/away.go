package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
)

// What other nodes answer about shards that do not run here. An answer about something
// else, or with a proof that does not hold, is none, and the next node is asked. What is
// proved is taken from the proof, what the main chain says from this node's own, and the
// rest is marked as what it is: what somebody says.

// bookAway has another node take a booking. It first has somebody take it, so that a node
// that does not answer costs little, and then waits there for its stage: the same
// transaction twice is one.
//
// Those nodes charge this one for it, and would refuse its other calls once it owes them too
// much. So the caller pays here what it costs there, refusals included, and what nobody signed
// is not handed on.
func (s *services) bookAway(ctx context.Context, b *booking, req *servicev1.BookUsageRequest) (*servicev1.BookUsageResponse, error) {
	const method = servicev1.ServiceChainService_BookUsage_FullMethodName
	sh, hash := &b.is, b.tx.Hash
	if handedOn(ctx) || s.Peers == nil {
		return nil, s.notServing(sh, b.epoch)
	}
	ip, entries := callerIP(ctx), int64(len(b.usage.Batch.Entries))
	if !ledger.Verify(b.tx.SignerKey, b.tx.Signed(), b.tx.Signature) {
		s.rates.charge(ip, callCost)
		return nil, s.explainBooking(chain.Refuse(chain.CodeBadSignature, "transaction %s is not signed by the key that it names", hash), b)
	}
	cost := submitTokens(entries, int64(len(b.tx.Raw)))
	if b.validateOnly {
		cost += signatureTokens(entries)
	}
	s.rates.charge(ip, cost)
	resp := &servicev1.BookUsageResponse{}
	first := proto.CloneOf(req)
	first.WaitFor = chainv1.Stage_STAGE_CHECKED
	is := func(m *servicev1.BookUsageResponse) error { return sameBooking(m.GetBooking(), hash, sh) }
	source, err := s.forward(ctx, sh, b.epoch, method, first, resp, func() error { return is(resp) })
	if refusal, ok := errors.AsType[*relayed](err); ok {
		each := refusalTokens(refusal.problem(), entries)
		s.rates.charge(ip, refusal.nodes*each+max(refusal.nodes-1, 0)*cost)
	}
	if err != nil {
		return nil, err
	}
	stage := func() chainv1.Stage { return resp.GetBooking().GetTransaction().GetStage() }
	if !b.validateOnly && stage() < req.GetWaitFor() {
		s.rates.charge(ip, forwardTokens+cost)
		waiting, cancel := s.beforeDeadline(ctx)
		defer cancel()
		later := &servicev1.BookUsageResponse{}
		if err := s.Peers.Call(waiting, source.GetServedBy(), method, req, later); err == nil && is(later) == nil {
			resp = later
		}
	}
	resp.Source = source
	return resp, s.settleStage(sh, resp.GetBooking(), nil)
}

// beforeDeadline returns a context that ends early enough to answer before ctx does.
func (b *backend) beforeDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	left := deadline.Sub(b.Now())
	return context.WithTimeout(ctx, max(left-min(answerMargin, left/answerShare), time.Millisecond))
}

// sameBooking errs unless m is of a booking of a shard.
func sameBooking(m *servicev1.Booking, hash ledger.Hash, sh *shard.Shard) error {
	switch {
	case m.GetName() != BookingName(hash) || string(m.GetTransaction().GetHash()) != string(hash[:]):
		return fmt.Errorf("an answer about %s, asked about %s", quoted(m.GetName()), BookingName(hash))
	case m.GetShard() != ShardName(sh.ID) || m.GetService() != ServiceName(sh.Service):
		return fmt.Errorf("an answer of %s, asked for %s", quoted(m.GetShard()), ShardName(sh.ID))
	}
	return nil
}

// settleStage makes the stage of a booking that another node told what the main chain here
// says: FINAL is what is anchored. c is the checkpoint of its block, if that is proved. Once
// the shard has gone on as another generation, a height does not tell which of them a block
// without a proof is of: it is FINAL if the other node says so and its height is anchored.
func (b *backend) settleStage(sh *shard.Shard, m *servicev1.Booking, c *cert.Checkpoint) error {
	t := m.GetTransaction()
	told := t.GetStage()
	if told != chainv1.Stage_STAGE_FINAL && told != chainv1.Stage_STAGE_INCLUDED {
		return nil
	}
	row, err := b.anchors(sh.ID)
	if err != nil {
		return err
	}
	if t.Stage = chainv1.Stage_STAGE_INCLUDED; keepsTold(&row, c, t.GetHeight(), told == chainv1.Stage_STAGE_FINAL) {
		t.Stage = chainv1.Stage_STAGE_FINAL
	}
	return nil
}

// bookingAway asks another node for a booking, and verifies its proof if one was asked
// for.
func (s *services) bookingAway(ctx context.Context, sh *shard.Shard, epoch uint64, req *servicev1.GetBookingRequest, hash ledger.Hash) (*servicev1.GetBookingResponse, error) {
	resp := &servicev1.GetBookingResponse{}
	var proved *cert.Checkpoint
	verified := false
	source, err := s.forward(ctx, sh, epoch, servicev1.ServiceChainService_GetBooking_FullMethodName, req, resp, func() (err error) {
		proved, verified, err = s.checkBooking(ctx, sh, req, resp, hash)
		return err
	})
	if err != nil {
		return nil, err
	}
	if resp.Source = source; verified {
		resp.Source.Evidence = servicev1.Evidence_EVIDENCE_VERIFIED
	}
	return resp, s.settleStage(sh, resp.GetBooking(), proved)
}

// foundAway returns a booking that a node told which was asked what it knows, if it can be
// right: it says itself in which shard that is.
func (s *services) foundAway(ctx context.Context, m *shard.Map, endpoint string, req *servicev1.GetBookingRequest, resp *servicev1.GetBookingResponse, hash ledger.Hash) (*servicev1.GetBookingResponse, error) {
	id, err := parseShardName("shard", resp.GetBooking().GetShard())
	if err != nil {
		return nil, err
	}
	sh, ok := m.Find(id)
	if !ok {
		if sh, _, err = s.pastShardByName("shard", ShardName(id)); err != nil {
			return nil, fmt.Errorf("%w: of shard %d, which there is not", errWrongProof, id)
		}
	}
	proved, verified, err := s.checkBooking(ctx, &sh, req, resp, hash)
	if err != nil {
		s.Peers.Fault(endpoint)
		return nil, err
	}
	resp.Source = &servicev1.Source{ServedBy: endpoint, Evidence: servicev1.Evidence_EVIDENCE_CLAIMED}
	if verified {
		resp.Source.Evidence = servicev1.Evidence_EVIDENCE_VERIFIED
	}
	return resp, s.settleStage(&sh, resp.GetBooking(), proved)
}

// checkBooking errs unless an answer of another node about a booking can be right, and
// reports whether it proves all entries that were asked for and are said to be booked. block is
// the checkpoint of its block, nil unless that is proved.
func (b *backend) checkBooking(ctx context.Context, sh *shard.Shard, req *servicev1.GetBookingRequest, resp *servicev1.GetBookingResponse, hash ledger.Hash) (block *cert.Checkpoint, verified bool, err error) {
	m, p := resp.GetBooking(), resp.GetProof()
	if err := sameBooking(m, hash, sh); err != nil {
		return nil, false, err
	}
	if len(req.GetProve()) == 0 || p == nil {
		resp.Proof = nil
		return nil, false, nil
	}
	c, known, err := b.verifyCertificate(ctx, sh.ID, m.GetTransaction().GetHeight(), p.GetCertificate())
	if err != nil {
		return nil, false, err
	}
	if len(p.GetEntries()) > len(req.GetProve()) {
		return nil, false, fmt.Errorf("%w: %d entries, and %d were asked for", errWrongProof, len(p.GetEntries()), len(req.GetProve()))
	}
	if known {
		block = &c.Checkpoint
	}
	proved := make(map[uint32]bool)
	for _, e := range p.GetEntries() {
		proof, err := service.DecodeBookingProof(e.GetProof())
		if err != nil {
			return nil, false, fmt.Errorf("%w: %w", errWrongProof, err)
		}
		if err := proof.Verify(c.Checkpoint.UsageRoot); err != nil {
			return nil, false, fmt.Errorf("%w: %w", errWrongProof, err)
		}
		at := slices.IndexFunc(m.GetResults(), func(r *servicev1.BookingResult) bool { return r.GetPosition() == e.GetPosition() })
		if at >= 0 {
			r := m.GetResults()[at]
			if r.GetCode() != chainv1.Code_CODE_OK || r.GetLane() != uint32(proof.Booking.Lane) || r.GetSeq() != proof.Booking.Seq {
				return nil, false, fmt.Errorf("%w: of another entry than %d", errWrongProof, e.GetPosition())
			}
		}
		proved[e.GetPosition()] = true
	}
	for _, position := range req.GetProve() {
		booked := slices.ContainsFunc(m.GetResults(), func(r *servicev1.BookingResult) bool {
			return r.GetPosition() == position && r.GetCode() != chainv1.Code_CODE_OK
		})
		known = known && (booked || proved[position])
	}
	return block, known && len(proved) > 0, nil
}

// rowsAnswer is an answer about a shard's state with a proof of the rows that it is of.
type rowsAnswer interface {
	proto.Message
	GetProof() *servicev1.ProvedRows
}

// readAway makes a call of another node and returns its answer, its proof and who it was.
// about errs if resp answers another question. read returns what proved rows say, and
// ok=false if they are not those of the question: where the rows prove it, that is the
// answer, whatever else the node says.
func readAway[M rowsAnswer](ctx context.Context, b *backend, sh *shard.Shard, epoch uint64, method string, ask proto.Message, resp M, about func() error, read func(rows *provedRows) (M, bool)) (M, *servicev1.ProvedRows, *servicev1.Source, error) {
	var own M
	proved := false
	source, err := b.forward(ctx, sh, epoch, method, ask, resp, func() error {
		proved = false // what a node before this one proved in part is nothing
		if err := about(); err != nil {
			return err
		}
		rows, err := b.openRows(ctx, sh.ID, resp.GetProof())
		if err != nil || rows == nil {
			return err
		}
		told, ok := read(rows)
		if !ok || rows.lacks {
			return fmt.Errorf("%w: its rows are not all those of the question", errWrongProof)
		}
		own, proved = told, true
		return nil
	})
	if err != nil || !proved {
		return resp, resp.GetProof(), source, err
	}
	source.Evidence = servicev1.Evidence_EVIDENCE_VERIFIED
	return own, resp.GetProof(), source, nil
}

// usageAway asks another node for the usage of a channel, and verifies it as far as it is
// proved.
func (s *services) usageAway(ctx context.Context, sh *shard.Shard, epoch uint64, req *servicev1.GetUsageRequest, c *exec.ChannelInfo) (*servicev1.GetUsageResponse, error) {
	ask := &servicev1.GetUsageRequest{Channel: req.GetChannel(), Prove: true}
	told := &servicev1.GetUsageResponse{}
	about := func() error {
		if told.GetChannelIndex() != c.Index || told.GetShard() != ShardName(sh.ID) || told.GetPayer() != c.Payer.String() || told.GetPayee() != c.Payee.String() {
			return fmt.Errorf("an answer about channel %d of %s, asked about %d of %s", told.GetChannelIndex(), quoted(told.GetShard()), c.Index, ShardName(sh.ID))
		}
		return nil
	}
	read := func(rows *provedRows) (*servicev1.GetUsageResponse, bool) {
		own := &servicev1.GetUsageResponse{Height: rows.height}
		return own, usageOf(rows, service.HomeOf(c.Payer).Bucket, c.Index, own)
	}
	resp, proof, source, err := readAway(ctx, s.backend, sh, epoch, servicev1.ServiceChainService_GetUsage_FullMethodName, ask, told, about, read)
	if err != nil {
		return nil, err
	}
	if resp.Source, resp.Proof = source, nil; req.GetProve() {
		resp.Proof = proof
	}
	resp.Channel, resp.ChannelIndex, resp.Service, resp.Shard = req.GetChannel(), c.Index, ServiceName(sh.Service), ShardName(sh.ID)
	resp.AnchoredHeight, err = s.anchored(sh.ID)
	return resp, err
}

// earningsAway asks another node for what a provider earned, and verifies it as far as it
// is proved.
func (s *services) earningsAway(ctx context.Context, sh *shard.Shard, epoch uint64, req *servicev1.GetEarningsRequest, payee ledger.Address) (*servicev1.GetEarningsResponse, error) {
	ask := &servicev1.GetEarningsRequest{Payee: req.GetPayee(), Service: ServiceName(sh.Service), Prove: true}
	told := &servicev1.GetEarningsResponse{}
	about := func() error {
		if told.GetPayee() != req.GetPayee() || told.GetShard() != ShardName(sh.ID) {
			return fmt.Errorf("an answer about %s of %s, asked about %s of %s", quoted(told.GetPayee()), quoted(told.GetShard()), req.GetPayee(), ShardName(sh.ID))
		}
		return nil
	}
	read := func(rows *provedRows) (*servicev1.GetEarningsResponse, bool) {
		own := &servicev1.GetEarningsResponse{Height: rows.height}
		earningsOf(rows, payee, own)
		return own, true
	}
	resp, proof, source, err := readAway(ctx, s.backend, sh, epoch, servicev1.ServiceChainService_GetEarnings_FullMethodName, ask, told, about, read)
	if err != nil {
		return nil, err
	}
	if resp.Source, resp.Proof = source, nil; req.GetProve() {
		resp.Proof = proof
	}
	resp.Payee, resp.Service, resp.Shard = req.GetPayee(), ServiceName(sh.Service), ShardName(sh.ID)
	resp.AnchoredHeight, err = s.anchored(sh.ID)
	return resp, err
}

// statusAway asks another node how a shard runs there. What the main chain has of the
// shard comes from here.
func (s *services) statusAway(ctx context.Context, sh *shard.Shard, epoch uint64, req *servicev1.GetShardStatusRequest) (*servicev1.GetShardStatusResponse, error) {
	resp := &servicev1.GetShardStatusResponse{}
	source, err := s.forward(ctx, sh, epoch, servicev1.ServiceChainService_GetShardStatus_FullMethodName, req, resp, func() error {
		if resp.GetShard().GetName() != ShardName(sh.ID) {
			return fmt.Errorf("an answer of %s, asked for %s", quoted(resp.GetShard().GetName()), ShardName(sh.ID))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	resp.Source = source
	resp.Shard, err = s.shardAt(sh, epoch)
	resp.SmallCommittee = len(resp.GetShard().GetMembers()) < shard.SafeMembers
	return resp, err
}
