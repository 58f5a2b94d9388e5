package settlement_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// checkpoint returns the one of a height of a shard in its present generation by its
// committee of an epoch.
func (b *bench) checkpoint(id shard.ID, epoch, height uint64) (cert.Checkpoint, *committee.Committee) {
	b.t.Helper()
	a, ok := registry.ReadAssignment(b.view, epoch, id)
	if !ok {
		b.t.Fatalf("nobody serves shard %d in epoch %d", id, epoch)
	}
	row, _ := anchor.Read(b.view, id) // none before the shard is founded
	return cert.Checkpoint{
		Network: b.domain.Network, Chain: id, Generation: row.Generation, Height: height, Epoch: epoch, CommitteeHash: a.Committee.Hash(),
		BlockHash: ledger.HashOf("block", fmt.Append(nil, id, height)), StateRoot: ledger.HashOf("state", fmt.Append(nil, id, height)),
	}, &a.Committee
}

// certify returns the certificate of a checkpoint by all members of its committee but
// some.
func (b *bench) certify(p cert.Checkpoint, c *committee.Committee, without ...uint64) cert.Certificate {
	b.t.Helper()
	out := cert.Certificate{Checkpoint: p, Bitmap: make([]byte, (len(c.Members)+7)/8)}
	var shares []bls.Signature
	for i, m := range c.Members {
		if !slices.Contains(without, m.Validator) {
			out.Bitmap[i/8] |= 1 << (i % 8)
			shares = append(shares, blsKeys(int(m.Validator)).Sign(p.Message()))
		}
	}
	var err error
	if out.Signature, err = bls.Aggregate(shares); err != nil {
		b.t.Fatal(err)
	}
	return out
}

