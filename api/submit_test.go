package api_test

import (
	"bytes"
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

// fieldsOf returns a batch as fields, signed by the payee.
func fieldsOf(w *world, b *channel.Batch) *settlementv1.SettlementBatch {
	out := &settlementv1.SettlementBatch{Payee: b.Payee.String(), Mode: settlementv1.BatchMode_BATCH_MODE_BEST_EFFORT}
	if b.Mode == channel.Atomic {
		out.Mode = settlementv1.BatchMode_BATCH_MODE_ATOMIC
	}
	for i := range b.Entries {
		e := &b.Entries[i]
		entry := &settlementv1.SettlementEntry{ChannelIndex: e.Index, Lane: uint32(e.Lane), Close: e.Close}
		if e.Claim == channel.ClaimVoucher {
			v := &settlementv1.VoucherClaim{Cumulative: uint64(e.Cumulative), Units: e.Units, Signature: e.Signature[:]}
			if !e.UsageRoot.IsZero() {
				v.UsageRoot = e.UsageRoot[:]
			}
			entry.Claim = &settlementv1.SettlementEntry_Voucher{Voucher: v}
		}
		out.Entries = append(out.Entries, entry)
	}
	out.Envelope = w.envelope(w.payee, chain.KindSettle, b.Encode())
	return out
}

func batchRequest(b *settlementv1.SettlementBatch) *settlementv1.SubmitSettlementRequest {
	return &settlementv1.SubmitSettlementRequest{Transaction: &settlementv1.SubmitSettlementRequest_Batch{Batch: b}}
}

func TestSettleByFieldsAndByBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.openLot(3, 100_000, w.later())

	estimate := fieldsOf(w, l.batch(0, 2, 1_000))
	w.payee.nonce--
	estimate.Envelope.Signature, estimate.Envelope.MaxFee = nil, 0
	guess, err := w.settlements().EstimateSettlement(w.ctx(), &settlementv1.EstimateSettlementRequest{
		Transaction: &settlementv1.EstimateSettlementRequest_Batch{Batch: estimate}, FullResults: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	b := l.batch(0, 2, 0)
	req := batchRequest(fieldsOf(w, b))
	req.WaitFor, req.FullResults, req.RequestId = chainv1.Stage_STAGE_FINAL, true, newID()
	resp, err := w.settlements().SubmitSettlement(w.ctx(), req)
	if err != nil {
		t.Fatal(err)
	}
	s := resp.GetSettlement()
	tx := s.GetTransaction()
	if tx.GetStage() != chainv1.Stage_STAGE_FINAL || tx.GetCode() != chainv1.Code_CODE_OK || tx.GetSigner() != w.payee.addr.String() ||
		tx.GetKind() != chainv1.Kind_KIND_SETTLE || tx.GetHeight() == 0 || tx.GetBlockTime() == nil {
		t.Errorf("transaction %v", tx)
	}
	if s.GetEntries() != 2 || s.GetApplied() != 2 || len(s.GetResults()) != 2 || s.GetTotalPaid()+s.GetTotalBurned() != 2_000 {
		t.Errorf("settlement %v", s)
	}
	g := guess.GetSettlement()
	if g.GetTransaction().GetStage() != chainv1.Stage_STAGE_UNSPECIFIED || g.GetTotalPaid() != s.GetTotalPaid() || g.GetTransaction().GetFee() != tx.GetFee() || len(g.GetResults()) != 2 {
		t.Errorf("estimate %v, settled %v", g, s)
	}

	// The same again, by the same request and by its bytes, is the same settlement.
	again, err := w.settlements().SubmitSettlement(w.ctx(), proto.CloneOf(req))
	if err != nil || !proto.Equal(again, resp) {
		t.Errorf("again: %v, %v", again, err)
	}
	w.payee.nonce--
	byBytes := signed(w.tx(w.payee, chain.KindSettle, b.Encode()))
	byBytes.FullResults = true
	same, err := w.settlements().SubmitSettlement(w.ctx(), byBytes)
	if err != nil || !proto.Equal(same, resp) {
		t.Errorf("by bytes: %v, %v", same, err)
	}
	got, err := w.settlements().GetSettlement(w.ctx(), &settlementv1.GetSettlementRequest{Name: s.GetName()})
	if err != nil || len(got.GetSettlement().GetResults()) != 0 || got.GetSettlement().GetApplied() != 2 {
		t.Errorf("GetSettlement = %v, %v", got, err)
	}

	// Stale and unknown entries are results, not errors.
	mixed := &channel.Batch{Payee: w.payee.addr, Entries: []channel.Entry{l.entry(0, 1_000), l.entry(2, 500), {Index: 900, Claim: channel.ClaimVoucher, Cumulative: 1}}}
	mix := signed(w.tx(w.payee, chain.KindSettle, mixed.Encode()))
	mix.WaitFor = chainv1.Stage_STAGE_FINAL
	resp, err = w.settlements().SubmitSettlement(w.ctx(), mix)
	if err != nil {
		t.Fatal(err)
	}
	r := resp.GetSettlement().GetResults()
	if len(r) != 2 || r[0].GetPosition() != 0 || r[0].GetCode() != chainv1.Code_CODE_NO_OP_STALE ||
		r[1].GetPosition() != 2 || r[1].GetCode() != chainv1.Code_CODE_CHANNEL_NOT_FOUND {
		t.Errorf("results %v", r)
	}
}

func TestRequestIDOverTheWire(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.openLot(1, 100_000, w.later())
	id := newID()
	one := signed(l.settle(0, 1, 10))
	one.RequestId = id
	if _, err := w.settlements().SubmitSettlement(w.ctx(), one); err != nil {
		t.Fatal(err)
	}
	two := signed(l.settle(0, 1, 10))
	two.RequestId = id
	_, err := w.settlements().SubmitSettlement(w.ctx(), two)
	wantProblem(t, err, codes.AlreadyExists, api.ReasonRequestIDReused)
	_, err = w.nodes().SubmitTransaction(w.ctx(), &nodev1.SubmitTransactionRequest{RequestId: id, SignedTx: w.transfer(w.payer, w.other.addr, 5)})
	wantProblem(t, err, codes.AlreadyExists, api.ReasonRequestIDReused)
	two.RequestId = "42"
	_, err = w.settlements().SubmitSettlement(w.ctx(), two)
	wantProblem(t, err, codes.InvalidArgument, api.ReasonInvalidField)
}

func TestValidateOnlySubmitsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.openLot(1, 100_000, w.later())
	raw := l.settle(0, 1, 10)
	req := signed(raw)
	req.ValidateOnly = true
	resp, err := w.settlements().SubmitSettlement(w.ctx(), req)
	if err != nil || resp.GetSettlement().GetApplied() != 1 || resp.GetSettlement().GetTransaction().GetStage() != chainv1.Stage_STAGE_UNSPECIFIED {
		t.Fatalf("validate only: %v, %v", resp, err)
	}
	_, err = w.settlements().GetSettlement(w.ctx(), &settlementv1.GetSettlementRequest{Name: api.SettlementName(w.hashOf(raw))})
	wantProblem(t, err, codes.NotFound, api.ReasonTransactionNotFound)
	bad := bytes.Clone(raw)
	bad[len(bad)-1] ^= 1
	req = signed(bad)
	req.ValidateOnly = true
	_, err = w.settlements().SubmitSettlement(w.ctx(), req)
	wantProblem(t, err, codes.InvalidArgument, "BAD_SIGNATURE")
}

func TestWaitEndsBeforeTheDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.openLot(1, 100_000, w.later())
	resume := w.byHand()
	ctx, cancel := context.WithTimeout(w.ctx(), 3*time.Second)
	defer cancel()
	req := signed(l.settle(0, 1, 10))
	req.WaitFor = chainv1.Stage_STAGE_FINAL
	resp, err := w.settlements().SubmitSettlement(ctx, req)
	if err != nil || resp.GetSettlement().GetTransaction().GetStage() != chainv1.Stage_STAGE_CHECKED {
		t.Fatalf("with blocks standing still: %v, %v", resp, err)
	}
	resume()
	resp, err = w.settlements().SubmitSettlement(w.ctx(), req)
	if err != nil || resp.GetSettlement().GetTransaction().GetStage() != chainv1.Stage_STAGE_FINAL {
		t.Fatalf("the same again: %v, %v", resp, err)
	}
	req.WaitFor = chainv1.Stage_STAGE_DROPPED
	_, err = w.settlements().SubmitSettlement(w.ctx(), req)
	wantProblem(t, err, codes.InvalidArgument, api.ReasonInvalidField)
}

