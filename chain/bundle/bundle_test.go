package bundle_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/bundle"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/lanelog"
	"github.com/tributary-network/tributary/ledger/merkle"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/ledger/sumtree"
	"github.com/tributary-network/tributary/shard"
)

// TestAnyBundle: whatever the sizes of logs, trees and blocks, whichever path knows more,
// and whoever signed, a bundle is made, read back to the byte, and proves what there is.
func TestAnyBundle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p := plan{
			Lane: rapid.SampledFrom([]uint8{0, 0, 1, 63}).Draw(rt, "lane"), Settled: rapid.IntRange(1, 300).Draw(rt, "settled"),
			Rows: rapid.IntRange(0, 60).Draw(rt, "rows"), Heights: rapid.Uint64Range(1, 100).Draw(rt, "heights"),
			Bookings: rapid.IntRange(1, 40).Draw(rt, "bookings"), Apart: rapid.Bool().Draw(rt, "apart"),
			Steps: rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(rt, "steps"), Booked: rapid.IntRange(1, 300).Draw(rt, "booked"),
		}
		if rapid.Bool().Draw(rt, "same") {
			p.Booked = p.Settled
		}
		p.Back = p.Steps == 0 && rapid.Bool().Draw(rt, "back")
		p.At = rapid.Uint64Range(1, p.Heights).Draw(rt, "at")
		p.Nth = rapid.IntRange(0, p.Bookings-1).Draw(rt, "nth")
		p.Seq = rapid.IntRange(0, min(p.Settled, p.Booked)-1).Draw(rt, "entry")
		parts := p.parts(t)
		file := mustAssemble(t, parts)
		a, err := bundle.Decode(file)
		if err != nil {
			rt.Fatal(err)
		}
		if again, err := a.Encode(); err != nil || !bytes.Equal(again, file) {
			rt.Fatalf("it is written back otherwise: %v", err)
		}
		r, err := bundle.Verify(file, trustOf(parts))
		if err != nil {
			rt.Fatal(err)
		}
		log := write(t, lanelog.ID{Channel: r.Channel, Lane: uint16(p.Lane)}, max(p.Settled, p.Booked), 1<<30)
		before := sumtree.Sum{}
		if p.Seq > 0 {
			before = log.root(p.Seq).Sum
		}
		settled, booked := log.root(p.Settled), log.root(p.Booked)
		want := bundle.Log{
			Entry: log.list[p.Seq], Seq: uint64(p.Seq), Size: uint64(p.Settled), Before: before, Total: settled.Sum,
			BookedSize: uint64(p.Booked), BookedTotal: booked.Sum,
		}
		if diff := cmp.Diff(want, r.Log); diff != "" {
			rt.Error(diff)
		}
		if r.Settled.UsageRoot != settled.Hash() || r.Booked.UsageRoot != booked.Hash() || r.Settled.Paid != settled.Amount || r.Booked.Height != p.At {
			rt.Errorf("report %+v", r)
		}
		if len(file) > 8<<10 && p.Steps == 0 && !p.Back {
			rt.Errorf("%d bytes", len(file))
		}
	})
}

// wants checks which layer and step refuse.
func wants(t *testing.T, err error, layer bundle.Layer, step bundle.Step, reason error) {
	t.Helper()
	e, ok := errors.AsType[*bundle.Error](err)
	if !ok || e.Layer != layer || e.Step != step || !errors.Is(err, reason) {
		t.Errorf("error %v, want %s: %s: %v", err, layer, step, reason)
	}
}

