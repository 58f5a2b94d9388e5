package exec_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	"github.com/tributary-network/tributary/ledger"
)

// voucherOf is a voucher on a lane of the channel of shardNode.opened.
type voucherOf struct {
	lane  uint8
	total uint64
}

// bookingOf returns a record with vouchers by the payee, who numbers it.
func bookingOf(id ledger.Hash, nonce, validUntil uint64, vouchers ...voucherOf) []byte {
	payer, payee := keyOf(1), keyOf(2)
	u := service.Usage{
		Service: shardtest.Service, Zone: zone,
		Batch: channel.Batch{Payee: payee.Address(zone), Mode: channel.BestEffort},
	}
	for _, v := range vouchers {
		e := channel.Entry{Index: 3, Lane: v.lane, Claim: channel.ClaimVoucher, Cumulative: ledger.Amount(v.total), Units: v.total}
		e.Signature = payer.Sign(e.Signed(chain.Domain{Network: shardtest.Network(), Chain: ledger.MainChain}, id))
		u.Batch.Entries, u.Buckets = append(u.Batch.Entries, e), append(u.Buckets, payer.Address(zone).Bucket())
	}
	return chain.SignTx(service.Domain(shardtest.Network(), shardtest.Service), payee, chain.TxFields{
		Kind: chain.KindBookUsage, Zone: zone, Nonce: nonce, ValidUntil: validUntil, Payload: u.Encode(),
	})
}

// check has the node check a bundle of records.
func (n *shardNode) check(records ...[]byte) error {
	return n.exec.Check(chain.EncodeRecords(records), false)
}

// proposed returns how many records the node proposes.
func (n *shardNode) proposed() (records int) {
	n.t.Helper()
	for _, raw := range n.exec.Propose(n.height+1, 1<<20, nil) {
		b, err := chain.DecodeBundle(raw)
		if err != nil {
			n.t.Fatal(err)
		}
		records += len(b.Records)
	}
	return records
}

// TestOneVoucherHasOnePlace: a voucher in records that differ in their nonce waits once, and
// so do those that book no more than others that wait, however they are bundled.
func TestOneVoucherHasOnePlace(t *testing.T) {
	t.Parallel()
	n := newShardNode(t)
	id := n.opened(keyOf(1), keyOf(2))
	if err := n.check(bookingOf(id, 0, 0, voucherOf{0, 40})); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name    string
		records [][]byte
		want    chain.Code
	}{
		{"the same with another nonce", [][]byte{bookingOf(id, 1, 0, voucherOf{0, 40})}, chain.CodeStale},
		{"with another end", [][]byte{bookingOf(id, 0, 99, voucherOf{0, 40})}, chain.CodeStale},
		{"less", [][]byte{bookingOf(id, 0, 0, voucherOf{0, 39})}, chain.CodeStale},
		{"more", [][]byte{bookingOf(id, 2, 0, voucherOf{0, 41})}, chain.CodeOK},
		{"the same beside another lane, worth less than both entries", [][]byte{bookingOf(id, 3, 0, voucherOf{0, 41}, voucherOf{1, 1})}, chain.CodeStale},
		{"the same beside another lane", [][]byte{bookingOf(id, 3, 0, voucherOf{0, 41}, voucherOf{1, 2})}, chain.CodeOK},
		{"twice in a bundle", [][]byte{bookingOf(id, 4, 0, voucherOf{2, 7}), bookingOf(id, 5, 0, voucherOf{2, 7}), bookingOf(id, 6, 0, voucherOf{2, 7})}, chain.CodeStale},
	} {
		if code, ok := chain.CodeOf(n.check(row.records...)); !ok || code != row.want {
			t.Errorf("%s: %s, want %s", row.name, code, row.want)
		}
	}
	if got := n.proposed(); got != 4 { // with one of the last bundle, which goes on by itself
		t.Errorf("%d records are proposed, want 4", got)
	}
	n.block(n.exec.Propose(n.height+1, 1<<20, nil)...)
	if s := n.exec.Stats(); s.PoolRecords != 0 {
		t.Errorf("%d records are left", s.PoolRecords)
	}
}

