package pay_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// batchOf has n entries, lanes of each channel.
func batchOf(n, lanes int, claim channel.ClaimKind, closing bool) channel.Batch {
	b := channel.Batch{Payee: ledger.Address{1, 2}}
	for i := range n {
		e := channel.Entry{Index: 1<<20 + uint64(i/lanes), Lane: uint8(i % lanes), Claim: claim}
		e.Close = closing && (i%lanes == lanes-1 || i == n-1)
		if claim == channel.ClaimHash {
			e.Commit.Steps, e.Step = 1, 1
		}
		b.Entries = append(b.Entries, e)
	}
	return b
}

// accepts reports whether a node may take the batch as one transaction.
func accepts(p *settlement.Params, b *channel.Batch) bool {
	payload := b.Encode()
	if _, err := channel.DecodeBatch(payload); err != nil {
		return false
	}
	tx := chain.Tx{Kind: chain.KindSettle, Payload: payload}
	return len(payload)+chain.TxOverhead <= chain.MaxTxSize && settlement.Weight(&tx) <= p.MaxBlockWeight()
}

func TestWhatFitsATransaction(t *testing.T) {
	t.Parallel()
	small := settlement.DefaultParams()
	small.MaxBlockBytes = chain.MaxBundleSize
	for _, row := range []struct {
		name   string
		params settlement.Params
		batch  channel.Batch
		parts  int
		says   string // of the refusal
	}{
		{"one", settlement.DefaultParams(), batchOf(1, 1, channel.ClaimVoucher, false), 1, ""},
		{"as many as there may be", settlement.DefaultParams(), batchOf(channel.MaxEntries, 1, channel.ClaimVoucher, false), 1, ""},
		{"one too many", settlement.DefaultParams(), batchOf(channel.MaxEntries+1, 1, channel.ClaimVoucher, false), 2, "10001 entries, a batch has at most 10000"},
		{"hash lanes", settlement.DefaultParams(), batchOf(10_000, 4, channel.ClaimHash, false), 2, "bytes, a transaction has room for 1048"},
		{"closes", settlement.DefaultParams(), batchOf(2_200, 1, channel.ClaimVoucher, true), 1, ""},
		{"too many closes", settlement.DefaultParams(), batchOf(10_000, 1, channel.ClaimVoucher, true), 5, "10000 entries, of which 10000 close their channel"},
		{"closes of small blocks", small, batchOf(2_200, 1, channel.ClaimNone, true), 4, "a block at most 3932220"},
		{"lanes of small blocks", small, batchOf(10_000, 64, channel.ClaimVoucher, false), 1, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			err := pay.CheckBatch(&row.params, &row.batch)
			if code, _ := chain.CodeOf(err); (err == nil) != (row.says == "") || err != nil && (code != chain.CodeTooLarge || !strings.Contains(err.Error(), row.says)) {
				t.Errorf("CheckBatch: %v, want %q", err, row.says)
			}
			if (err == nil) != accepts(&row.params, &row.batch) {
				t.Errorf("CheckBatch: %v, but a node accepts it: %v", err, err != nil)
			}
			parts, err := pay.SplitBatch(&row.params, row.batch)
			if err != nil || len(parts) != row.parts {
				t.Fatalf("%d parts, %v, want %d", len(parts), err, row.parts)
			}
			wantWhole(t, &row.params, row.batch, parts)
		})
	}
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// wantWhole wants parts that a node accepts and that together are the batch.
func wantWhole(t failer, p *settlement.Params, b channel.Batch, parts []channel.Batch) {
	t.Helper()
	var all []channel.Entry
	for i := range parts {
		if !accepts(p, &parts[i]) || parts[i].Payee != b.Payee {
			t.Fatalf("part %d of %d, with %d entries, is not accepted", i, len(parts), len(parts[i].Entries))
		}
		all = append(all, parts[i].Entries...)
	}
	if !slices.Equal(all, b.Entries) {
		t.Fatalf("the parts have other entries than the batch")
	}
}

func TestSplitBatchLosesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := settlement.DefaultParams()
		p.MaxBlockBytes = rapid.Int64Range(chain.MaxBundleSize, 4<<20).Draw(t, "block")
		claims := []channel.ClaimKind{channel.ClaimVoucher, channel.ClaimHash}
		b := batchOf(rapid.IntRange(1, 12_000).Draw(t, "entries"), rapid.IntRange(1, channel.Lanes).Draw(t, "lanes"),
			rapid.SampledFrom(claims).Draw(t, "claim"), rapid.Bool().Draw(t, "close"))
		parts, err := pay.SplitBatch(&p, b)
		if err != nil {
			t.Fatal(err)
		}
		wantWhole(t, &p, b, parts)
		for i := 1; i < len(parts); i++ {
			before := parts[i-1].Entries
			if before[len(before)-1].Index == parts[i].Entries[0].Index {
				t.Fatalf("part %d splits channel %d", i, parts[i].Entries[0].Index)
			}
		}
	})
}

func TestWhatHoldsAsAWholeIsNotSplit(t *testing.T) {
	t.Parallel()
	p := settlement.DefaultParams()
	atomic, authorised := batchOf(5_000, 1, channel.ClaimVoucher, true), batchOf(5_000, 1, channel.ClaimVoucher, true)
	atomic.Mode, authorised.Auth = channel.Atomic, new(channel.Authority)
	for name, b := range map[string]channel.Batch{"atomic": atomic, "with a close authority": authorised} {
		parts, err := pay.SplitBatch(&p, b)
		if code, _ := chain.CodeOf(err); parts != nil || code != chain.CodeTooLarge {
			t.Errorf("%s: %d parts, %v", name, len(parts), err)
		}
	}
}

// TestRedeemerKeepsToTheWeightOfABlock: on a network with small blocks a batch of
// vouchers on further lanes would be too heavy before it has too many bytes.
func TestRedeemerKeepsToTheWeightOfABlock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 1_000
		params := settlement.DefaultParams()
		params.MaxBlockBytes = 64 << 10
		s := newShop(t, 0, pay.RedeemPolicy{MaxAge: never, MaxEntries: n})
		payer := openPayer(t, pay.PayerConfig{})
		for i := range uint64(n) {
			record, key := testChannel(i)
			s.chain.add(record)
			s.payee.Apply(pay.Update{Channel: &record})
			v, err := track(t, payer, record, key).Sign(t.Context(), channel.Voucher{Lane: 1, Cumulative: 1000})
			if err != nil {
				t.Fatal(err)
			}
			mustAcceptUnchecked(t, s.payee, v)
		}
		heaviest := int64(0)
		s.chain.refuseWith(func(b *channel.Batch) error {
			heaviest = max(heaviest, settlement.Weight(&chain.Tx{Kind: chain.KindSettle, Payload: b.Encode()}))
			return nil
		})
		redeemer := pay.NewRedeemer(s.payee, params)
		if err := redeemer.Redeem(t.Context()); err != nil {
			t.Fatal(err)
		}
		if limit := params.MaxBlockWeight(); heaviest > limit || heaviest < limit*9/10 {
			t.Errorf("the heaviest batch weighs %d, a block may %d", heaviest, limit)
		}
		if total := redeemer.Total(); total.Entries != n || total.Batches < 3 {
			t.Errorf("report %+v", total)
		}
	})
}
