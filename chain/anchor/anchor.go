// Package anchor is the rules by which the main chain takes the certified headers of
// shards: contiguous, many at once, by anybody, and one version of each height.
//
// A shard's committee certifies a checkpoint of every block. Whoever has the
// certificates sends them to the main chain as runs (cert.Run), each with one
// signature for up to cert.MaxRun heights. A run is taken if it goes on from the last
// height that is anchored, of each height's epoch the committee that the main chain
// drew signed with more than two thirds of its power, and the epochs do not fall. It
// may begin with heights that are anchored, if it has the same version of the last one:
// who relays need not wait for what is under way. So nothing is final before a committee certified it and main took it, and
// to forge a shard's state takes two thirds of a committee, not one. The first
// version of a height stays for ever. A repeat is refused before any pairing, and so
// is everything else that the state alone can refuse. Another version of an anchored
// height is refused too (CodeAnchorConflict); that somebody signed two is for Judge
// to find.
//
// Main keeps one row for each shard that ever was: State, with an append-only tree of
// RFC 6962 over all its checkpoints, of which no more than the frontier is kept
// (merkle.Frontier), and the outbox roots of the last Window heights, which links
// import from without a proof. The row is a leaf of main's state tree, so one
// application hash of main proves every header of every shard: a state proof of the
// row (ledger/stateproof), and a Proof from it. A tree of its own over the rows would
// prove the same with a second format, at the price of one more write per level and
// anchor, while the state tree is there, is in every header, and is certified.
//
// Who relays. An anchor is a transaction like others, and its signer pays as for
// others. What was due (Params.Due) and is taken costs nothing: PaidBack. So the
// duty is free for who does it first, a race has one loser who pays, and nobody earns
// by it, which would be worth a race. Splitting what could go together is not due
// and is paid for.
//
// Missing anchors. Params.Status says from the heights of main alone whether a shard
// is live, late or stalled, since the last anchor or since it got its committee. While
// main itself is idle nothing gets late. Main cannot tell a shard that stands still
// from one that has nothing to do: an idle shard makes an empty block after three
// quarters of Params.LateBlocks, so that there is something to anchor. Stalled lists who is
// to get another committee, for shard.Inputs.Redraw and shard.Redraw. That committee
// goes on from what is anchored; what the one before certified beyond is lost, and was
// never final.
//
// # Generations
//
// Going on is a generation: State.Generation counts them, and every checkpoint names its
// own (cert.Checkpoint), so that nobody is to blame for having signed a height in two of
// them, and of none but the present one anything is anchored. Resumed and ResumedRoot say
// after which height and from which state it goes on, RedrawEpoch by which epoch's committee
// (shardblock.ResumeFromMain). Ends say where the earlier ones ended, so that anybody can
// tell of a certified block whether it is anchored (Keeps) or never will be (TakesBack). One
// begins when others are drawn (Redrawn), and when there is nobody else, but the committee
// that has to go on is of more than MaxLag epochs ago (Lost), so that nothing it certifies
// would be anchored: then with the committee of the present epoch (Restarted), which may
// have the same members. So no shard is dead for ever
// whose service somebody serves.
//
// # The end of a shard
//
// A split or a merge replaces a shard from an epoch on: State.Until. There is a committee
// of it for that epoch too, of the members that it had in the epoch before
// (shard.Assignment.Last). The shard takes the record of the epoch as that of any other,
// so that this committee votes two blocks later, and the first height that this
// committee certifies is the last one: what the shard makes beyond is worth nothing. So
// main needs nobody to tell it the end: State.End is the first height of epoch Until or
// later that it anchors, with nothing behind it in its run. With that the shard is
// Finished, and Sync founds its heirs. They begin with the state that the last checkpoint
// names (State.Last), each with its own buckets, and their clock goes on from the
// parents'. Until then their anchors are refused. No shard is split or merged of which
// nothing is anchored (chain/registry): nobody but its own committee could bring it to its
// end.
//
// A shard that stands still on the way to its end is drawn anew like others
// (registry.Context.Redraw), in the epoch that runs then: hence "or later". It is only
// ever the last height that is missing if no committee takes the record of the epoch,
// which takes a third of each.
//
// # Wiring
//
// chain/settlement does this with it, and tests/sim:
//
//   - Genesis: Params are part of its own. chain/registry calls Sync with the map of epoch
//     0, and in the last block of each epoch with that of the coming one.
//   - Records with an encoded Anchors: the fee is that of a record and Params.Fee, the weight
//     that of a record and Weight. Context.Prepare verifies at admission, and Proved
//     remembers; Context.Apply in the block, whose Results are in the receipt. If Apply
//     refuses, so is the record, which pays its whole fee for CodeBadCertificate. Otherwise
//     PaidBack of it goes back to the signer.
//   - Context: State is the block's overlay, Network the genesis' hash, Height the block's,
//     Epoch that of staking.Params.Epoch, Committees reads registry.ReadServing and keeps
//     decoded keys (0.2 ms each) by the hash of the committee.
//   - Records with an encoded Conflict: Context.Judge. For each of Verdict.Signed, if
//     Verdict.Guilty, staking.PunishShard; and the shard gets another committee.
//   - Blocks with records, ticks, or the end of an epoch, before registry.End: for some of
//     Stalled registry.Context.Redraw with Round, then Redrawn; if there is nobody else,
//     Restarted for who is Lost, and Asked for the others. So at the draw nothing is stalled, and shard.Inputs.Redraw stays empty.
//   - Links: Known is link.Anchors on main. On a shard the same rows come with a state
//     proof against main's certified header.
//   - Split and merge: see Context.Apply; when a Result says Finished, Sync founds the heirs,
//     whose clock goes on from the parents'. Until then their anchors are refused.
//   - Params.MaxLag counts as less than EvidenceEpochs, so that who signs is answerable.
//
// It is row 1c of the dependency order: pure rules over values. A Context is owned by
// one goroutine.
package anchor