func (b *bench) join(list ...cert.Certificate) cert.Run {
	b.t.Helper()
	r, err := cert.Join(list)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// heights returns the run of the heights of a shard from first to last.
func (b *bench) heights(id shard.ID, epoch, first, last uint64) cert.Run {
	b.t.Helper()
	var list []cert.Certificate
	for h := first; h <= last; h++ {
		list = append(list, b.certify(b.checkpoint(id, epoch, h)))
	}
	return b.join(list...)
}

func (b *bench) anchored(id shard.ID) *anchor.State {
	b.t.Helper()
	s, ok := anchor.Read(b.view, id)
	if !ok {
		b.t.Fatalf("shard %d is not founded", id)
	}
	return &s
}

func anchorsOf(runs ...cert.Run) *anchor.Anchors { return &anchor.Anchors{Runs: runs} }

// spent returns how many drops of an account a block takes.
func (b *bench) spent(by int, tx settlement.BlockTx) (uint64, settlement.Result) {
	before := b.balance(by)
	res := b.block(tx)
	return before - b.balance(by), res
}

// TestAnchors: what was due costs nothing, what comes sooner is paid for, and what comes
// too late pays the least fee.
func TestAnchors(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	shards := b.shards().Zone(1, 0)
	one, two := shards[0].ID, shards[1].ID
	for s := range b.shards().All() {
		if got := b.anchored(s.ID); got.Service != s.Service || got.Zone != s.Zone || got.Buckets != s.Buckets {
			t.Errorf("shard %d began as %+v", s.ID, got)
		}
	}
	b.block()
	in := anchorsOf(b.heights(one, 0, 1, 3), b.heights(two, 0, 1, 2))
	tx := b.signed(6, in)
	fee := b.params.TxFee + 2*b.params.Anchors.SetFee + 5*b.params.Anchors.HeightFee
	if got := settlement.Fee(b.params, &tx.Tx); got != fee {
		t.Errorf("the fee is %d, want %d", got, fee)
	}
	cost, res := b.spent(6, tx)
	r := res.Receipts[0]
	runs := []anchor.Result{{Shard: one, First: 1, Last: 3, Due: true}, {Shard: two, First: 1, Last: 2, Due: true}}
	if diff := cmp.Diff(runs, r.Runs); cost != 0 || r.Code != chain.CodeOK || r.Fee != fee || r.Paid != fee || diff != "" {
		t.Errorf("%s for %d of %d, cost %d: %s", r.Code, r.Fee, fee, cost, diff)
	}
	events := []settlement.ShardEvent{
		{Kind: settlement.ShardAnchored, Shard: one, First: 1, Last: 3}, {Kind: settlement.ShardAnchored, Shard: two, First: 1, Last: 2},
	}
	if diff := cmp.Diff(events, res.Shards); diff != "" {
		t.Errorf("events: %s", diff)
	}
	if s := b.anchored(one); s.Height() != 3 || s.From != b.height {
		t.Errorf("anchored to %d at %d", s.Height(), s.From)
	}
	if cost, res := b.spent(6, b.signed(5, in)); cost != 0 || res.Receipts[0].Code != chain.CodeAnchorStale || res.Receipts[0].Fee != b.params.TxFee {
		t.Errorf("the same again: %s for %d", res.Receipts[0].Code, res.Receipts[0].Fee)
	}
	// One block later the next is not due; two, and it is.
	for _, due := range []bool{false, true} {
		from := b.anchored(two).Height()
		if due {
			for b.height+1 < b.anchored(two).From+uint64(b.params.Anchors.DueBlocks) {
				b.block()
			}
		} else if b.height+1 >= b.anchored(two).From+uint64(b.params.Anchors.DueBlocks) {
			b.ok(6, anchorsOf(b.heights(two, 0, from+1, from+1)))
			from++
		}
		tx := b.signed(6, anchorsOf(b.heights(two, 0, from+1, from+4)))
		want := uint64(0)
		if !due {
			want = uint64(settlement.Fee(b.params, &tx.Tx))
		}
		if cost, res := b.spent(6, tx); cost != want || res.Receipts[0].Code != chain.CodeOK {
			t.Errorf("due is %t: %s for %d, want %d", due, res.Receipts[0].Code, cost, want)
		}
	}
}

// TestAnchorsAreVerified: a run that is not signed costs its whole fee in a block, and
// what admits records finds it; what was verified before is not verified again.
func TestAnchorsAreVerified(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	id := b.shards().Zone(1, 1)[0].ID
	good := b.heights(id, 0, 1, 2)
	bad := good
	bad.Signature[47] ^= 1
	forged := b.signed(6, anchorsOf(bad))
	if _, err := settlement.Admit(b.view, b.params, b.domain, b.height+1, &forged.Tx); err != nil {
		t.Errorf("Admit looks at signatures: %v", err)
	}
	verify, err := settlement.Pairings(b.view, b.params, b.domain, b.height+1, &forged.Tx, nil, nil)
	if err != nil || verify == nil {
		t.Fatalf("nothing to verify: %v", err)
	}
	if proved, err := verify(); !errors.Is(err, chain.CodeBadCertificate.Err()) || proved != nil {
		t.Errorf("verified %v: %v", proved, err)
	}
	fee := uint64(settlement.Fee(b.params, &forged.Tx))
	if cost, res := b.spent(6, forged); cost != fee || res.Receipts[0].Code != chain.CodeBadCertificate {
		t.Errorf("%s for %d, want %s for %d", res.Receipts[0].Code, cost, chain.CodeBadCertificate, fee)
	}

	tx := b.signed(6, anchorsOf(good))
	decoded := 0
	keys := func(c *committee.Committee) ([]*bls.Key, error) {
		decoded++
		return c.Keys()
	}
	if verify, err = settlement.Pairings(b.view, b.params, b.domain, b.height+1, &tx.Tx, nil, keys); err != nil {
		t.Fatal(err)
	}
	proved, err := verify()
	if err != nil || !slices.Equal(proved, []ledger.Hash{good.Hash()}) || decoded != 1 {
		t.Errorf("verified %v by keys decoded %d times: %v", proved, decoded, err)
	}
	asked := 0
	b.attach = func(block *settlement.Block) {
		block.Keys = keys
		block.Proved = func(run ledger.Hash) bool {
			asked++
			return slices.Contains(proved, run)
		}
	}
	changes, res := b.try(tx)
	if res.Receipts[0].Code != chain.CodeOK || asked != 1 {
		t.Errorf("%s after %d questions", res.Receipts[0].Code, asked)
	}
	b.attach = nil
	again, second := b.try(tx)
	if digestOf(again, &second) != digestOf(changes, &res) {
		t.Error("what was verified before has another outcome")
	}
	other := b.signed(6, payTo(b.addrs[1], 1))
	if verify, err := settlement.Pairings(b.view, b.params, b.domain, b.height+1, &other.Tx, nil, nil); verify != nil || err != nil {
		t.Errorf("a transfer has pairings: %v", err)
	}
	empty := b.signed(6, payTo(b.addrs[1], 1))
	empty.Tx.Kind, empty.Tx.Payload = chain.KindAnchor, nil
	if _, err := settlement.Pairings(b.view, b.params, b.domain, b.height+1, &empty.Tx, nil, nil); !errors.Is(err, chain.CodeMalformed.Err()) {
		t.Errorf("anchors of no bytes: %v", err)
	}
}

// TestAnchorReceipts: what became of runs survives its encoding, and is proved by the
// receipt's root.
func TestAnchorReceipts(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	shards := b.shards().Zone(1, 0)
	one, two := shards[0].ID, shards[1].ID
	b.ok(6, anchorsOf(b.heights(one, 0, 1, 3)))
	b.block()
	b.block()
	r := b.ok(6, anchorsOf(b.heights(one, 0, 2, 5), b.heights(two, 0, 1, 4)))
	if len(r.Runs) != 2 || !r.Runs[0].Due || r.Runs[0].First != 4 || !r.Runs[1].Due || r.Paid != r.Fee*6/8 {
		t.Errorf("%+v", r)
	}
	r = b.ok(6, anchorsOf(b.heights(one, 0, 2, 5), b.heights(two, 0, 5, 8)))
	if len(r.Runs) != 2 || r.Runs[0].Code != chain.CodeAnchorStale || r.Runs[1].Due || r.Paid != 0 {
		t.Errorf("%+v", r)
	}
	again, err := settlement.DecodeReceipt(r.Encode())
	ignore := cmp.Options{cmpopts.IgnoreFields(settlement.Receipt{}, "Detail"), cmpopts.IgnoreFields(anchor.Result{}, "Detail")}
	if diff := cmp.Diff(r, again, ignore); err != nil || diff != "" {
		t.Errorf("%v: %s", err, diff)
	}
	if leaves := r.OutcomeLeaves(); len(leaves) != 2 || string(leaves[0])+string(leaves[1]) != string(r.Outcomes()) {
		t.Errorf("leaves %x are not the outcomes %x", leaves, r.Outcomes())
	}
	if _, err := settlement.DecodeReceipt(r.Encode()[:len(r.Encode())-1]); err == nil {
		t.Error("a receipt that is cut off was decoded")
	}
	stray := settlement.Receipt{Kind: chain.KindTransfer}
	if err := stray.SetOutcomes(r.Outcomes()); err == nil {
		t.Error("a transfer has outcomes")
	}
}

// TestShardsTick: after an anchor the chain goes on until the next is due, and then rests.
func TestShardsTick(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	b.forward(2) // until nothing of the genesis waits
	needs := func() bool { return settlement.ShardsNeedTick(b.view, &b.params, b.height+1) }
	if needs() {
		t.Fatal("nothing has happened, and the chain goes on")
	}
	id := b.shards().Zone(1, 0)[0].ID
	b.ok(6, anchorsOf(b.heights(id, 3, 1, 4)))
	for i := range b.params.Anchors.DueBlocks - 1 {
		if !needs() {
			t.Errorf("%d blocks after the anchor the chain rests", i)
		}
		b.block()
	}
	if needs() {
		t.Error("the next anchor is due, and the chain goes on")
	}
}
