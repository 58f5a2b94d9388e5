package bundle

import (
	"fmt"

	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/lanelog"
	"github.com/tributary-network/tributary/ledger/merkle"
	"github.com/tributary-network/tributary/ledger/sumtree"
	"github.com/tributary-network/tributary/shard"
)

// settlement proves what main paid on the lane, and for which log.
func (v *verifier) settlement() *Error {
	s, p, r := &v.Settled, v.paidBy(), &v.report
	if err := v.row(p, channel.Key(s.Index), &s.Channel); err != nil {
		return refuse(LayerSettlement, StepChannel, fmt.Errorf("channel %d: %w", s.Index, err))
	}
	c, err := channel.Decode(s.Channel.Value)
	if err != nil {
		return refuse(LayerSettlement, StepChannel, err)
	}
	lane := c.Lane0
	if s.Lane != 0 {
		var bad *Error
		if lane, bad = v.lane(&c); bad != nil {
			return bad
		}
	}
	if lane.UsageRoot.IsZero() {
		return refuse(LayerSettlement, StepPaid, fmt.Errorf("%w: nothing was paid on lane %d of channel %s, or by vouchers without a log", ErrRow, s.Lane, c.ID))
	}
	if s.Cumulative > lane.Redeemed || s.Units > lane.Units {
		return refuse(LayerSettlement, StepPaid, fmt.Errorf("%w: %d of %d drops, %d of %d units", ErrUnpaid,
			uint64(lane.Redeemed), uint64(s.Cumulative), lane.Units, s.Units))
	}
	voucher := s.voucher(c.ID, lane.UsageRoot)
	if !ledger.Verify(c.VoucherKey, voucher.Signed(v.domain()), s.Signature) {
		return refuse(LayerSettlement, StepVoucher, fmt.Errorf("%w: %d drops, %d units and log %s with key %s", ErrSignature,
			uint64(s.Cumulative), s.Units, lane.UsageRoot, c.VoucherKey))
	}
	r.Channel, r.Index, r.Lane, r.Service = c.ID, s.Index, s.Lane, c.Service
	r.Payer, r.Payee, r.VoucherKey = c.Payer, c.Payee, c.VoucherKey
	r.Deposit, r.Redeemed = c.Deposit, c.Redeemed
	r.Settled.Claim = Claim{s.Cumulative, s.Units, lane.UsageRoot}
	r.Settled.Paid = lane.Redeemed
	return nil
}

// lane proves a lane but 0, which is in a row of its own.
func (v *verifier) lane(c *channel.Channel) (channel.Lane, *Error) {
	s, p := &v.Settled, v.paidBy()
	if err := v.row(p, channel.DirectoryKey(s.Index), &s.Directory); err != nil {
		return channel.Lane{}, refuse(LayerSettlement, StepDirectory, fmt.Errorf("lanes of channel %d: %w", s.Index, err))
	}
	d, err := channel.DecodeDirectory(s.Directory.Value)
	if err != nil {
		return channel.Lane{}, refuse(LayerSettlement, StepDirectory, fmt.Errorf("%w: %w", ErrRow, err))
	}
	at, ok := d.Find(s.Lane)
	if !ok || c.LanesUsed>>s.Lane&1 == 0 {
		return channel.Lane{}, refuse(LayerSettlement, StepDirectory, fmt.Errorf("%w: nothing was paid on lane %d of channel %s", ErrRow, s.Lane, c.ID))
	}
	if err := v.row(p, channel.LaneRows().Key(at), &s.LaneRow); err != nil {
		return channel.Lane{}, refuse(LayerSettlement, StepLane, fmt.Errorf("row %d of lane %d: %w", at, s.Lane, err))
	}
	lane, err := channel.DecodeLane(s.LaneRow.Value)
	if err != nil {
		return channel.Lane{}, refuse(LayerSettlement, StepLane, fmt.Errorf("%w: %w", ErrRow, err))
	}
	return lane, nil
}

// service proves what the payer's home shard booked on the lane, and for which log.
func (v *verifier) service() *Error {
	b, r := &v.Booked, &v.report
	if err := v.row(v.bookedBy(), anchor.Key(b.Shard), &b.Anchor); err != nil {
		return refuse(LayerService, StepAnchor, fmt.Errorf("anchors of shard %d: %w", b.Shard, err))
	}
	row, err := anchor.DecodeState(b.Anchor.Value)
	if err != nil {
		return refuse(LayerService, StepAnchor, fmt.Errorf("%w: %w", ErrRow, err))
	}
	if row.Service != r.Service || row.Zone != r.Payer.Zone() || !row.Buckets.Contains(shard.Bucket(r.Payer.Bucket())) {
		return refuse(LayerService, StepHome, fmt.Errorf("%w: shard %d has buckets %s of zone %d of service %d, the payer %s of a channel of service %d is in bucket %d of zone %d",
			ErrNotHome, b.Shard, row.Buckets, row.Zone, row.Service, r.Payer, r.Service, r.Payer.Bucket(), r.Payer.Zone()))
	}
	block := anchor.Proof{Checkpoint: b.Checkpoint, Size: row.Height(), Path: b.Path}
	if err := block.Verify(&row); err != nil {
		return refuse(LayerService, StepBlock, fmt.Errorf("shard %d: %w", b.Shard, err))
	}
	booking := service.Booking{
		ChannelID: r.Channel, Lane: v.Settled.Lane, Seq: b.Seq, Units: b.Units, Cumulative: b.Cumulative, UsageRoot: b.UsageRoot,
	}
	if got := merkle.Climb(booking.Leaf(), b.Left, b.Bookings); got != b.Checkpoint.UsageRoot {
		return refuse(LayerService, StepBooking, fmt.Errorf("block %d of shard %d: %w: it leads to %s, want %s",
			b.Checkpoint.Height, b.Shard, merkle.ErrProof, got, b.Checkpoint.UsageRoot))
	}
	r.Booked = Booking{
		Claim: Claim{b.Cumulative, b.Units, b.UsageRoot}, Seq: b.Seq, Shard: b.Shard,
		Generation: b.Checkpoint.Generation, Height: b.Checkpoint.Height, Epoch: b.Checkpoint.Epoch, Anchored: row.Height(),
		Main: r.Booked.Main,
	}
	return nil
}