func TestRefusedAtTheEdge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.openLot(3, 100_000, w.later())
	good := l.batch(0, 3, 10)
	for _, row := range []struct {
		name   string
		change func(*settlementv1.SettlementBatch)
		code   codes.Code
		reason string
		field  string
	}{
		{"no envelope", func(b *settlementv1.SettlementBatch) { b.Envelope = nil }, codes.InvalidArgument, api.ReasonInvalidField, "batch.envelope"},
		{"short key", func(b *settlementv1.SettlementBatch) { b.Envelope.PublicKey = []byte{1} }, codes.InvalidArgument, api.ReasonInvalidField, "batch.envelope.public_key"},
		{"small-order key", func(b *settlementv1.SettlementBatch) { b.Envelope.PublicKey = make([]byte, 32) }, codes.InvalidArgument, "NON_CANONICAL_KEY", "batch.envelope.public_key"},
		{"no signature", func(b *settlementv1.SettlementBatch) { b.Envelope.Signature = nil }, codes.InvalidArgument, api.ReasonInvalidField, "batch.envelope.signature"},
		{"other signature", func(b *settlementv1.SettlementBatch) { b.Envelope.Signature[3] ^= 1 }, codes.InvalidArgument, "BAD_SIGNATURE", ""},
		{"zone", func(b *settlementv1.SettlementBatch) { b.Envelope.Zone = 256 }, codes.InvalidArgument, api.ReasonInvalidField, "batch.envelope.zone"},
		{"fee limit overflows", func(b *settlementv1.SettlementBatch) { b.Envelope.MaxFee = math.MaxUint64 }, codes.InvalidArgument, "AMOUNT_OVERFLOW", "batch.envelope.max_fee"},
		{"no payee", func(b *settlementv1.SettlementBatch) { b.Payee = "" }, codes.InvalidArgument, api.ReasonInvalidField, "batch.payee"},
		{"payee misspelt", func(b *settlementv1.SettlementBatch) { b.Payee += "q" }, codes.InvalidArgument, api.ReasonInvalidField, "batch.payee"},
		{"mode", func(b *settlementv1.SettlementBatch) { b.Mode = 9 }, codes.InvalidArgument, api.ReasonInvalidField, "batch.mode"},
		{"no entries", func(b *settlementv1.SettlementBatch) { b.Entries = nil }, codes.InvalidArgument, "TOO_LARGE", "batch.entries"},
		{"too many entries", func(b *settlementv1.SettlementBatch) {
			b.Entries = make([]*settlementv1.SettlementEntry, channel.MaxEntries+1)
		}, codes.InvalidArgument, "TOO_LARGE", "batch.entries"},
		{"lane", func(b *settlementv1.SettlementBatch) { b.Entries[1].Lane = 64 }, codes.InvalidArgument, "LANE_LIMIT", "batch.entries[1].lane"},
		{"lane that would wrap", func(b *settlementv1.SettlementBatch) { b.Entries[1].Lane = 256 }, codes.InvalidArgument, "LANE_LIMIT", "batch.entries[1].lane"},
		{"no claim", func(b *settlementv1.SettlementBatch) { b.Entries[2].Claim = nil }, codes.InvalidArgument, api.ReasonInvalidField, "batch.entries[2].claim"},
		{"empty entry", func(b *settlementv1.SettlementBatch) { b.Entries[2] = nil }, codes.InvalidArgument, api.ReasonInvalidField, "batch.entries[2].claim"},
		{"amount", func(b *settlementv1.SettlementBatch) { b.Entries[0].GetVoucher().Cumulative = 1 << 63 }, codes.InvalidArgument, "AMOUNT_OVERFLOW", "batch.entries[0].voucher.cumulative"},
		{"voucher signature", func(b *settlementv1.SettlementBatch) { b.Entries[0].GetVoucher().Signature = nil }, codes.InvalidArgument, api.ReasonInvalidField, "batch.entries[0].voucher.signature"},
		{"usage root", func(b *settlementv1.SettlementBatch) { b.Entries[0].GetVoucher().UsageRoot = []byte{1} }, codes.InvalidArgument, api.ReasonInvalidField, "batch.entries[0].voucher.usage_root"},
		{"hash lane too long", func(b *settlementv1.SettlementBatch) {
			b.Entries[0].Claim = &settlementv1.SettlementEntry_HashLane{HashLane: &settlementv1.HashLaneClaim{Steps: 1025, Step: 1}}
		}, codes.InvalidArgument, "INVALID_VALUE", "batch.entries[0].hash_lane.steps"},
		{"hash lane step", func(b *settlementv1.SettlementBatch) {
			b.Entries[0].Claim = &settlementv1.SettlementEntry_HashLane{HashLane: &settlementv1.HashLaneClaim{Steps: 2, Step: 3}}
		}, codes.InvalidArgument, "INVALID_VALUE", "batch.entries[0].hash_lane.step"},
		{"hash lane root", func(b *settlementv1.SettlementBatch) {
			b.Entries[0].Claim = &settlementv1.SettlementEntry_HashLane{HashLane: &settlementv1.HashLaneClaim{Steps: 2, Step: 2}}
		}, codes.InvalidArgument, api.ReasonInvalidField, "batch.entries[0].hash_lane.root"},
		{"order", func(b *settlementv1.SettlementBatch) { b.Entries[1], b.Entries[2] = b.Entries[2], b.Entries[1] }, codes.InvalidArgument, "BAD_ORDER", "entries[2]"},
		{"duplicate", func(b *settlementv1.SettlementBatch) { b.Entries[1] = b.Entries[0] }, codes.InvalidArgument, "BAD_ORDER", "entries[1]"},
		{"close authority", func(b *settlementv1.SettlementBatch) { b.CloseAuthority = &settlementv1.CloseAuthority{} }, codes.InvalidArgument, api.ReasonInvalidField, "batch.close_authority.public_key"},
		{"nonce used", func(b *settlementv1.SettlementBatch) {
			resign(w, b, good, func(e *chainv1.Envelope) { e.Nonce = 1 << 40 })
		}, codes.Aborted, "NONCE_TOO_HIGH", ""},
		{"fee limit too low", func(b *settlementv1.SettlementBatch) { resign(w, b, good, func(e *chainv1.Envelope) { e.MaxFee = 1 }) }, codes.InvalidArgument, "FEE_TOO_LOW", "envelope.max_fee"},
		{"expired", func(b *settlementv1.SettlementBatch) {
			resign(w, b, good, func(e *chainv1.Envelope) { e.ValidUntil = 1 })
		}, codes.FailedPrecondition, "EXPIRED", ""},
	} {
		nonce := w.payee.nonce
		b := fieldsOf(w, good)
		w.payee.nonce = nonce
		row.change(b)
		_, err := w.settlements().SubmitSettlement(w.ctx(), batchRequest(b))
		p := wantProblem(t, err, row.code, row.reason)
		if row.field != "" && (len(p.fields) == 0 || p.fields[0] != row.field) {
			t.Errorf("%s: fields %v, want %s: %v", row.name, p.fields, row.field, err)
		}
	}
	if _, err := w.settlements().SubmitSettlement(w.ctx(), batchRequest(fieldsOf(w, good))); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