// One bundle that holds; each row breaks one thing, where nobody but who makes it can.
func TestBundlesThatDoNotHold(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		change func(*rows)
		plan   func(*plan)
		parts  func(*bundle.Parts)
		layer  bundle.Layer
		step   bundle.Step
		want   error
	}{
		{"fewer than two thirds sign", nil, nil, func(p *bundle.Parts) { p.Certificate.Bitmap = []byte{3} }, bundle.LayerMain, bundle.StepCertificate, cert.ErrTooLittlePower},
		{"others sign", nil, nil, func(p *bundle.Parts) { p.Certificate.Bitmap = []byte{7} }, bundle.LayerMain, bundle.StepCertificate, cert.ErrBadSignature},
		{"the state is another", nil, nil, func(p *bundle.Parts) { p.Certificate.Checkpoint.StateRoot[0] ^= 1 }, bundle.LayerMain, bundle.StepCertificate, cert.ErrBadSignature},
		{"a hand-over is forged", nil, func(p *plan) { p.Steps = 1 }, func(p *bundle.Parts) { p.Handovers[0].Record.Seed[0] ^= 1 }, bundle.LayerMain, bundle.StepHandover, stateproof.ErrInvalid},
		{"a hand-over back is forged", nil, func(p *plan) { p.Back = true }, func(p *bundle.Parts) { p.Handovers[0].Record.Kept = false }, bundle.LayerMain, bundle.StepHandover, stateproof.ErrInvalid},
		{"a hand-over skips an epoch", nil, func(p *plan) { p.Steps = 2 }, func(p *bundle.Parts) { p.Handovers = p.Handovers[1:] }, bundle.LayerMain, bundle.StepHandover, cert.ErrBadSignature},
		{"a hand-over back is said to be one on", nil, func(p *plan) { p.Back = true }, func(p *bundle.Parts) { p.Handovers[0].Past = false }, bundle.LayerMain, bundle.StepHandover, bundle.ErrRow},
		{"a hand-over on is said to be one back", nil, func(p *plan) { p.Steps = 1 }, func(p *bundle.Parts) { p.Handovers[0].Past = true }, bundle.LayerMain, bundle.StepHandover, bundle.ErrRow},
		{"the channel's row is another", nil, nil, func(p *bundle.Parts) { p.Channel.Value = bytes.Clone(p.Channel.Value); p.Channel.Value[200] ^= 1 }, bundle.LayerSettlement, bundle.StepChannel, stateproof.ErrInvalid},
		{"the lane is another", nil, func(p *plan) { p.Lane = 2 }, func(p *bundle.Parts) { p.Voucher.Lane, p.Booking.Booking.Lane = 3, 3 }, bundle.LayerSettlement, bundle.StepDirectory, bundle.ErrRow},
		{"the lane's row is another", nil, func(p *plan) { p.Lane = 2 }, func(p *bundle.Parts) { p.LaneRow.Value = bytes.Clone(p.LaneRow.Value); p.LaneRow.Value[0] ^= 1 }, bundle.LayerSettlement, bundle.StepLane, stateproof.ErrInvalid},
		{"the lane has no log", func(r *rows) { r.lane.UsageRoot = ledger.Hash{} }, nil, nil, bundle.LayerSettlement, bundle.StepPaid, bundle.ErrRow},
		{"main paid less drops", func(r *rows) { r.lane.Redeemed-- }, nil, nil, bundle.LayerSettlement, bundle.StepPaid, bundle.ErrUnpaid},
		{"main counted less units", func(r *rows) { r.lane.Units-- }, nil, nil, bundle.LayerSettlement, bundle.StepPaid, bundle.ErrUnpaid},
		{"another key signed the voucher", func(r *rows) { r.payer = fakeKey("payer", 2) }, nil, nil, bundle.LayerSettlement, bundle.StepVoucher, bundle.ErrSignature},
		{"the voucher is of another lane", func(r *rows) { r.voucher.Lane = 1 }, nil, func(p *bundle.Parts) { p.Voucher.Lane = 0 }, bundle.LayerSettlement, bundle.StepVoucher, bundle.ErrSignature},
		{"the voucher is of another log", func(r *rows) { r.voucher.UsageRoot[0] ^= 1 }, nil, nil, bundle.LayerSettlement, bundle.StepVoucher, bundle.ErrSignature},
		{"the shard is of another service", func(r *rows) { r.anchor.Service++ }, nil, nil, bundle.LayerService, bundle.StepHome, bundle.ErrNotHome},
		{"the shard is of another zone", func(r *rows) { r.anchor.Zone++ }, nil, nil, bundle.LayerService, bundle.StepHome, bundle.ErrNotHome},
		{"the shard has other buckets", func(r *rows) {
			b := r.channel.Payer.Bucket()
			r.anchor.Buckets = shard.Range{First: shard.Bucket(b ^ 128), Last: shard.Bucket(b ^ 128)}
		}, nil, nil, bundle.LayerService, bundle.StepHome, bundle.ErrNotHome},
		{"the anchors are others", nil, nil, func(p *bundle.Parts) { p.Anchor.Value = bytes.Clone(p.Anchor.Value); p.Anchor.Value[9] ^= 1 }, bundle.LayerService, bundle.StepAnchor, stateproof.ErrInvalid},
		{"the block is another", nil, nil, func(p *bundle.Parts) { p.Block.Checkpoint.Round++ }, bundle.LayerService, bundle.StepBlock, merkle.ErrProof},
		{"the block is of another height", nil, nil, func(p *bundle.Parts) { p.Block.Checkpoint.Height++ }, bundle.LayerService, bundle.StepBlock, merkle.ErrProof},
		{"the booking is another", nil, nil, func(p *bundle.Parts) { p.Booking.Booking.Units++ }, bundle.LayerService, bundle.StepBooking, merkle.ErrProof},
		{"the booking is elsewhere", nil, nil, func(p *bundle.Parts) { p.Booking.Index++ }, bundle.LayerService, bundle.StepBooking, merkle.ErrProof},
		{"the booking is of another channel", func(r *rows) { r.bookings[4].ChannelID[0] ^= 1 }, nil, func(p *bundle.Parts) { p.Booking.Booking.ChannelID[0] ^= 1 }, bundle.LayerService, bundle.StepBooking, merkle.ErrProof},
		{"the booking is of another lane", func(r *rows) { r.bookings[4].Lane++ }, nil, func(p *bundle.Parts) { p.Booking.Booking.Lane-- }, bundle.LayerService, bundle.StepBooking, merkle.ErrProof},
		{"the entry is another", nil, nil, func(p *bundle.Parts) { p.Entry.Entry.Duration++ }, bundle.LayerLog, bundle.StepEntry, sumtree.ErrProof},
		{"the entry is elsewhere", nil, nil, func(p *bundle.Parts) { p.Entry.Seq++ }, bundle.LayerLog, bundle.StepEntry, sumtree.ErrProof},
		{"more was settled than logged", func(r *rows) { r.lane.Redeemed++; r.voucher.Cumulative++ }, nil, nil, bundle.LayerLog, bundle.StepTotals, bundle.ErrTotals},
		{"more units were booked than logged", func(r *rows) { r.bookings[4].Units++ }, nil, nil, bundle.LayerLog, bundle.StepTotals, bundle.ErrTotals},
		{"two logs for the same drops", nil, func(p *plan) { p.Twist = 900 }, nil, bundle.LayerLog, bundle.StepRoots, bundle.ErrDisagree},
		{"a longer log for the same drops", func(r *rows) { r.bookings[4].Cumulative = r.lane.Redeemed }, func(p *plan) { p.Booked = 1_001 }, nil, bundle.LayerLog, bundle.StepRoots, bundle.ErrDisagree},
		{"a shorter log for more drops", func(r *rows) { r.bookings[4].Cumulative = r.lane.Redeemed + 1 }, func(p *plan) { p.Booked = 700 }, nil, bundle.LayerLog, bundle.StepRoots, bundle.ErrDisagree},
		{"no proof that one log goes on", nil, func(p *plan) { p.Booked = 1_700 }, func(p *bundle.Parts) { p.Booked = nil }, bundle.LayerLog, bundle.StepExtension, bundle.ErrMissing},
		{"a log that does not go on", nil, func(p *plan) { p.Booked, p.Twist = 1_700, 990 }, nil, bundle.LayerLog, bundle.StepExtension, sumtree.ErrProof},
		{"a log that was not the beginning", nil, func(p *plan) { p.Booked, p.Twist = 700, 690 }, nil, bundle.LayerLog, bundle.StepExtension, sumtree.ErrProof},
		{"the booked log is another", nil, func(p *plan) { p.Booked = 1_700 }, func(p *bundle.Parts) { p.Booked.Root.Units++ }, bundle.LayerLog, bundle.StepExtension, sumtree.ErrProof},
		{"an entry that was not booked", nil, func(p *plan) { p.Booked = 417 }, nil, bundle.LayerLog, bundle.StepPosition, bundle.ErrNotBooked},
		{"a log that goes on with itself", nil, nil, func(p *bundle.Parts) { p.Booked = &bundle.Other{} }, bundle.LayerLog, bundle.StepExtension, bundle.ErrForm},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := common()
			p.Rows, p.change = 20, row.change
			if row.plan != nil {
				row.plan(&p)
			}
			parts := p.parts(t)
			if row.parts != nil {
				row.parts(parts)
			}
			_, err := bundle.Assemble(parts)
			wants(t, err, row.layer, row.step, row.want)
		})
	}
}