// TestStaleRecordsLeave: what a block booked otherwise is not proposed any more.
func TestStaleRecordsLeave(t *testing.T) {
	t.Parallel()
	n := newShardNode(t)
	id := n.opened(keyOf(1), keyOf(2))
	for _, raw := range [][]byte{
		bookingOf(id, 0, 0, voucherOf{0, 40}),
		bookingOf(id, 0, 0, voucherOf{0, 60}),
		bookingOf(id, 0, 0, voucherOf{0, 80}, voucherOf{1, 40}),
		bookingOf(id, 0, 0, voucherOf{0, 90}),
	} {
		if err := n.check(raw); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		booked []byte
		left   int
	}{
		{bookingOf(id, 9, 0, voucherOf{0, 39}), 4},
		{bookingOf(id, 9, 0, voucherOf{0, 60}), 2},
		{bookingOf(id, 9, 0, voucherOf{0, 85}), 2}, // lane 1 is left of one
		{bookingOf(id, 9, 0, voucherOf{1, 50}), 1},
		{bookingOf(id, 9, 0, voucherOf{0, 90}), 0},
	} {
		n.block(chain.EncodeRecords([][]byte{row.booked}))
		if got := n.proposed(); got != row.left {
			t.Errorf("after block %d %d records are proposed, want %d", n.height, got, row.left)
		}
	}
	if s := n.exec.Stats(); s.PoolRecords != 0 || s.PoolBundles != 0 {
		t.Errorf("%d records are left in %d bundles", s.PoolRecords, s.PoolBundles)
	}
}

// TestWhatLeavesThePoolStandsInNobodysWay: a record that is not executed keeps its voucher
// from others as long as it waits.
func TestWhatLeavesThePoolStandsInNobodysWay(t *testing.T) {
	t.Parallel()
	n := newShardNode(t)
	id := n.opened(keyOf(1), keyOf(2))
	if err := n.check(bookingOf(id, 0, 2, voucherOf{0, 80})); err != nil {
		t.Fatal(err)
	}
	if err := n.check(bookingOf(id, 1, 0, voucherOf{0, 40})); !errors.Is(err, chain.CodeStale.Err()) {
		t.Errorf("beside one of more: %v", err)
	}
	n.block() // the last one that may have the first
	if err := n.check(bookingOf(id, 1, 0, voucherOf{0, 40})); err != nil {
		t.Errorf("after that has expired: %v", err)
	}
	if got := n.proposed(); got != 1 {
		t.Errorf("%d records are proposed, want 1", got)
	}
}

// TestSubmitBesidePendingBookings: who sends what others book as well is told to come back,
// and what they booked meanwhile is dropped with a reason.
func TestSubmitBesidePendingBookings(t *testing.T) {
	t.Parallel()
	n := newShardNode(t)
	id := n.opened(keyOf(1), keyOf(2))
	packed := make(chan struct{}, 16)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- n.exec.Run(ctx, func(raw []byte) error {
			defer func() { packed <- struct{}{} }()
			return n.exec.Check(raw, false)
		})
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	mine := bookingOf(id, 0, 0, voucherOf{0, 40})
	_, err := n.exec.Submit(ctx, mine)
	for errors.Is(err, exec.ErrNotRunning) {
		_, err = n.exec.Submit(ctx, mine)
	}
	if err != nil {
		t.Fatal(err)
	}
	<-packed
	again := bookingOf(id, 1, 0, voucherOf{0, 40})
	var busy *exec.BusyError
	if _, err := n.exec.Submit(ctx, again); !errors.Is(err, exec.ErrRaised) || !errors.As(err, &busy) || busy.RetryAfter <= 0 {
		t.Errorf("the voucher again: %v", err)
	}
	n.block(chain.EncodeRecords([][]byte{bookingOf(id, 2, 0, voucherOf{0, 50})}))
	if s, err := n.exec.Status(chain.TxHash(mine)); err != nil || s.Stage != exec.StageDropped || s.DropReason == "" {
		t.Errorf("what was booked otherwise is %+v, %v, want DROPPED with a reason", s, err)
	}
	for name, raw := range map[string][]byte{"mine": mine, "again": again} {
		if _, err := n.exec.Submit(ctx, raw); !errors.Is(err, chain.CodeStale.Err()) {
			t.Errorf("%s after it was booked otherwise: %v", name, err)
		}
	}
	if s := n.exec.Stats(); s.PendingRecords != 0 || s.PoolRecords != 0 || s.Dropped != 1 {
		t.Errorf("stats %+v", s)
	}
}
