package api_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/route"
)

// twoNodes has all shards of a zone on one node, those of the other one on another.
func twoNodes(t *testing.T) (s *shardWorld, here, away *shardNode) {
	t.Helper()
	s = newShardWorld(t, map[string][]shard.ID{"here": {4, 5}, "away": {2, 3}})
	return s, s.nodes["here"], s.nodes["away"]
}

// TestBookingOnAnyNode: the answer is the same wherever it is asked, and a booking is
// FINAL when it is anchored, not before.
func TestBookingOnAnyNode(t *testing.T) {
	t.Parallel()
	s, here, away := twoNodes(t)
	c := s.sell(s.elsewhere(s.payer.addr)).told()
	home := s.home(s.payer.addr)
	raw := c.book(1_000)

	req := signedUsage(raw)
	req.WaitFor, req.FullResults = chainv1.Stage_STAGE_INCLUDED, true
	forwarded, err := away.services().BookUsage(s.ctx(), req)
	if err != nil {
		t.Fatal(err)
	}
	b := forwarded.GetBooking()
	if b.GetTransaction().GetStage() != chainv1.Stage_STAGE_INCLUDED || b.GetTransaction().GetCode() != chainv1.Code_CODE_OK || b.GetShard() != api.ShardName(home.is.ID) ||
		b.GetService() != "services/1" || b.GetApplied() != 1 || b.GetBooked().GetAmount() != 1_000 || b.GetBooked().GetUnits() != 500 || len(b.GetResults()) != 1 ||
		b.GetResults()[0].GetSeq() != 1 || b.GetPayee() != c.payee.addr.String() || b.GetTransaction().GetKind() != chainv1.Kind_KIND_BOOK_USAGE {
		t.Fatalf("booked over another node: %v", b)
	}
	direct, err := here.services().BookUsage(s.ctx(), req)
	if err != nil || !proto.Equal(direct.GetBooking(), forwarded.GetBooking()) {
		t.Errorf("again at its node: %v, %v, want %v", direct, err, forwarded)
	}
	if own, other := direct.GetSource(), forwarded.GetSource(); own.GetServedBy() != "" || own.GetEvidence() != servicev1.Evidence_EVIDENCE_OWN ||
		other.GetServedBy() != "here" || other.GetEvidence() != servicev1.Evidence_EVIDENCE_CLAIMED {
		t.Errorf("sources %v and %v", own, other)
	}
	for _, n := range []*shardNode{here, away} {
		for _, name := range []string{"", b.GetShard()} {
			got, err := n.services().GetBooking(s.ctx(), &servicev1.GetBookingRequest{Name: b.GetName(), Shard: name, FullResults: true})
			if err != nil || !proto.Equal(got.GetBooking(), b) {
				t.Errorf("%s, shard %q: %v, %v", n.name, name, got, err)
			}
		}
		used, err := n.services().GetUsage(s.ctx(), &servicev1.GetUsageRequest{Channel: c.name()})
		if err != nil || used.GetBooked().GetAmount() != 1_000 || len(used.GetLanes()) != 1 || used.GetLanes()[0].GetCumulative() != 1_000 ||
			used.GetLanes()[0].GetSeq() != 1 || used.GetDeposit() != 100_000 || used.GetShard() != b.GetShard() || used.GetAnchoredHeight() != 0 {
			t.Errorf("%s: usage %v, %v", n.name, used, err)
		}
	}

	// FINAL waits for the anchor, and is told once it is there.
	ctx := s.ctx()
	done := make(chan *servicev1.BookUsageResponse, 1)
	go func() {
		final := proto.CloneOf(req)
		final.WaitFor = chainv1.Stage_STAGE_FINAL
		resp, err := away.services().BookUsage(ctx, final)
		if err != nil {
			t.Errorf("wait: %v", err)
		}
		done <- resp
	}()
	s.anchorAll(home.is.ID)
	if resp := <-done; resp.GetBooking().GetTransaction().GetStage() != chainv1.Stage_STAGE_FINAL {
		t.Errorf("anchored: %v", resp)
	}

	// Earnings cross to the payee's home.
	payees := s.home(c.payee.addr)
	s.deliver(home, payees)
	for _, n := range []*shardNode{here, away} {
		e, err := n.services().GetEarnings(s.ctx(), &servicev1.GetEarningsRequest{Payee: api.AccountName(c.payee.addr), Service: "services/content"})
		if err != nil || e.GetTotal().GetAmount() != 1_000 || len(e.GetEpochs()) != 1 || e.GetShard() != api.ShardName(payees.is.ID) {
			t.Errorf("%s: earnings %v, %v", n.name, e, err)
		}
	}
}