// TestEvidence: of two logs for the same drops it is said which they are.
func TestEvidence(t *testing.T) {
	t.Parallel()
	p := common()
	p.Twist = 900
	parts := p.parts(t)
	_, err := bundle.Assemble(parts)
	d, ok := errors.AsType[*bundle.DisagreementError](err)
	if !ok {
		t.Fatal(err)
	}
	k := &parts.Booking.Booking
	want := bundle.DisagreementError{
		Channel: parts.Voucher.ChannelID, Reason: d.Reason,
		Settled: bundle.Claim{Cumulative: parts.Voucher.Cumulative, Units: parts.Voucher.Units, UsageRoot: parts.Voucher.UsageRoot},
		Booked:  bundle.Claim{Cumulative: k.Cumulative, Units: k.Units, UsageRoot: k.UsageRoot},
	}
	if diff := cmp.Diff(want, *d); diff != "" {
		t.Error(diff)
	}
}

// TestPartlyPaid: a later voucher that was paid in part leaves the log of the one before.
func TestPartlyPaid(t *testing.T) {
	t.Parallel()
	p := common()
	p.change = func(r *rows) { r.lane.Redeemed += 7 }
	parts := p.parts(t)
	r, err := bundle.Verify(mustAssemble(t, parts), trustOf(parts))
	if err != nil || r.Settled.Paid != r.Settled.Cumulative+7 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestReaders: who trusts others, another network, or nobody.
func TestReaders(t *testing.T) {
	t.Parallel()
	p := common()
	p.Steps = 1
	parts := p.parts(t)
	file := mustAssemble(t, parts)
	first := parts.Handovers[0].Certificate.Checkpoint
	for _, row := range []struct {
		name   string
		change func(*bundle.Trust)
		step   bundle.Step
		want   error
	}{
		{"the committee", func(*bundle.Trust) {}, "", nil},
		{"the committee, and no lengths of epochs", func(t *bundle.Trust) { t.EpochBlocks = 0 }, "", nil},
		{"a checkpoint", func(t *bundle.Trust) { t.Committee, t.Checkpoint = ledger.Hash{}, first.Hash() }, "", nil},
		{"another network", func(t *bundle.Trust) { t.Network[31] ^= 1 }, bundle.StepNetwork, bundle.ErrNetwork},
		{"another committee", func(t *bundle.Trust) { t.Committee = parts.Handovers[0].Record.Committee.Hash() }, bundle.StepTrust, bundle.ErrUntrusted},
		{"another checkpoint", func(t *bundle.Trust) { t.Committee, t.Checkpoint = ledger.Hash{}, parts.Certificate.Checkpoint.Hash() }, bundle.StepTrust, bundle.ErrUntrusted},
		{"nobody", func(t *bundle.Trust) { t.Committee = ledger.Hash{} }, bundle.StepTrust, bundle.ErrUntrusted},
		{"other epochs", func(t *bundle.Trust) { t.EpochBlocks++ }, bundle.StepHandover, bundle.ErrHeight},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			trust := trustOf(parts)
			row.change(&trust)
			_, err := bundle.Verify(file, trust)
			if row.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wants(t, err, bundle.LayerMain, row.step, row.want)
		})
	}
	t.Run("a replaced committee", func(t *testing.T) {
		t.Parallel()
		a, err := bundle.Decode(file)
		if err != nil {
			t.Fatal(err)
		}
		a.Main.Committee = committeeOf(t, fakeEpoch, 1)
		replaced, err := a.Encode()
		if err != nil {
			t.Fatal(err)
		}
		_, err = bundle.Verify(replaced, trustOf(parts))
		wants(t, err, bundle.LayerMain, bundle.StepTrust, bundle.ErrUntrusted)
	})
}

