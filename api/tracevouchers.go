package api

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
)

const (
	// maxTraced is how many vouchers of a booking a trace follows.
	maxTraced = 16
	// maxSettlements is how many settlements that paid a payee a trace looks through, those
	// that it signed and those that others brought. A trace ends, too, once it has read
	// maxListed entries of them.
	maxSettlements = 256
	// settlementChunk is how many of them are in memory at a time.
	settlementChunk = 4
)

// bookedBy adds to an answer what a transaction of a shard that runs here booked.
func (r *routing) bookedBy(ctx context.Context, s ShardRecords, status *exec.ShardStatus, resp *servicev1.GetMessageResponse) error {
	entries := status.Receipt.Entries
	if applied(entries) == 0 || r.calls.crowded() {
		return nil
	}
	block, err := s.Block(status.Height)
	if errors.Is(err, exec.ErrPruned) {
		return nil
	}
	if err != nil {
		return err
	}
	at := firstBooking(block, status.TxIndex)
	for i := range entries {
		if !entries[i].Applied() {
			continue
		}
		if len(resp.GetVouchers()) == maxTraced || at >= len(block.Bookings) {
			break
		}
		proof, err := service.ProveBooking(block.Bookings, at)
		if err != nil {
			return fmt.Errorf("prove entry %d: %w", i, err)
		}
		settling, err := r.settling(s, &entries[i], &proof.Booking)
		if err != nil {
			return err
		}
		resp.Vouchers = append(resp.Vouchers, &servicev1.BookedVoucher{
			Position: uint32(i), ChannelIndex: entries[i].Index, Proof: proof.Encode(), Settling: settling, //nolint:gosec // at most channel.MaxEntries
		})
		at++
	}
	r.rates.charge(callerIP(ctx), proofTokens+rowTokens(len(resp.GetVouchers())*(1+len(block.Bookings)/stakeChunk)))
	c, err := s.Certificate(status.Height)
	if errors.Is(err, exec.ErrNoCertificate) || errors.Is(err, exec.ErrPruned) {
		return nil
	}
	resp.Certificate = c.Encode()
	return err
}

// firstBooking is the place of a transaction's first booking among those of its block.
func firstBooking(block *exec.ShardBlock, position uint32) (n int) {
	for i := range block.Receipts[:min(int(position), len(block.Receipts))] {
		n += applied(block.Receipts[i].Entries)
	}
	return n
}

// settling reports whether a shard named a voucher, or a later one of its lane, for
// settlement.
func (r *routing) settling(s ShardRecords, e *service.EntryResult, b *service.Booking) (named bool, err error) {
	c, ok, err := r.Index.Channel(e.Index)
	if err != nil || !ok {
		return false, err
	}
	return named, s.Read(func(v chain.View, _ uint64) error {
		if known, ok := service.ChannelAt(v, c.Payer.Bucket(), e.Index); ok {
			l := service.LaneOf(v, &known, e.Index, e.Lane)
			named = l.Settled >= b.Cumulative
		}
		return nil
	})
}

// vouchers follows what the transaction booked to the settlements that paid it.
func (t *tracer) vouchers(ctx context.Context, id ledger.ChainID, answer *servicev1.GetMessageResponse, evidence servicev1.Evidence) error {
	list := answer.GetVouchers()
	if len(list) == 0 || len(list) > maxTraced {
		return nil
	}
	var certificate *cert.Certificate
	if evidence != servicev1.Evidence_EVIDENCE_OWN && len(answer.GetCertificate()) > 0 {
		c, known, err := t.verifyCertificate(ctx, id, answer.GetTransaction().GetHeight(), answer.GetCertificate())
		if err != nil {
			t.note("chain %d: the certificate of what was booked: %v", id, err)
			return nil
		}
		if known {
			certificate, evidence = &c, servicev1.Evidence_EVIDENCE_VERIFIED
		}
	}
	for _, m := range list {
		t.traced = append(t.traced, m.GetChannelIndex())
	}
	for _, m := range list {
		v, err := t.voucher(m, certificate, evidence)
		if err != nil {
			t.note("chain %d: entry %d of the booking: %v", id, m.GetPosition(), err)
			continue
		}
		if err := t.paid(ctx, v); err != nil {
			return err
		}
		t.out.Vouchers = append(t.out.Vouchers, v)
	}
	return nil
}