// resign changes the envelope of b, whose entries are those of from, and signs
// it anew.
func resign(w *world, b *settlementv1.SettlementBatch, from *channel.Batch, change func(*chainv1.Envelope)) {
	e := b.GetEnvelope()
	change(e)
	sig := w.payee.key.Sign(chain.UnsignedTx(w.domain, w.payee.key.Public(), chain.TxFields{
		Kind: chain.KindSettle, Zone: zone, Nonce: e.GetNonce(), MaxFee: ledger.Amount(e.GetMaxFee()), ValidUntil: e.GetValidUntil(), Payload: from.Encode(),
	}))
	e.Signature = sig[:]
}

func TestSignedBytesRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	foreign := func(d chain.Domain) []byte {
		return chain.SignTx(d, w.payer.key, chain.TxFields{Kind: chain.KindSettle, Zone: zone, MaxFee: 1000})
	}
	for _, row := range []struct {
		name   string
		raw    []byte
		reason string
	}{
		{"nothing", nil, api.ReasonInvalidField},
		{"garbage", []byte("garbage"), "MALFORMED"},
		{"another network", foreign(chain.Domain{Network: ledger.Hash{1}, Chain: ledger.MainChain}), "WRONG_NETWORK"},
		{"another chain", foreign(chain.Domain{Network: w.domain.Network, Chain: 7}), "WRONG_CHAIN"},
		{"too large", make([]byte, chain.MaxTxSize+1), "TOO_LARGE"},
		{"another kind", w.transfer(w.payer, w.other.addr, 1), api.ReasonUnexpectedKind},
		{"trailing byte", append(foreign(w.domain), 0), "MALFORMED"},
	} {
		_, err := w.settlements().SubmitSettlement(w.ctx(), signed(row.raw))
		p := wantProblem(t, err, codes.InvalidArgument, row.reason)
		if strings.HasPrefix(row.reason, "WRONG") && p.info.GetMetadata()["network_id"] != w.domain.Network.String() {
			t.Errorf("%s: metadata %v", row.name, p.info.GetMetadata())
		}
	}
}