import (
	"fmt"
	"math"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// Params are the consensus parameters of anchors. Blocks are those of the main chain.
type Params struct {
	// DueBlocks is after how many blocks without an anchor of a shard the next one is
	// due. Blocks of the main chain alone decide that: how fast the shard makes its own
	// is its committee's choice.
	DueBlocks uint32
	// LateBlocks is how many blocks without an anchor make a shard late, StalledBlocks
	// how many make it stalled, so that it gets another committee.
	LateBlocks, StalledBlocks uint32
	// MaxLag is how many epochs before the running one a checkpoint may be of. Older
	// committees may have taken their stake home and sign what they like.
	MaxLag uint32
	// SetFee is for each set of signers of a run, which costs a pairing, HeightFee for
	// each height, in drops, on top of the fee of every transaction.
	SetFee, HeightFee ledger.Amount
}

// DefaultParams are the parameters to start with, at blocks of three seconds and
// epochs of an hour: an anchor every six seconds, late after three minutes, another
// committee after half an hour, ten days of lag.
func DefaultParams() Params {
	return Params{DueBlocks: 2, LateBlocks: 60, StalledBlocks: 600, MaxLag: 240, SetFee: 100, HeightFee: 10}
}

// LocalParams are DefaultParams for networks on one machine, at five blocks a second
// and epochs of 20 blocks.
func LocalParams() Params {
	p := DefaultParams()
	p.LateBlocks, p.StalledBlocks, p.MaxLag = 60, 200, 12
	return p
}

// Bounds of parameters.
const (
	maxBlocks = 1 << 20
	maxLag    = 10_000
	maxFee    = ledger.Amount(1_000_000_000_000)
)

// Validate returns an error that names the first parameter out of its range.
func (p *Params) Validate() error {
	for _, r := range []struct {
		name             string
		value, low, high uint64
	}{
		{"due_blocks", uint64(p.DueBlocks), 1, maxBlocks},
		{"late_blocks", uint64(p.LateBlocks), 1, maxBlocks},
		{"stalled_blocks", uint64(p.StalledBlocks), 1, maxBlocks},
		{"max_lag", uint64(p.MaxLag), 1, maxLag},
		{"set_fee", uint64(p.SetFee), 0, uint64(maxFee)},
		{"height_fee", uint64(p.HeightFee), 0, uint64(maxFee)},
	} {
		if r.value < r.low || r.value > r.high {
			return fmt.Errorf("%s is %d, want %d to %d", r.name, r.value, r.low, r.high)
		}
	}
	switch {
	case p.LateBlocks <= p.DueBlocks:
		return fmt.Errorf("late_blocks is %d, more than due_blocks %d, or a shard would be late before its anchor is due", p.LateBlocks, p.DueBlocks)
	case p.StalledBlocks <= p.LateBlocks:
		return fmt.Errorf("stalled_blocks is %d, more than late_blocks %d", p.StalledBlocks, p.LateBlocks)
	}
	return nil
}

// ParamsSize is the length of encoded Params in bytes.
const ParamsSize = 4*4 + 2*8

func (p *Params) fields() [4]*uint32 {
	return [4]*uint32{&p.DueBlocks, &p.LateBlocks, &p.StalledBlocks, &p.MaxLag}
}

// Append writes the parameters: due blocks, late blocks, stalled blocks and lag 4 each,
// the fees 8 each.
func (p *Params) Append(w *codec.Writer) {
	for _, v := range p.fields() {
		w.Uint32(*v)
	}
	w.Uint64(uint64(p.SetFee))
	w.Uint64(uint64(p.HeightFee))
}

// Read reads what Append wrote.
func (p *Params) Read(r *codec.Reader) {
	for _, v := range p.fields() {
		*v = r.Uint32()
	}
	p.SetFee, p.HeightFee = ledger.Amount(r.Uint64()), ledger.Amount(r.Uint64())
}

// Fee returns what anchors cost on top of the fee of every transaction.
func (p *Params) Fee(a *Anchors) ledger.Amount {
	var fee ledger.Amount
	for i := range a.Runs {
		r := &a.Runs[i]
		fee += p.SetFee*ledger.Amount(len(r.Sets)) + p.HeightFee*ledger.Amount(len(r.Heads))
	}
	return fee
}

// PaidBack returns the part of a fee that goes back to the signer of anchors with
// these results: all of it if every run was taken as a whole and was due, and otherwise
// the share that the heights taken of those runs have in all heights, rounded down.
func PaidBack(fee ledger.Amount, a *Anchors, results []Result) (ledger.Amount, error) {
	var earned, all uint64
	for i := range results {
		r := &results[i]
		all += uint64(len(a.Runs[i].Heads))
		if r.Taken() && r.Due {
			earned += r.Heights()
		}
	}
	if all == 0 {
		return 0, nil
	}
	return fee.MulDiv(earned, all)
}

// What sets of signers and heights weigh, in the unit of the main chain's blocks: bytes
// written, where two milliseconds of computing are 256 KiB. A set is a pairing of 0.4 ms,
// and an addition of 5 us for each member at worst; a height is a hash of 0.1 ms.
const (
	setWeight    = 56 << 10
	bitmapWeight = 5 << 10 // for each byte of a bitmap
	heightWeight = 14 << 10
	rowWeight    = 5 + MaxStateSize + 15
)

// Weight returns what taking anchors makes a node write and compute at most.
func Weight(a *Anchors) int64 {
	var weight int64
	for i := range a.Runs {
		r := &a.Runs[i]
		weight += rowWeight + setWeight*int64(len(r.Sets)+2) + heightWeight*int64(len(r.Heads)) // the signature's pairing, and what ends the product
		for j := range r.Sets {
			weight += bitmapWeight * int64(len(r.Sets[j].Bitmap))
		}
	}
	return weight
}

// Status is how a shard does, as its anchors show.
type Status uint8

// The statuses.
const (
	Live    Status = 1 // anchors come
	Late    Status = 2 // anchors are missing
	Stalled Status = 3 // so many are missing that the shard gets another committee
)

// String returns the status' name: "live".
func (s Status) String() string {
	switch s {
	case Live:
		return "live"
	case Late:
		return "late"
	case Stalled:
		return "stalled"
	default:
		return "unknown"
	}
}

// waited returns the blocks from one height of main to another, none if that is lower.
func waited(from, height uint64) uint64 { return height - min(from, height) }

// BeatBlocks returns how many blocks of main are at least between two that an idle shard is told
// of so that it makes a block: a third of LateBlocks, and 1 at least. It is that much less than
// three quarters so that after a while all idle shards do it together.
func (p *Params) BeatBlocks() uint64 { return max(1, uint64(p.LateBlocks)/3) }

// Due reports whether the block at height may take an anchor for nothing, if the anchor
// before was taken at from.
func (p *Params) Due(height, from uint64) bool { return waited(from, height) >= uint64(p.DueBlocks) }

// EagerHeights is how many heights a run has at most that is due for its messages alone:
// who has a committee could fill blocks for nothing with longer ones.
const EagerHeights = 8

// DueWith is Due for an anchor of heights with messages or without: those that somebody
// waits for are due in each block, in a run of EagerHeights at most.
func (p *Params) DueWith(height, from uint64, messages bool) bool {
	return p.Due(height, from) || messages && height > from
}

// Status returns how a shard does at a height of main if its last anchor was taken,
// or it got its committee, at from: State.From.
func (p *Params) Status(height, from uint64) Status {
	switch n := waited(from, height); {
	case n >= uint64(p.StalledBlocks):
		return Stalled
	case n >= uint64(p.LateBlocks):
		return Late
	default:
		return Live
	}
}

// Missed returns how many anchors were due and not taken, as route.Backlog counts them:
// one for each DueBlocks since from, at most math.MaxUint32. A shard all of whose
// heights are anchored has missed none, which only it knows.
func (p *Params) Missed(height, from uint64) uint64 {
	return min(waited(from, height)/uint64(p.DueBlocks), math.MaxUint32)
}