// TestBookingAsFields: fields and signed bytes are one transaction.
func TestBookingAsFields(t *testing.T) {
	t.Parallel()
	s, here, _ := twoNodes(t)
	c := s.sell(s.payee).told()
	u := c.usage(700)
	d := service.Domain(s.domain.Network, 1)
	r, err := u.Receipted(77)
	if err != nil {
		t.Fatal(err)
	}
	sig := c.payee.key.Sign(r.Signed(d))
	key := c.payee.key.Public()
	u.Receipt = &service.PayeeReceipt{PayeeKey: key, ReceivedAt: 77, Signature: sig}
	by := s.other.key.Public()
	unsigned := chain.UnsignedTx(d, by, chain.TxFields{Kind: chain.KindBookUsage, Zone: zone, Nonce: 5, Payload: u.Encode()})
	raw := chain.AttachSignature(unsigned, s.other.key.Sign(unsigned))
	e := &u.Batch.Entries[0]
	batch := &servicev1.UsageBatch{
		Service: 1, Zone: uint32(u.Zone), Payee: c.payee.addr.String(),
		Receipt: &servicev1.PayeeReceipt{PublicKey: key[:], ReceivedAt: 77, Signature: sig[:]},
		Entries: []*servicev1.UsageEntry{{
			ChannelIndex: e.Index, Bucket: uint32(u.Buckets[0]), Cumulative: uint64(e.Cumulative), Units: e.Units, Signature: e.Signature[:],
		}},
		Envelope: &chainv1.Envelope{PublicKey: by[:], Zone: zone, Nonce: 5, Signature: raw[len(raw)-ledger.SignatureSize:]},
	}
	dry, err := here.services().BookUsage(s.ctx(), &servicev1.BookUsageRequest{Transaction: &servicev1.BookUsageRequest_Batch{Batch: batch}, ValidateOnly: true})
	if err != nil || dry.GetBooking().GetApplied() != 1 || dry.GetBooking().GetTransaction().GetStage() != chainv1.Stage_STAGE_UNSPECIFIED {
		t.Fatalf("validate only: %v, %v", dry, err)
	}
	id := newID()
	one, err := here.services().BookUsage(s.ctx(), &servicev1.BookUsageRequest{RequestId: id, Transaction: &servicev1.BookUsageRequest_Batch{Batch: batch}})
	if err != nil || one.GetBooking().GetName() != api.BookingName(chain.TxHash(raw)) {
		t.Fatalf("as fields: %v, %v", one, err)
	}
	two, err := here.services().BookUsage(s.ctx(), &servicev1.BookUsageRequest{RequestId: id, Transaction: &servicev1.BookUsageRequest_SignedTx{SignedTx: raw}, Service: "services/1"})
	if err != nil || !proto.Equal(one, two) {
		t.Errorf("as bytes: %v, %v, want %v", two, err, one)
	}
	other := signedUsage(c.book(900))
	other.RequestId = id
	_, err = here.services().BookUsage(s.ctx(), other)
	wantProblem(t, err, codes.AlreadyExists, api.ReasonRequestIDReused)

	for name, change := range map[string]func(*servicev1.UsageBatch){
		"batch.entries":              func(b *servicev1.UsageBatch) { b.Entries = nil },
		"batch.service":              func(b *servicev1.UsageBatch) { b.Service = 0 },
		"batch.zone":                 func(b *servicev1.UsageBatch) { b.Zone = 256 },
		"batch.payee":                func(b *servicev1.UsageBatch) { b.Payee = "" },
		"batch.receipt.signature":    func(b *servicev1.UsageBatch) { b.Receipt.Signature = nil },
		"batch.entries[0].bucket":    func(b *servicev1.UsageBatch) { b.Entries[0].Bucket = 256 },
		"batch.entries[0].signature": func(b *servicev1.UsageBatch) { b.Entries[0].Signature = []byte{1} },
		"batch.envelope":             func(b *servicev1.UsageBatch) { b.Envelope = nil },
	} {
		bad := proto.CloneOf(batch)
		change(bad)
		_, err := here.services().BookUsage(s.ctx(), &servicev1.BookUsageRequest{Transaction: &servicev1.BookUsageRequest_Batch{Batch: bad}})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, req := range map[string]*servicev1.BookUsageRequest{
		"signed_tx": {},
		"service":   {Transaction: &servicev1.BookUsageRequest_SignedTx{SignedTx: raw}, Service: "services/2"},
		"shard":     {Transaction: &servicev1.BookUsageRequest_SignedTx{SignedTx: raw}, Shard: "shards/1"},
		"wait_for":  {Transaction: &servicev1.BookUsageRequest_SignedTx{SignedTx: raw}, WaitFor: chainv1.Stage_STAGE_DROPPED},
	} {
		_, err := here.services().BookUsage(s.ctx(), req)
		wantBadField(t, err, name)
	}
	_, err = here.services().BookUsage(s.ctx(), signedUsage(s.transfer(s.other, s.payee.addr, 1)))
	wantProblem(t, err, codes.InvalidArgument, "WRONG_CHAIN")
}

// TestBookingOnTheWrongShard: the answer names the right one.
func TestBookingOnTheWrongShard(t *testing.T) {
	t.Parallel()
	s, here, away := twoNodes(t)
	c := s.sell(s.payee).told()
	home := s.home(s.payer.addr)
	wrong := shard.ID(2)
	if home.is.ID == 2 {
		wrong = 3
	}
	for _, n := range []*shardNode{here, away} {
		req := signedUsage(c.book(1_000))
		req.Shard = api.ShardName(wrong)
		_, err := n.services().BookUsage(s.ctx(), req)
		p := wantProblem(t, err, codes.FailedPrecondition, "WRONG_SHARD")
		want := map[string]string{
			"shard": api.ShardName(home.is.ID), "service": "services/1", "zone": fmt.Sprint(home.is.Zone), "epoch": "0",
			"first_bucket": fmt.Sprint(home.is.Buckets.First), "last_bucket": fmt.Sprint(home.is.Buckets.Last),
		}
		for key, value := range want {
			if p.info.GetMetadata()[key] != value {
				t.Errorf("%s: metadata %v, want %s of %s", n.name, p.info.GetMetadata(), value, key)
			}
		}
	}

	// Entries of several homes are for their owners to sort.
	u := c.usage(2_000)
	second := u.Batch.Entries[0]
	second.Index++
	u.Batch.Entries = append(u.Batch.Entries, second)
	u.Buckets = append(u.Buckets, u.Buckets[0]^0x80)
	raw := chain.SignTx(service.Domain(s.domain.Network, 1), c.payee.key, chain.TxFields{Kind: chain.KindBookUsage, Zone: zone, Payload: u.Encode()})
	_, err := here.services().BookUsage(s.ctx(), signedUsage(raw))
	p := wantProblem(t, err, codes.FailedPrecondition, "WRONG_SHARD")
	if p.info.GetMetadata()["positions"] != "1" || p.info.GetMetadata()["shard"] == api.ShardName(home.is.ID) {
		t.Errorf("metadata %v", p.info.GetMetadata())
	}
	req := signedUsage(raw)
	req.Shard = api.ShardName(home.is.ID)
	part, err := here.services().BookUsage(s.ctx(), req)
	if err != nil || part.GetBooking().GetApplied() != 1 || len(part.GetBooking().GetResults()) != 1 || part.GetBooking().GetResults()[0].GetCode() != chainv1.Code_CODE_WRONG_SHARD {
		t.Errorf("what the first shard can: %v, %v", part, err)
	}

	// A zone that the service does not have.
	u = c.usage(3_000)
	u.Zone = 9
	_, err = here.services().BookUsage(s.ctx(), signedUsage(chain.SignTx(service.Domain(s.domain.Network, 1), c.payee.key, chain.TxFields{Kind: chain.KindBookUsage, Zone: zone, Payload: u.Encode()})))
	wantBadField(t, err, "zone")
	_, err = here.services().GetUsage(s.ctx(), &servicev1.GetUsageRequest{Channel: api.ChannelName(ledger.Hash{9})})
	wantProblem(t, err, codes.NotFound, "CHANNEL_NOT_FOUND")
	untold := s.sell(s.payee)
	_, err = away.services().GetUsage(s.ctx(), &servicev1.GetUsageRequest{Channel: untold.name()})
	if p := wantProblem(t, err, codes.NotFound, "CHANNEL_UNKNOWN"); p.retry == 0 {
		t.Error("no hint when to come again")
	}
	_, err = away.services().GetBooking(s.ctx(), &servicev1.GetBookingRequest{Name: api.BookingName(ledger.Hash{1})})
	wantProblem(t, err, codes.NotFound, api.ReasonTransactionNotFound)
}

// TestBookingBeforeASnapshot: a node that joined a shard by a snapshot asks others for what
// was booked before, and says that nobody knows a booking only if they do not either.
func TestBookingBeforeASnapshot(t *testing.T) {
	t.Parallel()
	s := newShardWorld(t, map[string][]shard.ID{"member": {2, 3, 4, 5}, "late": {4, 5}})
	c := s.sell(s.payee).told()
	resp, err := s.nodes["member"].services().BookUsage(s.ctx(), signedUsage(c.book(1_000)))
	if err != nil {
		t.Fatal(err)
	}
	late := s.nodes["late"]
	late.late = true
	name, home := resp.GetBooking().GetName(), resp.GetBooking().GetShard()
	for _, of := range []string{"", home} {
		got, err := late.services().GetBooking(s.ctx(), &servicev1.GetBookingRequest{Name: name, Shard: of})
		if err != nil || got.GetBooking().GetName() != name || got.GetSource().GetServedBy() != "member" {
			t.Errorf("shard %q: %v, %v", of, got, err)
		}
		_, err = late.services().GetBooking(s.ctx(), &servicev1.GetBookingRequest{Name: api.BookingName(ledger.Hash{1}), Shard: of})
		wantProblem(t, err, codes.NotFound, api.ReasonTransactionNotFound)
		handed := metadata.AppendToOutgoingContext(s.ctx(), "tributary-hops", "1")
		_, err = late.services().GetBooking(handed, &servicev1.GetBookingRequest{Name: name, Shard: of})
		wantProblem(t, err, codes.NotFound, api.ReasonTransactionNotFound)
	}
	if traced, err := late.routing().Trace(s.ctx(), &servicev1.TraceRequest{Name: name}); err != nil || traced.GetOrigin().GetState() != committed {
		t.Errorf("trace: %v, %v", traced, err)
	}
}

// TestCongestedShard: what is refused says when to come again, over another node too.
func TestCongestedShard(t *testing.T) {
	t.Parallel()
	s, here, away := twoNodes(t)
	c := s.sell(s.payee).told()
	home := s.home(s.payer.addr)
	home.refuse = fmt.Errorf("%w: %w", &route.CongestedError{Shard: home.is.ID, Level: 4_000, RetryAfter: 7}, chain.CodeNotDue.Err())
	for _, n := range []*shardNode{here, away} {
		_, err := n.services().BookUsage(s.ctx(), signedUsage(c.book(1_000)))
		p := wantProblem(t, err, codes.ResourceExhausted, api.ReasonCongested)
		want := 7 * time.Duration(s.gen.Params.BlockInterval) * time.Millisecond
		if p.retry != want || p.info.GetMetadata()["level_bps"] != "4000" || p.info.GetMetadata()["shard"] != api.ShardName(home.is.ID) {
			t.Errorf("%s: wait %v, want %v, %v", n.name, p.retry, want, p.info)
		}
	}
}

// TestCallsAreHandedOnOnce: two nodes that each think that the other one runs a shard do
// not send a call back and forth.
func TestCallsAreHandedOnOnce(t *testing.T) {
	t.Parallel()
	s := newShardWorld(t, map[string][]shard.ID{"a": {2}, "b": {3}, "c": {4, 5}})
	s.nodes["c"].deaf = true
	a := s.nodes["a"]
	_, err := a.services().GetShardStatus(s.ctx(), &servicev1.GetShardStatusRequest{Name: "shards/4"})
	wantProblem(t, err, codes.Unavailable, api.ReasonNotHosted)
	handed := metadata.AppendToOutgoingContext(s.ctx(), "tributary-hops", "1")
	_, err = a.services().GetShardStatus(handed, &servicev1.GetShardStatusRequest{Name: "shards/3"})
	if p := wantProblem(t, err, codes.FailedPrecondition, api.ReasonNotHosted); p.info.GetMetadata()["endpoints"] != "b" {
		t.Errorf("%v", p.info)
	}
	got, err := a.services().GetShardStatus(s.ctx(), &servicev1.GetShardStatusRequest{Name: "shards/3"})
	if err != nil || got.GetShard().GetName() != "shards/3" || got.GetShard().GetHosted() || got.GetSource().GetServedBy() != "b" || got.GetPendingTxs() != 3 || !got.GetSmallCommittee() {
		t.Errorf("%v, %v", got, err)
	}
	alone := newShardWorld(t, map[string][]shard.ID{"a": {2}})
	_, err = alone.nodes["a"].services().GetShardStatus(alone.ctx(), &servicev1.GetShardStatusRequest{Name: "shards/3"})
	wantProblem(t, err, codes.Unavailable, api.ReasonNotHosted)
}

// TestProofOfUsage: what was booked is proved by those whom the main chain drew.
func TestProofOfUsage(t *testing.T) {
	t.Parallel()
	s, here, away := twoNodes(t)
	c := s.sell(s.payee).told()
	home := s.home(s.payer.addr)
	resp, err := here.services().BookUsage(s.ctx(), signedUsage(c.book(1_000)))
	if err != nil {
		t.Fatal(err)
	}
	name := resp.GetBooking().GetName()
	_, err = away.services().GetBooking(s.ctx(), &servicev1.GetBookingRequest{Name: name, Shard: resp.GetBooking().GetShard(), Prove: []uint32{0}})
	wantProblem(t, err, codes.FailedPrecondition, api.ReasonProofUnavailable)
	home.mu.Lock()
	home.certify = true
	home.mu.Unlock()
	got, err := away.services().GetBooking(s.ctx(), &servicev1.GetBookingRequest{Name: name, Shard: resp.GetBooking().GetShard(), Prove: []uint32{0}})
	if err != nil || len(got.GetProof().GetEntries()) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	certificate, err := cert.Decode(got.GetProof().GetCertificate())
	if err != nil {
		t.Fatal(err)
	}
	proof, err := service.DecodeBookingProof(got.GetProof().GetEntries()[0].GetProof())
	if err != nil || proof.Verify(certificate.Checkpoint.UsageRoot) != nil || proof.Booking.ChannelID != c.id || proof.Booking.Cumulative != 1_000 {
		t.Errorf("proof %+v, %v", proof, err)
	}
	if len(got.GetProof().GetCommittee()) == 0 {
		t.Error("no committee")
	}
	_, err = here.services().GetBooking(s.ctx(), &servicev1.GetBookingRequest{Name: name, Shard: resp.GetBooking().GetShard(), Prove: []uint32{1}})
	wantBadField(t, err, "prove")
}

// TestRepeatOfWhatIsGone: the repeat of a booking that a shard took back, or lost, with the
// same request id books it; a repeat of what is there changes nothing.
func TestRepeatOfWhatIsGone(t *testing.T) {
	t.Parallel()
	s, here, away := twoNodes(t)
	c := s.sell(s.payee).told()
	home := s.home(s.payer.addr)
	req := signedUsage(c.book(1_000))
	req.RequestId = "1b671a64-40d5-491e-99b0-da01ff1f3341"
	lose := func(on bool) {
		home.mu.Lock()
		defer home.mu.Unlock()
		home.lose = on
	}
	lose(true)
	if got, err := here.services().BookUsage(s.ctx(), req); err != nil || got.GetBooking().GetTransaction().GetStage() != chainv1.Stage_STAGE_CHECKED {
		t.Fatalf("%v, %v", got, err)
	}
	lose(false)
	req.WaitFor = chainv1.Stage_STAGE_INCLUDED
	var calls sync.WaitGroup
	for _, n := range []*shardNode{here, here, away} {
		calls.Go(func() {
			got, err := n.services().BookUsage(s.ctx(), req)
			if err != nil || got.GetBooking().GetTransaction().GetStage() != chainv1.Stage_STAGE_INCLUDED || got.GetBooking().GetApplied() != 1 {
				t.Errorf("%s: %v, %v", n.name, got, err)
			}
		})
	}
	calls.Wait()
	if head, _ := home.Head(); head != 2 {
		t.Errorf("%d blocks, want one for the notice and one for the booking", head)
	}
}