// sections returns where the layers of a bundle begin and end, without their lengths.
func sections(tb testing.TB, file []byte) (list [4][2]int) {
	tb.Helper()
	r := codec.NewReader(file)
	r.Fixed(len(bundle.Magic) + 1 + ledger.HashSize)
	for i := range list {
		n := len(r.Bytes32(bundle.MaxSize))
		list[i] = [2]int{r.Offset() - n, r.Offset()}
	}
	if err := r.Done(); err != nil {
		tb.Fatal(err)
	}
	return list
}

func layers() [4]bundle.Layer {
	return [4]bundle.Layer{bundle.LayerMain, bundle.LayerSettlement, bundle.LayerService, bundle.LayerLog}
}

// TestMissing: each layer may be missing, or have something behind it, and is named.
func TestMissing(t *testing.T) {
	t.Parallel()
	parts := common().parts(t)
	file := mustAssemble(t, parts)
	for i, layer := range layers() {
		var without, more codec.Writer
		head := file[:len(bundle.Magic)+1+ledger.HashSize]
		without.Fixed(head)
		more.Fixed(head)
		for j, at := range sections(t, file) {
			part := file[at[0]:at[1]]
			if i != j {
				without.Bytes32(part)
				more.Bytes32(part)
				continue
			}
			without.Bytes32(nil)
			more.Bytes32(append(bytes.Clone(part), 0))
		}
		_, err := bundle.Verify(without.Bytes(), trustOf(parts))
		wants(t, err, layer, bundle.StepMissing, bundle.ErrMissing)
		_, err = bundle.Verify(more.Bytes(), trustOf(parts))
		wants(t, err, layer, bundle.StepForm, codec.ErrTrailing)
	}
	for n := range file {
		if n%97 == 0 || n < 60 || n > len(file)-9 {
			_, err := bundle.Verify(file[:n], trustOf(parts))
			wants(t, err, bundle.LayerFile, bundle.StepFrame, bundle.ErrForm)
		}
	}
	_, err := bundle.Verify(append(bytes.Clone(file), 0), trustOf(parts))
	wants(t, err, bundle.LayerFile, bundle.StepFrame, bundle.ErrForm)
	_, err = bundle.Verify(make([]byte, bundle.MaxSize+1), trustOf(parts))
	wants(t, err, bundle.LayerFile, bundle.StepFrame, bundle.ErrForm)
}