// FuzzSettlementRequest decodes requests: what is accepted is the one encoding
// of its fields, and what is refused is named.
func FuzzSettlementRequest(f *testing.F) {
	w := newChain(f)
	l := &lot{world: w, key: keyOf(9), ids: make([]ledger.Hash, 3), paid: make([]ledger.Amount, 3)}
	closing := l.batch(0, 2, 10)
	closing.Entries[1].Close, closing.Entries[1].UsageRoot = true, ledger.Hash{4}
	for _, req := range []*settlementv1.SubmitSettlementRequest{
		signed(l.settle(0, 3, 5)), signed(nil), signed([]byte("garbage")),
		batchRequest(fieldsOf(w, l.batch(0, 3, 5))), batchRequest(fieldsOf(w, closing)),
	} {
		raw, err := proto.Marshal(req)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var req settlementv1.SubmitSettlementRequest
		if proto.Unmarshal(raw, &req) != nil {
			return
		}
		tx, err := api.BatchTx(w.domain, &req)
		if err != nil {
			if s, known := api.StatusOf(err); !known || s.Code() == codes.Internal {
				t.Fatal(err)
			}
			return
		}
		batch, err := channel.DecodeBatch(tx.Payload)
		if err != nil || !bytes.Equal(batch.Encode(), tx.Payload) {
			t.Fatalf("accepted %x: %v", tx.Payload, err)
		}
	})
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.openLot(2, 5_000, w.later())
	final := signed(l.settle(0, 1, 1_000))
	final.WaitFor = chainv1.Stage_STAGE_FINAL
	if _, err := w.settlements().SubmitSettlement(w.ctx(), final); err != nil {
		t.Fatal(err)
	}
	w.payee.nonce = 0
	_, err := w.settlements().SubmitSettlement(w.ctx(), signed(l.settle(0, 1, 1)))
	p := wantProblem(t, err, codes.Aborted, "NONCE_USED")
	if p.info.GetMetadata()["nonce_floor"] != "1" {
		t.Errorf("metadata %v", p.info.GetMetadata())
	}
	stale := channel.Batch{Payee: w.payee.addr, Entries: []channel.Entry{l.entry(0, 10)}}
	_, err = w.settlements().SubmitSettlement(w.ctx(), signed(w.tx(w.payee, chain.KindSettle, stale.Encode())))
	p = wantProblem(t, err, codes.FailedPrecondition, "NO_OP_STALE")
	if m := p.info.GetMetadata(); m["redeemed"] != "1000" || m["deposit"] != "5000" || m["name"] != api.ChannelName(l.ids[0]) {
		t.Errorf("metadata %v", m)
	}
	if v := p.precondition.GetViolations(); len(v) != 1 || v[0].GetSubject() != api.ChannelName(l.ids[0]) {
		t.Errorf("precondition %v", p.precondition)
	}
	bad := l.batch(0, 2, 10)
	bad.Entries[1].Signature[0] ^= 1
	_, err = w.settlements().SubmitSettlement(w.ctx(), signed(w.tx(w.payee, chain.KindSettle, bad.Encode())))
	p = wantProblem(t, err, codes.InvalidArgument, "BAD_SIGNATURE")
	if p.info.GetMetadata()["positions"] != "1" || len(p.fields) != 1 || p.fields[0] != "entries[1]" {
		t.Errorf("metadata %v, fields %v", p.info.GetMetadata(), p.fields)
	}
	_, err = w.nodes().SubmitTransaction(w.ctx(), &nodev1.SubmitTransactionRequest{SignedTx: w.transfer(accountOf(77), w.other.addr, 1)})
	wantProblem(t, err, codes.NotFound, "ACCOUNT_NOT_FOUND")
	_, err = w.nodes().SubmitTransaction(w.ctx(), &nodev1.SubmitTransactionRequest{SignedTx: w.transfer(w.other, w.payer.addr, 2*fortune)})
	p = wantProblem(t, err, codes.FailedPrecondition, "INSUFFICIENT_BALANCE")
	if p.info.GetMetadata()["balance"] == "" {
		t.Errorf("metadata %v", p.info.GetMetadata())
	}
}
