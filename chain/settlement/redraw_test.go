package settlement_test

import (
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/zone"
)

// twice returns two certified versions of a height of a shard by its committee of an
// epoch, of one round.
func (b *bench) twice(id shard.ID, epoch, height uint64) *anchor.Conflict {
	b.t.Helper()
	p, com := b.checkpoint(id, epoch, height)
	q := p
	q.StateRoot = ledger.HashOf("another state")
	return &anchor.Conflict{Height: height, A: b.join(b.certify(p, com)), B: b.join(b.certify(q, com))}
}

func (b *bench) members(id shard.ID, epoch uint64) (rows []uint64) {
	a, _ := registry.ReadAssignment(b.view, epoch, id)
	for _, m := range a.Committee.Members {
		rows = append(rows, m.Validator)
	}
	slices.Sort(rows)
	return rows
}

// TestConflict: who signs two versions of a height is slashed and out for ever; who brings
// it first has the fee back, and who brings it again pays.
func TestConflict(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	b.forward(0)
	id := b.shards().Zone(1, 0)[0].ID
	members := b.members(id, 1)
	in := b.twice(id, 1, 1)
	tx := b.signed(6, in)
	if got, want := settlement.Fee(b.params, &tx.Tx), b.params.TxFee+2*(b.params.Anchors.SetFee+b.params.Anchors.HeightFee); got != want {
		t.Errorf("the fee is %d, want %d", got, want)
	}
	verify, err := settlement.Pairings(b.view, b.params, b.domain, b.height+1, &tx.Tx, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if runs, err := verify(); err != nil || len(runs) != 2 {
		t.Errorf("verified %v: %v", runs, err)
	}
	var staked ledger.Amount
	for _, row := range members {
		v, _ := staking.ReadValidator(b.view, row)
		staked += v.Tokens
	}
	before := b.totals().Staked
	cost, res := b.spent(6, tx)
	r := res.Receipts[0]
	if r.Code != chain.CodeOK || cost != 0 || r.Paid != r.Fee {
		t.Fatalf("%s (%s), cost %d", r.Code, r.Detail, cost)
	}
	if len(res.Shards) == 0 || res.Shards[0] != (settlement.ShardEvent{
		Kind: settlement.ShardConflict, Shard: id, First: 1, Last: 1, Epoch: 1, Guilty: uint32(len(members)),
	}) {
		t.Errorf("events %+v", res.Shards)
	}
	var out []uint64
	var burned ledger.Amount
	for _, e := range res.Staking {
		switch e.Kind {
		case staking.EventTombstoned:
			out = append(out, e.Validator)
		case staking.EventSlashed:
			burned += e.Amount
			if e.Fault != staking.FaultShardConflict || e.TxIndex != 0 {
				t.Errorf("%+v", e)
			}
		default: // what follows from these
		}
	}
	if !slices.Equal(out, members) {
		t.Errorf("out are %d, want %d", out, members)
	}
	lost := before - b.totals().Staked
	if want := staked * ledger.Amount(b.params.Staking.DuplicateVoteBps) / ledger.BasisPoints; lost != burned || lost+5 < want || lost > want {
		t.Errorf("burned %d and lost %d of %d, want %d", burned, lost, staked, want)
	}
	if cost, res := b.spent(6, b.signed(6, in)); res.Receipts[0].Code != chain.CodeEvidenceKnown || cost != uint64(b.params.TxFee) {
		t.Errorf("the same again, of a committee that was replaced: %s for %d", res.Receipts[0].Code, cost)
	}
	same := b.twice(id, 1, 2)
	same.B = same.A
	if r := b.run(6, same); r.Code != chain.CodeNoConflict {
		t.Errorf("one version: %s", r.Code)
	}
	forged := b.twice(id, 1, 3)
	forged.B.Signature[47] ^= 1
	tx = b.signed(6, forged)
	fee := uint64(settlement.Fee(b.params, &tx.Tx))
	if cost, res := b.spent(6, tx); res.Receipts[0].Code != chain.CodeBadCertificate || cost != fee {
		t.Errorf("a forged version: %s for %d, want the whole fee of %d", res.Receipts[0].Code, cost, fee)
	}
	for b.params.Staking.Epoch(b.height+1) < 1+uint64(b.params.Staking.EvidenceEpochs)+1 {
		b.block()
	}
	if r := b.run(6, b.twice(id, 1, 4)); r.Code != chain.CodeEvidenceExpired {
		t.Errorf("after %d epochs: %s", b.params.Staking.EvidenceEpochs, r.Code)
	}
}

// TestConflictOfRounds: two blocks of different rounds shame nobody in particular, but the
// shard gets another committee; where there is no other it has no effect.
func TestConflictOfRounds(t *testing.T) {
	t.Parallel()
	for validators, code := range map[int]chain.Code{5: chain.CodeOK, 4: chain.CodeEvidenceKnown} {
		b := newServedBy(t, validators)
		id := b.shards().Zone(1, 0)[0].ID
		p, com := b.checkpoint(id, 0, 1)
		q := p
		q.Round, q.BlockHash = 1, ledger.HashOf("another block")
		in := &anchor.Conflict{Height: 1, A: b.join(b.certify(p, com)), B: b.join(b.certify(q, com))}
		res := b.block(b.signed(6, in))
		if r := res.Receipts[0]; r.Code != code || len(res.Staking) != 0 || (len(res.Shards) == 2) != (code == chain.CodeOK) {
			t.Errorf("of %d validators: %s, %+v, %+v", validators, r.Code, res.Staking, res.Shards)
		}
	}
}

// TestKnownConflict: evidence that has had all its effects is paid for by who brings it.
func TestKnownConflict(t *testing.T) {
	t.Parallel()
	b := newServedBy(t, 4)
	id := b.shards().Zone(1, 0)[0].ID
	b.ok(6, b.twice(id, 0, 1))
	if cost, res := b.spent(6, b.signed(6, b.twice(id, 0, 1))); res.Receipts[0].Code != chain.CodeEvidenceKnown || cost != uint64(b.params.TxFee) {
		t.Errorf("the same again: %s for %d", res.Receipts[0].Code, cost)
	}
	if cost, res := b.spent(6, b.signed(6, b.twice(id, 0, 2))); res.Receipts[0].Code != chain.CodeEvidenceKnown || cost != uint64(b.params.TxFee) {
		t.Errorf("more of the same mistake: %s for %d", res.Receipts[0].Code, cost)
	}
}

// TestRedraw: a shard that misses its anchors gets another committee at once, which goes
// on from what is anchored, in the next epoch too.
func TestRedraw(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	b.params.Anchors.LateBlocks, b.params.Anchors.StalledBlocks = 8, 16
	id := b.shards().Zone(1, 0)[0].ID
	b.ok(6, anchorsOf(b.heights(id, 0, 1, 2)))
	for b.height < 12 {
		b.block()
	}
	before, lost := b.members(id, 1), b.heights(id, 1, 3, 5) // certified, and nobody brings it
	own := func(e settlement.ShardEvent) bool { return e.Shard == id }
	for b.height < 16 {
		if res := b.block(b.signed(6, payTo(b.addrs[0], 1))); slices.ContainsFunc(res.Shards, own) {
			t.Fatalf("block %d: %+v", b.height, res.Shards)
		}
	}
	res := b.block(b.signed(6, payTo(b.addrs[0], 1)))
	at := slices.IndexFunc(res.Shards, own)
	if at < 0 || res.Shards[at] != (settlement.ShardEvent{
		Kind: settlement.ShardRedrawn, TxIndex: -1, Shard: id, Last: 2, Epoch: 1, Round: 1, Generation: 1,
	}) {
		t.Fatalf("block %d: %+v", b.height, res.Shards)
	}
	if s := b.anchored(id); s.RedrawEpoch != 1 || s.Redraws != 1 || s.From != b.height {
		t.Errorf("%+v", s)
	}
	if after := b.members(id, 1); slices.Equal(after, before) || !slices.Equal(after, b.members(id, 2)) {
		t.Errorf("members were %d and are %d, in the next epoch %d", before, after, b.members(id, 2))
	}
	if r := b.run(6, anchorsOf(lost)); r.Code != chain.CodeAnchorGeneration {
		t.Errorf("what the committee before certified: %s", r.Code)
	}
	if r := b.run(6, anchorsOf(b.heights(id, 1, 3, 4))); r.Code != chain.CodeOK {
		t.Errorf("what the new one certifies: %s: %s", r.Code, r.Detail)
	}
}

// TestNobodyElse: where all who can serve do, a shard that misses its anchors keeps its
// committee and what that certified.
func TestNobodyElse(t *testing.T) {
	t.Parallel()
	b := newServedBy(t, 4)
	b.params.Anchors.LateBlocks, b.params.Anchors.StalledBlocks = 8, 16
	id := b.shards().Zone(1, 0)[0].ID
	b.ok(6, anchorsOf(b.heights(id, 0, 1, 2)))
	for b.height < 30 {
		if res := b.block(b.signed(6, payTo(b.addrs[0], 1))); len(res.Shards) != 0 {
			t.Fatalf("block %d: %+v", b.height, res.Shards)
		}
	}
	if s := b.anchored(id); s.RedrawEpoch != 0 || s.Asked != 17 || b.params.Anchors.Status(b.height, s.From) != anchor.Stalled {
		t.Errorf("%+v", s)
	}
	if r := b.run(6, anchorsOf(b.heights(id, 1, 3, 5))); r.Code != chain.CodeOK {
		t.Errorf("what the committee certified: %s: %s", r.Code, r.Detail)
	}
}

// BenchmarkAnchors: a block with anchors of 64 heights of one shard, and one with what
// was verified before.
func BenchmarkAnchors(b *testing.B) {
	w := newServed(b)
	id := w.shards().Zone(1, 0)[0].ID
	var list []cert.Certificate
	for h := uint64(1); h <= 64; h++ {
		list = append(list, w.certify(w.checkpoint(id, 0, h)))
	}
	tx := w.signed(6, anchorsOf(w.join(list...)))
	b.Logf("weight %d of %d, %d bytes", settlement.Weight(&tx.Tx), w.params.MaxBlockWeight(), len(tx.Tx.Raw))
	for _, proved := range []bool{false, true} {
		name := "verified"
		if proved {
			name = "proved"
		}
		b.Run(name, func(b *testing.B) {
			w.attach = func(block *settlement.Block) {
				block.Proved = func(ledger.Hash) bool { return proved }
			}
			for b.Loop() {
				if _, res := w.try(tx); res.Receipts[0].Code != chain.CodeOK {
					b.Fatal(res.Receipts[0].Detail)
				}
			}
		})
	}
}

// TestRedrawWithoutTheAbsent: two members of a shard's committee are gone, from the main
// chain too. When the shard is drawn anew, on a chain that goes on only for that as on one
// that is in use, main knows that they are away, although the slash meter lets only one of
// them be jailed, and neither is drawn again.
func TestRedrawWithoutTheAbsent(t *testing.T) {
	t.Parallel()
	for _, idle := range []bool{false, true} {
		p := serviceParams()
		p.Staking.Seats, p.Staking.EpochBlocks, p.Staking.MeterBps, p.Staking.MeterEpochs = 6, 60, 0, 3
		p.Anchors.LateBlocks, p.Anchors.StalledBlocks = 8, 8+2*p.Staking.MaxMissed
		g := stakedGenesis(p, 7, slices.Repeat([]uint64{50_000}, 6)...)
		g.Services = []zone.ServiceType{serviceOf(6, 1, "content", 0)}
		changes, err := g.State()
		if err != nil {
			t.Fatal(err)
		}
		b := newServed(t)
		b.params, b.view = p, newState(changes)
		id := b.shards().Zone(1, 0)[0].ID
		members := b.members(id, 0)
		gone := members[:2]
		b.attach = func(blk *settlement.Block) {
			blk.Votes, blk.Tick = b.votes(gone...), settlement.NeedsTick(b.view, &b.params, blk.Height)
			com, _ := staking.ReadCommittee(b.view, 0)
			present := slices.DeleteFunc(com.Members, func(m committee.Member) bool { return slices.Contains(gone, m.Validator) })
			blk.Proposer = present[blk.Height%uint64(len(present))].Address()
		}
		b.ok(6, anchorsOf(b.heights(id, 0, 1, 2)))
		for b.anchored(id).Generation == 0 {
			if b.epoch() > 0 {
				t.Fatal("the shard is not drawn anew")
			}
			if idle {
				b.block()
			} else {
				b.busy()
			}
		}
		after, jailed := b.members(id, 0), 0
		for _, row := range gone {
			if v, _ := staking.ReadValidator(b.view, row); v.Jailed {
				jailed++
			}
			if slices.Contains(after, row) {
				t.Errorf("idle is %t: of %d, %d are gone and %d drawn", idle, members, gone, after)
			}
		}
		if jailed != 1 {
			t.Errorf("idle is %t: %d are jailed, want one, or the test shows nothing", idle, jailed)
		}
		if in, round, ok := registry.RedrawInputs(b.view, id, 0); !ok || !slices.Equal(slices.Sorted(slices.Values(in.Failed)), members) || len(in.Away) != 1 || round != 1 {
			t.Errorf("idle is %t: drawn in round %d by %+v", idle, round, in)
		}
	}
}

// TestAbsencesAreKnownInTime: with the parameters that networks begin with, ticks between
// late and stalled are enough to know who is away.
func TestAbsencesAreKnownInTime(t *testing.T) {
	t.Parallel()
	for _, p := range []settlement.Params{settlement.DefaultParams(), settlement.LocalParams()} {
		if ticks := p.Anchors.StalledBlocks - p.Anchors.LateBlocks; ticks <= p.Staking.MaxMissed {
			t.Errorf("%d blocks count from late to stalled, want more than %d", ticks, p.Staking.MaxMissed)
		}
	}
}