// TestParts: what is not of one bundle is not assembled.
func TestParts(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		change func(*bundle.Parts)
	}{
		{"a lane that there is not", func(p *bundle.Parts) { p.Voucher.Lane = channel.Lanes }},
		{"a booking of another lane", func(p *bundle.Parts) { p.Booking.Booking.Lane++ }},
		{"a voucher of another channel", func(p *bundle.Parts) { p.Voucher.ChannelID[0] ^= 1; p.Booking.Booking.ChannelID[0] ^= 1 }},
		{"a certificate by strangers", func(p *bundle.Parts) { p.Certificate.Checkpoint.CommitteeHash[0] ^= 1 }},
		{"no channel", func(p *bundle.Parts) { p.Channel = nil }},
		{"the key of no channel", func(p *bundle.Parts) { p.Channel.Key = anchor.Key(1) }},
		{"a channel that is closed", func(p *bundle.Parts) { p.Channel.Value = nil }},
		{"no lane", func(p *bundle.Parts) { p.Voucher.Lane, p.Booking.Booking.Lane = 2, 2 }},
		{"no anchors", func(p *bundle.Parts) { p.Anchor = nil }},
		{"anchors of another shard", func(p *bundle.Parts) { p.Anchor.Key = anchor.Key(1) }},
		{"a booking behind the last", func(p *bundle.Parts) { p.Booking.Index = p.Booking.Size }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := common()
			p.Rows = 5
			parts := p.parts(t)
			row.change(parts)
			if _, err := bundle.Assemble(parts); !errors.Is(err, bundle.ErrParts) {
				t.Errorf("error %v, want ErrParts", err)
			}
		})
	}
}

