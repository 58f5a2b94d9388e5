package service_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
)

// claimed lists lane and cumulative amount of each claim.
func claimed(settlements []service.Settlement) (out []string) {
	for _, c := range claims(settlements) {
		out = append(out, c[9:])
	}
	return out
}

// TestCloseRequested: once the payer wants the channel closed, what was booked on it is
// settled in the block that learns of it, and what is booked later in the block that books
// it, each voucher once; at the deadline nothing more is booked.
func TestCloseRequested(t *testing.T) {
	t.Parallel()
	s, a := one(t, 0)
	other := newAccount(9, keyOf("payer", 5), a.payee, 0, a.payeeZone, 1_000)
	s.main(other.opened())
	book := func(entries ...channel.Entry) (service.Result, chain.Code) {
		t.Helper()
		var items []item
		for _, e := range entries {
			items = append(items, item{a, e})
		}
		res := s.block(service.Block{Txs: []service.BlockTx{booking(t, items...)}})
		return res, res.Receipts[0].Entries[0].Code
	}
	outstanding := func(want ...string) {
		t.Helper()
		if got := claimed(outstandingOf(s.view, a.payeeAddress())); !slices.Equal(got, want) {
			t.Errorf("outstanding: %v, want %v", got, want)
		}
	}
	s.block(service.Block{Epoch: &service.EpochStart{Epoch: 4, Sigma: 50}})
	book(a.voucher(0, 100, 1), a.voucher(3, 50, 1))
	s.block(service.Block{Txs: []service.BlockTx{booking(t, item{other, other.voucher(0, 7, 1)})}})
	outstanding()

	res := s.block(service.Block{Inbox: []service.Inbound{a.closes(60)}, Txs: []service.BlockTx{booking(t, item{a, a.voucher(3, 55, 1)})}})
	want := []string{"5/0 100", "5/3 55"}
	if got := claimed(res.Settlements); !slices.Equal(got, want) || res.Settlements[0].Epoch != 4 {
		t.Errorf("settled %v, want %v", got, want)
	}
	outstanding(want...)
	if res := s.block(service.Block{Inbox: []service.Inbound{a.closes(60)}}); res.Imports[0].Code != chain.CodeStale || len(res.Settlements) != 0 {
		t.Errorf("told again: %s, and settled %v", res.Imports[0].Code, claimed(res.Settlements))
	}

	res, _ = book(a.voucher(0, 120, 1), a.voucher(5, 9, 1))
	if got, want := claimed(res.Settlements), []string{"5/0 120", "5/5 9"}; !slices.Equal(got, want) {
		t.Errorf("booked while it closes: settled %v, want %v", got, want)
	}
	s.main(redeemed(a.home(), channel.LaneTotal{Index: a.index, Redeemed: 120}))
	outstanding("5/3 55", "5/5 9")

	res = s.block(service.Block{Epoch: &service.EpochStart{Epoch: 5, Sigma: 60}})
	if got, want := claimed(res.Settlements), []string{"9/0 7"}; !slices.Equal(got, want) {
		t.Errorf("at the end of the epoch: settled %v, want %v", got, want)
	}
	if _, code := book(a.voucher(0, 130, 1)); code != chain.CodeChannelExpired {
		t.Errorf("booked at the deadline: %s", code)
	}
	res = s.block(service.Block{
		Inbox: []service.Inbound{other.closes(90), other.closed()},
	})
	if len(res.Settlements) != 0 {
		t.Errorf("a channel that is gone is settled: %v", claimed(res.Settlements))
	}
}

// TestSettledAhead: what is booked on a channel that ends soon does not wait for the end of
// the epoch, and does again once the channel is extended.
func TestSettledAhead(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.Ahead = 30
	for _, row := range []struct {
		name    string
		expires uint64
		extend  uint64
		want    []string
	}{
		{"ends in time", 80, 0, []string{"1/0 100"}},
		{"lives on", 81, 0, nil},
		{"extended", 80, 200, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := newShard(t, p, wholeZone(0))
			a := newAccount(1, keyOf("payer", 0), keyOf("payee", 0), 0, 0, 1_000)
			a.expires = row.expires
			s.main(a.opened())
			s.block(service.Block{Epoch: &service.EpochStart{Epoch: 4, Sigma: 50}})
			if row.extend != 0 {
				s.main(a.changed(a.deposit, row.extend))
			}
			s.block(service.Block{Txs: []service.BlockTx{booking(t, item{a, a.voucher(0, 100, 1)})}})
			got := claimed(service.Outstanding(s.view, service.Spot{}, 10, 10).List)
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestOverdue: what is settled and not paid counts from the second epoch after its own on, to
// the extent that it is not paid, although the lane is settled again meanwhile.
func TestOverdue(t *testing.T) {
	t.Parallel()
	s, a := one(t, 0)
	want := func(lanes int, amount ledger.Amount) {
		t.Helper()
		if l, sum := service.Overdue(s.view, 10); l != lanes || sum != amount {
			t.Errorf("epoch %d: %d lanes and %d drops, want %d and %d", service.ReadEpoch(s.view).Number, l, sum, lanes, amount)
		}
	}
	for epoch := range uint64(4) {
		s.block(service.Block{Epoch: &service.EpochStart{Epoch: epoch}})
		s.block(service.Block{Txs: []service.BlockTx{booking(t, item{a, a.voucher(0, ledger.Amount(100*(epoch+1)), 1)})}})
		if epoch < 2 {
			want(0, 0)
		} else {
			want(1, ledger.Amount(100*epoch))
		}
	}
	if lanes, _ := service.Overdue(s.view, 0); lanes != 0 {
		t.Errorf("%d lanes of none", lanes)
	}
	s.main(redeemed(a.home(), channel.LaneTotal{Index: a.index, Redeemed: 250}))
	want(1, 50)
	s.main(redeemed(a.home(), channel.LaneTotal{Index: a.index, Redeemed: 300}))
	want(0, 0)
}