// log proves the entry, and that both paths lead to it.
func (v *verifier) log() *Error {
	l, r := &v.Logged, &v.report
	p := &l.Proof
	id := lanelog.ID{Channel: r.Channel, Lane: uint16(r.Lane)}
	leaf := sumtree.Leaf{Sum: p.Entry.Sum(), Salt: p.Salt, Entry: p.Entry.Hash(id, p.Seq)}
	top, before, err := sumtree.Climb(leaf.Node(), p.Seq, p.Size, p.Path)
	settled := sumtree.Root{Size: p.Size, Node: top}
	if err == nil && settled.Hash() != r.Settled.UsageRoot {
		err = fmt.Errorf("%w: it leads to %s, want %s", sumtree.ErrProof, settled.Hash(), r.Settled.UsageRoot)
	}
	if err != nil {
		return refuse(LayerLog, StepEntry, fmt.Errorf("entry %d of log %s: %w", p.Seq, id, err))
	}
	if err := covers(top.Sum, &r.Settled.Claim); err != nil {
		return refuse(LayerLog, StepTotals, fmt.Errorf("settled: %w", err))
	}
	booked := settled
	if r.Booked.UsageRoot != r.Settled.UsageRoot || l.Other != nil {
		var bad *Error
		if booked, bad = v.other(settled); bad != nil {
			return bad
		}
	}
	if err := covers(booked.Sum, &r.Booked.Claim); err != nil {
		return refuse(LayerLog, StepTotals, fmt.Errorf("booked: %w", err))
	}
	if p.Seq >= booked.Size {
		return refuse(LayerLog, StepPosition, fmt.Errorf("%w: entry %d, the booked log has %d", ErrNotBooked, p.Seq, booked.Size))
	}
	r.Log = Log{
		Entry: p.Entry, Seq: p.Seq, Size: p.Size, Before: before, Total: top.Sum,
		BookedSize: booked.Size, BookedTotal: booked.Sum,
	}
	return nil
}

// covers returns ErrTotals if a log has less than was claimed for it.
func covers(log sumtree.Sum, c *Claim) error {
	if log.Units < c.Units || log.Amount < c.Cumulative {
		return fmt.Errorf("%w: %d units and %d drops for %d and %d", ErrTotals, log.Units, uint64(log.Amount), c.Units, uint64(c.Cumulative))
	}
	return nil
}

// other proves the log that was booked, which is not the settled one: of the two, that which
// was signed for less comes first.
func (v *verifier) other(settled sumtree.Root) (sumtree.Root, *Error) {
	r, o := &v.report, v.Logged.Other
	a, b := &r.Settled.Claim, &r.Booked.Claim
	disagree := func(reason string, args ...any) *Error {
		return refuse(LayerLog, StepRoots, &DisagreementError{
			Channel: r.Channel, Lane: r.Lane, Settled: *a, Booked: *b, Reason: fmt.Sprintf(reason, args...),
		})
	}
	switch {
	case a.UsageRoot == b.UsageRoot:
		return settled, refuse(LayerLog, StepExtension, fmt.Errorf("%w: the logs are one and the same, and nothing extends it", ErrForm))
	case a.Cumulative == b.Cumulative:
		return settled, disagree("for the same drops there is one log")
	case o == nil:
		return settled, refuse(LayerLog, StepExtension, fmt.Errorf("%w: that one of the logs begins with the other", ErrMissing))
	case o.Root.Hash() != b.UsageRoot:
		return settled, refuse(LayerLog, StepExtension, fmt.Errorf("%w: the root of the booked log is %s, want %s", sumtree.ErrProof, o.Root.Hash(), b.UsageRoot))
	}
	earlier, later := settled, o.Root
	if b.Cumulative < a.Cumulative {
		earlier, later = later, earlier
	}
	if later.Size <= earlier.Size {
		return settled, disagree("the log of less drops has %d entries and that of more has %d", earlier.Size, later.Size)
	}
	if err := sumtree.VerifyExtension(earlier, later, o.Path); err != nil {
		return settled, refuse(LayerLog, StepExtension, err)
	}
	return o.Root, nil
}