// voucher reads a voucher that was booked, and verifies it if there is a certificate.
func (t *tracer) voucher(m *servicev1.BookedVoucher, c *cert.Certificate, evidence servicev1.Evidence) (*servicev1.TracedVoucher, error) {
	proof, err := service.DecodeBookingProof(m.GetProof())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errWrongProof, err)
	}
	if c != nil {
		if err := proof.Verify(c.Checkpoint.UsageRoot); err != nil {
			return nil, fmt.Errorf("%w: %w", errWrongProof, err)
		}
	}
	b := &proof.Booking
	info, ok, err := t.Index.Channel(m.GetChannelIndex())
	if err != nil {
		return nil, err
	}
	if ok && info.ID != b.ChannelID {
		return nil, fmt.Errorf("%w: it is of channel %s, not of number %d", errWrongProof, b.ChannelID, m.GetChannelIndex())
	}
	out := &servicev1.TracedVoucher{
		Position: m.GetPosition(), ChannelIndex: m.GetChannelIndex(), Lane: uint32(b.Lane), Seq: b.Seq, Cumulative: uint64(b.Cumulative),
		State: servicev1.VoucherState_VOUCHER_STATE_BOOKED, Evidence: evidence,
	}
	if m.GetSettling() {
		out.State = servicev1.VoucherState_VOUCHER_STATE_SETTLING
	}
	if !ok || info.State == exec.ChannelClosed {
		out.State = servicev1.VoucherState_VOUCHER_STATE_CLOSED
	}
	return out, nil
}

// paid adds to a voucher which settlement paid it. The main chain says of a channel how
// much of each lane it paid in all, and of a settlement what it added; so from the newest
// settlement backwards it is told how much was paid before each.
func (t *tracer) paid(ctx context.Context, out *servicev1.TracedVoucher) error {
	if out.GetState() == servicev1.VoucherState_VOUCHER_STATE_CLOSED {
		return nil
	}
	info, _, err := t.Index.Channel(out.GetChannelIndex())
	if err != nil {
		return err
	}
	lane := uint8(out.GetLane()) //nolint:gosec // of a booking
	var after uint64
	err = t.State.Read(func(v chain.View, _ uint64) error {
		l, _ := settlement.LaneAt(v, out.GetChannelIndex(), lane)
		after = uint64(l.Redeemed)
		return nil
	})
	if err != nil || after < out.GetCumulative() || out.GetCumulative() == 0 {
		return err
	}
	out.State = servicev1.VoucherState_VOUCHER_STATE_PAID
	list, err := t.settlementsOf(ctx, info.Payee)
	if err != nil {
		return err
	}
	for i := range list {
		e := &list[i]
		if e.index != out.GetChannelIndex() || e.lane != lane {
			continue
		}
		before := after - min(after, e.moved)
		if before < out.GetCumulative() {
			out.Settlement, out.Height, out.TxIndex = SettlementName(e.tx), e.height, e.position
			out.Time = renderTime(t.blockTime(&exec.Status{Stage: exec.StageFinal, Height: e.height}))
			return nil
		}
		after = before
	}
	return nil
}

// settledEntry is an entry of a settlement: what it moved of a lane of a channel.
type settledEntry struct {
	tx       ledger.Hash
	height   uint64
	position uint32 // of the transaction in its block
	index    uint64
	lane     uint8
	moved    uint64
}

// settlementsOf returns the entries, of channels that the trace is about, of the last
// settlements that paid a payee, newest first.
func (t *tracer) settlementsOf(ctx context.Context, payee ledger.Address) (list []settledEntry, err error) {
	if found, ok := t.settled[payee]; ok {
		return found, nil
	}
	lists := []exec.TxFilter{{Account: payee, Paid: true}, {Account: payee}}
	var before *exec.Cursor
	for looked := 0; looked < maxSettlements && t.entries < maxListed; {
		page, next, err := t.mergeTxs(lists, before, min(settlementChunk, maxSettlements-looked))
		if err != nil {
			return nil, err
		}
		work := len(page)
		for i := range page {
			r := page[i].Receipt
			work += len(r.Entries)
			if r.Kind == chain.KindSettle {
				list = t.appendTraced(list, &page[i])
			}
		}
		t.rates.charge(callerIP(ctx), rowTokens(work))
		looked, t.entries = looked+len(page), t.entries+work
		if before = next; before == nil {
			break
		}
	}
	t.settled[payee] = list
	return list, nil
}

// appendTraced appends the entries of a settlement that are of channels which the trace is
// about.
func (t *tracer) appendTraced(list []settledEntry, s *exec.Status) []settledEntry {
	for i := range s.Receipt.Entries {
		e := &s.Receipt.Entries[i]
		if slices.Contains(t.traced, e.Index) {
			list = append(list, settledEntry{tx: s.Hash, height: s.Height, position: s.TxIndex, index: e.Index, lane: e.Lane, moved: uint64(e.Moved())})
		}
	}
	return list
}