// TestSize: bundles of four validators have at most 8 KiB, also where main has 5,000 channels,
// the shard has 3,000 heights and sends something with each, a block has 1,000 bookings, the
// logs have tens of thousands of entries, and more was booked than settled.
func TestSize(t *testing.T) {
	t.Parallel()
	for _, lane := range []uint8{0, 9} {
		p := plan{Lane: lane, Settled: 20_000, Booked: 30_001, Seq: 417, Rows: 5_000, Heights: 3_000, At: 777, Bookings: 1_000, Nth: 600}
		file := mustAssemble(t, p.parts(t))
		var parts []int
		for _, at := range sections(t, file) {
			parts = append(parts, at[1]-at[0])
		}
		t.Logf("lane %d: %d bytes, main, settlement, service and log %v", lane, len(file), parts)
		if len(file) > 8<<10 {
			t.Errorf("lane %d: %d bytes, at most 8 KiB", lane, len(file))
		}
	}
}

// FuzzDecode: whatever the bytes, they are read or refused, and what is read is written back
// alike.
func FuzzDecode(f *testing.F) {
	for _, p := range []plan{common(), {Settled: 3, Booked: 2, Heights: 1, At: 1, Bookings: 1, Lane: 2, Apart: true, Steps: 1}} {
		f.Add(mustAssemble(f, p.parts(f)))
	}
	f.Add([]byte(bundle.Magic))
	f.Fuzz(func(t *testing.T, file []byte) {
		a, err := bundle.Decode(file)
		if err != nil {
			if _, ok := errors.AsType[*bundle.Error](err); !ok {
				t.Errorf("%v names no layer", err)
			}
			return
		}
		if again, err := a.Encode(); err != nil || !bytes.Equal(again, file) {
			t.Fatalf("%x is written back as %x, %v", file, again, err)
		}
		if _, err := a.Verify(bundle.Trust{Network: a.Network, Committee: a.Main.Committee.Hash()}); err == nil && a.Main.Committee.Hash() != committeeHash(t) {
			t.Errorf("%x is signed by nobody and holds", file)
		}
	})
}

func committeeHash(tb testing.TB) ledger.Hash {
	tb.Helper()
	c := committeeOf(tb, fakeEpoch, 0)
	return c.Hash()
}

// BenchmarkVerify verifies the golden bundles as a reader does, on one core.
func BenchmarkVerify(b *testing.B) {
	for _, m := range goldens(b) {
		b.Run(m.Name, func(b *testing.B) {
			for b.Loop() {
				if _, err := bundle.Verify(m.file, m.trust()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(m.file)), "bytes")
		})
	}
}

// BenchmarkAssemble makes a bundle of parts that are there, and verifies it.
func BenchmarkAssemble(b *testing.B) {
	parts := common().parts(b)
	for b.Loop() {
		mustAssemble(b, parts)
	}
}
