package api_test

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

// largestEntries are entries of each kind whose fields are as long as they may be.
func largestEntries() map[string]func(index uint64) (*settlementv1.SettlementEntry, channel.Entry) {
	full := func(size int) []byte { return bytes.Repeat([]byte{0xff}, size) }
	one := func(index uint64, claim channel.ClaimKind) (*settlementv1.SettlementEntry, channel.Entry) {
		return &settlementv1.SettlementEntry{ChannelIndex: index, Lane: channel.Lanes - 1, Close: true},
			channel.Entry{Index: index, Claim: claim}
	}
	voucher := func(root []byte) func(index uint64) (*settlementv1.SettlementEntry, channel.Entry) {
		return func(index uint64) (*settlementv1.SettlementEntry, channel.Entry) {
			m, e := one(index, channel.ClaimVoucher)
			m.Claim = &settlementv1.SettlementEntry_Voucher{Voucher: &settlementv1.VoucherClaim{
				Cumulative: uint64(ledger.MaxAmount), Units: math.MaxUint64, UsageRoot: root, Signature: full(ledger.SignatureSize),
			}}
			copy(e.UsageRoot[:], root)
			return m, e
		}
	}
	return map[string]func(index uint64) (*settlementv1.SettlementEntry, channel.Entry){
		"vouchers":             voucher(nil),
		"vouchers with a root": voucher(full(ledger.HashSize)),
		"hash lanes": func(index uint64) (*settlementv1.SettlementEntry, channel.Entry) {
			m, e := one(index, channel.ClaimHash)
			m.Claim = &settlementv1.SettlementEntry_HashLane{HashLane: &settlementv1.HashLaneClaim{
				BaseCumulative: uint64(ledger.MaxAmount) >> 1, BaseUnits: math.MaxUint64 - channel.MaxHashSteps,
				Root: full(ledger.HashSize), UnitPrice: uint64(ledger.MaxAmount) >> 12, UnitSize: math.MaxUint32,
				Steps: channel.MaxHashSteps, ChainNo: math.MaxUint32, Signature: full(ledger.SignatureSize),
				Step: channel.MaxHashSteps, Preimage: full(ledger.HashSize),
			}}
			return m, e
		},
		"closes": func(index uint64) (*settlementv1.SettlementEntry, channel.Entry) {
			return one(index, channel.ClaimNone)
		},
	}
}

// TestTheLargestLegalRequestsPass: as many entries as a transaction may have, as
// fields, with everything else that a request may say.
func TestTheLargestLegalRequestsPass(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *api.Config) { c.Limits.RequestsPerSecond, c.Limits.Burst = 1e6, 1e6 })
	largest := 0
	for name, entry := range largestEntries() {
		batch := w.fullBatch(entry)
		submit := &settlementv1.SubmitSettlementRequest{
			RequestId: newID(), Transaction: &settlementv1.SubmitSettlementRequest_Batch{Batch: batch},
			WaitFor: chainv1.Stage_STAGE_FINAL, ValidateOnly: true, FullResults: true,
		}
		item := &streamRequest{Message: &settlementv1.StreamSettlementsRequest_Item_{Item: &settlementv1.StreamSettlementsRequest_Item{
			ClientSeq: math.MaxUint64, Transaction: &settlementv1.StreamSettlementsRequest_Item_Batch{Batch: batch},
		}}}
		for _, m := range []proto.Message{submit, item} {
			size := proto.Size(m)
			if largest = max(largest, size); size > api.MaxRequestBytes {
				t.Errorf("%d %s take %d bytes, more than %d", len(batch.GetEntries()), name, size, api.MaxRequestBytes)
			}
		}
		_, err := w.settlements().SubmitSettlement(w.ctx(), submit)
		if p := status.Convert(err); p.Code() == codes.ResourceExhausted || p.Code() == codes.Internal || err == nil {
			t.Errorf("%d %s: %v", len(batch.GetEntries()), name, err)
		}
		_, err = w.settlements().EstimateSettlement(w.ctx(), &settlementv1.EstimateSettlementRequest{
			Transaction: &settlementv1.EstimateSettlementRequest_Batch{Batch: batch},
		})
		wantProblem(t, err, codes.NotFound, chain.CodeChannelNotFound.String()) // its form is right
	}
	if largest < api.MaxRequestBytes*8/10 {
		t.Errorf("the largest request has %d bytes, the limit is %d", largest, api.MaxRequestBytes)
	}
}

// fullBatch has as many entries as a transaction may.
func (w *world) fullBatch(entry func(uint64) (*settlementv1.SettlementEntry, channel.Entry)) *settlementv1.SettlementBatch {
	public := w.payee.key.Public()
	b := &settlementv1.SettlementBatch{
		Payee: w.payee.addr.String(), Mode: settlementv1.BatchMode_BATCH_MODE_BEST_EFFORT,
		Envelope: &chainv1.Envelope{
			PublicKey: public[:], Zone: zone, Nonce: w.payee.nonce, MaxFee: uint64(ledger.MaxAmount),
			ValidUntil: math.MaxUint64, Signature: bytes.Repeat([]byte{0xff}, ledger.SignatureSize),
		},
		CloseAuthority: &settlementv1.CloseAuthority{
			PublicKey: public[:], ValidUntil: math.MaxUint64, Signature: bytes.Repeat([]byte{0xff}, ledger.SignatureSize),
		},
	}
	const first = math.MaxUint64 - channel.MaxEntries
	size := chain.TxOverhead + len((&channel.Batch{Auth: new(channel.Authority)}).Encode())
	for len(b.GetEntries()) < channel.MaxEntries {
		m, e := entry(first + uint64(len(b.GetEntries())))
		if size += e.Size(); size > chain.MaxTxSize {
			break
		}
		b.Entries = append(b.Entries, m)
	}
	return b
}

func TestALargerRequestIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := make([]byte, api.MaxRequestBytes)
	_, err := w.nodes().SubmitTransaction(w.ctx(), &nodev1.SubmitTransactionRequest{SignedTx: raw})
	wantTooLarge(t, err)
	st := w.openStream(hello(newID()))
	st.item(1, raw)
	for err = nil; err == nil; {
		_, err = st.recv()
	}
	wantTooLarge(t, err)
}

// wantTooLarge wants what gRPC itself says of a message above the limit: how many
// bytes it has, and how many it may have.
func wantTooLarge(t *testing.T, err error) {
	t.Helper()
	if s := status.Convert(err); s.Code() != codes.ResourceExhausted || !strings.Contains(s.Message(), strconv.Itoa(api.MaxRequestBytes)) {
		t.Errorf("a message above the limit: %v, want RESOURCE_EXHAUSTED and the limit", err)
	}
}
