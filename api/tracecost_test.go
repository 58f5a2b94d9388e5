package api_test

import (
	"sync/atomic"
	"testing"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
)

// largeIndex is an index in which everybody was paid by settlements of all sizes without end,
// on other channels than there are.
type largeIndex struct {
	api.Index

	read atomic.Int64 // entries
}

// ListTxs implements api.Index.
func (x *largeIndex) ListTxs(f exec.TxFilter, before *exec.Cursor, limit int) (page []exec.Status, next *exec.Cursor, err error) {
	height := uint64(1 << 30)
	if before != nil {
		height = before.Height
	}
	if !f.Paid {
		return nil, nil, nil
	}
	for range limit {
		height--
		r := &settlement.Receipt{Kind: chain.KindSettle, Entries: make([]channel.EntryResult, channel.MaxEntries)}
		for i := range r.Entries {
			r.Entries[i].Index = 1 << 40
		}
		x.read.Add(channel.MaxEntries)
		page = append(page, exec.Status{Hash: ledger.Hash{1}, Stage: exec.StageFinal, Height: height, Receipt: r})
	}
	return page, &exec.Cursor{Height: height}, nil
}

// TestTraceReadsAFewSettlements: a trace reads so many entries of settlements as a page of a
// list does, however many there are, and pays for them.
func TestTraceReadsAFewSettlements(t *testing.T) {
	t.Parallel()
	index := &largeIndex{}
	s := newShardWorld(t, map[string][]shard.ID{"here": {2, 3, 4, 5}}, func(c *api.Config) {
		index.Index = c.Index
		c.Index = index
		c.Limits.RequestsPerSecond, c.Limits.Burst = 1, 450
	})
	here := s.nodes["here"]
	c := s.sell(s.payee).told()
	resp, err := here.services().BookUsage(s.ctx(), signedUsage(c.book(1_000)))
	if err != nil {
		t.Fatal(err)
	}
	b := c.usage(1_000).Batch
	s.do(s.payee, chain.KindSettle, b.Encode())
	got, err := here.routing().Trace(s.ctx(), &servicev1.TraceRequest{Name: resp.GetBooking().GetName(), Shard: resp.GetBooking().GetShard()})
	if err != nil || len(got.GetVouchers()) != 1 || got.GetVouchers()[0].GetState() != servicev1.VoucherState_VOUCHER_STATE_PAID || got.GetVouchers()[0].GetSettlement() != "" {
		t.Fatalf("%v, %v", got, err)
	}
	if read := index.read.Load(); read > 200_000 {
		t.Errorf("%d entries were read", read)
	}
	calls := 0
	for ; err == nil; calls++ {
		_, err = here.routing().GetCongestion(s.ctx(), &servicev1.GetCongestionRequest{Shard: "shards/2"})
	}
	if reasonOf(err) != api.ReasonRateLimited || calls > 100 {
		t.Errorf("after the trace %d calls, then %v", calls, err)
	}
}
